//! Time in which this process did not run: it was stopped by a signal, its container was paused.
//! (While a machine sleeps, [`clock`](crate::clock) stands still by itself.)
//!
//! No kernel says how long that was. So one thread looks at the clock, says when it will look
//! again, and is watched by itself: a look that comes much later than it was announced was kept
//! from coming. All time since the look before it then counts for nobody.
//!
//! - A stop shorter than [`SLACK`] may count: a busy machine lets a thread wait as long.
//! - The time between the last look and the stop is given away too, so a deadline can be kept late
//!   by the pause between two looks, and never early.
//! - If look after look comes late, the machine is busy and was not stopped: only the first is
//!   taken for a stop as a whole, of the others what is beyond the slack. So time goes on in any
//!   case.

use std::time::Duration;

use brigade_proto::Nanos;

/// How late a look may come.
pub const SLACK: Nanos = 400_000_000;

/// How often to look while there are deadlines of jobs.
pub const TICK: Duration = Duration::from_millis(100);

/// What is known of it. Plain words, so that they can be shared with other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallDetector {
    /// When somebody last looked; later than that if the look before was late as well.
    pub looked: Nanos,
    /// When the next look was to come; 0: none was announced.
    pub asked: Nanos,
    /// Time that counts for nobody, up to the last look.
    pub frozen: Nanos,
}

impl StallDetector {
    /// Time up to now that counts for nobody. Who asks before the next look has come knows what
    /// that look will find.
    pub fn frozen(&self, now: Nanos) -> Nanos {
        self.frozen.saturating_add(self.pending(now))
    }

    /// The part of it since the last look.
    pub fn pending(&self, now: Nanos) -> Nanos {
        let is_late = self.asked != 0 && now > self.asked.saturating_add(SLACK);
        if is_late { now.saturating_sub(self.looked) } else { 0 }
    }

    /// Looks; returns how much time since the last look counts for nobody. The next look is to
    /// come at `next`.
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
        // Nothing was announced, so nothing is late.
        detector.look(5000 * MS, None);
        assert_eq!(detector.look(9000 * MS, None), 0);
    }

    #[test]
    fn a_stop_counts_for_nobody_whoever_asks_first() {
        let mut detector = StallDetector::default();
        detector.look(1000 * MS, Some(1100 * MS));
        // From 1.05 to 9 s it did not run.
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
