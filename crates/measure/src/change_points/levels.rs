//! Estimates two levels in a stretch of values, and the significance of their difference.
//!
//! The values of commits are medians of a benchmark's runs. Most differ by a little, some by a lot,
//! and an outlier is more often too slow than too fast. Means and variances follow the few
//! outliers. Medians and ranks discard by how much the other values differ, so five values after a
//! change are too few to tell it from chance. Therefore a level is Huber's M-estimate ("Robust
//! estimation of a location parameter", 1964), computed by one step from the median (Bickel,
//! "One-step Huber estimates in the linear model", 1975). Values within 1.5 standard deviations
//! count as in a mean; a value farther out counts as if it were at that distance. The difference of
//! two levels over its standard error is compared with Student's t.
//!
//! For normal noise this test is nearly exact. For few values of other noise it rejects too often:
//! with two outliers among four values, the median is off, too. The rank test of the same split
//! protects against that, because its level is exact for any noise. Both tests must therefore
//! reject.
//!
//! Neighbouring commits are often measured on a machine in the same state, so their values deviate
//! in the same direction. Means of such values vary more than those of independent values. The
//! correlation of neighbours is therefore estimated from the residuals of the two levels, and the
//! standard error is that of means of a first-order autoregressive process with this correlation.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::stats::{median, median_in_place};

/// Values farther from their level than this number of standard deviations count as if they were at
/// that distance.
const CLIP: f64 = 1.5;
/// Factors from the median of the absolute residuals, and from their mean, to the standard
/// deviation of normal residuals.
const FROM_MEDIAN: f64 = 1.482_602_218_505_602;
const FROM_MEAN: f64 = 1.253_314_137_315_5;
/// Upper bound of the estimated correlation: with a higher one, there are no levels.
const MOST_CORRELATION: f64 = 0.8;

/// Difference between the levels after and before a split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    /// The difference, here of logarithms.
    pub(super) by: f64,
    /// Its standard error.
    error: f64,
    degrees: f64,
}

impl Shift {
    /// The absolute difference over its standard error; infinite without noise.
    pub(super) fn t(&self) -> f64 {
        ratio(self.by.abs(), self.error)
    }

    /// Two-sided p-value: the probability of a difference at least this large without a change.
    pub(super) fn p(&self) -> f64 {
        let t = self.t();
        if t.is_infinite() { 0.0 } else { 2.0 * self.student().cdf(-t) }
    }

    /// Half the width of the interval with this confidence.
    pub(super) fn reach(&self, confidence: f64) -> f64 {
        self.student().inverse_cdf(0.5 + confidence / 2.0) * self.error
    }

    fn student(&self) -> StudentsT {
        StudentsT::new(0.0, 1.0, self.degrees.max(1.0)).expect("a degree of freedom")
    }
}

fn ratio(by: f64, error: f64) -> f64 {
    // Equal levels are not a change, even if the noise is zero.
    if by == 0.0 { 0.0 } else { by / error }
}

/// Difference of the levels before `at` and from `at` on. Its standard error takes the correlation
/// of neighbours into account.
pub(super) fn shift(values: &[f64], at: usize) -> Shift {
    let two = TwoLevels::of(values, at);
    let rho = two.correlation();
    two.shift([at, values.len() - at].map(|count| correlated(count, rho)))
}

/// The t statistic under the assumption of independent values. It determines which split is best.
pub(super) fn statistic(values: &[f64], at: usize) -> f64 {
    TwoLevels::of(values, at).shift([1.0; 2]).t()
}

/// The split that minimises Huber's loss around the two levels, at least `shortest` values away
/// from both ends. The loss grows with the distance of a value from its level. The difference of
/// the levels says little about the position of a large step, because a value on the wrong side is
/// far out and counts as if it were near. `around` is a first estimate of the position.
pub(super) fn place(values: &[f64], around: usize, shortest: usize) -> usize {
    let clip = TwoLevels::of(values, around).clip;
    let loss = |at: usize| -> f64 {
        let two = TwoLevels::with(values, at, clip);
        let of = |value: &f64| match value.abs() {
            near if near <= clip => near * near / 2.0,
            far => clip * (far - clip / 2.0),
        };
        two.residuals.iter().map(of).sum()
    };
    let places = shortest..=values.len() - shortest;
    // Of equal losses, the first position wins.
    places.map(|at| (loss(at), at)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(around, |(_, at)| at)
}

/// The level of values that contain no change.
pub(super) fn level(values: &[f64]) -> f64 {
    let middle = median(values);
    let residuals: Vec<f64> = values.iter().map(|value| value - middle).collect();
    let clip = CLIP * scale(&residuals);
    middle + step(&residuals, clip, inliers(&residuals, clip))
}

/// Factor by which the variance of the mean of this many values exceeds that of independent values,
/// if neighbours have correlation `rho` and values farther apart its powers.
fn correlated(count: usize, rho: f64) -> f64 {
    if rho <= 0.0 {
        return 1.0;
    }
    let (n, rest) = (count as f64, 1.0 - rho);
    (1.0 + rho) / rest - 2.0 * rho * (1.0 - rho.powi(count as i32)) / (n * rest * rest)
}

/// Two levels, and the residual of each value from its level.
struct TwoLevels {
    at: usize,
    by: f64,
    residuals: Vec<f64>,
    /// Residuals beyond this distance count as if they were at this distance.
    clip: f64,
    /// The share of values within this distance.
    inliers: f64,
}

impl TwoLevels {
    fn of(values: &[f64], at: usize) -> Self {
        let (residuals, middles) = about_medians(values, at);
        let clip = CLIP * scale(&residuals);
        Self::from_medians(at, residuals, middles, clip)
    }

    fn with(values: &[f64], at: usize, clip: f64) -> Self {
        let (residuals, middles) = about_medians(values, at);
        Self::from_medians(at, residuals, middles, clip)
    }

    fn from_medians(at: usize, mut residuals: Vec<f64>, middles: [f64; 2], clip: f64) -> Self {
        let inliers = inliers(&residuals, clip);
        let (first, second) = residuals.split_at_mut(at);
        let steps = [step(first, clip, inliers), step(second, clip, inliers)];
        first.iter_mut().for_each(|value| *value -= steps[0]);
        second.iter_mut().for_each(|value| *value -= steps[1]);
        let by = middles[1] + steps[1] - middles[0] - steps[0];
        Self { at, by, residuals, clip, inliers }
    }

    fn clipped(&self) -> impl Iterator<Item = f64> {
        self.residuals.iter().map(|value| value.clamp(-self.clip, self.clip))
    }

    /// Difference with its standard error. `larger` is the factor, for each side, by which the
    /// variance of the level exceeds that of independent values.
    fn shift(&self, larger: [f64; 2]) -> Shift {
        let n = self.residuals.len();
        let degrees = n as f64 - 2.0;
        let squares: f64 = self.clipped().map(|value| value * value).sum();
        // The variance of a value in such a level: Huber, "Robust statistics", 1981, section 6.5.
        let variance = squares / degrees / (self.inliers * self.inliers);
        let counts = [self.at as f64, (n - self.at) as f64];
        let error = (variance * (larger[0] / counts[0] + larger[1] / counts[1])).sqrt();
        Shift { by: self.by, error, degrees }
    }

    /// Correlation of neighbours. Residuals from estimated levels correlate less than the values
    /// do. The difference is about (1 + 4 rho) / n for each level, where n is the number of
    /// residuals (Kendall, "Note on bias in the estimation of autocorrelation", 1954).
    fn correlation(&self) -> f64 {
        let clipped: Vec<f64> = self.clipped().collect();
        let squares: f64 = clipped.iter().map(|value| value * value).sum();
        if squares == 0.0 {
            return 0.0;
        }
        let products: f64 = clipped.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let n = self.residuals.len() as f64;
        let seen = products / squares;
        (seen + 2.0 * (1.0 + 4.0 * seen.max(0.0)) / n).clamp(0.0, MOST_CORRELATION)
    }
}

/// The residual of each value from the median of its side, and both medians.
fn about_medians(values: &[f64], at: usize) -> (Vec<f64>, [f64; 2]) {
    let mut residuals = values.to_vec();
    let (before, after) = residuals.split_at_mut(at);
    let middles = [median_in_place(before), median_in_place(after)];
    // The selection of the medians has reordered the residuals, so they are recomputed from
    // `values`.
    for (residual, (i, value)) in residuals.iter_mut().zip(values.iter().enumerate()) {
        *residual = value - middles[usize::from(i >= at)];
    }
    (residuals, middles)
}

/// Robust estimate of the standard deviation of the residuals, from the median of their absolute
/// values. If more than half are 0, as with a metric that is counted in pages of memory, it is
/// computed from their mean.
fn scale(residuals: &[f64]) -> f64 {
    let mut absolute: Vec<f64> = residuals.iter().map(|value| value.abs()).collect();
    match median_in_place(&mut absolute) {
        middle if middle > 0.0 => FROM_MEDIAN * middle,
        _ => FROM_MEAN * absolute.iter().sum::<f64>() / absolute.len() as f64,
    }
}

fn inliers(residuals: &[f64], clip: f64) -> f64 {
    let within = residuals.iter().filter(|value| value.abs() <= clip).count();
    // By the choice of the clip, at least half of the residuals are within it, unless all are
    // equal.
    within.max(1) as f64 / residuals.len() as f64
}

/// Distance from the median to the level: one Newton step.
fn step(residuals: &[f64], clip: f64, inliers: f64) -> f64 {
    let sum: f64 = residuals.iter().map(|value| value.clamp(-clip, clip)).sum();
    sum / residuals.len() as f64 / inliers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_mean_that_one_wild_value_moves_little() {
        let calm = [0.9, 1.0, 1.1, 1.0, 0.95, 1.05, 1.0, 1.0];
        assert!((level(&calm) - 1.0).abs() < 0.01);
        let wild = [0.9, 1.0, 1.1, 1.0, 0.95, 1.05, 1.0, 100.0];
        assert!((level(&wild) - 1.0).abs() < 0.05, "{}", level(&wild));
    }

    #[test]
    fn without_noise_a_difference_is_certain_and_none_is_none() {
        let found = shift(&[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], 4);
        assert_eq!((found.by, found.t(), found.p()), (1.0, f64::INFINITY, 0.0));
        assert_eq!(found.reach(0.95), 0.0);
        let none = shift(&[1.0; 8], 4);
        assert_eq!((none.by, none.t(), none.p()), (0.0, 0.0, 1.0));
    }

    #[test]
    fn means_of_correlated_values_vary_by_more() {
        assert_eq!(correlated(5, 0.0), 1.0);
        // 1 + 2 (4/5 0.3 + 3/5 0.09 + 2/5 0.027 + 1/5 0.0081).
        assert!((correlated(5, 0.3) - 1.612_84).abs() < 1e-9);
        assert!((correlated(100_000, 0.3) - 1.3 / 0.7).abs() < 1e-4);
    }

    #[test]
    fn alternating_values_are_not_believed_to_be_better_than_independent_ones() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        assert_eq!(TwoLevels::of(&values, 20).correlation(), 0.0);
    }
}
