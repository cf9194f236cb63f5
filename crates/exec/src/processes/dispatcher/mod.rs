//! Tracks where each job is: the queue, the jobs of each slot, and what happens to a job whose
//! worker died.
//!
//! This module owns no process and no socket; the threads that own them call into it. One lock
//! protects all state. No thread holds it while reading a file, copying a large payload or
//! reporting an outcome. The lock holder does all pending work, whichever job it belongs to:
//! callers collect responses and dispatch jobs themselves. The [`completion thread`](wait) does
//! both while no caller waits.

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
use super::supervisor_handle::SupervisorHandle;
use crate::completions::Waitable;
use crate::job_state::JobState;
use crate::stall;
use crate::task::Task;
use crate::{PoolConfig, SubmitError, Transport};

pub(super) use crash_loop::pause;
pub(super) use exits::{RestartDecision, WorkerResponse};
pub(super) use staging::{JobStaging, StagingTask};
use starved::Starved;
use state::{Assigned, Current, QueuedStaging, State, WorkerSlot};
pub(super) use state::{ControlSender, RingConnection};
use wake_throttle::WakeThrottle;

/// The jobs and slots of a pool.
pub(super) struct Dispatcher {
    state: Mutex<State>,
    /// Callers wait here for space in the queue.
    room: Condvar,
    /// `close` waits here until no job is unfinished.
    idle: Condvar,
    /// One per slot: the slot's staging thread waits here for a staging task.
    staging: Vec<Condvar>,
    /// Accepted jobs whose outcome has not been reported.
    unfinished: AtomicUsize,
    /// Threads that have taken outcomes from this state and not yet reported all of them. While
    /// there are any, a caller that finds no response in a ring and its own job still open must
    /// check again instead of sleeping. Incremented under the lock.
    in_transit: AtomicUsize,
    /// `close` waits until no job is unfinished.
    awaited: AtomicBool,
    /// A thread of the pool has panicked, so unfinished jobs may never be reported.
    has_panicked: AtomicBool,
    /// The queue has space. Waiting callers poll this without the lock.
    has_room: AtomicBool,
    /// Arena transport: the input arena that all workers share.
    pub(super) arena: Arc<Arena>,
    /// Each worker has an input arena of its own, and `arena` is not used.
    pub(super) has_own_inputs: bool,
    pub(super) budget: Arc<Budget>,
    pub(super) doorbells: Doorbells,
    /// Time that counts against no job. The supervisor updates it.
    pub(super) stalls: stall::SharedStallDetector,
    spin: Option<Duration>,
    /// Files that jobs may name as inputs.
    pub(super) readable: Arc<Readable>,
    /// A worker had to be woken for a job since a caller last began to wait.
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
                async_waits: 0,
                wake_throttle: WakeThrottle::new(
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
            stalls: stall::SharedStallDetector::default(),
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

    /// Sets the supervisor, which must learn of jobs with a time limit, of protocol violations and
    /// of workers to replace.
    pub(super) fn set_supervisor(&self, supervisor: SupervisorHandle) {
        // Set once, by the code that creates both.
        let _ = self.supervisor.set(supervisor);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases the lock, then reports the jobs that ended, because a listener may be slow. Returns
    /// whether there were any.
    fn release(&self, mut state: MutexGuard<'_, State>) -> bool {
        let ended = std::mem::take(&mut state.ended);
        let dropped = std::mem::take(&mut state.dropped);
        if ended.is_empty() && dropped == 0 {
            return false;
        }
        self.in_transit.fetch_add(1, Ordering::Relaxed);
        drop(state);
        let count = ended.len() + dropped;
        for (task, job_result) in ended {
            task.finish(job_result);
        }
        self.finished(count);
        self.in_transit.fetch_sub(1, Ordering::Release);
        true
    }

    fn finished(&self, count: usize) {
        let before = self.unfinished.fetch_sub(count, Ordering::SeqCst);
        if before == count && self.awaited.load(Ordering::SeqCst) {
            // Under the lock, so that a waiter that has checked the count and does not sleep yet
            // does not miss the notification.
            let _state = self.lock();
            self.idle.notify_all();
        }
    }

    /// Queues a task. If the queue is full, waits for space if `block` is set and fails otherwise.
    pub(super) fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        // Boxed, because it is moved many times.
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
        // Jobs are held back and the caller may not poll soon, so the completion thread must check
        // them.
        let needs_polling = state.wake_throttle.holds && !state.wake_throttle.is_polled_now;
        state.wake_throttle.is_polled_now |= needs_polling;
        self.release(state);
        if needs_polling {
            self.doorbells.wake_completion_thread();
        }
        Ok(())
    }

    /// The slot to which a job is assigned.
    pub(super) fn slot_of(&self, job_state: &JobState) -> Option<usize> {
        self.lock().slots.iter().position(|slot| slot.find(job_state.id).is_some())
    }

    /// The slot's worker is ready for jobs.
    pub(super) fn ready(
        &self,
        slot: usize,
        generation: u64,
        pid: u32,
        since_start: Duration,
        connection: Option<RingConnection>,
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
        entry.connection = connection;
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

    /// The worker holds so much memory that it must be replaced. It begins no other job. Once it is
    /// dead, the jobs that were assigned to it go to other workers.
    pub(super) fn outgrown(&self, slot: usize, generation: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.slot(slot, generation) {
            entry.outgrown = true;
            entry.note_peak();
        }
        self.release(state);
    }

    /// The worker's control channel is closed: it gets no more jobs, and its staging thread
    /// returns.
    pub(super) fn unready(&self, slot: usize, generation: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.slot(slot, generation) {
            entry.ready = false;
            self.staging[slot].notify_all();
            // A waiting job may have been meant for this worker; another worker must take it.
            self.dispatch(&mut state);
        }
        self.release(state);
    }

    /// Returns when the supervisor must check the slot's jobs again, or the job that exceeded its
    /// time limit. `current` is what the worker's status page says. The `stopped` nanoseconds
    /// before `now` count against no job.
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
                // Only the first report counts: a worker cannot extend its limit by reporting
                // another time later, or a time in the future.
                Some((job, Some(called))) if job == id => {
                    let called = assigned.called.get_or_insert(called.min(now));
                    *called = called.saturating_add(stopped).min(now);
                    *called
                }
                // The kernel has not been called yet, so its time does not begin before `now`.
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

    /// If the worker was told of a job and owes a response: how many jobs the slot has answered,
    /// and the job that the worker has in hand. `current` is what the worker's status page says; it
    /// counts only if that job is assigned to the slot.
    pub(super) fn owes(&self, slot: usize, current: Current) -> Option<(u64, Current)> {
        let mut state = self.lock();
        // A response that waits in the ring is a sign of life.
        self.collect(&mut state);
        let entry = &state.slots[slot];
        let is_told = entry.assigned.iter().any(|assigned| assigned.sent);
        let current = current.filter(|(job, _)| entry.has(*job));
        let owes = is_told.then_some((entry.report.jobs, current));
        self.release(state);
        owes
    }
}

/// How many of at most `max` jobs a worker gets: up to an eighth fewer. Workers get different
/// numbers, so that workers that started together are not replaced together.
fn share(max: u64, generation: u64) -> u64 {
    // Fibonacci hashing (Knuth, volume 3, 6.4) spreads neighbouring generations far apart.
    let spread = generation.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    max - spread % (max / 8 + 1)
}

/// Space in the queue, as something to wait for.
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

/// When the supervisor must check a slot's time limits again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TimeLimit {
    /// No assigned job has a time limit.
    None,
    /// At this time.
    At(Nanos),
    /// This job exceeded its time limit, which was this long.
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
