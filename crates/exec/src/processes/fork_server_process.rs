//! The fork server: a worker process that has done the set-up that all workers have in common, and
//! from which workers are forked.
//!
//! The fork server never has a second thread. It forks with `CLONE_PARENT`, so the new worker is
//! the coordinator's own child: the supervisor watches it through a pidfd and reaps it with
//! `wait4`, like a worker that was spawned. The worker then does its handshake like any other.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use brigade_ipc::{BootstrapToken, NONCE_ENV, PARENT_ENV, SERVER_ENV};
use brigade_kernels::Registry;
use brigade_sys::event_fd::wait_readable;
use brigade_sys::fork::{self, Forked, MessageSocket};
use brigade_sys::process::{self, Child, describe};

use super::spawn::{self, CapturedOutput, StartFailure, StartedProcess};
use super::worker;
use crate::{Environment, PoolError, install_panic_hook};

/// If this variable is set, the process is a fork server. Its value is the fork server's number.
pub(super) const FORK_SERVER_ENV: &str = "BRIGADE_TEMPLATE";

/// The coordinator's side of a fork server process.
pub(super) struct ForkServerProcess {
    child: Option<Child>,
    socket: MessageSocket,
    output: CapturedOutput,
    number: u32,
    /// Whether it has forked a worker.
    has_answered: bool,
    /// Output pipes of the workers that were requested and not reported yet.
    asked: VecDeque<CapturedOutput>,
    /// Process ids of reported workers, as long as they may still have one of the [`names`].
    told: Vec<u32>,
}

/// Process names of a fork server and of a worker that it has just forked. No other processes of
/// this coordinator have them.
fn names(number: &str) -> [String; 2] {
    [format!("brigade-f{number}"), format!("brigade-n{number}")]
}

/// How many requests may be open at a time. The socket has room for many times as many messages.
pub(super) const MOST_ASKED: usize = 16;

/// When this many workers are remembered, those that have another name by now are forgotten.
const MANY: usize = 64;

/// How long a fork server that has closed its socket may take to exit.
const DYING_LIMIT: Duration = Duration::from_millis(200);

/// Readable when the fork server has answered, or is gone.
impl AsFd for ForkServerProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl ForkServerProcess {
    /// Starts a fork server. The calling thread must live as long as the fork server is wanted.
    pub(super) fn start(
        program: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, PoolError> {
        let (mine, theirs) = MessageSocket::pair().map_err(|source| PoolError::Setup {
            what: "a socket for the fork server".to_owned(),
            source,
        })?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) % 1_000_000;
        let parent = process::pid().to_string();
        let prepare = |command: &mut Command| {
            command
                .env(FORK_SERVER_ENV, number.to_string())
                .env(PARENT_ENV, &parent)
                .process_group(0)
                .stdin(theirs.into_stdio());
        };
        let StartedProcess { child, output, .. } = spawn::run(program, environment, prepare)?;
        Ok(Self {
            child: Some(child),
            socket: mine,
            output,
            number,
            has_answered: false,
            asked: VecDeque::new(),
            told: Vec::new(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::pid)
    }

    /// Unique among the fork servers that this process has at the same time.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// How many workers were requested and not reported yet.
    pub(super) fn owes(&self) -> usize {
        self.asked.len()
    }

    /// Whether the fork server has started, and forked before.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Requests a worker that gets `token`. The caller may request more before the fork server has
    /// answered; it forks one after another. At most [`MOST_ASKED`] requests may be open, or this
    /// would block.
    pub(super) fn ask(&mut self, token: &BootstrapToken) -> io::Result<()> {
        let (reader, writer) = io::pipe()?;
        let output = CapturedOutput::of(reader)?;
        self.socket.send(token.to_message().as_bytes(), Some(writer.as_fd()))?;
        self.asked.push_back(output);
        Ok(())
    }

    /// Reads the response to the oldest open request. Call it when the fork server is readable: its
    /// response is there, or it is gone.
    ///
    /// After an error the fork server is of no use any more.
    pub(super) fn read_response(&mut self) -> io::Result<StartedProcess> {
        let response = self.socket.receive(Some(Duration::ZERO))?;
        let (response, _) = response.ok_or(io::ErrorKind::BrokenPipe)?;
        let response = String::from_utf8_lossy(&response).into_owned();
        let pid = response.parse::<u32>().map_err(|_| io::Error::other(response))?;
        let output = self.asked.pop_front().ok_or_else(|| io::Error::other("it was not asked"))?;
        // The worker is a child of this process and not reaped, so the process id is still its own.
        let child = Child::watch(pid)?;
        self.has_answered = true;
        if self.told.len() >= MANY {
            // A worker that has not run yet still has the fork server's name.
            let names = names(&self.number.to_string());
            self.told.retain(|&pid| names.contains(&process::name(pid)));
        }
        self.told.push(pid);
        Ok(StartedProcess { child, output, fork_server: Some(self.number) })
    }

    /// Ends and reaps the fork server after [`ForkServerProcess::ask`] or
    /// [`ForkServerProcess::read_response`] has failed. Returns why it did not fork.
    pub(super) fn obituary(mut self, error: io::Error, limit: Duration) -> Obituary {
        let Some(child) = self.child.take() else { return Obituary::Unable(error) };
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let was_stopped = process::is_stopped(child.pid());
                return Obituary::Late { after: limit, was_stopped };
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {}
            // The fork server was alive: it said why it cannot fork, or the request could not be
            // sent.
            _ => return Obituary::Unable(error),
        }
        // The fork server has closed its socket, so it is about to exit by itself, and its status
        // says how.
        let by_itself =
            wait_readable(&[child.pidfd()], Some(DYING_LIMIT)).is_ok_and(|ended| ended[0]);
        child.kill_group();
        self.output.read();
        match child.reap() {
            Ok(reaped) => Obituary::Died {
                death: describe(reaped.status),
                stderr: self.output.tail(),
                from_outside: by_itself
                    && reaped.status.signal().is_some_and(process::comes_from_outside),
            },
            Err(error) => Obituary::Unable(error),
        }
    }
}

/// Why a fork server is of no use any more.
#[derive(Debug)]
pub(super) enum Obituary {
    /// The process has ended.
    Died {
        /// In words that fit after "fork server".
        death: String,
        /// The end of what it printed.
        stderr: String,
        /// Whether a signal from outside ended it.
        from_outside: bool,
    },
    /// It did not answer in time.
    Late { after: Duration, was_stopped: bool },
    /// It cannot fork, or the request could not be sent.
    Unable(io::Error),
}

impl fmt::Display for Obituary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died { death, .. } => f.write_str(death),
            Self::Late { was_stopped: true, .. } => f.write_str("stopped"),
            Self::Late { .. } => f.write_str("without an answer"),
            Self::Unable(error) => error.fmt(f),
        }
    }
}

impl Obituary {
    /// Whether all open requests are lost with the fork server.
    pub(super) fn is_death(&self) -> bool {
        !matches!(self, Self::Unable(_))
    }

    /// Why the start of a worker that was requested from it failed.
    pub(super) fn failure(&self) -> StartFailure {
        match self {
            Self::Died { death, stderr, from_outside } => StartFailure {
                error: PoolError::ForkServerDied { death: death.clone(), stderr: stderr.clone() },
                from_outside: *from_outside,
            },
            Self::Late { after, was_stopped } => StartFailure {
                error: PoolError::StartTimeout { after: *after },
                from_outside: *was_stopped,
            },
            Self::Unable(error) => {
                let what = "a worker of the fork server (--start-method spawn does without one)";
                // Keep the number of an operating system's error: it decides which remedy the
                // message names.
                let source = error.raw_os_error().map_or_else(
                    || io::Error::new(error.kind(), error.to_string()),
                    io::Error::from_raw_os_error,
                );
                PoolError::Setup { what: what.to_owned(), source }.into()
            }
        }
    }
}

impl Drop for ForkServerProcess {
    fn drop(&mut self) {
        // Kills and reaps the fork server.
        drop(self.child.take());
        // Closes the output pipes, because reaping the workers below takes descriptors.
        self.asked.clear();
        // Reaps workers that the fork server forked and could not report any more.
        let undelivered = process::reap_strays(&names(&self.number.to_string()), &self.told);
        if undelivered > 0 {
            tracing::debug!(undelivered, "the fork server died before it could tell of a worker");
        }
    }
}

/// Serves as a fork server until the coordinator hangs up. In a process that was forked from it,
/// returns the worker's bootstrap token and the process id that its parent must have.
///
/// The fork server does as much as it can for all workers before it forks. Code that a worker runs
/// for the first time after the fork costs that worker a page fault, because a new worker has none
/// of these pages. There, code that is not called at all is worth more than code that is fast.
fn serve(parent: &str, number: &str) -> Result<(BootstrapToken, u32), ExitCode> {
    let parent: u32 = parent.parse().map_err(|error| failed("read its environment", &error))?;
    process::close_inherited_descriptors().map_err(|error| failed("close files", &error))?;
    process::die_with_parent(parent).map_err(|error| failed("follow its parent", &error))?;
    process::clear_environment(&[FORK_SERVER_ENV, SERVER_ENV, NONCE_ENV, PARENT_ENV]);
    // Workers inherit this.
    process::be_killed_first();
    let [own_name, worker_name] = names(number);
    process::set_name(&own_name);
    let socket = MessageSocket::standard_input();
    let nothing = File::open("/dev/null").map_err(|error| failed("open /dev/null", &error))?;
    brigade_ipc::warm_up().map_err(|error| failed("warm up", &error))?;
    loop {
        let received = socket.receive(None).map_err(|error| failed("listen", &error))?;
        let Some((request, Some(output))) = received else {
            return Err(ExitCode::SUCCESS);
        };
        let response = match fork::fork_sibling() {
            Ok(Forked::Parent(pid)) => pid.to_string(),
            Ok(Forked::Child) => {
                process::set_name(&worker_name);
                // The next call replaces this descriptor.
                socket.forget();
                fork::take_standard_streams(&nothing, &output)
                    .map_err(|error| failed("take its streams", &error))?;
                fork::lead_group().map_err(|error| failed("lead a group", &error))?;
                let token = str::from_utf8(&request).ok().and_then(BootstrapToken::from_message);
                let token = token
                    .ok_or_else(|| failed("read its orders", &"they are no bootstrap token"))?;
                return Ok((token, parent));
            }
            Err(error) => format!("the fork server cannot fork: {error}"),
        };
        socket.send(response.as_bytes(), None).map_err(|error| failed("answer", &error))?;
    }
}

fn failed(what: &str, error: &dyn fmt::Display) -> ExitCode {
    eprintln!("brigade fork server: cannot {what}: {error}");
    ExitCode::FAILURE
}

/// Runs this process as a fork server if a coordinator has started it as one, and as a worker in
/// each process that was forked from it.
pub(super) fn run_if_fork_server(registry: &Registry) -> Option<ExitCode> {
    let number = std::env::var(FORK_SERVER_ENV).ok()?;
    // The workers that are forked have it, too.
    install_panic_hook();
    let parent = std::env::var(PARENT_ENV).unwrap_or_default();
    let hello = worker::hello(registry);
    Some(match serve(&parent, &number) {
        Ok((token, parent)) => worker::run(registry, hello, token, parent),
        Err(code) => code,
    })
}
