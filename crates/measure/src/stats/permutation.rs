//! A test that needs nothing but symmetry.

use crate::experiment::Dice;

/// Up to so many differences all ways to flip their signs are tried.
const EXACT: usize = 14;
const SAMPLED: usize = 10_000;

/// How likely the mean of the differences would be as far from 0 as it is, on either
/// side, were each difference as likely to have the other sign (Fisher, "The design of
/// experiments", 1935, chapter III). All ways are tried for up to 14 differences; beyond,
/// 10,000 random ones, with the observed one counted among them, so that the level is held
/// (Phipson and Smyth, "Permutation p-values should never be zero", 2010). 1 without
/// differences.
pub fn sign_flip_test(differences: &[f64], seed: u64) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    // Sums of the same figures in another order may differ in the last digits.
    let limit = observed * (1.0 - 1e-12);
    if differences.len() <= EXACT {
        let ways = 1_u32 << differences.len();
        let extreme = (0..ways).filter(|way| flipped(differences, |i| way >> i & 1 == 1) >= limit);
        return extreme.count() as f64 / f64::from(ways);
    }
    let mut dice = Dice::new(seed);
    let extreme = (0..SAMPLED).filter(|_| flipped(differences, |_| dice.roll(2) == 1) >= limit);
    (extreme.count() + 1) as f64 / (SAMPLED + 1) as f64
}

fn flipped(differences: &[f64], mut flip: impl FnMut(usize) -> bool) -> f64 {
    let sum: f64 = differences
        .iter()
        .enumerate()
        .map(|(i, value)| if flip(i) { -value } else { *value })
        .sum();
    sum.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_differences_are_counted_out() {
        // All of one sign: only that way and its mirror are as extreme.
        assert_eq!(sign_flip_test(&[1.0, 2.0, 3.0, 4.0], 1), 2.0 / 16.0);
        assert_eq!(sign_flip_test(&[], 1), 1.0);
        assert_eq!(sign_flip_test(&[1.0, -1.0], 1), 1.0);
    }

    #[test]
    fn it_holds_its_level_and_finds_a_shift() {
        let mut dice = Dice::new(11);
        let (mut false_alarms, mut found, rounds) = (0, 0, 300);
        for round in 0..rounds {
            let noise: Vec<f64> = (0..20).map(|_| dice.roll(2001) as f64 / 1000.0 - 1.0).collect();
            let shifted: Vec<f64> = noise.iter().map(|value| value + 0.6).collect();
            false_alarms += usize::from(sign_flip_test(&noise, round) < 0.05);
            found += usize::from(sign_flip_test(&shifted, round) < 0.05);
        }
        // 15 are expected, with a standard deviation of 3.8.
        assert!(false_alarms < 28, "{false_alarms}");
        assert!(found > 280, "{found}");
    }
}
