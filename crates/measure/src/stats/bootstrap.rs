//! Intervals by resampling.

use crate::experiment::{Dice, median, quantile};

const RESAMPLES: usize = 1000;

/// Percentile interval of a statistic of samples in blocks: blocks are drawn with
/// replacement, then samples within each (Davison and Hinkley, "Bootstrap methods and
/// their application", 1997, section 3.8), so that what disturbs a whole block counts as
/// one disturbance. NaN without blocks; empty blocks are passed over.
pub fn hierarchical(
    blocks: &[&[f64]],
    confidence: f64,
    seed: u64,
    statistic: impl Fn(&[f64]) -> f64,
) -> [f64; 2] {
    let blocks: Vec<&[f64]> = blocks.iter().copied().filter(|block| !block.is_empty()).collect();
    let mut dice = Dice::new(seed);
    let estimates = (0..RESAMPLES).map(|_| statistic(&draw(&blocks, &mut dice))).collect();
    percentiles(estimates, confidence)
}

/// Interval of the ratio of two medians, head over base, of samples in blocks that do not
/// belong together in pairs.
pub fn ratio_of_medians(base: &[&[f64]], head: &[&[f64]], confidence: f64, seed: u64) -> [f64; 2] {
    let mut dice = Dice::new(seed);
    let ratio = |_| median(&draw(head, &mut dice)) / median(&draw(base, &mut dice));
    percentiles((0..RESAMPLES).map(ratio).collect(), confidence)
}

fn draw(blocks: &[&[f64]], dice: &mut Dice) -> Vec<f64> {
    let mut drawn = Vec::new();
    for _ in 0..blocks.len() {
        let block = blocks[dice.roll(blocks.len())];
        drawn.extend((0..block.len()).map(|_| block[dice.roll(block.len())]));
    }
    drawn
}

fn percentiles(mut estimates: Vec<f64>, confidence: f64) -> [f64; 2] {
    estimates.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    [quantile(&estimates, tail), quantile(&estimates, 1.0 - tail)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(dice: &mut Dice, of_block: f64, count: usize) -> Vec<Vec<f64>> {
        let mut noise = |width: f64| width * (dice.roll(2001) as f64 / 1000.0 - 1.0);
        (0..count)
            .map(|_| {
                let shift = noise(of_block);
                (0..10).map(|_| 100.0 + shift + noise(1.0)).collect()
            })
            .collect()
    }

    fn slices(blocks: &[Vec<f64>]) -> Vec<&[f64]> {
        blocks.iter().map(Vec::as_slice).collect()
    }

    /// Samples of one block share its disturbance: resampling them alone would promise
    /// ten times as many observations as there are.
    #[test]
    fn blocks_are_what_is_resampled_first() {
        let mut dice = Dice::new(9);
        let (mut held, mut held_flat, rounds) = (0, 0, 60);
        for round in 0..rounds {
            let blocks = blocks(&mut dice, 5.0, 20);
            let holds = |[low, high]: [f64; 2]| usize::from(low <= 100.0 && 100.0 <= high);
            held += holds(hierarchical(&slices(&blocks), 0.95, round, median));
            let flat = blocks.concat();
            held_flat += holds(hierarchical(&[&flat], 0.95, round, median));
        }
        assert!((52..=60).contains(&held), "{held} of {rounds}");
        assert!(held_flat < 45, "{held_flat} of {rounds}");
    }

    #[test]
    fn a_ratio_of_two_sides_lies_in_its_interval() {
        let mut dice = Dice::new(2);
        let (base, mut head) = (blocks(&mut dice, 0.5, 15), blocks(&mut dice, 0.5, 15));
        head.iter_mut().flatten().for_each(|value| *value *= 1.1);
        let [low, high] = ratio_of_medians(&slices(&base), &slices(&head), 0.95, 1);
        assert!(low < 1.1 && 1.1 < high && high - low < 0.02, "{low} {high}");
    }
}
