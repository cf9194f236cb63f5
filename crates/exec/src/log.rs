//! Log events of single jobs, in functions of their own. [`tracing`]'s macros expand to more code
//! than the functions that log have themselves, and most runs do not log these events.

use brigade_proto::JobId;
use tracing::level_filters::LevelFilter;

/// Whether a subscriber may want events of single jobs.
#[inline]
pub(crate) fn is_chatty() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG
}

#[cold]
pub(crate) fn tell_assigned(job: JobId, worker: usize) {
    tracing::debug!(job = job.0, worker, "job assigned");
}

#[cold]
pub(crate) fn tell_finished(job: JobId, worker: usize, ok: bool) {
    tracing::debug!(job = job.0, worker, ok, "job finished");
}

#[cold]
pub(crate) fn tell_called(kernel: &str) {
    tracing::trace!(kernel, "kernel called");
}

#[cold]
pub(crate) fn tell_returned(kernel: &str) {
    tracing::trace!(kernel, "kernel returned");
}
