use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use brigade_ipc::{Bounds, SpinPolicy};
use brigade_proto::limits;
use brigade_sys::confine::Readable;

use crate::{Environment, ForkServer, PoolError, executor};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// All variants, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name on the command line and in every output format.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.name() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.name()).collect();
                    format!("there is no {} `{text}`; there are: {}", $what, all.join(", "))
                })
            }
        }
    };
}

names! {
    /// Where and how a pool runs its jobs.
    Backend, "backend" {
        /// One after another on the thread that submits them. `submit` returns when the job has
        /// ended.
        Sync = "sync",
        /// On one thread with an event loop. Jobs that wait overlap; jobs that compute take turns.
        Async = "async",
        /// On threads of the calling process.
        Threads = "threads",
        /// On threads of the calling process, only one of which computes at a time, as under a
        /// global interpreter lock. A kernel that waits releases the lock.
        ThreadsGil = "threads-gil",
        /// In worker processes.
        Processes = "processes",
    }
}

names! {
    /// How payloads (inputs and outputs) travel to and from a worker process.
    Transport, "transport" {
        /// Inside the messages of the control channel.
        Inline = "inline",
        /// Each large payload in a shared memory region of its own, made for the job.
        Shm = "shm",
        /// In slabs of long-lived shared memory regions, which are reused. Requests and responses
        /// go through rings in shared memory, without a system call while both sides are busy.
        Arena = "arena",
    }
}

names! {
    /// How a worker process is started.
    StartMethod, "start method" {
        /// Each worker is a new start of the executable.
        Spawn = "spawn",
        /// Each worker is forked from the fork server: a small, single-threaded process that was
        /// started once and has everything ready that all workers share. Linux only.
        Forkserver = "forkserver",
    }
}

names! {
    /// How complete a worker's sandbox must be.
    Sandbox, "sandbox" {
        /// All parts are required. The pool does not start if the operating system kernel lacks
        /// one.
        Strict = "strict",
        /// A worker uses the parts that the operating system kernel offers. The pool logs missing
        /// parts.
        BestEffort = "best-effort",
    }
}

/// Settings of a pool. [`PoolBuilder`](crate::PoolBuilder) fills them in, and [`PoolConfig::check`]
/// validates them.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Where and how jobs run.
    pub backend: Backend,
    /// Number of workers, from 1 to 1024. The backends `sync` and `async` always have 1; see
    /// [`PoolConfig::slots`].
    pub workers: usize,
    /// How payloads travel to and from a worker process.
    pub transport: Transport,
    /// How a worker process is started.
    pub start_method: StartMethod,
    /// Upper limit of the arena's shared memory, in bytes. A job that does not fit uses regions of
    /// its own, as with [`Transport::Shm`]. `None`: a quarter of the memory that this process may
    /// use.
    pub arena_limit: Option<u64>,
    /// How long a worker, and a caller that waits for one, polls before it sleeps. Zero: it polls
    /// 100 times and then sleeps. `None`: about as long as a wake-up takes, which is measured once
    /// per process.
    pub spin: Option<Duration>,
    /// Jobs assigned to one worker process at a time, from 1 to 16. With 2 or more, the next job is
    /// already there when one ends.
    pub depth: usize,
    /// Jobs that may wait for a worker, from 1 to 2^24. `submit` blocks while the queue is full.
    pub queue: usize,
    /// How long a kernel may run, from its call. Reading the inputs of its job has the same limit,
    /// counted separately. A job's own timeout takes precedence. `None`: no limit.
    pub timeout: Option<Duration>,
    /// How often a job is given to another worker process after its worker died with the job in
    /// hand.
    pub retries: u32,
    /// The pool gives up after more deaths of worker processes in a row than this, with no job
    /// completed in between. Workers that die together count once. Workers that had a job in hand
    /// do not count: `retries` bounds those. The pool does not give up while another worker has a
    /// job.
    pub max_restarts: u32,
    /// How long a worker process may take to begin a job that it was given, or may be stopped by a
    /// signal. After that the supervisor assumes that it hangs, kills it and replaces it.
    pub heartbeat: Duration,
    /// A worker process is replaced after this many jobs, or up to an eighth fewer, so that not all
    /// workers are replaced at once. At least 1. `None`: never.
    pub max_jobs_per_worker: Option<u64>,
    /// Private memory that a job may use in a worker process, in bytes, from 4 MiB to 2^50. A job
    /// that needs more fails with [`JobError::MemoryLimit`](brigade_proto::JobError::MemoryLimit).
    /// A worker that still holds half of the limit after a job is replaced. `None`: no limit.
    pub memory_limit: Option<u64>,
    /// Processor time that a job may use in a worker process. A job that uses more fails with
    /// [`JobError::CpuLimit`](brigade_proto::JobError::CpuLimit). `None`: no limit.
    pub cpu_limit: Option<Duration>,
    /// Which files jobs may name as inputs.
    pub readable: Arc<Readable>,
    /// Sandbox for worker processes: no file system, no network, no other programs, no new
    /// processes. `None`: no sandbox.
    pub sandbox: Option<Sandbox>,
    /// Each worker process can read only the inputs of its own jobs, which lie in regions of its
    /// own. The sandbox implies it.
    pub own_inputs: bool,
    /// Bind worker n to the n-th core that this process may use, wrapping around.
    pub pin: bool,
    /// How long a worker process may take to start and to complete the handshake.
    pub start_deadline: Duration,
    /// The program that is started as a worker. `None`: this executable.
    pub worker_program: Option<PathBuf>,
    /// Variables in the environment of worker processes, besides those that they need to run.
    pub environment: Environment,
    /// The fork server for [`StartMethod::Forkserver`]. Its program and environment apply, not
    /// `worker_program` and `environment`. `None`: the pool starts a fork server of its own.
    pub fork_server: Option<ForkServer>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Processes,
            workers: brigade_sys::cores::usable().usable,
            transport: Transport::Arena,
            start_method: StartMethod::Spawn,
            arena_limit: None,
            spin: None,
            depth: 2,
            queue: 8192,
            timeout: None,
            retries: 2,
            max_restarts: 5,
            heartbeat: Duration::from_secs(10),
            max_jobs_per_worker: None,
            memory_limit: None,
            cpu_limit: None,
            readable: Arc::default(),
            sandbox: None,
            own_inputs: false,
            pin: false,
            start_deadline: Duration::from_secs(10),
            worker_program: None,
            environment: Environment::default(),
            fork_server: None,
        }
    }
}

/// Smallest memory limit, in bytes. A worker's own messages take up to half of it.
pub(crate) const LEAST_MEMORY: u64 = 4 << 20;

impl PoolConfig {
    /// Number of slots: `workers`, or 1 for `sync` and `async`.
    pub fn slots(&self) -> usize {
        match self.backend {
            Backend::Sync | Backend::Async => 1,
            Backend::Threads | Backend::ThreadsGil | Backend::Processes => self.workers,
        }
    }

    /// Whether each worker has input regions of its own, which no other worker can read.
    pub(crate) fn has_own_inputs(&self) -> bool {
        self.own_inputs || self.sandbox.is_some()
    }

    /// The limits that the handshake tells each worker.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            memory: self.memory_limit,
            cpu: self.cpu_limit,
            sandbox: self.sandbox.map(|sandbox| sandbox == Sandbox::Strict),
        }
    }

    pub(crate) fn spin_policy(&self) -> SpinPolicy {
        executor::spin_policy(self.spin)
    }

    /// Checks that every setting is valid and that the backend supports it.
    ///
    /// # Errors
    /// [`PoolError::Config`], [`PoolError::Variable`] or [`PoolError::NeedsProcesses`], with the
    /// flag or variable that is wrong.
    pub fn check(&self) -> Result<(), PoolError> {
        let within = |what, flag, value: u64, allowed: RangeInclusive<u64>| {
            if allowed.contains(&value) {
                return Ok(());
            }
            let (min, max) = allowed.into_inner();
            Err(PoolError::Config { what, flag, value, min, max })
        };
        within("workers", "--workers", self.workers as u64, 1..=limits::MAX_WORKERS as u64)?;
        within("depth", "--depth", self.depth as u64, 1..=limits::MAX_DEPTH as u64)?;
        within("queue", "PoolBuilder::queue", self.queue as u64, 1..=1 << 24)?;
        if let Some(jobs) = self.max_jobs_per_worker {
            within("jobs per worker", "--max-jobs-per-worker", jobs, 1..=u64::MAX)?;
        }
        if let Some(bytes) = self.memory_limit {
            within("memory limit", "--memory-limit", bytes, LEAST_MEMORY..=1 << 50)?;
        }
        if let Some((name, why)) = self.environment.refused() {
            let name = name.to_string_lossy().into_owned();
            return Err(PoolError::Variable { name, why });
        }
        self.check_isolation()
    }

    /// Refuses limits and the sandbox for a backend that runs kernels in the caller's process. The
    /// caller may rely on them, so they must not be ignored silently.
    fn check_isolation(&self) -> Result<(), PoolError> {
        let asked = [
            ("--memory-limit", self.memory_limit.is_some()),
            ("--cpu-limit", self.cpu_limit.is_some()),
            ("--sandbox", self.sandbox.is_some()),
        ];
        match asked.into_iter().find(|(_, asked)| *asked && self.backend.is_in_process()) {
            Some((flag, _)) => Err(PoolError::NeedsProcesses { flag }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_errors_list_what_there_is() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse(), Ok(*backend));
        }
        let error = "thread".parse::<Backend>().unwrap_err();
        assert_eq!(
            error,
            "there is no backend `thread`; there are: sync, async, threads, threads-gil, processes"
        );
    }

    #[test]
    fn impossible_counts_are_refused_with_the_flag() {
        let config = PoolConfig { workers: 0, ..PoolConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("--workers"));
        let config = PoolConfig { depth: 17, ..PoolConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("--depth"));
    }
    #[test]
    fn isolation_is_refused_where_there_is_none() {
        let sandbox = Some(Sandbox::BestEffort);
        for backend in Backend::ALL {
            let config = PoolConfig { backend: *backend, sandbox, ..PoolConfig::default() };
            match config.check() {
                Ok(()) => assert_eq!(*backend, Backend::Processes),
                Err(error) => assert!(error.to_string().contains("--sandbox"), "{error}"),
            }
        }
        let config = PoolConfig { memory_limit: Some(1), ..PoolConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("--memory-limit"));
    }
}
