//! A permutation test of the mean.

use crate::rng::Rng;

/// Up to this many values, all flips are tried: 2^16 of them.
const EXACT: usize = 16;
/// Number of random flips for more values.
const FLIPS: usize = 9_999;

/// Two-sided p-value of "the mean is `null`": among all ways to flip the signs of the values'
/// differences from `null`, the share whose mean is at least as far from 0 as the observed one
/// (Fisher, "The design of experiments", 1935, section 21). If the null hypothesis is true, each
/// sign is equally likely; no distribution is assumed. The result is 1 without values.
///
/// Up to 16 values, all ways are tried. Beyond that, 9,999 random ways and the observed one are
/// counted, so the p-value is never 0 and the test keeps its level (Phipson and Smyth, "Permutation
/// p-values should never be zero", 2010).
pub fn sign_flip_test(values: &[f64], null: f64, rng: &mut Rng) -> f64 {
    let distances: Vec<f64> = values.iter().map(|value| value - null).collect();
    // A flip that ties with the observed mean must count, despite rounding errors.
    let rounding = 1e-12 * distances.iter().map(|distance| distance.abs()).sum::<f64>();
    let found = distances.iter().sum::<f64>().abs() - rounding;
    let as_far = |flip: &mut dyn FnMut(usize) -> bool| {
        let signed = distances.iter().enumerate();
        let sum: f64 =
            signed.map(|(i, distance)| if flip(i) { -distance } else { *distance }).sum();
        sum.abs() >= found
    };
    if distances.len() <= EXACT {
        let ways = 1_usize << distances.len();
        let count = (0..ways).filter(|way| as_far(&mut |i| way >> i & 1 == 1)).count();
        count as f64 / ways as f64
    } else {
        let count = (0..FLIPS).filter(|_| as_far(&mut |_| rng.roll(2) == 1)).count();
        (count + 1) as f64 / (FLIPS + 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_is_a_share_of_all_flips() {
        let test = |values: &[f64], null| sign_flip_test(values, null, &mut Rng::new(1));
        let values = [1.1, 1.2, 1.3, 1.4];
        assert_eq!(test(&values, 0.0), 2.0 / 16.0);
        assert_eq!(test(&values, 2.0), 2.0 / 16.0);
        assert_eq!(test(&values, 1.25), 1.0);
        // In f64 these values add up to 6e-17, and with all signs flipped to -6e-17. That must
        // count as a tie.
        assert_eq!(test(&[0.1, 0.2, -0.3], 0.0), 1.0);
        assert_eq!(test(&[0.0; 5], 0.0), 1.0);
        assert_eq!(test(&[], 0.0), 1.0);
    }

    #[test]
    fn many_values_never_give_nothing() {
        let p = sign_flip_test(&[1.0; 40], 0.0, &mut Rng::new(1));
        assert_eq!(p, 1e-4);
    }
}
