//! One worker process as its keeper sees it.

use std::thread::JoinHandle;
use std::time::Duration;

use brigade_ipc::{Doorstep, Refusal, StatusPage};
use brigade_proto::{JobId, Nanos};
use brigade_sys::clock;
use brigade_sys::process::{Child, Reaped, describe};
use brigade_sys::usage::Usage;

use super::crew::Why;
use super::spawn::{Started, Words};
use crate::PoolError;

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
    /// What it did wrong, in words that fit after "worker".
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
        self.deadline = Some(clock::after(limit));
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
        } else if self.link_over && self.why.is_none() {
            self.offence.get_or_insert_with(|| "closed its channel and did not exit".to_owned());
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
        self.give_up_link = clock::after(link_limit);
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
        let how = self.offence.clone().unwrap_or_else(|| describe(reaped.status));
        Some(Ended { how, reaped, early: self.page.is_none() })
    }

    /// Why it was never ready.
    pub(super) fn start_error(&self, how: &str, limit: Duration) -> PoolError {
        match &self.refusal {
            _ if self.late => PoolError::StartTimeout { after: limit },
            Some(Refusal::Mismatch(reason) | Refusal::Nonsense(reason)) => {
                PoolError::Refused { reason: reason.clone() }
            }
            _ => PoolError::DiedEarly { death: how.to_owned(), stderr: self.words.tail() },
        }
    }
}
