//! What a lane's runner does: it fetches inputs, and sends by mail what does not go through rings.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use brigade_ipc::wire::{self, Order};
use brigade_proto::{Bytes, JobError, JobId, Params, Source, WorkerId};
use brigade_sys::clock;

use super::{Assigned, Chore, Crew, State};
use crate::ticket::End;

/// What a lane's runner is to do.
pub(in super::super) enum Errand {
    /// To deliver a job.
    Job(Delivery),
    /// To send a region of the arena.
    Region(u32),
}

/// A job whose inputs a lane's runner is to fetch, and to send if they do not fit
/// the arena.
pub(in super::super) struct Delivery {
    pub(in super::super) job: JobId,
    pub(in super::super) kernel: u32,
    pub(in super::super) params: Arc<Params>,
    pub(in super::super) inputs: Vec<Source>,
    pub(in super::super) timeout: Option<Duration>,
    /// Whether it is asked for what is in its files.
    pub(in super::super) digests: bool,
}

impl Crew {
    /// The next errand of a lane's runner. Waits for one; `None` when there will be
    /// no more.
    pub(in super::super) fn next_errand(&self, lane: usize, tenure: u64) -> Option<Errand> {
        let mut state = self.lock();
        loop {
            let closing = state.closing;
            let entry = state.lane(lane, tenure).filter(|entry| entry.ready)?;
            while let Some(chore) = entry.errands.pop_front() {
                let job = match chore {
                    Chore::Region(region) => return Some(Errand::Region(region)),
                    Chore::Job(job) => job,
                };
                let Some(place) = entry.find(job) else { continue };
                let task = &entry.assigned[place].task;
                return Some(Errand::Job(Delivery {
                    job,
                    kernel: task.kernel.0,
                    params: Arc::clone(&task.params),
                    inputs: task.inputs.clone(),
                    timeout: task.timeout,
                    digests: task.digests.is_some(),
                }));
            }
            if closing || self.is_served(entry) {
                return None;
            }
            state = self.errands[lane].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All inputs of a job are in the arena now; sends it. False if the order does
    /// not fit a ring's slot.
    pub(in super::super) fn placed(
        &self,
        lane: usize,
        tenure: u64,
        job: JobId,
        inputs: Vec<Bytes>,
        digests: Vec<[u8; 32]>,
    ) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.lane(lane, tenure) else {
            // Its worker has died meanwhile; the job is somewhere else.
            return true;
        };
        let Some(place) = entry.find(job) else {
            return true;
        };
        let task = &mut entry.assigned[place].task;
        task.inputs = inputs.into_iter().map(Source::Bytes).collect();
        task.saw(digests);
        let sent = self.order(lane, entry, place);
        self.collect(&mut state);
        self.release(state);
        sent
    }

    /// A job's inputs are in the mail's payloads; it is about to be sent. False if it is not to
    /// be: it has ended meanwhile.
    pub(in super::super) fn encoded(
        &self,
        lane: usize,
        tenure: u64,
        job: JobId,
        bytes_in: u64,
        digests: Vec<[u8; 32]>,
    ) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.lane(lane, tenure) else { return false };
        let Some(place) = entry.find(job) else { return false };
        let assigned = &mut entry.assigned[place];
        assigned.task.stamps.encoded = clock::now();
        assigned.task.saw(digests);
        assigned.bytes_in = bytes_in;
        assigned.sent = true;
        true
    }

    /// Whether somebody still waits for the inputs of a job.
    pub(in super::super) fn is_awaited(&self, lane: usize, tenure: u64, job: JobId) -> bool {
        let mut state = self.lock();
        let entry = state.lane(lane, tenure).filter(|entry| entry.ready);
        let assigned = entry.and_then(|entry| Some(&entry.assigned[entry.find(job)?]));
        assigned.is_some_and(|assigned| !assigned.task.ticket.is_stopping())
    }

    /// Ends the jobs whose inputs are not there yet: one may be a pipe that nobody will ever
    /// write to, or on a file system that does not answer. Who reads it finds out, or is not
    /// waited for ([`link`](super::super::link)).
    pub(super) fn give_up_reading(&self, state: &mut State, error: &JobError) {
        for lane in 0..state.lanes.len() {
            let entry = &mut state.lanes[lane];
            if entry.errands.is_empty() && entry.assigned.iter().all(|assigned| assigned.sent) {
                continue;
            }
            entry.errands.retain(|chore| matches!(chore, Chore::Region(_)));
            let (told, unread): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut entry.assigned).into_iter().partition(|a| a.sent);
            entry.assigned = told;
            entry.given -= unread.len() as u64;
            let pid = entry.pid;
            for Assigned { mut task, bytes_in, .. } in unread {
                let now = clock::now();
                task.stamps.encoded = now;
                task.stamps.collected = now;
                let worker = Some(WorkerId(lane as u32));
                state.ended.push((task, End::failed(error.clone(), worker, pid, bytes_in)));
            }
        }
    }

    /// There is a job in the mail: a worker with rings has to be told.
    pub(in super::super) fn posted(&self, lane: usize, tenure: u64) {
        let mut state = self.lock();
        if let Some(wire) = state.lane(lane, tenure).and_then(|entry| entry.wire.as_mut()) {
            let mut buffer = [0; 16];
            if let Ok(Some(len)) = wire::encode_order(&Order::Mail, &mut buffer) {
                wire.pass.order(&buffer[..len]);
            }
        }
    }

    /// A job cannot be delivered: an input cannot be read, or does not fit.
    pub(in super::super) fn undeliverable(
        &self,
        lane: usize,
        tenure: u64,
        job: JobId,
        error: JobError,
    ) {
        let mut state = self.lock();
        let Some(entry) = state.lane(lane, tenure) else {
            return;
        };
        let Some(Assigned { mut task, bytes_in, .. }) =
            entry.find(job).and_then(|place| entry.assigned.remove(place))
        else {
            return;
        };
        // Another one may be delivered in its place.
        entry.given -= 1;
        if let JobError::Shortage { bytes, message } = &error {
            match self.wait_for_memory(&mut state, task, *bytes, message) {
                Ok(()) => {
                    self.deal(&mut state);
                    self.release(state);
                    self.bells.call_leader();
                    return;
                }
                Err(fails) => task = fails,
            }
        }
        let entry = &state.lanes[lane];
        let pid = entry.pid;
        let is_over = self.is_served(entry) && entry.assigned.is_empty();
        state.progress();
        let stamps = &mut task.stamps;
        stamps.collected = clock::now();
        if stamps.encoded == 0 {
            stamps.encoded = stamps.collected;
        }
        let worker = Some(WorkerId(lane as u32));
        let end = End::failed(error, worker, pid, bytes_in);
        state.ended.push((task, end));
        if is_over {
            self.dismiss(&mut state, lane);
        }
        self.deal(&mut state);
        self.release(state);
        self.bells.call_leader();
    }
}
