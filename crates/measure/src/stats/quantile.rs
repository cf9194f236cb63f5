//! Quantiles of samples.

use super::sorted;

/// The value that a share `q` of the samples does not exceed, with linear interpolation between
/// neighbours (type 7 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996). The
/// samples must be in ascending order. NaN without samples.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    between(low, high, at.fract())
}

/// Linear interpolation. Equal neighbours are returned as they are, because the difference of two
/// infinite values is NaN.
fn between(low: f64, high: f64, share: f64) -> f64 {
    if low == high || share == 0.0 { low } else { low + (high - low) * share }
}

/// The median of samples in any order: with an even number of samples, the mean of the two in the
/// middle. NaN without samples.
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// Like [`median`], but reorders the samples and takes linear time.
pub fn median_in_place(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let half = values.len() / 2;
    let is_odd = values.len() % 2 == 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp);
    match lower {
        Some(lower) if !is_odd => between(lower, upper, 0.5),
        _ => upper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_r_type_7() {
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        // quantile(c(1,2,4,8,16), c(0,.1,.5,.95,1)) in R 4.2.
        let expected = [1.0, 1.4, 4.0, 14.4, 16.0];
        for (q, expected) in [0.0, 0.1, 0.5, 0.95, 1.0].into_iter().zip(expected) {
            assert!((quantile(&sorted, q) - expected).abs() < 1e-12);
        }
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn the_median_needs_no_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
        assert!(median(&[]).is_nan());
        for n in 1..9 {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * 5 % 7)).collect();
            assert_eq!(median_in_place(&mut values.clone()), median(&values), "{values:?}");
        }
        assert!(median_in_place(&mut []).is_nan());
    }

    #[test]
    fn infinite_samples_have_quantiles() {
        let sorted = [1.0, f64::INFINITY, f64::INFINITY];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!([quantile(&sorted, 0.5), quantile(&sorted, 0.9)], [f64::INFINITY; 2]);
    }
}
