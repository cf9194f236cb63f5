//! Checks whether a worker makes progress: its heartbeat, and the time limits of its jobs.

use brigade_proto::Nanos;
use brigade_sys::process;
use brigade_sys::stall::TICK;

use super::PoolContext;
use crate::processes::dispatcher::TimeLimit;
use crate::processes::heartbeat::{self, HeartbeatSample};
use crate::processes::lifecycle::Cause;
use crate::processes::supervisor_handle::GRACE;
use crate::processes::worker_exit::KillReason;
use crate::processes::worker_process::WorkerProcess;

impl PoolContext {
    /// Checks a worker's heartbeat and the time limits of its jobs, and kills the worker if it
    /// hangs or a job is over time. Returns when the next check is due. `stopped` is the time
    /// before `now` in which this process did not run; it counts against no time limit.
    pub(super) fn check_liveness(
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
                Some((responses, current)) => Some(HeartbeatSample { current, responses, stopped }),
                // An idle worker may be stopped too. Without this check the next job would find
                // that out, and would have to wait for it.
                None => stopped.then_some(HeartbeatSample { current: None, responses: 0, stopped }),
            }
        };
        if worker.heartbeat.check(beat, now, heartbeat) {
            worker.kill(Cause::Hung(heartbeat));
            return None;
        }
        let look = now + heartbeat::interval(heartbeat).as_nanos() as u64;
        match self.dispatcher.time_limit(slot, worker.current(), now, stopped, GRACE) {
            TimeLimit::None => Some(look),
            // Also check at every `TICK`, to notice if this process was stopped meanwhile.
            TimeLimit::At(at) => Some(at.min(look).min(now + TICK.as_nanos() as u64)),
            // The worker is stopped, so its kernel had no chance to end in time.
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
