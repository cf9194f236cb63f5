//! The supervisor: the one thread that starts workers, watches them, ends them, reaps
//! them and has them replaced. It lives as long as the pool, because the workers'
//! parent-death signal follows the thread that started them.

mod acceptor;
mod liveness;
mod replace;
mod run_loop;
mod shortage;
mod spawner;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::DoorbellsRegion;
use brigade_proto::Nanos;
use brigade_sys::clock;
use brigade_sys::event_fd::EventFd;
use brigade_sys::stall::TICK;
use crossbeam_channel::{Receiver, Sender};

use self::run_loop::Supervisor;
use super::dispatcher::{Dispatcher, WorkerExit};
use super::panic_guard;
use super::spawn::{StartFailure, Started};
use crate::executor::Status;
use crate::job_state::JobState;
use crate::{PoolConfig, PoolError};

/// What the supervisor is told.
pub(super) enum Event {
    /// The fork server has started a worker, or cannot.
    Forked { slot: usize, generation: u64, started: Result<Box<Started>, StartFailure> },
    /// A worker broke the protocol; the link goes on until it is dead, and says
    /// what it was if that is not known yet.
    Violation { slot: usize, generation: u64, what: Option<String> },
    /// A link has ended: everything that its worker said has been heard.
    ControlClosed { slot: usize, generation: u64, violation: Option<String> },
    /// A worker holds too much memory, and waits to be replaced.
    Outgrown { slot: usize, generation: u64 },
    /// The caller wants a job to end that a worker may have in hand.
    Cancel { slot: usize, job_state: Arc<JobState> },
    /// Every worker is to die.
    KillAll,
    /// Every worker is to be stopped; then `done` is dropped.
    Pause { done: Sender<()> },
    /// Every worker is to go on.
    Resume,
    /// A thread that serves all workers has panicked.
    ThreadPanicked { what: String },
    /// All jobs are done, workers are to leave.
    Close,
}

/// How long after its timeout a job is left to notice it before its worker is
/// killed.
const GRACE: Duration = Duration::from_millis(50);

/// How long it is waited until workers are stopped: the supervisor may be starting one.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Reaches the supervisor from other threads.
#[derive(Clone)]
pub(super) struct SupervisorHandle(Arc<ControlBlock>);

struct ControlBlock {
    inbox: Sender<Event>,
    event_fd: EventFd,
    /// When the supervisor will wake by itself.
    wake_at: AtomicU64,
    /// Nothing ever comes; it is disconnected when the start is over.
    started: Receiver<()>,
    record: Mutex<SupervisorStatus>,
}

#[derive(Default)]
struct SupervisorStatus {
    /// Once all workers are ready.
    startup: Option<Duration>,
    restarts: u64,
    gave_up: Option<Arc<PoolError>>,
}

impl SupervisorHandle {
    pub(super) fn tell(&self, event: Event) {
        // Fails only when the supervisor has ended, and then nothing is to be done.
        if self.0.inbox.send(event).is_ok() {
            self.0.event_fd.notify();
        }
    }

    /// A worker broke the protocol: it is to die.
    pub(super) fn protocol_violation(&self, slot: usize, generation: u64, what: Option<String>) {
        self.tell(Event::Violation { slot, generation, what });
    }

    /// A job with a time limit was assigned: see to it that the supervisor looks in
    /// time.
    pub(super) fn mind(&self, timeout: Duration) {
        let due = clock::now().saturating_add((timeout + GRACE).as_nanos() as u64);
        // Before that it is to notice whether this process is stopped.
        let tick = clock::after(TICK * 2);
        if due.min(tick) < self.0.wake_at.load(Ordering::SeqCst) {
            self.0.event_fd.notify();
        }
    }

    /// Stops all workers, and waits until they are, but not for long.
    pub(super) fn pause(&self) {
        let (done, paused) = crossbeam_channel::bounded(0);
        self.tell(Event::Pause { done });
        let _ = paused.recv_timeout(PAUSE_LIMIT);
    }

    /// Waits until all workers are ready.
    pub(super) fn started(&self) -> Result<(), Arc<PoolError>> {
        let _ = self.0.started.recv();
        let record = self.0.record();
        match (&record.gave_up, record.startup) {
            (Some(error), _) => Err(Arc::clone(error)),
            (None, Some(_)) => Ok(()),
            // It has panicked, or the pool was closed.
            (None, None) => {
                Err(Arc::new(PoolError::Refused { reason: "its supervisor left".into() }))
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let record = self.0.record();
        Status {
            startup: record.startup.unwrap_or_default(),
            restarts: record.restarts,
            gave_up: record.gave_up.clone(),
        }
    }
}

impl SupervisorHandle {
    /// Answers the jobs of a pool that has lost its supervisor.
    fn on_thread_panic(&self, dispatcher: &Dispatcher, slots: usize, what: String) {
        let exit = WorkerExit { how: what.clone(), ..WorkerExit::default() };
        let error = Arc::new(PoolError::Panicked { what });
        self.0.record().gave_up.get_or_insert(Arc::clone(&error));
        dispatcher.give_up(&error);
        for slot in 0..slots {
            dispatcher.on_worker_exit(slot, &exit);
        }
        dispatcher.on_thread_panic();
    }
}

impl ControlBlock {
    fn record(&self) -> MutexGuard<'_, SupervisorStatus> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What does not change while the pool lasts.
struct PoolContext {
    supervisor: SupervisorHandle,
    dispatcher: Arc<Dispatcher>,
    config: PoolConfig,
    /// Names of all kernels.
    kernels: Arc<[String]>,
    doorbells: DoorbellsRegion,
    /// When the pool was asked for.
    begin: Nanos,
}

/// Starts the supervisor and, through it, the workers.
pub(super) fn start(
    dispatcher: &Arc<Dispatcher>,
    config: &PoolConfig,
    kernels: Arc<[String]>,
    doorbells: DoorbellsRegion,
) -> Result<(SupervisorHandle, JoinHandle<()>), PoolError> {
    let begin = clock::now();
    let setup =
        |source| PoolError::Setup { what: "the supervisor of the workers".to_owned(), source };
    let (inbox, events) = crossbeam_channel::unbounded();
    let (starting, started) = crossbeam_channel::bounded(0);
    let event_fd = EventFd::new().map_err(setup)?;
    let wake_at = AtomicU64::new(u64::MAX);
    let supervisor = SupervisorHandle(Arc::new(ControlBlock {
        inbox,
        event_fd,
        wake_at,
        started,
        record: Mutex::default(),
    }));
    // Before there is a worker: what the first of them does wrong has to reach it.
    dispatcher.set_supervisor(supervisor.clone());
    let context = PoolContext {
        supervisor: supervisor.clone(),
        dispatcher: Arc::clone(dispatcher),
        config: config.clone(),
        kernels,
        doorbells,
        begin,
    };
    let (slots, dispatcher, on_panic) =
        (config.workers, Arc::clone(dispatcher), supervisor.clone());
    let watch = Supervisor::new(context, events, starting);
    let thread = thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(move || {
            // What it held is gone by then, so its workers are.
            let on_panic = |what| on_panic.on_thread_panic(&dispatcher, slots, what);
            panic_guard::guard("supervisor", || watch.run(), on_panic);
        })
        .map_err(setup)?;
    Ok((supervisor, thread))
}
