//! Jobs for which there was no memory.
//!
//! Memory is short while others have it. So a job that got none has not failed: it waits until no
//! other job runs, and is tried again while nothing else does. Others wait for it meanwhile, or it
//! would never come to that. What is freed may be there a moment later (results that are still to be
//! written, a worker that is being ended), and idle workers hold some, so they are ended after the
//! first of these tries, and all but one replaced a little later only; after [`MOST`] of them the job
//! fails, with what could not be had.

use std::collections::VecDeque;
use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::{clock, cores, usage};

use super::super::supervisor::Event;
use super::{Dispatcher, State};
use crate::job_state::Task;

/// How often a job is tried alone.
const MOST: u32 = 4;
/// The pause after the first of these tries; four times as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`Starved::rest`].
const REST: Duration = Duration::from_secs(3);
/// How long jobs wait before that is told.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// What waits for memory.
#[derive(Default)]
pub(super) struct Starved {
    tasks: VecDeque<Box<Task>>,
    /// One of them may have been assigned, alone.
    is_out: bool,
    /// None of them is tried earlier.
    not_before: Nanos,
    /// Since when there are any, and why the first one got no memory.
    since: Option<(Nanos, String)>,
    is_told: bool,
    /// The last job that was tried alone has failed: the next ones are tried once, so that many that ask
    /// for too much hold nobody up for long.
    is_hopeless: bool,
}

impl Starved {
    /// A job had enough memory alone.
    pub(super) fn has_helped(&mut self) {
        self.is_hopeless = false;
    }

    /// Whether any wait, or run alone.
    pub(super) fn is_any(&self) -> bool {
        self.is_out || !self.tasks.is_empty()
    }

    /// How long a slot goes without a worker whose last one has ended: an idle one has some MiB for itself,
    /// and a job may not have enough beside many of these. The first slot is for that job.
    pub(super) fn rest(&self, slot: usize) -> Duration {
        let has_failed_alone = self.tasks.iter().any(|task| task.shortages > 0);
        if slot > 0 && has_failed_alone { REST } else { Duration::ZERO }
    }

    /// Those that wait.
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

    /// Says what is waited for, once, if it takes long.
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
    /// A job that is not assigned any more waits for memory.
    pub(super) fn wait_behind(&self, state: &mut State, task: Box<Task>, why: &str) {
        if task.is_alone {
            self.renew_idle(state);
        }
        state.starved.wait(task, why);
    }

    /// Has workers replaced that do nothing, and hold memory all the same: their heaps, and what
    /// their last outputs lay in.
    fn renew_idle(&self, state: &mut State) {
        let Some(supervisor) = self.supervisor.get() else { return };
        for (slot, entry) in state.slots.iter_mut().enumerate() {
            if entry.ready && entry.assigned.is_empty() && !entry.outgrown {
                entry.outgrown = true;
                supervisor.tell(Event::Outgrown { slot, generation: entry.generation });
            }
        }
    }

    /// There was no memory for a job that a worker had, or was to have. It waits, unless it has
    /// done that for long enough: then it is returned, to fail.
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
        // There will never be as much.
        if bytes > cores::memory() {
            return Err(task);
        }
        let most = if state.starved.is_hopeless { 1 } else { MOST };
        if task.is_alone && task.shortages + 1 >= most {
            state.starved.is_hopeless = true;
            return Err(task);
        }
        task.attempts -= 1;
        task.stamps.assigned = 0;
        task.stamps.encoded = 0;
        if !task.job_state.put_back() {
            // Cancelled and reported at this very moment.
            state.dropped += 1;
            return Ok(());
        }
        tracing::debug!(job = task.job_state.id.0, why, "job waits for memory");
        self.wait_behind(state, task, why);
        Ok(())
    }

    /// Assigns the first job that waits for memory, if no worker has any. Returns whether others may
    /// be assigned.
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
                // What the last ones have left in the arena is free.
                self.arena.trim();
                usage::give_back();
                task.is_alone = true;
                state.starved.is_out = true;
                self.assign(state, slot, task, now);
                return false;
            }
            // Cancelled while it waited, and reported.
            state.dropped += 1;
        }
    }
}
