use std::sync::Arc;
use std::time::Duration;

use brigade_ipc::{ArenaSlab, SpinPolicy};
use brigade_proto::WorkerId;
use brigade_sys::clock;
use serde::Serialize;

use crate::job_state::{JobState, Task, Waitable};
use crate::{Backend, PoolError, SubmitError, wakeup_latency};

/// A way to execute jobs. [`Pool`](crate::Pool) is the face that callers see;
/// what differs between backends is behind this trait, and one conformance suite
/// runs against all of them.
///
/// Duties of an implementation:
/// - a task that was accepted is finished exactly once, whatever happens;
/// - tasks are taken in the order of submission;
/// - a task whose job state cannot be taken ([`JobState::take`]) was cancelled and is
///   dropped;
/// - spans are stamped as [`brigade_proto::Span`] defines them.
pub(crate) trait Executor: Send + Sync {
    /// Queues a task. Blocks while the queue is full if `block`.
    ///
    /// # Errors
    /// [`SubmitError::Full`] (only without `block`) and [`SubmitError::Closed`].
    /// The task is dropped unfinished.
    fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError>;

    /// Memory that workers see; `None` if there is none.
    fn alloc(&self, _len: usize) -> Option<ArenaSlab> {
        None
    }

    /// Whether tasks may stand for batches.
    fn takes_chunks(&self) -> bool {
        false
    }

    /// Waits until something is there that a job of this executor brings, for at
    /// most `limit`.
    fn wait(&self, wanted: &dyn Waitable, limit: Option<Duration>) {
        wait_patiently(wanted, limit);
    }

    /// Waits until all workers are ready.
    ///
    /// # Errors
    /// Why they will never be.
    fn ready(&self) -> Result<(), Arc<PoolError>> {
        Ok(())
    }

    /// A running job was cancelled: end it if that is possible.
    fn cancel_running(&self, job_state: &Arc<JobState>);

    /// Stops worker processes until [`Executor::resume`]. Threads of this process need nothing:
    /// they stop with it.
    fn pause(&self) {}

    /// Has worker processes go on.
    fn resume(&self) {}

    /// Ends the run early. Idempotent.
    fn stop(&self, how: Stop);

    /// Start-up times and, for processes, what ended the pool.
    fn status(&self) -> Status;

    /// Waits until all accepted tasks are finished, then ends all workers.
    /// Idempotent.
    fn close(&self) -> Vec<WorkerReport>;
}

pub(crate) fn wait_patiently(wanted: &dyn Waitable, limit: Option<Duration>) {
    let begin = clock::now();
    if spin_policy(None).wait(|| wanted.is_ready()) {
        return;
    }
    while !wanted.is_ready() {
        let left = match limit.map(|limit| limit.checked_sub(clock::since(begin))) {
            Some(None) => return,
            Some(left) => left,
            None => None,
        };
        wanted.sleep(left);
    }
}

/// How somebody waits before it sleeps: `--spin`, or about what waking it costs.
pub(crate) fn spin_policy(spin: Option<Duration>) -> SpinPolicy {
    SpinPolicy { spins: 100, yields: spin.unwrap_or_else(wakeup_latency::cost) }
}

/// How a run is ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Jobs that wait in the queue are cancelled, running ones finish.
    Drain,
    /// Running jobs are cancelled too: worker processes are killed, and kernels
    /// in this process are asked to stop.
    Kill,
}

/// What a pool knows of itself.
#[derive(Debug, Default)]
pub struct Status {
    /// Pool creation asked for until all workers were ready.
    pub startup: Duration,
    /// Worker processes started after the first ones.
    pub restarts: u64,
    /// Why the pool gave up, if it did.
    pub gave_up: Option<Arc<PoolError>>,
}

/// What one worker did, from start to end.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerReport {
    /// The slot.
    pub worker: WorkerId,
    /// The process; the last one, if it was replaced.
    pub pid: u32,
    /// Jobs that were finished.
    pub jobs: u64,
    /// Nanoseconds in which it had a job in hand.
    pub busy_ns: u64,
    /// Nanoseconds from the pool's creation until it was ready for the first time.
    pub ready_ns: u64,
    /// Nanoseconds of processor time in user and system mode; for a worker
    /// process, of all processes in this slot together.
    pub cpu_ns: Option<u64>,
    /// Largest resident set of any process in this slot, in bytes. Unknown for
    /// slots inside the coordinator.
    pub peak_rss_bytes: Option<u64>,
}

impl Backend {
    /// Whether kernels run in the caller's own process.
    pub fn is_in_process(self) -> bool {
        self != Self::Processes
    }
}
