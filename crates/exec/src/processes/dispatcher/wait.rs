//! Who collects answers: the caller that waits, as the leader; or, while no caller
//! is there, the completion thread, a thread that sleeps for as long as it is not needed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use brigade_ipc::WakePolicy;
use brigade_sys::clock;

use super::super::spawn;
use super::{Dispatcher, State, wake_throttle};
use crate::executor;
use crate::job_state::Waitable;

/// How long a pool is idle before it gives back memory that it does not use: long enough
/// that bursts a few seconds apart find it as they left it. To have a page provided again
/// takes 1 to 4 us on a virtual machine, which is several times what using it takes.
const IDLE: Duration = Duration::from_secs(10);
/// How long somebody sleeps on a doorbell at most before looking by itself, while jobs are
/// under way and otherwise: all workers can write to the doorbells, and one that is no good
/// could keep the others' calls from being heard.
const LOOK: Duration = Duration::from_millis(100);
const IDLE_LOOK: Duration = Duration::from_secs(2);

impl Dispatcher {
    /// Waits for something that a job brings, for at most `limit`.
    pub(in super::super) fn wait(&self, wanted: &dyn Waitable, limit: Option<Duration>) {
        let is_there = || {
            wanted.is_ready() || {
                self.try_poll();
                wanted.is_ready()
            }
        };
        let spin_policy = executor::spin_policy(self.spin);
        let spin_policy = match self.has_woken.swap(false, Ordering::Relaxed) {
            true => spin_policy.after_a_wake_up(),
            false => spin_policy,
        };
        if spin_policy.wait(is_there) {
            return;
        }
        let begin = clock::now();
        loop {
            let left = match limit.map(|limit| limit.checked_sub(clock::since(begin))) {
                Some(None) => return,
                Some(left) => left,
                None => None,
            };
            let mut state = self.lock();
            self.collect(&mut state);
            if !state.ended.is_empty() || state.dropped > 0 || wanted.is_ready() {
                self.release(state);
                if wanted.is_ready() {
                    return;
                }
                continue;
            }
            if self.in_transit.load(Ordering::Acquire) > 0 {
                drop(state);
                std::thread::yield_now();
                if wanted.is_ready() {
                    return;
                }
                continue;
            }
            self.dispatch_all(&mut state);
            if state.is_led {
                // Somebody else sleeps on the leader's doorbell and collects for all;
                // when that one goes, the completion thread does.
                state.followers += 1;
                drop(state);
                wanted.sleep(left);
                self.lock().followers -= 1;
                continue;
            }
            state.is_led = true;
            self.update_wake_policy(&mut state);
            self.doorbells.leader_sleeps();
            // After the doorbell was set: what is published from here on rings it.
            let missed = Self::is_any_ready(&state) || wanted.is_ready();
            drop(state);
            if !missed {
                self.doorbells.sleep_as_leader(Some(left.map_or(LOOK, |left| left.min(LOOK))));
            }
            let mut state = self.lock();
            self.doorbells.leader_wakes();
            state.is_led = false;
            self.update_wake_policy(&mut state);
            self.collect(&mut state);
            self.release(state);
            if wanted.is_ready() {
                return;
            }
        }
    }

    /// Collects if nobody else is at it.
    fn try_poll(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.polled_recently = true;
            self.collect(&mut state);
            self.release(state);
        }
    }

    /// Says what the completion thread is to be called for. Who changes that looks at the rings
    /// after it.
    pub(super) fn update_wake_policy(&self, state: &mut State) {
        let call = if state.needs_completion_thread() {
            WakePolicy::Always
        } else {
            // Workers call the leader; or callers are busy submitting, and the completion thread is
            // called when a worker has nothing left to do.
            WakePolicy::Idle
        };
        if state.call != call {
            state.call = call;
            self.doorbells.set_wake_policy(call);
        }
    }

    /// The completion thread's life: one thread of the pool.
    pub(in super::super) fn run_completion_thread(&self) {
        let mut idle_since = Some(clock::now());
        let mut is_called = false;
        loop {
            let mut state = self.lock();
            self.collect(&mut state);
            if is_called && !state.ended.is_empty() {
                // No caller attends.
                self.dispatch_all(&mut state);
            }
            if state.closing {
                self.release(state);
                return;
            }
            if self.release(state) {
                // A leader may be waiting for what was just reported.
                self.doorbells.wake_leader();
                idle_since = Some(clock::now());
                continue;
            }
            let mut state = self.lock();
            let busy = self.unfinished.load(Ordering::SeqCst) > 0;
            if state.hold.is_stuck() {
                self.dispatch_all(&mut state);
            }
            // It was called because no caller attends to this; until one does, it is
            // better called at once. Not if it only looks after what is held back. A caller
            // that has looked since the completion thread last did attends, if nobody else waits for what
            // it may leave: to call the completion thread beside it would take ten times as long as the
            // rest of an empty job, and go on, as there is a next job under way each time that
            // the completion thread comes.
            let polled_recently = std::mem::take(&mut state.polled_recently);
            let is_polled = polled_recently && !state.needs_completion_thread();
            let is_needed = busy && !state.is_led && !is_polled && !state.hold.is_minded;
            let call = if is_needed { WakePolicy::Always } else { WakePolicy::Idle };
            state.call = call;
            self.doorbells.set_wake_policy(call);
            let missed = Self::is_any_ready(&state) || state.closing;
            // As long as any were held back since the last look: to be called is not free.
            state.hold.is_minded &= state.hold.holds;
            let is_minded = state.hold.is_minded;
            drop(state);
            if missed {
                is_called = false;
                continue;
            }
            let limit = match idle_since {
                _ if is_minded => wake_throttle::LOOK,
                _ if busy || spawn::is_under_way() => LOOK,
                Some(since) => IDLE.saturating_sub(clock::since(since)),
                None => IDLE_LOOK,
            };
            if limit.is_zero() {
                idle_since = None;
                let bytes = self.trim();
                tracing::debug!(bytes, "unused memory was given back");
                continue;
            }
            is_called = self.doorbells.sleep_as_completion_thread(call, Some(limit));
            spawn::free_starters();
        }
    }
}
