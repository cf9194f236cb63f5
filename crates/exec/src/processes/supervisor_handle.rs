//! What other threads have of the supervisor: a queue of events to it, and its status.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brigade_sys::clock;
use brigade_sys::event_fd::EventFd;
use brigade_sys::stall::TICK;
use crossbeam_channel::{Receiver, Sender};

use super::spawn::{StartFailure, StartedProcess};
use crate::PoolError;
use crate::executor::PoolStatus;
use crate::job_state::JobState;

/// What other threads tell the supervisor.
pub(super) enum SupervisorEvent {
    /// The fork server has started a worker, or could not.
    Forked { slot: usize, generation: u64, started: Result<Box<StartedProcess>, StartFailure> },
    /// A worker broke the protocol, in its ring or in its control channel. If `what` is `None`, the
    /// control reader says what happened when it ends.
    Violation { slot: usize, generation: u64, what: Option<String> },
    /// A control reader has ended: it has received everything that its worker sent, or has
    /// panicked.
    ControlClosed { slot: usize, generation: u64, violation: Option<String> },
    /// A worker holds too much memory and waits to be replaced.
    Outgrown { slot: usize, generation: u64 },
    /// The caller has cancelled a job that a worker may have in hand.
    Cancel { slot: usize, job_state: Arc<JobState> },
    /// Kill every worker.
    KillAll,
    /// Stop every worker (SIGSTOP), then drop `done`.
    Pause { done: Sender<()> },
    /// Continue every worker.
    Resume,
    /// A thread that serves all workers has panicked.
    ThreadPanicked { what: String },
    /// All jobs are done: the workers must leave.
    Close,
}

/// How long after its timeout a job may still notice that, before the supervisor kills its worker.
pub(super) const GRACE: Duration = Duration::from_millis(50);

/// How long `pause` waits until the workers are stopped. The supervisor may be starting one.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Sends events to the supervisor from other threads, and reads its status.
#[derive(Clone)]
pub(super) struct SupervisorHandle(pub(super) Arc<ControlBlock>);

/// What the supervisor shares with its handles.
pub(super) struct ControlBlock {
    pub(super) inbox: Sender<SupervisorEvent>,
    pub(super) event_fd: EventFd,
    /// When the supervisor will next wake by itself.
    pub(super) wake_at: AtomicU64,
    /// Carries no message. It is disconnected when the pool's start is over.
    pub(super) started: Receiver<()>,
    pub(super) record: Mutex<SupervisorStatus>,
}

#[derive(Default)]
pub(super) struct SupervisorStatus {
    /// How long the start took. Set once all workers are ready.
    pub(super) startup: Option<Duration>,
    pub(super) restarts: u64,
    pub(super) gave_up: Option<Arc<PoolError>>,
}

impl SupervisorHandle {
    pub(super) fn tell(&self, event: SupervisorEvent) {
        // The send fails only if the supervisor has ended, and then there is nothing to do.
        if self.0.inbox.send(event).is_ok() {
            self.0.event_fd.notify();
        }
    }

    /// Reports that a worker broke the protocol; the supervisor kills that worker.
    pub(super) fn protocol_violation(&self, slot: usize, generation: u64, what: Option<String>) {
        self.tell(SupervisorEvent::Violation { slot, generation, what });
    }

    /// A job with a time limit was assigned: makes the supervisor check it in time.
    pub(super) fn watch_deadline(&self, timeout: Duration) {
        let due = clock::now().saturating_add((timeout + GRACE).as_nanos() as u64);
        // Before that, the supervisor must check whether this process was stopped.
        let tick = clock::after(TICK * 2);
        if due.min(tick) < self.0.wake_at.load(Ordering::SeqCst) {
            self.0.event_fd.notify();
        }
    }

    /// Stops all workers. Waits until they are stopped, for at most [`PAUSE_LIMIT`].
    pub(super) fn pause(&self) {
        let (done, paused) = crossbeam_channel::bounded(0);
        self.tell(SupervisorEvent::Pause { done });
        let _ = paused.recv_timeout(PAUSE_LIMIT);
    }

    /// Waits until all workers are ready, or the start has failed.
    pub(super) fn started(&self) -> Result<(), Arc<PoolError>> {
        let _ = self.0.started.recv();
        let record = self.0.record();
        match (&record.gave_up, record.startup) {
            (Some(error), _) => Err(Arc::clone(error)),
            (None, Some(_)) => Ok(()),
            // The supervisor has panicked, or the pool was closed.
            (None, None) => {
                Err(Arc::new(PoolError::Refused { reason: "its supervisor left".into() }))
            }
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let record = self.0.record();
        PoolStatus {
            startup: record.startup.unwrap_or_default(),
            restarts: record.restarts,
            gave_up: record.gave_up.clone(),
        }
    }
}

impl ControlBlock {
    pub(super) fn record(&self) -> MutexGuard<'_, SupervisorStatus> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
