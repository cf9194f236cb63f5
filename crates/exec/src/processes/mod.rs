//! Worker processes: the process backend starts them, by default from this same executable, sends
//! them jobs over shared-memory rings and ipc-channel, watches and replaces them.
//!
//! Threads of the coordinator, and what each of them does:
//!
//! | thread | does |
//! | --- | --- |
//! | callers | submit; with rings, also hand out jobs and collect responses while they wait |
//! | completion thread (one) | does the same while no caller waits; frees starts that hang |
//! | supervisor (one) | starts, admits, watches, kills, reaps and replaces workers |
//! | fork server thread (one per fork server) | starts the fork server, requests workers from it |
//! | control reader (one per worker) | blocks in receiving from the control channel |
//! | staging thread (one per worker) | reads and copies inputs, blocks in sending to the worker |
//!
//! Other threads send events to the supervisor's inbox. Only the [`dispatcher`] knows the jobs and
//! their state. The thread that learns how a job ended reports it: a caller or the completion
//! thread (from a ring), the control reader (over the control channel), the staging thread (an
//! input cannot be read), the supervisor (the worker died), or the submitter (cancelled in the
//! queue).

mod control;
mod dispatcher;
mod entry;
mod fork_server;
mod fork_server_process;
mod heartbeat;
mod lifecycle;
mod log_forward;
mod panic_guard;
mod sinks;
mod spawn;
mod supervisor;
mod supervisor_handle;
mod validate;
mod worker;
mod worker_exit;
mod worker_limits;
mod worker_process;

use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::{ArenaSlab, Doorbells, SERVER_ENV, prepare_senders, runtime_dir};
use brigade_kernels::Registry;
use brigade_sys::sandbox;
use brigade_sys::shortage::{self, DESCRIPTORS_BESIDES, DESCRIPTORS_PER_WORKER};
use brigade_sys::signals;

use self::dispatcher::Dispatcher;
use self::supervisor_handle::{SupervisorEvent, SupervisorHandle};
use crate::completions::Waitable;
use crate::executor::{Executor, PoolStatus, Stop, WorkerReport, wait_patiently};
use crate::job_state::JobState;
use crate::task::Task;
use crate::{PoolConfig, PoolError, Sandbox, SubmitError, Transport, wakeup_latency};

pub use entry::run_if_worker;
pub use fork_server::ForkServer;

/// The executor of [`Backend::Processes`](crate::Backend::Processes).
pub(crate) struct Processes {
    dispatcher: Arc<Dispatcher>,
    supervisor: SupervisorHandle,
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
        let (doorbells, theirs) = Doorbells::create().ok_or_else(|| {
            setup("shared memory", std::io::Error::other(shortage::of_shared_memory(0)))
        })?;
        let dispatcher = Arc::new(Dispatcher::new(config, doorbells));
        let names = worker::names(registry).into();
        let (supervisor, thread) = supervisor::start(&dispatcher, config, names, theirs)?;
        let has_rings = config.transport == Transport::Arena;
        let processes =
            Self { dispatcher, supervisor, threads: Mutex::new(vec![thread]), has_rings };
        // Measured here because there is time while the workers' programs load.
        wakeup_latency::cost();
        prepare_senders();
        match processes.start_completion_thread() {
            Ok(()) => Ok(processes),
            Err(error) => {
                processes.stop(Stop::Kill);
                processes.close();
                Err(error)
            }
        }
    }

    fn start_completion_thread(&self) -> Result<(), PoolError> {
        let (dispatcher, supervisor) = (Arc::clone(&self.dispatcher), self.supervisor.clone());
        let on_panic = move |what| supervisor.tell(SupervisorEvent::ThreadPanicked { what });
        let completion_thread = thread::Builder::new()
            .name("completions".to_owned())
            .spawn(move || {
                panic_guard::guard("completions", || dispatcher.run_completion_thread(), on_panic)
            })
            .map_err(|source| PoolError::Setup {
                what: "the completion thread".to_owned(),
                source,
            })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(completion_thread);
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

/// Prepares the private directory for sockets. Logs once if it is not the preferred one.
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

/// Refuses a pool in a process that was started as a worker or fork server, but whose `main` did
/// not call `run_if_worker`. Such a process would start workers without end.
fn check_outside() -> Result<(), PoolError> {
    if [SERVER_ENV, fork_server_process::FORK_SERVER_ENV]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        return Err(PoolError::InsideWorker);
    }
    Ok(())
}

/// Checks the sandbox before anything is started. Workers run on the same kernel as this process.
fn check_sandbox(sandbox: Option<Sandbox>) -> Result<(), PoolError> {
    let Some(level) = sandbox else { return Ok(()) };
    for part in sandbox::missing() {
        let needs = part.needs();
        match level {
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

/// Checks the limit of descriptors now, before they run out in the middle of some work.
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
        self.dispatcher.submit(task, block)
    }

    fn alloc(&self, len: usize) -> Option<ArenaSlab> {
        if !self.has_rings || self.dispatcher.has_own_inputs {
            return None;
        }
        self.dispatcher.arena.take(len)
    }

    fn takes_batches(&self) -> bool {
        self.has_rings
    }

    fn wait(&self, waitable: &dyn Waitable, limit: Option<Duration>) {
        if self.has_rings {
            self.dispatcher.wait(waitable, limit);
        } else {
            wait_patiently(waitable, limit);
        }
    }

    fn cancel_running(&self, job_state: &Arc<JobState>) {
        if let Some(slot) = self.dispatcher.slot_of(job_state) {
            self.supervisor
                .tell(SupervisorEvent::Cancel { slot, job_state: Arc::clone(job_state) });
        }
    }

    fn begin_async_wait(&self) {
        self.dispatcher.begin_async_wait();
    }

    fn end_async_wait(&self) {
        self.dispatcher.end_async_wait();
    }

    fn ready(&self) -> Result<(), Arc<PoolError>> {
        self.supervisor.started()
    }

    fn pause(&self) {
        self.supervisor.pause();
    }

    fn resume(&self) {
        self.supervisor.tell(SupervisorEvent::Resume);
    }

    fn stop(&self, how: Stop) {
        self.dispatcher.stop(how);
        if how == Stop::Kill {
            self.supervisor.tell(SupervisorEvent::KillAll);
        }
    }

    fn status(&self) -> PoolStatus {
        self.supervisor.status()
    }

    fn close(&self) -> Vec<WorkerReport> {
        self.dispatcher.close();
        self.supervisor.tell(SupervisorEvent::Close);
        self.join();
        self.dispatcher.reports()
    }
}
