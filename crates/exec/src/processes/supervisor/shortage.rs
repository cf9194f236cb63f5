//! Workers that end, or cannot be started, because the machine is short of something.

use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::{clock, cores, shortage};

use crate::PoolError;

/// Whether the kernel ended a worker for want of memory: it says so of no process, but counts them.
#[derive(Debug)]
pub(super) struct OomKills {
    /// What it had counted at the last look.
    seen: u64,
    /// How many of these are not accounted for yet, and since when.
    open: u64,
    since: Nanos,
}

/// For how long a death may go with a kill that was counted: another process of the group may have
/// been the one.
const FRESH: Duration = Duration::from_secs(2);

impl OomKills {
    pub(super) fn begin() -> Self {
        Self { seen: cores::memory_kills().unwrap_or(0), open: 0, since: 0 }
    }

    /// A worker was killed, by nobody in this process: whether that was the kernel.
    pub(super) fn account_for(&mut self, now: Nanos) -> bool {
        self.look(cores::memory_kills().unwrap_or(self.seen), now)
    }

    fn look(&mut self, counted: u64, now: Nanos) -> bool {
        let fresh = counted.saturating_sub(self.seen);
        self.seen = counted;
        if fresh > 0 {
            (self.open, self.since) = (fresh, now);
        } else if now.saturating_sub(self.since) > clock::nanos(FRESH) {
            self.open = 0;
        }
        let is_one = self.open > 0;
        self.open = self.open.saturating_sub(1);
        is_one
    }
}

/// Whether a worker could not be started as there is too little of something, which may pass.
pub(super) fn is_short(error: &PoolError) -> bool {
    match error {
        PoolError::Setup { source, .. } | PoolError::Spawn { source, .. } => {
            shortage::is_one(source)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kill_is_the_end_of_one_worker_and_old_ones_of_none() {
        let second = clock::nanos(Duration::from_secs(1));
        let mut kills = OomKills { seen: 7, open: 0, since: 0 };
        assert!(!kills.look(7, second));
        assert_eq!([9, 9, 9].map(|counted| kills.look(counted, 2 * second)), [true, true, false]);
        assert!(kills.look(11, 3 * second));
        assert!(!kills.look(11, 9 * second), "another process was the second");
    }
}
