//! The clock for all spans: `CLOCK_MONOTONIC`. It is the same for every process of one machine,
//! which `std::time::Instant` does not promise.

use std::time::Duration;

use brigade_proto::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some point before this machine's processes started.
#[inline]
pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A duration in nanoseconds; the maximum value if the duration is longer.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The instant at which `duration` will have passed; the maximum value, which means never, if that
/// instant cannot be expressed.
pub fn after(duration: Duration) -> Nanos {
    now().saturating_add(nanos(duration))
}

/// Time since `earlier`, a result of [`now`]; zero if that lies in the future.
pub fn since(earlier: Nanos) -> Duration {
    Duration::from_nanos(now().saturating_sub(earlier))
}
