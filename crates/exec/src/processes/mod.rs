//! Worker processes: the same executable, started again, fed over ipc-channel,
//! watched and replaced.
//!
//! Threads of the coordinator, and what each alone does:
//!
//! | thread | does |
//! | --- | --- |
//! | the callers' | submit into the [`crew`]'s queue, wait on their tickets |
//! | keeper (one) | starts workers, watches their pidfds and deadlines, kills, reaps, replaces |
//! | link (one per worker) | shakes hands, then blocks in receiving results |
//! | send (one per worker) | takes jobs from the queue, reads inputs, blocks in sending |
//!
//! Events go to the keeper through its inbox; jobs and their fate are in the crew
//! alone. A job is answered by whoever learns its end: the link, the keeper (its
//! worker died), or its caller (cancelled in the queue).

mod crew;
mod forward;
mod keeper;
mod kid;
mod link;
mod spawn;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use brigade_ipc::SERVER_ENV;
use brigade_kernels::Registry;

use self::crew::Crew;
use self::keeper::{Event, Keeper};
use crate::executor::{Executor, Status, Stop, WorkerReport};
use crate::ticket::{Task, Ticket};
use crate::{PoolConfig, PoolError, SubmitError};

pub use worker::run_if_worker;

/// The executor of [`Backend::Processes`](crate::Backend::Processes).
pub(crate) struct Processes {
    crew: Arc<Crew>,
    keeper: Keeper,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Processes {
    pub(crate) fn start(registry: &Registry, config: &PoolConfig) -> Result<Self, PoolError> {
        if std::env::var_os(SERVER_ENV).is_some() {
            return Err(PoolError::InsideWorker);
        }
        let crew = Arc::new(Crew::new(config));
        let (keeper, thread) = keeper::start(&crew, config, worker::names(registry).into())?;
        let processes = Self { crew, keeper, thread: Mutex::new(Some(thread)) };
        match processes.keeper.started() {
            Ok(()) => Ok(processes),
            Err(error) => {
                processes.join();
                Err(error)
            }
        }
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the keeper of the workers has panicked");
        }
    }
}

impl Executor for Processes {
    fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        self.crew.submit(task, block)
    }

    fn cancel_running(&self, ticket: &Arc<Ticket>) {
        if let Some(lane) = self.crew.lane_of(ticket) {
            self.keeper.tell(Event::Cancel { lane, ticket: Arc::clone(ticket) });
        }
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
