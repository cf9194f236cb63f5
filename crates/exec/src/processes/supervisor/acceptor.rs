//! How a worker that was started is admitted: it connects, says who it is, and gets what it needs.
//!
//! The supervisor does that between its other work and waits for nobody: whoever connects and says
//! nothing is looked at again when there is something to be read.

use std::sync::Arc;
use std::time::Duration;

use brigade_ipc::{Accepted, Admitted, Arena, Outputs, Refusal, Welcome};
use brigade_proto::{Nanos, WorkerId};
use brigade_sys::{affinity, clock, shortage};

use super::run_loop::{DYING_LIMIT, Slot, Supervisor, Unable};
use crate::Transport;
use crate::processes::control::{ControlReader, Served};
use crate::processes::dispatcher::{ControlSender, Wire};
use crate::processes::lifecycle::Cause;
use crate::processes::log_forward;

/// How long it is waited if nobody can be admitted for want of descriptors.
const SHORT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How many may connect before the supervisor looks after something else.
const AT_A_TIME: usize = 16;

impl Supervisor {
    /// Admits who has connected, as far as it was invited.
    pub(super) fn accept_pending(&mut self) {
        for _ in 0..AT_A_TIME {
            let Some(listener) = self.spawner.listener() else { return };
            match listener.accept() {
                Ok(Some(caller)) => {
                    self.accept_backoff_until = None;
                    self.pending.push(caller);
                    self.match_pending();
                }
                Ok(None) => return,
                Err(error) => {
                    if self.accept_backoff_until.is_none() {
                        let remedy = shortage::remedy(&error);
                        tracing::warn!("a worker cannot be let in yet: {error}{remedy}");
                    }
                    self.accept_backoff_until = Some(clock::after(SHORT_OF_DESCRIPTORS));
                    return;
                }
            }
        }
    }

    /// Until when nobody is admitted, for want of descriptors.
    pub(super) fn accept_backoff(&self) -> Option<Nanos> {
        self.accept_backoff_until.filter(|until| *until > clock::now())
    }

    /// Shows those who have connected to their slots. Who is not known is sent away, unless
    /// the fork server has still to tell whom it has started.
    pub(super) fn match_pending(&mut self) {
        for caller in std::mem::take(&mut self.pending) {
            let slot = self
                .slots
                .iter()
                .position(|occupant| matches!(occupant, Slot::Occupied(worker) if worker.is_expected(caller.pid())));
            if let Some(slot) = slot {
                if let Slot::Occupied(worker) = &mut self.slots[slot] {
                    worker.caller = Some(caller);
                }
                // It has mostly said who it is as well.
                self.greet(slot);
            } else if self.slots.iter().any(|occupant| matches!(occupant, Slot::Forking(..))) {
                // A worker connects once.
                if self.pending.iter().all(|other| other.pid() != caller.pid()) {
                    self.pending.push(caller);
                }
            } else {
                tracing::debug!(pid = caller.pid(), "who has connected was not invited");
            }
        }
        // One of this user's other programs may connect as often as it likes.
        let excess = self.pending.len().saturating_sub(self.slots.len());
        self.pending.drain(..excess);
    }

    /// Hears what the one at the door of a slot says.
    pub(super) fn greet(&mut self, slot: usize) {
        let Slot::Occupied(worker) = &mut self.slots[slot] else { return };
        let Some(caller) = worker.caller.take() else { return };
        if !worker.life.is_starting() {
            return;
        }
        match caller.greeting(&worker.token, &self.context.kernels) {
            Ok(None) => worker.caller = Some(caller),
            Ok(Some(accepted)) => {
                if let Err(refusal) = self.admit(slot, accepted) {
                    self.refuse(slot, refusal);
                }
            }
            Err(refusal) => self.refuse(slot, refusal),
        }
    }

    fn refuse(&mut self, slot: usize, refusal: Refusal) {
        let Slot::Occupied(worker) = &mut self.slots[slot] else { return };
        match refusal {
            // It is probably dying, and how it died is worth knowing.
            Refusal::Broken(_) => worker.leave_within(DYING_LIMIT),
            wrong => worker.kill(Cause::Refused(wrong)),
        }
    }

    fn admit(&mut self, slot: usize, accepted: Accepted) -> Result<(), Refusal> {
        let Slot::Occupied(worker) = &mut self.slots[slot] else { return Ok(()) };
        let (context, generation, pid) = (&self.context, worker.generation, worker.pid);
        let config = &context.config;
        let has_rings = config.transport == Transport::Arena;
        let (spin_policy, bounds) = (config.spin_policy(), config.bounds());
        let welcome = Welcome {
            worker: WorkerId(slot as u32),
            log_level: log_forward::current_level(),
            pin: config.pin.then_some(slot as u32),
            rings: has_rings.then_some((spin_policy.spins, spin_policy.yields.as_micros() as u64)),
            bounds,
        };
        let Admitted { mut pass, requests, replies } =
            accepted.welcome(welcome, &context.doorbells)?;
        // There are more cores than workers.
        if !config.pin && config.workers < affinity::allowed() {
            pass.tell_core();
        }
        // If something here is missing for it, it is not to blame.
        worker.complete_handshake(pass.page());
        let mail = Arc::new(ControlSender::new(requests));
        let outputs = Arc::new(Outputs::new(Arc::clone(&context.dispatcher.budget)));
        let inputs = match config.has_own_inputs() {
            true => Arc::new(Arena::new(Arc::clone(&context.dispatcher.budget))),
            false => Arc::clone(&context.dispatcher.arena),
        };
        let wire = has_rings.then(|| Wire {
            pass,
            outputs: Arc::clone(&outputs),
            inputs: Arc::clone(&inputs),
            regions: Vec::new(),
        });
        let link = ControlReader {
            dispatcher: Arc::clone(&context.dispatcher),
            supervisor: context.supervisor.clone(),
            slot,
            generation,
            pid,
            transport: config.transport,
            bounds,
            inputs,
        };
        // Before its threads: a job that goes through the rings needs none.
        context.dispatcher.ready(slot, generation, pid, clock::since(context.begin), wire);
        match link.start(Served { mail, replies, outputs }) {
            Ok(thread) => worker.admit(thread),
            Err(error) => {
                context.dispatcher.unready(slot, generation);
                let remedy = shortage::remedy(&error);
                let what = format!("got no thread of its own: {error}{remedy}");
                worker.kill(Cause::Violation(Some(what)));
                return Ok(());
            }
        }
        tracing::info!(worker = slot, pid, "worker is ready");
        self.on_ready(slot);
        Ok(())
    }

    fn on_ready(&mut self, slot: usize) {
        // It is to be looked after from now on, whatever was to be waited for.
        self.control_block().event_fd.notify();
        self.has_served = true;
        self.unable[slot] = Unable::default();
        if let Some(start) = &mut self.starting {
            start.missing.remove(&slot);
            if start.missing.is_empty() {
                self.control_block().record().startup = Some(clock::since(self.context.begin));
                self.starting = None;
            }
        }
    }
}
