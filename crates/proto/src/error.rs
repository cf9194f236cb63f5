use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Status;

/// Why a job did not succeed. The same on every backend.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum JobError {
    /// The kernel returned an error: its input is wrong, or it cannot go on.
    #[error("{message}")]
    Kernel {
        /// What the kernel said.
        message: String,
    },
    /// The kernel panicked. The worker goes on.
    #[error("kernel panicked at {location}: {message}")]
    Panic {
        /// The panic's message.
        message: String,
        /// `file:line:column` of the panic.
        location: String,
    },
    /// An input file could not be read.
    #[error("cannot read {}: {message}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        message: String,
    },
    /// The inputs or the result could not be carried to or from the worker.
    #[error("cannot hand over the job: {message}")]
    Transport {
        /// What failed.
        message: String,
    },
    /// The worker process died with the job in hand, as often as it may be
    /// tried.
    #[error("worker {death} ({}){}", attempts_text(*attempts), last_line(last_words))]
    Crashed {
        /// How the last worker ended: "killed by SIGSEGV", "exited with status 0".
        death: String,
        /// How many workers the job was given to.
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
    /// The caller cancelled the job, or the run was interrupted.
    #[error("cancelled")]
    Cancelled,
    /// The pool stopped before the job could run.
    #[error("the pool gave up: {reason}")]
    PoolGaveUp {
        /// Why.
        reason: String,
    },
}

/// The last line that says something, as the end of a one-line message.
fn last_line(words: &str) -> String {
    /// Characters of a line that are shown.
    const SHOWN: usize = 160;
    let Some(line) = words.lines().map(str::trim).rfind(|line| !line.is_empty()) else {
        return String::new();
    };
    let shown: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!("; it printed: {shown}")
}

fn attempts_text(attempts: u32) -> String {
    match attempts {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    }
}

impl JobError {
    /// The status that a job with this error has.
    pub fn status(&self) -> Status {
        match self {
            Self::Kernel { .. }
            | Self::Panic { .. }
            | Self::Read { .. }
            | Self::Transport { .. } => Status::Failed,
            Self::Crashed { .. } => Status::Crashed,
            Self::TimedOut { .. } => Status::TimedOut,
            Self::Cancelled | Self::PoolGaveUp { .. } => Status::Cancelled,
        }
    }
}
