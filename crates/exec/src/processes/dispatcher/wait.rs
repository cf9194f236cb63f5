//! Which thread collects responses. A waiting caller does, as the leader. While no caller waits,
//! the completion thread does; it sleeps while it is not needed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use brigade_ipc::WakePolicy;
use brigade_sys::clock;

use super::super::spawn;
use super::{Dispatcher, State, wake_throttle};
use crate::completions::Waitable;
use crate::executor;

/// How long a pool is idle before it gives back unused memory: long enough that bursts a few
/// seconds apart find the memory in place. Getting a page from the kernel again takes 1 to 4 us on
/// a virtual machine, several times as long as using it.
const IDLE: Duration = Duration::from_secs(10);
/// The longest sleep on a doorbell while jobs are under way; otherwise it is [`IDLE_POLL`]. The
/// sleeper then checks the rings itself: all workers can write to the doorbells, so a faulty worker
/// could suppress the wake-ups that other workers send.
const POLL: Duration = Duration::from_millis(100);
const IDLE_POLL: Duration = Duration::from_secs(2);

impl Dispatcher {
    /// Waits until `waitable` is ready, for at most `limit`.
    pub(in super::super) fn wait(&self, waitable: &dyn Waitable, limit: Option<Duration>) {
        let is_there = || {
            waitable.is_ready() || {
                self.try_poll();
                waitable.is_ready()
            }
        };
        if limit.is_some_and(|limit| limit.is_zero()) {
            is_there();
            return;
        }
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
            if !state.ended.is_empty() || state.dropped > 0 || waitable.is_ready() {
                self.release(state);
                if waitable.is_ready() {
                    return;
                }
                continue;
            }
            if self.in_transit.load(Ordering::Acquire) > 0 {
                drop(state);
                std::thread::yield_now();
                if waitable.is_ready() {
                    return;
                }
                continue;
            }
            self.dispatch_all(&mut state);
            if state.is_led {
                // Another caller sleeps on the leader's doorbell and collects for all. When that
                // caller leaves, the completion thread collects.
                state.followers += 1;
                drop(state);
                waitable.sleep(left);
                self.lock().followers -= 1;
                continue;
            }
            state.is_led = true;
            self.update_wake_policy(&mut state);
            self.doorbells.leader_sleeps();
            // The doorbell is set first: every response that is published from here on rings it.
            let missed = Self::is_any_ready(&state) || waitable.is_ready();
            drop(state);
            if !missed {
                self.doorbells.sleep_as_leader(Some(left.map_or(POLL, |left| left.min(POLL))));
            }
            let mut state = self.lock();
            self.doorbells.leader_wakes();
            state.is_led = false;
            self.update_wake_policy(&mut state);
            self.collect(&mut state);
            self.release(state);
            if waitable.is_ready() {
                return;
            }
        }
    }

    /// Collects responses, unless another thread holds the lock.
    fn try_poll(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.polled_recently = true;
            self.collect(&mut state);
            self.release(state);
        }
    }

    /// From now on an asynchronous task awaits an outcome, so the completion thread collects.
    pub(in super::super) fn begin_async_wait(&self) {
        let mut state = self.lock();
        state.async_waits += 1;
        self.update_wake_policy(&mut state);
        // A response may have come before the workers knew of that policy, and jobs may be held
        // back for a caller that polls.
        self.collect(&mut state);
        self.dispatch_all(&mut state);
        self.release(state);
    }

    /// The asynchronous task has its outcome, or has dropped its handle.
    pub(in super::super) fn end_async_wait(&self) {
        // The wake policy stays until the next check: an outcome seldom comes alone.
        self.lock().async_waits -= 1;
    }

    /// Tells the workers when to wake the completion thread. The caller must check the rings
    /// afterwards.
    pub(super) fn update_wake_policy(&self, state: &mut State) {
        let call = if state.needs_completion_thread() {
            WakePolicy::Always
        } else {
            // Workers wake the leader. Or callers are busy submitting: then a worker that runs out
            // of work wakes the completion thread.
            WakePolicy::Idle
        };
        if state.call != call {
            state.call = call;
            self.doorbells.set_wake_policy(call);
        }
    }

    /// Runs the completion thread. Each pool has one.
    pub(in super::super) fn run_completion_thread(&self) {
        let mut idle_since = Some(clock::now());
        let mut is_called = false;
        loop {
            let mut state = self.lock();
            self.collect(&mut state);
            if is_called && !state.ended.is_empty() {
                // No caller is polling.
                self.dispatch_all(&mut state);
            }
            if state.closing {
                self.release(state);
                return;
            }
            if self.release(state) {
                // A leader may be waiting for an outcome that was just reported.
                self.doorbells.wake_leader();
                idle_since = Some(clock::now());
                continue;
            }
            let mut state = self.lock();
            let busy = self.unfinished.load(Ordering::SeqCst) > 0;
            if state.wake_throttle.is_stuck() {
                self.dispatch_all(&mut state);
            }
            // No caller is polling, so ask to be woken for every response until a caller does. This
            // does not apply while the thread checks only because jobs are held back. A caller that
            // has polled since the last check counts as polling, unless another thread waits for
            // outcomes that this caller may leave behind. Otherwise each response would wake the
            // completion thread beside the caller. That takes ten times as long as the rest of an
            // empty job. It would not stop either, because the next job is under way each time that
            // the completion thread checks.
            let polled_recently = std::mem::take(&mut state.polled_recently);
            let is_polled = polled_recently && !state.needs_completion_thread();
            let checks_anyway =
                state.wake_throttle.is_polled_now && !state.needs_completion_thread();
            let is_needed = busy && !state.is_led && !is_polled && !checks_anyway;
            let call = if is_needed { WakePolicy::Always } else { WakePolicy::Idle };
            state.call = call;
            self.doorbells.set_wake_policy(call);
            let missed = Self::is_any_ready(&state) || state.closing;
            // Keep checking while jobs are held back: while this thread checks by itself, `submit`
            // need not wake it, and a wake-up is not free.
            state.wake_throttle.is_polled_now &= state.wake_throttle.holds;
            let is_polled_now = state.wake_throttle.is_polled_now;
            drop(state);
            if missed {
                is_called = false;
                continue;
            }
            let limit = match idle_since {
                _ if is_polled_now => wake_throttle::POLL,
                _ if busy || spawn::is_under_way() => POLL,
                Some(since) => IDLE.saturating_sub(clock::since(since)),
                None => IDLE_POLL,
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
