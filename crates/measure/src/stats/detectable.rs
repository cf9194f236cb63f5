//! The smallest effect that a comparison with a given number of values and a given noise would
//! detect.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::signed_rank_interval;

/// The smallest effect that a decision by [`signed_rank_interval`] at confidence `1 - alpha`
/// detects with probability `power`, as a ratio less one: 0.02 is 2 %. The standard error is
/// derived from the length of that interval (Lehmann, "Nonparametric confidence intervals for a
/// shift parameter", 1963). The sum of two quantiles of Student's t approximates the noncentral
/// distribution (Bloom, "Minimum detectable effects", 1995).
///
/// A scaled median absolute deviation is not used, for two reasons. It is too small for few values
/// and so promises too much. It also measures the spread of the values, whereas this function needs
/// the error of the estimate on which the verdict is based. The result is infinite if there are too
/// few values for the interval.
pub fn detectable_by_rank(log_ratios: &[f64], alpha: f64, power: f64) -> f64 {
    let Some([low, high]) = signed_rank_interval(log_ratios, 1.0 - alpha) else {
        return f64::INFINITY;
    };
    detectable_from((high - low) / 2.0, log_ratios.len() as f64 - 1.0, [alpha, alpha], power)
}

/// The same, computed from an interval that reaches `reach` to each side of its estimate, in
/// logarithms. The interval was taken at level `alpha[0]` with this many `degrees` of freedom; the
/// decision is made at level `alpha[1]`.
pub fn detectable_from(reach: f64, degrees: f64, alpha: [f64; 2], power: f64) -> f64 {
    let student = StudentsT::new(0.0, 1.0, degrees).expect("a degree of freedom");
    let [taken, decided] = alpha.map(|alpha| student.inverse_cdf(1.0 - alpha / 2.0));
    (reach / taken * (decided + student.inverse_cdf(power))).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_block_of_many_costs_little() {
        let mut values: Vec<f64> = (0..21).map(|i| f64::from(i - 10) / 1000.0).collect();
        let calm = detectable_by_rank(&values, 0.05, 0.8);
        values[3] = 0.5;
        assert!(detectable_by_rank(&values, 0.05, 0.8) < 1.5 * calm);
    }

    #[test]
    fn a_stricter_level_detects_less() {
        let at = |decided| detectable_from(0.02, 20.0, [0.01, decided], 0.8);
        // Quantiles of t with 20 degrees of freedom: 2.845340 (0.995), 0.859964 (0.8),
        // 3.551808 (0.999).
        assert!((at(0.01).ln_1p() - 0.02 * (2.845_340 + 0.859_964) / 2.845_340).abs() < 1e-7);
        assert!((at(0.002).ln_1p() - 0.02 * (3.551_808 + 0.859_964) / 2.845_340).abs() < 1e-7);
    }

    #[test]
    fn too_few_values_detect_nothing() {
        assert_eq!(detectable_by_rank(&[0.1; 5], 0.05, 0.8), f64::INFINITY);
        assert_eq!(detectable_by_rank(&[0.125; 6], 0.05, 0.8), 0.0);
    }
}
