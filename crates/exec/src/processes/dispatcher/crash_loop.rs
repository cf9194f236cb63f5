//! Counts worker deaths in a row, and the back-off after them. The rules are in `../README.md`.

use std::time::Duration;

/// Deaths without progress. Each generation of workers counts once.
///
/// A death counts only if its worker started after the last death that counted. What kills one
/// worker often kills all workers that live at that time, so their deaths are one event. Only the
/// death of a worker that started later shows that starting workers does not help.
#[derive(Debug, Default)]
pub(super) struct CrashLoopCounter {
    length: u32,
    /// The newest worker at the last death that counted.
    youngest: u64,
}

impl CrashLoopCounter {
    /// Records a death; returns whether it counts. Workers are numbered in the order in which they
    /// start, and `youngest` is the newest one.
    pub(super) fn death(&mut self, worker: u64, youngest: u64) -> bool {
        let counts = worker > self.youngest;
        if counts {
            self.length += 1;
            self.youngest = youngest;
        }
        counts
    }

    /// Ends the row of deaths.
    pub(super) fn end(&mut self) {
        self.length = 0;
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }
}

/// First back-off before a worker that died without progress is replaced. It doubles with each
/// further death.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Back-off before the next start, after `deaths` in a row.
pub(in super::super) fn pause(deaths: u32) -> Duration {
    match deaths {
        0 | 1 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(1 << (n - 2).min(16)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_of_contemporaries_count_once() {
        for workers in [1, 2, 8, 1000] {
            let (mut streak, mut youngest) = (CrashLoopCounter::default(), workers);
            for generation in 1..=6 {
                let living = youngest - workers + 1..=youngest;
                for worker in living {
                    streak.death(worker, youngest);
                    // Replaced at once, while workers of the same age are still dying.
                    youngest += 1;
                }
                assert_eq!(streak.length(), generation, "of {workers} workers");
            }
            streak.end();
            assert_eq!(streak.length(), 0);
        }
    }

    #[test]
    fn a_worker_that_was_started_since_counts_although_older_ones_live() {
        let mut streak = CrashLoopCounter::default();
        streak.death(3, 8);
        streak.death(9, 9);
        assert!(streak.death(10, 10));
        assert_eq!(streak.length(), 3);
        assert!(!streak.death(1, 10));
        assert_eq!(streak.length(), 3);
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        assert_eq!([0, 1, 2, 3, 4].map(|n| pause(n).as_millis()), [0, 0, 10, 20, 40]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
