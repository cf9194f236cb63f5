//! Time during which this process did not run, because a signal had stopped it or its container was
//! paused. (While a machine sleeps, [`clock`](crate::clock) stands still by itself.)
//!
//! No kernel reports how long that was. So one thread checks the clock regularly, and at each check
//! announces when it will check next. If a check comes much later than announced, something kept
//! the process from running. All time since the previous check is then excluded: it counts towards
//! no deadline.
//!
//! - A stop shorter than [`SLACK`] may count: on a busy machine, a thread may have to wait as long.
//! - The time between the last check and the stop is excluded too. A deadline can therefore be
//!   enforced late, by up to the interval between two checks, and never early.
//! - If check after check comes late, the machine is busy and the process was not stopped. Only the
//!   first late check excludes all time since the previous one. Each further one excludes only what
//!   is beyond the slack. So time goes on in any case.

use std::time::Duration;

use brigade_proto::Nanos;

/// How late a check may come, in nanoseconds.
pub const SLACK: Nanos = 400_000_000;

/// Interval between checks while any job has a deadline.
pub const TICK: Duration = Duration::from_millis(100);

/// The state of the detector. The fields are plain numbers so that they can be shared with other
/// processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallDetector {
    /// When the last check took place. If that check was late, this is the end of the slack of the
    /// next check instead.
    pub looked: Nanos,
    /// When the next check is due; 0 if none is announced.
    pub asked: Nanos,
    /// Time that is excluded, up to the last check.
    pub frozen: Nanos,
}

impl StallDetector {
    /// Time up to `now` that is excluded. A caller that asks before the next check gets what that
    /// check will find.
    pub fn frozen(&self, now: Nanos) -> Nanos {
        self.frozen.saturating_add(self.pending(now))
    }

    /// The part of the excluded time that lies after the last check.
    pub fn pending(&self, now: Nanos) -> Nanos {
        let is_late = self.asked != 0 && now > self.asked.saturating_add(SLACK);
        if is_late { now.saturating_sub(self.looked) } else { 0 }
    }

    /// Checks the clock, and returns how much of the time since the last check is excluded. The
    /// next check is due at `next`.
    pub fn look(&mut self, now: Nanos, next: Option<Nanos>) -> Nanos {
        let gap = self.pending(now);
        self.frozen += gap;
        self.asked = next.unwrap_or(0).max(u64::from(next.is_some()));
        self.looked = if gap > 0 { now.max(self.asked.saturating_add(SLACK)) } else { now };
        gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn looks_that_come_in_time_find_nothing() {
        let mut detector = StallDetector::default();
        for ms in (1000..5000).step_by(100) {
            assert_eq!(detector.look(ms * MS, Some((ms + 100) * MS)), 0);
            assert_eq!(detector.frozen((ms + 499) * MS), 0);
        }
        // No check was announced, so none is late.
        detector.look(5000 * MS, None);
        assert_eq!(detector.look(9000 * MS, None), 0);
    }

    #[test]
    fn a_stop_counts_for_nobody_whoever_asks_first() {
        let mut detector = StallDetector::default();
        detector.look(1000 * MS, Some(1100 * MS));
        // The process did not run from 1.05 s to 9 s.
        assert_eq!(detector.frozen(9000 * MS), 8000 * MS);
        assert_eq!(detector.look(9000 * MS, Some(9100 * MS)), 8000 * MS);
        assert_eq!(detector.frozen(9050 * MS), 8000 * MS, "and is not counted twice");
        assert_eq!(detector.look(9100 * MS, Some(9200 * MS)), 0);
        assert_eq!(detector.look(20_000 * MS, Some(20_100 * MS)), 10_900 * MS);
    }

    #[test]
    fn time_goes_on_for_who_is_always_late() {
        let mut detector = StallDetector::default();
        let mut now = 1000 * MS;
        detector.look(now, Some(now + 100 * MS));
        let begin = now;
        for _ in 0..100 {
            now += 1000 * MS;
            detector.look(now, Some(now + 100 * MS));
        }
        let counted = now - begin - detector.frozen;
        assert!(counted > 40_000 * MS, "{} ms of 100 s", counted / MS);
    }
}
