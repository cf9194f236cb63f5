//! What a slot's staging thread does: it reads inputs, and it sends over the control channel what
//! does not go through the rings.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use brigade_ipc::wire::{self, RingRequest};
use brigade_proto::{Bytes, JobError, JobId, Params, Source, WorkerId};
use brigade_sys::clock;

use super::{Assigned, Dispatcher, QueuedStaging, State};
use crate::task::JobResult;

/// A task for a slot's staging thread.
pub(in super::super) enum StagingTask {
    /// Deliver a job.
    Job(JobStaging),
    /// Send a region of the arena.
    Region(u32),
}

/// A job whose inputs the staging thread reads. If they do not fit the arena, the thread also sends
/// the job over the control channel.
pub(in super::super) struct JobStaging {
    pub(in super::super) job: JobId,
    pub(in super::super) kernel: u32,
    pub(in super::super) params: Arc<Params>,
    pub(in super::super) inputs: Vec<Source>,
    pub(in super::super) timeout: Option<Duration>,
    /// Whether the caller asked for digests of the job's files.
    pub(in super::super) digests: bool,
}

impl Dispatcher {
    /// Waits for the next task of a slot's staging thread. Returns `None` when no more will come.
    pub(in super::super) fn next_staging_task(
        &self,
        slot: usize,
        generation: u64,
    ) -> Option<StagingTask> {
        let mut state = self.lock();
        loop {
            let closing = state.closing;
            let entry = state.slot(slot, generation).filter(|entry| entry.ready)?;
            while let Some(queued) = entry.staging.pop_front() {
                let job = match queued {
                    QueuedStaging::Region(region) => return Some(StagingTask::Region(region)),
                    QueuedStaging::Job(job) => job,
                };
                let Some(place) = entry.find(job) else { continue };
                let task = &entry.assigned[place].task;
                return Some(StagingTask::Job(JobStaging {
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
            state = self.staging[slot].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends a job whose inputs are all in the arena now. Returns false if it cannot go through the
    /// ring.
    pub(in super::super) fn placed(
        &self,
        slot: usize,
        generation: u64,
        job: JobId,
        inputs: Vec<Bytes>,
        digests: Vec<[u8; 32]>,
    ) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.slot(slot, generation) else {
            // The worker has died meanwhile, and the job is somewhere else.
            return true;
        };
        let Some(place) = entry.find(job) else {
            return true;
        };
        let task = &mut entry.assigned[place].task;
        task.inputs = inputs.into_iter().map(Source::Bytes).collect();
        task.saw(digests);
        let sent = self.send_job(slot, entry, place);
        self.collect(&mut state);
        self.release(state);
        sent
    }

    /// The inputs of a job are payloads of a control message that is about to be sent. Returns
    /// false if it must not be sent, because the job or its worker has ended meanwhile.
    pub(in super::super) fn encoded(
        &self,
        slot: usize,
        generation: u64,
        job: JobId,
        bytes_in: u64,
        digests: Vec<[u8; 32]>,
    ) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.slot(slot, generation) else { return false };
        let Some(place) = entry.find(job) else { return false };
        let assigned = &mut entry.assigned[place];
        assigned.task.stamps.encoded = clock::now();
        assigned.task.saw(digests);
        assigned.bytes_in = bytes_in;
        assigned.sent = true;
        true
    }

    /// Whether the inputs of a job are still wanted.
    pub(in super::super) fn is_awaited(&self, slot: usize, generation: u64, job: JobId) -> bool {
        let mut state = self.lock();
        let entry = state.slot(slot, generation).filter(|entry| entry.ready);
        let assigned = entry.and_then(|entry| Some(&entry.assigned[entry.find(job)?]));
        assigned.is_some_and(|assigned| !assigned.task.job_state.is_stopping())
    }

    /// Ends the jobs whose inputs are not read yet. An input may be a pipe that no process will
    /// ever write to, or a file on a file system that does not answer. The staging thread that
    /// reads it notices that its job has ended. If the read blocks that thread in the kernel, the
    /// control reader does not wait for it ([`control`](super::super::control)).
    pub(super) fn give_up_reading(&self, state: &mut State, error: &JobError) {
        for slot in 0..state.slots.len() {
            let entry = &mut state.slots[slot];
            if entry.staging.is_empty() && entry.assigned.iter().all(|assigned| assigned.sent) {
                continue;
            }
            entry.staging.retain(|queued| matches!(queued, QueuedStaging::Region(_)));
            let (told, unread): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut entry.assigned).into_iter().partition(|a| a.sent);
            entry.assigned = told;
            entry.given -= unread.len() as u64;
            let pid = entry.pid;
            for Assigned { mut task, bytes_in, .. } in unread {
                let now = clock::now();
                task.stamps.encoded = now;
                task.stamps.collected = now;
                let worker = Some(WorkerId(slot as u32));
                state.ended.push((task, JobResult::failed(error.clone(), worker, pid, bytes_in)));
            }
        }
    }

    /// A job was sent over the control channel. If the worker has rings, tells it so through its
    /// ring.
    pub(in super::super) fn posted(&self, slot: usize, generation: u64) {
        let mut state = self.lock();
        if let Some(connection) =
            state.slot(slot, generation).and_then(|entry| entry.connection.as_mut())
        {
            let mut buffer = [0; 16];
            if let Ok(Some(len)) = wire::encode_request(&RingRequest::ControlMessage, &mut buffer) {
                connection.endpoint.send_request(&buffer[..len]);
            }
        }
    }

    /// A job cannot be delivered, because an input cannot be read or does not fit.
    pub(in super::super) fn undeliverable(
        &self,
        slot: usize,
        generation: u64,
        job: JobId,
        error: JobError,
    ) {
        let mut state = self.lock();
        let Some(entry) = state.slot(slot, generation) else {
            return;
        };
        let Some(Assigned { mut task, bytes_in, .. }) =
            entry.find(job).and_then(|place| entry.assigned.remove(place))
        else {
            return;
        };
        // The job does not count towards its worker's share.
        entry.given -= 1;
        if let JobError::Shortage { bytes, message } = &error {
            match self.wait_for_memory(&mut state, task, *bytes, message) {
                Ok(()) => {
                    self.dispatch(&mut state);
                    self.release(state);
                    self.doorbells.wake_leader();
                    return;
                }
                Err(fails) => task = fails,
            }
        }
        let entry = &state.slots[slot];
        let pid = entry.pid;
        let is_over = self.is_served(entry) && entry.assigned.is_empty();
        state.progress();
        let stamps = &mut task.stamps;
        stamps.collected = clock::now();
        if stamps.encoded == 0 {
            stamps.encoded = stamps.collected;
        }
        let worker = Some(WorkerId(slot as u32));
        let job_result = JobResult::failed(error, worker, pid, bytes_in);
        state.ended.push((task, job_result));
        if is_over {
            self.begin_drain(&mut state, slot);
        }
        self.dispatch(&mut state);
        self.release(state);
        self.doorbells.wake_leader();
    }
}
