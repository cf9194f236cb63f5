//! A worker process as the supervisor sees it.

use std::os::unix::process::ExitStatusExt;
use std::thread::JoinHandle;
use std::time::Duration;

use brigade_ipc::{BootstrapToken, PendingConnection, Refusal, StatusPage};
use brigade_proto::{JobError, JobId, Nanos};
use brigade_sys::process::{self, Child, Reaped, describe, describe_unasked};
use brigade_sys::usage::Usage;
use brigade_sys::{clock, limits};

use super::heartbeat::Heartbeat;
use super::lifecycle::{Cause, Lifecycle};
use super::spawn::{CapturedOutput, StartedProcess};
use super::worker_exit::KillReason;
use crate::error::telling_line;
use crate::{PoolConfig, PoolError};

/// A worker process, from its start until it is reaped and its control reader has ended.
pub(super) struct WorkerProcess {
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) life: Lifecycle,
    /// Set until the process is reaped.
    pub(super) child: Option<Child>,
    pub(super) output: CapturedOutput,
    /// The number of the fork server that forked it, if one did.
    pub(super) fork_server: Option<u32>,
    /// Checks whether the worker takes up the jobs that it was given.
    pub(super) heartbeat: Heartbeat,
    /// Proves that a connecting process is the worker that was started.
    pub(super) token: BootstrapToken,
    /// The worker's connection, from when it connects until its greeting has arrived.
    pub(super) connection: Option<PendingConnection>,
    /// What the worker is doing. Set when the handshake is complete.
    page: Option<StatusPage>,
    /// The control reader's thread. Set when the worker is admitted.
    link: Option<JoinHandle<()>>,
    was_admitted: bool,
    /// Whether the worker was stopped when its deadline passed.
    was_stopped: bool,
    /// Since when the process is dead and could not be reaped.
    held: Option<Nanos>,
    reaped: Option<Reaped>,
}

const SIGKILL: i32 = 9;

/// The signal assumed for a death whose wait status a tracer withholds.
const UNKNOWN_DEATH: i32 = SIGKILL;

/// How a worker ended.
pub(super) struct ProcessExit {
    /// In words that fit after "worker".
    pub(super) how: String,
    pub(super) reaped: Reaped,
    /// Whether the worker ended before it had completed the handshake.
    pub(super) early: bool,
}

impl WorkerProcess {
    pub(super) fn new(
        started: StartedProcess,
        generation: u64,
        token: BootstrapToken,
        deadline: Nanos,
    ) -> Self {
        Self {
            generation,
            pid: started.child.pid(),
            life: Lifecycle::begin(deadline),
            child: Some(started.child),
            output: started.output,
            fork_server: started.fork_server,
            heartbeat: Heartbeat::default(),
            token,
            connection: None,
            page: None,
            link: None,
            was_admitted: false,
            was_stopped: false,
            held: None,
            reaped: None,
        }
    }

    pub(super) fn complete_handshake(&mut self, page: StatusPage) {
        self.page = Some(page);
    }

    /// Admits the worker: its control reader has started.
    pub(super) fn admit(&mut self, link: JoinHandle<()>) {
        self.link = Some(link);
        self.heartbeat = Heartbeat::begin(clock::now());
        self.was_admitted = true;
        self.life.admit();
    }

    /// Whether the process with this id is this worker and may connect: it has not connected
    /// before.
    pub(super) fn is_expected(&self, pid: u32) -> bool {
        self.pid == pid
            && self.child.is_some()
            && self.connection.is_none()
            && self.life.is_starting()
    }

    pub(super) fn has_handshaken(&self) -> bool {
        self.page.is_some()
    }

    /// Whether the worker ever had a control reader.
    pub(super) fn was_admitted(&self) -> bool {
        self.was_admitted
    }

    /// The job that the worker has in hand (or had when it died), and when its kernel was called.
    pub(super) fn current(&self) -> Option<(JobId, Option<Nanos>)> {
        self.page.as_ref().and_then(StatusPage::current)
    }

    /// Kills the worker and its process group.
    pub(super) fn kill(&mut self, cause: Cause) {
        self.life.kill(cause);
        if let Some(child) = &self.child {
            child.kill_group();
        }
    }

    /// Stops the worker and its process group, until [`WorkerProcess::go_on`].
    pub(super) fn stop(&self) {
        self.child.iter().for_each(Child::stop_group);
    }

    /// Continues the worker and its process group.
    pub(super) fn go_on(&self) {
        self.child.iter().for_each(Child::continue_group);
    }

    /// Kills the worker for a reason that is not its own fault.
    pub(super) fn end(&mut self, why: KillReason) {
        self.kill(Cause::Deliberate(why));
    }

    /// The supervisor kills the worker if it has not exited after this time.
    pub(super) fn leave_within(&mut self, limit: Duration) {
        self.life.leave_by(clock::after(limit));
    }

    /// Kills the worker if its deadline has passed. Returns the next deadline.
    pub(super) fn keep_deadline(&mut self, now: Nanos) -> Option<Nanos> {
        if self.life.look(now)
            && let Some(child) = &self.child
        {
            self.was_stopped = process::is_stopped(self.pid);
            child.kill_group();
        }
        self.life.due()
    }

    /// Why this process ended the worker, if that was deliberate.
    pub(super) fn why(&self) -> Option<&KillReason> {
        match self.life.cause() {
            Some(Cause::Deliberate(why)) => Some(why),
            _ => None,
        }
    }

    /// The pidfd says that the worker has ended: reads its last output and reaps it. If a tracer
    /// holds the dead process, this does not wait; the supervisor checks again
    /// ([`WorkerProcess::is_held`]).
    pub(super) fn reap(&mut self, link_limit: Duration) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.output.read();
        let lost =
            |status| Reaped { status: ExitStatusExt::from_raw(status), usage: Usage::default() };
        let reaped = match child.try_reap() {
            Ok(Some(reaped)) => reaped,
            Ok(None) => {
                let since = *self.held.get_or_insert_with(clock::now);
                if clock::since(since) < process::HELD_LIMIT {
                    self.child = Some(child);
                    return;
                }
                tracing::warn!(pid = self.pid, "worker is dead, and a tracer holds it");
                child.abandon();
                lost(UNKNOWN_DEATH)
            }
            Err(error) => {
                // Other code in this process waits for any child. The worker is dead, but how it
                // died is lost.
                tracing::error!(pid = self.pid, %error, "worker was reaped by somebody else");
                lost(0)
            }
        };
        self.reaped = Some(reaped);
        self.life.reaped(clock::after(link_limit));
        if self.link.is_none() {
            // The worker has no control reader, so there is nothing to drain.
            self.connection = None;
            self.life.channel_drained();
        }
    }

    /// Whether the worker is dead and held by a tracer, so that the supervisor must check it again.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some() && self.child.is_some()
    }

    /// Whether the worker is reaped, and its control channel is drained or the drain deadline has
    /// passed.
    pub(super) fn has_ended(&self, now: Nanos) -> bool {
        self.reaped.is_some() && self.life.is_over(now)
    }

    /// How the worker ended, once [`WorkerProcess::has_ended`].
    pub(super) fn ended(&mut self, now: Nanos) -> Option<ProcessExit> {
        let reaped = self.reaped.filter(|_| self.life.is_over(now))?;
        if !self.life.was_drained() {
            tracing::warn!(
                pid = self.pid,
                "a dead worker's socket is held open by another process"
            );
        } else if let Some(link) = self.link.take() {
            // The control reader's last act was to report its end, so this does not block.
            let _ = link.join();
        }
        let how = match self.life.cause() {
            // The worker died of the same fault before the supervisor could kill it for that.
            Some(Cause::Violation(Some(what))) if reaped.status.signal() != Some(SIGKILL) => {
                format!("{what}; {}", describe(reaped.status))
            }
            Some(Cause::Violation(Some(what))) => what.clone(),
            Some(Cause::Lingered) if self.life.was_drained() => {
                "closed its channel and did not exit".to_owned()
            }
            Some(Cause::Hung(limit)) => {
                format!("was stopped, or did not take up a job, for {limit:?} (--heartbeat)")
            }
            Some(Cause::Refused(Refusal::Shortage(why))) => {
                format!("was given up, as there is {why}")
            }
            Some(_) => describe(reaped.status),
            None => describe_unasked(reaped.status),
        };
        // The worker exited with an error by itself, without a job, and said why: its set-up has
        // failed.
        let said = telling_line(&self.output.tail()).filter(|_| {
            self.has_handshaken()
                && self.life.cause().is_none_or(|cause| matches!(cause, Cause::Lingered))
                && self.current().is_none()
                && reaped.status.code().is_some_and(|code| code != 0)
        });
        let how = said.map_or(how.clone(), |said| format!("{how}; it said: {said}"));
        Some(ProcessExit { how, reaped, early: !self.has_handshaken() })
    }

    /// The limit that the job in hand ran into, if that is how the worker ended.
    pub(super) fn limit(&self, config: &PoolConfig) -> Option<KillReason> {
        let (job, _) = self.current()?;
        let status = self.reaped?.status;
        let memory = config
            .memory_limit
            .filter(|_| limits::ran_out_of_memory(status, &self.output.tail()))
            .map(|limit| JobError::MemoryLimit { limit });
        let cpu = config
            .cpu_limit
            .filter(|_| limits::ran_out_of_time(status))
            .map(|limit| JobError::CpuLimit { limit });
        Some(KillReason::Limit(job, memory.or(cpu)?))
    }

    /// Whether the worker was ended from outside: killed by an external signal or by the OOM
    /// killer, or stopped by a signal until its deadline passed.
    pub(super) fn was_struck_down(&self) -> bool {
        let signal = self.reaped.and_then(|reaped| reaped.status.signal());
        let was_killed = signal.is_some_and(process::comes_from_outside);
        self.was_stopped || (self.life.cause().is_none() && was_killed)
    }

    /// Whether the worker ended by a SIGKILL that this process did not send.
    pub(super) fn was_killed_by_nobody(&self) -> bool {
        let signal = self.reaped.and_then(|reaped| reaped.status.signal());
        self.life.cause().is_none() && signal == Some(SIGKILL)
    }

    /// Whether the supervisor refused the worker because it had no memory or descriptor to serve
    /// it.
    pub(super) fn was_refused_for_shortage(&self) -> bool {
        matches!(self.life.cause(), Some(Cause::Refused(Refusal::Shortage(_))))
    }

    /// The error that says why the worker was never ready.
    pub(super) fn start_error(&self, how: &str, limit: Duration) -> PoolError {
        match self.life.cause() {
            Some(Cause::Late) => PoolError::StartTimeout { after: limit },
            Some(Cause::Refused(Refusal::Mismatch(reason) | Refusal::Nonsense(reason))) => {
                PoolError::Refused { reason: reason.clone() }
            }
            Some(Cause::Refused(Refusal::Shortage(why))) => PoolError::Setup {
                what: "what a worker is reached by".to_owned(),
                source: std::io::Error::other(why.clone()),
            },
            _ => PoolError::DiedEarly { death: how.to_owned(), stderr: self.output.tail() },
        }
    }
}
