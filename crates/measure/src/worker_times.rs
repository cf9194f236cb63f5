//! How one worker spent its time, job by job.

use brigade_proto::{Nanos, Stamps};

use crate::cover::Cover;

/// The instants of a job at its worker. They are in ascending order, whatever instants the worker
/// reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The dispatcher chose the worker.
    pub assigned: Nanos,
    /// The kernel is called.
    pub called: Nanos,
    /// The kernel has returned.
    pub returned: Nanos,
    /// The worker has published the result.
    pub published: Nanos,
}

impl Visit {
    /// The instants of the job's last attempt; `None` if no worker had the job.
    ///
    /// A phase that was under way when the job ended lasts until `collected`. A job can end in the
    /// middle of a phase because its worker died or was killed or because its input could not be
    /// read.
    pub fn of(stamps: &Stamps) -> Option<Self> {
        if stamps.assigned == 0 {
            return None;
        }
        let end = stamps.collected.max(stamps.submitted);
        let mut from = stamps.submitted;
        let mut next = |instant| {
            from = if instant == 0 { end } else { Nanos::clamp(instant, from, end) };
            from
        };
        Some(Self {
            assigned: next(stamps.assigned),
            called: next(stamps.called),
            returned: next(stamps.returned),
            published: next(stamps.published),
        })
    }
}

/// How one worker's time was spent, in nanoseconds. The times add up to [`WorkerTimes::wall`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerTimes {
    /// From the request to create the pool until the worker was ready.
    pub startup: Nanos,
    /// Inside a kernel.
    pub compute: Nanos,
    /// With a job assigned, but outside the kernel.
    pub communication: Nanos,
    /// With no job assigned.
    pub idle: Nanos,
    /// From the arrival of the run's last result in its destination until the workers had ended and
    /// were reaped.
    pub shutdown: Nanos,
}

impl WorkerTimes {
    /// From the request to create the pool until the workers were reaped.
    pub fn wall(&self) -> Nanos {
        self.startup + self.compute + self.communication + self.idle + self.shutdown
    }
}

/// What one worker did, in bounded memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerActivity {
    /// Time with at least one job assigned.
    held: Cover,
    /// Time with at least one job in a kernel.
    computing: Cover,
}

impl WorkerActivity {
    pub(crate) fn add(&mut self, visit: &Visit) {
        self.held.add(visit.assigned, visit.published);
        self.computing.add(visit.called, visit.returned);
    }

    /// Splits `wall`, of which the first `ready` was the worker's start-up. `shutdown` came after
    /// `wall`.
    pub(crate) fn times(&self, ready: Nanos, wall: Nanos, shutdown: Nanos) -> WorkerTimes {
        let (held, computing) = (self.held.total(), self.computing.total());
        // The shares never exceed the wall time, whatever instants the worker reported.
        let mut rest = wall;
        let mut take = |time: Nanos| {
            let time = time.min(rest);
            rest -= time;
            time
        };
        let startup = take(ready);
        let compute = take(computing);
        let communication = take(held.saturating_sub(computing));
        WorkerTimes { startup, compute, communication, idle: rest, shutdown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_in_order_whatever_was_reached_or_claimed() {
        let visit = |called, returned, published| {
            let stamps = Stamps {
                submitted: 10,
                assigned: 20,
                called,
                returned,
                published,
                collected: 90,
                ..Stamps::default()
            };
            let visit = Visit::of(&stamps).unwrap();
            [visit.assigned, visit.called, visit.returned, visit.published]
        };
        assert_eq!(visit(30, 60, 70), [20, 30, 60, 70]);
        assert_eq!(visit(30, 0, 0), [20, 30, 90, 90], "killed in the kernel");
        assert_eq!(visit(0, 0, 80), [20, 90, 90, 90], "never called");
        assert_eq!(visit(5, 500, 1), [20, 20, 90, 90], "lies");
        assert_eq!(Visit::of(&Stamps { submitted: 1, collected: 9, ..Stamps::default() }), None);
    }
}
