//! Starts worker processes, directly or through a fork server.

use brigade_ipc::{BootstrapToken, Listener};
use brigade_sys::clock;

use super::PoolContext;
use crate::processes::fork_server::ForkServer;
use crate::processes::spawn::{self, StartFailure, StartedProcess};
use crate::processes::supervisor_handle::SupervisorEvent;
use crate::processes::worker_process::WorkerProcess;
use crate::{PoolError, StartMethod};

#[derive(Default)]
pub(super) struct Spawner {
    /// The socket that workers connect to. It is bound for the first worker, and again if its path
    /// has gone.
    listener: Option<Listener>,
    /// What workers are forked from: the pool's own fork server, or the one that the pool was
    /// given.
    server: Option<ForkServer>,
}

/// How far the start of a worker has come.
pub(super) enum SpawnResult {
    /// It was started.
    Started(Box<WorkerProcess>),
    /// The supervisor will get a [`SupervisorEvent::Forked`].
    Requested(BootstrapToken),
}

impl Spawner {
    pub(super) fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    fn issue_token(&mut self) -> std::io::Result<BootstrapToken> {
        let listener = match self.listener.take().filter(Listener::is_there) {
            Some(listener) => listener,
            None => Listener::bind()?,
        };
        self.listener.insert(listener).issue_token()
    }

    /// Starts a worker for a slot, or requests one from a fork server whose number is not `but`.
    ///
    /// # Errors
    /// When the worker cannot be started.
    pub(super) fn spawn_worker(
        &mut self,
        context: &PoolContext,
        slot: usize,
        generation: u64,
        but: Option<u32>,
    ) -> Result<SpawnResult, PoolError> {
        let config = &context.config;
        let token = self.issue_token().map_err(|source| PoolError::Setup {
            what: "the private directory for the workers' socket".to_owned(),
            source,
        })?;
        let program = config.worker_program.as_deref();
        match config.start_method {
            StartMethod::Spawn => {
                let started = spawn::start(program, &config.environment, &token)?;
                let worker = started_worker(context, generation, token, started);
                return Ok(SpawnResult::Started(worker));
            }
            StartMethod::Forkserver => {}
        }
        let server = match (&self.server, &config.fork_server) {
            (Some(server), _) | (None, Some(server)) => server.clone(),
            (None, None) => ForkServer::of(program, &config.environment)?,
        };
        let supervisor = context.supervisor.clone();
        let callback = move |started: Result<StartedProcess, StartFailure>| {
            supervisor.tell(SupervisorEvent::Forked {
                slot,
                generation,
                started: started.map(Box::new),
            });
        };
        self.server.insert(server).fork(&token, config.start_deadline, but, callback);
        Ok(SpawnResult::Requested(token))
    }
}

/// A worker that was started and must complete its handshake before the start deadline.
pub(super) fn started_worker(
    context: &PoolContext,
    generation: u64,
    token: BootstrapToken,
    started: StartedProcess,
) -> Box<WorkerProcess> {
    let deadline = clock::after(context.config.start_deadline);
    Box::new(WorkerProcess::new(started, generation, token, deadline))
}
