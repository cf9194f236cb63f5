//! A fork server process that outlasts a pool.

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
use super::spawn::{StartFailure, Started};
use crate::{Environment, PoolError};

/// A process from which the workers of any number of pools are forked.
///
/// A pool with [`StartMethod::Forkserver`](crate::StartMethod::Forkserver) starts such a process
/// for itself, and ends it with itself. A program that makes one pool after another starts one
/// beforehand, and hands it to each ([`PoolBuilder::fork_server`](crate::PoolBuilder::fork_server)):
/// then a pool's workers cost a fork each, and no start of a program.
///
/// A clone is the same process. It ends with the last clone and the last pool that has one, and is
/// started again when it has died, does not answer, or a worker of it ends by itself without a job. Linux only.
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
pub struct ForkServer(Arc<Office>);

struct Office {
    /// To the thread that has the fork server.
    orders: Option<Sender<Order>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Rung when there is an order, and when nobody wants a worker any more.
    event_fd: EventFd,
    /// The fork server's process id.
    pid: AtomicU32,
}

/// A worker that somebody wants.
struct Order {
    token: BootstrapToken,
    /// How long it may take to start a fork server, and to fork.
    limit: Duration,
    /// Not from the fork server of this number: a worker of it ended by itself without a job.
    but: Option<u32>,
    reply: Reply,
}

type Answer = Box<dyn FnOnce(Result<Started, StartFailure>) + Send>;

/// Whom to tell. They hear of it in any case, because they wait for it.
struct Reply(Option<Answer>);

impl Reply {
    fn give(mut self, started: Result<Started, StartFailure>) {
        if let Some(answer) = self.0.take() {
            answer(started);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(gone().into()));
        }
    }
}

fn gone() -> PoolError {
    let source = io::Error::other("its thread has gone");
    PoolError::Setup { what: "the fork server".to_owned(), source }
}

/// How long a fork server that has answered before may take to fork before it is taken for
/// stopped, and another one is started.
const PATIENCE: Duration = Duration::from_secs(2);

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForkServer({})", self.0.shared.pid.load(Ordering::Relaxed))
    }
}

impl ForkServer {
    /// Starts one of this executable, which calls
    /// [`run_if_worker`](crate::run_if_worker).
    ///
    /// # Errors
    /// When this process is a worker itself, or the process or a thread for it cannot be
    /// started.
    pub fn start() -> Result<Self, PoolError> {
        Self::start_with(&Environment::default())
    }

    /// Starts one whose workers have these variables in their environment.
    ///
    /// # Errors
    /// As [`ForkServer::start`].
    pub fn start_with(environment: &Environment) -> Result<Self, PoolError> {
        super::check_outside()?;
        Self::of(None, environment)
    }

    /// Starts one of a program; `None`: this executable.
    pub(super) fn of(program: Option<&Path>, environment: &Environment) -> Result<Self, PoolError> {
        let setup = |what: &str, source| PoolError::Setup { what: what.to_owned(), source };
        let event_fd = EventFd::new().map_err(|error| setup("the fork server's eventfd", error))?;
        let shared = Arc::new(Shared { event_fd, pid: AtomicU32::new(0) });
        let (orders, inbox) = unbounded();
        let (started, first) = bounded(1);
        let own = Arc::clone(&shared);
        let (program, environment) = (program.map(Path::to_owned), environment.clone());
        // Templates and workers follow the thread that has started the fork server: it lives as
        // long as anybody needs them. It also waits for the fork server, which somebody may have
        // stopped, and keeps nobody waiting by that.
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
        let office = Office { orders: Some(orders), shared, thread: Some(thread) };
        first.recv().map_err(|_| gone())??;
        Ok(Self(Arc::new(office)))
    }

    /// Has a worker forked that follows a bootstrap token; from another fork server than `but`. Does not
    /// wait for it: `answer` is called by another thread, in any case.
    pub(super) fn fork(
        &self,
        token: &BootstrapToken,
        limit: Duration,
        but: Option<u32>,
        answer: impl FnOnce(Result<Started, StartFailure>) + Send + 'static,
    ) {
        let reply = Reply(Some(Box::new(answer)));
        let order = Order { token: token.clone(), limit, but, reply };
        if let Some(orders) = &self.0.orders {
            // If the thread has gone, the order is dropped, which answers it.
            drop(orders.send(order));
            self.0.shared.event_fd.notify();
        }
    }
}

/// What the thread that has the fork server does until nobody wants a worker: it asks for all that
/// are ordered, and passes on what the fork server answers, without waiting for the one before it
/// does the other.
struct Service<'a> {
    inbox: Receiver<Order>,
    shared: &'a Shared,
    program: Option<&'a Path>,
    environment: &'a Environment,
    /// `None`: it has failed, or could not be started again.
    process: Option<ForkServerProcess>,
    /// What the fork server was asked for comes first.
    orders: VecDeque<Order>,
    /// When it is to have answered for the first of them.
    due: Nanos,
    /// That does not count in which this process was stopped, and the fork server perhaps with it.
    watch: StallDetector,
}

impl<'a> Service<'a> {
    fn new(
        inbox: Receiver<Order>,
        shared: &'a Shared,
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
            orders: VecDeque::new(),
            due: 0,
            watch: StallDetector::default(),
        }
    }

    fn run(mut self) {
        loop {
            self.shared.event_fd.clear();
            loop {
                match self.inbox.try_recv() {
                    Ok(order) => self.orders.push_back(order),
                    Err(TryRecvError::Empty) => break,
                    // Dropping an order answers it.
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.ask();
            self.listen();
        }
    }

    /// For how many of the orders the fork server was asked.
    fn asked(&self) -> usize {
        self.process.as_ref().map_or(0, ForkServerProcess::owes)
    }

    /// Asks for what is ordered.
    fn ask(&mut self) {
        while self.asked() < MOST_ASKED
            && let Some(order) = self.orders.get(self.asked())
        {
            if let Some(process) = &self.process
                && order.but == Some(process.number())
            {
                // The others that it was asked for come first.
                if process.owes() > 0 {
                    return;
                }
                // What it lacks, its workers lack, for example memory that somebody has limited.
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
            match process.ask(&order.token) {
                Ok(()) => {}
                // Those that it was asked for come first: if it has gone, that is heard next, and
                // if there are no descriptors, there may be some by then.
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

    /// Waits for an order, and for the fork server as long as it owes an answer.
    fn listen(&mut self) {
        let mut sources = vec![self.shared.event_fd.as_fd()];
        let waits_for = self.process.as_ref().filter(|process| process.owes() > 0);
        sources.extend(waits_for.map(ForkServerProcess::as_fd));
        let now = clock::now();
        let left = waits_for.map(|_| Duration::from_nanos(self.due.saturating_sub(now)));
        self.watch.look(now, waits_for.map(|_| self.due));
        let heard = match wait_readable(&sources, left).as_deref() {
            Ok(&[_, true]) => true,
            // An order, or a signal.
            Ok(_) if waits_for.is_none() || clock::now() < self.due => false,
            // It was not this thread's time that has passed.
            Ok(_) if self.watch.pending(clock::now()) > 0 => {
                self.due = self.due.saturating_add(self.watch.pending(clock::now()));
                false
            }
            Ok(_) => return self.fail(io::ErrorKind::TimedOut.into()),
            Err(error) => {
                // Only for want of kernel memory. Not a busy loop:
                tracing::error!(%error, "cannot listen to the fork server");
                return thread::sleep(PATIENCE / 10);
            }
        };
        if let Some(process) = self.process.as_mut().filter(|_| heard) {
            match process.answer() {
                Ok(started) => {
                    self.settle(Ok(started));
                    self.begin_to_wait();
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn begin_to_wait(&mut self) {
        if let (Some(order), Some(process)) = (self.orders.front(), &self.process) {
            let limit = order.limit;
            let spin_policy = if process.has_answered() { limit.min(PATIENCE) } else { limit };
            self.due = clock::after(spin_policy);
        }
    }

    /// Answers for the first order.
    fn settle(&mut self, started: Result<Started, StartFailure>) {
        if let Some(order) = self.orders.pop_front() {
            order.reply.give(started);
        }
    }

    /// The fork server has died, does not answer, or cannot fork.
    ///
    /// One that has forked before is started again, and that is all: the orders wait for the next
    /// one. One that never has is a start that failed, for every worker that it was asked for. The
    /// supervisors count that like a worker that died at its start, and order another one after
    /// a pause: nothing else bounds how often a program is started that dies each time.
    fn fail(&mut self, error: io::Error) {
        let Some(process) = self.process.take() else { return };
        let limit = self.orders.front().map_or(Duration::ZERO, |order| order.limit);
        let (has_answered, asked) = (process.has_answered(), process.owes().max(1));
        // Reaped before there is another.
        let obituary = process.obituary(error, limit);
        if !obituary.is_death() {
            // It lives, and this order alone has failed.
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

impl Drop for Office {
    fn drop(&mut self) {
        self.orders = None;
        self.shared.event_fd.notify();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
