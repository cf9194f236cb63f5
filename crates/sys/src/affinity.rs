//! The core that a thread runs on, and the cores that it may use.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Binds the calling thread to the `index`-th of the cores that it may use; after the last core,
/// counting starts again at the first. Returns the core, or `None` if the kernel refuses.
pub fn pin_thread(index: usize) -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let core = *cores.get(index % cores.len().max(1))?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).ok()?;
    Some(core)
}

/// How many cores the calling thread may use; 1 if the kernel does not say.
pub fn allowed() -> usize {
    sched_getaffinity(None).map_or(1, |allowed| allowed.count() as usize)
}

/// The core that the calling thread runs on. The thread may have moved when this returns.
pub fn core() -> usize {
    sched_getcpu()
}

/// Moves the calling thread off its core to any other core that it may use; the thread may come
/// back later. Returns false if there is no other core, or the kernel refuses.
pub fn step_aside() -> bool {
    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    let mut others = allowed;
    others.unset(core());
    if others.count() == 0 || sched_setaffinity(None, &others).is_err() {
        return false;
    }
    // The thread has moved by now, and stays there unless the scheduler finds a reason to move it.
    sched_setaffinity(None, &allowed).is_ok()
}

/// Notices that a thread shares its core with the thread that sends it requests, and moves it to
/// another core. The scheduler puts both threads on one core at a wake-up. Two threads that take
/// turns on one core may stay there for seconds, and each job costs two context switches while
/// another core is idle. For threads that may use more than one core.
#[derive(Debug, Default)]
pub struct SharedCoreDetector {
    /// Requests in a row that came from the core that the thread runs on.
    crowded: u32,
    /// When the detector last moved the thread to another core.
    moved: Option<Instant>,
}

/// So many requests in a row trigger a move: the two threads often share a core for a few.
const CROWDED: u32 = 32;
/// Least time between two moves. A move takes some microseconds. At this rate, moves cannot cost a
/// hundredth of the time, even where the other cores are busy and the thread comes back again and
/// again.
const SETTLED: Duration = Duration::from_millis(2);

impl SharedCoreDetector {
    /// Records that a request came from the core `theirs`.
    #[inline]
    pub fn mind(&mut self, theirs: usize) {
        self.crowded = if core() == theirs { self.crowded.saturating_add(1) } else { 0 };
    }

    /// Records that the thread has slept. Work that comes so rarely does not need a core of its
    /// own.
    pub fn has_slept(&mut self) {
        self.crowded = 0;
    }

    /// Whether the detector has ever moved the thread.
    pub fn has_left(&self) -> bool {
        self.moved.is_some()
    }

    /// Moves the thread if the two threads have shared the core for long. Call this between two
    /// requests: a move takes so long that a thread waiting for a result falls asleep, and its
    /// wake-up would bring it to the new core as well.
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
        // Each step reads the core twice. If the scheduler moves the thread in between, the count
        // starts again at 0.
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
