//! How a worker process ended, and why.

use std::time::Duration;

use brigade_proto::{JobError, JobId, Nanos};

/// Why a worker was ended on purpose. Such a worker has not crashed. A worker that was killed because
/// it hung or broke the protocol has no such reason: it counts as crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KillReason {
    /// The job in hand exceeded its time limit.
    TimedOut(JobId, Duration),
    /// The job in hand was cancelled.
    Cancelled(JobId),
    /// The job in hand exceeded a resource limit and ends with this error.
    Limit(JobId, JobError),
    /// The pool stops, or the worker is replaced after its share of jobs or because of its memory.
    Leaving,
}

/// How a worker ended.
#[derive(Default)]
pub(super) struct WorkerExit {
    /// Number of the worker. Workers are numbered in the order in which they start.
    pub(super) generation: u64,
    /// Number of the worker that was started last.
    pub(super) newest: u64,
    /// For example "killed by SIGSEGV" or "exited with status 0".
    pub(super) how: String,
    /// Set if the worker did not crash.
    pub(super) why: Option<KillReason>,
    /// The job in hand and, if its kernel was called, when.
    pub(super) current: Option<(JobId, Option<Nanos>)>,
    /// The end of what the worker printed.
    pub(super) last_words: String,
    pub(super) cpu_ns: u64,
    pub(super) peak_rss_bytes: u64,
    /// The machine had no memory for the worker, or lacked another resource that a worker needs.
    pub(super) is_short: bool,
}
