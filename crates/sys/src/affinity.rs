//! Which core a thread is on, and may be on.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Binds the calling thread to the `index`-th of the cores that it may use,
/// counted round and round. Returns the core, or `None` where that is refused.
pub fn pin_thread(index: usize) -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let core = *cores.get(index % cores.len().max(1))?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).ok()?;
    Some(core)
}

/// How many cores the calling thread may be on; 1 if it cannot be told.
pub fn allowed() -> usize {
    sched_getaffinity(None).map_or(1, |allowed| allowed.count() as usize)
}

/// The core that the calling thread is on; by the time of the answer it may be another.
pub fn core() -> usize {
    sched_getcpu()
}

/// Moves the calling thread off the core that it is on, to any other that it may use; it
/// may come back later. False where there is no other, or it is refused.
pub fn step_aside() -> bool {
    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    let mut others = allowed;
    others.unset(core());
    if others.count() == 0 || sched_setaffinity(None, &others).is_err() {
        return false;
    }
    // It has moved by now, and stays there unless the scheduler finds a reason.
    sched_setaffinity(None, &allowed).is_ok()
}

/// Notices that a thread shares its core with who gives it work, and leaves it: a scheduler puts
/// both there at a wake-up, and two that take turns on one core may stay there for seconds, each
/// job costing two switches, while another core is idle. For threads that have a core to go to.
#[derive(Debug, Default)]
pub struct SharedCoreDetector {
    /// Pieces of work in a row that came from the core that the thread is on.
    crowded: u32,
    /// When it last went to another core.
    moved: Option<Instant>,
}

/// So many in a row are too many: often both are there for a few.
const CROWDED: u32 = 32;
/// A move takes some microseconds: so rarely, it cannot cost a hundredth of the time even
/// where the other cores are busy and it comes back again and again.
const SETTLED: Duration = Duration::from_millis(2);

impl SharedCoreDetector {
    /// A piece of work has come from this core.
    #[inline]
    pub fn mind(&mut self, theirs: usize) {
        self.crowded = if core() == theirs { self.crowded.saturating_add(1) } else { 0 };
    }

    /// The thread has slept: work that comes so rarely has no use for a core of its own.
    pub fn has_slept(&mut self) {
        self.crowded = 0;
    }

    /// Whether the thread has ever left a core for this.
    pub fn has_left(&self) -> bool {
        self.moved.is_some()
    }

    /// Leaves the core, if the two have shared it for long. Between two pieces of work: a move takes
    /// long enough for who waits for a result to fall asleep, and waking it would bring it
    /// after the thread.
    #[inline]
    pub fn migrate_if_shared(&mut self) {
        if self.crowded >= CROWDED {
            self.leave();
        }
    }

    #[cold]
    fn leave(&mut self) {
        if self.moved.is_none_or(|moved| moved.elapsed() >= SETTLED) {
            step_aside();
            self.crowded = 0;
            self.moved = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_crowded_for_long_leaves_and_then_stays() {
        let mut detector = SharedCoreDetector::default();
        // It may be moved meanwhile, and then has nobody beside it.
        (0..10 * CROWDED).for_each(|_| detector.mind(core()));
        assert!(detector.crowded > 0);
        detector.crowded = CROWDED;
        detector.migrate_if_shared();
        assert_eq!(detector.crowded, 0);
        let left = detector.moved.unwrap();
        detector.crowded = CROWDED;
        detector.migrate_if_shared();
        let has_stayed = detector.crowded == CROWDED;
        assert!(has_stayed || left.elapsed() >= SETTLED);
        detector.has_slept();
        assert_eq!(detector.crowded, 0);
    }

    #[test]
    fn who_steps_aside_may_still_be_anywhere() {
        let before = sched_getaffinity(None).unwrap();
        assert_eq!(step_aside(), before.count() > 1);
        assert!(sched_getaffinity(None).unwrap() == before);
    }
}
