//! Whether a worker gets on with what it has.

use brigade_proto::Nanos;
use brigade_sys::process;
use brigade_sys::stall::TICK;

use super::{Facts, GRACE};
use crate::processes::crew::{TimeLimit, Why};
use crate::processes::kid::Kid;
use crate::processes::life::Cause;
use crate::processes::pulse::{self, Beat};

impl Facts {
    /// Sees to the job that a worker has in hand, and to whether it takes up what it was
    /// given; returns when to look again. So much time before `now` counts for nobody.
    pub(super) fn mind(
        &self,
        lane: usize,
        kid: &mut Kid,
        now: Nanos,
        stopped: Nanos,
    ) -> Option<Nanos> {
        let heartbeat = self.config.heartbeat;
        let (pid, current) = (kid.pid, kid.current());
        let beat = || {
            let stopped = process::is_stopped(pid);
            match self.crew.owes(lane, current) {
                Some((answers, current)) => Some(Beat { current, answers, stopped }),
                // The next job would find out, and wait for that.
                None => stopped.then_some(Beat { current: None, answers: 0, stopped }),
            }
        };
        if kid.pulse.feel(beat, now, heartbeat) {
            kid.kill(Cause::Hung(heartbeat));
            return None;
        }
        let look = now + pulse::interval(heartbeat).as_nanos() as u64;
        match self.crew.time_limit(lane, kid.current(), now, stopped, GRACE) {
            TimeLimit::None => Some(look),
            // Often enough to notice that this process was stopped meanwhile.
            TimeLimit::At(at) => Some(at.min(look).min(now + TICK.as_nanos() as u64)),
            // Its kernel had no chance to end in time.
            TimeLimit::Over(..) if process::is_stopped(pid) => {
                kid.kill(Cause::Hung(heartbeat));
                None
            }
            TimeLimit::Over(job, after) => {
                tracing::warn!(job = job.0, worker = lane, "job timed out");
                kid.end(Why::TimedOut(job, after));
                None
            }
        }
    }
}
