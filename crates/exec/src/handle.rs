use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use brigade_proto::{JobId, Outcome};

use crate::executor::Executor;
use crate::job_state::JobState;

/// A submitted job. Dropping the handle does not cancel the job.
pub struct JobHandle {
    job_state: Arc<JobState>,
    executor: Arc<dyn Executor>,
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobHandle({})", self.id())
    }
}

impl JobHandle {
    pub(crate) fn new(job_state: Arc<JobState>, executor: Arc<dyn Executor>) -> Self {
        Self { job_state, executor }
    }

    /// The job's id in its pool.
    pub fn id(&self) -> JobId {
        self.job_state.id
    }

    /// Waits until the job has ended, and returns its outcome.
    pub fn wait(self) -> Outcome {
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
    pub fn wait_timeout(self, limit: Duration) -> Result<Outcome, Self> {
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
