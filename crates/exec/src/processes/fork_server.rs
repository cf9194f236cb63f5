//! A fork server that can outlast a pool, and the thread that owns its process.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::BootstrapToken;
use brigade_proto::Nanos;
use brigade_sys::clock;
use brigade_sys::event_fd::{EventFd, wait_readable};
use brigade_sys::stall::StallDetector;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};

use super::fork_server_process::{ForkServerProcess, MOST_ASKED};
use super::spawn::{StartFailure, StartedProcess};
use crate::{Environment, PoolError};

/// A process from which the workers of any number of pools are forked.
///
/// A pool with [`StartMethod::Forkserver`](crate::StartMethod::Forkserver) starts such a process
/// for itself and ends it when the pool ends. A program that makes one pool after another can start
/// one beforehand and hand it to each pool
/// ([`PoolBuilder::fork_server`](crate::PoolBuilder::fork_server)). Then each worker costs a fork,
/// and no start of a program.
///
/// Clones share one process. It ends with the last clone and the last pool that has one. It is
/// started again when it has died, when it does not answer, or when a worker that was forked from
/// it ends by itself without a job. Linux only.
///
/// ```no_run
/// use brigade_exec::{ForkServer, Pool};
///
/// # fn main() -> Result<(), brigade_exec::PoolError> {
/// let server = ForkServer::start()?;
/// for _ in 0..10 {
///     let pool = Pool::builder().workers(2).fork_server(&server).build()?;
///     // ... jobs
/// #   drop(pool);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ForkServer(Arc<ForkServerThread>);

/// The handle of the thread that owns the fork server. Dropping it ends the thread.
struct ForkServerThread {
    /// To the thread.
    requests: Option<Sender<ForkRequest>>,
    shared: Arc<ForkServerState>,
    thread: Option<JoinHandle<()>>,
}

/// What the handles and the thread share.
struct ForkServerState {
    /// Notified when there is a request, and when the last handle is dropped.
    event_fd: EventFd,
    /// The fork server's process id.
    pid: AtomicU32,
}

/// A request for one worker, from a pool to the thread that owns the fork server.
struct ForkRequest {
    token: BootstrapToken,
    /// How long the fork server may take to start and to fork.
    limit: Duration,
    /// Do not fork from the fork server with this number: one of its workers ended by itself
    /// without a job.
    but: Option<u32>,
    responder: ForkResponder,
}

/// Receives the worker that was started, or the error.
type ForkCallback = Box<dyn FnOnce(Result<StartedProcess, StartFailure>) + Send>;

/// Answers one request. If it is dropped unanswered, it answers with an error, because the
/// supervisor waits for the response.
struct ForkResponder(Option<ForkCallback>);

impl ForkResponder {
    fn respond(mut self, started: Result<StartedProcess, StartFailure>) {
        if let Some(callback) = self.0.take() {
            callback(started);
        }
    }
}

impl Drop for ForkResponder {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(gone().into()));
        }
    }
}

fn gone() -> PoolError {
    let source = io::Error::other("its thread has gone");
    PoolError::Setup { what: "the fork server".to_owned(), source }
}

/// How long a fork server that has forked before may take to fork. After that it counts as stopped,
/// and another one is started.
const PATIENCE: Duration = Duration::from_secs(2);

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForkServer({})", self.0.shared.pid.load(Ordering::Relaxed))
    }
}

impl ForkServer {
    /// Starts a fork server from this executable, which must call
    /// [`run_if_worker`](crate::run_if_worker).
    ///
    /// # Errors
    /// When this process is a worker itself, or when the process or a thread for it cannot be
    /// started.
    pub fn start() -> Result<Self, PoolError> {
        Self::start_with(&Environment::default())
    }

    /// Starts a fork server whose workers have these variables in their environment.
    ///
    /// # Errors
    /// As [`ForkServer::start`].
    pub fn start_with(environment: &Environment) -> Result<Self, PoolError> {
        super::check_outside()?;
        Self::of(None, environment)
    }

    /// Starts a fork server from `program`; `None` is this executable.
    pub(super) fn of(program: Option<&Path>, environment: &Environment) -> Result<Self, PoolError> {
        let setup = |what: &str, source| PoolError::Setup { what: what.to_owned(), source };
        let event_fd = EventFd::new().map_err(|error| setup("the fork server's eventfd", error))?;
        let shared = Arc::new(ForkServerState { event_fd, pid: AtomicU32::new(0) });
        let (requests, inbox) = unbounded();
        let (started, first) = bounded(1);
        let own = Arc::clone(&shared);
        let (program, environment) = (program.map(Path::to_owned), environment.clone());
        // The parent-death signals of the fork server and its workers follow the thread that starts
        // the fork server, so this thread lives as long as they are needed. It also waits for the
        // fork server, which a signal may have stopped. No other thread has to wait then.
        let thread = thread::Builder::new()
            .name("fork-server".to_owned())
            .spawn(move || match ForkServerProcess::start(program.as_deref(), &environment) {
                Ok(process) => {
                    own.pid.store(process.pid(), Ordering::Relaxed);
                    let _ = started.send(Ok(()));
                    let program = program.as_deref();
                    Service::new(inbox, &own, (program, &environment), process).run();
                }
                Err(error) => drop(started.send(Err(error))),
            })
            .map_err(|error| setup("the fork server's thread", error))?;
        let server_thread =
            ForkServerThread { requests: Some(requests), shared, thread: Some(thread) };
        first.recv().map_err(|_| gone())??;
        Ok(Self(Arc::new(server_thread)))
    }

    /// Requests a worker that gets `token`, from a fork server whose number is not `but`. Does not
    /// wait: another thread calls `callback`, in every case.
    pub(super) fn fork(
        &self,
        token: &BootstrapToken,
        limit: Duration,
        but: Option<u32>,
        callback: impl FnOnce(Result<StartedProcess, StartFailure>) + Send + 'static,
    ) {
        let responder = ForkResponder(Some(Box::new(callback)));
        let request = ForkRequest { token: token.clone(), limit, but, responder };
        if let Some(requests) = &self.0.requests {
            // If the thread has ended, `send` drops the request, which answers it.
            drop(requests.send(request));
            self.0.shared.event_fd.notify();
        }
    }
}

/// The work of the thread that owns the fork server, until the last handle is dropped. The thread
/// requests all workers from the fork server, and passes on its responses. Requests do not wait for
/// earlier responses, and responses do not wait for requests.
struct Service<'a> {
    inbox: Receiver<ForkRequest>,
    shared: &'a ForkServerState,
    program: Option<&'a Path>,
    environment: &'a Environment,
    /// `None` if the fork server has failed or could not be started again.
    process: Option<ForkServerProcess>,
    /// Requests without a response. The first [`Service::asked`] of them were sent to the fork
    /// server.
    requests: VecDeque<ForkRequest>,
    /// When the response to the first request is due.
    due: Nanos,
    /// Time in which this process was stopped does not count: the fork server may have been stopped
    /// with it.
    stall_detector: StallDetector,
}

impl<'a> Service<'a> {
    fn new(
        inbox: Receiver<ForkRequest>,
        shared: &'a ForkServerState,
        (program, environment): (Option<&'a Path>, &'a Environment),
        process: ForkServerProcess,
    ) -> Self {
        let process = Some(process);
        Self {
            inbox,
            shared,
            program,
            environment,
            process,
            requests: VecDeque::new(),
            due: 0,
            stall_detector: StallDetector::default(),
        }
    }

    fn run(mut self) {
        loop {
            self.shared.event_fd.clear();
            loop {
                match self.inbox.try_recv() {
                    Ok(request) => self.requests.push_back(request),
                    Err(TryRecvError::Empty) => break,
                    // Dropping a request answers it.
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.ask();
            self.listen();
        }
    }

    /// How many of the requests were sent to the fork server.
    fn asked(&self) -> usize {
        self.process.as_ref().map_or(0, ForkServerProcess::owes)
    }

    /// Sends requests to the fork server. Starts one if there is none.
    fn ask(&mut self) {
        while self.asked() < MOST_ASKED
            && let Some(request) = self.requests.get(self.asked())
        {
            if let Some(process) = &self.process
                && request.but == Some(process.number())
            {
                // Earlier requests are answered first.
                if process.owes() > 0 {
                    return;
                }
                // What the fork server lacks, its workers lack too, for example memory that was
                // limited from outside.
                tracing::warn!("the fork server is started again: its worker ended without a job");
                self.process = None;
            }
            if self.process.is_none() {
                match ForkServerProcess::start(self.program, self.environment) {
                    Ok(process) => {
                        self.shared.pid.store(process.pid(), Ordering::Relaxed);
                        self.process = Some(process);
                    }
                    Err(error) => {
                        self.settle(Err(error.into()));
                        continue;
                    }
                }
            }
            let Some(process) = &mut self.process else { return };
            match process.ask(&request.token) {
                Ok(()) => {}
                // Earlier requests are answered first. If the fork server has gone, the next read
                // says so. If no descriptor is free, one may be by then.
                Err(_) if process.owes() > 0 => return,
                Err(error) => {
                    self.fail(error);
                    continue;
                }
            }
            if process.owes() == 1 {
                self.begin_to_wait();
            }
        }
    }

    /// Waits for a request, and for the fork server as long as it owes a response.
    fn listen(&mut self) {
        let mut sources = vec![self.shared.event_fd.as_fd()];
        let waits_for = self.process.as_ref().filter(|process| process.owes() > 0);
        sources.extend(waits_for.map(ForkServerProcess::as_fd));
        let now = clock::now();
        let left = waits_for.map(|_| Duration::from_nanos(self.due.saturating_sub(now)));
        self.stall_detector.look(now, waits_for.map(|_| self.due));
        let heard = match wait_readable(&sources, left).as_deref() {
            Ok(&[_, true]) => true,
            // A request or a signal has ended the wait.
            Ok(_) if waits_for.is_none() || clock::now() < self.due => false,
            // This process was stopped meanwhile: that time does not count.
            Ok(_) if self.stall_detector.pending(clock::now()) > 0 => {
                self.due = self.due.saturating_add(self.stall_detector.pending(clock::now()));
                false
            }
            Ok(_) => return self.fail(io::ErrorKind::TimedOut.into()),
            Err(error) => {
                // Only for lack of kernel memory. Sleep, to avoid a busy loop.
                tracing::error!(%error, "cannot listen to the fork server");
                return thread::sleep(PATIENCE / 10);
            }
        };
        if let Some(process) = self.process.as_mut().filter(|_| heard) {
            match process.read_response() {
                Ok(started) => {
                    self.settle(Ok(started));
                    self.begin_to_wait();
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn begin_to_wait(&mut self) {
        if let (Some(request), Some(process)) = (self.requests.front(), &self.process) {
            let limit = request.limit;
            let patience = if process.has_answered() { limit.min(PATIENCE) } else { limit };
            self.due = clock::after(patience);
        }
    }

    /// Answers the first request.
    fn settle(&mut self, started: Result<StartedProcess, StartFailure>) {
        if let Some(request) = self.requests.pop_front() {
            request.responder.respond(started);
        }
    }

    /// The fork server has died, does not answer, or cannot fork.
    ///
    /// A fork server that has forked before is started again, and nothing else happens: the
    /// requests wait for the next one. If it has never forked, the start has failed for every
    /// worker that was requested from it. The supervisors count that like a worker that died at its
    /// start, and request another one after a back-off. Nothing else bounds how often a program is
    /// started that dies each time.
    fn fail(&mut self, error: io::Error) {
        let Some(process) = self.process.take() else { return };
        let limit = self.requests.front().map_or(Duration::ZERO, |request| request.limit);
        let (has_answered, asked) = (process.has_answered(), process.owes().max(1));
        // The fork server is reaped before another one is started.
        let obituary = process.obituary(error, limit);
        if !obituary.is_death() {
            // The fork server was alive, and this request alone has failed. The others go to the
            // next one.
            self.settle(Err(obituary.failure()));
        } else if has_answered {
            tracing::warn!("the fork server is started again; the last one: {obituary}");
        } else {
            tracing::warn!("a fork server did not start: {obituary}");
            for _ in 0..asked {
                self.settle(Err(obituary.failure()));
            }
        }
    }
}

impl Drop for ForkServerThread {
    fn drop(&mut self) {
        self.requests = None;
        self.shared.event_fd.notify();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
