//! Admits started workers: a worker connects, sends its greeting, and gets what it needs to work.
//!
//! The supervisor does this between its other work and never blocks on a connection. If a peer
//! connects and sends nothing, the supervisor reads again when the socket becomes readable.

use std::sync::Arc;
use std::time::Duration;

use brigade_ipc::{Accepted, Admitted, Arena, Outputs, Refusal, Welcome};
use brigade_proto::{Nanos, WorkerId};
use brigade_sys::{affinity, clock, shortage};

use super::run_loop::{DYING_LIMIT, Slot, Supervisor, Unable};
use crate::Transport;
use crate::processes::control::{ControlReader, Served};
use crate::processes::dispatcher::{ControlSender, RingConnection};
use crate::processes::lifecycle::Cause;
use crate::processes::log_forward;

/// Back-off after a failed `accept`: no descriptor is free.
const SHORT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How many connections the supervisor accepts in one pass before it returns to other work.
const AT_A_TIME: usize = 16;

impl Supervisor {
    /// Accepts new connections and matches them to the workers that were started.
    pub(super) fn accept_pending(&mut self) {
        for _ in 0..AT_A_TIME {
            let Some(listener) = self.spawner.listener() else { return };
            match listener.accept() {
                Ok(Some(connection)) => {
                    self.accept_backoff_until = None;
                    self.pending.push(connection);
                    self.match_pending();
                }
                Ok(None) => return,
                Err(error) => {
                    if self.accept_backoff_until.is_none() {
                        let remedy = shortage::remedy(&error);
                        tracing::warn!("a worker cannot be admitted yet: {error}{remedy}");
                    }
                    self.accept_backoff_until = Some(clock::after(SHORT_OF_DESCRIPTORS));
                    return;
                }
            }
        }
    }

    /// The end of the `accept` back-off, while one is in progress.
    pub(super) fn accept_backoff(&self) -> Option<Nanos> {
        self.accept_backoff_until.filter(|until| *until > clock::now())
    }

    /// Hands pending connections to the slots of their workers, by process id. Drops the connection
    /// of an unknown process, unless the fork server has not yet reported which process it forked:
    /// then the connection stays pending.
    pub(super) fn match_pending(&mut self) {
        for connection in std::mem::take(&mut self.pending) {
            let slot = self
                .slots
                .iter()
                .position(|occupant| matches!(occupant, Slot::Occupied(worker) if worker.is_expected(connection.pid())));
            if let Some(slot) = slot {
                if let Slot::Occupied(worker) = &mut self.slots[slot] {
                    worker.connection = Some(connection);
                }
                // Usually the worker's greeting has arrived too.
                self.greet(slot);
            } else if self.slots.iter().any(|occupant| matches!(occupant, Slot::Forking(..))) {
                // A worker connects only once, so keep one pending connection per process.
                if self.pending.iter().all(|other| other.pid() != connection.pid()) {
                    self.pending.push(connection);
                }
            } else {
                tracing::debug!(pid = connection.pid(), "who has connected was not invited");
            }
        }
        // Any program of this user can connect as often as it likes: keep no more connections than
        // there are slots.
        let excess = self.pending.len().saturating_sub(self.slots.len());
        self.pending.drain(..excess);
    }

    /// Reads the greeting on a slot's pending connection, and admits or refuses the worker.
    pub(super) fn greet(&mut self, slot: usize) {
        let Slot::Occupied(worker) = &mut self.slots[slot] else { return };
        let Some(connection) = worker.connection.take() else { return };
        if !worker.life.is_starting() {
            return;
        }
        match connection.greeting(&worker.token, &self.context.kernels) {
            Ok(None) => worker.connection = Some(connection),
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
            // The worker is probably dying. Wait for its exit, because how it died is worth
            // knowing.
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
        let Admitted { mut endpoint, requests, responses } =
            accepted.welcome(welcome, &context.doorbells)?;
        // There are more cores than workers, so the worker can leave the core that its requests
        // come from.
        if !config.pin && config.workers < affinity::allowed() {
            endpoint.tell_core();
        }
        // The worker has done its part of the handshake. If a resource is missing on this side from
        // here on, the worker is not to blame.
        worker.complete_handshake(endpoint.page());
        let control = Arc::new(ControlSender::new(requests));
        let outputs = Arc::new(Outputs::new(Arc::clone(&context.dispatcher.budget)));
        let inputs = match config.has_own_inputs() {
            true => Arc::new(Arena::new(Arc::clone(&context.dispatcher.budget))),
            false => Arc::clone(&context.dispatcher.arena),
        };
        let connection = has_rings.then(|| RingConnection {
            endpoint,
            outputs: Arc::clone(&outputs),
            inputs: Arc::clone(&inputs),
            regions: Vec::new(),
        });
        let reader = ControlReader {
            dispatcher: Arc::clone(&context.dispatcher),
            supervisor: context.supervisor.clone(),
            slot,
            generation,
            pid,
            transport: config.transport,
            bounds,
            inputs,
        };
        // Before the worker's threads start: a job that goes through the rings needs none of them.
        context.dispatcher.ready(slot, generation, pid, clock::since(context.begin), connection);
        match reader.start(Served { control, responses, outputs }) {
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
        // Run the loop once more before it sleeps: its next deadline may not cover this worker yet.
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
