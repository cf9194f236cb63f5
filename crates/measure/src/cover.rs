//! The time that a set of intervals covers; each instant counts once.

use std::collections::VecDeque;

use brigade_proto::Nanos;

/// The union of intervals, in bounded memory.
///
/// Intervals arrive roughly in the order of their ends. The newest disjoint intervals are kept, so
/// that a late interval can be merged with those it overlaps. Of older intervals only the total is
/// kept; an interval that reaches back before that point is cut off there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cover {
    /// Disjoint and in ascending order.
    kept: VecDeque<(Nanos, Nanos)>,
    settled: Nanos,
    settled_until: Nanos,
}

impl Cover {
    /// Number of disjoint intervals that are kept. It covers the number of jobs that an event loop
    /// usually has in flight, and takes 16 KiB.
    const KEPT: usize = 1024;

    /// Adds the interval between two instants.
    pub(crate) fn add(&mut self, from: Nanos, to: Nanos) {
        let from = from.max(self.settled_until);
        if from >= to {
            return;
        }
        let first = self.kept.partition_point(|kept| kept.1 < from);
        let behind = self.kept.partition_point(|kept| kept.0 <= to);
        let merged = self
            .kept
            .drain(first..behind)
            .fold((from, to), |(from, to), kept| (from.min(kept.0), to.max(kept.1)));
        self.kept.insert(first, merged);
        if self.kept.len() > Self::KEPT
            && let Some((from, to)) = self.kept.pop_front()
        {
            self.settled += to - from;
            self.settled_until = to;
        }
    }

    /// Covered time in nanoseconds.
    pub(crate) fn total(&self) -> Nanos {
        self.settled + self.kept.iter().map(|(from, to)| to - from).sum::<Nanos>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_is_bounded_and_nothing_is_counted_twice() {
        let mut cover = Cover::default();
        for n in 0..10_000 {
            cover.add(10 * n, 10 * n + 4);
        }
        assert_eq!(cover.total(), 40_000);
        assert_eq!(cover.kept.len(), Cover::KEPT);
        // If an interval reaches back further than that, only the part that is certainly new
        // counts.
        cover.add(0, 99_994);
        assert_eq!(cover.total(), 40_000 + 6 * Cover::KEPT as u64);
    }

    proptest! {
        #[test]
        fn each_instant_is_counted_once(
            intervals in prop::collection::vec((0_u64..60, 0_u64..20), 0..40),
        ) {
            let mut cover = Cover::default();
            let mut instants = [false; 80];
            for (from, length) in intervals {
                cover.add(from, from + length);
                instants[from as usize..(from + length) as usize].fill(true);
            }
            prop_assert_eq!(cover.total(), instants.iter().filter(|&&on| on).count() as u64);
        }
    }
}
