//! One worker process as its keeper sees it.

use std::thread::JoinHandle;
use std::time::Duration;

use brigade_ipc::{Doorstep, Refusal, StatusPage};
use brigade_proto::{JobError, JobId, Nanos};
use brigade_sys::process::{Child, Reaped, describe, describe_unasked};
use brigade_sys::usage::Usage;
use brigade_sys::{clock, limits};

use super::crew::Why;
use super::spawn::{Started, Words};
use crate::{PoolConfig, PoolError};

/// A worker process, from its start until it is reaped and its link has ended.
pub(super) struct Kid {
    pub(super) tenure: u64,
    pub(super) pid: u32,
    /// Until it is reaped.
    pub(super) child: Option<Child>,
    pub(super) words: Words,
    /// Where its link may have to be freed; until it was let in.
    pub(super) doorstep: Option<Doorstep>,
    /// What it is doing; since it was let in.
    pub(super) page: Option<StatusPage>,
    /// When it has to have shaken hands, or to have gone.
    pub(super) deadline: Option<Nanos>,
    /// Why it was ended, if it was.
    pub(super) why: Option<Why>,
    /// It missed the deadline of its handshake.
    late: bool,
    /// It was killed.
    killed: bool,
    pub(super) link_over: bool,
    pub(super) refusal: Option<Refusal>,
    /// What it did wrong.
    pub(super) offence: Option<String>,
    link: Option<JoinHandle<()>>,
    reaped: Option<Reaped>,
    /// When a link that does not end is given up.
    give_up_link: Nanos,
}

/// A worker that is no more.
pub(super) struct Ended {
    /// In words that fit after "worker".
    pub(super) how: String,
    pub(super) reaped: Reaped,
    /// It was never let in.
    pub(super) early: bool,
}

impl Kid {
    pub(super) fn new(
        started: Started,
        tenure: u64,
        doorstep: Doorstep,
        deadline: Nanos,
        link: JoinHandle<()>,
    ) -> Self {
        Self {
            tenure,
            pid: started.child.pid(),
            child: Some(started.child),
            words: started.words,
            doorstep: Some(doorstep),
            page: None,
            deadline: Some(deadline),
            why: None,
            late: false,
            killed: false,
            link_over: false,
            refusal: None,
            offence: None,
            link: Some(link),
            reaped: None,
            give_up_link: 0,
        }
    }

    /// It is ready: its start has no deadline any more.
    pub(super) fn let_in(&mut self, page: StatusPage) {
        self.page = Some(page);
        self.doorstep = None;
        // A killed one still has to die in time.
        if !self.is_ending() {
            self.deadline = None;
        }
    }

    /// The job that it has, or at its death had, in hand.
    pub(super) fn current(&self) -> Option<(JobId, Option<Nanos>)> {
        self.page.as_ref().and_then(StatusPage::current)
    }

    /// Whether its end has begun.
    pub(super) fn is_ending(&self) -> bool {
        self.killed || self.child.is_none()
    }

    pub(super) fn kill(&mut self) {
        if let Some(child) = &self.child {
            child.kill_group();
        }
        self.killed = true;
    }

    /// Kills it for a reason that is not its own fault.
    pub(super) fn end(&mut self, why: Why) {
        if !self.is_ending() {
            self.why = Some(why);
        }
        self.kill();
    }

    /// Kills it unless it has gone by itself by then.
    pub(super) fn kill_after(&mut self, limit: Duration) {
        self.deadline = Some(clock::now() + limit.as_nanos() as u64);
    }

    /// Kills it if its time is over; returns when that will be.
    pub(super) fn keep_deadline(&mut self, now: Nanos) -> Option<Nanos> {
        if self.child.is_none() {
            return Some(self.give_up_link);
        }
        let at = self.deadline?;
        if at > now {
            return Some(at);
        }
        self.deadline = None;
        if self.page.is_none() {
            self.late = true;
        }
        self.kill();
        None
    }

    /// Its pidfd says that it has ended: takes its last words and its remains.
    pub(super) fn bury(&mut self, link_limit: Duration) {
        let Some(child) = self.child.take() else {
            return;
        };
        self.words.listen();
        match child.reap() {
            Ok(reaped) => self.reaped = Some(reaped),
            // Somebody else in this process waits for any child. It is dead; how
            // it died is lost.
            Err(error) => {
                tracing::error!(pid = self.pid, %error, "worker was reaped by somebody else");
                self.reaped = Some(Reaped {
                    status: std::os::unix::process::ExitStatusExt::from_raw(0),
                    usage: Usage::default(),
                });
            }
        }
        self.give_up_link = clock::now() + link_limit.as_nanos() as u64;
        if let Some(doorstep) = self.doorstep.take() {
            doorstep.abort();
        }
    }

    /// Its end, once it is dead and everything that it said has been heard.
    pub(super) fn ended(&mut self, now: Nanos) -> Option<Ended> {
        let reaped = self.reaped?;
        if self.link_over {
            if let Some(link) = self.link.take() {
                // Its last act was to say that it is over.
                let _ = link.join();
            }
        } else if now < self.give_up_link {
            return None;
        } else {
            tracing::warn!(
                pid = self.pid,
                "a dead worker's socket is held open by another process"
            );
        }
        let how = match &self.offence {
            Some(offence) => format!("broke the protocol: {offence}"),
            None if let Some(Refusal::Shortage(why)) = &self.refusal => {
                format!("was given up, as there is no shared memory for it: {why}")
            }
            None if self.killed => describe(reaped.status),
            None => describe_unasked(reaped.status),
        };
        Some(Ended { how, reaped, early: self.page.is_none() })
    }

    /// The limit that the job in hand ran into, if that is how it ended.
    pub(super) fn limit(&self, config: &PoolConfig) -> Option<Why> {
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
        Some(Why::Limit(job, memory.or(cpu)?))
    }

    /// Why it was never ready.
    pub(super) fn start_error(&self, how: &str, limit: Duration) -> PoolError {
        match &self.refusal {
            _ if self.late => PoolError::StartTimeout { after: limit },
            Some(Refusal::Mismatch(reason)) => PoolError::Refused { reason: reason.clone() },
            Some(Refusal::Shortage(why)) => PoolError::Setup {
                what: "shared memory for a worker".to_owned(),
                source: std::io::Error::other(why.clone()),
            },
            _ => PoolError::DiedEarly { death: how.to_owned(), stderr: self.words.tail() },
        }
    }
}
