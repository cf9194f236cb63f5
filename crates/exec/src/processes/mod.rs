//! Worker processes: the same executable, started again, fed over ipc-channel,
//! watched and replaced.
//!
//! Threads of the coordinator, and what each alone does:
//!
//! | thread | does |
//! | --- | --- |
//! | the callers' | submit; with rings, also hand jobs to workers and collect answers while they wait |
//! | clerk (one) | does the same while no caller is there; minds that no start hangs; sleeps else |
//! | keeper (one) | starts workers, lets them in, watches their pidfds and deadlines, kills, reaps, replaces |
//! | link (one per worker) | blocks in receiving mail |
//! | runner (one per worker) | reads and copies inputs, blocks in sending mail |
//!
//! Events go to the keeper through its inbox; jobs and their fate are in the [`crew`]
//! alone. A job is answered by whoever learns its end: a caller or the clerk (from a
//! ring), the link (by mail), the keeper (its worker died), or its submitter
//! (cancelled in the queue).

mod bounds;
mod crew;
mod foreign;
mod fork_server;
mod forward;
mod keeper;
mod kid;
mod life;
mod link;
mod net;
mod pulse;
mod sinks;
mod spawn;
mod template;
mod worker;

use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::{ArenaSlab, Bells, SERVER_ENV, prepare_senders, runtime_dir};
use brigade_kernels::Registry;
use brigade_sys::sandbox;
use brigade_sys::shortage::{self, DESCRIPTORS_BESIDES, DESCRIPTORS_PER_WORKER};
use brigade_sys::signals;

use self::crew::Crew;
use self::keeper::{Event, Keeper};
use crate::executor::{Executor, Status, Stop, WorkerReport, wait_patiently};
use crate::ticket::{Task, Ticket, Wanted};
use crate::{PoolConfig, PoolError, Sandbox, SubmitError, Transport, wake_up};

pub use fork_server::ForkServer;
pub use worker::run_if_worker;

/// The executor of [`Backend::Processes`](crate::Backend::Processes).
pub(crate) struct Processes {
    crew: Arc<Crew>,
    keeper: Keeper,
    threads: Mutex<Vec<JoinHandle<()>>>,
    has_rings: bool,
}

impl Processes {
    pub(crate) fn start(registry: &Registry, config: &PoolConfig) -> Result<Self, PoolError> {
        check_outside()?;
        check_sandbox(config.sandbox)?;
        check_descriptors(config.workers)?;
        let setup = |what: &str, source| PoolError::Setup { what: what.to_owned(), source };
        prepare_runtime_dir()
            .map_err(|error| setup("the private directory for the workers' socket", error))?;
        signals::let_large_files_fail();
        let (bells, theirs) = Bells::create().ok_or_else(|| {
            setup("shared memory", std::io::Error::other(shortage::of_shared_memory(0)))
        })?;
        let crew = Arc::new(Crew::new(config, bells));
        let names = worker::names(registry).into();
        let (keeper, thread) = keeper::start(&crew, config, names, theirs)?;
        let has_rings = config.transport == Transport::Arena;
        let processes = Self { crew, keeper, threads: Mutex::new(vec![thread]), has_rings };
        // While the workers' programs are loaded there is time for it.
        wake_up::cost();
        prepare_senders();
        match processes.start_clerk() {
            Ok(()) => Ok(processes),
            Err(error) => {
                processes.stop(Stop::Kill);
                processes.close();
                Err(error)
            }
        }
    }

    fn start_clerk(&self) -> Result<(), PoolError> {
        let (crew, keeper) = (Arc::clone(&self.crew), self.keeper.clone());
        let fallen = move |what| keeper.tell(Event::Fallen { what });
        let clerk = thread::Builder::new()
            .name("clerk".to_owned())
            .spawn(move || net::guard("clerk", || crew.clerk(), fallen))
            .map_err(|source| PoolError::Setup { what: "the clerk".to_owned(), source })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(clerk);
        Ok(())
    }

    fn join(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the pool has panicked");
            }
        }
    }
}

/// Says once where sockets lie, if that is not where they should.
fn prepare_runtime_dir() -> std::io::Result<()> {
    static TOLD: Once = Once::new();
    runtime_dir::prepare()?;
    let (path, refused) = runtime_dir::chosen()?;
    TOLD.call_once(|| {
        if !refused.is_empty() {
            let refused = refused.join("; ");
            tracing::info!(
                "sockets lie in {}, as others cannot be used: {refused}",
                path.display()
            );
        }
    });
    Ok(())
}

/// A worker that starts workers of its own would go on for ever.
fn check_outside() -> Result<(), PoolError> {
    if [SERVER_ENV, template::TEMPLATE_ENV].iter().any(|name| std::env::var_os(name).is_some()) {
        return Err(PoolError::InsideWorker);
    }
    Ok(())
}

/// Before anything is started: the kernel is the workers' too.
fn check_sandbox(wanted: Option<Sandbox>) -> Result<(), PoolError> {
    let Some(wanted) = wanted else { return Ok(()) };
    for part in sandbox::missing() {
        let needs = part.needs();
        match wanted {
            Sandbox::Strict => return Err(PoolError::NoSandbox { part, needs }),
            Sandbox::BestEffort => {
                tracing::warn!(
                    "the sandbox goes without {part}, which this kernel lacks ({needs})"
                );
            }
        }
    }
    Ok(())
}

/// Before they run out in the middle of something.
fn check_descriptors(workers: usize) -> Result<(), PoolError> {
    let Some((open, limit)) = shortage::descriptors() else { return Ok(()) };
    let needed = open + DESCRIPTORS_BESIDES + DESCRIPTORS_PER_WORKER * workers as u64;
    if needed <= limit {
        return Ok(());
    }
    Err(PoolError::TooFewDescriptors { workers, needed, limit })
}

impl Executor for Processes {
    fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        self.crew.submit(task, block)
    }

    fn alloc(&self, len: usize) -> Option<ArenaSlab> {
        if !self.has_rings || self.crew.has_own_inputs {
            return None;
        }
        self.crew.arena.take(len)
    }

    fn takes_chunks(&self) -> bool {
        self.has_rings
    }

    fn wait(&self, wanted: &dyn Wanted, limit: Option<Duration>) {
        if self.has_rings {
            self.crew.wait(wanted, limit);
        } else {
            wait_patiently(wanted, limit);
        }
    }

    fn cancel_running(&self, ticket: &Arc<Ticket>) {
        if let Some(lane) = self.crew.lane_of(ticket) {
            self.keeper.tell(Event::Cancel { lane, ticket: Arc::clone(ticket) });
        }
    }

    fn ready(&self) -> Result<(), Arc<PoolError>> {
        self.keeper.started()
    }

    fn pause(&self) {
        self.keeper.pause();
    }

    fn resume(&self) {
        self.keeper.tell(Event::Resume);
    }

    fn stop(&self, how: Stop) {
        self.crew.stop(how);
        if how == Stop::Kill {
            self.keeper.tell(Event::KillAll);
        }
    }

    fn status(&self) -> Status {
        self.keeper.status()
    }

    fn close(&self) -> Vec<WorkerReport> {
        self.crew.close();
        self.keeper.tell(Event::Close);
        self.join();
        self.crew.reports()
    }
}
