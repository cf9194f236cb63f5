use std::io;
use std::path::PathBuf;
use std::time::Duration;

use brigade_kernels::ParamError;
use brigade_sys::sandbox::SandboxPart;
use brigade_sys::shortage::remedy;
use thiserror::Error;

use crate::Backend;

/// Why a pool could not start, or why it gave up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A setting is out of range.
    #[error("{what} must be from {min} to {max}, not {value}; {flag} sets it")]
    Config {
        /// Name of the setting.
        what: &'static str,
        /// The flag or method that sets it.
        flag: &'static str,
        /// The value that was given.
        value: u64,
        /// The smallest allowed value.
        min: u64,
        /// The largest allowed value.
        max: u64,
    },
    /// Workers cannot have this variable in their environment.
    #[error("workers cannot have the variable `{}`: {why}; --env sets it", name.escape_debug())]
    Variable {
        /// Name of the variable.
        name: String,
        /// Why it is not allowed.
        why: &'static str,
    },
    /// A limit or the sandbox was requested, but the backend runs kernels in the caller's own
    /// process.
    #[error("{flag} needs worker processes; use --backend processes")]
    NeedsProcesses {
        /// The flag that requests it.
        flag: &'static str,
    },
    /// The operating system kernel lacks a part of the sandbox.
    #[error(
        "this kernel has no {part}, which --sandbox needs ({needs}); --sandbox=best-effort goes \
         on without it"
    )]
    NoSandbox {
        /// The missing part.
        part: SandboxPart,
        /// What that part requires: a kernel version, a configuration.
        needs: &'static str,
    },
    /// This process may not open as many file descriptors as the workers need.
    #[error(
        "{} need about {needed} descriptors, and this process may have {limit}; \
         raise ulimit -n, or use fewer --workers",
        brigade_proto::count(*workers, "worker")
    )]
    TooFewDescriptors {
        /// Number of workers.
        workers: usize,
        /// How many descriptors would be enough, including those that are open now.
        needed: u64,
        /// The limit on open descriptors of this process.
        limit: u64,
    },
    /// This process is itself a worker, but its `main` built a pool instead of calling
    /// [`run_if_worker`](crate::run_if_worker). Continuing would start workers without end.
    #[error(
        "this process was started as a worker, but its main function built a pool; \
         call brigade::run_if_worker first thing in main"
    )]
    InsideWorker,
    /// The operating system refused something that the pool needs: a thread, shared memory, the
    /// directory for the workers' sockets.
    #[error("cannot prepare the pool: {what}: {source}{}", remedy(source))]
    Setup {
        /// What the pool tried to set up.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The worker program could not be started.
    #[error("cannot start worker program {}: {source}{}", program.display(), remedy(source))]
    Spawn {
        /// Path of the program.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A worker died before it was ready.
    #[error("worker {death} before it was ready{}", last_words(stderr))]
    DiedEarly {
        /// How it died: "exited with status 1", "killed by SIGSEGV".
        death: String,
        /// The end of what it wrote to standard output and standard error, at most 4 KiB.
        stderr: String,
    },
    /// The fork server died before it had forked a worker.
    #[error(
        "fork server {death} before it had forked a worker{}; --start-method spawn does without one",
        last_words(stderr)
    )]
    ForkServerDied {
        /// How it died: "exited with status 1", "killed by SIGSEGV".
        death: String,
        /// The end of what it wrote to standard output and standard error, at most 4 KiB.
        stderr: String,
    },
    /// A worker did not complete the handshake in time.
    #[error("worker was not ready after {after:?} and was killed; --start-timeout allows more")]
    StartTimeout {
        /// The time limit of a start.
        after: Duration,
    },
    /// The coordinator refused a worker: its program is not this build of Brigade, or not a worker
    /// at all.
    #[error("worker was refused: {reason}")]
    Refused {
        /// What differs.
        reason: String,
    },
    /// Workers died in a row without a job in hand, and no job was completed in between. Workers
    /// that died together count once.
    #[error(
        "{deaths} times in a row workers died with no job completed in between, the last one \
         {death}; --max-restarts allows more"
    )]
    NoProgress {
        /// How many deaths were counted.
        deaths: u32,
        /// How the last worker died.
        death: String,
    },
    /// A thread of the pool panicked: a bug in Brigade, or in a subscriber to its events.
    #[error("the pool's {what}")]
    Panicked {
        /// Which thread panicked, and its message.
        what: String,
    },
    /// The request needs Linux, and this is another operating system.
    #[error("{what} needs Linux")]
    Unsupported {
        /// What needs Linux.
        what: &'static str,
    },
}

fn last_words(stderr: &str) -> String {
    telling_line(stderr).map_or_else(String::new, |line| format!("; it said: {line}"))
}

/// The line of a worker's output that says why it ended. A notice of Brigade's own comes first,
/// then a panic, then the last line.
pub(crate) fn telling_line(printed: &str) -> Option<String> {
    let lines = || printed.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_notice = |line: &str| {
        line.starts_with("brigade worker:") || line.starts_with("brigade fork server:")
    };
    if let Some(notice) = lines().rfind(|line| is_notice(line)) {
        return Some(notice.to_owned());
    }
    let mut rest = lines().skip_while(|line| !line.contains(" panicked at "));
    if let Some(place) = rest.next() {
        // The panic's message is on the next line, and a backtrace follows it.
        let message = rest.next().unwrap_or_default();
        return Some(format!("{place} {message}").trim().to_owned());
    }
    lines().next_back().map(str::to_owned)
}

/// Why the pool did not accept a job.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The job names an unknown kernel or parameter, has a value that is not allowed, or has the
    /// wrong number of inputs.
    #[error(transparent)]
    Invalid(#[from] ParamError),
    /// The kernel ends or hangs the process that it runs in, and this backend would run it in the
    /// caller's process.
    #[error(
        "kernel `{kernel}` takes down the process that it runs in, and backend {backend} would \
         run it in this one; use --backend processes"
    )]
    NeedsIsolation {
        /// Name of the kernel.
        kernel: &'static str,
        /// The pool's backend.
        backend: Backend,
    },
    /// The queue is full. Only `try_submit` returns this.
    #[error("the queue is full")]
    Full,
    /// The pool is closed, was stopped, or gave up.
    #[error("the pool is closed")]
    Closed,
}

#[cfg(test)]
mod tests {
    use super::telling_line;

    #[test]
    fn the_line_that_says_why_is_found() {
        let panicked = "hello\n\nthread 'main' (7) panicked at src/x.rs:1:2:\nno such luck\nstack \
                        backtrace:\n  0: main\nnote: RUST_BACKTRACE=full\n";
        let line = "thread 'main' (7) panicked at src/x.rs:1:2: no such luck";
        assert_eq!(telling_line(panicked).as_deref(), Some(line));
        let notice = "brigade worker: cannot follow the coordinator: no\nlater noise\n";
        let line = "brigade worker: cannot follow the coordinator: no";
        assert_eq!(telling_line(notice).as_deref(), Some(line));
        assert_eq!(telling_line("one\ntwo\n\n").as_deref(), Some("two"));
        assert_eq!(telling_line("\n"), None);
    }
}
