//! Jobs so short that a worker has done those that wait before another is awake.
//!
//! A worker that sleeps is not woken for them: it would find nothing left to do, and where
//! there are no more cores than workers it would take one from who hands the jobs out.
//! So no more workers are given jobs than it takes to do all that wait in the time of a wake-up.
//! The others' jobs are held back, and there is always somebody who will give them out if that
//! turns out wrong: a caller that attends to the pool, before it sleeps
//! ([`Dispatcher::dispatch_all`](super::Dispatcher::dispatch_all)), and the completion thread, who looks now and then whether
//! anything has moved.

use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::clock;

use super::State;
use crate::wakeup_latency;

/// How often the completion thread looks while jobs are held back.
pub(super) const LOOK: Duration = Duration::from_millis(1);
/// Jobs are short of which so many fit into a wake-up: of longer ones each is worth a
/// worker of its own.
const SHORT: Nanos = 32;

/// What is known of the jobs, and whether any are held back.
#[derive(Debug, Default)]
pub(super) struct WakeThrottle {
    /// Nanoseconds that a job keeps a worker, smoothed; zero: not known yet.
    pub(super) per_job: Nanos,
    /// Callers that wait attend to the pool themselves: without rings they do not.
    has_rings: bool,
    /// Of how long a wake-up may be made use of, in wake-ups.
    worth: Nanos,
    /// Jobs wait that a worker without any could have.
    pub(super) holds: bool,
    /// Jobs that have ended, ever.
    ended: u64,
    /// As many had ended when the completion thread last looked.
    seen: u64,
    /// The completion thread looks every now and then.
    pub(super) is_minded: bool,
}

impl WakeThrottle {
    /// For a pool with a core for each worker and one for who hands jobs out, or not: then a
    /// worker that is woken takes its core from somebody who has work for the others, and more of
    /// them have to wait to be worth that.
    pub(super) fn new(has_rings: bool, has_cores: bool) -> Self {
        Self { has_rings, worth: if has_cores { 1 } else { 4 }, ..Self::default() }
    }

    /// Learns from a job that has ended how long it kept its worker.
    pub(super) fn learn(&mut self, ns: Nanos) {
        self.ended += 1;
        // Sooner up than down: to hold back what should not be is the worse mistake. Not at once,
        // as a worker that was interrupted in a job says nothing of the next ones.
        let known = self.per_job;
        self.per_job = match known {
            0 => ns,
            _ if ns > known => known + (ns - known).min(known / 2 + 100),
            _ => known - (known - ns) / 8,
        };
    }

    /// Jobs may be of any length, until the next ones have shown otherwise.
    pub(super) fn forget(&mut self) {
        self.per_job = clock::nanos(wakeup_latency::cost());
    }

    /// The completion thread looks: whether what is held back is to be given out, because nothing has ended
    /// since its last look.
    pub(super) fn is_stuck(&mut self) -> bool {
        self.holds && std::mem::replace(&mut self.seen, self.ended) == self.ended
    }
}

impl State {
    /// How many workers are to have jobs.
    pub(super) fn width(&self) -> usize {
        // The completion thread, who is called for each outcome then, is no caller that attends.
        if self.is_unpolled || !self.hold.has_rings {
            return usize::MAX;
        }
        width(
            self.queue.len(),
            self.hold.per_job,
            clock::nanos(wakeup_latency::cost()),
            self.hold.worth,
        )
    }
}

/// How many workers do `waiting` jobs in the time of `worth` wake-ups; all, if a job is not short.
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
        let mut hold = WakeThrottle::default();
        (0..100).for_each(|_| hold.learn(300));
        assert_eq!(hold.per_job, 300);
        hold.learn(1_000_000);
        assert!(hold.per_job < 600, "{hold:?}");
        (0..20).for_each(|_| hold.learn(1_000_000));
        assert_eq!(hold.per_job, 1_000_000);
        (0..100).for_each(|_| hold.learn(300));
        assert!(hold.per_job < 400);
    }

    #[test]
    fn what_is_held_back_is_stuck_when_nothing_ends_between_two_looks() {
        let mut hold = WakeThrottle { holds: true, ..WakeThrottle::default() };
        hold.learn(300);
        assert!(!hold.is_stuck());
        assert!(hold.is_stuck());
        hold.learn(300);
        assert!(!hold.is_stuck());
        hold.holds = false;
        assert!(!hold.is_stuck());
    }
}
