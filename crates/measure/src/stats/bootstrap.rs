//! Percentile intervals by the bootstrap (Efron and Tibshirani, "An introduction to the
//! bootstrap", 1993, chapter 13), with replication blocks as the unit that is drawn:
//! what disturbs a block disturbs all that is in it.

use super::{quantile, sorted};
use crate::experiment::Dice;

/// One replication block: for each of its arms, as in base and head, the samples.
pub type Block<const ARMS: usize> = [Vec<f64>; ARMS];

/// The interval of a statistic from resampled blocks; what is in a block is kept. Covers
/// with about `confidence`, as in 0.95, in the statistic's unit; too little with fewer
/// than some ten blocks. NaN without blocks.
pub fn over_blocks<T: Clone>(
    blocks: &[T],
    confidence: f64,
    resamples: usize,
    dice: &mut Dice,
    mut statistic: impl FnMut(&[T]) -> f64,
) -> [f64; 2] {
    if blocks.is_empty() {
        return [f64::NAN; 2];
    }
    let mut drawn = blocks.to_vec();
    percentiles(confidence, resamples, || {
        for place in &mut drawn {
            place.clone_from(&blocks[dice.roll(blocks.len())]);
        }
        statistic(&drawn)
    })
}

/// The interval of a statistic from resampled blocks, in each of which every arm's
/// samples are resampled (Davison and Hinkley, "Bootstrap methods and their application",
/// 1997, section 3.8). Otherwise as [`over_blocks`].
///
/// The noise within blocks is already in what differs between them, and here comes in
/// once more: if most noise is within blocks and samples are few, the interval is too
/// wide, by up to a factor of 1.4. It is the right one where a block's own statistic is a
/// coarse one, a high quantile of a few samples.
pub fn hierarchical<const ARMS: usize>(
    blocks: &[Block<ARMS>],
    confidence: f64,
    resamples: usize,
    dice: &mut Dice,
    mut statistic: impl FnMut(&[Block<ARMS>]) -> f64,
) -> [f64; 2] {
    if blocks.is_empty() {
        return [f64::NAN; 2];
    }
    let mut drawn = blocks.to_vec();
    percentiles(confidence, resamples, || {
        for place in &mut drawn {
            let block = &blocks[dice.roll(blocks.len())];
            for (arm, samples) in place.iter_mut().zip(block) {
                arm.clear();
                arm.extend(samples.iter().map(|_| samples[dice.roll(samples.len())]));
            }
        }
        statistic(&drawn)
    })
}

fn percentiles(confidence: f64, resamples: usize, estimate: impl FnMut() -> f64) -> [f64; 2] {
    let estimates: Vec<f64> = std::iter::repeat_with(estimate).take(resamples).collect();
    let estimates = sorted(&estimates);
    let beyond = (1.0 - confidence) / 2.0;
    [quantile(&estimates, beyond), quantile(&estimates, 1.0 - beyond)]
}

/// The interval of a statistic of two sets of blocks that do not belong together in pairs:
/// each is resampled by itself. NaN if one is empty.
pub fn of_two(
    base: &[f64],
    head: &[f64],
    confidence: f64,
    resamples: usize,
    dice: &mut Dice,
    mut statistic: impl FnMut(&[f64], &[f64]) -> f64,
) -> [f64; 2] {
    if base.is_empty() || head.is_empty() {
        return [f64::NAN; 2];
    }
    let draw = |values: &[f64], dice: &mut Dice| -> Vec<f64> {
        values.iter().map(|_| values[dice.roll(values.len())]).collect()
    };
    let estimates: Vec<f64> =
        (0..resamples).map(|_| statistic(&draw(base, dice), &draw(head, dice))).collect();
    let estimates = sorted(&estimates);
    let tail = (1.0 - confidence) / 2.0;
    [quantile(&estimates, tail), quantile(&estimates, 1.0 - tail)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::median;

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
        sum / n
    }

    #[test]
    fn the_interval_of_a_mean_has_the_length_that_theory_gives() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let mut dice = Dice::new(5);
        let [low, high] =
            over_blocks(&values, 0.95, 4000, &mut dice, |drawn| mean(drawn.iter().copied()));
        // Standard deviation of 0..100 by its own mean, over the root of 100, times 1.96.
        let reach = 28.866 / 10.0 * 1.96;
        assert!((low - (49.5 - reach)).abs() < 0.3 && (high - (49.5 + reach)).abs() < 0.3);
    }

    #[test]
    fn arms_stay_with_their_block_and_samples_with_their_arm() {
        let blocks: Vec<Block<2>> =
            (1..=9).map(|i| [vec![f64::from(i); 4], vec![f64::from(10 * i); 2]]).collect();
        let ratio = |drawn: &[Block<2>]| {
            for [base, head] in drawn {
                assert_eq!((base.len(), head.len()), (4, 2));
                assert_eq!(head[1], 10.0 * base[3]);
            }
            median(&drawn.iter().map(|[base, head]| head[0] / base[0]).collect::<Vec<_>>())
        };
        assert_eq!(hierarchical(&blocks, 0.95, 200, &mut Dice::new(1), ratio), [10.0; 2]);
    }

    #[test]
    fn noise_within_blocks_shows_only_if_samples_are_drawn_too() {
        // Every block is the same: all noise is within.
        let blocks = vec![[vec![1.0, 2.0, 3.0, 4.0]]; 10];
        let centre = |drawn: &[Block<1>]| mean(drawn.iter().flatten().flatten().copied());
        let [low, high] = over_blocks(&blocks, 0.95, 500, &mut Dice::new(1), centre);
        assert_eq!([low, high], [2.5; 2]);
        let [low, high] = hierarchical(&blocks, 0.95, 500, &mut Dice::new(1), centre);
        assert!(low < 2.3 && high > 2.7);
    }

    #[test]
    fn nothing_has_no_interval() {
        let none: &[Block<1>] = &[];
        assert!(over_blocks(none, 0.95, 9, &mut Dice::new(1), |_| 0.0)[0].is_nan());
        assert!(hierarchical(none, 0.95, 9, &mut Dice::new(1), |_| 0.0)[1].is_nan());
    }
}
