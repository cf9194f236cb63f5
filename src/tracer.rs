//! The timeline of a run, `--trace`: jobs as they end, and memory use ten times a second.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_exec::{PoolConfig, WorkerReport};
use brigade_measure::memory;
use brigade_measure::summary::Summary;
use brigade_proto::{Nanos, Stamps};
use brigade_report::JobRow;
use brigade_report::trace::Trace;
use brigade_sys::clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::exit::Failure;
use crate::write::{self, Draft, FileReservation, Replace};

/// Opens the file of a timeline, if one is wanted. It must not be one that the run reads or writes
/// (`used`).
///
/// # Errors
/// When it is one of these, or cannot be written.
pub(crate) fn open<'a>(
    path: Option<&Path>,
    used: impl IntoIterator<Item = &'a PathBuf>,
    title: String,
) -> Result<Option<PendingTrace>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    let show = path.display();
    let identity = write::identity(path);
    if let Some(other) = used.into_iter().find(|other| write::identity(other) == identity) {
        let other = other.display();
        return Err(Failure::usage(format!(
            "--trace {show} would overwrite {other}, which the run reads or writes"
        )));
    }
    if write::is_stdout(path) {
        return Err(Failure::usage(format!(
            "cannot write --trace {show}: standard output holds the report; name a file"
        )));
    }
    let draft = Draft::of(path, Replace::Always)
        .map_err(|error| Failure::usage(format!("cannot write --trace {show}: {error}")))?;
    let reserved = write::reserve(path, "the --trace file of this run");
    Ok(Some(PendingTrace { draft, reserved, title, memory: Sampler::start()? }))
}

/// A timeline before the run has begun.
pub(crate) struct PendingTrace {
    draft: Draft,
    /// Prevents a job's result from replacing the file.
    reserved: FileReservation,
    title: String,
    memory: Sampler,
}

impl PendingTrace {
    /// Starts the timeline at `begin`, when the pool was asked for.
    ///
    /// # Errors
    /// When the file cannot be written, as for the methods of [`Tracer`].
    pub(crate) fn begin(self, begin: Nanos, config: &PoolConfig) -> io::Result<Tracer> {
        let Self { draft, reserved, title, memory } = self;
        let path = draft.path().to_owned();
        let trace = Trace::start(draft, begin, config.slots(), &title).map_err(annotate(&path))?;
        if config.backend.is_in_process() {
            memory.watch(None, std::process::id());
        }
        Ok(Tracer { trace, path, _reserved: reserved, memory })
    }
}

/// A timeline that is being written.
pub(crate) struct Tracer {
    trace: Trace<Draft>,
    path: PathBuf,
    _reserved: FileReservation,
    memory: Sampler,
}

impl Tracer {
    /// Adds a job that has ended. Digesting and writing its result began at `since`.
    pub(crate) fn job(&mut self, row: &JobRow, stamps: &Stamps, since: Nanos) -> io::Result<()> {
        if let (Some(worker), Some(pid)) = (row.worker, row.pid)
            && pid != std::process::id()
        {
            self.memory.watch(Some(worker), pid);
        }
        self.trace.job(row, stamps, (since, clock::now())).map_err(annotate(&self.path))?;
        self.samples()
    }

    fn samples(&mut self) -> io::Result<()> {
        for MemorySample { at, worker, bytes } in self.memory.samples.try_iter() {
            self.trace.memory(at, worker, bytes).map_err(annotate(&self.path))?;
        }
        Ok(())
    }

    /// Completes the timeline and puts the file in place, when the workers have ended.
    pub(crate) fn end(mut self, summary: &Summary, workers: &[WorkerReport]) -> io::Result<()> {
        self.samples()?;
        self.trace
            .end(summary, workers)
            .and_then(|draft| draft.finish()?.publish_durably())
            .map_err(annotate(&self.path))
    }
}

fn annotate(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::other(format!("cannot write --trace {}: {error}", path.display()))
}

/// The resident memory of a process at one moment.
pub(crate) struct MemorySample {
    pub(crate) at: Nanos,
    /// `None` is the coordinator.
    pub(crate) worker: Option<u32>,
    pub(crate) bytes: u64,
}

/// The process id of each worker.
type Watched = BTreeMap<Option<u32>, u32>;

/// A thread that samples the memory of processes.
struct Sampler {
    watched: Arc<Mutex<Watched>>,
    samples: Receiver<MemorySample>,
    /// The thread ends when this is dropped.
    quit: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    const PERIOD: Duration = Duration::from_millis(100);

    fn start() -> io::Result<Self> {
        let watched = Arc::new(Mutex::new(Watched::new()));
        let (sender, samples) = crossbeam_channel::unbounded();
        let (quit, quitting) = crossbeam_channel::bounded::<()>(0);
        let processes = Arc::clone(&watched);
        let thread = thread::Builder::new().name("memory".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = quitting.recv_timeout(Self::PERIOD) {
                for (&worker, &pid) in lock(&processes).iter() {
                    if let Some(bytes) = memory::resident_bytes(pid) {
                        // Fails only if the receiver is dropped.
                        let _ = sender.send(MemorySample { at: clock::now(), worker, bytes });
                    }
                }
            }
        })?;
        Ok(Self { watched, samples, quit: Some(quit), thread: Some(thread) })
    }

    /// From now on, samples this process as that worker.
    fn watch(&self, worker: Option<u32>, pid: u32) {
        lock(&self.watched).insert(worker, pid);
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.quit = None;
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}
