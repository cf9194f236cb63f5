use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use brigade_proto::{JobId, Outcome};

use crate::executor::Executor;
use crate::job_state::JobState;

/// A job that was submitted. Dropping it does not cancel the job.
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

    /// The job's number in its pool.
    pub fn id(&self) -> JobId {
        self.job_state.id
    }

    /// Waits for the outcome.
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
    /// Gives the handle back when the job has not ended by then; it goes on.
    pub fn wait_timeout(self, limit: Duration) -> Result<Outcome, Self> {
        self.executor.wait(&*self.job_state, Some(limit));
        self.job_state.outcome().ok_or(self)
    }

    /// Ends the job early if it has not ended yet; its outcome is
    /// [`JobError::Cancelled`](brigade_proto::JobError::Cancelled) then.
    ///
    /// A job that waits in the queue ends at once. A worker process that runs it
    /// is killed and replaced. A kernel in this process is asked to stop: one
    /// that never looks runs to its end, and its result is dropped.
    pub fn cancel(&self) {
        if !self.job_state.cancel() {
            self.executor.cancel_running(&self.job_state);
        }
    }
}
