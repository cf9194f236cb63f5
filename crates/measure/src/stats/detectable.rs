//! The least effect that a comparison of this size and noise would find.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::signed_rank_interval;

/// The least effect that the two-sided one-sample t-test at level `alpha` finds with
/// probability `power`, from the standard deviation of these log ratios, as a ratio less
/// one: 0.02 is 2 %. The sum of two quantiles of Student's t stands for the noncentral
/// distribution (Bloom, "Minimum detectable effects", 1995).
///
/// Infinite with fewer than two values. One wild value makes it large; for a decision by
/// [`signed_rank_interval`] take [`detectable_by_rank`].
pub fn detectable(log_ratios: &[f64], alpha: f64, power: f64) -> f64 {
    let n = log_ratios.len() as f64;
    if n < 2.0 {
        return f64::INFINITY;
    }
    let mean = log_ratios.iter().sum::<f64>() / n;
    let squares: f64 = log_ratios.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / (n - 1.0) / n).sqrt();
    let student = student(n);
    ((student(1.0 - alpha / 2.0) + student(power)) * error).exp_m1()
}

/// The same for a decision by [`signed_rank_interval`] at confidence `1 - alpha`: the
/// standard error is read off that interval's length (Lehmann, "Nonparametric confidence
/// intervals for a shift parameter", 1963).
///
/// Why not a scaled median absolute deviation: that is too small for few values, and so
/// promises too much; and it is the spread of the values, while this is the error of the
/// very estimate that is judged. Infinite if there are too few values for the interval.
pub fn detectable_by_rank(log_ratios: &[f64], alpha: f64, power: f64) -> f64 {
    let Some([low, high]) = signed_rank_interval(log_ratios, 1.0 - alpha) else {
        return f64::INFINITY;
    };
    let student = student(log_ratios.len() as f64);
    let reach = (high - low) / 2.0;
    (reach * (1.0 + student(power) / student(1.0 - alpha / 2.0))).exp_m1()
}

/// Quantiles of Student's t for `n` values.
fn student(n: f64) -> impl Fn(f64) -> f64 {
    let student = StudentsT::new(0.0, 1.0, n - 1.0).expect("a degree of freedom");
    move |p| student.inverse_cdf(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_block_of_many_costs_the_ranks_little() {
        let mut values: Vec<f64> = (0..21).map(|i| f64::from(i - 10) / 1000.0).collect();
        let (calm, calm_by_rank) =
            (detectable(&values, 0.05, 0.8), detectable_by_rank(&values, 0.05, 0.8));
        assert!((calm / calm_by_rank - 1.0).abs() < 0.25, "{calm} and {calm_by_rank}");
        values[3] = 0.5;
        assert!(detectable(&values, 0.05, 0.8) > 10.0 * calm);
        assert!(detectable_by_rank(&values, 0.05, 0.8) < 1.5 * calm_by_rank);
    }

    #[test]
    fn too_few_values_detect_nothing() {
        assert_eq!(detectable(&[0.1], 0.05, 0.8), f64::INFINITY);
        assert_eq!(detectable_by_rank(&[0.1; 5], 0.05, 0.8), f64::INFINITY);
        assert_eq!(detectable(&[0.125; 6], 0.05, 0.8), 0.0);
        assert_eq!(detectable_by_rank(&[0.125; 6], 0.05, 0.8), 0.0);
    }
}
