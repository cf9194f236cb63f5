//! How a worker that was started is let in: it connects, says who it is, and gets what it needs.
//!
//! The keeper does that between its other work and waits for nobody: whoever connects and says
//! nothing is looked at again when there is something to be read.

use std::sync::Arc;
use std::time::Duration;

use brigade_ipc::{Accepted, Admitted, Arena, Outputs, Refusal, Welcome};
use brigade_proto::{Nanos, WorkerId};
use brigade_sys::{affinity, clock, shortage};

use super::watch::{DYING_LIMIT, Seat, Unable, Watch};
use crate::Transport;
use crate::processes::crew::{Mailbox, Wire};
use crate::processes::forward;
use crate::processes::life::Cause;
use crate::processes::link::{Link, Served};

/// How long it is waited if nobody can be let in for want of descriptors.
const SHORT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How many may connect before the keeper looks after something else.
const AT_A_TIME: usize = 16;

impl Watch {
    /// Lets in who has connected, as far as it was invited.
    pub(super) fn open_door(&mut self) {
        for _ in 0..AT_A_TIME {
            let Some(listener) = self.agency.listener() else { return };
            match listener.accept() {
                Ok(Some(caller)) => {
                    self.shut_until = None;
                    self.strangers.push(caller);
                    self.know_strangers();
                }
                Ok(None) => return,
                Err(error) => {
                    if self.shut_until.is_none() {
                        let remedy = shortage::remedy(&error);
                        tracing::warn!("a worker cannot be let in yet: {error}{remedy}");
                    }
                    self.shut_until = Some(clock::after(SHORT_OF_DESCRIPTORS));
                    return;
                }
            }
        }
    }

    /// Until when nobody is let in, for want of descriptors.
    pub(super) fn is_shut_until(&self) -> Option<Nanos> {
        self.shut_until.filter(|until| *until > clock::now())
    }

    /// Shows those who have connected to their lanes. Who is not known is sent away, unless
    /// the fork server has still to tell whom it has started.
    pub(super) fn know_strangers(&mut self) {
        for caller in std::mem::take(&mut self.strangers) {
            let lane = self
                .seats
                .iter()
                .position(|seat| matches!(seat, Seat::Taken(kid) if kid.is_expected(caller.pid())));
            if let Some(lane) = lane {
                if let Seat::Taken(kid) = &mut self.seats[lane] {
                    kid.caller = Some(caller);
                }
                // It has mostly said who it is as well.
                self.greet(lane);
            } else if self.seats.iter().any(|seat| matches!(seat, Seat::Asked(..))) {
                // A worker connects once.
                if self.strangers.iter().all(|other| other.pid() != caller.pid()) {
                    self.strangers.push(caller);
                }
            } else {
                tracing::debug!(pid = caller.pid(), "who has connected was not invited");
            }
        }
        // One of this user's other programs may connect as often as it likes.
        let excess = self.strangers.len().saturating_sub(self.seats.len());
        self.strangers.drain(..excess);
    }

    /// Hears what the one at the door of a lane says.
    pub(super) fn greet(&mut self, lane: usize) {
        let Seat::Taken(kid) = &mut self.seats[lane] else { return };
        let Some(caller) = kid.caller.take() else { return };
        if !kid.life.is_starting() {
            return;
        }
        match caller.greeting(&kid.invitation, &self.facts.kernels) {
            Ok(None) => kid.caller = Some(caller),
            Ok(Some(accepted)) => {
                if let Err(refusal) = self.let_in(lane, accepted) {
                    self.refuse(lane, refusal);
                }
            }
            Err(refusal) => self.refuse(lane, refusal),
        }
    }

    fn refuse(&mut self, lane: usize, refusal: Refusal) {
        let Seat::Taken(kid) = &mut self.seats[lane] else { return };
        match refusal {
            // It is probably dying, and how it died is worth knowing.
            Refusal::Broken(_) => kid.leave_within(DYING_LIMIT),
            wrong => kid.kill(Cause::Refused(wrong)),
        }
    }

    fn let_in(&mut self, lane: usize, accepted: Accepted) -> Result<(), Refusal> {
        let Seat::Taken(kid) = &mut self.seats[lane] else { return Ok(()) };
        let (facts, tenure, pid) = (&self.facts, kid.tenure, kid.pid);
        let config = &facts.config;
        let has_rings = config.transport == Transport::Arena;
        let (patience, bounds) = (config.patience(), config.bounds());
        let welcome = Welcome {
            worker: WorkerId(lane as u32),
            log_level: forward::current_level(),
            pin: config.pin.then_some(lane as u32),
            rings: has_rings.then_some((patience.spins, patience.yields.as_micros() as u64)),
            bounds,
        };
        let Admitted { mut pass, requests, replies } = accepted.welcome(welcome, &facts.bells)?;
        // There are more cores than workers.
        if !config.pin && config.workers < affinity::allowed() {
            pass.tell_core();
        }
        // If something here is missing for it, it is not to blame.
        kid.has_greeted(pass.page());
        let mail = Arc::new(Mailbox::new(requests));
        let outputs = Arc::new(Outputs::new(Arc::clone(&facts.crew.budget)));
        let inputs = match config.has_own_inputs() {
            true => Arc::new(Arena::new(Arc::clone(&facts.crew.budget))),
            false => Arc::clone(&facts.crew.arena),
        };
        let wire = has_rings.then(|| Wire {
            pass,
            outputs: Arc::clone(&outputs),
            inputs: Arc::clone(&inputs),
            regions: Vec::new(),
        });
        let link = Link {
            crew: Arc::clone(&facts.crew),
            keeper: facts.keeper.clone(),
            lane,
            tenure,
            pid,
            transport: config.transport,
            bounds,
            inputs,
        };
        // Before its threads: a job that goes through the rings needs none.
        facts.crew.ready(lane, tenure, pid, clock::since(facts.begin), wire);
        match link.start(Served { mail, replies, outputs }) {
            Ok(thread) => kid.let_in(thread),
            Err(error) => {
                facts.crew.unready(lane, tenure);
                let remedy = shortage::remedy(&error);
                let what = format!("got no thread of its own: {error}{remedy}");
                kid.kill(Cause::Offence(Some(what)));
                return Ok(());
            }
        }
        tracing::info!(worker = lane, pid, "worker is ready");
        self.on_ready(lane);
        Ok(())
    }

    fn on_ready(&mut self, lane: usize) {
        // It is to be looked after from now on, whatever was to be waited for.
        self.desk().bell.ring();
        self.has_served = true;
        self.unable[lane] = Unable::default();
        if let Some(start) = &mut self.starting {
            start.missing.remove(&lane);
            if start.missing.is_empty() {
                self.desk().record().startup = Some(clock::since(self.facts.begin));
                self.starting = None;
            }
        }
    }
}
