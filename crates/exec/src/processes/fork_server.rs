//! A template process that outlasts a pool.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::Invitation;
use brigade_sys::bell::Bell;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::spawn::Started;
use super::template::Template;
use crate::PoolError;

/// A process from which the workers of any number of pools are forked.
///
/// A pool with [`StartMethod::Forkserver`](crate::StartMethod::Forkserver) starts such a process
/// for itself, and ends it with itself. A program that makes one pool after another starts one
/// beforehand, and hands it to each ([`PoolBuilder::fork_server`](crate::PoolBuilder::fork_server)):
/// then a pool's workers cost a fork each, and no start of a program.
///
/// A clone is the same process. It ends with the last clone and the last pool that has one, and is
/// started again when it has died, or does not answer. Linux only.
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
    /// To the thread that has the template.
    orders: Option<Sender<Order>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Rung when nobody wants a worker any more.
    closing: Bell,
    /// The template's process id.
    pid: AtomicU32,
}

/// A worker that somebody wants.
struct Order {
    invitation: Invitation,
    /// How long it may take to start a template, and to fork.
    limit: Duration,
    reply: Reply,
}

type Answer = Box<dyn FnOnce(Result<Started, PoolError>) + Send>;

/// Whom to tell. They hear of it in any case, because they wait for it.
struct Reply(Option<Answer>);

impl Reply {
    fn give(mut self, started: Result<Started, PoolError>) {
        if let Some(answer) = self.0.take() {
            answer(started);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(gone()));
        }
    }
}

fn gone() -> PoolError {
    let source = io::Error::other("its thread has gone");
    PoolError::Setup { what: "the fork server".to_owned(), source }
}

/// How long a template that has answered before may take to fork before it is taken for
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
        super::check_outside()?;
        Self::of(None)
    }

    /// Starts one of a program; `None`: this executable.
    pub(super) fn of(program: Option<&Path>) -> Result<Self, PoolError> {
        let setup = |what: &str, source| PoolError::Setup { what: what.to_owned(), source };
        let closing = Bell::new().map_err(|error| setup("the fork server's bell", error))?;
        let shared = Arc::new(Shared { closing, pid: AtomicU32::new(0) });
        let (orders, inbox) = unbounded();
        let (started, first) = bounded(1);
        let (program, own) = (program.map(Path::to_owned), Arc::clone(&shared));
        // Templates and workers follow the thread that has started the template: it lives as
        // long as anybody needs them. It also waits for the template, which somebody may have
        // stopped, and keeps nobody waiting by that.
        let thread = thread::Builder::new()
            .name("fork-server".to_owned())
            .spawn(move || match Template::start(program.as_deref()) {
                Ok(template) => {
                    own.pid.store(template.pid(), Ordering::Relaxed);
                    let _ = started.send(Ok(()));
                    serve(&inbox, &own, program.as_deref(), template);
                }
                Err(error) => drop(started.send(Err(error))),
            })
            .map_err(|error| setup("the fork server's thread", error))?;
        let office = Office { orders: Some(orders), shared, thread: Some(thread) };
        first.recv().map_err(|_| gone())??;
        Ok(Self(Arc::new(office)))
    }

    /// Has a worker forked that follows an invitation. Does not wait for it: `answer` is
    /// called by another thread, in any case.
    pub(super) fn fork(
        &self,
        invitation: &Invitation,
        limit: Duration,
        answer: impl FnOnce(Result<Started, PoolError>) + Send + 'static,
    ) {
        let reply = Reply(Some(Box::new(answer)));
        let order = Order { invitation: invitation.clone(), limit, reply };
        if let Some(orders) = &self.0.orders {
            // If the thread has gone, the order is dropped, which answers it.
            drop(orders.send(order));
        }
    }
}

/// Has workers forked until nobody wants any.
fn serve(inbox: &Receiver<Order>, shared: &Shared, program: Option<&Path>, first: Template) {
    // None: it could not be started again.
    let mut template = Some(first);
    for Order { invitation, limit, reply } in inbox {
        let started = fork(&mut template, &invitation, limit, shared, program);
        reply.give(started);
    }
}

fn fork(
    template: &mut Option<Template>,
    invitation: &Invitation,
    limit: Duration,
    shared: &Shared,
    program: Option<&Path>,
) -> Result<Started, PoolError> {
    if let Some(living) = template {
        let patience = if living.has_answered() { limit.min(PATIENCE) } else { limit };
        match living.fork(invitation, patience, &shared.closing) {
            Ok(started) => return Ok(started),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(gone()),
            // It may have died, or was stopped; a new one is tried.
            Err(error) => tracing::warn!(%error, "the fork server is started again"),
        }
    }
    // The old one is reaped before that.
    drop(template.take());
    let mut fresh = Template::start(program)?;
    shared.pid.store(fresh.pid(), Ordering::Relaxed);
    match fresh.fork(invitation, limit, &shared.closing) {
        Ok(started) => {
            *template = Some(fresh);
            Ok(started)
        }
        Err(error) => Err(fresh.obituary(error, limit)),
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.shared.closing.ring();
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
