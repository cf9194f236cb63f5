//! What it costs to wake a sleeping thread on this machine. A thread that waits polls for about
//! that long before it sleeps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use brigade_sys::clock;

/// Bounds for the measured cost. A shorter poll is not worth the system call of a sleep. A longer
/// measurement means that all cores were busy and says nothing about a wake-up.
const SENSIBLE: (Duration, Duration) = (Duration::from_micros(20), Duration::from_micros(100));
const ROUNDS: usize = 7;
/// How long the measurement waits for the other thread to fall asleep.
const NAP: Duration = Duration::from_micros(30);

/// The time from waking a sleeping thread until it runs. The median of [`ROUNDS`] measurements,
/// which the first call in this process makes, within [`SENSIBLE`].
pub(crate) fn cost() -> Duration {
    static COST: OnceLock<Duration> = OnceLock::new();
    *COST.get_or_init(|| {
        let measured = measure();
        tracing::debug!(us = measured.map(|cost| cost.as_micros() as u64), "a wake-up");
        sensible(measured)
    })
}

fn sensible(measured: Option<Duration>) -> Duration {
    measured.unwrap_or(SENSIBLE.1).clamp(SENSIBLE.0, SENSIBLE.1)
}

fn measure() -> Option<Duration> {
    let (turn, woken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (its_turn, is_awake) = (Arc::clone(&turn), Arc::clone(&woken));
    let sleeper = move || {
        for round in 1..=ROUNDS {
            while its_turn.load(Ordering::Acquire) < round {
                thread::park();
            }
            is_awake.store(round, Ordering::Release);
        }
    };
    let sleeper = thread::Builder::new().name("sleeper".to_owned()).spawn(sleeper).ok()?;
    let mut costs: Vec<Duration> = (1..=ROUNDS)
        .map(|round| {
            let nap = clock::now();
            while clock::since(nap) < NAP {
                thread::yield_now();
            }
            let begin = clock::now();
            turn.store(round, Ordering::Release);
            sleeper.thread().unpark();
            // Yield: the other thread may run on this thread's core.
            while woken.load(Ordering::Acquire) < round {
                thread::yield_now();
            }
            clock::since(begin)
        })
        .collect();
    sleeper.join().ok()?;
    costs.sort_unstable();
    Some(costs[ROUNDS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_takes_a_sensible_time_and_is_measured_once() {
        let [little, right, much] = [1, 50, 1_000_000].map(Duration::from_micros);
        assert_eq!(sensible(Some(little)), SENSIBLE.0);
        assert_eq!(sensible(Some(right)), right);
        assert_eq!([sensible(Some(much)), sensible(None)], [SENSIBLE.1; 2]);
        let first = cost();
        assert!((0..10).all(|_| cost() == first), "it is measured once");
        assert!(measure().is_some_and(|time| time > Duration::ZERO));
    }
}
