//! Looks at a comparison while it runs, so that it may end early, without being wrong
//! more often than it says.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// How the permitted error is spent over the looks (Lan and DeMets, "Discrete sequential
/// boundaries for clinical trials", Biometrika 70, 1983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spending {
    /// Hardly any early: as O'Brien and Fleming's boundary.
    OBrienFleming,
    /// About the same at each look: as Pocock's boundary.
    Pocock,
}

impl Spending {
    /// The share of the two-sided error `alpha` that may be spent when a part `t` of the
    /// information is there.
    fn spent(self, alpha: f64, t: f64) -> f64 {
        let normal = Normal::standard();
        match self {
            Self::OBrienFleming => {
                // A half of the error for each side.
                let z = normal.inverse_cdf(1.0 - alpha / 4.0);
                4.0 * normal.sf(z / t.sqrt())
            }
            Self::Pocock => alpha * (1.0 + (std::f64::consts::E - 1.0) * t).ln(),
        }
        .min(alpha)
    }
}

/// The two-sided level at which each look may decide, so that all looks together err at
/// most as often as `alpha` says. `fractions` are the parts of the information that are
/// there at each look, rising up to 1.
///
/// The distribution of the statistic among those that have not been decided is carried
/// from look to look on a grid (Armitage, McPherson and Rowe, "Repeated significance tests
/// on accumulating data", Journal of the Royal Statistical Society A 132, 1969). For
/// tests of ranks it holds as an approximation: they behave as sums do.
pub fn nominal_levels(fractions: &[f64], alpha: f64, spending: Spending) -> Vec<f64> {
    let normal = Normal::standard();
    let mut levels = Vec::with_capacity(fractions.len());
    // The density of the score, which is z times the square root of the fraction.
    let mut density: Option<Grid> = None;
    let (mut spent, mut before) = (0.0, 0.0);
    for &fraction in fractions {
        let due = spending.spent(alpha, fraction);
        let step = (due - spent).max(0.0);
        let score = match &density {
            None => normal.inverse_cdf(1.0 - step / 2.0) * fraction.sqrt(),
            Some(grid) => grid.bound(step, fraction - before),
        };
        levels.push(2.0 * normal.sf(score / fraction.sqrt()));
        density = Some(match &density {
            None => Grid::of(score, |x| normal.pdf(x / fraction.sqrt()) / fraction.sqrt()),
            Some(grid) => Grid::of(score, |x| grid.density(x, fraction - before)),
        });
        spent = due;
        before = fraction;
    }
    levels
}

/// A density between two bounds that are symmetric about 0, by Simpson's rule.
struct Grid {
    points: Vec<(f64, f64)>,
}

impl Grid {
    const STEPS: usize = 400;

    fn of(bound: f64, density: impl Fn(f64) -> f64) -> Self {
        let step = 2.0 * bound / Self::STEPS as f64;
        let points = (0..=Self::STEPS).map(|i| {
            let x = step.mul_add(i as f64, -bound);
            let weight = match i {
                0 | Self::STEPS => 1.0,
                odd if odd % 2 == 1 => 4.0,
                _ => 2.0,
            };
            (x, density(x) * weight * step / 3.0)
        });
        Self { points: points.collect() }
    }

    /// The density of the score after `more` information.
    fn density(&self, score: f64, more: f64) -> f64 {
        let (normal, scale) = (Normal::standard(), more.sqrt());
        self.points.iter().map(|(x, mass)| mass * normal.pdf((score - x) / scale) / scale).sum()
    }

    /// The probability that the score is beyond `bound`, on either side, after `more`
    /// information.
    fn beyond(&self, bound: f64, more: f64) -> f64 {
        let (normal, scale) = (Normal::standard(), more.sqrt());
        let beyond = |x: f64| normal.sf((bound - x) / scale) + normal.cdf((-bound - x) / scale);
        self.points.iter().map(|(x, mass)| mass * beyond(*x)).sum()
    }

    /// The bound that so much probability lies beyond.
    fn bound(&self, probability: f64, more: f64) -> f64 {
        let (mut low, mut high) = (0.0, 12.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.beyond(middle, more) > probability {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(levels: &[f64]) -> Vec<f64> {
        levels.iter().map(|level| Normal::standard().inverse_cdf(1.0 - level / 2.0)).collect()
    }

    fn assert_close(found: &[f64], published: &[f64]) {
        assert_eq!(found.len(), published.len());
        for (found, published) in found.iter().zip(published) {
            assert!((found - published).abs() < 2e-3, "{found} {published}");
        }
    }

    /// Reboussin, DeMets, Kim and Lan, "Computations for group sequential boundaries using
    /// the Lan-DeMets spending function method", Controlled Clinical Trials 21, 2000:
    /// five equal looks, two-sided 0.05.
    #[test]
    fn bounds_are_the_published_ones() {
        let looks = [0.2, 0.4, 0.6, 0.8, 1.0];
        let flat = nominal_levels(&looks, 0.05, Spending::Pocock);
        assert_close(&bounds(&flat), &[2.438, 2.427, 2.410, 2.397, 2.386]);
        let steep = nominal_levels(&looks, 0.05, Spending::OBrienFleming);
        assert_close(&bounds(&steep), &[4.8769, 3.3569, 2.6803, 2.2898, 2.0310]);
    }

    #[test]
    fn one_look_may_spend_all() {
        for spending in [Spending::Pocock, Spending::OBrienFleming] {
            assert!((nominal_levels(&[1.0], 0.01, spending)[0] - 0.01).abs() < 1e-9);
        }
    }
}
