//! Percentile intervals by the bootstrap (Efron and Tibshirani, "An introduction to the bootstrap",
//! 1993, chapter 13). The unit of resampling is the replication block, because a disturbance of a
//! block affects all its samples.

use super::{quantile, sorted};
use crate::rng::Rng;

/// One replication block: the samples of each of its arms, for example base and head.
pub type BlockSamples<const ARMS: usize> = [Vec<f64>; ARMS];

/// Interval of a statistic, from resampling whole blocks; the samples within a block are not
/// resampled. The interval is in the statistic's unit. Its coverage is about `confidence` (as in
/// 0.95), but too low with fewer than about ten blocks. NaN without blocks.
pub fn over_blocks<T: Clone>(
    blocks: &[T],
    confidence: f64,
    resamples: usize,
    rng: &mut Rng,
    mut statistic: impl FnMut(&[T]) -> f64,
) -> [f64; 2] {
    if blocks.is_empty() {
        return [f64::NAN; 2];
    }
    let mut drawn = blocks.to_vec();
    percentiles(confidence, resamples, || {
        for place in &mut drawn {
            place.clone_from(&blocks[rng.roll(blocks.len())]);
        }
        statistic(&drawn)
    })
}

/// Interval of the median of all samples, from resampling whole blocks as in [`over_blocks`]. It
/// sorts the samples once, and each resample weights a sample by how often its block was drawn.
/// Blocks without samples are ignored.
pub fn of_median(
    blocks: &[Vec<f64>],
    confidence: f64,
    resamples: usize,
    rng: &mut Rng,
) -> [f64; 2] {
    let blocks: Vec<&Vec<f64>> = blocks.iter().filter(|block| !block.is_empty()).collect();
    if blocks.is_empty() {
        return [f64::NAN; 2];
    }
    let of_block = |(at, block): (usize, &&Vec<f64>)| {
        block.iter().map(move |sample| (*sample, at)).collect::<Vec<_>>()
    };
    let mut all: Vec<(f64, usize)> = blocks.iter().enumerate().flat_map(of_block).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut times = vec![0_usize; blocks.len()];
    percentiles(confidence, resamples, || {
        times.fill(0);
        for _ in 0..blocks.len() {
            times[rng.roll(blocks.len())] += 1;
        }
        let count: usize = times.iter().zip(&blocks).map(|(times, of)| times * of.len()).sum();
        weighted_median(&all, &times, count)
    })
}

/// Median of `count` samples. `sorted` holds each sample once, in ascending order, with the index
/// of its block; `times` is the weight of each block.
fn weighted_median(sorted: &[(f64, usize)], times: &[usize], count: usize) -> f64 {
    let (mut so_far, mut lower) = (0, None);
    for &(sample, block) in sorted {
        so_far += times[block];
        if lower.is_none() && so_far > (count - 1) / 2 {
            lower = Some(sample);
        }
        if let Some(lower) = lower
            && so_far > count / 2
        {
            return if lower == sample { sample } else { lower / 2.0 + sample / 2.0 };
        }
    }
    f64::NAN
}

fn percentiles(confidence: f64, resamples: usize, estimate: impl FnMut() -> f64) -> [f64; 2] {
    let estimates: Vec<f64> = std::iter::repeat_with(estimate).take(resamples).collect();
    let estimates = sorted(&estimates);
    let beyond = (1.0 - confidence) / 2.0;
    [quantile(&estimates, beyond), quantile(&estimates, 1.0 - beyond)]
}

/// Interval of a statistic of two independent, unpaired sets of blocks. It resamples each set
/// separately, and within each drawn block it resamples the samples of every arm (the hierarchical
/// bootstrap of Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8).
/// NaN if a set is empty. The statistic may reorder its arguments.
///
/// The differences between blocks already include the noise within blocks, and the second level of
/// resampling adds that noise once more. If most of the noise is within blocks and the samples are
/// few, the interval is therefore too wide, by up to a factor of 1.4. The method is the right one
/// where the statistic of a single block is coarse, for example a high quantile of a few samples.
pub fn of_two<const ARMS: usize>(
    base: &[BlockSamples<ARMS>],
    head: &[BlockSamples<ARMS>],
    confidence: f64,
    resamples: usize,
    rng: &mut Rng,
    mut statistic: impl FnMut(&mut [BlockSamples<ARMS>], &mut [BlockSamples<ARMS>]) -> f64,
) -> [f64; 2] {
    if base.is_empty() || head.is_empty() {
        return [f64::NAN; 2];
    }
    let (mut of_base, mut of_head) = (base.to_vec(), head.to_vec());
    percentiles(confidence, resamples, || {
        draw(base, &mut of_base, rng);
        draw(head, &mut of_head, rng);
        statistic(&mut of_base, &mut of_head)
    })
}

/// Draws blocks with replacement, and samples with replacement within each drawn block.
fn draw<const ARMS: usize>(
    from: &[BlockSamples<ARMS>],
    to: &mut [BlockSamples<ARMS>],
    rng: &mut Rng,
) {
    for place in to {
        let block = &from[rng.roll(from.len())];
        for (arm, samples) in place.iter_mut().zip(block) {
            arm.clear();
            arm.extend(samples.iter().map(|_| samples[rng.roll(samples.len())]));
        }
    }
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
        let mut rng = Rng::new(5);
        let [low, high] =
            over_blocks(&values, 0.95, 4000, &mut rng, |drawn| mean(drawn.iter().copied()));
        // Standard deviation of 0..100, divided by the root of 100, times 1.96.
        let reach = 28.866 / 10.0 * 1.96;
        assert!((low - (49.5 - reach)).abs() < 0.3 && (high - (49.5 + reach)).abs() < 0.3);
    }

    #[test]
    fn the_median_of_resampled_blocks_is_that_of_their_samples() {
        let mut rng = Rng::new(8);
        let mut blocks: Vec<Vec<f64>> =
            (0..9).map(|i| (0..=i % 4).map(|_| rng.roll(40) as f64).collect()).collect();
        let slow =
            over_blocks(&blocks, 0.9, 500, &mut Rng::new(2), |drawn| median(&drawn.concat()));
        assert_eq!(of_median(&blocks, 0.9, 500, &mut Rng::new(2)), slow);
        blocks.push(Vec::new());
        assert_eq!(of_median(&blocks, 0.9, 500, &mut Rng::new(2)), slow);
        assert!(of_median(&[Vec::new()], 0.9, 5, &mut Rng::new(2))[0].is_nan());
    }

    #[test]
    fn arms_stay_with_their_block_and_samples_with_their_arm() {
        let blocks = |factor: f64| -> Vec<BlockSamples<2>> {
            (1..=9).map(|i| [vec![f64::from(i); 4], vec![factor * f64::from(i); 2]]).collect()
        };
        let side = |drawn: &mut [BlockSamples<2>], factor: f64| {
            for [own, other] in &*drawn {
                assert_eq!((own.len(), other.len()), (4, 2));
                assert_eq!(other[1], factor * own[3]);
            }
            median(&drawn.iter().map(|[own, other]| other[0] / own[0]).collect::<Vec<_>>())
        };
        let found = of_two(&blocks(10.0), &blocks(20.0), 0.95, 200, &mut Rng::new(1), |a, b| {
            side(b, 20.0) / side(a, 10.0)
        });
        assert_eq!(found, [2.0; 2]);
    }

    #[test]
    fn noise_within_blocks_is_in_the_interval_of_two() {
        // All blocks are equal, so all noise is within blocks.
        let blocks = vec![[vec![1.0, 2.0, 3.0, 4.0]]; 10];
        let centre = |drawn: &[BlockSamples<1>]| mean(drawn.iter().flatten().flatten().copied());
        let [low, high] = of_two(&blocks, &blocks, 0.95, 500, &mut Rng::new(1), |base, head| {
            centre(head) - centre(base)
        });
        // Standard deviation of 1, 2, 3, 4, for means of 40 values, for the difference of two
        // means.
        let reach = 1.25_f64.sqrt() * 1.96 * (2.0_f64 / 40.0).sqrt();
        assert!((low + reach).abs() < 0.1 && (high - reach).abs() < 0.1, "{low} {high}");
    }

    #[test]
    fn nothing_has_no_interval() {
        let none: &[BlockSamples<1>] = &[];
        let some = [[vec![1.0]]];
        assert!(over_blocks(none, 0.95, 9, &mut Rng::new(1), |_| 0.0)[0].is_nan());
        assert!(of_two(none, &some, 0.95, 9, &mut Rng::new(1), |_, _| 0.0)[1].is_nan());
        assert!(of_two(&some, none, 0.95, 9, &mut Rng::new(1), |_, _| 0.0)[0].is_nan());
    }
}
