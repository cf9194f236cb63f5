//! What is commonly done, to compare with.

use statrs::distribution::{ContinuousCDF, Normal};

/// Two-sided p-value of the Mann-Whitney U test by its normal approximation, with ties
/// and continuity corrected (Hollander, Wolfe and Chicken, "Nonparametric statistical
/// methods", 2014, section 4.1). It takes all samples for independent, which samples of
/// one run are not: Brigade's own verdicts do not use it. 1 if a side is empty.
pub fn mann_whitney(base: &[f64], head: &[f64]) -> f64 {
    let (m, n) = (base.len() as f64, head.len() as f64);
    let mut all: Vec<(f64, bool)> =
        base.iter().map(|x| (*x, false)).chain(head.iter().map(|x| (*x, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for equal in all.chunk_by(|a, b| a.0 == b.0) {
        let count = equal.len() as f64;
        let rank = before + f64::midpoint(1.0, count);
        rank_sum += rank * equal.iter().filter(|(_, is_head)| *is_head).count() as f64;
        ties += count * (count * count - 1.0);
        before += count;
    }
    let u = rank_sum - n * (n + 1.0) / 2.0;
    let total = m + n;
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    // Also not where a side is empty, or all are the same.
    if variance.is_nan() || variance <= 0.0 {
        return 1.0;
    }
    let z = ((u - m * n / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * Normal::standard().sf(z)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_scipy() {
        // scipy.stats.mannwhitneyu(a, b, method="asymptotic").pvalue, SciPy 1.17.
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        assert!((mann_whitney(&a, &b) - MANN_WHITNEY_TIES).abs() < 1e-9);
        let c = [0.1, 0.9, 2.2, 3.3];
        assert!((mann_whitney(&c, &b) - MANN_WHITNEY).abs() < 1e-9);
        assert_eq!(mann_whitney(&[], &b), 1.0);
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0]), 1.0);
    }

    const MANN_WHITNEY_TIES: f64 = 0.021_722_119_820_512_295;
    const MANN_WHITNEY: f64 = 0.010_733_416_102_997_193;
}
