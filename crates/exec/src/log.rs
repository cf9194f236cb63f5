//! Events of single jobs, out of the way of jobs that nobody wants to hear of: what
//! [`tracing`]'s macros expand to is longer than the code that it stands in.

use brigade_proto::JobId;
use tracing::level_filters::LevelFilter;

/// Whether somebody may want to hear of single jobs.
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
