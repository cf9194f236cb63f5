//! A job on its way through an executor, and how the executor reports its end.

use std::sync::Arc;
use std::time::Duration;

use brigade_kernels::KernelId;
use brigade_proto::{
    Bytes, JobError, JobId, Nanos, Notes, Outcome, Params, Source, Stamps, WorkerId,
};

use crate::batch::JobBatch;
use crate::batch_outcomes::{BatchOutcomes, BatchResponse, Outcomes};
use crate::job_state::{CompletionSink, JobState};

/// A job on its way through an executor.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) job_state: Arc<JobState>,
    pub(crate) kernel: KernelId,
    /// Validated, and completed with the kernel's defaults.
    pub(crate) params: Arc<Params>,
    pub(crate) inputs: Vec<Source>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) stamps: Stamps,
    /// Attempts so far. Undelivered attempts and attempts that found no memory do not count.
    pub(crate) attempts: u32,
    /// Undelivered attempts: workers that were told of the job and died before they began it.
    pub(crate) undelivered: u32,
    /// The job runs while no other job does, because an earlier attempt found no memory.
    pub(crate) is_alone: bool,
    /// How often the job found no memory although it ran alone.
    pub(crate) shortages: u32,
    /// BLAKE3 digests of the input files as they were read; `None` if not asked for.
    pub(crate) digests: Option<Vec<[u8; 32]>>,
    /// The batch that this task carries. Its first job has the id of `job_state`.
    pub(crate) batch: Option<Box<JobBatch>>,
}

impl Task {
    /// A task that nothing has tried, and the state that it shares with the submitter.
    pub(crate) fn new(
        id: JobId,
        submitted: Nanos,
        sink: CompletionSink,
        kernel: KernelId,
        params: Arc<Params>,
        inputs: Vec<Source>,
    ) -> Self {
        Self {
            job_state: JobState::new(id, submitted, sink),
            kernel,
            params,
            inputs,
            timeout: None,
            stamps: Stamps { submitted, ..Stamps::default() },
            attempts: 0,
            undelivered: 0,
            is_alone: false,
            shortages: 0,
            digests: None,
            batch: None,
        }
    }

    /// Records the digests of the files that were just read. An empty list changes nothing: another
    /// attempt does not read inputs again that are already in memory.
    pub(crate) fn saw(&mut self, digests: Vec<[u8; 32]>) {
        if !digests.is_empty() {
            self.digests = Some(digests);
        }
    }

    /// Reports the end of the job. Only the first report counts.
    pub(crate) fn finish(&self, job_result: JobResult) {
        if let Some(batch) = &self.batch {
            if self.job_state.close() {
                let outcomes = self.batch_outcomes(batch, job_result);
                batch.completions.put(Outcomes::Batch(Box::new(outcomes)));
            }
            return;
        }
        let outcome = Outcome {
            id: self.job_state.id,
            result: job_result.result,
            stamps: self.stamps,
            worker: job_result.worker,
            pid: job_result.pid,
            attempts: self.attempts,
            bytes_in: job_result.bytes_in,
            input_digests: self.digests.clone().map(Vec::into_boxed_slice),
            notes: job_result.notes,
        };
        self.job_state.finish(outcome);
    }

    /// The outcomes of the jobs of its batch, given how the batch ended.
    fn batch_outcomes(&self, whole: &JobBatch, job_result: JobResult) -> BatchOutcomes {
        let JobResult { result, worker, pid, batch, .. } = job_result;
        let (returned, run, others) = match batch {
            Some(response) => (response.returned, response.run, response.others),
            None => (Bytes::default(), whole.count, Vec::new()),
        };
        BatchOutcomes {
            first: self.job_state.id,
            next: 0,
            count: whole.count,
            result: result.map(drop),
            stamps: self.stamps,
            called: self.stamps.called,
            returned,
            run,
            others: others.into_iter().peekable(),
            bytes_in: whole.bytes_in(),
            worker,
            pid,
            attempts: self.attempts,
        }
    }

    /// Splits a batch of this task into single tasks, each marked as taken by a worker. The first
    /// has the id `first`; the others follow.
    pub(crate) fn dissolve(&self, batch: JobBatch, first: JobId) -> Vec<Self> {
        let mut tasks = Vec::with_capacity(batch.count);
        for run in batch.runs {
            let mut inputs = run.inputs.into_iter();
            for _ in 0..run.count {
                let id = JobId(first.0 + tasks.len() as u64);
                let sink = CompletionSink::Queue(Arc::clone(&batch.completions));
                let (params, inputs) = (Arc::clone(&run.params), inputs.next().unwrap_or_default());
                let submitted = self.stamps.submitted;
                let mut task = Self::new(id, submitted, sink, run.kernel, params, inputs);
                task.job_state.take();
                task.stamps = self.stamps;
                task.attempts = self.attempts;
                task.undelivered = self.undelivered;
                tasks.push(task);
            }
        }
        tasks
    }

    /// Reports that the job ended without being run.
    pub(crate) fn finish_unrun(mut self, error: JobError) {
        self.stamps.collected = brigade_sys::clock::now();
        self.finish(JobResult::unrun(error));
    }
}

/// A thread that panics drops the tasks that it owns. Their jobs end here, so that no caller waits
/// for them forever.
impl Drop for Task {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the thread that had the job in hand has panicked".to_owned();
            self.finish(JobResult::unrun(JobError::PoolGaveUp { reason }));
        }
    }
}

/// How a job ended, as its executor reports it.
pub(crate) struct JobResult {
    pub(crate) result: Result<Vec<Bytes>, JobError>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) pid: u32,
    pub(crate) bytes_in: u64,
    pub(crate) notes: Notes,
    /// Set if the task carries a batch and its result is `Ok`.
    pub(crate) batch: Option<Box<BatchResponse>>,
}

impl JobResult {
    /// The result of a job that no worker has run.
    pub(crate) fn unrun(error: JobError) -> Self {
        Self::failed(error, None, 0, 0)
    }

    /// The result of a job that failed.
    pub(crate) fn failed(
        error: JobError,
        worker: Option<WorkerId>,
        pid: u32,
        bytes_in: u64,
    ) -> Self {
        let notes = Notes::default();
        Self { result: Err(error), worker, pid, bytes_in, notes, batch: None }
    }
}
