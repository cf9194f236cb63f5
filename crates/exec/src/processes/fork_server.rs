//! A template process that outlasts a pool.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_ipc::Listener;
use crossbeam_channel::{Sender, bounded, unbounded};

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
/// started again when it has died. Linux only.
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
    /// `None`: it could not be started again.
    template: Mutex<Option<Template>>,
    /// To the thread that starts templates: where to send one.
    orders: Option<Sender<Sender<Result<Template, PoolError>>>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let template = self.0.template();
        write!(f, "ForkServer({:?})", template.as_ref().map(Template::pid))
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
        let (orders, inbox) = unbounded::<Sender<Result<Template, PoolError>>>();
        let program: Option<PathBuf> = program.map(Path::to_owned);
        // Templates and workers follow the thread that has started the template: it lives as
        // long as anybody needs them.
        let thread = thread::Builder::new()
            .name("fork-server".to_owned())
            .spawn(move || {
                for order in inbox {
                    let _ = order.send(Template::start(program.as_deref()));
                }
            })
            .map_err(|source| PoolError::Setup {
                what: "the fork server's thread".to_owned(),
                source,
            })?;
        let mut office =
            Office { template: Mutex::default(), orders: Some(orders), thread: Some(thread) };
        let template = office.another()?;
        *office.template.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(template);
        Ok(Self(Arc::new(office)))
    }

    /// Has a worker forked that shakes hands with `listener`.
    pub(super) fn fork(&self, listener: &Listener, limit: Duration) -> Result<Started, PoolError> {
        let mut template = self.0.template();
        if let Some(living) = template.as_mut() {
            match living.fork(listener, limit) {
                Ok(started) => return Ok(started),
                // It may have died; a new one is tried.
                Err(error) => tracing::warn!(%error, "the fork server is started again"),
            }
        }
        // The old one is reaped before that.
        drop(template.take());
        let mut fresh = self.0.another()?;
        match fresh.fork(listener, limit) {
            Ok(started) => {
                *template = Some(fresh);
                Ok(started)
            }
            Err(error) => Err(fresh.obituary(error, limit)),
        }
    }
}

impl Office {
    fn template(&self) -> MutexGuard<'_, Option<Template>> {
        self.template.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another template.
    fn another(&self) -> Result<Template, PoolError> {
        let gone = || PoolError::Setup {
            what: "the fork server".to_owned(),
            source: io::Error::other("its thread has gone"),
        };
        let (sender, receiver) = bounded(1);
        self.orders.as_ref().and_then(|orders| orders.send(sender).ok()).ok_or_else(gone)?;
        receiver.recv().map_err(|_| gone())?
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        // Before the thread that it follows.
        drop(self.template().take());
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
