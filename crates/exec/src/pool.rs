use std::ffi::OsString;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brigade_ipc::ArenaSlab;
use brigade_kernels::{KernelId, Registry};
use brigade_proto::{Buffer, Bytes, JobId, JobSpec, Outcome, Params, Source, Stamps};
use brigade_sys::clock;
use crossbeam_channel::Sender;

use crate::batch::JobBatch;
use crate::executor::{Executor, Status, Stop, WorkerReport};
use crate::job_state::{CompletionQueue, CompletionSink, JobState, Task};
use crate::{
    Backend, ForkServer, JobHandle, Map, MapUnordered, PoolConfig, PoolError, Sandbox, StartMethod,
    SubmitError, Transport, in_process, processes,
};

/// Workers that run jobs.
///
/// Dropping a pool finishes what was accepted and ends its workers.
pub struct Pool {
    executor: Arc<dyn Executor>,
    registry: Arc<Registry>,
    config: PoolConfig,
    next: AtomicU64,
    /// The kernel of the last job: probably the next one's too.
    recent: AtomicU32,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}, {} workers)", self.config.backend, self.config.slots())
    }
}

/// Settings of a pool that is to be.
#[derive(Debug, Default)]
pub struct PoolBuilder {
    config: PoolConfig,
    registry: Option<Arc<Registry>>,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = $name;
            self
        }
    )*};
}

impl PoolBuilder {
    settings! {
        /// How jobs are executed. Default: processes.
        backend: Backend,
        /// How many slots. Default: the cores that this process may use, by
        /// affinity and container quota.
        workers: usize,
        /// How bytes reach a worker process. Default: arena.
        transport: Transport,
        /// How a worker process comes to be. Default: spawn.
        start_method: StartMethod,
        /// Most shared memory that the arena may take, in bytes. Default: a quarter
        /// of the memory that this process may use.
        arena_limit: Option<u64>,
        /// How long a worker looks for work before it sleeps. Default: about what
        /// waking it takes, measured once.
        spin: Option<Duration>,
        /// Jobs assigned to one worker process at a time. Default: 2.
        depth: usize,
        /// Jobs that may wait for a worker; `submit` blocks beyond. Default: 1024.
        queue: usize,
        /// How long a kernel may run, and how long reading the inputs of its job may take. Time in
        /// which this process was stopped or frozen does not count. Default: no limit.
        timeout: Option<Duration>,
        /// How often a job is retried after its worker died. Default: 2.
        retries: u32,
        /// How many generations of workers may die in a row without a job in hand and with none
        /// completed in between; after more the pool gives up, unless another worker has a job
        /// in hand. Workers that die together count once. Default: 5.
        max_restarts: u32,
        /// How long a worker process may take to take up a job. Default: 10 s.
        heartbeat: Duration,
        /// Jobs after which a worker process is replaced. Default: never.
        max_jobs_per_worker: Option<u64>,
        /// Private memory that a job may have in a worker process, in bytes. Default: no
        /// limit.
        memory_limit: Option<u64>,
        /// Processor time that a job may use in a worker process. Default: no limit.
        cpu_limit: Option<Duration>,
        /// Shut worker processes in. Default: no.
        sandbox: Option<Sandbox>,
        /// Each worker process can read the inputs of its own jobs alone. The sandbox implies it.
        /// Inputs in memory are then copied when it is known which worker has the job, those from
        /// [`Pool::alloc`], which are on the heap, as well. Default: no; no worker can write inputs in any case.
        own_inputs: bool,
        /// Bind each worker to a core of its own. Default: no.
        pin: bool,
        /// How long a worker process may take to start. Default: 10 s.
        start_deadline: Duration,
        /// The program that is started as a worker. Default: this executable.
        worker_program: Option<PathBuf>,
    }

    /// Sets a variable in the environment of worker processes. They have nothing of this process's
    /// own but what they need to run ([`Environment`](crate::Environment)): it may hold secrets.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.config.environment.set(name, value);
        self
    }

    /// Lets this process's own value of a variable through to worker processes.
    pub fn pass_env(mut self, name: impl Into<OsString>) -> Self {
        self.config.environment.pass(name);
        self
    }

    /// Has the pool's workers forked from a process that runs already. Default: with
    /// [`StartMethod::Forkserver`] the pool starts one for itself.
    pub fn fork_server(mut self, server: &ForkServer) -> Self {
        self.config.start_method = StartMethod::Forkserver;
        self.config.fork_server = Some(server.clone());
        self
    }

    /// Takes all settings at once.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// The kernels that jobs may name. Default: the built-in ones. A worker
    /// program must have the same.
    pub fn registry(mut self, registry: impl Into<Arc<Registry>>) -> Self {
        self.registry = Some(registry.into());
        self
    }

    /// Starts the workers and waits until all of them are ready.
    ///
    /// # Errors
    /// When a setting is out of range or a worker cannot start.
    pub fn build(self) -> Result<Pool, PoolError> {
        let pool = self.start()?;
        if let Err(error) = pool.ready() {
            // Its other owner is the pool.
            drop(pool);
            let reason = error.to_string();
            return Err(Arc::into_inner(error).unwrap_or(PoolError::Refused { reason }));
        }
        Ok(pool)
    }

    /// Starts the workers and does not wait for them: jobs that are submitted meanwhile
    /// run as soon as the first worker is ready. [`Pool::ready`] waits; if a worker
    /// cannot start, it says why, and what was submitted ends as cancelled.
    ///
    /// # Errors
    /// When a setting is out of range, or the pool itself cannot be set up.
    pub fn start(self) -> Result<Pool, PoolError> {
        let Self { config, registry } = self;
        config.check()?;
        let registry = registry.unwrap_or_else(builtin);
        let span = tracing::info_span!("pool", backend = %config.backend, workers = config.slots());
        let _entered = span.enter();
        let executor: Arc<dyn Executor> = match config.backend {
            Backend::Sync => Arc::new(in_process::Sync::start(&registry, &config)),
            Backend::Async => Arc::new(in_process::EventLoop::start(&registry, &config)?),
            Backend::Threads => Arc::new(in_process::Threads::start(&registry, &config, false)?),
            Backend::ThreadsGil => Arc::new(in_process::Threads::start(&registry, &config, true)?),
            Backend::Processes => Arc::new(processes::Processes::start(&registry, &config)?),
        };
        let (next, recent) = (AtomicU64::new(0), AtomicU32::new(0));
        Ok(Pool { executor, registry, config, next, recent })
    }
}

/// The built-in kernels: one registry for all pools that name none.
fn builtin() -> Arc<Registry> {
    static BUILTIN: OnceLock<Arc<Registry>> = OnceLock::new();
    Arc::clone(BUILTIN.get_or_init(|| Arc::new(Registry::builtin())))
}

impl Pool {
    /// Settings for a new pool.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// The settings that the pool runs with.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// The kernels that jobs may name.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Start-up times, restarts, and why the pool gave up, if it did.
    pub fn status(&self) -> Status {
        self.executor.status()
    }

    /// Waits until all workers are ready. For a pool that [`PoolBuilder::build`] made
    /// they are.
    ///
    /// # Errors
    /// Why a worker could not start, or the pool gave up.
    pub fn ready(&self) -> Result<(), Arc<PoolError>> {
        self.executor.ready()?;
        let startup_us = self.status().startup.as_micros() as u64;
        tracing::info!(startup_us, "pool is ready");
        Ok(())
    }

    /// Checks a job without running it.
    ///
    /// # Errors
    /// As [`Pool::submit`].
    pub fn check(&self, job: &JobSpec) -> Result<(), SubmitError> {
        self.resolve(job).map(drop)
    }

    /// A buffer of `len` bytes that a job's input can be written into where a worker
    /// will read it, so that it is not copied at all. What is in it is whatever was
    /// there before.
    ///
    /// ```no_run
    /// # use brigade_exec::Pool;
    /// # use brigade_proto::JobSpec;
    /// # let pool = Pool::builder().build().unwrap();
    /// let mut input = pool.alloc(8 << 20).expect("there is memory");
    /// input.fill(7);
    /// let outcome = pool.submit(JobSpec::new("touch").input(input)).unwrap().wait();
    /// ```
    ///
    /// In shared memory if the pool has an arena and that has room, on the heap else.
    /// `None` when there is no memory at all.
    pub fn alloc(&self, len: usize) -> Option<PoolBuffer> {
        match self.executor.alloc(len) {
            Some(slab) => Some(PoolBuffer(Memory::Slab(slab))),
            None => Buffer::try_zeroed(len).map(|buffer| PoolBuffer(Memory::Heap(buffer))),
        }
    }

    /// Hands over a job. Blocks while the queue is full.
    ///
    /// # Errors
    /// When the job is not valid, or the pool is closed or gave up.
    pub fn submit(&self, job: JobSpec) -> Result<JobHandle, SubmitError> {
        let job_state = self.hand_over(job, CompletionSink::Handle, true)?;
        Ok(JobHandle::new(job_state, Arc::clone(&self.executor)))
    }

    /// Hands over a job if there is room in the queue.
    ///
    /// # Errors
    /// As [`Pool::submit`], and [`SubmitError::Full`].
    pub fn try_submit(&self, job: JobSpec) -> Result<JobHandle, SubmitError> {
        let job_state = self.hand_over(job, CompletionSink::Handle, false)?;
        Ok(JobHandle::new(job_state, Arc::clone(&self.executor)))
    }

    /// Hands over a job whose outcome goes to `outcomes`. Blocks while the queue
    /// is full. For callers who collect many outcomes in one place; use an
    /// unbounded channel or one with room for every job in flight, because a full
    /// one holds up the worker.
    ///
    /// # Errors
    /// As [`Pool::submit`].
    pub fn submit_to(
        &self,
        job: JobSpec,
        outcomes: &Sender<Outcome>,
    ) -> Result<JobId, SubmitError> {
        Ok(self.hand_over(job, CompletionSink::Channel(outcomes.clone()), true)?.id)
    }

    pub(crate) fn submit_into(
        &self,
        job: JobSpec,
        completions: &Arc<CompletionQueue>,
    ) -> Result<JobId, SubmitError> {
        Ok(self.hand_over(job, CompletionSink::Queue(Arc::clone(completions)), true)?.id)
    }

    /// Hands over jobs that go together; returns the number of the first, and the
    /// others have those that follow.
    pub(crate) fn submit_batch(&self, batch: JobBatch) -> Result<JobId, SubmitError> {
        let submitted = clock::now();
        let count = batch.count as u64;
        let id = JobId(self.next.fetch_add(count, Ordering::Relaxed));
        let sink = CompletionSink::Queue(Arc::clone(&batch.completions));
        let task = Task {
            job_state: JobState::new(id, submitted, sink),
            kernel: KernelId(0),
            params: Arc::default(),
            inputs: Vec::new(),
            timeout: None,
            stamps: Stamps { submitted, ..Stamps::default() },
            attempts: 0,
            undelivered: 0,
            is_alone: false,
            shortages: 0,
            digests: None,
            batch: Some(Box::new(batch)),
        };
        self.executor.submit(task, true)?;
        Ok(id)
    }

    /// A number for a job that was never accepted.
    pub(crate) fn refused_id(&self) -> JobId {
        JobId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// Runs many jobs; outcomes come in the order of the jobs. At most
    /// [`PoolConfig::queue`] jobs are taken from the iterator ahead of the consumer, fewer if
    /// their inputs take much memory; small ones go to a worker process many at a time.
    pub fn map<I>(&self, jobs: I) -> Map<'_, I::IntoIter>
    where
        I: IntoIterator<Item = JobSpec>,
    {
        Map::new(self, jobs.into_iter())
    }

    /// Runs many jobs; outcomes come as they are ready, with the place of their
    /// job in the iterator. Bounded as [`Pool::map`].
    pub fn map_unordered<I>(&self, jobs: I) -> MapUnordered<'_, I::IntoIter>
    where
        I: IntoIterator<Item = JobSpec>,
    {
        MapUnordered::new(self, jobs.into_iter())
    }

    /// Ends the run early. What was accepted and has not run ends as cancelled;
    /// later jobs are refused.
    pub fn stop(&self, how: Stop) {
        self.executor.stop(how);
    }

    /// Stops worker processes (SIGSTOP) until [`Pool::resume`]: for a program that is about to stop
    /// itself, because a terminal asks it to (Ctrl-Z). Workers are in process groups of their
    /// own, which a terminal does not know.
    pub fn pause(&self) {
        self.executor.pause();
    }

    /// Has worker processes go on after [`Pool::pause`]. The time between counts against no limit
    /// if the calling process was stopped in it.
    pub fn resume(&self) {
        self.executor.resume();
    }

    /// Finishes what was accepted, ends the workers and tells what they did.
    pub fn close(self) -> Vec<WorkerReport> {
        self.executor.close()
    }

    pub(crate) fn resolve(&self, job: &JobSpec) -> Result<(KernelId, Arc<Params>), SubmitError> {
        let recent = self.registry.get(KernelId(self.recent.load(Ordering::Relaxed)));
        let entry = match recent.filter(|entry| entry.spec.name == job.kernel) {
            Some(entry) => entry,
            None => {
                let entry = self.registry.find(&job.kernel)?;
                self.recent.store(entry.id.0, Ordering::Relaxed);
                entry
            }
        };
        if entry.spec.needs_isolation && self.config.backend.is_in_process() {
            return Err(SubmitError::NeedsIsolation {
                kernel: entry.spec.name,
                backend: self.config.backend,
            });
        }
        let params = entry.resolve(&job.params, job.inputs.len())?;
        Ok((entry.id, params))
    }

    fn hand_over(
        &self,
        job: JobSpec,
        sink: CompletionSink,
        block: bool,
    ) -> Result<Arc<JobState>, SubmitError> {
        let submitted = clock::now();
        let (kernel, params) = self.resolve(&job)?;
        let id = JobId(self.next.fetch_add(1, Ordering::Relaxed));
        let job_state = JobState::new(id, submitted, sink);
        let task = Task {
            job_state: Arc::clone(&job_state),
            kernel,
            params,
            digests: job.digest_inputs.then(Vec::new),
            inputs: job.inputs,
            timeout: job.timeout.or(self.config.timeout),
            stamps: Stamps { submitted, ..Stamps::default() },
            attempts: 0,
            undelivered: 0,
            is_alone: false,
            shortages: 0,
            batch: None,
        };
        self.executor.submit(task, block)?;
        Ok(job_state)
    }
}

/// Memory for an input, see [`Pool::alloc`].
#[derive(Debug)]
pub struct PoolBuffer(Memory);

#[derive(Debug)]
enum Memory {
    Heap(Buffer),
    Slab(ArenaSlab),
}

impl Deref for PoolBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Heap(buffer) => buffer,
            Memory::Slab(slab) => slab,
        }
    }
}

impl DerefMut for PoolBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Heap(buffer) => buffer,
            Memory::Slab(slab) => slab,
        }
    }
}

impl From<PoolBuffer> for Bytes {
    fn from(buffer: PoolBuffer) -> Self {
        match buffer.0 {
            Memory::Heap(buffer) => buffer.into(),
            Memory::Slab(slab) => Self::from_owner(Arc::new(slab)),
        }
    }
}

impl From<PoolBuffer> for Source {
    fn from(buffer: PoolBuffer) -> Self {
        Self::Bytes(buffer.into())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.executor.close();
    }
}
