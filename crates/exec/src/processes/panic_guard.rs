//! What happens when a thread of the pool panics, because of a bug or because an event subscriber
//! of the program panics. Nobody may wait for ever. Without the thread of one worker, that worker
//! is killed and replaced. Without a thread that serves all workers, the pool ends and its jobs say
//! why.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the work of a thread. If that panics, calls `on_panic` with words that fit after "the
/// pool's".
pub(super) fn guard(thread: &str, work: impl FnOnce(), on_panic: impl FnOnce(String)) {
    // What `work` shares with other threads is behind locks, and every thread ignores their poison.
    // After a panic, whatever `work` served is only brought to an end.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        on_panic(format!("{thread} has panicked: {message}"));
    }
}
