use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Status;

/// Why a job did not succeed. Every backend reports the same errors.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum JobError {
    /// The kernel returned an error: an input is invalid, or the computation cannot continue.
    #[error("{message}")]
    Kernel {
        /// The kernel's message.
        message: String,
    },
    /// The kernel panicked. The worker continues.
    #[error("kernel panicked{}: {message}", at(location))]
    Panic {
        /// The panic's message.
        message: String,
        /// `file:line:column` of the panic; empty if it is not known.
        location: String,
    },
    /// An input file could not be read.
    #[error("cannot read {}: {message}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error message, usually of the operating system.
        message: String,
    },
    /// The inputs or the result could not be transferred to or from the worker.
    #[error("cannot hand over the job: {message}")]
    Transport {
        /// What failed.
        message: String,
    },
    /// The machine had no memory for the job, or lacked something else that the job needs, even
    /// while no other job ran.
    #[error("{message}")]
    Shortage {
        /// How many bytes were requested; 0 if unknown.
        bytes: u64,
        /// What was lacking, and what would help.
        message: String,
    },
    /// The worker process died with the job in hand, and the job has had all its attempts.
    #[error("worker {death} ({}){}", attempts_text(*attempts), last_line(last_words))]
    Crashed {
        /// How the last worker ended: "killed by SIGSEGV", "exited with status 0".
        death: String,
        /// Number of attempts that count: an attempt whose worker died before it began the job does
        /// not.
        attempts: u32,
        /// The end of what the last worker printed, at most 4 KiB.
        last_words: String,
    },
    /// The kernel ran for longer than its timeout.
    #[error("timed out after {after:?}; --timeout sets the limit")]
    TimedOut {
        /// The timeout.
        after: Duration,
    },
    /// An input was not read within the time that the kernel may run, for example a pipe without a
    /// writer. A read that blocks in the operating system (a file system that does not answer) is
    /// not interrupted.
    #[error("timed out after {after:?} while reading {}; --timeout sets the limit", path.display())]
    InputTimedOut {
        /// Path of the file.
        path: PathBuf,
        /// The timeout.
        after: Duration,
    },
    /// The job needed more memory than a job may have. It is not retried.
    #[error("memory limit: it wanted more than {}; --memory-limit sets the limit", size_text(*limit))]
    MemoryLimit {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The job used more processor time than a job may have. It is not retried.
    #[error("cpu limit: it used more than {limit:?} of processor time; --cpu-limit sets the limit")]
    CpuLimit {
        /// The limit.
        limit: Duration,
    },
    /// The caller cancelled the job, or the run was stopped.
    #[error("cancelled")]
    Cancelled,
    /// The pool gave up before the job ended.
    #[error("the pool gave up: {reason}")]
    PoolGaveUp {
        /// Why the pool gave up.
        reason: String,
    },
}

/// The last line that is not empty, as the end of a one-line message.
fn last_line(words: &str) -> String {
    /// Most characters of the line that are shown.
    const SHOWN: usize = 160;
    let Some(line) = words.lines().map(str::trim).rfind(|line| !line.is_empty()) else {
        return String::new();
    };
    let shown: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!("; it printed: {shown}")
}

fn attempts_text(attempts: u32) -> String {
    crate::count(attempts, "attempt")
}

/// Formats a size in the largest unit that divides it: `256 MiB`.
fn size_text(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes.trailing_zeros() >= *shift && bytes > 0);
    match unit {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

impl JobError {
    /// The status of a job with this error.
    pub fn status(&self) -> Status {
        match self {
            Self::Kernel { .. }
            | Self::Panic { .. }
            | Self::Read { .. }
            | Self::Transport { .. }
            | Self::Shortage { .. }
            | Self::MemoryLimit { .. }
            | Self::CpuLimit { .. } => Status::Failed,
            Self::Crashed { .. } => Status::Crashed,
            Self::TimedOut { .. } | Self::InputTimedOut { .. } => Status::TimedOut,
            Self::Cancelled | Self::PoolGaveUp { .. } => Status::Cancelled,
        }
    }
}

/// " at file:line:column", if the location is known.
fn at(location: &str) -> String {
    if location.is_empty() { String::new() } else { format!(" at {location}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_as_they_were_set() {
        for (limit, text) in [(256 << 20, "256 MiB"), (3 << 30, "3 GiB"), (1001, "1001 bytes")] {
            let error = JobError::MemoryLimit { limit };
            assert!(error.to_string().starts_with("memory limit: "), "{error}");
            assert!(error.to_string().contains(&format!("more than {text};")), "{error}");
        }
    }
}
