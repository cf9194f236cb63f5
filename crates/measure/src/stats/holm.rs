//! Correction for multiple tests.

/// Adjusted p-values, in the order of the arguments. Comparing each with a level bounds the
/// probability of any false rejection by that level, whatever the dependence between the tests
/// (Holm, "A simple sequentially rejective multiple test procedure", 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[i]).min(1.0);
        adjusted[i] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_as_r_does() {
        // p.adjust(c(.04, .01, .03, .005, .9), "holm")
        let expected = [0.09, 0.04, 0.09, 0.025, 0.9];
        for (found, expected) in holm(&[0.04, 0.01, 0.03, 0.005, 0.9]).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15);
        }
        assert_eq!(holm(&[0.7, 0.6]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
