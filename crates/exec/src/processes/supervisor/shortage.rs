//! Workers that end, or cannot be started, because the machine is short of a resource.

use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::{clock, cores, shortage};

use crate::PoolError;

/// Finds out whether the OOM killer ended a worker. The kernel counts its kills, but does not say
/// which processes it killed.
#[derive(Debug)]
pub(super) struct OomKills {
    /// The kernel's count at the last check.
    seen: u64,
    /// Counted kills that are not attributed to a worker yet, and when they were counted.
    open: u64,
    since: Nanos,
}

/// How long after a kill was counted a worker's death may be attributed to it. The kill may have
/// hit another process of the control group.
const FRESH: Duration = Duration::from_secs(2);

impl OomKills {
    pub(super) fn begin() -> Self {
        Self { seen: cores::memory_kills().unwrap_or(0), open: 0, since: 0 }
    }

    /// Whether the OOM killer ended a worker that died by SIGKILL. Call it only if this process did
    /// not kill that worker.
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

/// Whether a worker could not be started because a resource is short, which may pass.
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
