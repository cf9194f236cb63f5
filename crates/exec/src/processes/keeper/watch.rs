//! The keeper's loop. It sleeps in `poll` on the workers' pidfds, what they print, and
//! its own bell, until the next deadline, and looks now and then whether workers take up
//! what they are given.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use brigade_ipc::StatusPage;
use brigade_proto::{JobId, Nanos};
use brigade_sys::bell::wait_readable;
use brigade_sys::{clock, process, random, usage};
use crossbeam_channel::{Receiver, Sender};

use super::hire::Agency;
use super::{Desk, Event, Facts, GRACE};
use crate::PoolError;
use crate::processes::crew::{Death, Next, TimeLimit, Why};
use crate::processes::kid::{Ended, Kid};
use crate::processes::life::Cause;
use crate::processes::pulse::{self, Beat};
use crate::ticket::Ticket;

/// How long a worker may take to exit once its link has closed.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// The same where nobody asked it to leave: it is probably dying already.
const DYING_LIMIT: Duration = Duration::from_millis(200);
/// How long a dead worker's link is waited for. Longer only if a process outside
/// the worker's group holds its sockets open.
const LINK_LIMIT: Duration = Duration::from_secs(2);

/// One lane's place.
enum Seat {
    Empty,
    /// To be filled then.
    Due(Nanos),
    Taken(Box<Kid>),
}

pub(super) struct Watch {
    facts: Facts,
    events: Receiver<Event>,
    seats: Vec<Seat>,
    agency: Agency,
    /// Workers started so far.
    tenures: u64,
    /// Until every lane has had a worker that was ready.
    starting: Option<Start>,
    /// No worker is replaced any more.
    leaving: bool,
    /// Because a thread of the pool has panicked.
    has_fallen: bool,
}

/// The pool's start, while it lasts.
struct Start {
    /// Dropped when it is over, which those who wait for it notice.
    _over: Sender<()>,
    /// Lanes that were never ready.
    missing: BTreeSet<usize>,
}

impl Watch {
    /// `over` is dropped when the start is over.
    pub(super) fn new(facts: Facts, events: Receiver<Event>, over: Sender<()>) -> Self {
        let lanes = facts.config.workers;
        Self {
            facts,
            events,
            seats: (0..lanes).map(|_| Seat::Empty).collect(),
            agency: Agency::default(),
            tenures: 0,
            starting: Some(Start { _over: over, missing: (0..lanes).collect() }),
            leaving: false,
            has_fallen: false,
        }
    }

    pub(super) fn run(mut self) {
        let now = clock::now();
        self.seats.iter_mut().for_each(|seat| *seat = Seat::Due(now));
        loop {
            self.hear_events();
            // Before the sleep: an end may have been the last thing heard.
            for lane in 0..self.seats.len() {
                self.settle(lane);
            }
            // Until the deadlines are known, every new one has to ring.
            self.desk().wake_at.store(u64::MAX, Ordering::SeqCst);
            let next = self.keep_deadlines();
            self.desk().wake_at.store(next.unwrap_or(u64::MAX - 1), Ordering::SeqCst);
            if self.leaving && self.seats.iter().all(|seat| matches!(seat, Seat::Empty)) {
                if self.has_fallen {
                    self.facts.crew.fall();
                }
                return;
            }
            self.sleep(next);
        }
    }

    fn desk(&self) -> &Desk {
        &self.facts.keeper.0
    }

    fn kid(&mut self, lane: usize, tenure: u64) -> Option<&mut Kid> {
        match &mut self.seats[lane] {
            Seat::Taken(kid) if kid.tenure == tenure => Some(kid),
            _ => None,
        }
    }

    fn hear_events(&mut self) {
        self.desk().bell.silence();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Ready { lane, tenure, page } => self.on_ready(lane, tenure, page),
                Event::Refused { lane, tenure, refusal } => {
                    if let Some(kid) = self.kid(lane, tenure) {
                        kid.life.heard_out();
                        kid.kill(Cause::Refused(refusal));
                    }
                }
                Event::Fallen { what } => {
                    self.give_up(PoolError::Panicked { what });
                    self.has_fallen = true;
                }
                Event::Offence { lane, tenure, what } => {
                    if let Some(kid) = self.kid(lane, tenure) {
                        kid.kill(Cause::Offence(what));
                    }
                }
                Event::LinkClosed { lane, tenure, offence } => {
                    let limit =
                        if self.facts.crew.is_leaving(lane) { EXIT_LIMIT } else { DYING_LIMIT };
                    if let Some(kid) = self.kid(lane, tenure) {
                        kid.life.heard_out();
                        if offence.is_some() {
                            kid.life.learn(Cause::Offence(offence));
                        }
                        kid.leave_within(limit);
                    }
                }
                Event::Cancel { lane, ticket } => self.on_cancel(lane, &ticket),
                Event::KillAll => self.kill_all(),
                Event::Close => {
                    self.leaving = true;
                    for seat in &mut self.seats {
                        match seat {
                            Seat::Taken(kid) if !kid.has_been_in() => kid.end(Why::Leaving),
                            Seat::Taken(kid) => kid.leave_within(EXIT_LIMIT),
                            Seat::Due(_) | Seat::Empty => *seat = Seat::Empty,
                        }
                    }
                }
            }
        }
    }

    fn on_ready(&mut self, lane: usize, tenure: u64, page: StatusPage) {
        let Some(kid) = self.kid(lane, tenure) else {
            return;
        };
        tracing::info!(worker = lane, pid = kid.pid, "worker is ready");
        kid.let_in(page);
        if let Some(start) = &mut self.starting {
            start.missing.remove(&lane);
            if start.missing.is_empty() {
                self.desk().record().startup = Some(clock::since(self.facts.begin));
                self.starting = None;
            }
        }
    }

    fn on_cancel(&mut self, lane: usize, ticket: &Ticket) {
        let Seat::Taken(kid) = &mut self.seats[lane] else {
            return;
        };
        match kid.current() {
            Some((job, _)) if job == ticket.id => kid.end(Why::Cancelled(job)),
            // It waits behind another one in the worker, which will compute it for
            // nobody: a job that was sent cannot be called back.
            _ => ticket.cancel_assigned(),
        }
    }

    fn kill_all(&mut self) {
        self.leaving = true;
        self.starting = None;
        for seat in &mut self.seats {
            match seat {
                Seat::Taken(kid) => kid.end(Why::Leaving),
                Seat::Due(_) | Seat::Empty => *seat = Seat::Empty,
            }
        }
    }

    /// Does what is due; returns when the next thing is.
    fn keep_deadlines(&mut self) -> Option<Nanos> {
        let now = clock::now();
        let mut next: Option<Nanos> = None;
        for lane in 0..self.seats.len() {
            let due = match &mut self.seats[lane] {
                Seat::Empty => None,
                Seat::Due(at) if *at > now => Some(*at),
                Seat::Due(_) => {
                    self.hire(lane);
                    match &self.seats[lane] {
                        Seat::Empty => None,
                        Seat::Due(at) => Some(*at),
                        Seat::Taken(kid) => kid.life.due(),
                    }
                }
                Seat::Taken(kid) => {
                    let work = kid.life.is_working().then(|| self.facts.mind(lane, kid, now));
                    [work.flatten(), kid.keep_deadline(now)].into_iter().flatten().min()
                }
            };
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    fn sleep(&mut self, until: Option<Nanos>) {
        let limit = until.map(|at| Duration::from_nanos(at.saturating_sub(clock::now())));
        let mut fds = vec![self.desk().bell.as_fd()];
        let mut sources = vec![];
        for (lane, seat) in self.seats.iter().enumerate() {
            let Seat::Taken(kid) = seat else { continue };
            if let Some(child) = &kid.child {
                fds.push(child.pidfd());
                sources.push((lane, Source::Life));
            }
            if let Some(fd) = kid.words.fd() {
                fds.push(fd);
                sources.push((lane, Source::Words));
            }
        }
        let readable = match wait_readable(&fds, limit) {
            Ok(readable) => readable,
            Err(error) => {
                // Only for want of kernel memory. Not a busy loop:
                tracing::error!(%error, "cannot watch the workers");
                thread::sleep(DYING_LIMIT);
                return;
            }
        };
        // The bell is first.
        for ((lane, source), _) in
            sources.into_iter().zip(&readable[1..]).filter(|(_, readable)| **readable)
        {
            let Seat::Taken(kid) = &mut self.seats[lane] else {
                continue;
            };
            match source {
                Source::Words => kid.words.listen(),
                Source::Life => kid.bury(LINK_LIMIT),
            }
        }
    }

    /// Whether a worker is one of those that the pool began with.
    fn is_first(&self, tenure: u64) -> bool {
        tenure <= self.seats.len() as u64
    }

    /// Starts a worker in a lane.
    fn hire(&mut self, lane: usize) {
        self.tenures += 1;
        let tenure = self.tenures;
        let is_first = self.is_first(tenure);
        match self.agency.hire(&self.facts, lane, tenure) {
            Ok(kid) => {
                if !is_first {
                    self.desk().record().restarts += 1;
                }
                tracing::debug!(worker = lane, pid = kid.pid, "worker started");
                self.seats[lane] = Seat::Taken(Box::new(kid));
            }
            Err(error) => {
                self.seats[lane] = Seat::Empty;
                if is_first {
                    self.give_up(error);
                } else {
                    let death = Death { how: error.to_string(), ..Death::default() };
                    self.replace(lane, &death);
                }
            }
        }
    }

    /// Draws the conclusions when a worker is dead and its link has ended.
    fn settle(&mut self, lane: usize) {
        let lanes = self.seats.len() as u64;
        let Seat::Taken(kid) = &mut self.seats[lane] else {
            return;
        };
        let Some(ended) = kid.ended(clock::now()) else {
            return;
        };
        let Ended { how, reaped, early } = ended;
        let left = self.facts.crew.is_leaving(lane) && reaped.status.success();
        let why = kid.why().cloned().or_else(|| left.then_some(Why::Leaving));
        let why = why.or_else(|| kid.limit(&self.facts.config));
        let current: Option<(JobId, Option<Nanos>)> = kid.current();
        // A program that cannot start will not start the next time either.
        let is_doomed = early && why.is_none() && kid.tenure <= lanes;
        let start_error =
            is_doomed.then(|| kid.start_error(&how, self.facts.config.start_deadline));
        let pid = kid.pid;
        let last_words = kid.words.tail();
        self.seats[lane] = Seat::Empty;
        if matches!(why, None | Some(Why::Limit(..))) {
            tracing::warn!(worker = lane, pid, "worker {how}");
        } else {
            tracing::debug!(worker = lane, pid, "worker {how}");
        }
        if let Some(error) = start_error {
            self.give_up(error);
            return;
        }
        let death = Death {
            how,
            why,
            current,
            last_words,
            cpu_ns: reaped.cpu_ns(),
            peak_rss_bytes: own_peak(reaped.usage.peak_rss_bytes),
        };
        self.replace(lane, &death);
    }

    fn replace(&mut self, lane: usize, death: &Death) {
        match self.facts.crew.lost(lane, death) {
            Next::Restart(pause) if !self.leaving => {
                self.seats[lane] = Seat::Due(clock::after(jitter(pause)));
                // Seen to before the next sleep.
                self.desk().bell.ring();
            }
            Next::Restart(_) | Next::Leave => {}
            Next::GiveUp { deaths } => {
                let death = death.how.clone();
                tracing::error!(deaths, "no progress: the pool gives up; the last worker {death}");
                self.give_up(PoolError::NoProgress { deaths, death });
            }
        }
    }

    fn give_up(&mut self, error: PoolError) {
        let error = Arc::new(error);
        // First, so that whoever hears that a job is given up finds the reason. The
        // first reason: what is killed now ends for another.
        self.desk().record().gave_up.get_or_insert(Arc::clone(&error));
        self.starting = None;
        self.facts.crew.give_up(&error);
        self.kill_all();
    }
}

/// Between half of a pause and all of it, so that workers that died together do not
/// come back together.
fn jitter(pause: Duration) -> Duration {
    let dice = random::nonce().unwrap_or(u128::MAX) as u32;
    pause.mul_f64(0.5 + 0.5 * f64::from(dice) / f64::from(u32::MAX))
}

impl Facts {
    /// Sees to the job that a worker has in hand, and to whether it takes up what it was
    /// given; returns when to look again.
    fn mind(&self, lane: usize, kid: &mut Kid, now: Nanos) -> Option<Nanos> {
        let heartbeat = self.config.heartbeat;
        let (pid, current) = (kid.pid, kid.current());
        let beat = || {
            let (answers, current) = self.crew.owes(lane, current)?;
            Some(Beat { current, answers, stopped: process::is_stopped(pid) })
        };
        if kid.pulse.feel(beat, now, heartbeat) {
            kid.kill(Cause::Hung(heartbeat));
            return None;
        }
        let look = now + pulse::interval(heartbeat).as_nanos() as u64;
        match self.crew.time_limit(lane, kid.current(), now, GRACE) {
            TimeLimit::None => Some(look),
            TimeLimit::At(at) => Some(at.min(look)),
            // Its kernel had no chance to end in time.
            TimeLimit::Over(..) if process::is_stopped(pid) => {
                kid.kill(Cause::Hung(heartbeat));
                None
            }
            TimeLimit::Over(job, after) => {
                tracing::warn!(job = job.0, worker = lane, "job timed out");
                kid.end(Why::TimedOut(job, after));
                None
            }
        }
    }
}

enum Source {
    Life,
    Words,
}

/// A dead worker's largest resident set, if that is known: what is told of a dead child is
/// this process's own, unless the child's was larger.
fn own_peak(told: u64) -> u64 {
    if told > usage::peak_rss_bytes() { told } else { 0 }
}
