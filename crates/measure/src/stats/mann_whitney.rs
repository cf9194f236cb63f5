//! The test for two unpaired samples.

use super::normal_tail;

/// Result of [`mann_whitney`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Number of pairs in which the value of the first sample is greater; ties count half.
    pub u: f64,
    /// Two-sided p-value of "neither sample tends to have greater values".
    pub p: f64,
}

/// The Mann-Whitney U test, by the normal approximation with corrections for continuity and ties
/// (Lehmann, "Nonparametrics", 1975, section 1.4). The approximation is good from about eight
/// values per sample on. `p` is 1 if all values are equal or a sample is empty.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> MannWhitney {
    let mut pooled: Vec<(f64, bool)> =
        a.iter().map(|&a| (a, true)).chain(b.iter().map(|&b| (b, false))).collect();
    pooled.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for equal in pooled.chunk_by(|x, y| x.0 == y.0) {
        let count = equal.len() as f64;
        let of_a = equal.iter().filter(|(_, of_a)| *of_a).count() as f64;
        rank_sum += of_a * (before + (count + 1.0) / 2.0);
        ties += count.powi(3) - count;
        before += count;
    }
    let (m, n, all) = (a.len() as f64, b.len() as f64, pooled.len() as f64);
    let u = rank_sum - m * (m + 1.0) / 2.0;
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let off = (u - m * n / 2.0).abs() - 0.5;
    // With fewer than two values in total the variance is NaN, which this comparison also rejects.
    let p = if variance > 0.0 { 2.0 * normal_tail(off / variance.sqrt()) } else { 1.0 };
    MannWhitney { u, p: p.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_without_a_difference_have_p_1() {
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0, 1.0, 1.0]), MannWhitney { u: 3.0, p: 1.0 });
        assert_eq!(mann_whitney(&[], &[1.0, 2.0]), MannWhitney { u: 0.0, p: 1.0 });
        assert_eq!(mann_whitney(&[], &[]).p, 1.0);
        assert_eq!(mann_whitney(&[1.0, 4.0], &[2.0, 3.0]).p, 1.0);
    }
}
