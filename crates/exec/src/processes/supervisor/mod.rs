//! The supervisor: the one thread that starts, watches, kills, reaps and replaces workers. It lives
//! as long as the pool, because a worker's parent-death signal is sent when the thread that started
//! the worker ends.

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
use super::spawn::{StartFailure, StartedProcess};
use crate::executor::PoolStatus;
use crate::job_state::JobState;
use crate::{PoolConfig, PoolError};

/// What other threads tell the supervisor.
pub(super) enum SupervisorEvent {
    /// The fork server has started a worker, or could not.
    Forked { slot: usize, generation: u64, started: Result<Box<StartedProcess>, StartFailure> },
    /// A worker broke the protocol. Its control reader goes on until the worker is dead. If `what`
    /// is `None`, the control reader says what happened when it ends.
    Violation { slot: usize, generation: u64, what: Option<String> },
    /// A control reader has ended: it has received everything that its worker sent, or has
    /// panicked.
    ControlClosed { slot: usize, generation: u64, violation: Option<String> },
    /// A worker holds too much memory and waits to be replaced.
    Outgrown { slot: usize, generation: u64 },
    /// The caller has cancelled a job that a worker may have in hand.
    Cancel { slot: usize, job_state: Arc<JobState> },
    /// Kill every worker.
    KillAll,
    /// Stop every worker (SIGSTOP), then drop `done`.
    Pause { done: Sender<()> },
    /// Continue every worker.
    Resume,
    /// A thread that serves all workers has panicked.
    ThreadPanicked { what: String },
    /// All jobs are done: the workers must leave.
    Close,
}

/// How long after its timeout a job may still notice that, before the supervisor kills its worker.
const GRACE: Duration = Duration::from_millis(50);

/// How long `pause` waits until the workers are stopped. The supervisor may be starting one.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Sends events to the supervisor from other threads, and reads its status.
#[derive(Clone)]
pub(super) struct SupervisorHandle(Arc<ControlBlock>);

struct ControlBlock {
    inbox: Sender<SupervisorEvent>,
    event_fd: EventFd,
    /// When the supervisor will next wake by itself.
    wake_at: AtomicU64,
    /// Carries no message. It is disconnected when the pool's start is over.
    started: Receiver<()>,
    record: Mutex<SupervisorStatus>,
}

#[derive(Default)]
struct SupervisorStatus {
    /// How long the start took. Set once all workers are ready.
    startup: Option<Duration>,
    restarts: u64,
    gave_up: Option<Arc<PoolError>>,
}

impl SupervisorHandle {
    pub(super) fn tell(&self, event: SupervisorEvent) {
        // The send fails only if the supervisor has ended, and then there is nothing to do.
        if self.0.inbox.send(event).is_ok() {
            self.0.event_fd.notify();
        }
    }

    /// Reports that a worker broke the protocol; the supervisor kills that worker.
    pub(super) fn protocol_violation(&self, slot: usize, generation: u64, what: Option<String>) {
        self.tell(SupervisorEvent::Violation { slot, generation, what });
    }

    /// A job with a time limit was assigned: makes the supervisor check it in time.
    pub(super) fn watch_deadline(&self, timeout: Duration) {
        let due = clock::now().saturating_add((timeout + GRACE).as_nanos() as u64);
        // Before that, the supervisor must check whether this process was stopped.
        let tick = clock::after(TICK * 2);
        if due.min(tick) < self.0.wake_at.load(Ordering::SeqCst) {
            self.0.event_fd.notify();
        }
    }

    /// Stops all workers. Waits until they are stopped, for at most [`PAUSE_LIMIT`].
    pub(super) fn pause(&self) {
        let (done, paused) = crossbeam_channel::bounded(0);
        self.tell(SupervisorEvent::Pause { done });
        let _ = paused.recv_timeout(PAUSE_LIMIT);
    }

    /// Waits until all workers are ready, or the start has failed.
    pub(super) fn started(&self) -> Result<(), Arc<PoolError>> {
        let _ = self.0.started.recv();
        let record = self.0.record();
        match (&record.gave_up, record.startup) {
            (Some(error), _) => Err(Arc::clone(error)),
            (None, Some(_)) => Ok(()),
            // The supervisor has panicked, or the pool was closed.
            (None, None) => {
                Err(Arc::new(PoolError::Refused { reason: "its supervisor left".into() }))
            }
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let record = self.0.record();
        PoolStatus {
            startup: record.startup.unwrap_or_default(),
            restarts: record.restarts,
            gave_up: record.gave_up.clone(),
        }
    }
}

impl SupervisorHandle {
    /// Gives up the pool and answers its jobs after the supervisor has panicked.
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

/// What does not change during the life of the pool.
struct PoolContext {
    supervisor: SupervisorHandle,
    dispatcher: Arc<Dispatcher>,
    config: PoolConfig,
    /// Names of all kernels. A worker must have the same ones.
    kernels: Arc<[String]>,
    doorbells: DoorbellsRegion,
    /// When the creation of the pool began.
    begin: Nanos,
}

/// Starts the supervisor thread, which starts the workers.
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
    // Before the first worker starts, so that its protocol violations reach the supervisor.
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
    let run_loop = Supervisor::new(context, events, starting);
    let thread = thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(move || {
            // The unwinding has dropped what the supervisor held, so its workers are dead by now.
            let on_panic = |what| on_panic.on_thread_panic(&dispatcher, slots, what);
            panic_guard::guard("supervisor", || run_loop.run(), on_panic);
        })
        .map_err(setup)?;
    Ok((supervisor, thread))
}
