//! Plans the interim analyses of a comparison ("looks" in the code): after how many blocks the data
//! are tested, and at which level.

use std::time::Duration;

use super::RoundLimits;
use crate::stats::signed_rank_blocks_needed;
use crate::stats::spending::nominal_levels;

/// The planned interim analyses: the number of blocks and the two-sided level of each.
#[derive(Clone, Debug)]
pub(super) struct Looks(Vec<(usize, f64)>);

/// Blocks before the first interim analysis, which is enough to decide clear cases.
const FIRST: usize = 12;
/// Each interim analysis has this many times the blocks of the one before.
const GROWTH: f64 = 1.5;

/// Hard limit of a round's duration, as a multiple of its budget. A plan exceeds the budget only if
/// no verdict could be reached otherwise.
pub(super) const OVERTIME: f64 = 1.5;

impl Looks {
    /// Plans as many blocks as fit in the budget if each takes `each`. If that is fewer than a
    /// verdict needs, plans the minimum for a verdict, provided that this takes at most
    /// [`OVERTIME`] times the budget.
    pub(super) fn plan(each: Duration, limits: &RoundLimits, alpha: f64) -> Self {
        let each = each.as_secs_f64().max(1e-9);
        let budget = limits.budget.as_secs_f64();
        let least = signed_rank_blocks_needed(1.0 - alpha);
        let mut last = (budget / each) as usize;
        if last < least && least as f64 * each <= budget * OVERTIME {
            last = least;
        }
        let last = last.clamp(1, limits.blocks);
        let mut counts = Vec::new();
        let mut next = FIRST.max(least);
        while next < last {
            counts.push(next);
            next = (next as f64 * GROWTH).ceil() as usize;
        }
        // An interim analysis shortly before the last one adds little and is not worth its share of
        // the error.
        if counts.last().is_some_and(|count| count * 6 > last * 5) {
            counts.pop();
        }
        counts.push(last);
        Self(levels(counts, last, alpha))
    }

    /// The level of the interim analysis after this many blocks, if one is planned.
    pub(super) fn level(&self, blocks: usize) -> Option<f64> {
        self.0.iter().find(|(count, _)| *count == blocks).map(|(_, level)| *level)
    }

    /// Number of blocks at the last analysis.
    pub(super) fn last(&self) -> usize {
        self.0.last().map_or(0, |(count, _)| *count)
    }

    pub(super) fn final_level(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, level)| *level)
    }
}

/// Computes the level of each interim analysis. Drops an analysis that could not reach its level
/// with so few blocks whatever the result, because its share of the error would be wasted.
fn levels(mut counts: Vec<usize>, last: usize, alpha: f64) -> Vec<(usize, f64)> {
    loop {
        let fractions: Vec<f64> = counts.iter().map(|n| *n as f64 / last as f64).collect();
        // Most comparisons end at the first analyses, so those get their share.
        let levels = nominal_levels(alpha, &fractions);
        let looks: Vec<(usize, f64)> = counts.iter().copied().zip(levels).collect();
        let cannot = |(n, level): &(usize, f64)| *n < signed_rank_blocks_needed(1.0 - level);
        match looks.iter().position(cannot).filter(|at| at + 1 < looks.len()) {
            Some(at) => drop(counts.remove(at)),
            None => return looks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(budget: u64, each_ms: u64, alpha: f64) -> Looks {
        let limits = RoundLimits { budget: Duration::from_secs(budget), blocks: 1000, seed: 1 };
        Looks::plan(Duration::from_millis(each_ms), &limits, alpha)
    }

    #[test]
    fn looks_grow_and_share_the_error() {
        let looks = looks(10, 100, 0.01);
        let counts: Vec<usize> = looks.0.iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [12, 18, 27, 41, 62, 100]);
        let levels: Vec<f64> = looks.0.iter().map(|(_, level)| *level).collect();
        assert!(levels.iter().all(|level| (0.001..0.01).contains(level)), "{levels:?}");
        // The first interim analysis can reach a verdict.
        assert!(signed_rank_blocks_needed(1.0 - levels[0]) <= FIRST, "{levels:?}");
    }

    #[test]
    fn a_short_budget_has_one_look() {
        let looks = looks(1, 200, 0.01);
        assert_eq!((looks.last(), looks.0.len()), (5, 1));
        assert!((looks.final_level() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn a_budget_that_is_a_little_short_is_exceeded_and_one_that_is_far_short_is_not() {
        // At 1 %, a verdict needs 8 blocks; they may take at most 1.5 s of a 1 s budget.
        assert_eq!(looks(1, 187, 0.01).last(), 8);
        assert_eq!(looks(1, 188, 0.01).last(), 5);
        // The plan never exceeds the allowed number of blocks.
        let limits = RoundLimits { budget: Duration::from_secs(1), blocks: 6, seed: 1 };
        assert_eq!(Looks::plan(Duration::from_millis(187), &limits, 0.01).last(), 6);
    }

    #[test]
    fn every_look_but_the_last_can_decide() {
        for metrics in 1..=6 {
            for blocks in [12, 20, 100, 400, 1000] {
                let looks = looks(blocks, 1000, 0.01 / f64::from(metrics));
                let (_, but_last) = looks.0.split_last().unwrap();
                for (count, level) in but_last {
                    assert!(
                        signed_rank_blocks_needed(1.0 - level) <= *count,
                        "{metrics} metrics, {blocks} blocks: {looks:?}"
                    );
                }
                assert_eq!(looks.last() as u64, blocks);
            }
        }
        // The rule takes effect here: with 1000 blocks and three metrics, 12 blocks could not
        // decide anything.
        let looks = looks(1000, 1000, 0.01 / 3.0);
        assert!(looks.level(12).is_none() && looks.level(18).is_some(), "{looks:?}");
    }
}
