//! Error spending for repeated analyses of growing data: how much of the permitted error each
//! interim analysis may use (Lan and DeMets, "Discrete sequential boundaries for clinical trials",
//! 1983).
//!
//! Under the null hypothesis, the test statistic of growing data is a Brownian motion that is
//! observed at a few times. The bound of each analysis is the one that the motion first crosses
//! there with exactly the probability to be spent. The bounds come from integrating the density of
//! the motion from analysis to analysis (Armitage, McPherson and Rowe, "Repeated significance tests
//! on accumulating data", 1969).

use std::f64::consts::{E, TAU};

use super::normal_tail;

/// How much of the two-sided error `alpha` is spent once the share `fraction` of the planned data
/// is available; half of it belongs to each side. The spending is nearly even, as with Pocock's
/// bounds.
pub fn spent(alpha: f64, fraction: f64) -> f64 {
    alpha * (1.0 + (E - 1.0) * fraction).ln()
}

/// Two-sided levels for analyses at the given shares of the planned data. With these levels, all
/// analyses together reject a true null hypothesis with probability `alpha`, provided that the last
/// share is 1. The level of an analysis depends only on the analyses up to it. If the data arrive
/// in other portions than planned, the caller can call this function again with the actual shares.
///
/// The levels are accurate to 1e-7. The running time grows with the inverse of the smallest
/// distance between two analyses: 50 equally spaced ones take about a tenth of a second.
///
/// # Panics
///
/// If the shares do not ascend within 0 (exclusive) to 1, or `alpha` is not between 0 and 1.
pub fn nominal_levels(alpha: f64, fractions: &[f64]) -> Vec<f64> {
    assert!(alpha > 0.0 && alpha < 1.0, "alpha {alpha} is not in (0, 1)");
    let before = std::iter::once(&0.0).chain(fractions);
    let steps: Vec<f64> = before.zip(fractions).map(|(before, now)| now - before).collect();
    assert!(
        steps.iter().all(|step| *step > 0.0) && fractions.iter().all(|now| *now <= 1.0),
        "the looks {fractions:?} do not ascend from above 0 to 1 at most"
    );
    let mut so_far = 0.0;
    let mut alive = Alive::start();
    let mut levels = Vec::with_capacity(fractions.len());
    for (look, &now) in fractions.iter().enumerate() {
        let step = steps[look];
        let share = spent(alpha, now) - so_far;
        so_far += share;
        let z = falling_root(|z| alive.crosses(z * now.sqrt(), step) - share / 2.0);
        levels.push(2.0 * normal_tail(z));
        if let Some(next) = steps.get(look + 1) {
            // No path is farther out than 8 standard deviations.
            alive = alive.stepped(z.min(8.0) * now.sqrt(), step, step.min(*next).sqrt());
        }
    }
    levels
}

/// Distribution of the paths that have not crossed any bound yet. It is symmetric about zero. Each
/// entry is a place from zero upwards and half of the probability mass at this place and its mirror
/// image.
struct Alive(Vec<(f64, f64)>);

impl Alive {
    fn start() -> Self {
        Self(vec![(0.0, 0.5)])
    }

    /// The probability that a path is above `bound` after a step with this variance.
    fn crosses(&self, bound: f64, step: f64) -> f64 {
        let deviation = step.sqrt();
        let tail = |distance: f64| normal_tail(distance / deviation);
        self.0.iter().map(|(at, mass)| mass * (tail(bound - at) + tail(bound + at))).sum()
    }

    /// The distribution after a step with this variance, without the paths beyond `bound`. It is
    /// the density at each point of a grid, times the point's weight in Simpson's rule. The grid is
    /// fine enough for features of width `detail`.
    fn stepped(&self, bound: f64, step: f64, detail: f64) -> Self {
        let panels = (bound / detail * 8.0).ceil().max(8.0) as usize;
        let width = bound / (2 * panels) as f64;
        let density = |x: f64| (-x * x / (2.0 * step)).exp() / (TAU * step).sqrt();
        let place = |i: usize| {
            let to = width * i as f64;
            let weight = match i {
                0 => 1.0,
                i if i == 2 * panels => 1.0,
                i if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            let here: f64 = self
                .0
                .iter()
                .map(|(from, mass)| mass * (density(to - from) + density(to + from)))
                .sum();
            (to, here * weight * width / 3.0)
        };
        Self((0..=2 * panels).map(place).collect())
    }
}

/// The zero of a decreasing function of z, by bisection.
fn falling_root(f: impl Fn(f64) -> f64) -> f64 {
    // The normal tail beyond 38 standard deviations is smaller than the smallest positive `f64`.
    let (mut low, mut high) = (0.0, 38.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if f(middle) > 0.0 { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::super::normal_quantile;
    use super::*;

    fn bounds(alpha: f64, fractions: &[f64]) -> Vec<f64> {
        let levels = nominal_levels(alpha, fractions);
        levels.iter().map(|level| normal_quantile(1.0 - level / 2.0)).collect()
    }

    #[track_caller]
    fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < tolerance, "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn the_bounds_are_the_published_ones() {
        // Five equally spaced analyses, as ldbounds prints them (Casper and Perez, after ld98). The
        // integration of that program is accurate to about 1e-4. tests/stats_reference.rs tests
        // against more accurate values.
        let five = [0.2, 0.4, 0.6, 0.8, 1.0];
        let expected = [2.4380, 2.4268, 2.4101, 2.3966, 2.3859];
        assert_near(&bounds(0.05, &five), &expected, 1.5e-4);
    }

    #[test]
    fn one_look_has_the_whole_level() {
        assert_near(&nominal_levels(0.05, &[1.0]), &[0.05], 1e-9);
        assert!(nominal_levels(0.05, &[]).is_empty());
    }

    #[test]
    fn a_level_depends_on_the_looks_up_to_it() {
        let planned = nominal_levels(0.05, &[0.25, 0.5, 0.75, 1.0]);
        let other = nominal_levels(0.05, &[0.25, 0.5, 0.6]);
        assert_eq!(planned[..2], other[..2]);
    }

    #[test]
    #[should_panic(expected = "do not ascend")]
    fn looks_out_of_order_are_refused() {
        nominal_levels(0.05, &[0.5, 0.5, 1.0]);
    }
}
