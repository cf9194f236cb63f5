//! One worker process as its supervisor sees it.

use std::os::unix::process::ExitStatusExt;
use std::thread::JoinHandle;
use std::time::Duration;

use brigade_ipc::{BootstrapToken, PendingConnection, Refusal, StatusPage};
use brigade_proto::{JobError, JobId, Nanos};
use brigade_sys::process::{self, Child, Reaped, describe, describe_unasked};
use brigade_sys::usage::Usage;
use brigade_sys::{clock, limits};

use super::dispatcher::KillReason;
use super::heartbeat::Heartbeat;
use super::lifecycle::{Cause, Lifecycle};
use super::spawn::{Started, Words};
use crate::error::telling_line;
use crate::{PoolConfig, PoolError};

/// A worker process, from its start until it is reaped and its link has ended.
pub(super) struct WorkerProcess {
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) life: Lifecycle,
    /// Until it is reaped.
    pub(super) child: Option<Child>,
    pub(super) words: Words,
    /// The number of the fork server that it was forked from.
    pub(super) fork_server: Option<u32>,
    /// Whether it takes up what it is given.
    pub(super) heartbeat: Heartbeat,
    /// What it shows that it is the one that was started.
    pub(super) token: BootstrapToken,
    /// Its connection, from when it has connected until it has said who it is.
    pub(super) caller: Option<PendingConnection>,
    /// What it is doing; since it has shaken hands.
    page: Option<StatusPage>,
    /// Since it was admitted.
    link: Option<JoinHandle<()>>,
    was_admitted: bool,
    /// It was stopped when its time was over.
    was_stopped: bool,
    /// Since when it is dead and could not be reaped.
    held: Option<Nanos>,
    reaped: Option<Reaped>,
}

const SIGKILL: i32 = 9;

/// What is made of a death of which nobody tells: it was killed.
const UNKNOWN_DEATH: i32 = SIGKILL;

/// A worker that is no more.
pub(super) struct Ended {
    /// In words that fit after "worker".
    pub(super) how: String,
    pub(super) reaped: Reaped,
    /// It has not even shaken hands.
    pub(super) early: bool,
}

impl WorkerProcess {
    pub(super) fn new(
        started: Started,
        generation: u64,
        token: BootstrapToken,
        deadline: Nanos,
    ) -> Self {
        Self {
            generation,
            pid: started.child.pid(),
            life: Lifecycle::begin(deadline),
            child: Some(started.child),
            words: started.words,
            fork_server: started.fork_server,
            heartbeat: Heartbeat::default(),
            token,
            caller: None,
            page: None,
            link: None,
            was_admitted: false,
            was_stopped: false,
            held: None,
            reaped: None,
        }
    }

    /// It has shaken hands.
    pub(super) fn complete_handshake(&mut self, page: StatusPage) {
        self.page = Some(page);
    }

    /// It is listened to.
    pub(super) fn admit(&mut self, link: JoinHandle<()>) {
        self.link = Some(link);
        self.heartbeat = Heartbeat::begin(clock::now());
        self.was_admitted = true;
        self.life.admit();
    }

    /// Whether it is the process of this id that has connected, and was awaited.
    pub(super) fn is_expected(&self, pid: u32) -> bool {
        self.pid == pid && self.child.is_some() && self.caller.is_none() && self.life.is_starting()
    }

    /// Whether it has ever shaken hands.
    pub(super) fn has_handshaken(&self) -> bool {
        self.page.is_some()
    }

    /// Whether it was ever listened to.
    pub(super) fn was_admitted(&self) -> bool {
        self.was_admitted
    }

    /// The job that it has, or at its death had, in hand, and when its kernel was called.
    pub(super) fn current(&self) -> Option<(JobId, Option<Nanos>)> {
        self.page.as_ref().and_then(StatusPage::current)
    }

    /// Kills it and its process group.
    pub(super) fn kill(&mut self, cause: Cause) {
        self.life.kill(cause);
        if let Some(child) = &self.child {
            child.kill_group();
        }
    }

    /// Stops it and its process group until [`WorkerProcess::go_on`].
    pub(super) fn stop(&self) {
        self.child.iter().for_each(Child::stop_group);
    }

    /// Has it and its process group go on.
    pub(super) fn go_on(&self) {
        self.child.iter().for_each(Child::continue_group);
    }

    /// Kills it for a reason that is not its own fault.
    pub(super) fn end(&mut self, why: KillReason) {
        self.kill(Cause::Deliberate(why));
    }

    /// Kills it unless it has gone by itself after so long.
    pub(super) fn leave_within(&mut self, limit: Duration) {
        self.life.leave_by(clock::after(limit));
    }

    /// Kills it if its time is over; returns when to look again.
    pub(super) fn keep_deadline(&mut self, now: Nanos) -> Option<Nanos> {
        if self.life.look(now)
            && let Some(child) = &self.child
        {
            self.was_stopped = process::is_stopped(self.pid);
            child.kill_group();
        }
        self.life.due()
    }

    /// Why it ended, if that was deliberate.
    pub(super) fn why(&self) -> Option<&KillReason> {
        match self.life.cause() {
            Some(Cause::Deliberate(why)) => Some(why),
            _ => None,
        }
    }

    /// Its pidfd says that it has ended: takes its last words and its remains. A tracer may hold
    /// these: nobody waits for it, the supervisor looks again ([`WorkerProcess::is_held`]).
    pub(super) fn reap(&mut self, link_limit: Duration) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.words.listen();
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
                // Somebody else in this process waits for any child. It is dead; how it died
                // is lost.
                tracing::error!(pid = self.pid, %error, "worker was reaped by somebody else");
                lost(0)
            }
        };
        self.reaped = Some(reaped);
        self.life.reaped(clock::after(link_limit));
        if self.link.is_none() {
            // Nobody listens to it.
            self.caller = None;
            self.life.channel_drained();
        }
    }

    /// Whether it is dead and a tracer holds it, so that it has to be looked at again.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some() && self.child.is_some()
    }

    /// Whether it is dead, and everything that it said over the control channel has been heard.
    pub(super) fn has_ended(&self, now: Nanos) -> bool {
        self.reaped.is_some() && self.life.is_over(now)
    }

    /// Its end, once it is dead and everything that it said has been heard.
    pub(super) fn ended(&mut self, now: Nanos) -> Option<Ended> {
        let reaped = self.reaped.filter(|_| self.life.is_over(now))?;
        if !self.life.was_drained() {
            tracing::warn!(
                pid = self.pid,
                "a dead worker's socket is held open by another process"
            );
        } else if let Some(link) = self.link.take() {
            // Its last act was to say that it is over.
            let _ = link.join();
        }
        let how = match self.life.cause() {
            // It died of the same fault, before it could be killed for it.
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
        // It has given up by itself, without a job, and said why: its set-up has failed.
        let said = telling_line(&self.words.tail()).filter(|_| {
            self.has_handshaken()
                && self.life.cause().is_none_or(|cause| matches!(cause, Cause::Lingered))
                && self.current().is_none()
                && reaped.status.code().is_some_and(|code| code != 0)
        });
        let how = said.map_or(how.clone(), |said| format!("{how}; it said: {said}"));
        Some(Ended { how, reaped, early: !self.has_handshaken() })
    }

    /// The limit that the job in hand ran into, if that is how it ended.
    pub(super) fn limit(&self, config: &PoolConfig) -> Option<KillReason> {
        let (job, _) = self.current()?;
        let status = self.reaped?.status;
        let memory = config
            .memory_limit
            .filter(|_| limits::ran_out_of_memory(status, &self.words.tail()))
            .map(|limit| JobError::MemoryLimit { limit });
        let cpu = config
            .cpu_limit
            .filter(|_| limits::ran_out_of_time(status))
            .map(|limit| JobError::CpuLimit { limit });
        Some(KillReason::Limit(job, memory.or(cpu)?))
    }

    /// Whether a signal has ended or stopped it that it does not send to itself: somebody was rid
    /// of it, or the kernel of its memory.
    pub(super) fn was_struck_down(&self) -> bool {
        let signal = self.reaped.and_then(|reaped| reaped.status.signal());
        let was_killed = signal.is_some_and(process::comes_from_outside);
        self.was_stopped || (self.life.cause().is_none() && was_killed)
    }

    /// Whether it ended by SIGKILL, which nobody in this process has sent.
    pub(super) fn was_killed_by_nobody(&self) -> bool {
        let signal = self.reaped.and_then(|reaped| reaped.status.signal());
        self.life.cause().is_none() && signal == Some(SIGKILL)
    }

    /// Whether it was sent away as there was no memory, or no descriptor, to serve it.
    pub(super) fn was_refused_for_shortage(&self) -> bool {
        matches!(self.life.cause(), Some(Cause::Refused(Refusal::Shortage(_))))
    }

    /// Why it was never ready.
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
            _ => PoolError::DiedEarly { death: how.to_owned(), stderr: self.words.tail() },
        }
    }
}
