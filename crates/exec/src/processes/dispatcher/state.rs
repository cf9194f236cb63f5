//! The state behind the dispatcher's lock: the queue, and each slot's worker and jobs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use brigade_ipc::{Arena, CoordinatorEndpoint, Outputs, Sender, WakePolicy};
use brigade_proto::{JobError, JobId, Nanos};
use brigade_sys::{clock, usage};
use smallvec::SmallVec;

use super::crash_loop::CrashLoopCounter;
use super::starved::Starved;
use super::wake_throttle::WakeThrottle;
use crate::executor::Stop;
use crate::job_state::PutBack;
use crate::task::{JobResult, Task};

pub(super) struct State {
    /// Jobs that wait for a worker.
    pub(super) queue: VecDeque<Box<Task>>,
    /// Jobs that were tried, and whose worker died. Each is retried on a worker that has no other
    /// job.
    pub(super) quarantined: VecDeque<Box<Task>>,
    /// Jobs for which there was no memory.
    pub(super) starved: Starved,
    pub(super) slots: Vec<WorkerSlot>,
    /// Set when the pool stops accepting jobs.
    pub(super) stopped: Option<Stop>,
    /// All jobs are done, and workers may leave.
    pub(super) closing: bool,
    /// Workers that died by themselves since a job last ended.
    pub(super) deaths: CrashLoopCounter,
    /// Of these deaths, those that cost no job an attempt or an undelivered attempt. A death that
    /// did ends this row.
    pub(super) idle_deaths: CrashLoopCounter,
    /// Since when workers have died for lack of memory, with no job ended in between.
    pub(super) short_since: Option<Nanos>,
    /// The error that unfinished jobs end with, if the pool gave up.
    pub(super) gave_up: Option<JobError>,
    /// Callers that wait for space in the queue.
    pub(super) waiting_for_room: usize,
    /// A caller sleeps on the leader's doorbell.
    pub(super) is_led: bool,
    /// Callers that sleep while another caller leads.
    pub(super) followers: usize,
    /// A waiting caller has polled without sleeping since the completion thread last checked.
    pub(super) polled_recently: bool,
    /// The completion thread's wake policy that the workers were last told.
    pub(super) call: WakePolicy,
    /// The submitter of the last job does not poll for its outcome, or the pool is closing.
    pub(super) is_unpolled: bool,
    /// Outcomes that asynchronous tasks await.
    pub(super) async_waits: usize,
    /// Jobs that are held back from sleeping workers.
    pub(super) wake_throttle: WakeThrottle,
    /// Jobs that have ended. They are reported when the lock is released.
    pub(super) ended: SmallVec<[(Box<Task>, JobResult); 1]>,
    /// Tasks that leave the count of unfinished jobs without a report: jobs that were cancelled
    /// while they waited and are already reported, and batches that were split.
    pub(super) dropped: usize,
}

#[derive(Default)]
pub(super) struct WorkerSlot {
    /// Number of the worker process in this slot. The pool numbers its workers in the order in
    /// which they start. A message with an older number is from an earlier process.
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) ready: bool,
    /// The worker was told to leave.
    pub(super) leaving: bool,
    pub(super) assigned: VecDeque<Assigned>,
    /// Tasks for the slot's staging thread.
    pub(super) staging: VecDeque<QueuedStaging>,
    /// Jobs given to the present process.
    pub(super) given: u64,
    /// How many jobs the present process may get; `None` means any number.
    pub(super) share: Option<u64>,
    /// The worker must be replaced because of the memory that it holds.
    pub(super) outgrown: bool,
    /// The worker's rings, if it has any.
    pub(super) connection: Option<RingConnection>,
    /// How the present process violated the protocol in its ring, phrased to follow "worker".
    pub(super) violation: Option<String>,
    /// When a worker of this slot last published a response.
    pub(super) free: Nanos,
    pub(super) report: Totals,
}

/// The dispatcher's connection to a worker that has rings.
pub(in super::super) struct RingConnection {
    pub(in super::super) endpoint: CoordinatorEndpoint,
    pub(in super::super) outputs: Arc<Outputs>,
    /// Where the worker's inputs are.
    pub(in super::super) inputs: Arc<Arena>,
    /// Regions of that arena that were sent to the worker, or will be.
    pub(in super::super) regions: Vec<u32>,
}

/// The sending side of a worker's control channel, until it is closed.
pub(in super::super) struct ControlSender(Mutex<Option<Sender>>);

impl ControlSender {
    pub(in super::super) fn new(sender: Sender) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Calls `send` with the channel; returns `None` if it is closed. The mutex is not held during
    /// the call: a worker that does not read its control channel blocks the sending thread and no
    /// other.
    pub(in super::super) fn with<T>(&self, send: impl FnOnce(&Sender) -> T) -> Option<T> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.as_ref().map(send)
    }

    /// Closes the channel. A worker that gets its jobs over the control channel then leaves.
    pub(in super::super) fn close(&self) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // This closes only the sending direction. The worker's last messages still arrive over
            // the same socket.
            sender.close();
        }
    }
}

#[derive(Default)]
pub(super) struct Totals {
    pub(super) jobs: u64,
    pub(super) busy_ns: u64,
    pub(super) ready_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) peak_rss_bytes: u64,
}

pub(super) struct Assigned {
    pub(super) task: Box<Task>,
    pub(super) bytes_in: u64,
    /// The worker was told of the job.
    pub(super) sent: bool,
    /// When the kernel was called, as the worker first reported it.
    pub(super) called: Option<Nanos>,
}

/// Work that only a staging thread may do, because it can block.
pub(super) enum QueuedStaging {
    /// Read the inputs of an assigned job, and send the job if necessary.
    Job(JobId),
    /// Send a region of the arena.
    Region(u32),
}

/// The job that a worker has in hand, and when its kernel was called.
pub(super) type Current = Option<(JobId, Option<Nanos>)>;

impl State {
    /// Takes a job back from its worker. Returns the job if it waits for another worker; otherwise
    /// it was cancelled or has ended meanwhile, and this accounts for it.
    #[cold]
    pub(super) fn take_back(&mut self, mut task: Box<Task>) -> Option<Box<Task>> {
        task.stamps.assigned = 0;
        task.stamps.encoded = 0;
        match task.job_state.put_back() {
            PutBack::Queued => return Some(task),
            PutBack::Ended => self.dropped += 1,
            PutBack::Cancelled => {
                task.stamps.collected = clock::now();
                self.ended.push((task, JobResult::unrun(JobError::Cancelled)));
            }
        }
        None
    }

    /// A job has ended, even if it failed.
    pub(super) fn progress(&mut self) {
        self.deaths.end();
        self.idle_deaths.end();
        self.short_since = None;
    }

    /// Whether a thread waits for an outcome that perhaps only the completion thread collects: a
    /// caller that sleeps and does not lead, a listener on a channel, or an asynchronous task.
    pub(super) fn needs_completion_thread(&self) -> bool {
        self.followers > 0 || self.is_unpolled || self.async_waits > 0
    }

    /// Whether any worker was told of a job with at most `most` undelivered attempts. The worker
    /// may be running the job; if it is stopped, the heartbeat will find out.
    pub(super) fn is_any_under_way(&self, most: u32) -> bool {
        let is_under_way = |assigned: &Assigned| assigned.sent && assigned.task.undelivered <= most;
        self.slots.iter().any(|slot| slot.assigned.iter().any(is_under_way))
    }

    /// The slot, if its worker is of this generation.
    pub(super) fn slot(&mut self, slot: usize, generation: u64) -> Option<&mut WorkerSlot> {
        let slot = &mut self.slots[slot];
        (slot.generation == generation).then_some(slot)
    }
}

impl WorkerSlot {
    /// Whether the slot has a job on probation: one that an earlier worker died of.
    pub(super) fn is_on_probation(&self) -> bool {
        self.assigned.iter().any(|assigned| assigned.task.attempts > 1)
    }

    /// Records the worker's peak memory while it lives: once it is dead, its peak cannot be told
    /// apart from the coordinator's.
    pub(super) fn note_peak(&mut self) {
        let peak = usage::peak_rss_bytes_of(self.pid).unwrap_or(0);
        self.report.peak_rss_bytes = self.report.peak_rss_bytes.max(peak);
    }

    pub(super) fn find(&self, job: JobId) -> Option<usize> {
        self.assigned.iter().position(|assigned| assigned.task.job_state.id == job)
    }

    /// Whether a job is assigned to the slot, alone or in a batch.
    pub(super) fn has(&self, job: JobId) -> bool {
        self.assigned.iter().any(|Assigned { task, .. }| {
            let count = task.batch.as_ref().map_or(1, |batch| batch.count as u64);
            job.0.checked_sub(task.job_state.id.0).is_some_and(|place| place < count)
        })
    }
}
