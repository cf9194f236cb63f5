//! How a worker comes to be, and its link with it.

use std::sync::Arc;
use std::thread;

use brigade_ipc::Listener;
use brigade_sys::{affinity, clock};

use super::{Event, Facts};
use crate::processes::fork_server::ForkServer;
use crate::processes::kid::Kid;
use crate::processes::link::Link;
use crate::processes::spawn::{self, Started};
use crate::{PoolError, StartMethod};

/// Starts workers.
#[derive(Default)]
pub(super) struct Agency {
    /// What workers are forked from: the pool's own, or one that it was given.
    server: Option<ForkServer>,
}

/// A worker that was asked for.
pub(super) enum Hired {
    /// It was started.
    Now(Box<Kid>),
    /// The keeper will be told ([`Event::Forked`]).
    Later(Listener),
}

fn setup(what: &str, source: std::io::Error) -> PoolError {
    PoolError::Setup { what: what.to_owned(), source }
}

impl Agency {
    /// Starts a worker for a lane, or has one forked.
    ///
    /// # Errors
    /// When the worker or a thread cannot be started.
    pub(super) fn hire(
        &mut self,
        facts: &Facts,
        lane: usize,
        tenure: u64,
    ) -> Result<Hired, PoolError> {
        let config = &facts.config;
        let listener = Listener::bind()
            .map_err(|error| setup("the private directory for the workers' sockets", error))?;
        let program = config.worker_program.as_deref();
        if config.start_method == StartMethod::Spawn {
            let started = spawn::start(program, &listener)?;
            return employ(facts, lane, tenure, listener, started).map(Hired::Now);
        }
        let server = match (&self.server, &config.fork_server) {
            (Some(server), _) | (None, Some(server)) => server.clone(),
            (None, None) => ForkServer::of(program)?,
        };
        let keeper = facts.keeper.clone();
        let answer = move |started: Result<Started, PoolError>| {
            keeper.tell(Event::Forked { lane, tenure, started: started.map(Box::new) });
        };
        self.server.insert(server).fork(&listener, config.start_deadline, answer);
        Ok(Hired::Later(listener))
    }
}

/// Starts the thread that lets a worker in.
///
/// # Errors
/// When it cannot be started.
pub(super) fn employ(
    facts: &Facts,
    lane: usize,
    tenure: u64,
    listener: Listener,
    started: Started,
) -> Result<Box<Kid>, PoolError> {
    let doorstep = listener.doorstep();
    let link = Link {
        crew: Arc::clone(&facts.crew),
        keeper: facts.keeper.clone(),
        lane,
        tenure,
        pid: started.child.pid(),
        transport: facts.config.transport,
        pin: facts.config.pin,
        has_room: !facts.config.pin && facts.config.workers < affinity::allowed(),
        begin: facts.begin,
        kernels: Arc::clone(&facts.kernels),
        bells: facts.bells.clone(),
        patience: facts.config.patience(),
        bounds: facts.config.bounds(),
    };
    let thread =
        thread::Builder::new().name(format!("link-{lane}")).spawn(move || link.serve(listener));
    match thread {
        Ok(thread) => {
            let deadline = clock::after(facts.config.start_deadline);
            Ok(Box::new(Kid::new(started, tenure, doorstep, deadline, thread)))
        }
        Err(error) => Err(setup("a worker's link thread", error)),
    }
}
