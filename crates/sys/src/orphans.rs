//! Orphans that process 1 of a container adopts.

use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::process::{OWN, children, pid, state};

/// Reaps children that this process has not started. An orphaned process becomes the child of
/// process 1, and stays a zombie until process 1 waits for it. Does nothing in any other process.
#[derive(Debug, Default)]
pub struct Orphans {
    /// Zombies at the last check. The code that started a child of this process reaps it in less
    /// time than passes between two checks, so such a child is not a zombie at both.
    seen: Vec<u32>,
    is_first_process: bool,
}

impl Orphans {
    /// Interval between two checks.
    pub const LOOK: Duration = Duration::from_secs(1);

    /// `Some` if there is anything to do, that is, if this process is process 1 of a container.
    pub fn here() -> Option<Self> {
        (pid() == 1).then(|| Self { is_first_process: true, ..Self::default() })
    }

    /// Reaps the orphans that were zombies at the last check already, and returns how many. The
    /// caller must leave [`Orphans::LOOK`] between two checks.
    pub fn reap(&mut self) -> usize {
        let own = OWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_zombie = |pid: &u32| !own.contains(pid) && state(*pid) == Some('Z');
        let zombies: Vec<u32> = children().into_iter().filter(is_zombie).collect();
        let stale = zombies.iter().filter(|pid| self.is_first_process && self.seen.contains(pid));
        let pids = stale.filter_map(|&pid| Pid::from_raw(pid.cast_signed()));
        let reaped = pids.filter(|&pid| {
            waitpid(Some(pid), WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some())
        });
        let count = reaped.count();
        self.seen = zombies;
        count
    }
}
