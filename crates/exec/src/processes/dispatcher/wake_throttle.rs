//! Holds back jobs that are so short that an awake worker finishes all waiting jobs before another
//! worker is awake.
//!
//! The dispatcher does not wake a sleeping worker for such jobs: the worker would find nothing left
//! to do. If there are no more cores than workers, it would also take a core from the thread that
//! dispatches. So the dispatcher gives jobs to no more workers than are needed to do all waiting
//! jobs in the time of a wake-up, and holds the other jobs back. If that turns out wrong, one of
//! two threads dispatches them: a caller that polls the pool does so before it sleeps
//! ([`Dispatcher::dispatch_all`](super::Dispatcher::dispatch_all)), and the completion thread
//! checks regularly whether any job has ended.

use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::clock;

use super::State;
use crate::wakeup_latency;

/// How often the completion thread checks while jobs are held back.
pub(super) const POLL: Duration = Duration::from_millis(1);
/// A job is short if at least this many fit into a wake-up. Each longer job is worth a worker of
/// its own.
const SHORT: Nanos = 32;

/// How long jobs take, and whether any are held back.
#[derive(Debug, Default)]
pub(super) struct WakeThrottle {
    /// Nanoseconds that a job occupies a worker, smoothed; zero if not known yet.
    pub(super) per_job: Nanos,
    /// Waiting callers collect responses themselves. Without rings, the control readers do it.
    has_rings: bool,
    /// How much work justifies waking one more worker, in wake-up times.
    worth: Nanos,
    /// Jobs wait that an idle worker could run.
    pub(super) holds: bool,
    /// How many jobs have ended so far.
    ended: u64,
    /// The value of `ended` at the completion thread's last check.
    seen: u64,
    /// The completion thread checks regularly.
    pub(super) is_polled_now: bool,
}

impl WakeThrottle {
    /// `has_cores`: the pool has a core for each worker and one more for the thread that
    /// dispatches. Without these cores, a worker that is woken takes its core from a thread that
    /// has work for the others, so more jobs must wait to justify the wake-up.
    pub(super) fn new(has_rings: bool, has_cores: bool) -> Self {
        Self { has_rings, worth: if has_cores { 1 } else { 4 }, ..Self::default() }
    }

    /// Learns from a job that has ended how long it occupied its worker.
    pub(super) fn learn(&mut self, ns: Nanos) {
        self.ended += 1;
        // Rises faster than it falls, because holding back a long job is the worse mistake. Does
        // not rise at once, because a job whose worker was interrupted says nothing about the next
        // jobs.
        let known = self.per_job;
        self.per_job = match known {
            0 => ns,
            _ if ns > known => known + (ns - known).min(known / 2 + 100),
            _ => known - (known - ns) / 8,
        };
    }

    /// Assumes jobs that are not short, until the next ones show otherwise.
    pub(super) fn forget(&mut self) {
        self.per_job = clock::nanos(wakeup_latency::cost());
    }

    /// Called at each check by the completion thread. Whether the held jobs must be dispatched,
    /// because no job has ended since the last check.
    pub(super) fn is_stuck(&mut self) -> bool {
        self.holds && std::mem::replace(&mut self.seen, self.ended) == self.ended
    }
}

impl State {
    /// How many workers may get jobs.
    pub(super) fn width(&self) -> usize {
        // No caller polls, so none would dispatch held jobs before it sleeps. The completion
        // thread, which is then woken for each response, does not do that.
        if self.is_unpolled || self.async_waits > 0 || !self.wake_throttle.has_rings {
            return usize::MAX;
        }
        width(
            self.queue.len(),
            self.wake_throttle.per_job,
            clock::nanos(wakeup_latency::cost()),
            self.wake_throttle.worth,
        )
    }
}

/// How many workers do `waiting` jobs in the time of `worth` wake-ups; all if a job is not short.
fn width(waiting: usize, per_job: Nanos, wake_up: Nanos, worth: Nanos) -> usize {
    if per_job == 0 || per_job > wake_up / SHORT {
        return usize::MAX;
    }
    1 + ((waiting as u64).saturating_mul(per_job) / (worth * wake_up)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_jobs_have_as_many_workers_as_do_them_in_the_time_of_a_wake_up() {
        assert_eq!(width(64, 400, 50_000, 1), 1);
        assert_eq!(width(300, 400, 50_000, 1), 3);
        assert_eq!(width(300, 400, 50_000, 4), 1);
        assert_eq!(width(1, 20_000, 50_000, 1), usize::MAX, "each is worth a wake-up");
        assert_eq!(width(64, 0, 50_000, 1), usize::MAX, "nothing is known");
    }

    #[test]
    fn long_jobs_are_noticed_soon_and_one_that_was_interrupted_is_not_believed() {
        let mut throttle = WakeThrottle::default();
        (0..100).for_each(|_| throttle.learn(300));
        assert_eq!(throttle.per_job, 300);
        throttle.learn(1_000_000);
        assert!(throttle.per_job < 600, "{throttle:?}");
        (0..20).for_each(|_| throttle.learn(1_000_000));
        assert_eq!(throttle.per_job, 1_000_000);
        (0..100).for_each(|_| throttle.learn(300));
        assert!(throttle.per_job < 400);
    }

    #[test]
    fn what_is_held_back_is_stuck_when_nothing_ends_between_two_looks() {
        let mut throttle = WakeThrottle { holds: true, ..WakeThrottle::default() };
        throttle.learn(300);
        assert!(!throttle.is_stuck());
        assert!(throttle.is_stuck());
        throttle.learn(300);
        assert!(!throttle.is_stuck());
        throttle.holds = false;
        assert!(!throttle.is_stuck());
    }
}
