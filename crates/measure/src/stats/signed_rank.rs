//! The centre of paired differences and its interval, from the means of all pairs of
//! them (Walsh averages).

use statrs::distribution::{ContinuousCDF, Normal};

/// Up to so many differences the distribution of the statistic is counted out.
const EXACT: usize = 60;

/// The estimate of Hodges and Lehmann ("Estimates of location based on rank tests",
/// Annals of Mathematical Statistics 34, 1963): the median of the means of all pairs,
/// each with itself too. Nearly as sharp as the mean where noise is normal, and hardly
/// moved by a few wild differences. NaN without differences.
///
/// ```
/// use brigade_measure::stats::hodges_lehmann;
/// // The means of pairs are 1, 1.5, 2, 5, 5.5 and 9.
/// assert_eq!(hodges_lehmann(&[1.0, 2.0, 9.0]), 3.5);
/// ```
pub fn hodges_lehmann(differences: &[f64]) -> f64 {
    let walsh = walsh_averages(differences);
    let Some(last) = walsh.len().checked_sub(1) else {
        return f64::NAN;
    };
    f64::midpoint(walsh[last / 2], walsh[last.div_ceil(2)])
}

/// The values of the centre that Wilcoxon's signed-rank test does not reject: with
/// differences that are symmetric about it, whatever their distribution, it holds the
/// centre at least as often as `confidence` says (Hollander, Wolfe and Chicken,
/// "Nonparametric statistical methods", 3rd edition, 2014, section 3.3, comment 24; the
/// normal approximation beyond 60 differences is that of the same section). `None` if
/// there are too few differences for that.
pub fn signed_rank_interval(differences: &[f64], confidence: f64) -> Option<[f64; 2]> {
    let walsh = walsh_averages(differences);
    let cut = cut(differences.len(), (1.0 - confidence) / 2.0)?;
    // Counted from 1 the bounds are the cut-th least and the cut-th greatest.
    Some([walsh[cut - 1], walsh[walsh.len() - cut]])
}

/// The least number of differences for which [`signed_rank_interval`] has an answer.
pub fn pairs_needed(confidence: f64) -> usize {
    // The extreme values of the statistic have 1 chance in 2^n each.
    (2.0 / (1.0 - confidence)).log2().ceil().max(1.0) as usize
}

fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut walsh: Vec<f64> = (0..values.len())
        .flat_map(|i| values[..=i].iter().map(move |other| f64::midpoint(values[i], *other)))
        .collect();
    walsh.sort_by(f64::total_cmp);
    walsh
}

/// How many of the extreme values of the statistic T, which runs from 0 to n(n+1)/2, have
/// together at most `tail` of the probability on one side.
fn cut(n: usize, tail: f64) -> Option<usize> {
    let cut = if n <= EXACT { exact_cut(n, tail) } else { normal_cut(n, tail) };
    (cut > 0).then_some(cut)
}

/// By counting for each t the subsets of the ranks 1..n whose sum is t.
fn exact_cut(n: usize, tail: f64) -> usize {
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..=rank * (rank + 1) / 2).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let all = 2.0_f64.powi(n as i32);
    let mut below = 0.0;
    ways.iter()
        .take_while(|count| {
            below += **count / all;
            below <= tail
        })
        .count()
}

fn normal_cut(n: usize, tail: f64) -> usize {
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    let z = Normal::standard().inverse_cdf(tail);
    // The value 0 is the first.
    (mean + z * deviation).floor().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::experiment::Dice;

    #[test]
    fn the_centre_is_the_median_of_the_means_of_pairs() {
        // Pairs of 1, 2, 9: 1, 1.5, 2, 5, 5.5, 9.
        assert_eq!(hodges_lehmann(&[9.0, 1.0, 2.0]), 3.5);
        assert!(hodges_lehmann(&[]).is_nan());
    }

    #[test]
    fn so_few_pairs_allow_so_much_confidence() {
        // 2 / 2^n: with 8 pairs 0.78 %, with 6 pairs 3.1 %.
        assert_eq!((pairs_needed(0.95), pairs_needed(0.99)), (6, 8));
        let few = [0.1, -0.2, 0.3, 0.4, 0.5];
        assert!(signed_rank_interval(&few, 0.95).is_none());
        let enough = [0.1, -0.2, 0.3, 0.4, 0.5, 0.6];
        assert_eq!(signed_rank_interval(&enough, 0.95), Some([-0.2, 0.6]));
    }

    /// Where the two meet they say nearly the same.
    #[test]
    fn the_normal_approximation_joins_the_exact_counts() {
        for tail in [0.025, 0.005, 0.0005] {
            let (exact, normal) = (exact_cut(EXACT, tail), normal_cut(EXACT, tail));
            assert!(exact.abs_diff(normal) * 100 <= exact * 6, "{exact} {normal}");
        }
    }

    #[test]
    fn intervals_hold_the_centre_as_often_as_they_say() {
        let mut dice = Dice::new(5);
        let mut uniform = || dice.roll(1 << 24) as f64 / f64::from(1 << 24);
        for n in [8, 15, 40] {
            let (mut held, rounds) = (0, 2000);
            for _ in 0..rounds {
                // Heavy tails: a Cauchy distribution, cut off far out.
                let noise = || ((uniform() - 0.5) * 3.1).tan();
                let values: Vec<f64> = std::iter::repeat_with(noise).take(n).collect();
                let [low, high] = signed_rank_interval(&values, 0.95).unwrap();
                held += usize::from(low <= 0.0 && 0.0 <= high);
            }
            let coverage = held as f64 / f64::from(rounds);
            assert!((0.935..0.98).contains(&coverage), "{n}: {coverage}");
        }
    }

    proptest! {
        #[test]
        fn shifting_the_differences_shifts_all(
            values in prop::collection::vec(-1e3_f64..1e3, 6..40),
            shift in -1e3_f64..1e3,
        ) {
            let shifted: Vec<f64> = values.iter().map(|value| value + shift).collect();
            let (before, after) = (hodges_lehmann(&values), hodges_lehmann(&shifted));
            prop_assert!((after - before - shift).abs() < 1e-6);
            let before = signed_rank_interval(&values, 0.95).unwrap();
            let after = signed_rank_interval(&shifted, 0.95).unwrap();
            prop_assert!((after[0] - before[0] - shift).abs() < 1e-6);
            prop_assert!(before[0] <= hodges_lehmann(&values) && hodges_lehmann(&values) <= before[1]);
        }
    }
}
