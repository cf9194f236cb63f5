//! When a comparison is looked at.

use std::time::Duration;

use super::Limits;
use crate::stats::signed_rank_blocks_needed;
use crate::stats::spending::{Spending, nominal_levels};

/// Planned looks: after how many blocks, and at which level each may decide.
#[derive(Clone, Debug)]
pub(super) struct Looks(Vec<(usize, f64)>);

/// The first look, at which a clear case is clear.
const FIRST: usize = 12;
/// Each look has so many times the blocks of the one before.
const GROWTH: f64 = 1.5;

impl Looks {
    /// As many blocks as fit in the budget if each takes `each`, but so many at least that
    /// anything can be said at all with half as much time again.
    pub(super) fn plan(each: Duration, limits: &Limits, alpha: f64) -> Self {
        let fitting = limits.budget.as_secs_f64() / each.as_secs_f64().max(1e-9);
        let last = (fitting as usize).clamp(1, limits.blocks);
        let least = signed_rank_blocks_needed(1.0 - alpha);
        let mut counts = Vec::new();
        let mut next = FIRST.max(least);
        while next < last {
            counts.push(next);
            next = (next as f64 * GROWTH).ceil() as usize;
        }
        // One that hardly adds anything is not worth its share of the error.
        if counts.last().is_some_and(|count| count * 6 > last * 5) {
            counts.pop();
        }
        counts.push(last);
        let fractions: Vec<f64> = counts.iter().map(|n| *n as f64 / last as f64).collect();
        // Most comparisons end at the first looks, so they get their share.
        let levels = nominal_levels(Spending::Pocock, alpha, &fractions);
        Self(counts.into_iter().zip(levels).collect())
    }

    /// The level of the look after so many blocks, if there is one.
    pub(super) fn level(&self, blocks: usize) -> Option<f64> {
        self.0.iter().find(|(count, _)| *count == blocks).map(|(_, level)| *level)
    }

    /// Blocks at the last look.
    pub(super) fn last(&self) -> usize {
        self.0.last().map_or(0, |(count, _)| *count)
    }

    pub(super) fn final_level(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(budget: u64, each_ms: u64, alpha: f64) -> Looks {
        let limits = Limits { budget: Duration::from_secs(budget), blocks: 1000, seed: 1 };
        Looks::plan(Duration::from_millis(each_ms), &limits, alpha)
    }

    #[test]
    fn looks_grow_and_share_the_error() {
        let looks = looks(10, 100, 0.01);
        let counts: Vec<usize> = looks.0.iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [12, 18, 27, 41, 62, 100]);
        let levels: Vec<f64> = looks.0.iter().map(|(_, level)| *level).collect();
        assert!(levels.iter().all(|level| (0.001..0.01).contains(level)), "{levels:?}");
        // The first look can decide something.
        assert!(signed_rank_blocks_needed(1.0 - levels[0]) <= FIRST, "{levels:?}");
    }

    #[test]
    fn a_short_budget_has_one_look() {
        let looks = looks(1, 200, 0.01);
        assert_eq!((looks.last(), looks.0.len()), (5, 1));
        assert!((looks.final_level() - 0.01).abs() < 1e-9);
    }
}
