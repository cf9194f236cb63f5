//! One worker's time, followed from job to job.

use brigade_proto::{Nanos, Stamps};

use crate::cover::Cover;

/// When a job came to its worker, and went: in order, whatever the worker claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// A worker was chosen.
    pub assigned: Nanos,
    /// The kernel is called.
    pub called: Nanos,
    /// The kernel has returned.
    pub returned: Nanos,
    /// The worker has published the result.
    pub published: Nanos,
}

impl Visit {
    /// The last attempt of a job; `None` if no worker had it.
    ///
    /// What was under way when the job ended, because its worker died or was killed
    /// or its input could not be read, lasts until it was collected.
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

/// Where one worker's time went. Nanoseconds, which add up to [`LaneTimes::wall`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneTimes {
    /// Pool creation asked for until the worker was ready.
    pub startup: Nanos,
    /// In a kernel.
    pub compute: Nanos,
    /// With a job assigned, but not in a kernel.
    pub communication: Nanos,
    /// With no job assigned.
    pub idle: Nanos,
    /// The last result of the run was where it should be, until the workers had ended
    /// and were reaped.
    pub shutdown: Nanos,
}

impl LaneTimes {
    /// Pool creation asked for until the workers were reaped.
    pub fn wall(&self) -> Nanos {
        self.startup + self.compute + self.communication + self.idle + self.shutdown
    }
}

/// What one worker did, in bounded memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    /// With a job or more assigned.
    held: Cover,
    /// In one kernel or more.
    computing: Cover,
}

impl Lane {
    pub(crate) fn add(&mut self, visit: &Visit) {
        self.held.add(visit.assigned, visit.published);
        self.computing.add(visit.called, visit.returned);
    }

    /// Splits `wall`, of which the worker needed `ready` to start; `shutdown` came
    /// after it.
    pub(crate) fn times(&self, ready: Nanos, wall: Nanos, shutdown: Nanos) -> LaneTimes {
        let (held, computing) = (self.held.total(), self.computing.total());
        // No more is shared out than there is, whatever workers claim.
        let mut rest = wall;
        let mut take = |time: Nanos| {
            let time = time.min(rest);
            rest -= time;
            time
        };
        let startup = take(ready);
        let compute = take(computing);
        let communication = take(held.saturating_sub(computing));
        LaneTimes { startup, compute, communication, idle: rest, shutdown }
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
