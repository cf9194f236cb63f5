use std::io;
use std::path::PathBuf;
use std::time::Duration;

use brigade_kernels::ParamError;
use brigade_sys::sandbox::Part;
use brigade_sys::shortage::remedy;
use thiserror::Error;

use crate::Backend;

/// Why a pool could not start, or gave up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A setting is out of range.
    #[error("{what} must be from {min} to {max}, not {value}; {flag} sets it")]
    Config {
        /// The setting.
        what: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// What it was set to.
        value: u64,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// Workers cannot have this variable in their environment.
    #[error("workers cannot have the variable `{}`: {why}; --env sets it", name.escape_debug())]
    Variable {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A limit or the sandbox is asked for, and the backend runs kernels in the caller's
    /// own process.
    #[error("{flag} needs worker processes; use --backend processes")]
    NeedsProcesses {
        /// The flag that asks for it.
        flag: &'static str,
    },
    /// The kernel lacks a part of the sandbox.
    #[error(
        "this kernel has no {part}, which --sandbox needs ({needs}); --sandbox=best-effort goes \
         on without it"
    )]
    NoSandbox {
        /// The part.
        part: Part,
        /// Where there is one.
        needs: &'static str,
    },
    /// This process may not have as many descriptors as the workers need.
    #[error(
        "{} need about {needed} descriptors, and this process may have {limit}; \
         raise ulimit -n, or use fewer --workers",
        brigade_proto::count(*workers, "worker")
    )]
    TooFewDescriptors {
        /// How many workers.
        workers: usize,
        /// What would be enough, with those that are open.
        needed: u64,
        /// What there may be.
        limit: u64,
    },
    /// This process is itself a worker whose `main` built a pool instead of
    /// calling [`run_if_worker`](crate::run_if_worker): going on would start
    /// workers without end.
    #[error(
        "this process was started as a worker, but its main function built a pool; \
         call brigade::run_if_worker first thing in main"
    )]
    InsideWorker,
    /// A thread or the place for the workers' sockets could not be made.
    #[error("cannot prepare the pool: {what}: {source}{}", remedy(source))]
    Setup {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The worker program could not be started.
    #[error("cannot start worker program {}: {source}{}", program.display(), remedy(source))]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A worker died before it was ready.
    #[error("worker {death} before it was ready{}", last_words(stderr))]
    DiedEarly {
        /// How: "exited with status 1", "killed by SIGSEGV".
        death: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// The process that workers are forked from died before it had forked one.
    #[error(
        "fork server {death} before it had forked a worker{}; --start-method spawn does without one",
        last_words(stderr)
    )]
    ForkServerDied {
        /// How: "exited with status 1", "killed by SIGSEGV".
        death: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// A worker did not shake hands in time.
    #[error("worker was not ready after {after:?} and was killed; --start-timeout allows more")]
    StartTimeout {
        /// The deadline.
        after: Duration,
    },
    /// The worker program is not this build of Brigade, or not a worker at all.
    #[error("worker was refused: {reason}")]
    Refused {
        /// What differs.
        reason: String,
    },
    /// Worker after worker died without a job in hand and with none completed in between;
    /// those that died together count once.
    #[error(
        "{deaths} times in a row workers died with no job completed in between, the last one \
         {death}; --max-restarts allows more"
    )]
    NoProgress {
        /// How many.
        deaths: u32,
        /// How the last one ended.
        death: String,
    },
    /// A thread of the pool has panicked: a bug of Brigade, or of a subscriber to its events.
    #[error("the pool's {what}")]
    Panicked {
        /// Which thread, and with what words.
        what: String,
    },
    /// Something needs a platform that this is not.
    #[error("{what} needs Linux")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}

fn last_words(stderr: &str) -> String {
    telling_line(stderr).map_or_else(String::new, |line| format!("; it said: {line}"))
}

/// The line of what a worker printed that says why it ended: what it says on purpose, its panic, or
/// the last line.
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
        // Its message is on the next line, and after it there is a backtrace.
        let message = rest.next().unwrap_or_default();
        return Some(format!("{place} {message}").trim().to_owned());
    }
    lines().next_back().map(str::to_owned)
}

/// Why a job was not accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// No such kernel or parameter, a value that is not allowed, or a wrong number
    /// of inputs.
    #[error(transparent)]
    Invalid(#[from] ParamError),
    /// The kernel ends or hangs the process that it runs in, and this backend
    /// would run it in the caller's.
    #[error(
        "kernel `{kernel}` takes down the process that it runs in, and backend {backend} would \
         run it in this one; use --backend processes"
    )]
    NeedsIsolation {
        /// The kernel.
        kernel: &'static str,
        /// The pool's backend.
        backend: Backend,
    },
    /// The queue is full; only from `try_submit`.
    #[error("the queue is full")]
    Full,
    /// The pool is closed or gave up.
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
