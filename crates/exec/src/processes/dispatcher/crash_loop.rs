//! Deaths of workers in a row, and what follows from them. README.md has the rule.

use std::time::Duration;

/// Deaths without progress, one for each generation of workers.
///
/// Workers that were started before the last death that counted are its contemporaries:
/// what kills one often kills all, so their deaths are the same one. Only that of a worker
/// that was started since says that starting workers does not help.
#[derive(Debug, Default)]
pub(super) struct CrashLoopCounter {
    length: u32,
    /// The youngest worker at the last death that counted.
    youngest: u64,
}

impl CrashLoopCounter {
    /// A worker has died. Workers are numbered in the order in which they are started;
    /// `youngest` was started last. Whether it counts.
    pub(super) fn death(&mut self, worker: u64, youngest: u64) -> bool {
        let counts = worker > self.youngest;
        if counts {
            self.length += 1;
            self.youngest = youngest;
        }
        counts
    }

    /// Something got done.
    pub(super) fn end(&mut self) {
        self.length = 0;
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }
}

/// First pause before a worker is replaced that died without progress; doubles
/// from death to death.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait with the next worker after so many deaths in a row.
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
                    // Replaced at once, while its contemporaries still die.
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
