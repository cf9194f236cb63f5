//! The least effect that a comparison of this size and noise would find.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::signed_rank_interval;

/// The least effect that a decision by [`signed_rank_interval`] at confidence `1 - alpha`
/// finds with probability `power`, as a ratio less one: 0.02 is 2 %. The standard error is
/// read off that interval's length (Lehmann, "Nonparametric confidence intervals for a
/// shift parameter", 1963); the sum of two quantiles of Student's t stands for the
/// noncentral distribution (Bloom, "Minimum detectable effects", 1995).
///
/// Why not a scaled median absolute deviation: that is too small for few values, and so
/// promises too much; and it is the spread of the values, while this is the error of the
/// very estimate that is judged. Infinite if there are too few values for the interval.
pub fn detectable_by_rank(log_ratios: &[f64], alpha: f64, power: f64) -> f64 {
    let Some([low, high]) = signed_rank_interval(log_ratios, 1.0 - alpha) else {
        return f64::INFINITY;
    };
    detectable_from((high - low) / 2.0, log_ratios.len() as f64 - 1.0, [alpha, alpha], power)
}

/// The same where an interval at level `alpha[0]`, of `degrees` of freedom, reaches so far
/// to each side of its estimate, in logarithms, and the decision is made at level
/// `alpha[1]`.
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
