use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`: comparable between the processes of one
/// machine, meaningless between machines.
pub type Nanos = u64;

/// A timed phase of a job. Phases are consecutive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// Submitted until assigned to a worker.
    Queue,
    /// Assigned until inputs and parameters are in the transport.
    Encode,
    /// Encoded until the worker has the job in hand. Where a worker is given jobs in advance,
    /// this includes the wait for the job before it: [`Stamps::behind`].
    Deliver,
    /// In hand until the kernel is called.
    Decode,
    /// Kernel called until it has returned.
    Compute,
    /// Returned until the worker has published the result.
    Reply,
    /// Published until the coordinator has the outcome in hand.
    Collect,
}

impl Span {
    /// All phases in the order in which they happen.
    pub const ALL: [Self; 7] = [
        Self::Queue,
        Self::Encode,
        Self::Deliver,
        Self::Decode,
        Self::Compute,
        Self::Reply,
        Self::Collect,
    ];

    /// The name used in every output format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Encode => "encode",
            Self::Deliver => "deliver",
            Self::Decode => "decode",
            Self::Compute => "compute",
            Self::Reply => "reply",
            Self::Collect => "collect",
        }
    }
}

/// The eight instants of a job's life, in order, and when its worker was free for it.
///
/// Zero means "not reached"; [`Stamps::spans`] closes the gaps, so that the
/// spans of any job add up to its total exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// The caller handed the job to the pool.
    pub submitted: Nanos,
    /// A worker was chosen.
    pub assigned: Nanos,
    /// Inputs and parameters are in the transport.
    pub encoded: Nanos,
    /// The worker has the job in hand.
    pub in_hand: Nanos,
    /// The kernel is called.
    pub called: Nanos,
    /// The kernel has returned.
    pub returned: Nanos,
    /// The worker has published the result.
    pub published: Nanos,
    /// The coordinator has the outcome in hand.
    pub collected: Nanos,
    /// The worker had answered the job before this one. Zero if it had done so before this one
    /// was on its way, and in a process whose jobs are not given to a worker in advance.
    #[serde(default)]
    pub worker_free: Nanos,
}

impl Stamps {
    fn instants(&self) -> [Nanos; 8] {
        [
            self.submitted,
            self.assigned,
            self.encoded,
            self.in_hand,
            self.called,
            self.returned,
            self.published,
            self.collected,
        ]
    }

    /// Moves each instant between `encoded` and `collected` that a worker claims to the
    /// nearest one that is possible. For a job that was answered: none of them is zero
    /// after that.
    pub fn settle(&mut self) {
        let end = self.collected.max(self.encoded);
        let mut from = self.encoded;
        for instant in
            [&mut self.in_hand, &mut self.called, &mut self.returned, &mut self.published]
        {
            *instant = (*instant).clamp(from, end);
            from = *instant;
        }
    }

    /// How much of [`Span::Deliver`] is no delivery: the worker still had the job before this
    /// one. It depends on how many jobs are given to a worker in advance, as the queue depends on
    /// how many are submitted at once.
    pub fn behind(&self) -> Nanos {
        let deliver = self.spans().get(Span::Deliver);
        let encoded = self.encoded.clamp(self.submitted, self.collected.max(self.submitted));
        self.worker_free.saturating_sub(encoded).min(deliver)
    }

    /// The spans between the instants.
    ///
    /// An instant that was not reached, or that a worker claims to lie before
    /// its predecessor or after `collected`, is moved to the nearest instant
    /// that is possible: a job that is cancelled in the queue spent all its time
    /// there, and one whose worker died while computing spent the rest there.
    pub fn spans(&self) -> Spans {
        let instants = self.instants();
        let end = instants[7].max(instants[0]);
        let mut spans = [0; 7];
        let mut from = instants[0];
        for (i, span) in spans.iter_mut().enumerate() {
            // The phase that was under way when the job ended lasts until the end.
            let to = match instants[i + 1] {
                0 => end,
                to => to.clamp(from, end),
            };
            *span = to - from;
            from = to;
        }
        Spans(spans)
    }
}

/// How long each phase of a job took, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans([Nanos; 7]);

impl Spans {
    /// One phase, in nanoseconds.
    pub fn get(&self, span: Span) -> Nanos {
        self.0[span as usize]
    }

    /// Submitted until collected: the sum of all phases.
    pub fn total(&self) -> Nanos {
        self.0.iter().sum()
    }

    /// What the caller pays beyond the computation and the wait in the queue: total less queue
    /// less compute. It includes [`Stamps::behind`], the wait for the worker's job before.
    pub fn overhead(&self) -> Nanos {
        self.total() - self.get(Span::Queue) - self.get(Span::Compute)
    }

    /// Phases with their names' enum, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Span, Nanos)> + '_ {
        Span::ALL.into_iter().map(|span| (span, self.get(span)))
    }
}

impl Add for Spans {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamps(instants: [Nanos; 8]) -> Stamps {
        let [submitted, assigned, encoded, in_hand, called, returned, published, collected] =
            instants;
        Stamps {
            submitted,
            assigned,
            encoded,
            in_hand,
            called,
            returned,
            published,
            collected,
            worker_free: 0,
        }
    }

    #[test]
    fn spans_lie_between_the_instants() {
        let spans = stamps([10, 12, 15, 19, 24, 30, 37, 45]).spans();
        assert_eq!(spans, Spans([2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(spans.overhead(), 35 - 2 - 6);
    }

    #[test]
    fn a_job_that_never_left_the_queue_spent_its_time_there() {
        let spans = stamps([10, 0, 0, 0, 0, 0, 0, 50]).spans();
        assert_eq!(spans.get(Span::Queue), 40);
        assert_eq!(spans.total(), 40);
    }

    #[test]
    fn a_job_whose_worker_died_spent_the_rest_computing() {
        let spans = stamps([10, 11, 12, 13, 14, 0, 0, 50]).spans();
        assert_eq!(spans.get(Span::Compute), 36);
    }

    #[test]
    fn waiting_for_the_workers_job_before_is_no_delivery() {
        let behind = |worker_free| {
            let stamps = stamps([10, 12, 15, 40, 41, 50, 51, 55]);
            Stamps { worker_free, ..stamps }.behind()
        };
        // On its way from 15 to 40; the worker was free at 38.
        assert_eq!(behind(38), 23);
        assert_eq!(behind(0), 0);
        assert_eq!(behind(14), 0, "it was free before");
        assert_eq!(behind(90), 25, "no more than it was on its way");
    }

    proptest! {
        #[test]
        fn what_is_behind_is_part_of_the_delivery(instants: [Nanos; 8], worker_free: Nanos) {
            let stamps = Stamps { worker_free, ..stamps(instants) };
            prop_assert!(stamps.behind() <= stamps.spans().get(Span::Deliver));
        }

        #[test]
        fn settled_instants_are_in_order(mut instants: [Nanos; 8]) {
            instants[..3].sort_unstable();
            let mut stamps = stamps(instants);
            stamps.settle();
            let settled = stamps.instants();
            prop_assert!(settled[..7].is_sorted());
            prop_assert!(settled[6] <= settled[7].max(settled[2]));
            prop_assert_eq!(&settled[..3], &instants[..3]);
        }

        #[test]
        fn spans_add_up_to_the_total_whatever_a_worker_claims(instants: [Nanos; 8]) {
            let stamps = stamps(instants);
            prop_assert_eq!(
                stamps.spans().total(),
                stamps.collected.max(stamps.submitted) - stamps.submitted
            );
        }
    }
}
