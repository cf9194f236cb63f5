//! How a lane gets its worker, and what follows from a worker's death.

use std::sync::Arc;
use std::time::Duration;

use brigade_proto::{JobId, Nanos};
use brigade_sys::{clock, random, usage};

use super::hire::{self, Hired};
use super::shortage;
use super::watch::{Seat, Watch};
use crate::PoolError;
use crate::processes::crew::{self, Death, Next, Why};
use crate::processes::kid::{Ended, Kid};
use crate::processes::life::Cause;
use crate::processes::spawn::{StartFailure, Started};

impl Watch {
    /// Whether a worker is one of those that the pool began with.
    fn is_first(&self, tenure: u64) -> bool {
        tenure <= self.seats.len() as u64
    }

    /// Whether one of those, in another lane, is still to be let in.
    fn is_another_first_one_starting(&self, lane: usize) -> bool {
        let mut others = self.seats.iter().enumerate().filter(|(other, _)| *other != lane);
        others.any(|(_, seat)| match seat {
            Seat::Asked(tenure, _) => self.is_first(*tenure),
            Seat::Taken(kid) => self.is_first(kid.tenure) && kid.life.is_starting(),
            Seat::Due(_) | Seat::Empty => false,
        })
    }

    /// Starts a worker in a lane.
    pub(super) fn hire(&mut self, lane: usize) {
        self.tenures += 1;
        let tenure = self.tenures;
        match self.agency.hire(&self.facts, lane, tenure, self.unable[lane].template) {
            Ok(Hired::Now(kid)) => self.seat(lane, kid),
            Ok(Hired::Later(invitation)) => self.seats[lane] = Seat::Asked(tenure, invitation),
            Err(error) => self.go_without(lane, tenure, error.into()),
        }
    }

    /// The fork server has answered. If nobody waits for its worker any more, that is killed.
    pub(super) fn on_forked(
        &mut self,
        lane: usize,
        tenure: u64,
        started: Result<Box<Started>, StartFailure>,
    ) {
        let asked = std::mem::replace(&mut self.seats[lane], Seat::Empty);
        let invitation = match asked {
            Seat::Asked(asked, invitation) if asked == tenure => invitation,
            other => {
                self.seats[lane] = other;
                return;
            }
        };
        match started {
            Ok(started) => {
                self.seat(lane, hire::employ(&self.facts, tenure, invitation, *started));
                // It may have been faster than this news of it.
                self.know_strangers();
            }
            Err(failure) => self.go_without(lane, tenure, failure),
        }
    }

    fn seat(&mut self, lane: usize, kid: Box<Kid>) {
        if !self.is_first(kid.tenure) {
            self.desk().record().restarts += 1;
        }
        tracing::debug!(worker = lane, pid = kid.pid, "worker started");
        self.seats[lane] = Seat::Taken(kid);
    }

    /// A worker cannot be started.
    fn go_without(&mut self, lane: usize, tenure: u64, failure: StartFailure) {
        let StartFailure { error, from_outside } = failure;
        self.seats[lane] = Seat::Empty;
        if !self.has_served && !from_outside && self.ends_the_start(lane, tenure, &error) {
            self.give_up(error);
            return;
        }
        let how = format!("could not be started: {error}");
        let is_short = shortage::is_short(&error);
        let death = Death { how, worker: tenure, is_short, ..Death::default() };
        self.unable[lane].times += u32::from(!from_outside);
        self.replace(lane, death, Some(error));
    }

    /// Whether a start that failed ends a pool of which no worker has been ready. A process that died
    /// is started once more: something that passes may have been the reason. A program that cannot
    /// be started, is late or is refused would be so again.
    fn ends_the_start(&self, lane: usize, tenure: u64, error: &PoolError) -> bool {
        let may_pass =
            matches!(error, PoolError::DiedEarly { .. } | PoolError::ForkServerDied { .. });
        self.unable[lane].times > 0 || (self.is_first(tenure) && !may_pass)
    }

    /// Draws the conclusions when a worker is dead and its link has ended.
    pub(super) fn settle(&mut self, lane: usize) {
        let may_start = self.has_served || self.is_another_first_one_starting(lane);
        let Seat::Taken(kid) = &mut self.seats[lane] else {
            return;
        };
        let now = clock::now();
        if kid.has_ended(now)
            && let Some(offence) = self.facts.crew.offence(lane, kid.tenure)
        {
            // The news of it may still be on its way, and would find the seat empty.
            kid.life.learn(Cause::Offence(Some(offence)));
        }
        let Some(ended) = kid.ended(now) else {
            return;
        };
        let Ended { mut how, reaped, early } = ended;
        let was_oom_killed = kid.was_killed_by_nobody() && self.oom_kills.account_for(now);
        if was_oom_killed {
            how = OOM_KILLED.to_owned();
        }
        let is_short = was_oom_killed || kid.was_refused_for_shortage();
        let left = self.facts.crew.is_leaving(lane) && reaped.status.success();
        let why = kid.why().cloned().or_else(|| left.then_some(Why::Leaving));
        let why = why.or_else(|| kid.limit(&self.facts.config));
        // Who was not listened to is not to blame.
        let current: Option<(JobId, Option<Nanos>)> = kid.current().filter(|_| kid.was_let_in());
        let is_stillborn = early && why.is_none();
        let start_error =
            is_stillborn.then(|| kid.start_error(&how, self.facts.config.start_deadline));
        let was_struck_down = kid.was_struck_down();
        let may_be_doomed = !was_struck_down && !may_start;
        let is_unable = !kid.was_let_in() && why.is_none() && !was_struck_down;
        let (pid, worker, template) = (kid.pid, kid.tenure, kid.template);
        let last_words = kid.words.tail();
        self.seats[lane] = Seat::Empty;
        if matches!(why, None | Some(Why::Limit(..))) {
            tracing::warn!(worker = lane, pid, "worker {how}");
        } else {
            tracing::debug!(worker = lane, pid, "worker {how}");
        }
        let start_error = match start_error {
            Some(error) if may_be_doomed && self.ends_the_start(lane, worker, &error) => {
                self.give_up(error);
                return;
            }
            start_error => start_error,
        };
        // One that the kernel has ended had no job to give the memory back with: not at once again.
        let unable = &mut self.unable[lane];
        unable.times += u32::from(is_unable || (is_short && current.is_none()));
        // Nothing that it was given to do is the reason: what it was forked from may be.
        let ended_by_itself = current.is_none() && why.is_none() && !was_struck_down;
        unable.template = template.filter(|_| ended_by_itself);
        let death = Death {
            worker,
            is_short,
            youngest: 0,
            how,
            why,
            current,
            last_words,
            cpu_ns: reaped.cpu_ns(),
            peak_rss_bytes: own_peak(reaped.usage.peak_rss_bytes),
        };
        self.replace(lane, death, start_error);
    }

    /// Has a dead worker replaced. `start_error`: it was never ready, and why.
    fn replace(&mut self, lane: usize, mut death: Death, start_error: Option<PoolError>) {
        death.youngest = self.tenures;
        match self.facts.crew.lost(lane, &death) {
            Next::Restart(pause) if !self.leaving => {
                // If others get work done, a lane in which no worker starts goes on trying,
                // not too often.
                let pause = pause.max(crew::pause(self.unable[lane].times));
                self.seats[lane] = Seat::Due(clock::after(jitter(pause)));
                // Seen to before the next sleep.
                self.desk().bell.ring();
            }
            Next::Restart(_) | Next::Leave => {}
            Next::GiveUp { deaths } => {
                let death = death.how;
                tracing::error!(deaths, "no progress: the pool gives up; the last worker {death}");
                let no_progress = PoolError::NoProgress { deaths, death };
                // Who waits for the start hears what is wrong with it.
                let start_error = start_error.filter(|_| self.starting.is_some());
                self.give_up(start_error.unwrap_or(no_progress));
            }
        }
    }

    pub(super) fn give_up(&mut self, error: PoolError) {
        let error = Arc::new(error);
        // First, so that whoever hears that a job is given up finds the reason. The
        // first reason: what is killed now ends for another.
        self.desk().record().gave_up.get_or_insert(Arc::clone(&error));
        self.starting = None;
        self.facts.crew.give_up(&error);
        self.kill_all();
    }
}

/// How a worker ended that the kernel chose.
const OOM_KILLED: &str = "killed by SIGKILL: by the kernel, as there was no memory left; fewer \
                          --workers or smaller jobs need less";

/// Between half of a pause and all of it, so that workers that died together do not
/// come back together.
fn jitter(pause: Duration) -> Duration {
    let dice = random::nonce().unwrap_or(u128::MAX) as u32;
    pause.mul_f64(0.5 + 0.5 * f64::from(dice) / f64::from(u32::MAX))
}

/// A dead worker's largest resident set, if that is known: what is told of a dead child is
/// this process's own, unless the child's was larger.
fn own_peak(told: u64) -> u64 {
    if told > usage::peak_rss_bytes() { told } else { 0 }
}
