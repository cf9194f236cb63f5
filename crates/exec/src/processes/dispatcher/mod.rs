//! Which job is where: the queue, what each slot has in hand, and what becomes of
//! a job whose worker died.
//!
//! No process or socket in here; the threads that have those call in. All state is
//! behind one lock, which is never held while a file is read, a payload is copied or
//! an outcome is reported. Whoever has it does what is to be done, whose job it may
//! be: answers are collected and jobs are dealt by the callers themselves, and by the
//! [`completion thread`](wait) while no caller is there.

mod close;
mod crash_loop;
mod dispatch;
mod exits;
mod staging;
mod starved;
mod state;
mod wait;
mod wake_throttle;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use brigade_ipc::{Arena, Budget, Doorbells, WakePolicy};
use brigade_proto::{JobId, Nanos};
use brigade_sys::confine::Readable;
use brigade_sys::{affinity, clock};

use smallvec::SmallVec;

use self::crash_loop::CrashLoopCounter;
use super::supervisor::SupervisorHandle;
use crate::job_state::{JobState, Task, Waitable};
use crate::stall;
use crate::{PoolConfig, SubmitError, Transport};

pub(super) use crash_loop::pause;
pub(super) use exits::{Done, KillReason, RestartDecision, WorkerExit};
pub(super) use staging::{JobStaging, StagingTask};
use starved::Starved;
use state::{Assigned, Current, QueuedStaging, State, WorkerSlot};
pub(super) use state::{ControlSender, Wire};
use wake_throttle::WakeThrottle;

/// The jobs and slots of a pool.
pub(super) struct Dispatcher {
    state: Mutex<State>,
    /// Somebody waits for room in the queue.
    room: Condvar,
    /// Somebody waits until no job is left.
    idle: Condvar,
    /// One for each slot's staging thread, which waits for a staging task.
    staging: Vec<Condvar>,
    /// Accepted jobs whose outcome has not been reported.
    unfinished: AtomicUsize,
    /// Threads that have taken outcomes from here and not reported all of them yet. Whoever
    /// finds neither an answer in a ring nor its job state closed has to look again, not to
    /// sleep, while there are any. Raised under the lock.
    in_transit: AtomicUsize,
    /// Somebody waits until no job is unfinished.
    awaited: AtomicBool,
    /// A thread of the pool has panicked: what is unfinished stays so.
    has_panicked: AtomicBool,
    /// There is room in the queue.
    has_room: AtomicBool,
    /// Of the arena transport: where inputs are, what wakes the coordinator.
    pub(super) arena: Arc<Arena>,
    /// Each worker has an arena of its own, and that one is not used.
    pub(super) has_own_inputs: bool,
    pub(super) budget: Arc<Budget>,
    pub(super) doorbells: Doorbells,
    /// Time that counts for no job; the supervisor looks.
    pub(super) stalls: stall::Shared,
    spin: Option<Duration>,
    /// Which files jobs may name as inputs.
    pub(super) readable: Arc<Readable>,
    /// A worker had to be woken for the last job.
    has_woken: AtomicBool,
    supervisor: OnceLock<SupervisorHandle>,
    limits: DispatchLimits,
}

struct DispatchLimits {
    depth: usize,
    queue: usize,
    retries: u32,
    max_restarts: u32,
    max_jobs: Option<u64>,
}

impl Dispatcher {
    pub(super) fn new(config: &PoolConfig, doorbells: Doorbells) -> Self {
        let budget = Budget::new(config.arena_limit, brigade_sys::cores::arena_share);
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                quarantined: VecDeque::new(),
                starved: Starved::default(),
                slots: (0..config.workers).map(|_| WorkerSlot::default()).collect(),
                stopped: None,
                closing: false,
                deaths: CrashLoopCounter::default(),
                idle_deaths: CrashLoopCounter::default(),
                short_since: None,
                gave_up: None,
                waiting_for_room: 0,
                is_led: false,
                followers: 0,
                polled_recently: false,
                call: WakePolicy::Never,
                is_unpolled: false,
                hold: WakeThrottle::new(
                    config.transport == Transport::Arena,
                    config.workers < affinity::allowed(),
                ),
                ended: SmallVec::new(),
                dropped: 0,
            }),
            room: Condvar::new(),
            idle: Condvar::new(),
            staging: (0..config.workers).map(|_| Condvar::new()).collect(),
            unfinished: AtomicUsize::new(0),
            in_transit: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            has_room: AtomicBool::new(true),
            arena: Arc::new(Arena::new(Arc::clone(&budget))),
            has_own_inputs: config.has_own_inputs(),
            budget,
            doorbells,
            stalls: stall::Shared::default(),
            spin: config.spin,
            readable: Arc::clone(&config.readable),
            has_woken: AtomicBool::new(false),
            supervisor: OnceLock::new(),
            limits: DispatchLimits {
                depth: config.depth,
                queue: config.queue,
                retries: config.retries,
                max_restarts: config.max_restarts,
                max_jobs: config.max_jobs_per_worker,
            },
        }
    }

    /// Whom to tell of jobs with a time limit, and of offences.
    pub(super) fn set_supervisor(&self, supervisor: SupervisorHandle) {
        // Set once, by whoever made both.
        let _ = self.supervisor.set(supervisor);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases the lock, and then reports what has ended: a listener may be slow.
    fn release(&self, mut state: MutexGuard<'_, State>) -> bool {
        let ended = std::mem::take(&mut state.ended);
        let dropped = std::mem::take(&mut state.dropped);
        if ended.is_empty() && dropped == 0 {
            return false;
        }
        self.in_transit.fetch_add(1, Ordering::Relaxed);
        drop(state);
        let count = ended.len() + dropped;
        for (task, end) in ended {
            task.finish(end);
        }
        self.finished(count);
        self.in_transit.fetch_sub(1, Ordering::Release);
        true
    }

    fn finished(&self, count: usize) {
        let before = self.unfinished.fetch_sub(count, Ordering::SeqCst);
        if before == count && self.awaited.load(Ordering::SeqCst) {
            // Under the lock, so that a waiter between its look and its sleep does
            // not miss it.
            let _state = self.lock();
            self.idle.notify_all();
        }
    }

    /// Accepts a task.
    pub(super) fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        // It passes through many hands.
        let mut task = Box::new(task);
        self.place_ahead(&mut task);
        let mut state = self.lock();
        while state.stopped.is_none() && state.queue.len() >= self.limits.queue {
            self.collect(&mut state);
            if state.queue.len() < self.limits.queue {
                break;
            }
            if !block {
                self.release(state);
                return Err(SubmitError::Full);
            }
            self.has_room.store(false, Ordering::Release);
            state.waiting_for_room += 1;
            self.release(state);
            self.wait(&QueueSpace(self), None);
            state = self.lock();
            state.waiting_for_room -= 1;
        }
        if state.stopped.is_some() {
            self.release(state);
            return Err(SubmitError::Closed);
        }
        self.unfinished.fetch_add(1, Ordering::SeqCst);
        let attended = task.job_state.is_polled();
        state.is_unpolled = !attended;
        state.queue.push_back(task);
        self.update_wake_policy(&mut state);
        self.collect(&mut state);
        // The caller may not come back soon.
        let is_to_be_minded = state.hold.holds && !state.hold.is_minded;
        state.hold.is_minded |= is_to_be_minded;
        self.release(state);
        if is_to_be_minded {
            self.doorbells.wake_completion_thread();
        }
        Ok(())
    }

    /// The slot that has a job assigned.
    pub(super) fn slot_of(&self, job_state: &JobState) -> Option<usize> {
        self.lock().slots.iter().position(|slot| slot.find(job_state.id).is_some())
    }

    /// A worker is ready for jobs.
    pub(super) fn ready(
        &self,
        slot: usize,
        generation: u64,
        pid: u32,
        since_start: Duration,
        wire: Option<Wire>,
    ) {
        let mut state = self.lock();
        let entry = &mut state.slots[slot];
        entry.generation = generation;
        entry.pid = pid;
        entry.ready = true;
        entry.leaving = false;
        entry.given = 0;
        entry.share = self.limits.max_jobs.map(|max| share(max, generation));
        entry.outgrown = false;
        entry.violation = None;
        entry.wire = wire;
        if entry.report.ready_ns == 0 {
            entry.report.ready_ns = since_start.as_nanos() as u64;
        }
        if state.closing {
            self.begin_drain(&mut state, slot);
        }
        self.dispatch(&mut state);
        self.update_wake_policy(&mut state);
        self.release(state);
        self.doorbells.wake_leader();
    }

    /// A worker holds so much memory that it is to be replaced. It begins no other job; those that
    /// it was given go to others when it is dead.
    pub(super) fn outgrown(&self, slot: usize, generation: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.slot(slot, generation) {
            entry.outgrown = true;
            entry.note_peak();
        }
        self.release(state);
    }

    /// A worker's link is gone: it gets no more jobs. Its staging thread returns.
    pub(super) fn unready(&self, slot: usize, generation: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.slot(slot, generation) {
            entry.ready = false;
            self.staging[slot].notify_all();
            // It may have been chosen for a job that another one has to take.
            self.dispatch(&mut state);
        }
        self.release(state);
    }

    /// When the supervisor has to look at a worker's job again, or the job whose time
    /// is over. `current` is what the worker's status page says; so much time before `now` counts
    /// for no job.
    pub(super) fn time_limit(
        &self,
        slot: usize,
        current: Option<(JobId, Option<Nanos>)>,
        now: Nanos,
        stopped: Nanos,
        grace: Duration,
    ) -> TimeLimit {
        let mut state = self.lock();
        let mut next = TimeLimit::None;
        for assigned in &mut state.slots[slot].assigned {
            let Some(timeout) = assigned.task.timeout else {
                continue;
            };
            let id = assigned.task.job_state.id;
            let called = match current {
                // A worker cannot put it off by saying something else later on, or that
                // it is yet to come.
                Some((job, Some(called))) if job == id => {
                    let called = assigned.called.get_or_insert(called.min(now));
                    *called = called.saturating_add(stopped).min(now);
                    *called
                }
                // Not called yet, so not before now.
                _ => now,
            };
            let over = called.saturating_add(clock::nanos(timeout.saturating_add(grace)));
            if over <= now {
                return TimeLimit::Over(id, timeout);
            }
            next = match next {
                TimeLimit::At(at) => TimeLimit::At(at.min(over)),
                _ => TimeLimit::At(over),
            };
        }
        next
    }

    /// How many answers a slot has given, and the job that its worker has in hand, if it was
    /// told of a job and owes an answer. `current` is what its status page says, which
    /// counts only if the slot has that job.
    pub(super) fn owes(&self, slot: usize, current: Current) -> Option<(u64, Current)> {
        let mut state = self.lock();
        // An answer that only waits to be collected is a sign of life.
        self.collect(&mut state);
        let entry = &state.slots[slot];
        let is_told = entry.assigned.iter().any(|assigned| assigned.sent);
        let current = current.filter(|(job, _)| entry.has(*job));
        let owes = is_told.then_some((entry.report.jobs, current));
        self.release(state);
        owes
    }
}

/// How many of at most `max` jobs a worker gets: up to an eighth fewer, by no rule that
/// workers share, so that those that began together are not replaced together.
fn share(max: u64, generation: u64) -> u64 {
    // Fibonacci hashing (Knuth, volume 3, 6.4): neighbours come out far apart.
    let spread = generation.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    max - spread % (max / 8 + 1)
}

/// Room in the queue, as something to wait for.
struct QueueSpace<'a>(&'a Dispatcher);

impl Waitable for QueueSpace<'_> {
    fn is_ready(&self) -> bool {
        self.0.has_room.load(Ordering::Acquire)
    }

    fn sleep(&self, limit: Option<Duration>) {
        let state = self.0.lock();
        if !self.is_ready() {
            let limit = limit.unwrap_or(Duration::MAX);
            drop(self.0.room.wait_timeout(state, limit));
        }
    }
}

/// When a worker's time limit has to be looked at again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TimeLimit {
    /// No assigned job has one.
    None,
    /// Then.
    At(Nanos),
    /// This job's is over.
    Over(JobId, Duration),
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn workers_have_different_shares_of_almost_all_jobs() {
        assert!((0..100).all(|generation| share(1, generation) == 1));
        let shares: Vec<u64> = (1..=8).map(|generation| share(1000, generation)).collect();
        assert!(shares.iter().all(|share| (875..=1000).contains(share)), "{shares:?}");
        assert!(shares.windows(2).all(|pair| pair[0] != pair[1]), "{shares:?}");
    }
}
