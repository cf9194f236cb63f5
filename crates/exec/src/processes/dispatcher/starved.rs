//! Jobs for which there was no memory.
//!
//! Memory is short while other jobs have it, so a job that got none has not failed. It waits until
//! no other job runs and is tried again alone. Other jobs wait meanwhile, or its turn would never
//! come. Freed memory may become available only a moment later: results may still have to be
//! written, or a worker may still be ending. Idle workers hold memory too. So the dispatcher has
//! them ended after a job has failed alone, and all but one of them are replaced only a little
//! later. After [`MOST`] attempts alone the job fails with an error that names what was missing.

use std::collections::VecDeque;
use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::{clock, cores, usage};

use super::super::supervisor_handle::SupervisorEvent;
use super::{Dispatcher, State};
use crate::task::Task;

/// How many times a job is tried alone.
const MOST: u32 = 4;
/// The pause after the first attempt alone. Each further pause is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`Starved::rest`].
const REST: Duration = Duration::from_secs(3);
/// How long jobs wait before the log says so.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// The jobs that wait for memory.
#[derive(Default)]
pub(super) struct Starved {
    tasks: VecDeque<Box<Task>>,
    /// One of them may be assigned, alone.
    is_out: bool,
    /// No job is tried before this time.
    not_before: Nanos,
    /// Since when jobs have waited, and why the first one got no memory.
    since: Option<(Nanos, String)>,
    is_told: bool,
    /// The last job that was tried alone has failed. The next ones are tried once, so that many
    /// jobs that ask for too much do not delay the others for long.
    is_hopeless: bool,
}

impl Starved {
    /// A job that ran alone had enough memory.
    pub(super) fn has_helped(&mut self) {
        self.is_hopeless = false;
    }

    /// Whether any of these jobs waits or runs alone.
    pub(super) fn is_any(&self) -> bool {
        self.is_out || !self.tasks.is_empty()
    }

    /// How long a slot stays empty after its worker has ended. An idle worker holds some MiB for
    /// itself, and beside many of them a waiting job may not have enough. The first slot gets its
    /// worker at once, for that job.
    pub(super) fn rest(&self, slot: usize) -> Duration {
        let has_failed_alone = self.tasks.iter().any(|task| task.shortages > 0);
        if slot > 0 && has_failed_alone { REST } else { Duration::ZERO }
    }

    /// The waiting jobs.
    pub(super) fn take_all(&mut self) -> &mut VecDeque<Box<Task>> {
        &mut self.tasks
    }

    fn wait(&mut self, mut task: Box<Task>, why: &str) {
        let now = clock::now();
        self.since.get_or_insert_with(|| (now, why.to_owned()));
        if task.is_alone {
            let pause = FIRST_PAUSE.saturating_mul(4_u32.saturating_pow(task.shortages));
            task.shortages += 1;
            self.not_before = now.saturating_add(clock::nanos(pause));
        }
        task.is_alone = false;
        self.tasks.push_back(task);
    }

    /// Logs once that jobs wait for memory, if that takes long.
    fn tell(&mut self, now: Nanos) {
        let Some((since, why)) = &self.since else { return };
        if !self.is_told && now.saturating_sub(*since) > clock::nanos(TELL_AFTER) {
            self.is_told = true;
            tracing::warn!(
                "waiting for memory: {}, which run one at a time when there is enough ({why}); fewer \
                 --workers or a smaller --arena-limit need less",
                brigade_proto::count(self.tasks.len(), "job")
            );
        }
    }
}

impl Dispatcher {
    /// Has a job that is no longer assigned wait for memory.
    pub(super) fn wait_behind(&self, state: &mut State, task: Box<Task>, why: &str) {
        if task.is_alone {
            self.renew_idle(state);
        }
        state.starved.wait(task, why);
    }

    /// Has idle workers replaced, because they hold memory all the same: their heaps, and the
    /// regions of their last outputs.
    fn renew_idle(&self, state: &mut State) {
        let Some(supervisor) = self.supervisor.get() else { return };
        for (slot, entry) in state.slots.iter_mut().enumerate() {
            if entry.ready && entry.assigned.is_empty() && !entry.outgrown {
                entry.outgrown = true;
                supervisor.tell(SupervisorEvent::Outgrown { slot, generation: entry.generation });
            }
        }
    }

    /// There was no memory for an assigned job. It waits, unless it has been tried alone often
    /// enough: then it is returned, and fails.
    pub(super) fn wait_for_memory(
        &self,
        state: &mut State,
        mut task: Box<Task>,
        bytes: u64,
        why: &str,
    ) -> Result<(), Box<Task>> {
        if task.batch.is_some() || task.job_state.is_stopping() || state.stopped.is_some() {
            return Err(task);
        }
        // This process can never have that much memory.
        if bytes > cores::memory() {
            return Err(task);
        }
        let most = if state.starved.is_hopeless { 1 } else { MOST };
        if task.is_alone && task.shortages + 1 >= most {
            state.starved.is_hopeless = true;
            return Err(task);
        }
        task.attempts -= 1;
        let Some(task) = state.take_back(task) else { return Ok(()) };
        tracing::debug!(job = task.job_state.id.0, why, "job waits for memory");
        self.wait_behind(state, task, why);
        Ok(())
    }

    /// Assigns the first job that waits for memory, if no worker has a job. Returns whether other
    /// jobs may be assigned.
    #[cold]
    pub(super) fn try_starved(&self, state: &mut State) -> bool {
        let now = clock::now();
        state.starved.tell(now);
        let slots = || state.slots.iter().flat_map(|slot| &slot.assigned);
        state.starved.is_out &= slots().any(|assigned| assigned.task.is_alone);
        loop {
            if state.starved.tasks.is_empty() {
                if !state.starved.is_out {
                    state.starved.since = None;
                    state.starved.is_told = false;
                }
                return !state.starved.is_out;
            }
            if slots().next().is_some() || now < state.starved.not_before {
                return false;
            }
            let mut slots = state.slots.iter();
            let Some(slot) = slots.position(|slot| slot.ready && self.takes_more(slot)) else {
                return false;
            };
            let Some(mut task) = state.starved.tasks.pop_front() else { continue };
            if task.job_state.take() {
                // Free the memory that earlier jobs left in the arena.
                self.arena.trim();
                usage::give_back();
                task.is_alone = true;
                state.starved.is_out = true;
                self.assign(state, slot, task, now);
                return false;
            }
            // Cancelled while it waited, and already reported.
            state.dropped += 1;
        }
    }
}
