//! Limits the payloads in transit from all workers together.
//!
//! A worker says how large its payloads are, and the coordinator makes room for them before they
//! arrive. A worker that claims as much as a message may have keeps that room for as long as it
//! likes. So all workers share one budget.

use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brigade_sys::{cores, shortage};

/// The part of this process's memory that payloads in transit may take.
#[derive(Debug)]
pub(crate) struct ReceiveBudget {
    limit: u64,
    taken: Mutex<u64>,
    given: Condvar,
}

/// Payloads of a message up to this size together are not counted: from the largest possible number
/// of workers they take a GiB.
const UNCOUNTED: u64 = 1 << 20;

/// How long a receiver waits for memory that others have taken. Honest workers need it for as long
/// as it takes to copy what they send.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to check whether the machine has more free memory.
const LOOK: Duration = Duration::from_millis(20);

/// Memory taken from the budget; dropping it gives the memory back.
#[derive(Debug)]
pub(crate) struct Reservation {
    of: Arc<ReceiveBudget>,
    bytes: u64,
}

impl ReceiveBudget {
    /// Half of the memory that this process may use: one budget for all pools.
    pub(crate) fn of_process() -> Arc<Self> {
        static RECEIVE_BUDGET: LazyLock<Arc<ReceiveBudget>> =
            LazyLock::new(|| ReceiveBudget::new(cores::memory() / 2));
        Arc::clone(&RECEIVE_BUDGET)
    }

    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::new(0), given: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All the memory that this process may use; the budget is half of it.
    pub(crate) fn all(&self) -> u64 {
        self.limit.saturating_mul(2)
    }

    /// Takes `bytes`. If necessary it waits until other receivers give memory back or the machine
    /// has more free memory. `None` if neither happens in time, or if `bytes` is more than the
    /// whole budget.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        if bytes <= UNCOUNTED {
            return Some(Reservation { of: Arc::clone(self), bytes: 0 });
        }
        if bytes > self.limit {
            return None;
        }
        let begin = Instant::now();
        let mut taken = self.lock();
        loop {
            let is_full = *taken > self.limit - bytes;
            // The other receivers may not have used yet what they have taken.
            if !is_full && shortage::has_room(bytes.saturating_add(*taken)) {
                *taken += bytes;
                return Some(Reservation { of: Arc::clone(self), bytes });
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return None;
            }
            // No other process says when it frees memory, so poll for that.
            let limit = if is_full { left } else { left.min(LOOK) };
            let waited = self.given.wait_timeout(taken, limit);
            (taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            *self.of.lock() -= self.bytes;
            self.of.given.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn all_together_have_no_more_than_there_is() {
        let budget = ReceiveBudget::new(10 * MIB);
        let first = budget.take(6 * MIB).unwrap();
        assert!(budget.take(11 * MIB).is_none(), "more than there ever is");
        let small = [(); 100].map(|()| budget.take(MIB).unwrap());
        let second = budget.take(4 * MIB).unwrap();
        assert!(budget.take(2 * MIB).is_none(), "nobody gives any back");
        drop((first, second, small));
        assert_eq!(*budget.lock(), 0);
    }

    #[test]
    fn who_comes_second_waits_for_the_first() {
        let budget = ReceiveBudget::new(10 * MIB);
        let first = budget.take(6 * MIB).unwrap();
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let budget = &budget;
            let second = scope.spawn(move || {
                tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                budget.take(6 * MIB).is_some()
            });
            let stat = std::path::Path::new("/proc").join(told.recv().unwrap()).join("stat");
            let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S"));
            let begin = Instant::now();
            while !sleeps() {
                assert!(begin.elapsed() < PATIENCE, "it does not wait");
            }
            drop(first);
            assert!(second.join().unwrap());
        });
    }
}
