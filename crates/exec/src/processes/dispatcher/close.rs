//! How a pool ends: jobs are refused, given up, or finished, and workers go.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use brigade_ipc::MAX_MESSAGE;
use brigade_ipc::wire::{self, Order};
use brigade_proto::{JobError, WorkerId};

use super::{Dispatcher, WorkerSlot};
use crate::PoolError;
use crate::executor::{Stop, WorkerReport};

/// Regions that surely fit one order.
const MOST_TO_FORGET: usize = 50;

impl Dispatcher {
    /// No further jobs; those that wait in the queue, or for an input, are cancelled. Returns false
    /// if that has happened before.
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
            // One that cannot be taken was cancelled, and has been reported.
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

    /// The pool cannot go on: nothing that waits or runs will be finished.
    pub(in super::super) fn give_up(&self, reason: &PoolError) {
        let error = JobError::PoolGaveUp { reason: reason.to_string() };
        self.lock().gave_up = Some(error.clone());
        self.refuse(Stop::Kill, &error);
    }

    /// A thread has panicked, and may have taken jobs with it: the count of those that are
    /// unfinished is not waited for. After everything else that ends them.
    pub(in super::super) fn on_thread_panic(&self) {
        self.has_panicked.store(true, Ordering::SeqCst);
        // Under the lock, so that who is about to sleep does not miss it.
        drop(self.lock());
        self.idle.notify_all();
    }

    /// Waits until every accepted job has been reported, then lets the workers go.
    pub(in super::super) fn close(&self) {
        let mut state = self.lock();
        self.awaited.store(true, Ordering::SeqCst);
        // Nobody else may be there to collect.
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

    /// Whether a worker that leaves does so because it was told to.
    pub(in super::super) fn is_leaving(&self, slot: usize) -> bool {
        let state = self.lock();
        let slot = &state.slots[slot];
        state.closing || slot.leaving || (self.is_served(slot) && slot.assigned.is_empty())
    }

    /// Gives memory for inputs that is not in use back to the operating system.
    pub(super) fn trim(&self) -> usize {
        let mut arenas = vec![Arc::clone(&self.arena)];
        if self.has_own_inputs {
            let state = self.lock();
            let wires = state.slots.iter().filter_map(|slot| slot.wire.as_ref());
            arenas.extend(wires.map(|wire| Arc::clone(&wire.inputs)));
        }
        // Without the lock: to unmap memory takes a while.
        let bytes = arenas.iter().map(|arena| arena.trim()).sum();
        let mut state = self.lock();
        let slots = state.slots.iter_mut().filter(|slot| slot.ready && !slot.leaving);
        for wire in slots.filter_map(|slot| slot.wire.as_mut()) {
            let mut regions = wire.inputs.gone(&wire.regions);
            regions.truncate(MOST_TO_FORGET);
            if regions.is_empty() {
                continue;
            }
            let mut buffer = [0; MAX_MESSAGE];
            let order = Order::Forget { regions: regions.clone() };
            // If there is no room for it, the worker is told the next time.
            if let Ok(Some(len)) = wire::encode_order(&order, &mut buffer)
                && wire.pass.order(&buffer[..len])
            {
                wire.regions.retain(|known| !regions.contains(known));
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
