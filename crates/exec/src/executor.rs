use std::sync::Arc;
use std::time::Duration;

use brigade_ipc::{ArenaSlab, SpinPolicy};
use brigade_proto::WorkerId;
use brigade_sys::clock;
use serde::Serialize;

use crate::completions::Waitable;
use crate::job_state::JobState;
use crate::task::Task;
use crate::{Backend, PoolError, SubmitError, wakeup_latency};

/// A backend. Callers use [`Pool`](crate::Pool); this trait hides the differences between backends.
/// One conformance suite runs against all of them.
///
/// An implementation
/// - finishes each accepted task exactly once, whatever happens;
/// - takes tasks in the order of submission;
/// - drops a task whose job state it cannot take ([`JobState::take`]): the job was cancelled;
/// - stamps spans as [`brigade_proto::Span`] defines them.
pub(crate) trait Executor: Send + Sync {
    /// Queues a task. With `block`, waits while the queue is full.
    ///
    /// # Errors
    /// [`SubmitError::Full`] (only without `block`) and [`SubmitError::Closed`]. The task is then
    /// dropped without an outcome.
    fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError>;

    /// Shared memory for an input, which workers read in place. `None` if the backend has none, or
    /// none is free.
    fn alloc(&self, _len: usize) -> Option<ArenaSlab> {
        None
    }

    /// Whether a task may carry a batch.
    fn takes_batches(&self) -> bool {
        false
    }

    /// Waits until `waitable` is ready, for at most `limit`. `waitable` depends on jobs of this
    /// executor, so the waiting thread may collect their responses itself.
    fn wait(&self, waitable: &dyn Waitable, limit: Option<Duration>) {
        wait_patiently(waitable, limit);
    }

    /// An asynchronous task awaits an outcome, and no thread polls for it. Until
    /// [`Executor::end_async_wait`], the executor's own threads have to collect responses.
    fn begin_async_wait(&self) {}

    /// The task has its outcome, or no longer wants it.
    fn end_async_wait(&self) {}

    /// Waits until all workers are ready.
    ///
    /// # Errors
    /// Why they will never be ready.
    fn ready(&self) -> Result<(), Arc<PoolError>> {
        Ok(())
    }

    /// Ends a running job that was cancelled, if the backend can.
    fn cancel_running(&self, job_state: &Arc<JobState>);

    /// Stops worker processes (SIGSTOP) until [`Executor::resume`]. In-process backends do nothing:
    /// their threads stop with the process.
    fn pause(&self) {}

    /// Continues worker processes after [`Executor::pause`].
    fn resume(&self) {}

    /// Ends the run early; [`Stop`] says how. Idempotent.
    fn stop(&self, how: Stop);

    /// How long the start took, how many workers were restarted, and why the pool gave up.
    fn status(&self) -> PoolStatus;

    /// Waits until all accepted tasks are finished, then ends all workers. Returns one report per
    /// slot. Idempotent.
    fn close(&self) -> Vec<WorkerReport>;
}

pub(crate) fn wait_patiently(waitable: &dyn Waitable, limit: Option<Duration>) {
    if limit.is_some_and(|limit| limit.is_zero()) {
        return;
    }
    let begin = clock::now();
    if spin_policy(None).wait(|| waitable.is_ready()) {
        return;
    }
    while !waitable.is_ready() {
        let left = match limit.map(|limit| limit.checked_sub(clock::since(begin))) {
            Some(None) => return,
            Some(left) => left,
            None => None,
        };
        waitable.sleep(left);
    }
}

/// How a thread polls before it sleeps: for `spin`, or by default for about the cost of a wake-up.
pub(crate) fn spin_policy(spin: Option<Duration>) -> SpinPolicy {
    SpinPolicy { spins: 100, yields: spin.unwrap_or_else(wakeup_latency::cost) }
}

/// How to end a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Cancels jobs that wait in the queue or for an input. Running jobs finish.
    Drain,
    /// Cancels running jobs as well: worker processes are killed, and kernels in this process are
    /// asked to stop.
    Kill,
}

/// The state of a pool.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Time from the request for the pool until all workers were ready. Zero while a pool of worker
    /// processes is still starting.
    pub startup: Duration,
    /// Worker processes started in addition to the first one of each slot.
    pub restarts: u64,
    /// Why the pool gave up; `None` if it did not.
    pub gave_up: Option<Arc<PoolError>>,
}

/// What one slot did, from the pool's start to its end. If its worker process was replaced, the
/// totals cover all processes of the slot.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerReport {
    /// Index of the slot.
    pub worker: WorkerId,
    /// Process id of the worker; of the last one, if it was replaced.
    pub pid: u32,
    /// Number of jobs that the slot finished.
    pub jobs: u64,
    /// Time with a job in hand, in nanoseconds. In-process backends include the reading of its
    /// inputs. Jobs that overlap (`async`) each count in full.
    pub busy_ns: u64,
    /// Time from the pool's creation until the slot was first ready, in nanoseconds.
    pub ready_ns: u64,
    /// Processor time in user and system mode, in nanoseconds; for worker processes, of all
    /// processes of this slot together. `None` if it was not measured.
    pub cpu_ns: Option<u64>,
    /// Largest resident set of any process of this slot, in bytes. `None` if unknown, as for slots
    /// inside the coordinator.
    pub peak_rss_bytes: Option<u64>,
}

impl Backend {
    /// Whether kernels run in the caller's own process.
    pub fn is_in_process(self) -> bool {
        self != Self::Processes
    }
}
