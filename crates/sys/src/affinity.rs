//! Which core a thread is on, and may be on.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_steps_aside_may_still_be_anywhere() {
        let before = sched_getaffinity(None).unwrap();
        assert_eq!(step_aside(), before.count() > 1);
        assert!(sched_getaffinity(None).unwrap() == before);
    }
}
