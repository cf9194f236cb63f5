//! What `sync`, `async` and `threads` have in common: a job's way from its task to its outcome
//! within one process.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use brigade_proto::{Bytes, JobError, Nanos, Notes, Stamps, WorkerId};
use brigade_sys::clock;
use brigade_sys::confine::Readable;

use super::outputs::{BufferSink, OutputBufferPool};
use crate::PoolConfig;
use crate::executor::WorkerReport;
use crate::job_state::JobState;
use crate::load::{self, Limit};
use crate::log::{is_chatty, tell_finished};
use crate::stall;
use crate::task::{JobResult, Task};

/// One slot and its totals.
#[derive(Debug)]
pub(super) struct InProcessWorker {
    pub(super) worker: WorkerId,
    pid: u32,
    jobs: AtomicU64,
    busy_ns: AtomicU64,
    pub(super) ready_ns: AtomicU64,
    pub(super) cpu_ns: AtomicU64,
    /// Jobs that were taken and have not ended. At most one, except in an event loop.
    running: Mutex<Vec<Arc<JobState>>>,
    /// The pool stops, so no job waits for its inputs any more.
    is_stopping: AtomicBool,
    /// Running kernels were asked to stop. Changed and read with `running` locked.
    is_killed: AtomicBool,
    readable: Arc<Readable>,
    outputs: Arc<OutputBufferPool>,
}

impl InProcessWorker {
    /// A slot that shares `outputs` with the other slots of its pool.
    pub(super) fn new(worker: u32, config: &PoolConfig, outputs: &Arc<OutputBufferPool>) -> Self {
        Self {
            outputs: Arc::clone(outputs),
            worker: WorkerId(worker),
            pid: std::process::id(),
            jobs: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            ready_ns: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            running: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
            readable: Arc::clone(&config.readable),
        }
    }

    /// Where the kernel of the next job writes its outputs.
    pub(super) fn sink(&self) -> BufferSink {
        self.outputs.sink()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<Arc<JobState>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every running kernel to stop.
    pub(super) fn stop_running(&self) {
        let running = self.running();
        self.is_killed.store(true, Ordering::Relaxed);
        for job_state in running.iter() {
            job_state.cancel();
        }
    }

    /// Ends jobs whose inputs are still being read.
    pub(super) fn stop_reading(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Takes a task and reads its inputs. `None` if the job has ended: it was cancelled, or an
    /// input could not be read.
    pub(super) fn take(&self, mut task: Task) -> Option<Ready> {
        if !task.job_state.take() {
            return None;
        }
        let mut running = self.running();
        running.push(Arc::clone(&task.job_state));
        if self.is_killed.load(Ordering::Relaxed) {
            // `stop_running` has not seen this job.
            task.job_state.cancel();
        }
        drop(running);
        task.attempts = 1;
        task.stamps.assigned = clock::now();
        let is_stopped =
            || self.is_stopping.load(Ordering::Acquire) || task.job_state.is_stopping();
        let digests = RefCell::new(Vec::new());
        let mut limit = Limit::begin(task.timeout, &is_stopped, &stall::here, &self.readable);
        if task.digests.is_some() {
            limit = limit.digesting(&digests);
        }
        let loaded = load::load(&task.inputs, &limit);
        task.saw(digests.into_inner());
        task.stamps.encoded = clock::now();
        task.stamps.in_hand = task.stamps.encoded;
        match loaded {
            Ok(inputs) => Some(Ready { task, inputs, notes: Notes::default() }),
            Err(error) => {
                self.end(Ready { task, inputs: Vec::new(), notes: Notes::default() }, Err(error));
                None
            }
        }
    }

    /// Reports the end of a job that was taken.
    pub(super) fn end(&self, ready: Ready, result: Result<Vec<Bytes>, JobError>) {
        let Ready { mut task, inputs, notes } = ready;
        let stamps = &mut task.stamps;
        stamps.published = clock::now();
        stamps.collected = stamps.published;
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.busy_ns.fetch_add(stamps.published - stamps.assigned, Ordering::Relaxed);
        self.running().retain(|job_state| job_state.id != task.job_state.id);
        if is_chatty() {
            tell_finished(task.job_state.id, self.worker.0 as usize, result.is_ok());
        }
        let bytes_in = load::total(&inputs);
        let worker = Some(self.worker);
        task.finish(JobResult { result, worker, pid: self.pid, bytes_in, notes, batch: None });
    }

    pub(super) fn report(&self) -> WorkerReport {
        WorkerReport {
            worker: self.worker,
            pid: self.pid,
            jobs: self.jobs.load(Ordering::Relaxed),
            busy_ns: self.busy_ns.load(Ordering::Relaxed),
            ready_ns: self.ready_ns.load(Ordering::Relaxed),
            cpu_ns: Some(self.cpu_ns.load(Ordering::Relaxed)).filter(|&ns| ns > 0),
            peak_rss_bytes: None,
        }
    }
}

/// A job whose inputs are in memory.
pub(super) struct Ready {
    pub(super) task: Task,
    pub(super) inputs: Vec<Bytes>,
    /// Notes of the kernel, once it has returned.
    notes: Notes,
}

impl Ready {
    pub(super) fn slices(&self) -> Vec<&[u8]> {
        self.inputs.iter().map(|input| &input[..]).collect()
    }

    /// Stamps the call and returns the job's result: the kernel's error, or the outputs that it
    /// wrote.
    pub(super) fn outputs(
        &mut self,
        called: Nanos,
        returned: Nanos,
        result: Result<Notes, JobError>,
        sink: BufferSink,
    ) -> Result<Vec<Bytes>, JobError> {
        self.task.stamps = Stamps { called, returned, ..self.task.stamps };
        self.notes = result?;
        Ok(sink.into_outputs())
    }
}
