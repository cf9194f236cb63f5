//! Looking at the data more than once: how much of the error each look may spend (Lan and
//! DeMets, "Discrete sequential boundaries for clinical trials", 1983).
//!
//! Without a difference, the test statistic of growing data is a Brownian motion that is
//! looked at now and then. The bounds that it crosses with just the probability that is
//! to be spent come from integrating its density from look to look (Armitage, McPherson
//! and Rowe, "Repeated significance tests on accumulating data", 1969).

use std::f64::consts::{E, TAU};

use super::normal_tail;

/// How much of the two-sided error `alpha` is spent when the share `fraction` of the planned
/// data is there; half of it is each side's. Nearly evenly: like Pocock's bounds.
pub fn spent(alpha: f64, fraction: f64) -> f64 {
    alpha * (1.0 + (E - 1.0) * fraction).ln()
}

/// For looks at the given shares of the planned data, the two-sided level at which to test
/// at each, such that all of them together reject a true null hypothesis with probability
/// `alpha`, if the last share is 1. A look's level depends on the looks up to it only: if
/// the data come in other portions than was planned, ask again with what was there.
///
/// The levels are off by less than 1e-7. The time that this takes grows with one over the
/// least distance of two looks: 50 equal ones take about a tenth of a second.
///
/// # Panics
///
/// If the shares do not ascend within 0 (exclusive) to 1, or `alpha` is not between 0 and
/// 1.
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
            // Nobody is further out than 8 standard deviations.
            alive = alive.stepped(z.min(8.0) * now.sqrt(), step, step.min(*next).sqrt());
        }
    }
    levels
}

/// Where the paths are that have crossed no bound yet. They are as many on either side of
/// zero: each place, from zero up, with half of what is there and at its mirror image.
struct Alive(Vec<(f64, f64)>);

impl Alive {
    fn start() -> Self {
        Self(vec![(0.0, 0.5)])
    }

    /// The probability that a path is above `bound` after a step of this variance.
    fn crosses(&self, bound: f64, step: f64) -> f64 {
        let deviation = step.sqrt();
        let tail = |distance: f64| normal_tail(distance / deviation);
        self.0.iter().map(|(at, mass)| mass * (tail(bound - at) + tail(bound + at))).sum()
    }

    /// After a step of this variance, without the paths beyond `bound`. The density at
    /// each place of a grid, times its weight in Simpson's rule; the grid resolves what
    /// varies over a distance of `detail`.
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

/// Where a falling function of z is zero, by bisection.
fn falling_root(f: impl Fn(f64) -> f64) -> f64 {
    // Beyond 38 standard deviations there is less than the least number.
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
        // Five equal looks, as ldbounds prints them (Casper and Perez, after ld98). That
        // program's integration is good to about 1e-4. tests/stats_reference.rs holds us to
        // closer values.
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
