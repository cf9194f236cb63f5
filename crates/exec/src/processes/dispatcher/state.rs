//! What a dispatcher keeps its books in: the queue, and of each slot what its worker has.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use brigade_ipc::{Arena, CoordinatorEndpoint, Outputs, Sender, WakePolicy};
use brigade_proto::{JobError, JobId, Nanos};
use brigade_sys::usage;
use smallvec::SmallVec;

use super::crash_loop::CrashLoopCounter;
use super::starved::Starved;
use super::wake_throttle::WakeThrottle;
use crate::executor::Stop;
use crate::job_state::{End, Task};

pub(super) struct State {
    pub(super) queue: VecDeque<Box<Task>>,
    /// Jobs whose worker died with them in hand; they are tried again with no other job
    /// behind them.
    pub(super) quarantined: VecDeque<Box<Task>>,
    /// Jobs for which there was no memory.
    pub(super) starved: Starved,
    pub(super) slots: Vec<WorkerSlot>,
    /// No jobs are accepted any more.
    pub(super) stopped: Option<Stop>,
    /// All jobs are done; workers may go.
    pub(super) closing: bool,
    /// Workers that died by themselves since a job was last completed: all of them.
    pub(super) deaths: CrashLoopCounter,
    /// Those for which no job pays.
    pub(super) idle_deaths: CrashLoopCounter,
    /// Since when workers have died for want of memory, with no job completed in between.
    pub(super) short_since: Option<Nanos>,
    /// Why, if it did.
    pub(super) gave_up: Option<JobError>,
    /// Callers that wait for room in the queue.
    pub(super) waiting_for_room: usize,
    /// A caller sleeps on the leader's doorbell.
    pub(super) is_led: bool,
    /// Callers that wait and do not lead.
    pub(super) followers: usize,
    /// A caller that waits and does not sleep yet has looked since the completion thread last did.
    pub(super) polled_recently: bool,
    /// When the completion thread was last said to want a call.
    pub(super) call: WakePolicy,
    /// The last job was submitted by somebody who does not come to wait for it.
    pub(super) is_unpolled: bool,
    /// What is held back from workers that sleep.
    pub(super) hold: WakeThrottle,
    /// Jobs that have ended, to be reported when the lock is released.
    pub(super) ended: SmallVec<[(Box<Task>, End); 1]>,
    /// Jobs that were cancelled in the queue and are reported already.
    pub(super) dropped: usize,
}

#[derive(Default)]
pub(super) struct WorkerSlot {
    /// Counts the worker processes in this slot; a message from an earlier one is
    /// recognised by it.
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) ready: bool,
    /// Its worker was told to leave.
    pub(super) leaving: bool,
    pub(super) assigned: VecDeque<Assigned>,
    /// What its staging thread has to do.
    pub(super) staging: VecDeque<QueuedStaging>,
    /// Jobs given to the present process.
    pub(super) given: u64,
    /// How many it may have.
    pub(super) share: Option<u64>,
    /// It holds so much memory that it is to be replaced.
    pub(super) outgrown: bool,
    /// The worker's rings, if it has any.
    pub(super) wire: Option<Wire>,
    /// What the present process wrote into its ring that is against the protocol, in words that
    /// fit after "worker".
    pub(super) violation: Option<String>,
    /// When a worker of this slot published its last answer.
    pub(super) free: Nanos,
    pub(super) report: Totals,
}

/// How a worker with rings is reached.
pub(in super::super) struct Wire {
    pub(in super::super) pass: CoordinatorEndpoint,
    pub(in super::super) outputs: Arc<Outputs>,
    /// Where its inputs lie.
    pub(in super::super) inputs: Arc<Arena>,
    /// Regions of that arena that the worker was sent, or will be.
    pub(in super::super) regions: Vec<u32>,
}

/// A worker's control channel, until it is closed.
pub(in super::super) struct ControlSender(Mutex<Option<Sender>>);

impl ControlSender {
    pub(in super::super) fn new(sender: Sender) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Uses the channel; `None` if it is closed. Not under the lock: a worker that does
    /// not read its control channel blocks whoever sends, and nobody else.
    pub(in super::super) fn with<T>(&self, send: impl FnOnce(&Sender) -> T) -> Option<T> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.as_ref().map(send)
    }

    /// Closes it: a worker that gets its jobs over the control channel leaves.
    pub(in super::super) fn close(&self) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // What the worker still says comes over the same socket.
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
    /// The worker was told of it.
    pub(super) sent: bool,
    /// When its kernel was called, as the worker said when it was first asked.
    pub(super) called: Option<Nanos>,
}

/// What only a staging thread may do, because it can block.
pub(super) enum QueuedStaging {
    /// Fetch the inputs of an assigned job, and send it if need be.
    Job(JobId),
    /// Send a region of the arena.
    Region(u32),
}

/// The job that a worker has in hand, and when its kernel was called.
pub(super) type Current = Option<(JobId, Option<Nanos>)>;

impl State {
    /// A job came to its end, if a bad one.
    pub(super) fn progress(&mut self) {
        self.deaths.end();
        self.idle_deaths.end();
        self.short_since = None;
    }

    /// Whether somebody waits for what nobody but the completion thread may come for: another caller that
    /// sleeps, or a listener on a channel.
    pub(super) fn needs_completion_thread(&self) -> bool {
        self.followers > 0 || self.is_unpolled
    }

    /// Whether a worker was told of a job that has not strayed more often than this. It may be at it,
    /// or stopped and be found out.
    pub(super) fn is_any_under_way(&self, most: u32) -> bool {
        let is_under_way = |assigned: &Assigned| assigned.sent && assigned.task.undelivered <= most;
        self.slots.iter().any(|slot| slot.assigned.iter().any(is_under_way))
    }

    /// A slot, if its worker still is the one that is meant.
    pub(super) fn slot(&mut self, slot: usize, generation: u64) -> Option<&mut WorkerSlot> {
        let slot = &mut self.slots[slot];
        (slot.generation == generation).then_some(slot)
    }
}

impl WorkerSlot {
    /// Whether it has a job that another worker died of.
    pub(super) fn is_on_probation(&self) -> bool {
        self.assigned.iter().any(|assigned| assigned.task.attempts > 1)
    }

    /// Notes its worker's peak memory: when that is dead it cannot be told from the coordinator's
    /// any more.
    pub(super) fn note_peak(&mut self) {
        let peak = usage::peak_rss_bytes_of(self.pid).unwrap_or(0);
        self.report.peak_rss_bytes = self.report.peak_rss_bytes.max(peak);
    }

    pub(super) fn find(&self, job: JobId) -> Option<usize> {
        self.assigned.iter().position(|assigned| assigned.task.job_state.id == job)
    }

    /// Whether a job is assigned to it, alone or in a batch.
    pub(super) fn has(&self, job: JobId) -> bool {
        self.assigned.iter().any(|Assigned { task, .. }| {
            let count = task.batch.as_ref().map_or(1, |batch| batch.count as u64);
            job.0.checked_sub(task.job_state.id.0).is_some_and(|place| place < count)
        })
    }
}
