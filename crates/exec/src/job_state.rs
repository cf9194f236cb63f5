//! What a job's submitter and its executor share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use brigade_proto::{JobError, JobId, Nanos, Notes, Outcome, Stamps};
use crossbeam_channel::Sender;

use crate::batch_outcomes::Outcomes;
use crate::completions::{CompletionQueue, Waitable, sleep_while};

/// Where the outcome goes.
#[derive(Debug)]
pub(crate) enum CompletionSink {
    /// To the job state itself. A [`JobHandle`](crate::JobHandle) waits on it.
    Handle,
    /// To the completion queue of a [`Map`](crate::Map) or [`MapUnordered`](crate::MapUnordered).
    Queue(Arc<CompletionQueue>),
    /// To a channel. Its receiver collects many outcomes and does not wait through the pool.
    Channel(Sender<Outcome>),
}

/// What a job's submitter and its executor share.
///
/// States: `QUEUED` -> `RUNNING` -> `DONE`; back to `QUEUED` if the worker died or had no memory
/// for the job; directly to `DONE` if the job is cancelled in the queue. Each transition is one
/// atomic operation on `state`, so exactly one party finishes a job.
#[derive(Debug)]
pub(crate) struct JobState {
    pub(crate) id: JobId,
    submitted: Nanos,
    state: AtomicU8,
    stop: AtomicBool,
    sink: CompletionSink,
    is_answered: AtomicBool,
    cell: Mutex<OutcomeCell>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutcomeCell {
    outcome: Option<Outcome>,
    /// The asynchronous task that awaits the outcome.
    waker: Option<Waker>,
    /// Threads that sleep on the condition variable. Without any, `report` skips the notification,
    /// which is a system call even if no thread sleeps.
    sleepers: u32,
}

/// What became of a job that lost its worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PutBack {
    /// It waits for another worker.
    Queued,
    /// It has ended meanwhile: the caller drops the task.
    Ended,
    /// It was cancelled meanwhile: the caller reports that.
    Cancelled,
}

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

impl JobState {
    pub(crate) fn new(id: JobId, submitted: Nanos, sink: CompletionSink) -> Arc<Self> {
        Arc::new(Self {
            id,
            submitted,
            state: AtomicU8::new(QUEUED),
            stop: AtomicBool::new(false),
            sink,
            is_answered: AtomicBool::new(false),
            cell: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Marks the job as taken by a worker. False if it was cancelled meanwhile; the caller then
    /// drops the task.
    pub(crate) fn take(&self) -> bool {
        self.step(QUEUED, RUNNING)
    }

    /// Marks the job as queued again: its worker died, or had no memory for it.
    pub(crate) fn put_back(&self) -> PutBack {
        if !self.step(RUNNING, QUEUED) {
            return PutBack::Ended;
        }
        // A `cancel` that ran just before this step found the job running and left it to the
        // executor, which finds it with no worker. Nobody else would end it before it has run.
        // `SeqCst` on the flag and the state: one of the two sees what the other has done.
        let is_stopped = self.stop.load(Ordering::SeqCst) || self.is_abandoned();
        if is_stopped && self.step(QUEUED, RUNNING) {
            return PutBack::Cancelled;
        }
        PutBack::Queued
    }

    /// Whether the job was asked to end early.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.is_abandoned()
    }

    /// Whether the map that collects the outcome was dropped. A map cancels the jobs that it knows;
    /// it does not know the single jobs into which its batches are split later.
    fn is_abandoned(&self) -> bool {
        matches!(&self.sink, CompletionSink::Queue(completions) if completions.is_abandoned())
    }

    /// Asks the job to end. If the job waits in the queue, it ends at once, and this returns true.
    /// Otherwise the executor has to end it.
    pub(crate) fn cancel(&self) -> bool {
        {
            // Set the flag under the lock, so that a thread between its check and its sleep does
            // not miss it.
            let _cell = self.lock();
            self.stop.store(true, Ordering::SeqCst);
        }
        self.changed.notify_all();
        if !self.step(QUEUED, DONE) {
            return false;
        }
        self.report_cancelled();
        true
    }

    /// Ends a job at once that is assigned but that its worker has not begun. The pool ignores what
    /// the worker answers later.
    pub(crate) fn cancel_assigned(&self) {
        if self.step(RUNNING, DONE) {
            self.report_cancelled();
        }
    }

    fn report_cancelled(&self) {
        let stamps = Stamps {
            submitted: self.submitted,
            collected: brigade_sys::clock::now(),
            ..Stamps::default()
        };
        self.report(unrun(self.id, JobError::Cancelled, stamps));
    }

    /// Marks the job as ended. False if it had ended before.
    pub(crate) fn close(&self) -> bool {
        self.state.swap(DONE, Ordering::AcqRel) != DONE
    }

    pub(crate) fn finish(&self, outcome: Outcome) {
        if self.close() {
            self.report(outcome);
        }
    }

    fn report(&self, outcome: Outcome) {
        match &self.sink {
            CompletionSink::Handle => {
                let mut cell = self.lock();
                cell.outcome = Some(outcome);
                self.is_answered.store(true, Ordering::Release);
                let asleep = cell.sleepers > 0;
                let waker = cell.waker.take();
                drop(cell);
                if asleep {
                    self.changed.notify_all();
                }
                if let Some(waker) = waker {
                    // It is the caller's code, and must not unwind through a thread of the pool.
                    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                }
            }
            CompletionSink::Queue(completions) => completions.put(Outcomes::one(outcome)),
            CompletionSink::Channel(sender) => send(sender, outcome),
        }
    }

    /// Whether the recipient of the outcome waits through
    /// [`Executor::wait`](crate::executor::Executor::wait).
    pub(crate) fn is_polled(&self) -> bool {
        !matches!(self.sink, CompletionSink::Channel(_))
    }

    fn lock(&self) -> MutexGuard<'_, OutcomeCell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the outcome, if it has arrived.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    /// Takes the outcome, or has `waker` woken when it arrives.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Outcome> {
        let mut cell = self.lock();
        match cell.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                let known = cell.waker.replace(waker.clone());
                drop(cell);
                // Dropping a waker can run the caller's code: not with the lock held.
                drop(known);
                Poll::Pending
            }
        }
    }

    /// Forgets the task that awaited the outcome.
    pub(crate) fn forget_waker(&self) {
        let waker = self.lock().waker.take();
        drop(waker);
    }

    /// Sleeps for `time`, or until the job is asked to stop.
    pub(crate) fn nap(&self, time: Duration) {
        let mut cell = self.lock();
        cell.sleepers += 1;
        let mut cell = sleep_while(&self.changed, cell, Some(time), |_| !self.is_stopping());
        cell.sleepers -= 1;
    }
}

/// The outcome of a job that no worker has run.
pub(crate) fn unrun(id: JobId, error: JobError, stamps: Stamps) -> Outcome {
    Outcome {
        id,
        result: Err(error),
        stamps,
        worker: None,
        pid: 0,
        attempts: 0,
        bytes_in: 0,
        input_digests: None,
        notes: Notes::default(),
    }
}

#[inline(never)]
fn send(sender: &Sender<Outcome>, outcome: Outcome) {
    // Sending fails if the receiver is gone. Nobody wants the outcome then.
    drop(sender.send(outcome));
}

impl Waitable for JobState {
    fn is_ready(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }

    fn sleep(&self, limit: Option<Duration>) {
        let mut cell = self.lock();
        cell.sleepers += 1;
        let mut cell = sleep_while(&self.changed, cell, limit, |cell| cell.outcome.is_none());
        cell.sleepers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: u64) -> Outcome {
        Outcome {
            id: JobId(id),
            result: Ok(Vec::new()),
            stamps: Stamps::default(),
            worker: None,
            pid: 0,
            attempts: 1,
            bytes_in: 0,
            input_digests: None,
            notes: Notes::default(),
        }
    }

    #[test]
    fn a_cancelled_job_is_never_taken_and_never_answered_twice() {
        let job_state = JobState::new(JobId(1), 1, CompletionSink::Handle);
        assert!(job_state.cancel());
        assert!(!job_state.take());
        job_state.finish(outcome(1));
        assert_eq!(job_state.outcome().unwrap().result, Err(JobError::Cancelled));
        assert!(job_state.outcome().is_none());
    }

    #[test]
    fn a_running_job_is_only_asked_to_stop() {
        let job_state = JobState::new(JobId(1), 1, CompletionSink::Handle);
        assert!(job_state.take());
        assert!(!job_state.cancel());
        assert!(job_state.is_stopping());
        job_state.finish(outcome(1));
        assert!(job_state.outcome().unwrap().result.is_ok());
    }

    #[test]
    fn a_job_that_is_cancelled_while_it_loses_its_worker_does_not_wait_for_another() {
        let job_state = JobState::new(JobId(1), 1, CompletionSink::Handle);
        assert!(job_state.take());
        assert!(!job_state.cancel(), "it is left to the executor");
        assert_eq!(job_state.put_back(), PutBack::Cancelled);
        job_state.finish(outcome(1));
        assert!(job_state.outcome().is_some());
        assert!(!job_state.take());
        assert!(job_state.outcome().is_none());
    }

    #[test]
    fn a_job_can_be_taken_again_after_its_worker_died() {
        let job_state = JobState::new(JobId(1), 1, CompletionSink::Handle);
        assert!(job_state.take());
        assert!(!job_state.take());
        assert_eq!(job_state.put_back(), PutBack::Queued);
        assert!(job_state.take());
    }
}
