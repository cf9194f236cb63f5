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
            /// All of them.
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
    /// How jobs are executed.
    Backend, "backend" {
        /// One after another on the thread that submits.
        Sync = "sync",
        /// On one thread with an event loop: waiting jobs overlap, computing jobs
        /// take turns.
        Async = "async",
        /// On threads of this process.
        Threads = "threads",
        /// On threads of which only one computes at a time, as under a global
        /// interpreter lock. Waiting releases the lock.
        ThreadsGil = "threads-gil",
        /// In worker processes.
        Processes = "processes",
    }
}

names! {
    /// How a job's bytes reach a worker process.
    Transport, "transport" {
        /// Inside the message.
        Inline = "inline",
        /// Each large buffer in a shared memory region of its own, made for the job.
        Shm = "shm",
        /// In slabs of long-lived shared regions that are used again and again;
        /// orders and answers go through rings in shared memory, without a system
        /// call while both sides are busy.
        Arena = "arena",
    }
}

names! {
    /// How a worker process comes to be.
    StartMethod, "start method" {
        /// The executable is started afresh.
        Spawn = "spawn",
        /// It is forked from a small, single-threaded process that was started once and
        /// has everything ready that all workers have in common. Linux only.
        Forkserver = "forkserver",
    }
}

names! {
    /// What a worker's sandbox has to be made of.
    Sandbox, "sandbox" {
        /// All parts; a kernel that lacks one is refused.
        Strict = "strict",
        /// The parts that the kernel has; which it lacks is logged.
        BestEffort = "best-effort",
    }
}

/// What a pool is made of. [`PoolBuilder`](crate::PoolBuilder) fills it in.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// How jobs are executed.
    pub backend: Backend,
    /// How many slots. Always 1 for `sync` and `async`.
    pub workers: usize,
    /// How bytes reach a worker process.
    pub transport: Transport,
    /// How a worker process comes to be.
    pub start_method: StartMethod,
    /// Most shared memory that the arena may take, in bytes; a job that does not
    /// fit goes by `shm`. `None`: a quarter of the memory that this process may use.
    pub arena_limit: Option<u64>,
    /// How long a worker, and who waits for one, looks for work before it sleeps.
    /// Zero: it sleeps at once. `None`: about as long as waking it takes, which is
    /// measured once.
    pub spin: Option<Duration>,
    /// Jobs assigned to one worker process at a time: the next is already there
    /// when one ends.
    pub depth: usize,
    /// Jobs that may wait for a worker; `submit` blocks beyond.
    pub queue: usize,
    /// How long a kernel may run, from its call; a job's own timeout goes first.
    pub timeout: Option<Duration>,
    /// How often a job is given to another worker process after one died with it
    /// in hand.
    pub retries: u32,
    /// Deaths of worker processes in a row, with no job completed in between, after which
    /// the pool gives up. Workers that die together count once, and those that had a
    /// job in hand do not: `retries` bounds them.
    pub max_restarts: u32,
    /// How long a worker process may take to take up a job that it was given, or be stopped,
    /// before it is taken for hung, killed and replaced.
    pub heartbeat: Duration,
    /// Jobs after which a worker process is replaced by a fresh one.
    pub max_jobs_per_worker: Option<u64>,
    /// Private memory that a job may have in a worker process, in bytes. A worker that
    /// holds half of it after a job is replaced by a fresh one.
    pub memory_limit: Option<u64>,
    /// Processor time that a job may use in a worker process.
    pub cpu_limit: Option<Duration>,
    /// Which files jobs may name as inputs.
    pub readable: Arc<Readable>,
    /// Shut worker processes in: no file system, no network, no programs, no processes.
    pub sandbox: Option<Sandbox>,
    /// Each worker process can read the inputs of its own jobs alone, and has regions of its own for
    /// them. The sandbox implies it.
    pub own_inputs: bool,
    /// Bind worker n to the n-th usable core.
    pub pin: bool,
    /// How long a worker process may take to start and shake hands.
    pub start_deadline: Duration,
    /// The program that is started as a worker; `None`: this executable.
    pub worker_program: Option<PathBuf>,
    /// Variables that worker processes have in their environment beside what they need to run.
    pub environment: Environment,
    /// What workers are forked from with [`StartMethod::Forkserver`]; its program and its environment
    /// count, not `worker_program` and `environment`. `None`: a process that the pool starts for
    /// itself.
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

/// The least memory limit, in bytes: a worker's own messages take up to half of it.
pub(crate) const LEAST_MEMORY: u64 = 4 << 20;

impl PoolConfig {
    /// How many slots the backend really has.
    pub fn slots(&self) -> usize {
        match self.backend {
            Backend::Sync | Backend::Async => 1,
            Backend::Threads | Backend::ThreadsGil | Backend::Processes => self.workers,
        }
    }

    /// Whether each worker has the regions of its inputs to itself.
    pub(crate) fn has_own_inputs(&self) -> bool {
        self.own_inputs || self.sandbox.is_some()
    }

    /// What its workers are bound to.
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

    /// Whether a pool can be like that.
    ///
    /// # Errors
    /// [`PoolError::Config`] and [`PoolError::NeedsProcesses`], with the flag that is wrong.
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

    /// What cannot be had inside the caller's process is refused, not left out: somebody
    /// may rely on it.
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
