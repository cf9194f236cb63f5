//! Exit codes. No other module knows them.

use std::fmt;
use std::process::ExitCode;

use brigade_exec::PoolError;

/// How the program ends. `brigade --help` documents the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Ok,
    /// A job failed while it ran.
    JobFailed,
    /// The command line, a file or a parameter is wrong. This was found before any job started.
    Usage,
    /// A regression was found.
    Worse,
    /// A comparison is inconclusive.
    Inconclusive,
    /// The pool could not start or gave up.
    Pool,
    /// Ended early by this signal.
    Interrupted(i32),
    /// The reader of the results went away before all jobs had run.
    StdoutClosed,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::JobFailed => 1,
            Self::Usage => 2,
            Self::Worse => 3,
            Self::Inconclusive => 4,
            Self::Pool => 5,
            // What a shell reports for a program that was killed by a signal.
            Self::Interrupted(signal) => 128_u8.saturating_add(signal as u8),
            Self::StdoutClosed => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command failed: a message for the user, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// The command line, a file or a parameter is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::from(&error)
    }
}

impl From<&PoolError> for Failure {
    fn from(error: &PoolError) -> Self {
        let exit = match error {
            PoolError::Config { .. } | PoolError::NeedsProcesses { .. } => Exit::Usage,
            _ => Exit::Pool,
        };
        let message = match exit {
            Exit::Usage => error.to_string(),
            _ => format!("the pool could not start: {error}"),
        };
        Self { exit, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes = [
            (Exit::Ok, 0),
            (Exit::JobFailed, 1),
            (Exit::Usage, 2),
            (Exit::Worse, 3),
            (Exit::Inconclusive, 4),
            (Exit::Pool, 5),
            (Exit::Interrupted(2), 130),
            (Exit::Interrupted(15), 143),
            (Exit::StdoutClosed, 141),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }
}
