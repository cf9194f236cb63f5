//! How much time a set of intervals covers, each instant counted once.

use std::collections::VecDeque;

use brigade_proto::Nanos;

/// The union of intervals, in bounded memory.
///
/// Intervals come roughly in the order in which they end. The newest disjoint ones
/// are kept, so that a late one finds what it overlaps; what lies before them is only
/// summed up, and what reaches back into that is cut off there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cover {
    /// Disjoint, and in order.
    kept: VecDeque<(Nanos, Nanos)>,
    settled: Nanos,
    settled_until: Nanos,
}

impl Cover {
    /// Disjoint intervals that are kept: as many as jobs are commonly in flight on an
    /// event loop, and 16 KiB.
    const KEPT: usize = 1024;

    /// Adds what lies between two instants.
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

    /// Nanoseconds that are covered.
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
        // Of what reaches back beyond that, the part is counted that is surely new.
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
