//! Whether a worker gets on with what it has.

use brigade_proto::Nanos;
use brigade_sys::process;
use brigade_sys::stall::TICK;

use super::{GRACE, PoolContext};
use crate::processes::dispatcher::{KillReason, TimeLimit};
use crate::processes::heartbeat::{self, HeartbeatSample};
use crate::processes::lifecycle::Cause;
use crate::processes::worker_process::WorkerProcess;

impl PoolContext {
    /// Sees to the job that a worker has in hand, and to whether it takes up what it was
    /// given; returns when to look again. So much time before `now` counts for nobody.
    pub(super) fn mind(
        &self,
        slot: usize,
        worker: &mut WorkerProcess,
        now: Nanos,
        stopped: Nanos,
    ) -> Option<Nanos> {
        let heartbeat = self.config.heartbeat;
        let (pid, current) = (worker.pid, worker.current());
        let beat = || {
            let stopped = process::is_stopped(pid);
            match self.dispatcher.owes(slot, current) {
                Some((answers, current)) => Some(HeartbeatSample { current, answers, stopped }),
                // The next job would find out, and wait for that.
                None => stopped.then_some(HeartbeatSample { current: None, answers: 0, stopped }),
            }
        };
        if worker.heartbeat.check(beat, now, heartbeat) {
            worker.kill(Cause::Hung(heartbeat));
            return None;
        }
        let look = now + heartbeat::interval(heartbeat).as_nanos() as u64;
        match self.dispatcher.time_limit(slot, worker.current(), now, stopped, GRACE) {
            TimeLimit::None => Some(look),
            // Often enough to notice that this process was stopped meanwhile.
            TimeLimit::At(at) => Some(at.min(look).min(now + TICK.as_nanos() as u64)),
            // Its kernel had no chance to end in time.
            TimeLimit::Over(..) if process::is_stopped(pid) => {
                worker.kill(Cause::Hung(heartbeat));
                None
            }
            TimeLimit::Over(job, after) => {
                tracing::warn!(job = job.0, worker = slot, "job timed out");
                worker.end(KillReason::TimedOut(job, after));
                None
            }
        }
    }
}
