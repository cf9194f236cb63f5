//! A count that goes up and down, learned in any order.

use std::collections::BTreeMap;

use brigade_proto::Nanos;

/// How a count changes over time, in bounded memory.
///
/// What a count is at some instant is known only when all jobs are known that began
/// before it. So the changes are kept, summed up in bins of equal width: 1 ns at
/// first, twice as much whenever there would be too many.
#[derive(Debug, Default)]
pub(super) struct CountSeries {
    changes: BTreeMap<Nanos, i64>,
    /// Bins are 2 to this power nanoseconds wide.
    width_log2: u32,
}

impl CountSeries {
    /// More than a screen has pixels.
    const BINS: usize = 8192;

    /// One more from this instant on.
    pub(super) fn rise(&mut self, at: Nanos) {
        self.change(at, 1);
    }

    /// One less from this instant on.
    pub(super) fn fall(&mut self, at: Nanos) {
        self.change(at, -1);
    }

    fn change(&mut self, at: Nanos, by: i64) {
        *self.changes.entry(at >> self.width_log2).or_default() += by;
        while self.changes.len() > Self::BINS {
            self.width_log2 += 1;
            for (bin, by) in std::mem::take(&mut self.changes) {
                *self.changes.entry(bin >> 1).or_default() += by;
            }
        }
    }

    /// The count wherever it changes, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Nanos, i64)> + '_ {
        let changes = self.changes.iter().filter(|(_, by)| **by != 0);
        changes.scan(0, |count, (bin, by)| {
            *count += by;
            Some((bin << self.width_log2, *count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_follows_changes_that_come_in_any_order() {
        let mut series = CountSeries::default();
        for (from, to) in [(30, 50), (10, 40), (40, 60), (70, 70)] {
            series.rise(from);
            series.fall(to);
        }
        let steps: Vec<_> = series.steps().collect();
        // At 40 one goes and one comes.
        assert_eq!(steps, [(10, 1), (30, 2), (50, 1), (60, 0)]);
    }

    #[test]
    fn many_changes_are_told_more_coarsely() {
        let mut series = CountSeries::default();
        for n in 0..1_000_000 {
            series.rise(1000 * n);
            series.fall(1000 * n + 1_500_000 + (n * 7919 % 1000) * 1000);
        }
        let steps: Vec<_> = series.steps().collect();
        assert!(
            steps.len() <= CountSeries::BINS && steps.len() > CountSeries::BINS / 8,
            "{}",
            steps.len()
        );
        assert_eq!(steps.last().unwrap().1, 0);
        // About 2000 overlap at any instant; a bin is 131 or 262 of them.
        let middle = steps[steps.len() / 2].1;
        assert!((1700..2300).contains(&middle), "{middle}");
        assert!(steps.iter().all(|step| step.1 >= 0));
    }
}
