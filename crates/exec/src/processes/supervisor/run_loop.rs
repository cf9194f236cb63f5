//! The supervisor's loop. It sleeps in `poll` on the workers' pidfds, what they print, who connects
//! and its own doorbell, until the next deadline, and looks now and then whether workers take up
//! what they are given.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use brigade_ipc::{BootstrapToken, PendingConnection};
use brigade_proto::Nanos;
use brigade_sys::clock;
use brigade_sys::event_fd::wait_readable;
use brigade_sys::orphans::Orphans;
use brigade_sys::process::HELD_LOOK;
use crossbeam_channel::{Receiver, Sender};

use super::shortage::OomKills;
use super::spawner::Spawner;
use super::{ControlBlock, Event, PoolContext};
use crate::PoolError;
use crate::job_state::JobState;
use crate::processes::dispatcher::KillReason;
use crate::processes::lifecycle::Cause;
use crate::processes::worker_process::WorkerProcess;

/// How long a worker may take to exit once its link has closed.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// The same where nobody asked it to leave: it is probably dying already.
pub(super) const DYING_LIMIT: Duration = Duration::from_millis(200);
/// How long a dead worker's link is waited for. Longer only if a process outside
/// the worker's group holds its sockets open.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// One slot's place.
pub(super) enum Slot {
    Vacant,
    /// To be filled then.
    Backoff(Nanos),
    /// The fork server was asked for this worker, and will say what became of it.
    Forking(u64, BootstrapToken),
    Occupied(Box<WorkerProcess>),
}

pub(super) struct Supervisor {
    pub(super) context: PoolContext,
    events: Receiver<Event>,
    pub(super) slots: Vec<Slot>,
    pub(super) spawner: Spawner,
    /// Who has connected and may be a worker that the fork server has still to tell of.
    pub(super) pending: Vec<PendingConnection>,
    /// Nobody can be admitted for want of descriptors, and that was said; tried again then.
    pub(super) accept_backoff_until: Option<Nanos>,
    /// Workers started so far.
    pub(super) generations: u64,
    /// A worker has been ready.
    pub(super) has_served: bool,
    /// Of each slot.
    pub(super) unable: Vec<Unable>,
    /// Until every slot has had a worker that was ready.
    pub(super) starting: Option<Start>,
    /// No worker is replaced any more.
    pub(super) leaving: bool,
    /// Because a thread of the pool has panicked.
    has_panicked: bool,
    /// What the kernel has ended for want of memory.
    pub(super) oom_kills: OomKills,
    /// If this process has to see to orphans, and when it looks for them next.
    orphans: Option<(Orphans, Nanos)>,
}

/// The pool's start, while it lasts.
pub(super) struct Start {
    /// Dropped when it is over, which those who wait for it notice.
    _over: Sender<()>,
    /// Slots that were never ready.
    pub(super) missing: BTreeSet<usize>,
}

impl Supervisor {
    /// `over` is dropped when the start is over.
    pub(super) fn new(context: PoolContext, events: Receiver<Event>, over: Sender<()>) -> Self {
        let slots = context.config.workers;
        Self {
            context,
            events,
            slots: (0..slots).map(|_| Slot::Vacant).collect(),
            spawner: Spawner::default(),
            pending: Vec::new(),
            accept_backoff_until: None,
            generations: 0,
            has_served: false,
            unable: vec![Unable::default(); slots],
            starting: Some(Start { _over: over, missing: (0..slots).collect() }),
            leaving: false,
            has_panicked: false,
            oom_kills: OomKills::begin(),
            orphans: Orphans::here().map(|orphans| (orphans, 0)),
        }
    }

    pub(super) fn run(mut self) {
        let now = clock::now();
        self.slots.iter_mut().for_each(|occupant| *occupant = Slot::Backoff(now));
        loop {
            self.hear_events();
            // Before the sleep: an end may have been the last thing heard.
            for slot in 0..self.slots.len() {
                self.settle(slot);
            }
            // Until the deadlines are known, every new one has to ring.
            self.control_block().wake_at.store(u64::MAX, Ordering::SeqCst);
            let now = clock::now();
            // What the look below will find, when it is known when the next one is to come.
            let stopped = self.context.dispatcher.stalls.pending(now);
            let next = self.keep_deadlines(now, stopped);
            let next = [next, self.see_to_orphans(now)].into_iter().flatten().min();
            let watch = self.context.dispatcher.stalls.look(now, next);
            self.context.dispatcher.doorbells.tell_stalls(watch);
            self.control_block().wake_at.store(next.unwrap_or(u64::MAX - 1), Ordering::SeqCst);
            if self.leaving && self.slots.iter().all(|occupant| matches!(occupant, Slot::Vacant)) {
                if self.has_panicked {
                    self.context.dispatcher.on_thread_panic();
                }
                return;
            }
            self.sleep(next);
        }
    }

    pub(super) fn control_block(&self) -> &ControlBlock {
        &self.context.supervisor.0
    }

    fn worker(&mut self, slot: usize, generation: u64) -> Option<&mut WorkerProcess> {
        match &mut self.slots[slot] {
            Slot::Occupied(worker) if worker.generation == generation => Some(worker),
            _ => None,
        }
    }

    fn hear_events(&mut self) {
        self.control_block().event_fd.clear();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Forked { slot, generation, started } => {
                    self.on_forked(slot, generation, started)
                }
                Event::ThreadPanicked { what } => {
                    self.give_up(PoolError::Panicked { what });
                    self.has_panicked = true;
                }
                Event::Violation { slot, generation, what } => {
                    if let Some(worker) = self.worker(slot, generation) {
                        worker.kill(Cause::Violation(what));
                    }
                }
                Event::ControlClosed { slot, generation, violation } => {
                    let limit = if self.context.dispatcher.is_leaving(slot) {
                        EXIT_LIMIT
                    } else {
                        DYING_LIMIT
                    };
                    if let Some(worker) = self.worker(slot, generation) {
                        worker.life.channel_drained();
                        if violation.is_some() {
                            worker.life.learn(Cause::Violation(violation));
                        }
                        worker.leave_within(limit);
                    }
                }
                Event::Outgrown { slot, generation } => {
                    if let Some(worker) = self.worker(slot, generation) {
                        worker.end(KillReason::Leaving);
                    }
                }
                Event::Cancel { slot, job_state } => self.on_cancel(slot, &job_state),
                Event::KillAll => self.kill_all(),
                Event::Pause { done } => {
                    for occupant in &self.slots {
                        if let Slot::Occupied(worker) = occupant {
                            worker.stop();
                        }
                    }
                    // Its sender waits for that.
                    drop(done);
                }
                Event::Resume => {
                    for occupant in &self.slots {
                        if let Slot::Occupied(worker) = occupant {
                            worker.go_on();
                        }
                    }
                }
                Event::Close => {
                    self.leaving = true;
                    for occupant in &mut self.slots {
                        match occupant {
                            Slot::Occupied(worker) if !worker.has_handshaken() => {
                                worker.end(KillReason::Leaving)
                            }
                            Slot::Occupied(worker) => worker.leave_within(EXIT_LIMIT),
                            Slot::Backoff(_) | Slot::Forking(..) | Slot::Vacant => {
                                *occupant = Slot::Vacant
                            }
                        }
                    }
                }
            }
        }
    }

    fn on_cancel(&mut self, slot: usize, job_state: &JobState) {
        let Slot::Occupied(worker) = &mut self.slots[slot] else {
            return;
        };
        match worker.current() {
            Some((job, _)) if job == job_state.id => worker.end(KillReason::Cancelled(job)),
            // It waits behind another one in the worker, which will compute it for
            // nobody: a job that was sent cannot be called back.
            _ => job_state.cancel_assigned(),
        }
    }

    pub(super) fn kill_all(&mut self) {
        self.leaving = true;
        self.starting = None;
        for occupant in &mut self.slots {
            match occupant {
                Slot::Occupied(worker) => worker.end(KillReason::Leaving),
                Slot::Backoff(_) | Slot::Forking(..) | Slot::Vacant => *occupant = Slot::Vacant,
            }
        }
    }

    /// Does what is due; returns when the next thing is.
    fn keep_deadlines(&mut self, now: Nanos, stopped: Nanos) -> Option<Nanos> {
        let mut next: Option<Nanos> = None;
        for slot in 0..self.slots.len() {
            let due = match &mut self.slots[slot] {
                Slot::Vacant | Slot::Forking(..) => None,
                Slot::Backoff(at) if *at > now => Some(*at),
                Slot::Backoff(_) => {
                    self.spawn_worker(slot);
                    // Those before it may be there by now.
                    self.accept_pending();
                    match &self.slots[slot] {
                        Slot::Vacant | Slot::Forking(..) => None,
                        Slot::Backoff(at) => Some(*at),
                        Slot::Occupied(worker) => worker.life.due(),
                    }
                }
                Slot::Occupied(worker) => {
                    worker.life.put_off(stopped);
                    if worker.is_held() {
                        worker.reap(DRAIN_LIMIT);
                        if !worker.is_held() {
                            // Its end is settled before the next sleep.
                            self.context.supervisor.0.event_fd.notify();
                        }
                    }
                    let held = worker.is_held().then(|| now + HELD_LOOK.as_nanos() as u64);
                    let is_working = worker.life.is_working();
                    let work = is_working.then(|| self.context.mind(slot, worker, now, stopped));
                    [held, work.flatten(), worker.keep_deadline(now)].into_iter().flatten().min()
                }
            };
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    /// As the first process of a container; returns when to look again.
    fn see_to_orphans(&mut self, now: Nanos) -> Option<Nanos> {
        let (orphans, due) = self.orphans.as_mut()?;
        if *due <= now {
            orphans.reap();
            *due = now + Orphans::LOOK.as_nanos() as u64;
        }
        Some(*due)
    }

    fn sleep(&mut self, until: Option<Nanos>) {
        let accept_backoff_until = self.accept_backoff();
        let until = [until, accept_backoff_until].into_iter().flatten().min();
        let limit = until.map(|at| Duration::from_nanos(at.saturating_sub(clock::now())));
        let mut fds = vec![self.control_block().event_fd.as_fd()];
        let mut sources = vec![Source::EventFd];
        if let Some(listener) = self.spawner.listener().filter(|_| accept_backoff_until.is_none()) {
            fds.push(listener.as_fd());
            sources.push(Source::Door);
        }
        for (slot, occupant) in self.slots.iter().enumerate() {
            let Slot::Occupied(worker) = occupant else { continue };
            if let Some(child) = worker.child.as_ref().filter(|_| !worker.is_held()) {
                fds.push(child.pidfd());
                sources.push(Source::Lifecycle(slot));
            }
            if let Some(fd) = worker.words.fd() {
                fds.push(fd);
                sources.push(Source::Words(slot));
            }
            if let Some(caller) = &worker.caller {
                fds.push(caller.as_fd());
                sources.push(Source::PendingConnection(slot));
            }
        }
        let readable = match wait_readable(&fds, limit) {
            Ok(readable) => readable,
            Err(error) => {
                // Only for want of kernel memory. Not a busy loop:
                tracing::error!(%error, "cannot watch the workers");
                thread::sleep(DYING_LIMIT);
                return;
            }
        };
        let heard = sources.into_iter().zip(readable).filter(|(_, readable)| *readable);
        for (source, _) in heard {
            match source {
                // Its events are heard next.
                Source::EventFd => {}
                Source::Door => self.accept_pending(),
                Source::PendingConnection(slot) => self.greet(slot),
                Source::Words(slot) => self.with_worker(slot, |worker| worker.words.listen()),
                Source::Lifecycle(slot) => {
                    self.with_worker(slot, |worker| worker.reap(DRAIN_LIMIT))
                }
            }
        }
    }

    fn with_worker(&mut self, slot: usize, act: impl FnOnce(&mut WorkerProcess)) {
        if let Slot::Occupied(worker) = &mut self.slots[slot] {
            act(worker);
        }
    }
}

/// Workers of a slot that came to nothing.
#[derive(Clone, Default)]
pub(super) struct Unable {
    /// How many in a row could not be started, or ended before they were ready.
    pub(super) times: u32,
    /// The number of the fork server from which the last one was forked, if it ended by itself with no
    /// job in hand: the next one is forked from another.
    pub(super) fork_server: Option<u32>,
}

/// What the supervisor sleeps on; of a slot.
enum Source {
    EventFd,
    Door,
    PendingConnection(usize),
    Lifecycle(usize),
    Words(usize),
}
