//! Measures time without the time in which this process was stopped or frozen. A job must not time
//! out because its container was paused. [`brigade_sys::stall`] has the rule.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use brigade_proto::Nanos;
use brigade_sys::clock;
use brigade_sys::stall::{StallDetector, TICK};

/// Maps an instant to the time before it that counts against no limit, in nanoseconds.
pub(crate) type Frozen<'a> = &'a (dyn Fn(Nanos) -> Nanos + Sync);

/// Measures the time from an instant on, without frozen time.
pub(crate) struct Stopwatch<'a> {
    begin: Nanos,
    before: Nanos,
    frozen: Frozen<'a>,
}

impl<'a> Stopwatch<'a> {
    pub(crate) fn start(begin: Nanos, frozen: Frozen<'a>) -> Self {
        Self { begin, before: frozen(begin), frozen }
    }

    /// The time until `now`. If `now` is in the past, frozen time after it may be subtracted too.
    pub(crate) fn at(&self, now: Nanos) -> Duration {
        let stopped = (self.frozen)(now).saturating_sub(self.before);
        Duration::from_nanos(now.saturating_sub(self.begin).saturating_sub(stopped))
    }

    /// Whether `limit` has passed. The plain time is checked first and usually decides.
    pub(crate) fn is_over(&self, now: Nanos, limit: Duration) -> bool {
        Duration::from_nanos(now.saturating_sub(self.begin)) >= limit && self.at(now) >= limit
    }
}

/// A stall detector that many threads read and one thread updates.
#[derive(Debug, Default)]
pub(crate) struct SharedStallDetector(Mutex<StallDetector>);

impl SharedStallDetector {
    fn lock(&self) -> MutexGuard<'_, StallDetector> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn frozen(&self, now: Nanos) -> Nanos {
        self.lock().frozen(now)
    }

    /// See [`StallDetector::pending`].
    pub(crate) fn pending(&self, now: Nanos) -> Nanos {
        self.lock().pending(now)
    }

    /// See [`StallDetector::look`].
    pub(crate) fn look(&self, now: Nanos, next: Option<Nanos>) -> StallDetector {
        let mut stall_detector = self.lock();
        stall_detector.look(now, next);
        *stall_detector
    }
}

/// The detector of the backends that run kernels in this process. None of their threads checks the
/// clock regularly, so a separate thread does while jobs with a time limit run.
static HERE: SharedStallDetector =
    SharedStallDetector(Mutex::new(StallDetector { looked: 0, asked: 0, frozen: 0 }));
static TICKER: Mutex<Ticker> = Mutex::new(Ticker { users: 0, is_running: false });

struct Ticker {
    users: usize,
    is_running: bool,
}

/// Time before `now` that counts against no job in this process, in nanoseconds.
pub(crate) fn here(now: Nanos) -> Nanos {
    HERE.frozen(now)
}

/// Keeps the thread that checks the clock running while this value exists.
pub(crate) struct Ticking(());

impl Ticking {
    pub(crate) fn begin() -> Self {
        let mut ticker = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
        ticker.users += 1;
        if !ticker.is_running {
            let now = clock::now();
            HERE.look(now, Some(now + TICK.as_nanos() as u64));
            // Without the thread, all time counts.
            ticker.is_running =
                thread::Builder::new().name("stall-watch".to_owned()).spawn(tick).is_ok();
            if !ticker.is_running {
                HERE.look(now, None);
            }
        }
        Self(())
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        TICKER.lock().unwrap_or_else(PoisonError::into_inner).users -= 1;
    }
}

fn tick() {
    loop {
        thread::sleep(TICK);
        let mut ticker = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let next = (ticker.users > 0).then(|| now + TICK.as_nanos() as u64);
        HERE.look(now, next);
        if next.is_none() {
            ticker.is_running = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_does_not_count_what_counts_for_nobody() {
        let frozen = |now: Nanos| if now >= 500 { 300 } else { 100 };
        let watch = Stopwatch::start(200, &frozen);
        assert_eq!(watch.at(400), Duration::from_nanos(200));
        assert_eq!(watch.at(600), Duration::from_nanos(200));
        assert!(watch.is_over(400, Duration::from_nanos(200)));
        assert!(!watch.is_over(600, Duration::from_nanos(201)));
    }
}
