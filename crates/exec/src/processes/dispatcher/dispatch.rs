//! Dispatching: how jobs get from the queue to a worker.

use std::collections::VecDeque;
use std::sync::Arc;

use brigade_ipc::wire::{self, BatchBody, BatchRun, PayloadLocation, RingRequest};
use brigade_ipc::{Arena, MAX_MESSAGE};
use brigade_proto::{Bytes, JobId, Nanos, Source, Stamps};
use brigade_sys::clock;

use super::{Assigned, Dispatcher, QueuedStaging, State, WorkerSlot};
use crate::batch::JobBatch;
use crate::load;
use crate::log::{is_chatty, tell_assigned};
use crate::task::Task;

/// An encoded batch of up to this many bytes always fits into a request.
const ROOM_FOR_RUNS: usize = 300;

impl Dispatcher {
    /// Whether the slot's worker gets no more jobs, because it has had its share or has grown too
    /// large.
    pub(super) fn is_served(&self, slot: &WorkerSlot) -> bool {
        slot.outgrown || slot.share.is_some_and(|share| slot.given >= share)
    }

    /// Picks the slot for the next job: the one with the fewest jobs among the first `width` slots
    /// that accept a job, without `reserved`. A slot without a job gets one at once. A slot that
    /// has a job gets another in advance only while so many jobs wait that the other workers lose
    /// nothing by it.
    fn pick_worker(&self, state: &State, reserved: Option<usize>, width: usize) -> Option<usize> {
        let ready = || state.slots.iter().enumerate().filter(|(_, slot)| slot.ready);
        let (index, slot) = ready()
            .filter(|(index, slot)| Some(*index) != reserved && self.takes_more(slot))
            .take(width)
            .min_by_key(|(_, slot)| slot.assigned.len())?;
        let has = slot.assigned.len();
        let others = || ready().count().min(width);
        let fits = has == 0 || (has < self.limits.depth && state.queue.len() > others());
        fits.then_some(index)
    }

    pub(super) fn takes_more(&self, slot: &WorkerSlot) -> bool {
        !slot.leaving && !self.is_served(slot) && !slot.is_on_probation()
    }

    /// Gives quarantined jobs to workers. Each job goes to a worker that has no other job and gets
    /// none meanwhile, so the death of that worker delays no other job. Only a few workers run
    /// quarantined jobs at a time, so that jobs that kill their worker do not take all workers
    /// down. Returns the slot that must get no more jobs until it is free for the next quarantined
    /// job.
    #[cold]
    fn try_quarantined(&self, state: &mut State) -> Option<usize> {
        let most = (state.slots.len() / 4).max(1);
        loop {
            let on_probation = state.slots.iter().filter(|slot| slot.is_on_probation()).count();
            if state.quarantined.is_empty() || on_probation >= most {
                return None;
            }
            let slots = state.slots.iter().enumerate();
            let (slot, next) = slots
                .filter(|(_, slot)| slot.ready && self.takes_more(slot))
                .min_by_key(|(_, slot)| slot.assigned.len())?;
            if !next.assigned.is_empty() {
                return Some(slot);
            }
            let task = state.quarantined.pop_front()?;
            if task.job_state.take() {
                self.assign(state, slot, task, clock::now());
            } else {
                // Cancelled while it waited, and already reported.
                state.dropped += 1;
            }
        }
    }

    /// Gives waiting jobs to workers.
    pub(super) fn dispatch(&self, state: &mut State) {
        self.dispatch_at(state, None);
    }

    /// Like [`Dispatcher::dispatch`], for a caller that has just read the clock.
    pub(super) fn dispatch_at(&self, state: &mut State, mut now: Option<Nanos>) {
        if state.closing {
            return;
        }
        if state.starved.is_any() && !self.try_starved(state) {
            return;
        }
        let reserved =
            if state.quarantined.is_empty() { None } else { self.try_quarantined(state) };
        let width = state.width();
        while !state.queue.is_empty()
            && let Some(slot) = self.pick_worker(state, reserved, width)
            && let Some(task) = state.queue.pop_front()
        {
            if task.job_state.take() {
                let now = now.take().unwrap_or_else(clock::now);
                self.assign(state, slot, task, now);
            } else {
                // Cancelled in the queue, and already reported.
                state.dropped += 1;
            }
        }
        state.wake_throttle.holds = width < state.slots.len() && !state.queue.is_empty();
        self.make_room(state);
    }

    /// Gives jobs to all workers that can take one, even to those that the wake throttle leaves
    /// asleep. For a thread that is about to sleep and so could not do it later.
    pub(super) fn dispatch_all(&self, state: &mut State) {
        if state.wake_throttle.holds {
            state.wake_throttle.forget();
            self.dispatch(state);
        }
    }

    /// Wakes the callers that wait for space in the queue, if there is any or the pool was stopped.
    pub(super) fn make_room(&self, state: &State) {
        if state.waiting_for_room > 0
            && (state.queue.len() < self.limits.queue || state.stopped.is_some())
        {
            self.has_room.store(true, std::sync::atomic::Ordering::Release);
            self.room.notify_all();
            self.doorbells.wake_leader();
        }
    }

    pub(super) fn assign(&self, state: &mut State, index: usize, mut task: Box<Task>, now: Nanos) {
        task.attempts += 1;
        task.stamps.assigned = now;
        if let Some(timeout) = task.timeout
            && let Some(supervisor) = self.supervisor.get()
        {
            supervisor.watch_deadline(timeout);
        }
        if is_chatty() {
            tell_assigned(task.job_state.id, index);
        }
        let slot = &mut state.slots[index];
        let job = task.job_state.id;
        let count = task.batch.as_ref().map_or(1, |batch| batch.count as u64);
        slot.given += count;
        let is_batch = task.batch.is_some();
        slot.assigned.push_back(Assigned { task, bytes_in: 0, sent: false, called: None });
        let place = slot.assigned.len() - 1;
        if is_batch {
            if !self.send_batch(index, slot, place) {
                // There is no space in the arena or the ring, or the worker has no rings: its jobs
                // go one by one.
                slot.given -= count;
                let whole = slot.assigned.pop_back();
                self.take_apart(state, whole.map(|assigned| assigned.task));
            }
        } else if !self.send_job(index, slot, place) {
            slot.staging.push_back(QueuedStaging::Job(job));
            self.staging[index].notify_one();
        }
    }

    /// Puts the jobs of a batch at the head of the queue, as if no worker had been given them.
    #[cold]
    fn take_apart(&self, state: &mut State, whole: Option<Box<Task>>) {
        let Some(mut whole) = whole else { return };
        let Some(batch) = whole.batch.take() else { return };
        self.put_back(state, *batch, whole.job_state.id, &whole);
        // The batch itself no longer counts as a job.
        state.dropped += 1;
    }

    /// Puts jobs of a batch that were not run at the head of the queue. Their numbers begin with
    /// `first`.
    #[cold]
    pub(super) fn put_back(&self, state: &mut State, batch: JobBatch, first: JobId, whole: &Task) {
        self.unfinished.fetch_add(batch.count, std::sync::atomic::Ordering::SeqCst);
        for mut task in whole.dissolve(batch, first).into_iter().rev() {
            task.attempts -= 1;
            task.stamps = Stamps { submitted: whole.stamps.submitted, ..Stamps::default() };
            task.job_state.put_back();
            state.queue.push_front(Box::new(task));
        }
    }

    /// Sends an assigned batch through the ring; returns whether it was sent.
    #[inline(never)]
    fn send_batch(&self, index: usize, slot: &mut WorkerSlot, place: usize) -> bool {
        let WorkerSlot { connection, assigned, staging, .. } = slot;
        let (Some(connection), Some(assigned)) = (connection, assigned.get_mut(place)) else {
            return false;
        };
        let task: &mut Task = &mut assigned.task;
        let Some(batch) = &task.batch else { return false };
        let bytes = |inputs: &Vec<Source>| {
            inputs
                .iter()
                .map(|source| match source {
                    Source::Bytes(bytes) => bytes.to_vec().into(),
                    Source::File(_) => serde_bytes::ByteBuf::new(),
                })
                .collect()
        };
        let runs: Vec<BatchRun> = batch
            .runs
            .iter()
            .map(|run| BatchRun {
                kernel: run.kernel.0,
                params: Arc::clone(&run.params),
                count: run.count as u32,
                inputs: run.inputs.iter().map(bytes).collect(),
            })
            .collect();
        let mut returned = connection.outputs.returned();
        let body: BatchBody = (runs, connection.outputs.more_returned());
        let mut buffer = [0; MAX_MESSAGE];
        let runs = wire::encode_bulk(&body).ok();
        let encoded = runs
            .and_then(|runs| place_runs(&connection.inputs, &mut task.inputs, runs))
            .and_then(|runs| {
                self.announce(index, &mut connection.regions, staging, std::slice::from_ref(&runs));
                let (first, count) = (task.job_state.id, batch.count as u32);
                let request = RingRequest::Batch { first, count, runs, returned: returned.clone() };
                wire::encode_request(&request, &mut buffer).ok()?
            });
        task.stamps.encoded = clock::now();
        assigned.sent = encoded.is_some_and(|len| connection.endpoint.send_request(&buffer[..len]));
        if !assigned.sent {
            returned.extend(body.1);
            connection.outputs.not_returned(&returned);
        }
        assigned.sent
    }

    /// Has the regions sent that a request names and the worker does not know yet; the worker waits
    /// for them. The staging thread sends them: a worker that does not read its control channel
    /// blocks the sending thread, and the thread that runs here holds the lock.
    fn announce(
        &self,
        index: usize,
        known: &mut Vec<u32>,
        staging: &mut VecDeque<QueuedStaging>,
        locations: &[PayloadLocation],
    ) {
        for location in locations {
            if let PayloadLocation::Slab { region, .. } = location
                && !known.contains(region)
            {
                known.push(*region);
                staging.push_back(QueuedStaging::Region(*region));
                self.staging[index].notify_one();
            }
        }
    }

    /// Sends an assigned job through the ring, if a request can name all its inputs. Returns
    /// whether it was sent.
    pub(super) fn send_job(&self, index: usize, slot: &mut WorkerSlot, place: usize) -> bool {
        let WorkerSlot { connection, assigned, staging, .. } = slot;
        let (Some(connection), Some(assigned)) = (connection, assigned.get_mut(place)) else {
            return false;
        };
        let task = &mut assigned.task;
        let mut inputs = Vec::with_capacity(task.inputs.len());
        let mut bytes_in = 0;
        for source in &task.inputs {
            let Source::Bytes(bytes) = source else {
                return false;
            };
            bytes_in += bytes.len() as u64;
            inputs.push(match connection.inputs.location(bytes) {
                Some(location) => location,
                None if bytes.len() <= load::TINY => PayloadLocation::Here(bytes.to_vec().into()),
                None => return false,
            });
        }
        self.announce(index, &mut connection.regions, staging, &inputs);
        let request = RingRequest::Job {
            job: task.job_state.id,
            kernel: task.kernel.0,
            params: Arc::clone(&task.params),
            timeout: task.timeout,
            inputs,
            returned: connection.outputs.returned(),
        };
        let mut buffer = [0; MAX_MESSAGE];
        let Ok(Some(len)) = wire::encode_request(&request, &mut buffer) else {
            if let RingRequest::Job { returned, .. } = &request {
                connection.outputs.not_returned(returned);
            }
            return false;
        };
        task.stamps.encoded = clock::now();
        assigned.bytes_in = bytes_in;
        assigned.sent = connection.endpoint.send_request(&buffer[..len]);
        if connection.endpoint.has_woken() {
            self.has_woken.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        assigned.sent
    }

    /// Copies the payloads of a task into the arena on the submitting thread, if a worker is free
    /// for the task: that worker then waits for nothing but the copy. Payloads of a task that has
    /// to queue are not copied, because a queue of payloads would fill the arena.
    pub(super) fn place_ahead(&self, task: &mut Task) {
        let is_placed = |source: &Source| match source {
            Source::Bytes(bytes) => load::is_placed(bytes, &self.arena),
            Source::File(_) => true,
        };
        if task.inputs.iter().all(is_placed) {
            return;
        }
        let Some(arena) = self.arena_of_free_worker() else { return };
        for source in &mut task.inputs {
            if matches!(source, Source::Bytes(_))
                && let Ok(Some(bytes)) = load::place(source, &arena, &load::NEVER)
            {
                *source = Source::Bytes(bytes);
            }
        }
    }

    /// The arena for the inputs of the next job, if a worker is free for it.
    fn arena_of_free_worker(&self) -> Option<Arc<Arena>> {
        let state = self.lock();
        if !state.queue.is_empty() {
            return None;
        }
        let is_free = |slot: &&WorkerSlot| {
            slot.ready && slot.connection.is_some() && slot.assigned.is_empty()
        };
        let free = if self.has_own_inputs {
            // This worker gets the job unless another thread dispatches first. If another worker
            // gets it, that worker's staging thread copies the inputs once more.
            state.slots.get(self.pick_worker(&state, None, state.width())?).filter(is_free)?
        } else {
            state.slots.iter().find(is_free)?
        };
        Some(Arc::clone(&free.connection.as_ref()?.inputs))
    }

    /// Tells a worker that no more jobs will come.
    pub(super) fn begin_drain(&self, state: &mut State, index: usize) {
        let slot = &mut state.slots[index];
        self.staging[index].notify_all();
        if !slot.ready || slot.leaving {
            return;
        }
        slot.leaving = true;
        slot.note_peak();
        // A worker without rings leaves when its staging thread closes the control channel.
        if let Some(connection) = &mut slot.connection {
            let mut buffer = [0; 16];
            if let Ok(Some(len)) = wire::encode_request(&RingRequest::Leave, &mut buffer) {
                connection.endpoint.send_request(&buffer[..len]);
            }
        }
    }
}

/// Where the worker finds the description of a batch: in the request or in its arena. `None` if the
/// arena is full.
fn place_runs(arena: &Arena, inputs: &mut Vec<Source>, runs: Vec<u8>) -> Option<PayloadLocation> {
    if runs.len() <= ROOM_FOR_RUNS {
        return Some(PayloadLocation::Here(runs.into()));
    }
    let mut slab = arena.take(runs.len())?;
    slab.copy_from_slice(&runs);
    // The task owns the slab, so it lives as long as the task.
    let bytes = Bytes::from_owner(Arc::new(slab));
    let location = arena.location(&bytes)?;
    *inputs = vec![Source::Bytes(bytes)];
    Some(location)
}
