//! The keeper: the one thread that starts workers, watches them, ends them, reaps
//! them and has them replaced.
//!
//! It sleeps in `poll` on the workers' pidfds, what they print, and its own bell,
//! until the next deadline; nothing is looked for by polling in a loop. It lives
//! as long as the pool, because the workers' parent-death signal follows the
//! thread that started them.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::{BellsRegion, Listener, Refusal, StatusPage};
use brigade_proto::{JobId, Nanos};
use brigade_sys::bell::{Bell, wait_readable};
use brigade_sys::{affinity, clock};
use crossbeam_channel::{Receiver, Sender};

use super::crew::{Crew, Death, Next, RollCall, TimeLimit, Why};
use super::kid::{Ended, Kid};
use super::link::Link;
use super::spawn::{self, Started};
use super::template::Template;
use crate::executor::Status;
use crate::ticket::Ticket;
use crate::{PoolConfig, PoolError, StartMethod};

/// What the keeper is told.
pub(super) enum Event {
    /// A worker was let in.
    Ready { lane: usize, tenure: u64, page: StatusPage },
    /// A handshake failed; the link has ended.
    Refused { lane: usize, tenure: u64, refusal: Refusal },
    /// A worker broke the protocol; the link goes on until it is dead, and says
    /// what it was if that is not known yet.
    Offence { lane: usize, tenure: u64, what: Option<String> },
    /// A link has ended: everything that its worker said has been heard.
    LinkClosed { lane: usize, tenure: u64, offence: Option<String> },
    /// The caller wants a job to end that a worker may have in hand.
    Cancel { lane: usize, ticket: Arc<Ticket> },
    /// Every worker is to die.
    KillAll,
    /// All jobs are done, workers are to leave.
    Close,
}

/// How long after its timeout a job is left to notice it before its worker is
/// killed.
const GRACE: Duration = Duration::from_millis(50);
/// How long a worker may take to exit once its link has closed.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// The same where nobody asked it to leave: it is probably dying already.
const DYING_LIMIT: Duration = Duration::from_millis(200);
/// How long a dead worker's link is waited for. Longer only if a process outside
/// the worker's group holds its sockets open.
const LINK_LIMIT: Duration = Duration::from_secs(2);

/// Reaches the keeper from other threads.
#[derive(Clone)]
pub(super) struct Keeper(Arc<Desk>);

struct Desk {
    inbox: Sender<Event>,
    bell: Bell,
    /// When the keeper will wake by itself.
    wake_at: AtomicU64,
    /// Nothing ever comes; it is disconnected when the start is over.
    started: Receiver<()>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    /// Once all workers are ready.
    startup: Option<Duration>,
    restarts: u64,
    gave_up: Option<Arc<PoolError>>,
}

impl Keeper {
    pub(super) fn tell(&self, event: Event) {
        // Fails only when the keeper has ended, and then nothing is to be done.
        if self.0.inbox.send(event).is_ok() {
            self.0.bell.ring();
        }
    }

    /// A worker broke the protocol: it is to die.
    pub(super) fn offend(&self, lane: usize, tenure: u64, what: Option<String>) {
        self.tell(Event::Offence { lane, tenure, what });
    }

    /// A job with a time limit was assigned: see to it that the keeper looks in
    /// time.
    pub(super) fn mind(&self, timeout: Duration) {
        let due = clock::after(timeout.saturating_add(GRACE));
        if due < self.0.wake_at.load(Ordering::SeqCst) {
            self.0.bell.ring();
        }
    }

    /// Waits until all workers are ready.
    pub(super) fn started(&self) -> Result<(), Arc<PoolError>> {
        let _ = self.0.started.recv();
        let record = self.0.record();
        match (&record.gave_up, record.startup) {
            (Some(error), _) => Err(Arc::clone(error)),
            (None, Some(_)) => Ok(()),
            // It has panicked, or the pool was closed.
            (None, None) => Err(Arc::new(PoolError::Refused { reason: "its keeper left".into() })),
        }
    }

    pub(super) fn status(&self) -> Status {
        let record = self.0.record();
        Status {
            startup: record.startup.unwrap_or_default(),
            restarts: record.restarts,
            gave_up: record.gave_up.clone(),
        }
    }
}

impl Desk {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the keeper and, through it, the workers.
pub(super) fn start(
    crew: &Arc<Crew>,
    config: &PoolConfig,
    kernels: Arc<[String]>,
    bells: BellsRegion,
) -> Result<(Keeper, JoinHandle<()>), PoolError> {
    let begin = clock::now();
    let setup = |source| PoolError::Setup { what: "the keeper of the workers".to_owned(), source };
    let (inbox, events) = crossbeam_channel::unbounded();
    let (starting, started) = crossbeam_channel::bounded(0);
    let bell = Bell::new().map_err(setup)?;
    let wake_at = AtomicU64::new(u64::MAX);
    let keeper = Keeper(Arc::new(Desk { inbox, bell, wake_at, started, record: Mutex::default() }));
    let watch = Watch {
        keeper: keeper.clone(),
        crew: Arc::clone(crew),
        config: config.clone(),
        kernels,
        bells,
        events,
        seats: (0..config.workers).map(|_| Seat::Empty).collect(),
        begin,
        template: None,
        tenures: 0,
        starting: Some(Start { _over: starting, missing: (0..config.workers).collect() }),
        leaving: false,
    };
    let thread = thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || watch.run())
        .map_err(setup)?;
    Ok((keeper, thread))
}

/// One lane's place.
enum Seat {
    Empty,
    /// To be filled then.
    Due(Nanos),
    Taken(Box<Kid>),
}

struct Watch {
    keeper: Keeper,
    crew: Arc<Crew>,
    config: PoolConfig,
    kernels: Arc<[String]>,
    bells: BellsRegion,
    events: Receiver<Event>,
    seats: Vec<Seat>,
    begin: Nanos,
    /// What workers are forked from.
    template: Option<Template>,
    /// Workers started so far.
    tenures: u64,
    /// Until every lane has had a worker that was ready.
    starting: Option<Start>,
    /// No worker is replaced any more.
    leaving: bool,
}

/// The pool's start, while it lasts.
struct Start {
    /// Dropped when it is over, which those who wait for it notice.
    _over: Sender<()>,
    /// Lanes that were never ready.
    missing: BTreeSet<usize>,
}

impl Watch {
    fn run(mut self) {
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
                return;
            }
            self.sleep(next);
        }
    }

    fn desk(&self) -> &Desk {
        &self.keeper.0
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
                        kid.link_over = true;
                        kid.refusal = Some(refusal);
                        kid.kill();
                    }
                }
                Event::Offence { lane, tenure, what } => {
                    if let Some(kid) = self.kid(lane, tenure) {
                        kid.offence = what.or(kid.offence.take());
                        kid.kill();
                    }
                }
                Event::LinkClosed { lane, tenure, offence } => {
                    let limit = if self.crew.is_leaving(lane) { EXIT_LIMIT } else { DYING_LIMIT };
                    if let Some(kid) = self.kid(lane, tenure) {
                        kid.link_over = true;
                        kid.offence = offence.or(kid.offence.take());
                        kid.kill_after(limit);
                    }
                }
                Event::Cancel { lane, ticket } => self.on_cancel(lane, &ticket),
                Event::KillAll => self.kill_all(),
                Event::Close => {
                    self.leaving = true;
                    for seat in &mut self.seats {
                        match seat {
                            Seat::Taken(kid) if kid.page.is_none() => kid.end(Why::Leaving),
                            Seat::Taken(kid) => kid.kill_after(EXIT_LIMIT),
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
                self.desk().record().startup = Some(clock::since(self.begin));
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
                        Seat::Taken(kid) => kid.deadline,
                    }
                }
                Seat::Taken(kid) => {
                    let job = if kid.is_ending() || kid.page.is_none() {
                        None
                    } else {
                        let current = kid.current();
                        let limit = match self.crew.time_limit(lane, current, now, GRACE) {
                            TimeLimit::None => None,
                            TimeLimit::At(at) => Some(at),
                            TimeLimit::Over(job, after) => {
                                tracing::warn!(job = job.0, worker = lane, "job timed out");
                                kid.end(Why::TimedOut(job, after));
                                None
                            }
                        };
                        match self.crew.roll_call(lane, current, now) {
                            RollCall::At(at) => Some(limit.map_or(at, |limit| limit.min(at))),
                            RollCall::Absent(job) if !kid.is_ending() => {
                                kid.offence = Some(format!(
                                    "did not take job {job} in hand in time; --start-timeout \
                                     allows more"
                                ));
                                kid.kill();
                                None
                            }
                            RollCall::Absent(_) => None,
                        }
                    };
                    let own = kid.keep_deadline(now);
                    [job, own].into_iter().flatten().min()
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
        match self.try_hire(lane, tenure) {
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
                    let death = Death {
                        how: error.to_string(),
                        why: None,
                        current: None,
                        cpu_ns: 0,
                        peak_rss_bytes: 0,
                    };
                    self.replace(lane, &death);
                }
            }
        }
    }

    /// Starts a worker program, or has one forked.
    fn start_worker(&mut self, listener: &Listener) -> Result<Started, PoolError> {
        let program = self.config.worker_program.as_deref();
        if self.config.start_method == StartMethod::Spawn {
            return spawn::start(program, listener);
        }
        let limit = self.config.start_deadline;
        if let Some(template) = &self.template {
            match template.fork(listener, limit) {
                Ok(started) => return Ok(started),
                // It may have died; a new one is tried.
                Err(error) => tracing::warn!(%error, "the fork server is started again"),
            }
        }
        // The old one is reaped before that.
        if let Some(template) = self.template.take() {
            let pids = self.seats.iter().filter_map(|seat| match seat {
                Seat::Taken(kid) => Some(kid.pid),
                _ => None,
            });
            template.end(pids.collect());
        }
        let template = Template::start(program)?;
        match template.fork(listener, limit) {
            Ok(started) => {
                self.template = Some(template);
                Ok(started)
            }
            Err(error) => Err(template.obituary(error, limit)),
        }
    }

    fn try_hire(&mut self, lane: usize, tenure: u64) -> Result<Kid, PoolError> {
        let setup = |what: &str, source| PoolError::Setup { what: what.to_owned(), source };
        let listener = Listener::bind()
            .map_err(|error| setup("the private directory for the workers' sockets", error))?;
        let doorstep = listener.doorstep();
        let started = self.start_worker(&listener)?;
        let link = Link {
            crew: Arc::clone(&self.crew),
            keeper: self.keeper.clone(),
            lane,
            tenure,
            pid: started.child.pid(),
            transport: self.config.transport,
            pin: self.config.pin,
            has_room: !self.config.pin && self.config.workers < affinity::allowed(),
            begin: self.begin,
            kernels: Arc::clone(&self.kernels),
            bells: self.bells.clone(),
            patience: self.config.patience(),
        };
        let thread =
            thread::Builder::new().name(format!("link-{lane}")).spawn(move || link.serve(listener));
        match thread {
            Ok(thread) => {
                let deadline = clock::after(self.config.start_deadline);
                Ok(Kid::new(started, tenure, doorstep, deadline, thread))
            }
            Err(error) => {
                started.child.kill_group();
                let _ = started.child.reap();
                Err(setup("a worker's link thread", error))
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
        let why = kid.why.clone().or_else(|| {
            (self.crew.is_leaving(lane) && reaped.status.success()).then_some(Why::Leaving)
        });
        let current: Option<(JobId, Option<Nanos>)> = kid.current();
        // A program that cannot start will not start the next time either.
        let is_doomed = early && why.is_none() && kid.tenure <= lanes;
        let start_error = is_doomed.then(|| kid.start_error(&how, self.config.start_deadline));
        let pid = kid.pid;
        self.seats[lane] = Seat::Empty;
        if why.is_none() {
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
            cpu_ns: reaped.cpu_ns(),
            peak_rss_bytes: reaped.usage.peak_rss_bytes,
        };
        self.replace(lane, &death);
    }

    fn replace(&mut self, lane: usize, death: &Death) {
        match self.crew.lost(lane, death) {
            Next::Restart(pause) if !self.leaving => {
                self.seats[lane] = Seat::Due(clock::after(pause));
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
        self.crew.give_up(&error);
        self.kill_all();
    }
}

enum Source {
    Life,
    Words,
}
