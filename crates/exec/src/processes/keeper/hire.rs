//! How a worker process comes to be.

use brigade_ipc::{Invitation, Listener};
use brigade_sys::clock;

use super::{Event, Facts};
use crate::processes::fork_server::ForkServer;
use crate::processes::kid::Kid;
use crate::processes::spawn::{self, StartFailure, Started};
use crate::{PoolError, StartMethod};

/// Starts workers.
#[derive(Default)]
pub(super) struct Agency {
    /// Where workers report; made for the first of them.
    listener: Option<Listener>,
    /// What workers are forked from: the pool's own, or one that it was given.
    server: Option<ForkServer>,
}

/// A worker that was asked for.
pub(super) enum Hired {
    /// It was started.
    Now(Box<Kid>),
    /// The keeper will be told ([`Event::Forked`]).
    Later(Invitation),
}

impl Agency {
    /// Where workers report.
    pub(super) fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    fn invite(&mut self) -> std::io::Result<Invitation> {
        let listener = match self.listener.take().filter(Listener::is_there) {
            Some(listener) => listener,
            None => Listener::bind()?,
        };
        self.listener.insert(listener).invite()
    }

    /// Starts a worker for a lane, or has one forked; from another template than `but`.
    ///
    /// # Errors
    /// When the worker cannot be started.
    pub(super) fn hire(
        &mut self,
        facts: &Facts,
        lane: usize,
        tenure: u64,
        but: Option<u32>,
    ) -> Result<Hired, PoolError> {
        let config = &facts.config;
        let invitation = self.invite().map_err(|source| PoolError::Setup {
            what: "the private directory for the workers' socket".to_owned(),
            source,
        })?;
        let program = config.worker_program.as_deref();
        if config.start_method == StartMethod::Spawn {
            let started = spawn::start(program, &config.environment, &invitation)?;
            return Ok(Hired::Now(employ(facts, tenure, invitation, started)));
        }
        let server = match (&self.server, &config.fork_server) {
            (Some(server), _) | (None, Some(server)) => server.clone(),
            (None, None) => ForkServer::of(program, &config.environment)?,
        };
        let keeper = facts.keeper.clone();
        let answer = move |started: Result<Started, StartFailure>| {
            keeper.tell(Event::Forked { lane, tenure, started: started.map(Box::new) });
        };
        self.server.insert(server).fork(&invitation, config.start_deadline, but, answer);
        Ok(Hired::Later(invitation))
    }
}

/// A worker that was started, and is to report in time.
pub(super) fn employ(
    facts: &Facts,
    tenure: u64,
    invitation: Invitation,
    started: Started,
) -> Box<Kid> {
    let deadline = clock::after(facts.config.start_deadline);
    Box::new(Kid::new(started, tenure, invitation, deadline))
}
