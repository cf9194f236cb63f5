//! The supervisor's loop. It sleeps in `poll` until the next deadline, on the workers' pidfds and
//! output, the listening socket, pending connections, and its own eventfd. At intervals it checks
//! whether workers take up the jobs that they were given.

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

use super::PoolContext;
use super::shortage::OomKills;
use super::spawner::Spawner;
use crate::PoolError;
use crate::job_state::JobState;
use crate::processes::lifecycle::Cause;
use crate::processes::supervisor_handle::{ControlBlock, SupervisorEvent};
use crate::processes::worker_exit::KillReason;
use crate::processes::worker_process::WorkerProcess;

/// How long a worker that was told to leave may take to exit.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// The same for a worker that closed its control channel unasked: it is probably dying already.
pub(super) const DYING_LIMIT: Duration = Duration::from_millis(200);
/// How long the supervisor waits for a dead worker's control channel to drain. Draining takes
/// longer only if a process outside the worker's group holds the worker's sockets open.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What a slot holds.
pub(super) enum Slot {
    Vacant,
    /// No worker; the next one is started at this time.
    Backoff(Nanos),
    /// The fork server was asked for this worker (generation, token) and has not answered yet.
    Forking(u64, BootstrapToken),
    Occupied(Box<WorkerProcess>),
}

pub(super) struct Supervisor {
    pub(super) context: PoolContext,
    events: Receiver<SupervisorEvent>,
    pub(super) slots: Vec<Slot>,
    pub(super) spawner: Spawner,
    /// Connections of unknown processes. Each may be a worker that the fork server has not reported
    /// yet.
    pub(super) pending: Vec<PendingConnection>,
    /// When to try `accept` again. Set while no descriptor is free, which was logged.
    pub(super) accept_backoff_until: Option<Nanos>,
    /// Workers started so far.
    pub(super) generations: u64,
    /// Whether any worker has been ready.
    pub(super) has_served: bool,
    /// Failed starts, by slot.
    pub(super) unable: Vec<Unable>,
    /// Set until every slot has had a worker that was ready, or the pool gives up.
    pub(super) starting: Option<Start>,
    /// The pool ends: no worker is replaced any more.
    pub(super) leaving: bool,
    /// The pool ends because one of its threads has panicked.
    has_panicked: bool,
    /// Finds out which workers the OOM killer ended; set once the first ones were started.
    pub(super) oom_kills: Option<OomKills>,
    /// If this process must reap orphans: their reaper, and when it runs next.
    orphans: Option<(Orphans, Nanos)>,
}

/// The pool's start, while it lasts.
pub(super) struct Start {
    /// Dropped when the start is over, which wakes the threads that wait for it.
    _over: Sender<()>,
    /// Slots that have not had a ready worker yet.
    pub(super) missing: BTreeSet<usize>,
}

impl Supervisor {
    /// `over` is dropped when the pool's start is over.
    pub(super) fn new(
        context: PoolContext,
        events: Receiver<SupervisorEvent>,
        over: Sender<()>,
    ) -> Self {
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
            oom_kills: None,
            orphans: Orphans::here().map(|orphans| (orphans, 0)),
        }
    }

    pub(super) fn run(mut self) {
        let now = clock::now();
        self.slots.iter_mut().for_each(|occupant| *occupant = Slot::Backoff(now));
        loop {
            self.hear_events();
            // Before the sleep: the last event may have been the end of a worker.
            for slot in 0..self.slots.len() {
                self.settle(slot);
            }
            // Until the next deadline is known, every new time limit must notify the supervisor.
            self.control_block().wake_at.store(u64::MAX, Ordering::SeqCst);
            let now = clock::now();
            // The time that the check below will find lost. The check itself needs the next
            // deadline, which is not known yet.
            let stopped = self.context.dispatcher.stalls.pending(now);
            let next = self.keep_deadlines(now, stopped);
            let next = [next, self.see_to_orphans(now)].into_iter().flatten().min();
            let stall_detector = self.context.dispatcher.stalls.look(now, next);
            self.context.dispatcher.doorbells.tell_stalls(stall_detector);
            self.control_block().wake_at.store(next.unwrap_or(u64::MAX - 1), Ordering::SeqCst);
            if self.leaving && self.slots.iter().all(|occupant| matches!(occupant, Slot::Vacant)) {
                if self.has_panicked {
                    self.context.dispatcher.on_thread_panic();
                }
                return;
            }
            // Not before the first workers were started: to read the kernel's counts takes longer
            // than to have a worker forked, and the workers load meanwhile.
            self.oom_kills.get_or_insert_with(OomKills::begin);
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
                SupervisorEvent::Forked { slot, generation, started } => {
                    self.on_forked(slot, generation, started)
                }
                SupervisorEvent::ThreadPanicked { what } => {
                    self.give_up(PoolError::Panicked { what });
                    self.has_panicked = true;
                }
                SupervisorEvent::Violation { slot, generation, what } => {
                    if let Some(worker) = self.worker(slot, generation) {
                        worker.kill(Cause::Violation(what));
                    }
                }
                SupervisorEvent::ControlClosed { slot, generation, violation } => {
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
                SupervisorEvent::Outgrown { slot, generation } => {
                    if let Some(worker) = self.worker(slot, generation) {
                        worker.end(KillReason::Leaving);
                    }
                }
                SupervisorEvent::Cancel { slot, job_state } => self.on_cancel(slot, &job_state),
                SupervisorEvent::KillAll => self.kill_all(),
                SupervisorEvent::Pause { done } => {
                    for occupant in &self.slots {
                        if let Slot::Occupied(worker) = occupant {
                            worker.stop();
                        }
                    }
                    // The caller of `pause` waits for this.
                    drop(done);
                }
                SupervisorEvent::Resume => {
                    for occupant in &self.slots {
                        if let Slot::Occupied(worker) = occupant {
                            worker.go_on();
                        }
                    }
                }
                SupervisorEvent::Close => {
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
            // The job waits behind another one in the worker. A job that was sent cannot be
            // recalled: the worker will compute it, and its result will be ignored.
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

    /// Does what is due. Returns the next deadline.
    fn keep_deadlines(&mut self, now: Nanos, stopped: Nanos) -> Option<Nanos> {
        let mut next: Option<Nanos> = None;
        for slot in 0..self.slots.len() {
            let due = match &mut self.slots[slot] {
                Slot::Vacant | Slot::Forking(..) => None,
                Slot::Backoff(at) if *at > now => Some(*at),
                Slot::Backoff(_) => {
                    self.spawn_worker(slot);
                    // Workers that were started before this one may have connected by now.
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
                            // The loop settles the worker's end before its next sleep.
                            self.context.supervisor.0.event_fd.notify();
                        }
                    }
                    let held = worker.is_held().then(|| now + HELD_LOOK.as_nanos() as u64);
                    let is_working = worker.life.is_working();
                    let work =
                        is_working.then(|| self.context.check_liveness(slot, worker, now, stopped));
                    [held, work.flatten(), worker.keep_deadline(now)].into_iter().flatten().min()
                }
            };
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    /// Reaps orphans if this process is the first one of a container. Returns when the next check
    /// is due.
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
        let mut sources = vec![PollSource::EventFd];
        if let Some(listener) = self.spawner.listener().filter(|_| accept_backoff_until.is_none()) {
            fds.push(listener.as_fd());
            sources.push(PollSource::Listener);
        }
        for (slot, occupant) in self.slots.iter().enumerate() {
            let Slot::Occupied(worker) = occupant else { continue };
            if let Some(child) = worker.child.as_ref().filter(|_| !worker.is_held()) {
                fds.push(child.pidfd());
                sources.push(PollSource::Process(slot));
            }
            if let Some(fd) = worker.output.fd() {
                fds.push(fd);
                sources.push(PollSource::Output(slot));
            }
            if let Some(connection) = &worker.connection {
                fds.push(connection.as_fd());
                sources.push(PollSource::PendingConnection(slot));
            }
        }
        let readable = match wait_readable(&fds, limit) {
            Ok(readable) => readable,
            Err(error) => {
                // The kernel has no memory for `poll`, or the limit of descriptors was lowered.
                // Sleep, to avoid a busy loop.
                tracing::error!(%error, "cannot watch the workers");
                thread::sleep(DYING_LIMIT);
                return;
            }
        };
        let heard = sources.into_iter().zip(readable).filter(|(_, readable)| *readable);
        for (source, _) in heard {
            match source {
                // The loop handles its events next.
                PollSource::EventFd => {}
                PollSource::Listener => self.accept_pending(),
                PollSource::PendingConnection(slot) => self.greet(slot),
                PollSource::Output(slot) => self.with_worker(slot, |worker| worker.output.read()),
                PollSource::Process(slot) => {
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

/// Failed starts of a slot's workers.
#[derive(Clone, Default)]
pub(super) struct Unable {
    /// Workers in a row that could not be started, ended before they were ready, or ended for lack
    /// of memory without a job.
    pub(super) times: u32,
    /// The number of the fork server that the last worker was forked from, if that worker ended by
    /// itself with no job in hand. The next worker is forked from another one.
    pub(super) fork_server: Option<u32>,
}

/// What the supervisor polls, with the slot.
enum PollSource {
    EventFd,
    Listener,
    PendingConnection(usize),
    Process(usize),
    Output(usize),
}
