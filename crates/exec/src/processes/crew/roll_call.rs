//! Workers that do nothing although they have something to do.

use std::time::Duration;

use brigade_proto::{JobId, Nanos};

use super::{Assigned, Crew, Lane};

/// The least that a worker gets to take a job in hand, however fast it has to start: on a
/// busy machine a good one may not run at all for a while.
pub(super) const LEAST: Duration = Duration::from_secs(1);

/// Whether a worker does what it is there for.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum RollCall {
    /// It does; ask again then.
    At(Nanos),
    /// It did not take this job in hand.
    Absent(JobId),
}

impl Crew {
    /// The job that a worker should have taken in hand long ago, as it has nothing else
    /// to do; or when to ask again.
    pub(in super::super) fn roll_call(
        &self,
        lane: usize,
        current: Option<(JobId, Option<Nanos>)>,
        now: Nanos,
    ) -> RollCall {
        /// For the delivery: 10 MB/s.
        const NS_PER_BYTE: u64 = 100;
        let mut state = self.lock();
        let overdue = |lane: &Lane| {
            let Assigned { task, bytes_in, .. } = lane.assigned.iter().find(|a| a.sent)?;
            let begin = task.stamps.encoded.max(lane.heard);
            let limit = self.limits.take_up.saturating_add(bytes_in.saturating_mul(NS_PER_BYTE));
            Some((task.ticket.id, begin.saturating_add(limit)))
        };
        if current.is_some_and(|(job, _)| state.lanes[lane].has(job)) {
            return RollCall::At(now.saturating_add(self.limits.take_up));
        }
        match overdue(&state.lanes[lane]) {
            None => return RollCall::At(now.saturating_add(self.limits.take_up)),
            Some((_, at)) if at > now => return RollCall::At(at),
            Some(_) => {}
        }
        // It may have answered, and nobody was called to hear it.
        self.collect(&mut state);
        let late = overdue(&state.lanes[lane]).filter(|(_, at)| *at <= now);
        if self.release(state) {
            self.bells.call_leader();
        }
        match late {
            Some((job, _)) => RollCall::Absent(job),
            None => RollCall::At(now.saturating_add(self.limits.take_up)),
        }
    }
}
