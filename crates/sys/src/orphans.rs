//! What process 1 of a container adopts.

use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::process::{OWN, children, pid, state};

/// Reaps children that this process has not started: what was orphaned becomes the child of
/// process 1, and stays a zombie until that waits for it. Does nothing in another process.
#[derive(Debug, Default)]
pub struct Orphans {
    /// Zombies of the last look. One of this process's own is reaped by who started it, in less
    /// time than passes between two looks.
    seen: Vec<u32>,
    is_first_process: bool,
}

impl Orphans {
    /// How often to look.
    pub const LOOK: Duration = Duration::from_secs(1);

    /// Whether there is anything to be done: this process is the first one of a container.
    pub fn here() -> Option<Self> {
        (pid() == 1).then(|| Self { is_first_process: true, ..Self::default() })
    }

    /// Reaps those that were zombies at the last look already; returns how many. Two looks have to be
    /// [`Orphans::LOOK`] apart.
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
