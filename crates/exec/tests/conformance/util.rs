//! Setups to test, and what is left of a pool when it is gone.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool, PoolBuilder, StartMethod, Transport};
use brigade_proto::{Buffer, JobError, JobSpec, Outcome, Span, Status};

use crate::kernels;

/// A test, and its name.
pub(crate) type Test = (&'static str, fn(Setup));

/// A backend and, for processes, a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) backend: Backend,
    pub(crate) transport: Transport,
    pub(crate) start_method: StartMethod,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend {
            Backend::Processes => write!(f, "processes-{}-{}", self.transport, self.start_method),
            backend => backend.fmt(f),
        }
    }
}

impl Setup {
    pub(crate) fn processes() -> impl Iterator<Item = Self> {
        let backend = Backend::Processes;
        let spawned = StartMethod::Spawn;
        let forked =
            Self { backend, transport: Transport::Arena, start_method: StartMethod::Forkserver };
        Transport::ALL
            .iter()
            .map(move |&transport| Self { backend, transport, start_method: spawned })
            .chain([forked])
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let transport = Transport::Inline;
        Backend::ALL
            .iter()
            .filter(|backend| backend.is_in_process())
            .map(move |&backend| Self { backend, transport, start_method: StartMethod::Spawn })
            .chain(Self::processes())
    }

    pub(crate) fn is_processes(self) -> bool {
        self.backend == Backend::Processes
    }

    pub(crate) fn builder(self) -> PoolBuilder {
        Pool::builder()
            .backend(self.backend)
            .transport(self.transport)
            .start_method(self.start_method)
            .workers(2)
            .registry(kernels::registry())
    }

    pub(crate) fn pool(self) -> Pool {
        self.builder().build().unwrap()
    }
}

/// What this process has that a pool could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResourceSnapshot {
    descriptors: Vec<String>,
    children: Vec<u32>,
    threads: usize,
    pub(crate) shared_mappings: usize,
    /// In the runtime directory, which is this process's alone.
    sockets: Vec<PathBuf>,
}

impl ResourceSnapshot {
    pub(crate) fn now() -> Self {
        let mut descriptors: Vec<String> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|target| target.display().to_string())
            // The directory that is just being read.
            .filter(|target| !target.ends_with("/fd"))
            .map(|target| target.split(':').next().unwrap_or_default().to_owned())
            .collect();
        descriptors.sort();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut sockets: Vec<PathBuf> = fs::read_dir(brigade_ipc::runtime_dir::path())
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|entry| [entry.path(), entry.path().join("socket")])
            .filter(|path| path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()))
            .collect();
        sockets.sort();
        Self {
            descriptors,
            children: children(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            shared_mappings: maps.lines().filter(|line| line.contains("memfd")).count(),
            sockets,
        }
    }

    /// Asserts that nothing is left that was not there at `self`. A thread that was
    /// joined may be listed for a moment longer.
    pub(crate) fn assert_same(&self) {
        wait_until(
            "everything is given back",
            || Self::now() == *self,
            || format!("before {self:?}\nafter  {:?}", Self::now()),
        );
    }
}

/// Processes whose parent is this one, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let mut children: Vec<u32> = fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
        })
        .collect();
    children.sort_unstable();
    children
}

/// Those of them that are workers: not the process that workers are forked from.
pub(crate) fn workers() -> Vec<u32> {
    let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children().into_iter().filter(|&pid| !name(pid).starts_with("brigade-f")).collect()
}

/// Waits for a condition, for at most 20 s.
pub(crate) fn wait_until(
    what: &str,
    mut condition: impl FnMut() -> bool,
    state: impl Fn() -> String,
) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}\n{}", state());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Outputs, or the error, of an outcome whose spans are checked on the way.
pub(crate) fn result(outcome: Outcome) -> Result<Vec<Vec<u8>>, JobError> {
    let stamps = outcome.stamps;
    let spans = stamps.spans();
    assert_eq!(spans.total(), stamps.collected - stamps.submitted, "spans add up");
    assert_eq!(spans.overhead(), spans.total() - spans.get(Span::Queue) - spans.get(Span::Compute));
    if outcome.result.is_ok() {
        let instants = [
            stamps.submitted,
            stamps.assigned,
            stamps.encoded,
            stamps.in_hand,
            stamps.called,
            stamps.returned,
            stamps.published,
            stamps.collected,
        ];
        assert!(instants.is_sorted(), "stamps are in order: {stamps:?}");
        assert!(stamps.behind() <= spans.get(Span::Deliver), "{stamps:?}");
        assert!(instants[0] > 0);
        assert!(outcome.worker.is_some() && outcome.pid != 0 && outcome.attempts > 0);
    }
    outcome.result.map(|outputs| outputs.iter().map(|output| output.to_vec()).collect())
}

/// Has a pool do jobs, all of which end well.
#[track_caller]
pub(crate) fn all_ok(pool: &Pool, jobs: impl ExactSizeIterator<Item = JobSpec>) {
    let count = jobs.len();
    let mut done = 0;
    for outcome in pool.map(jobs) {
        assert_eq!(outcome.status(), Status::Ok, "{outcome:?}");
        done += 1;
    }
    assert_eq!(done, count);
}

pub(crate) fn bytes(len: usize, seed: u8) -> Buffer {
    let mut buffer = Buffer::zeroed(len);
    for (i, byte) in buffer.iter_mut().enumerate() {
        *byte = (i as u8).wrapping_mul(31).wrapping_add(seed);
    }
    buffer
}

/// What jobs of the kernel `gate` wait for. To be dropped before the pool, which waits for them:
/// they end when it is gone.
pub(crate) struct Gate(tempfile::TempDir);

impl Gate {
    pub(crate) fn shut() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn job(&self) -> JobSpec {
        JobSpec::new("gate").input(self.0.path().to_str().unwrap().as_bytes())
    }

    /// The processes of the jobs that wait at it.
    pub(crate) fn begun(&self) -> Vec<u32> {
        let files = self.0.path().read_dir().unwrap().flatten();
        let pid = |name: std::ffi::OsString| name.to_str()?.rsplit('-').next()?.parse().ok();
        files.filter_map(|file| pid(file.file_name())).collect()
    }

    pub(crate) fn open(&self) {
        fs::write(self.0.path().join("open"), "").unwrap();
    }
}

/// Sets a flag when it is dropped: a thread that goes on until then ends with the scope also where
/// that ends by a failed assertion.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
