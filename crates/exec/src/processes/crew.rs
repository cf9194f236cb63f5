//! Which job is where: the queue, what each lane has in hand, and what becomes of
//! a job whose worker died.
//!
//! No process, socket or clock in here but the stamps on a job; the threads that
//! have those call in. All state is behind one lock that is never held while a
//! file is read, a message is sent or an outcome is reported.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brigade_proto::{JobError, JobId, Nanos, WorkerId};
use brigade_sys::clock;

use crate::executor::{Stop, WorkerReport};
use crate::ticket::{End, Task, Ticket};
use crate::{PoolConfig, PoolError, SubmitError};

/// The jobs and lanes of a pool.
pub(super) struct Crew {
    state: Mutex<State>,
    /// Somebody waits for room in the queue.
    room: Condvar,
    /// Somebody waits until no job is left.
    idle: Condvar,
    /// One for each lane's sender that waits for a job.
    work: Vec<Condvar>,
    /// Accepted jobs whose outcome has not been reported.
    unfinished: AtomicUsize,
    limits: Limits,
}

struct Limits {
    depth: usize,
    queue: usize,
    retries: u32,
    max_restarts: u32,
    max_jobs: Option<u64>,
}

struct State {
    queue: VecDeque<Task>,
    lanes: Vec<Lane>,
    /// No jobs are accepted any more.
    stopped: Option<Stop>,
    /// All jobs are done; workers may go.
    closing: bool,
    /// Workers that died by themselves since a job was last completed.
    stalled: u32,
    /// Why, if it did.
    gave_up: Option<JobError>,
}

#[derive(Default)]
struct Lane {
    /// Counts the worker processes in this lane; a message from an earlier one is
    /// recognised by it.
    tenure: u64,
    pid: u32,
    ready: bool,
    assigned: VecDeque<Assigned>,
    /// Jobs given to the present process.
    given: u64,
    report: Totals,
}

#[derive(Default)]
struct Totals {
    jobs: u64,
    busy_ns: u64,
    ready_ns: u64,
    cpu_ns: u64,
    peak_rss_bytes: u64,
}

struct Assigned {
    task: Task,
    bytes_in: u64,
}

/// A job that a lane's sender is to deliver.
pub(super) struct Dispatch {
    pub(super) job: JobId,
    pub(super) kernel: u32,
    pub(super) params: std::sync::Arc<brigade_proto::Params>,
    pub(super) inputs: Vec<brigade_proto::Source>,
    pub(super) timeout: Option<Duration>,
}

/// What a worker says of a job that has ended.
pub(super) struct Done {
    pub(super) job: JobId,
    pub(super) result: Result<Vec<brigade_proto::Buffer>, JobError>,
    pub(super) in_hand: Nanos,
    pub(super) called: Nanos,
    pub(super) returned: Nanos,
    pub(super) published: Nanos,
}

/// Why the keeper ended a worker. A worker that was ended deliberately has not
/// crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The job in hand ran for longer than it may.
    TimedOut(JobId, Duration),
    /// The job in hand was cancelled.
    Cancelled(JobId),
    /// The pool stops, or the worker is replaced after its share of jobs.
    Leaving,
}

/// How a worker ended.
pub(super) struct Death {
    /// "killed by SIGSEGV", "exited with status 0".
    pub(super) how: String,
    /// Set if the end was deliberate.
    pub(super) why: Option<Why>,
    /// What it had in hand, and when the kernel was called, if it was.
    pub(super) current: Option<(JobId, Option<Nanos>)>,
    pub(super) cpu_ns: u64,
    pub(super) peak_rss_bytes: u64,
}

/// What is to become of a lane whose worker has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start another one, after a pause.
    Restart(Duration),
    /// The lane is not needed any more.
    Leave,
    /// Too many deaths without progress: end all workers.
    GiveUp { deaths: u32 },
}

/// A worker answered a job that it was not given, or out of turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfTurn(pub(super) JobId);

/// First pause before a worker is replaced that died without progress; doubles
/// from death to death.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Crew {
    pub(super) fn new(config: &PoolConfig) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                lanes: (0..config.workers).map(|_| Lane::default()).collect(),
                stopped: None,
                closing: false,
                stalled: 0,
                gave_up: None,
            }),
            room: Condvar::new(),
            idle: Condvar::new(),
            work: (0..config.workers).map(|_| Condvar::new()).collect(),
            unfinished: AtomicUsize::new(0),
            limits: Limits {
                depth: config.depth,
                queue: config.queue,
                retries: config.retries,
                max_restarts: config.max_restarts,
                max_jobs: config.max_jobs_per_worker,
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a task.
    pub(super) fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        let mut state = self.lock();
        while state.stopped.is_none() && state.queue.len() >= self.limits.queue {
            if !block {
                return Err(SubmitError::Full);
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped.is_some() {
            return Err(SubmitError::Closed);
        }
        self.unfinished.fetch_add(1, Ordering::AcqRel);
        state.queue.push_back(task);
        self.call_for(&state);
        Ok(())
    }

    /// Reports an outcome. Not under the lock: the listener may be slow.
    fn finish(&self, task: Task, end: End) {
        task.finish(end);
        self.finished();
    }

    fn finish_unrun(&self, tasks: impl IntoIterator<Item = Task>, error: &JobError) {
        for task in tasks {
            // One that cannot be taken was cancelled, and has been reported.
            if task.ticket.take() {
                task.finish_unrun(error.clone());
            }
            self.finished();
        }
    }

    fn finished(&self) {
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Under the lock, so that a waiter between its look and its sleep does
            // not miss it.
            let _state = self.lock();
            self.idle.notify_all();
        }
    }

    /// Wakes the sender that should take the next job, if there is one.
    fn call_for(&self, state: &State) {
        if state.queue.is_empty() {
            return;
        }
        let lanes = state.lanes.iter().enumerate().filter(|(_, lane)| lane.ready);
        if let Some((index, _)) = lanes.min_by_key(|(_, lane)| lane.assigned.len()) {
            self.work[index].notify_one();
        }
    }

    /// A worker is ready for jobs.
    pub(super) fn ready(&self, lane: usize, tenure: u64, pid: u32, since_start: Duration) {
        let mut state = self.lock();
        let entry = &mut state.lanes[lane];
        entry.tenure = tenure;
        entry.pid = pid;
        entry.ready = true;
        entry.given = 0;
        if entry.report.ready_ns == 0 {
            entry.report.ready_ns = since_start.as_nanos() as u64;
        }
        self.call_for(&state);
    }

    /// The next job for a worker. Waits for one; `None` when the worker is to get
    /// no more.
    pub(super) fn next(&self, lane: usize, tenure: u64) -> Option<Dispatch> {
        let mut state = self.lock();
        loop {
            let entry = &state.lanes[lane];
            let served = self.limits.max_jobs.is_some_and(|max| entry.given >= max);
            if entry.tenure != tenure || !entry.ready || state.closing || served {
                // Whoever is to take the job instead may have been passed over.
                self.call_for(&state);
                return None;
            }
            if self.may_take(&state, lane) {
                let Some(task) = state.queue.pop_front() else { unreachable!("looked just now") };
                self.room.notify_one();
                if !task.ticket.take() {
                    // Cancelled in the queue.
                    drop(state);
                    self.finished();
                    state = self.lock();
                    continue;
                }
                let dispatch = assign(&mut state.lanes[lane], task);
                self.call_for(&state);
                return Some(dispatch);
            }
            state = self.work[lane].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a lane is the right one for the next job. A first job always; one
    /// in advance only where no other lane has less, and while so many jobs wait
    /// that holding this one back from the others delays nothing.
    fn may_take(&self, state: &State, lane: usize) -> bool {
        let assigned = state.lanes[lane].assigned.len();
        if state.queue.is_empty() || assigned >= self.limits.depth {
            return false;
        }
        let ready = || state.lanes.iter().filter(|lane| lane.ready);
        assigned == 0
            || (state.queue.len() > ready().count()
                && ready().all(|lane| lane.assigned.len() >= assigned))
    }

    /// The sender has the job's inputs in the transport.
    pub(super) fn encoded(&self, lane: usize, tenure: u64, job: JobId, at: Nanos, bytes_in: u64) {
        let mut state = self.lock();
        let entry = &mut state.lanes[lane];
        if entry.tenure == tenure
            && let Some(assigned) = entry.assigned.iter_mut().find(|a| a.task.ticket.id == job)
        {
            assigned.task.stamps.encoded = at;
            assigned.bytes_in = bytes_in;
        }
    }

    /// The job cannot be delivered: an input cannot be read, or does not fit.
    pub(super) fn undeliverable(&self, lane: usize, tenure: u64, job: JobId, error: JobError) {
        let mut state = self.lock();
        let entry = &mut state.lanes[lane];
        let place = entry.assigned.iter().position(|a| a.task.ticket.id == job);
        let Some(place) = place.filter(|_| entry.tenure == tenure) else {
            return;
        };
        let Some(Assigned { task, bytes_in }) = entry.assigned.remove(place) else {
            return;
        };
        let pid = entry.pid;
        // Another one may be delivered in its place.
        entry.given -= 1;
        state.stalled = 0;
        self.call_for(&state);
        drop(state);
        let mut stamps = task.stamps;
        stamps.collected = clock::now();
        if stamps.encoded == 0 {
            stamps.encoded = stamps.collected;
        }
        let worker = Some(WorkerId(lane as u32));
        self.finish(task, End { result: Err(error), stamps, worker, pid, bytes_in });
    }

    /// A worker has answered.
    pub(super) fn complete(&self, lane: usize, tenure: u64, done: Done) -> Result<(), OutOfTurn> {
        let collected = clock::now();
        let mut state = self.lock();
        let entry = &mut state.lanes[lane];
        let in_turn = entry.tenure == tenure
            && entry.assigned.front().is_some_and(|a| a.task.ticket.id == done.job);
        if !in_turn {
            return Err(OutOfTurn(done.job));
        }
        let Some(Assigned { task, bytes_in }) = entry.assigned.pop_front() else {
            return Err(OutOfTurn(done.job));
        };
        let mut stamps = task.stamps;
        stamps.in_hand = done.in_hand;
        stamps.called = done.called;
        stamps.returned = done.returned;
        stamps.published = done.published;
        stamps.collected = collected;
        entry.report.jobs += 1;
        entry.report.busy_ns += done.published.saturating_sub(done.in_hand);
        let pid = entry.pid;
        state.stalled = 0;
        self.call_for(&state);
        drop(state);
        let result = match done.result {
            _ if task.ticket.is_stopping() => Err(JobError::Cancelled),
            result => result,
        };
        tracing::debug!(job = done.job.0, worker = lane, ok = result.is_ok(), "job finished");
        let worker = Some(WorkerId(lane as u32));
        self.finish(task, End { result, stamps, worker, pid, bytes_in });
        Ok(())
    }

    /// When the keeper has to look at a worker's job again, or the job whose time
    /// is over. `current` is what the worker's status page says.
    pub(super) fn time_limit(
        &self,
        lane: usize,
        current: Option<(JobId, Option<Nanos>)>,
        now: Nanos,
        grace: Duration,
    ) -> TimeLimit {
        let state = self.lock();
        let mut next = TimeLimit::None;
        for assigned in &state.lanes[lane].assigned {
            let Some(timeout) = assigned.task.timeout else {
                continue;
            };
            let id = assigned.task.ticket.id;
            let called = match current {
                Some((job, Some(called))) if job == id => called,
                // Not called yet, so not before now.
                _ => now,
            };
            let over = called.saturating_add((timeout + grace).as_nanos() as u64);
            if over <= now {
                return TimeLimit::Over(id, timeout);
            }
            next = match next {
                TimeLimit::At(at) => TimeLimit::At(at.min(over)),
                _ => TimeLimit::At(over),
            };
        }
        next
    }

    /// The lane that has a job assigned.
    pub(super) fn lane_of(&self, ticket: &Ticket) -> Option<usize> {
        let has = |lane: &Lane| lane.assigned.iter().any(|a| a.task.ticket.id == ticket.id);
        self.lock().lanes.iter().position(has)
    }

    /// A worker's link is gone: it gets no more jobs. Its sender returns.
    pub(super) fn unready(&self, lane: usize, tenure: u64) {
        let mut state = self.lock();
        if state.lanes[lane].tenure == tenure {
            state.lanes[lane].ready = false;
            self.work[lane].notify_all();
            // It may have been called for a job that another one has to take.
            self.call_for(&state);
        }
    }

    /// A worker has ended and been reaped, and everything that it answered has
    /// been collected. Decides what becomes of its jobs and its lane.
    pub(super) fn lost(&self, lane: usize, death: &Death) -> Next {
        let now = clock::now();
        let mut ends = Vec::new();
        let mut state = self.lock();
        let entry = &mut state.lanes[lane];
        entry.ready = false;
        entry.report.cpu_ns += death.cpu_ns;
        entry.report.peak_rss_bytes = entry.report.peak_rss_bytes.max(death.peak_rss_bytes);
        let pid = entry.pid;
        let assigned = std::mem::take(&mut entry.assigned);
        let killing = state.stopped == Some(Stop::Kill);
        let no_more = state.gave_up.clone().unwrap_or(JobError::Cancelled);
        let mut innocent = Vec::new();
        let mut suspect = None;
        let mut dropped = 0;
        for Assigned { mut task, bytes_in } in assigned {
            let called = match death.current {
                Some((job, called)) if job == task.ticket.id => Some(called),
                _ => None,
            };
            let verdict = match called {
                _ if killing => Some(no_more.clone()),
                _ if task.ticket.is_stopping() => Some(JobError::Cancelled),
                None => {
                    task.attempts -= 1;
                    None
                }
                Some(_) => self.verdict(&task, death),
            };
            match verdict {
                Some(error) => {
                    let mut stamps = task.stamps;
                    stamps.in_hand = stamps.encoded;
                    stamps.called = called.flatten().unwrap_or(0);
                    stamps.collected = now;
                    let worker = Some(WorkerId(lane as u32));
                    let result = Err(error);
                    ends.push((task, End { result, stamps, worker, pid, bytes_in }));
                }
                None => {
                    task.stamps.assigned = 0;
                    task.stamps.encoded = 0;
                    if !task.ticket.put_back() {
                        // Cancelled and reported at this very moment.
                        dropped += 1;
                        continue;
                    }
                    if called.is_some() {
                        suspect = Some(task);
                    } else {
                        innocent.push(task);
                    }
                }
            }
        }
        // Behind those that it has harmed already.
        for task in innocent.into_iter().chain(suspect).rev() {
            state.queue.push_front(task);
        }
        if !ends.is_empty() {
            // A job came to its end, if a bad one.
            state.stalled = 0;
        } else if death.why.is_none() {
            state.stalled += 1;
        }
        let next = if state.closing || killing {
            Next::Leave
        } else if state.stalled > self.limits.max_restarts {
            Next::GiveUp { deaths: state.stalled }
        } else {
            Next::Restart(match state.stalled {
                0 | 1 => Duration::ZERO,
                n => FIRST_PAUSE.saturating_mul(1 << (n - 2).min(16)).min(LONGEST_PAUSE),
            })
        };
        self.call_for(&state);
        drop(state);
        for (task, end) in ends {
            self.finish(task, end);
        }
        (0..dropped).for_each(|_| self.finished());
        next
    }

    /// What the death of its worker means for the job that was in hand: its end,
    /// or `None` for another try.
    fn verdict(&self, task: &Task, death: &Death) -> Option<JobError> {
        let id = task.ticket.id;
        match &death.why {
            Some(Why::TimedOut(job, after)) if *job == id => {
                Some(JobError::TimedOut { after: *after })
            }
            Some(Why::Cancelled(job)) if *job == id => Some(JobError::Cancelled),
            Some(_) => None,
            None if task.attempts > self.limits.retries => {
                Some(JobError::Crashed { death: death.how.clone(), attempts: task.attempts })
            }
            None => None,
        }
    }

    /// No further jobs; those that wait in the queue are cancelled. Returns false
    /// if that has happened before.
    pub(super) fn stop(&self, how: Stop) -> bool {
        self.refuse(how, &JobError::Cancelled)
    }

    fn refuse(&self, how: Stop, error: &JobError) -> bool {
        let mut state = self.lock();
        let news = state.stopped < Some(how);
        state.stopped = state.stopped.max(Some(how));
        let queue = std::mem::take(&mut state.queue);
        self.room.notify_all();
        drop(state);
        self.finish_unrun(queue, error);
        news
    }

    /// The pool cannot go on: nothing that waits or runs will be finished.
    pub(super) fn give_up(&self, reason: &PoolError) {
        let error = JobError::PoolGaveUp { reason: reason.to_string() };
        self.lock().gave_up = Some(error.clone());
        self.refuse(Stop::Kill, &error);
    }

    /// Waits until every accepted job has been reported, then lets the workers go.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        while self.unfinished.load(Ordering::Acquire) > 0 {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stopped = state.stopped.max(Some(Stop::Drain));
        state.closing = true;
        self.work.iter().for_each(Condvar::notify_all);
    }

    /// Whether a worker that leaves does so because it was told to.
    pub(super) fn is_leaving(&self, lane: usize) -> bool {
        let state = self.lock();
        let served = self.limits.max_jobs.is_some_and(|max| state.lanes[lane].given >= max);
        state.closing || (served && state.lanes[lane].assigned.is_empty())
    }

    pub(super) fn reports(&self) -> Vec<WorkerReport> {
        let state = self.lock();
        let report = |(index, lane): (usize, &Lane)| WorkerReport {
            worker: WorkerId(index as u32),
            pid: lane.pid,
            jobs: lane.report.jobs,
            busy_ns: lane.report.busy_ns,
            ready_ns: lane.report.ready_ns,
            cpu_ns: Some(lane.report.cpu_ns),
            peak_rss_bytes: Some(lane.report.peak_rss_bytes).filter(|&bytes| bytes > 0),
        };
        state.lanes.iter().enumerate().map(report).collect()
    }
}

fn assign(lane: &mut Lane, mut task: Task) -> Dispatch {
    task.attempts += 1;
    task.stamps.assigned = clock::now();
    lane.given += 1;
    let dispatch = Dispatch {
        job: task.ticket.id,
        kernel: task.kernel.0,
        params: std::sync::Arc::clone(&task.params),
        inputs: task.inputs.clone(),
        timeout: task.timeout,
    };
    lane.assigned.push_back(Assigned { task, bytes_in: 0 });
    dispatch
}

/// When a worker's time limit has to be looked at again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TimeLimit {
    /// No assigned job has one.
    None,
    /// Then.
    At(Nanos),
    /// This job's is over.
    Over(JobId, Duration),
}
