//! The keeper's loop. It sleeps in `poll` on the workers' pidfds, what they print, who connects
//! and its own bell, until the next deadline, and looks now and then whether workers take up
//! what they are given.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use brigade_ipc::{Caller, Invitation};
use brigade_proto::Nanos;
use brigade_sys::bell::wait_readable;
use brigade_sys::clock;
use brigade_sys::orphans::Orphans;
use brigade_sys::process::HELD_LOOK;
use crossbeam_channel::{Receiver, Sender};

use super::hire::Agency;
use super::shortage::OomKills;
use super::{Desk, Event, Facts};
use crate::PoolError;
use crate::processes::crew::Why;
use crate::processes::kid::Kid;
use crate::processes::life::Cause;
use crate::ticket::Ticket;

/// How long a worker may take to exit once its link has closed.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// The same where nobody asked it to leave: it is probably dying already.
pub(super) const DYING_LIMIT: Duration = Duration::from_millis(200);
/// How long a dead worker's link is waited for. Longer only if a process outside
/// the worker's group holds its sockets open.
const LINK_LIMIT: Duration = Duration::from_secs(2);

/// One lane's place.
pub(super) enum Seat {
    Empty,
    /// To be filled then.
    Due(Nanos),
    /// The fork server was asked for this worker, and will say what became of it.
    Asked(u64, Invitation),
    Taken(Box<Kid>),
}

pub(super) struct Watch {
    pub(super) facts: Facts,
    events: Receiver<Event>,
    pub(super) seats: Vec<Seat>,
    pub(super) agency: Agency,
    /// Who has connected and may be a worker that the fork server has still to tell of.
    pub(super) strangers: Vec<Caller>,
    /// Nobody can be let in for want of descriptors, and that was said; tried again then.
    pub(super) shut_until: Option<Nanos>,
    /// Workers started so far.
    pub(super) tenures: u64,
    /// A worker has been ready.
    pub(super) has_served: bool,
    /// Of each lane.
    pub(super) unable: Vec<Unable>,
    /// Until every lane has had a worker that was ready.
    pub(super) starting: Option<Start>,
    /// No worker is replaced any more.
    pub(super) leaving: bool,
    /// Because a thread of the pool has panicked.
    has_fallen: bool,
    /// What the kernel has ended for want of memory.
    pub(super) oom_kills: OomKills,
    /// If this process has to see to orphans, and when it looks for them next.
    orphans: Option<(Orphans, Nanos)>,
}

/// The pool's start, while it lasts.
pub(super) struct Start {
    /// Dropped when it is over, which those who wait for it notice.
    _over: Sender<()>,
    /// Lanes that were never ready.
    pub(super) missing: BTreeSet<usize>,
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
            strangers: Vec::new(),
            shut_until: None,
            tenures: 0,
            has_served: false,
            unable: vec![Unable::default(); lanes],
            starting: Some(Start { _over: over, missing: (0..lanes).collect() }),
            leaving: false,
            has_fallen: false,
            oom_kills: OomKills::begin(),
            orphans: Orphans::here().map(|orphans| (orphans, 0)),
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
            let now = clock::now();
            // What the look below will find, when it is known when the next one is to come.
            let stopped = self.facts.crew.stalls.pending(now);
            let next = self.keep_deadlines(now, stopped);
            let next = [next, self.see_to_orphans(now)].into_iter().flatten().min();
            let watch = self.facts.crew.stalls.look(now, next);
            self.facts.crew.bells.tell_stalls(watch);
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

    pub(super) fn desk(&self) -> &Desk {
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
                Event::Forked { lane, tenure, started } => self.on_forked(lane, tenure, started),
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
                Event::Outgrown { lane, tenure } => {
                    if let Some(kid) = self.kid(lane, tenure) {
                        kid.end(Why::Leaving);
                    }
                }
                Event::Cancel { lane, ticket } => self.on_cancel(lane, &ticket),
                Event::KillAll => self.kill_all(),
                Event::Pause { done } => {
                    for seat in &self.seats {
                        if let Seat::Taken(kid) = seat {
                            kid.stop();
                        }
                    }
                    // Its sender waits for that.
                    drop(done);
                }
                Event::Resume => {
                    for seat in &self.seats {
                        if let Seat::Taken(kid) = seat {
                            kid.go_on();
                        }
                    }
                }
                Event::Close => {
                    self.leaving = true;
                    for seat in &mut self.seats {
                        match seat {
                            Seat::Taken(kid) if !kid.has_been_in() => kid.end(Why::Leaving),
                            Seat::Taken(kid) => kid.leave_within(EXIT_LIMIT),
                            Seat::Due(_) | Seat::Asked(..) | Seat::Empty => *seat = Seat::Empty,
                        }
                    }
                }
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

    pub(super) fn kill_all(&mut self) {
        self.leaving = true;
        self.starting = None;
        for seat in &mut self.seats {
            match seat {
                Seat::Taken(kid) => kid.end(Why::Leaving),
                Seat::Due(_) | Seat::Asked(..) | Seat::Empty => *seat = Seat::Empty,
            }
        }
    }

    /// Does what is due; returns when the next thing is.
    fn keep_deadlines(&mut self, now: Nanos, stopped: Nanos) -> Option<Nanos> {
        let mut next: Option<Nanos> = None;
        for lane in 0..self.seats.len() {
            let due = match &mut self.seats[lane] {
                Seat::Empty | Seat::Asked(..) => None,
                Seat::Due(at) if *at > now => Some(*at),
                Seat::Due(_) => {
                    self.hire(lane);
                    // Those before it may be there by now.
                    self.open_door();
                    match &self.seats[lane] {
                        Seat::Empty | Seat::Asked(..) => None,
                        Seat::Due(at) => Some(*at),
                        Seat::Taken(kid) => kid.life.due(),
                    }
                }
                Seat::Taken(kid) => {
                    kid.life.put_off(stopped);
                    if kid.is_held() {
                        kid.bury(LINK_LIMIT);
                        if !kid.is_held() {
                            // Its end is settled before the next sleep.
                            self.facts.keeper.0.bell.ring();
                        }
                    }
                    let held = kid.is_held().then(|| now + HELD_LOOK.as_nanos() as u64);
                    let is_working = kid.life.is_working();
                    let work = is_working.then(|| self.facts.mind(lane, kid, now, stopped));
                    [held, work.flatten(), kid.keep_deadline(now)].into_iter().flatten().min()
                }
            };
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    /// As the first process of a container; returns when to look again.
    fn see_to_orphans(&mut self, now: Nanos) -> Option<Nanos> {
        let (orphans, due) = self.orphans.as_mut()?;
        if *due <= now {
            orphans.reap();
            *due = now + Orphans::LOOK.as_nanos() as u64;
        }
        Some(*due)
    }

    fn sleep(&mut self, until: Option<Nanos>) {
        let shut_until = self.is_shut_until();
        let until = [until, shut_until].into_iter().flatten().min();
        let limit = until.map(|at| Duration::from_nanos(at.saturating_sub(clock::now())));
        let mut fds = vec![self.desk().bell.as_fd()];
        let mut sources = vec![Source::Bell];
        if let Some(listener) = self.agency.listener().filter(|_| shut_until.is_none()) {
            fds.push(listener.as_fd());
            sources.push(Source::Door);
        }
        for (lane, seat) in self.seats.iter().enumerate() {
            let Seat::Taken(kid) = seat else { continue };
            if let Some(child) = kid.child.as_ref().filter(|_| !kid.is_held()) {
                fds.push(child.pidfd());
                sources.push(Source::Life(lane));
            }
            if let Some(fd) = kid.words.fd() {
                fds.push(fd);
                sources.push(Source::Words(lane));
            }
            if let Some(caller) = &kid.caller {
                fds.push(caller.as_fd());
                sources.push(Source::Caller(lane));
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
        let heard = sources.into_iter().zip(readable).filter(|(_, readable)| *readable);
        for (source, _) in heard {
            match source {
                // Its events are heard next.
                Source::Bell => {}
                Source::Door => self.open_door(),
                Source::Caller(lane) => self.greet(lane),
                Source::Words(lane) => self.with_kid(lane, |kid| kid.words.listen()),
                Source::Life(lane) => self.with_kid(lane, |kid| kid.bury(LINK_LIMIT)),
            }
        }
    }

    fn with_kid(&mut self, lane: usize, act: impl FnOnce(&mut Kid)) {
        if let Seat::Taken(kid) = &mut self.seats[lane] {
            act(kid);
        }
    }
}

/// Workers of a lane that came to nothing.
#[derive(Clone, Default)]
pub(super) struct Unable {
    /// How many in a row could not be started, or ended before they were ready.
    pub(super) times: u32,
    /// The number of the template from which the last one was forked, if it ended by itself with no
    /// job in hand: the next one is forked from another.
    pub(super) template: Option<u32>,
}

/// What the keeper sleeps on; of a lane.
enum Source {
    Bell,
    Door,
    Caller(usize),
    Life(usize),
    Words(usize),
}
