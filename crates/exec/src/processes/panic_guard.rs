//! What becomes of a pool when one of its own threads panics: a bug, or a subscriber of the
//! program's that panics. Nobody waits for ever: the pool ends, and its jobs say why.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a thread's work; if that panics, `on_panic` is told in words that fit after "the pool's".
pub(super) fn guard(thread: &str, work: impl FnOnce(), on_panic: impl FnOnce(String)) {
    // What `work` shares with others is behind locks whose poison is ignored everywhere, and is
    // only brought to an end.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        on_panic(format!("{thread} has panicked: {message}"));
    }
}
