//! Several tests at once.

/// The p-values after Holm's correction ("A simple sequentially rejective multiple test
/// procedure", Scandinavian Journal of Statistics 6, 1979), in the order of the given
/// ones: who rejects what is below a level is wrong anywhere no more often than that.
///
/// ```
/// use brigade_measure::stats::holm;
/// assert_eq!(holm(&[0.01, 0.5, 0.02]), [0.03, 0.5, 0.04]);
/// ```
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, &place) in order.iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[place]).min(1.0);
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_r() {
        // p.adjust(c(.01,.02,.03,.04,.05,.001), "holm") in R 4.2.
        let expected = [0.05, 0.08, 0.09, 0.09, 0.09, 0.006];
        let adjusted = holm(&[0.01, 0.02, 0.03, 0.04, 0.05, 0.001]);
        for (adjusted, expected) in adjusted.into_iter().zip(expected) {
            assert!((adjusted - expected).abs() < 1e-12, "{adjusted} {expected}");
        }
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
