use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use brigade_proto::{JobId, Outcome};

use crate::completions::Waitable;
use crate::executor::Executor;
use crate::job_state::JobState;

/// A submitted job. Dropping the handle does not cancel the job.
///
/// A thread waits for the outcome with [`JobHandle::wait`]. An asynchronous task awaits the handle,
/// which is a [`Future`] for any runtime: the pool's own threads collect the response and wake the
/// task. That takes a thread switch, which `wait` does without, because the waiting thread collects
/// the response itself.
///
/// ```
/// # use brigade_exec::{Backend, Pool};
/// # use brigade_proto::JobSpec;
/// # let pool = Pool::builder().backend(Backend::Threads).workers(1).build().unwrap();
/// let handle = pool.submit(JobSpec::new("noop")).unwrap();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// let outcome = runtime.block_on(handle);
/// assert!(outcome.result.is_ok());
/// ```
pub struct JobHandle {
    job_state: Arc<JobState>,
    executor: Arc<dyn Executor>,
    future: FutureState,
}

/// What the future of a handle has done so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FutureState {
    /// No task has polled it.
    Unpolled,
    /// The executor knows that a task awaits the outcome.
    Awaited,
    /// It has returned the outcome.
    Ready,
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobHandle({})", self.id())
    }
}

impl JobHandle {
    pub(crate) fn new(job_state: Arc<JobState>, executor: Arc<dyn Executor>) -> Self {
        Self { job_state, executor, future: FutureState::Unpolled }
    }

    /// The job's id in its pool.
    pub fn id(&self) -> JobId {
        self.job_state.id
    }

    /// Whether the outcome is there. Does not wait, but collects responses that have arrived.
    pub fn is_finished(&self) -> bool {
        self.executor.wait(&*self.job_state, Some(Duration::ZERO));
        self.job_state.is_ready()
    }

    /// Returns the outcome if it is there. Does not wait, but collects responses that have arrived.
    ///
    /// # Errors
    /// Returns the handle if the outcome is not there. The job continues.
    ///
    /// # Panics
    /// As [`JobHandle::wait`].
    pub fn try_wait(self) -> Result<Outcome, Self> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Waits until the job has ended, and returns its outcome.
    ///
    /// # Panics
    /// If the handle was polled as a future, and has returned the outcome.
    pub fn wait(self) -> Outcome {
        self.assert_not_taken();
        loop {
            self.executor.wait(&*self.job_state, None);
            if let Some(outcome) = self.job_state.outcome() {
                return outcome;
            }
        }
    }

    /// Waits for the outcome for at most `limit`.
    ///
    /// # Errors
    /// Returns the handle if the job has not ended by then. The job continues.
    ///
    /// # Panics
    /// As [`JobHandle::wait`].
    pub fn wait_timeout(self, limit: Duration) -> Result<Outcome, Self> {
        self.assert_not_taken();
        self.executor.wait(&*self.job_state, Some(limit));
        self.job_state.outcome().ok_or(self)
    }

    /// Cancels the job if it has not ended yet. Its outcome is then
    /// [`JobError::Cancelled`](brigade_proto::JobError::Cancelled).
    ///
    /// A job that waits in the queue, or that its worker process has not begun, ends at once. A
    /// worker process that runs the job is killed and replaced. A kernel in this process is asked
    /// to stop. A kernel that never checks runs to its end, and its result is dropped.
    pub fn cancel(&self) {
        if !self.job_state.cancel() {
            self.executor.cancel_running(&self.job_state);
        }
    }
}

impl Future for JobHandle {
    type Output = Outcome;

    /// # Panics
    /// If it is polled after it has returned the outcome.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        self.assert_not_taken();
        let mut outcome = self.job_state.poll(context.waker());
        if outcome.is_pending() && self.future == FutureState::Unpolled {
            self.future = FutureState::Awaited;
            // The response may be among those that this collects. Its waker is then woken, too,
            // which costs one needless poll.
            self.executor.begin_async_wait();
            outcome = self.job_state.poll(context.waker());
        }
        if outcome.is_ready() {
            self.end_wait();
            self.future = FutureState::Ready;
        }
        outcome
    }
}

impl JobHandle {
    fn assert_not_taken(&self) {
        assert!(self.future != FutureState::Ready, "the outcome of this job was taken before");
    }

    fn end_wait(&self) {
        if self.future == FutureState::Awaited {
            self.executor.end_async_wait();
            self.job_state.forget_waker();
        }
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.end_wait();
    }
}
