//! How a pool ends: it refuses new jobs, cancels or finishes accepted jobs, and lets the workers
//! leave.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use brigade_ipc::MAX_MESSAGE;
use brigade_ipc::wire::{self, RingRequest};
use brigade_proto::{JobError, WorkerId};

use super::{Dispatcher, WorkerSlot};
use crate::PoolError;
use crate::executor::{Stop, WorkerReport};

/// As many region numbers as always fit into one request.
const MOST_TO_FORGET: usize = 50;

impl Dispatcher {
    /// Refuses further jobs and cancels the jobs that wait in the queue or for an input. Returns
    /// false if the pool was already stopped in this way or a stricter one.
    pub(in super::super) fn stop(&self, how: Stop) -> bool {
        self.refuse(how, &JobError::Cancelled)
    }

    fn refuse(&self, how: Stop, error: &JobError) -> bool {
        let mut state = self.lock();
        let news = state.stopped < Some(how);
        state.stopped = state.stopped.max(Some(how));
        let mut queue = std::mem::take(&mut state.queue);
        queue.append(&mut state.quarantined);
        queue.append(state.starved.take_all());
        self.give_up_reading(&mut state, error);
        self.make_room(&state);
        self.release(state);
        let count = queue.len();
        for task in queue {
            // A job that cannot be taken was cancelled and is already reported.
            if task.job_state.take() {
                task.finish_unrun(error.clone());
            }
        }
        if count > 0 {
            self.finished(count);
        }
        self.doorbells.wake_leader();
        news
    }

    /// Gives up the pool because it cannot go on: no waiting or running job will be finished.
    pub(in super::super) fn give_up(&self, reason: &PoolError) {
        let error = JobError::PoolGaveUp { reason: reason.to_string() };
        self.lock().gave_up = Some(error.clone());
        self.refuse(Stop::Kill, &error);
    }

    /// A thread of the pool has panicked. It may have owned jobs, so [`Dispatcher::close`] no
    /// longer waits for the count of unfinished jobs. Call this after everything else that ends
    /// jobs.
    pub(in super::super) fn on_thread_panic(&self) {
        self.has_panicked.store(true, Ordering::SeqCst);
        // Under the lock, so that a thread that is about to sleep does not miss the notification.
        drop(self.lock());
        self.idle.notify_all();
    }

    /// Waits until every accepted job is reported, then tells the workers to leave.
    pub(in super::super) fn close(&self) {
        let mut state = self.lock();
        self.awaited.store(true, Ordering::SeqCst);
        // Perhaps no caller is left to collect, so the completion thread must.
        state.is_unpolled = true;
        self.update_wake_policy(&mut state);
        self.collect(&mut state);
        self.release(state);
        let mut state = self.lock();
        while self.unfinished.load(Ordering::SeqCst) > 0
            && !self.has_panicked.load(Ordering::SeqCst)
        {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stopped = state.stopped.max(Some(Stop::Drain));
        state.closing = true;
        for slot in 0..state.slots.len() {
            self.begin_drain(&mut state, slot);
        }
        self.release(state);
        self.doorbells.wake_completion_thread();
    }

    /// Whether a worker that exits does so because it was told to.
    pub(in super::super) fn is_leaving(&self, slot: usize) -> bool {
        let state = self.lock();
        let slot = &state.slots[slot];
        state.closing || slot.leaving || (self.is_served(slot) && slot.assigned.is_empty())
    }

    /// Gives unused input memory back to the operating system; returns how many bytes that were.
    pub(super) fn trim(&self) -> usize {
        let mut arenas = vec![Arc::clone(&self.arena)];
        if self.has_own_inputs {
            let state = self.lock();
            let connections = state.slots.iter().filter_map(|slot| slot.connection.as_ref());
            arenas.extend(connections.map(|connection| Arc::clone(&connection.inputs)));
        }
        // Without the lock, because unmapping takes a while.
        let bytes = arenas.iter().map(|arena| arena.trim()).sum();
        let mut state = self.lock();
        let slots = state.slots.iter_mut().filter(|slot| slot.ready && !slot.leaving);
        for connection in slots.filter_map(|slot| slot.connection.as_mut()) {
            let mut regions = connection.inputs.gone(&connection.regions);
            regions.truncate(MOST_TO_FORGET);
            if regions.is_empty() {
                continue;
            }
            let mut buffer = [0; MAX_MESSAGE];
            let request = RingRequest::Forget { regions: regions.clone() };
            // If the ring has no space for the request, the worker is told the next time.
            if let Ok(Some(len)) = wire::encode_request(&request, &mut buffer)
                && connection.endpoint.send_request(&buffer[..len])
            {
                connection.regions.retain(|known| !regions.contains(known));
            }
        }
        bytes
    }

    pub(in super::super) fn reports(&self) -> Vec<WorkerReport> {
        let state = self.lock();
        let report = |(index, slot): (usize, &WorkerSlot)| WorkerReport {
            worker: WorkerId(index as u32),
            pid: slot.pid,
            jobs: slot.report.jobs,
            busy_ns: slot.report.busy_ns,
            ready_ns: slot.report.ready_ns,
            cpu_ns: Some(slot.report.cpu_ns),
            peak_rss_bytes: Some(slot.report.peak_rss_bytes).filter(|&bytes| bytes > 0),
        };
        state.slots.iter().enumerate().map(report).collect()
    }
}
