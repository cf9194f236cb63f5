//! Estimation of location by signed ranks: the Hodges-Lehmann estimate, and the interval that
//! corresponds to Wilcoxon's signed-rank test.
//!
//! Both use the Walsh averages, which are the means of all pairs of values, including each value
//! paired with itself. Both assume that the values are independent and symmetric about one centre,
//! which log ratios of two variants in random order are. They assume nothing about the tails, so a
//! disturbed block moves them little.
//!
//! Memory use grows with the square of the number of values: 1,000 values take 4 MB.

use super::{median, normal_quantile};

/// Up to this many values, the null distribution is computed exactly; beyond, it is approximated by
/// a normal distribution.
const EXACT: usize = 50;

/// The Hodges-Lehmann estimate of the centre: the median of the Walsh averages (Hodges
/// and Lehmann, "Estimates of location based on rank tests", 1963), in the unit of the
/// values. NaN without values.
pub fn hodges_lehmann(values: &[f64]) -> f64 {
    median(&walsh_averages(values))
}

/// Interval of the centre: all centres that Wilcoxon's signed-rank test would not reject
/// (Hollander, Wolfe and Chicken, "Nonparametric statistical methods", 3rd edition 2013, section
/// 3.3), in the unit of the values. It covers the centre with at least `confidence`, as in 0.95.
/// Ties only make it wider than necessary.
///
/// The test's null distribution is exact for up to 50 values, and normal with continuity correction
/// beyond. `None` if there are fewer values than [`signed_rank_blocks_needed`].
///
/// # Panics
///
/// If `confidence` is not from 0 to 1.
pub fn signed_rank_interval(values: &[f64], confidence: f64) -> Option<[f64; 2]> {
    let beyond = (1.0 - confidence) / 2.0;
    let rank = if values.len() < signed_rank_blocks_needed(confidence) {
        return None;
    } else if values.len() <= EXACT {
        rank_exact(values.len(), beyond)
    } else {
        rank_normal(values.len(), beyond)
    };
    let mut averages = walsh_averages(values);
    let from_above = averages.len() - rank;
    let (_, &mut low, _) = averages.select_nth_unstable_by(rank - 1, f64::total_cmp);
    let (_, &mut high, _) = averages.select_nth_unstable_by(from_above, f64::total_cmp);
    Some([low, high])
}

/// The minimum number of values for which [`signed_rank_interval`] exists. With fewer values, even
/// all of them on one side of the centre is not rare enough. The result is 6 for 0.95, 8 for 0.99,
/// and larger than any real sample for 1. The level of the first of many interim analyses can come
/// that close to 0.
///
/// # Panics
///
/// If `confidence` is not from 0 to 1.
pub fn signed_rank_blocks_needed(confidence: f64) -> usize {
    assert!((0.0..=1.0).contains(&confidence), "confidence {confidence} is not in [0, 1]");
    // All values on one given side is one case of 2^n.
    (2.0 / (1.0 - confidence)).log2().ceil() as usize
}

fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let pairs = values.iter().enumerate().flat_map(|(i, a)| {
        // Halving before adding avoids overflow, so two finite values have a finite average.
        values[i..].iter().map(move |b| a / 2.0 + b / 2.0)
    });
    pairs.collect()
}

/// Rank, counted from 1, of the Walsh average that is the lower bound. It is the greatest k such
/// that T, the sum of the ranks of the positive values, is below k with a probability of at most
/// `beyond`.
fn rank_exact(n: usize, beyond: f64) -> usize {
    // Each rank is in the sum or not, with equal probability.
    let mut density = vec![0.0; n * (n + 1) / 2 + 1];
    density[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..density.len()).rev() {
            let with = if sum < rank { 0.0 } else { density[sum - rank] };
            density[sum] = (density[sum] + with) / 2.0;
        }
    }
    let mut below = 0.0;
    let rare = density.iter().take_while(|mass| {
        below += *mass;
        below <= beyond
    });
    rare.count()
}

fn rank_normal(n: usize, beyond: f64) -> usize {
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    // P(T < k) is approximately the probability that a normal variable is below k - 1/2.
    (mean + 0.5 + normal_quantile(beyond) * deviation).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_shrugs_off_one_wild_value() {
        assert_eq!(hodges_lehmann(&[1.0, 2.0, 6.0]), 2.75);
        assert!((hodges_lehmann(&[1.0, 1.1, 0.9, 1.0, 1e9]) - 1.05).abs() < 0.06);
        assert!(hodges_lehmann(&[]).is_nan());
    }

    #[test]
    fn few_values_have_no_interval() {
        let values = [0.1, 0.3, -0.2, 0.5, 0.4, 0.2, 0.6, 0.7];
        for (confidence, needed) in [(0.5, 2), (0.9, 5), (0.95, 6), (0.99, 8)] {
            assert_eq!(signed_rank_blocks_needed(confidence), needed);
            assert_eq!(signed_rank_interval(&values[..needed - 1], confidence), None);
            // With just enough values, the interval is the range of the values.
            let mut just = values[..needed].to_vec();
            let found = signed_rank_interval(&just, confidence);
            just.sort_by(f64::total_cmp);
            assert_eq!(found, Some([just[0], just[needed - 1]]));
        }
        assert_eq!(signed_rank_interval(&values, 1.0), None);
    }

    #[test]
    fn the_exact_ranks_are_those_of_the_tables() {
        // qsignrank(.025, n) in R.
        for (n, rank) in [(6, 1), (7, 3), (8, 4), (9, 6), (10, 9), (20, 53), (30, 138), (50, 435)] {
            assert_eq!(rank_exact(n, 0.025), rank, "n = {n}");
        }
    }

    #[test]
    fn the_approximation_takes_over_without_a_jump() {
        for beyond in [0.05, 0.025, 0.005] {
            for n in [EXACT, EXACT + 1, 80] {
                let (exact, normal) = (rank_exact(n, beyond), rank_normal(n, beyond));
                assert!(exact.abs_diff(normal) <= exact / 50, "n = {n}: {exact} and {normal}");
            }
        }
    }
}
