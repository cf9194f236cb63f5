//! How jobs end: with a response, or with the death of their worker.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use brigade_ipc::MAX_MESSAGE;
use brigade_ipc::wire::{self, Instants, RingResponse};
use brigade_proto::{Bytes, JobError, JobId, Nanos, Notes, WorkerId};
use brigade_sys::clock;

use super::super::validate;
use super::{Assigned, Dispatcher, State, pause};
use crate::batch::JobBatch;
use crate::executor::Stop;
use crate::log::{is_chatty, tell_finished};
use crate::processes::worker_exit::{KillReason, WorkerExit};
use crate::task::{JobResult, Task};

/// A worker's response to a job.
pub(in super::super) struct WorkerResponse {
    pub(in super::super) job: JobId,
    pub(in super::super) result: Result<Vec<Bytes>, JobError>,
    pub(in super::super) notes: Notes,
    pub(in super::super) instants: Instants,
}

/// How long the pool excuses deaths for lack of memory while no job ends.
const SHORT_LIMIT: Duration = Duration::from_secs(30);

/// What to do with a slot whose worker has ended.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum RestartDecision {
    /// Start another worker after this back-off.
    Restart(Duration),
    /// The slot needs no worker any more.
    Leave,
    /// Too many deaths without progress: end all workers.
    GiveUp { deaths: u32 },
}

impl Dispatcher {
    /// Takes all responses out of the rings and gives the workers more jobs.
    pub(super) fn collect(&self, state: &mut State) {
        let before = state.ended.len();
        for slot in 0..state.slots.len() {
            self.collect_from(state, slot);
        }
        let now = stamp(state, before);
        if !state.queue.is_empty() || !state.quarantined.is_empty() || state.starved.is_any() {
            self.dispatch_at(state, now);
        }
    }

    /// Whether any ring holds a response.
    pub(super) fn is_any_ready(state: &State) -> bool {
        state.slots.iter().any(|slot| {
            slot.connection.as_ref().is_some_and(|connection| connection.endpoint.is_ready())
        })
    }

    pub(super) fn collect_from(&self, state: &mut State, slot: usize) {
        if !state.slots[slot]
            .connection
            .as_ref()
            .is_some_and(|connection| connection.endpoint.is_ready())
        {
            return;
        }
        let mut buffer = [0; MAX_MESSAGE];
        // Bounded: a worker that floods its ring must not keep the others waiting.
        for _ in 0..32 {
            let Some(connection) = &mut state.slots[slot].connection else {
                return;
            };
            let violation = match connection.endpoint.collect(&mut buffer) {
                Ok(None) => return,
                Ok(Some(message)) => self.read_response(state, slot, message),
                Err(corrupt) => Err(format!("wrote {} into its ring", corrupt.what())),
            };
            if let Err(what) = violation {
                return self.protocol_violation(state, slot, &what);
            }
        }
    }

    /// Reports a protocol violation. Nothing that comes through the worker's ring counts from here
    /// on.
    #[cold]
    fn protocol_violation(&self, state: &mut State, slot: usize, what: &str) {
        let entry = &mut state.slots[slot];
        entry.connection = None;
        entry.ready = false;
        let what = validate::breach(what);
        entry.violation = Some(what.clone());
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.protocol_violation(slot, entry.generation, Some(what));
        }
    }

    /// How the dead worker of a slot violated the protocol in its ring. The worker may have died
    /// right after it, or of the same fault, before any thread read the ring. This function reads
    /// the ring, so that the exit is reported with this reason.
    pub(in super::super) fn violation(&self, slot: usize, generation: u64) -> Option<String> {
        let mut state = self.lock();
        state.slot(slot, generation)?;
        let before = state.ended.len();
        self.collect_from(&mut state, slot);
        stamp(&mut state, before);
        let violation = state.slots[slot].violation.clone();
        self.release(state);
        violation
    }

    fn read_response(&self, state: &mut State, slot: usize, message: &[u8]) -> Result<(), String> {
        let (instants, response) =
            message.split_first_chunk().ok_or("gave an answer that is too short")?;
        let instants = Instants::read(instants);
        let RingResponse { job, error, notes, outputs } = wire::decode_response(response)
            .map_err(|error| format!("gave an answer that is none: {error}"))?;
        let result = match (error, &state.slots[slot].connection) {
            (Some(error), _) => Err(error),
            (None, Some(connection)) => {
                Ok(validate::outputs(outputs, |location| connection.outputs.find(location))?)
            }
            (None, None) => Ok(Vec::new()),
        };
        self.end(state, slot, WorkerResponse { job, result, notes, instants })
    }

    /// A worker has answered over the control channel.
    pub(in super::super) fn complete(
        &self,
        slot: usize,
        generation: u64,
        response: WorkerResponse,
    ) -> Result<(), String> {
        let mut state = self.lock();
        if state.slot(slot, generation).is_none() {
            return Err(validate::out_of_turn(response.job));
        }
        let before = state.ended.len();
        let result = self.end(&mut state, slot, response);
        let now = stamp(&mut state, before);
        self.dispatch_at(&mut state, now);
        self.release(state);
        self.doorbells.wake_leader();
        result
    }

    /// Ends an answered job. The caller must [`stamp`] it.
    fn end(&self, state: &mut State, slot: usize, response: WorkerResponse) -> Result<(), String> {
        let entry = &mut state.slots[slot];
        let place = entry.find(response.job).filter(|&place| entry.assigned[place].sent);
        let Some(place) = place else {
            return Err(validate::out_of_turn(response.job));
        };
        // The job stays assigned until its whole response is validated.
        let (result, batch) = match (&entry.assigned[place].task.batch, response.result) {
            (Some(batch), Ok(outputs)) => {
                let connection = entry.connection.as_ref();
                let find =
                    |location| connection.and_then(|connection| connection.outputs.find(location));
                let response = validate::batch(batch.count, outputs, find)?;
                (Ok(Vec::new()), Some(Box::new(response)))
            }
            (_, Ok(outputs)) => (Ok(outputs), None),
            (_, Err(error)) => (Err(validate::error(error)?), None),
        };
        let Some(Assigned { mut task, bytes_in, .. }) = entry.assigned.remove(place) else {
            return Err(validate::out_of_turn(response.job));
        };
        if task.is_alone && result.is_ok() {
            state.starved.has_helped();
        }
        if let Err(JobError::Shortage { bytes, message }) = &result {
            match self.wait_for_memory(state, task, *bytes, message) {
                Ok(()) => {
                    // The job does not count towards its worker's share.
                    state.slots[slot].given -= 1;
                    return Ok(());
                }
                Err(fails) => task = fails,
            }
        }
        let entry = &mut state.slots[slot];
        let stamps = &mut task.stamps;
        stamps.in_hand = response.instants.in_hand;
        stamps.called = response.instants.called;
        stamps.returned = response.instants.returned;
        stamps.published = response.instants.published;
        let is_stopping = task.job_state.is_stopping() || state.stopped == Some(Stop::Kill);
        let unrun = match (&mut task.batch, &batch) {
            (Some(whole), Some(response)) if response.run < whole.count && !is_stopping => {
                Some((whole.split_off(response.run), response.run as u64))
            }
            _ => None,
        };
        let run = task.batch.as_ref().map_or(1, |batch| batch.count as u64);
        entry.report.jobs += run;
        entry.given -= unrun.as_ref().map_or(0, |(batch, _)| batch.count as u64);
        let pid = entry.pid;
        if self.is_served(entry) && entry.assigned.is_empty() {
            self.begin_drain(state, slot);
        }
        if let Some((batch, run)) = unrun {
            self.put_back(state, batch, JobId(task.job_state.id.0 + run), &task);
            if run == 0 {
                state.dropped += 1;
                return Ok(());
            }
        }
        state.progress();
        let result = match result {
            _ if task.job_state.is_stopping() => Err(JobError::Cancelled),
            result => result,
        };
        if is_chatty() {
            tell_finished(task.job_state.id, slot, result.is_ok());
        }
        let worker = Some(WorkerId(slot as u32));
        let notes = response.notes;
        state.ended.push((task, JobResult { result, worker, pid, bytes_in, notes, batch }));
        Ok(())
    }

    /// A worker has ended and been reaped, and its control channel is drained or the deadline for
    /// that has passed. Decides what happens to its jobs and its slot.
    pub(in super::super) fn on_worker_exit(
        &self,
        slot: usize,
        exit: &WorkerExit,
    ) -> RestartDecision {
        let now = clock::now();
        let mut state = self.lock();
        let killing = state.stopped == Some(Stop::Kill);
        // Responses that this worker published before its death count, and so does the progress of
        // other workers.
        let heard = if killing { slot..slot + 1 } else { 0..state.slots.len() };
        let before = state.ended.len();
        heard.for_each(|slot| self.collect_from(&mut state, slot));
        stamp(&mut state, before);
        let entry = &mut state.slots[slot];
        entry.ready = false;
        entry.leaving = false;
        entry.connection = None;
        entry.staging.clear();
        entry.report.cpu_ns += exit.cpu_ns;
        entry.report.peak_rss_bytes = entry.report.peak_rss_bytes.max(exit.peak_rss_bytes);
        let (pid, free) = (entry.pid, entry.free);
        let assigned = self.open_batches(std::mem::take(&mut entry.assigned), exit);
        let no_more = state.gave_up.clone().unwrap_or(JobError::Cancelled);
        let mut innocent = Vec::new();
        let (mut progress, mut is_paid_for) = (false, false);
        for Assigned { mut task, bytes_in, sent, .. } in assigned {
            let called = match exit.current {
                Some((job, called)) if job == task.job_state.id => Some(called),
                _ => None,
            };
            let verdict = match called {
                _ if killing => Some(no_more.clone()),
                _ if task.job_state.is_stopping() => Some(JobError::Cancelled),
                None => {
                    task.attempts -= 1;
                    is_paid_for |= sent && task.undelivered <= self.limits.max_restarts;
                    task.undelivered += u32::from(sent && exit.why.is_none());
                    None
                }
                // Another job may have held the memory.
                Some(_) if exit.is_short && exit.why.is_none() && !task.is_alone => {
                    task.attempts -= 1;
                    None
                }
                Some(_) => self.verdict(&task, exit),
            };
            match verdict {
                Some(error) => {
                    let stamps = &mut task.stamps;
                    stamps.in_hand = stamps.encoded.max(free);
                    stamps.worker_free = free;
                    stamps.called = called.flatten().unwrap_or(0);
                    stamps.collected = now;
                    let worker = Some(WorkerId(slot as u32));
                    let job_result = JobResult::failed(error, worker, pid, bytes_in);
                    state.ended.push((task, job_result));
                    progress = true;
                }
                None => {
                    is_paid_for |= called.is_some();
                    let Some(task) = state.take_back(task) else { continue };
                    if called.is_some() && exit.is_short {
                        self.wait_behind(&mut state, task, &exit.how);
                    } else if task.attempts > 0 {
                        state.quarantined.push_back(task);
                    } else {
                        innocent.push(task);
                    }
                }
            }
        }
        for task in innocent.into_iter().rev() {
            state.queue.push_front(task);
        }
        let mut counts = false;
        if progress {
            state.progress();
        } else if exit.why.is_none() {
            state.deaths.death(exit.generation, exit.newest);
            let short_since = *state.short_since.get_or_insert(now);
            if !exit.is_short {
                state.short_since = None;
            }
            if is_paid_for {
                // A job has one attempt less or one undelivered attempt more, and both are bounded.
                state.idle_deaths.end();
            } else if !exit.is_short || clock::since(short_since) > SHORT_LIMIT {
                counts = state.idle_deaths.death(exit.generation, exit.newest);
            }
        }
        let deaths = state.idle_deaths.length();
        let next = if state.closing || killing {
            RestartDecision::Leave
        } else if counts
            && deaths > self.limits.max_restarts
            && !state.is_any_under_way(self.limits.max_restarts)
        {
            RestartDecision::GiveUp { deaths }
        } else {
            RestartDecision::Restart(pause(state.deaths.length()).max(state.starved.rest(slot)))
        };
        self.dispatch(&mut state);
        self.release(state);
        self.doorbells.wake_leader();
        next
    }

    /// Splits a batch whose worker died in the middle of it: its jobs go on one by one, because
    /// only one of them is to blame.
    fn open_batches(&self, assigned: VecDeque<Assigned>, exit: &WorkerExit) -> Vec<Assigned> {
        let mut opened = Vec::with_capacity(assigned.len());
        for mut whole in assigned {
            let first = whole.task.job_state.id.0;
            let is_in = |batch: &JobBatch| {
                exit.current
                    .is_some_and(|(job, _)| (first..first + batch.count as u64).contains(&job.0))
            };
            match whole.task.batch.take_if(|batch| is_in(batch)) {
                None => opened.push(whole),
                Some(batch) => {
                    // The batch itself no longer counts as a job.
                    self.unfinished.fetch_add(batch.count - 1, Ordering::SeqCst);
                    let tasks = whole.task.dissolve(*batch, whole.task.job_state.id);
                    opened.extend(tasks.into_iter().map(|task| Assigned {
                        task: Box::new(task),
                        bytes_in: 0,
                        sent: true,
                        called: None,
                    }));
                }
            }
        }
        opened
    }

    /// What the death of its worker means for the job that was in hand: the error that it ends
    /// with, or `None` for another attempt.
    fn verdict(&self, task: &Task, exit: &WorkerExit) -> Option<JobError> {
        let id = task.job_state.id;
        match &exit.why {
            Some(KillReason::TimedOut(job, after)) if *job == id => {
                Some(JobError::TimedOut { after: *after })
            }
            Some(KillReason::Cancelled(job)) if *job == id => Some(JobError::Cancelled),
            Some(KillReason::Limit(job, error)) if *job == id => Some(error.clone()),
            Some(_) => None,
            None if task.attempts > self.limits.retries => Some(JobError::Crashed {
                death: exit.how.clone(),
                attempts: task.attempts,
                last_words: exit.last_words.clone(),
            }),
            None => None,
        }
    }
}

/// Stamps the jobs that have ended since there were `before` of them, with one clock reading for
/// all. Returns that reading.
fn stamp(state: &mut State, before: usize) -> Option<Nanos> {
    let State { ended, slots, wake_throttle, .. } = state;
    let fresh = &mut ended[before..];
    if fresh.is_empty() {
        return None;
    }
    let now = clock::now();
    for (task, job_result) in fresh {
        let stamps = &mut task.stamps;
        stamps.collected = now;
        stamps.settle();
        let occupied = stamps.published - stamps.in_hand;
        wake_throttle.learn(occupied);
        if let Some(slot) = job_result.worker.and_then(|worker| slots.get_mut(worker.0 as usize)) {
            slot.report.busy_ns += occupied;
            stamps.worker_free = slot.free;
            slot.free = stamps.published;
        }
    }
    Some(now)
}
