use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`. Comparable between the processes of one machine, but not
/// between machines.
pub type Nanos = u64;

/// A timed phase of a job. Each phase begins where the one before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// From submission until the job is assigned to a worker.
    Queue,
    /// From assignment until inputs and parameters are in the transport.
    Encode,
    /// From there until the worker has the job in hand. Where a worker gets jobs in advance, this
    /// includes the wait for its previous job: [`Stamps::behind`].
    Deliver,
    /// From there until the kernel is called.
    Decode,
    /// From the kernel's call until it returns.
    Compute,
    /// From there until the worker has published the result.
    Reply,
    /// From there until the coordinator has the outcome in hand.
    Collect,
}

impl Span {
    /// All phases, in the order in which they happen.
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
/// Zero means "not reached". [`Stamps::spans`] fills these gaps, so that the spans of any job add
/// up to its total exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// The caller submitted the job.
    pub submitted: Nanos,
    /// The job was assigned to a worker.
    pub assigned: Nanos,
    /// Inputs and parameters were in the transport.
    pub encoded: Nanos,
    /// The worker had the job in hand.
    pub in_hand: Nanos,
    /// The kernel was called.
    pub called: Nanos,
    /// The kernel returned.
    pub returned: Nanos,
    /// The worker published the result.
    pub published: Nanos,
    /// The coordinator had the outcome in hand.
    pub collected: Nanos,
    /// The worker published its response to the previous job, which may be before this job was
    /// encoded. Zero if there was none, and on backends that do not assign jobs in advance.
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

    /// Clamps the instants between `encoded` and `collected`, which a worker claims, to the nearest
    /// possible ones. For a job that was answered: none of these instants is zero afterwards.
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

    /// The part of [`Span::Deliver`] in which the worker still had its previous job, in
    /// nanoseconds. It depends on how many jobs a worker gets in advance, as the queue span depends
    /// on how many jobs are submitted at once.
    pub fn behind(&self) -> Nanos {
        let deliver = self.spans().get(Span::Deliver);
        let encoded = self.encoded.clamp(self.submitted, self.collected.max(self.submitted));
        self.worker_free.saturating_sub(encoded).min(deliver)
    }

    /// The spans between the instants.
    ///
    /// An instant that was not reached counts as `collected`: a job that is cancelled in the queue
    /// spent all its time there, and a job whose worker died while computing spent the rest
    /// computing. An instant that a worker claims to lie before its predecessor or after
    /// `collected` is moved to the nearest possible one.
    pub fn spans(&self) -> Spans {
        let instants = self.instants();
        let end = instants[7].max(instants[0]);
        let mut spans = [0; 7];
        let mut from = instants[0];
        for (i, span) in spans.iter_mut().enumerate() {
            // The phase in which the job ended lasts until the end.
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
    /// The time of one phase, in nanoseconds.
    pub fn get(&self, span: Span) -> Nanos {
        self.0[span as usize]
    }

    /// The sum of all phases, in nanoseconds: from submission until collection.
    pub fn total(&self) -> Nanos {
        self.0.iter().sum()
    }

    /// What the caller pays beyond the computation and the wait in the queue, in nanoseconds: total
    /// minus queue minus compute. It includes [`Stamps::behind`], the wait for the worker's
    /// previous job.
    pub fn overhead(&self) -> Nanos {
        self.total() - self.get(Span::Queue) - self.get(Span::Compute)
    }

    /// Each phase and its time in nanoseconds, in order.
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
        // In delivery from 15 to 40; the worker was free at 38.
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
