//! The supervisor: the one thread that starts, watches, kills, reaps and replaces workers. It lives
//! as long as the pool, because a worker's parent-death signal is sent when the thread that started
//! the worker ends.

mod acceptor;
mod liveness;
mod replace;
mod run_loop;
mod shortage;
mod spawner;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use brigade_ipc::DoorbellsRegion;
use brigade_proto::Nanos;
use brigade_sys::clock;
use brigade_sys::event_fd::EventFd;

use self::run_loop::Supervisor;
use super::dispatcher::Dispatcher;
use super::panic_guard;
use super::supervisor_handle::{ControlBlock, SupervisorHandle};
use super::worker_exit::WorkerExit;
use crate::{PoolConfig, PoolError};

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
    let (slots, dispatcher, handle) = (config.workers, Arc::clone(dispatcher), supervisor.clone());
    let run_loop = Supervisor::new(context, events, starting);
    let thread = thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(move || {
            // The unwinding has dropped what the supervisor held, so its workers are dead by now.
            let on_panic = |what| on_thread_panic(&handle, &dispatcher, slots, what);
            panic_guard::guard("supervisor", || run_loop.run(), on_panic);
        })
        .map_err(setup)?;
    Ok((supervisor, thread))
}

/// Gives up the pool and answers its jobs after the supervisor has panicked.
fn on_thread_panic(handle: &SupervisorHandle, dispatcher: &Dispatcher, slots: usize, what: String) {
    let exit = WorkerExit { how: what.clone(), ..WorkerExit::default() };
    let error = Arc::new(PoolError::Panicked { what });
    handle.0.record().gave_up.get_or_insert(Arc::clone(&error));
    dispatcher.give_up(&error);
    for slot in 0..slots {
        dispatcher.on_worker_exit(slot, &exit);
    }
    dispatcher.on_thread_panic();
}
