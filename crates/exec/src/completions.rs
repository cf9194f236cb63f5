//! The queue in which a collector finds the outcomes of many jobs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch_outcomes::Outcomes;

/// Something that a caller can wait for.
pub(crate) trait Waitable: Sync {
    /// Whether the wait is over.
    fn is_ready(&self) -> bool;
    /// Sleeps until it is ready, for at most `limit`. May return early.
    fn sleep(&self, limit: Option<Duration>);
}

/// Outcomes of many jobs, for one collector.
#[derive(Debug, Default)]
pub(crate) struct CompletionQueue {
    inner: Mutex<CompletionQueueInner>,
    is_ready: AtomicBool,
    /// The collector is gone: jobs that have not begun need not run.
    is_abandoned: AtomicBool,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CompletionQueueInner {
    outcomes: Vec<Outcomes>,
    sleepers: u32,
}

impl CompletionQueue {
    fn lock(&self) -> MutexGuard<'_, CompletionQueueInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, outcomes: Outcomes) {
        let mut inner = self.lock();
        inner.outcomes.push(outcomes);
        self.is_ready.store(true, Ordering::Release);
        let asleep = inner.sleepers > 0;
        drop(inner);
        if asleep {
            self.changed.notify_all();
        }
    }

    /// The collector goes.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// Moves all outcomes that have arrived into `outcomes`, which must be empty.
    pub(crate) fn empty_into(&self, outcomes: &mut Vec<Outcomes>) {
        let mut inner = self.lock();
        self.is_ready.store(false, Ordering::Release);
        std::mem::swap(&mut inner.outcomes, outcomes);
    }
}

impl Waitable for CompletionQueue {
    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    fn sleep(&self, limit: Option<Duration>) {
        let mut inner = self.lock();
        inner.sleepers += 1;
        let mut inner = sleep_while(&self.changed, inner, limit, |i| i.outcomes.is_empty());
        inner.sleepers -= 1;
    }
}

/// Waits on a condition variable while `condition` holds, for at most `limit`.
pub(crate) fn sleep_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
    mut condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    match limit {
        None => condvar.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner),
        Some(limit) => {
            condvar
                .wait_timeout_while(guard, limit, &mut condition)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
    }
}
