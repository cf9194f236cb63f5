//! Starts a worker program and reads what it prints.

use std::ffi::OsStr;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade_ipc::BootstrapToken;
use brigade_sys::event_fd;
use brigade_sys::process::{self, Child};

use crate::{Environment, PoolError};

/// This executable, even if its file was replaced or removed meanwhile.
const SELF: &str = "/proc/self/exe";

/// A worker program that was started, and its output.
pub(super) struct StartedProcess {
    pub(super) child: Child,
    pub(super) output: CapturedOutput,
    /// The number of the fork server that forked it, if one did.
    pub(super) fork_server: Option<u32>,
}

pub(super) struct StartFailure {
    pub(super) error: PoolError,
    /// The process that should have started the worker was killed or stopped from outside. The next
    /// start may well succeed.
    pub(super) from_outside: bool,
}

impl From<PoolError> for StartFailure {
    fn from(error: PoolError) -> Self {
        Self { error, from_outside: false }
    }
}

/// Starts a worker in a process group of its own, with `/dev/null` as standard input and a pipe for
/// what it prints. The worker closes every other descriptor that it inherited, see
/// [`run_if_worker`](crate::run_if_worker).
///
/// The calling thread must live as long as the worker is wanted: the worker's parent-death signal
/// follows the thread.
pub(super) fn start(
    program: Option<&Path>,
    environment: &Environment,
    token: &BootstrapToken,
) -> Result<StartedProcess, PoolError> {
    run(program, environment, |command| {
        command.envs(token.environment()).process_group(0).stdin(Stdio::null());
    })
}

/// Starts the worker program as `prepare` says, with a pipe for what it prints.
pub(super) fn run(
    program: Option<&Path>,
    environment: &Environment,
    prepare: impl FnOnce(&mut Command),
) -> Result<StartedProcess, PoolError> {
    let path = program.map_or_else(own_executable, Path::to_owned);
    let failed = |source| PoolError::Spawn { program: path.clone(), source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    let output = CapturedOutput::of(reader).map_err(failed)?;
    let mut command = Command::new(&path);
    if program.is_none() {
        command.arg0("brigade-worker");
    }
    // No `pre_exec` hook: std then uses `posix_spawn`, which does not copy this process's page
    // tables.
    command.env_clear().envs(environment.of_worker());
    prepare(&mut command);
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    UNDER_WAY.fetch_add(1, Ordering::SeqCst);
    let child = command.spawn();
    UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    let child = child.map_err(failed)?;
    let pid = child.id();
    match Child::watch(pid) {
        Ok(child) => Ok(StartedProcess { child, output, fork_server: None }),
        Err(source) => {
            let mut child = child;
            // The child is not reaped yet, so its process id cannot have been given to another
            // process.
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(source))
        }
    }
}

/// How many threads of this process wait for a child to execute its program.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Names of the threads that start workers.
const STARTERS: [&str; 2] = ["supervisor", "fork-server"];

/// Whether a worker is being started.
pub(super) fn is_under_way() -> bool {
    UNDER_WAY.load(Ordering::SeqCst) > 0
}

/// Kills children that a signal has stopped before they executed their program. The thread that
/// starts such a child waits for it and can do nothing else, so another thread must call this at
/// intervals.
pub(super) fn free_starters() {
    if is_under_way() {
        let killed = process::kill_pre_exec(&STARTERS);
        if killed > 0 {
            tracing::warn!("a worker was stopped before its program began; it was killed");
        }
    }
}

fn own_executable() -> PathBuf {
    if Path::new(SELF).exists() {
        return PathBuf::from(SELF);
    }
    std::env::current_exe().unwrap_or_else(|_| {
        std::env::args_os().next().as_deref().map_or_else(PathBuf::new, |a: &OsStr| a.into())
    })
}

/// What a worker prints. The supervisor reads it as it comes, so the worker never blocks on it.
/// Each line is logged, and the end is kept for the report of the worker's death.
pub(super) struct CapturedOutput {
    pipe: Option<PipeReader>,
    tail: Vec<u8>,
}

/// How many bytes of the end are kept.
const TAIL: usize = 4096;

impl CapturedOutput {
    pub(super) fn of(pipe: PipeReader) -> io::Result<Self> {
        event_fd::set_nonblocking(&pipe)?;
        Ok(Self { pipe: Some(pipe), tail: Vec::new() })
    }

    /// The pipe, while it is open.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is in the pipe.
    pub(super) fn read(&mut self) {
        let mut buffer = [0; TAIL];
        // Bounded: a worker that prints without end must not keep the supervisor from the other
        // workers.
        for _ in 0..16 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    for line in String::from_utf8_lossy(&buffer[..n]).lines() {
                        tracing::debug!(target: "brigade::worker", "worker printed: {line}");
                    }
                    self.tail.extend_from_slice(&buffer[..n]);
                    let excess = self.tail.len().saturating_sub(TAIL);
                    self.tail.drain(..excess);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// The end of what the worker printed.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}
