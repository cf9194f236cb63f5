//! What could have been found.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The smallest effect that a test of the centre of as many differences with the same
/// noise would find with probability `power` at the two-sided level `alpha`, in the unit
/// of the differences: (t at 1 - alpha/2 + t at power) x standard error, with Student's t
/// (Bloom, "Minimum detectable effects", Evaluation Review 19, 1995). The noise is the
/// median distance from the median x 1.4826, which is the standard deviation if it is
/// normal and is not moved by a few disturbed blocks (Hampel, "The influence curve and its
/// role in robust estimation", 1974), as the estimate is not. Infinite for fewer than 3
/// differences.
pub fn detectable(differences: &[f64], alpha: f64, power: f64) -> f64 {
    let n = differences.len();
    let Ok(t) = StudentsT::new(0.0, 1.0, n.saturating_sub(1) as f64) else {
        return f64::INFINITY;
    };
    if n < 3 {
        return f64::INFINITY;
    }
    let middle = crate::experiment::median(differences);
    let distances: Vec<f64> = differences.iter().map(|value| (value - middle).abs()).collect();
    let spread = 1.4826 * crate::experiment::median(&distances);
    (t.inverse_cdf(1.0 - alpha / 2.0) + t.inverse_cdf(power)) * spread / (n as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bloom_s_multiple_of_the_standard_error() {
        // Median 0, median distance 1: a spread of 1.4826 over sqrt(21).
        let differences: Vec<f64> = (0..21).map(|i| f64::from(i % 3) - 1.0).collect();
        // qt(.975, 20) + qt(.8, 20) in R 4.2: 2.085963 + 0.8599644.
        let expected = (2.085_963 + 0.859_964_4) * 1.4826 / 21_f64.sqrt();
        assert!((detectable(&differences, 0.05, 0.8) - expected).abs() < 1e-5);
        assert_eq!(detectable(&[1.0, 2.0], 0.05, 0.8), f64::INFINITY);
    }
}
