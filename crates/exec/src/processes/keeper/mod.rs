//! The keeper: the one thread that starts workers, watches them, ends them, reaps
//! them and has them replaced. It lives as long as the pool, because the workers'
//! parent-death signal follows the thread that started them.

mod greet;
mod hire;
mod mind;
mod replace;
mod shortage;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::BellsRegion;
use brigade_proto::Nanos;
use brigade_sys::bell::Bell;
use brigade_sys::clock;
use brigade_sys::stall::TICK;
use crossbeam_channel::{Receiver, Sender};

use self::watch::Watch;
use super::crew::{Crew, Death};
use super::net;
use super::spawn::{StartFailure, Started};
use crate::executor::Status;
use crate::ticket::Ticket;
use crate::{PoolConfig, PoolError};

/// What the keeper is told.
pub(super) enum Event {
    /// The fork server has started a worker, or cannot.
    Forked { lane: usize, tenure: u64, started: Result<Box<Started>, StartFailure> },
    /// A worker broke the protocol; the link goes on until it is dead, and says
    /// what it was if that is not known yet.
    Offence { lane: usize, tenure: u64, what: Option<String> },
    /// A link has ended: everything that its worker said has been heard.
    LinkClosed { lane: usize, tenure: u64, offence: Option<String> },
    /// A worker holds too much memory, and waits to be replaced.
    Outgrown { lane: usize, tenure: u64 },
    /// The caller wants a job to end that a worker may have in hand.
    Cancel { lane: usize, ticket: Arc<Ticket> },
    /// Every worker is to die.
    KillAll,
    /// Every worker is to be stopped; then `done` is dropped.
    Pause { done: Sender<()> },
    /// Every worker is to go on.
    Resume,
    /// A thread that serves all workers has panicked.
    Fallen { what: String },
    /// All jobs are done, workers are to leave.
    Close,
}

/// How long after its timeout a job is left to notice it before its worker is
/// killed.
const GRACE: Duration = Duration::from_millis(50);

/// How long it is waited until workers are stopped: the keeper may be starting one.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Reaches the keeper from other threads.
#[derive(Clone)]
pub(super) struct Keeper(Arc<Desk>);

struct Desk {
    inbox: Sender<Event>,
    bell: Bell,
    /// When the keeper will wake by itself.
    wake_at: AtomicU64,
    /// Nothing ever comes; it is disconnected when the start is over.
    started: Receiver<()>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    /// Once all workers are ready.
    startup: Option<Duration>,
    restarts: u64,
    gave_up: Option<Arc<PoolError>>,
}

impl Keeper {
    pub(super) fn tell(&self, event: Event) {
        // Fails only when the keeper has ended, and then nothing is to be done.
        if self.0.inbox.send(event).is_ok() {
            self.0.bell.ring();
        }
    }

    /// A worker broke the protocol: it is to die.
    pub(super) fn offend(&self, lane: usize, tenure: u64, what: Option<String>) {
        self.tell(Event::Offence { lane, tenure, what });
    }

    /// A job with a time limit was assigned: see to it that the keeper looks in
    /// time.
    pub(super) fn mind(&self, timeout: Duration) {
        let due = clock::now().saturating_add((timeout + GRACE).as_nanos() as u64);
        // Before that it is to notice whether this process is stopped.
        let tick = clock::after(TICK * 2);
        if due.min(tick) < self.0.wake_at.load(Ordering::SeqCst) {
            self.0.bell.ring();
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
            (None, None) => Err(Arc::new(PoolError::Refused { reason: "its keeper left".into() })),
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

impl Keeper {
    /// Answers the jobs of a pool that has lost its keeper.
    fn fall(&self, crew: &Crew, lanes: usize, what: String) {
        let death = Death { how: what.clone(), ..Death::default() };
        let error = Arc::new(PoolError::Panicked { what });
        self.0.record().gave_up.get_or_insert(Arc::clone(&error));
        crew.give_up(&error);
        for lane in 0..lanes {
            crew.lost(lane, &death);
        }
        crew.fall();
    }
}

impl Desk {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What does not change while the pool lasts.
struct Facts {
    keeper: Keeper,
    crew: Arc<Crew>,
    config: PoolConfig,
    /// Names of all kernels.
    kernels: Arc<[String]>,
    bells: BellsRegion,
    /// When the pool was asked for.
    begin: Nanos,
}

/// Starts the keeper and, through it, the workers.
pub(super) fn start(
    crew: &Arc<Crew>,
    config: &PoolConfig,
    kernels: Arc<[String]>,
    bells: BellsRegion,
) -> Result<(Keeper, JoinHandle<()>), PoolError> {
    let begin = clock::now();
    let setup = |source| PoolError::Setup { what: "the keeper of the workers".to_owned(), source };
    let (inbox, events) = crossbeam_channel::unbounded();
    let (starting, started) = crossbeam_channel::bounded(0);
    let bell = Bell::new().map_err(setup)?;
    let wake_at = AtomicU64::new(u64::MAX);
    let keeper = Keeper(Arc::new(Desk { inbox, bell, wake_at, started, record: Mutex::default() }));
    // Before there is a worker: what the first of them does wrong has to reach it.
    crew.set_keeper(keeper.clone());
    let facts = Facts {
        keeper: keeper.clone(),
        crew: Arc::clone(crew),
        config: config.clone(),
        kernels,
        bells,
        begin,
    };
    let (lanes, crew, fallen) = (config.workers, Arc::clone(crew), keeper.clone());
    let watch = Watch::new(facts, events, starting);
    let thread = thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || {
            // What it held is gone by then, so its workers are.
            let fallen = |what| fallen.fall(&crew, lanes, what);
            net::guard("keeper", || watch.run(), fallen);
        })
        .map_err(setup)?;
    Ok((keeper, thread))
}
