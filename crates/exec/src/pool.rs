use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use brigade_kernels::{KernelId, Registry};
use brigade_proto::{Buffer, JobId, JobSpec, Outcome, Params};
use brigade_sys::clock;
use crossbeam_channel::{RecvTimeoutError, Sender};

use crate::batch::JobBatch;
use crate::completions::CompletionQueue;
use crate::executor::{Executor, PoolStatus, Stop, WorkerReport};
use crate::job_state::{CompletionSink, JobState};
use crate::pool_buffer::{BufferMemory, PoolBuffer};
use crate::task::Task;
use crate::{
    Backend, ForkServer, JobHandle, Map, MapUnordered, PoolConfig, PoolError, Sandbox, StartMethod,
    SubmitError, Transport, in_process, processes,
};

/// A pool of workers that run jobs.
///
/// [`Pool::close`] waits for all accepted jobs, [`Pool::shutdown`] for a limited time. Dropping a pool
/// cancels the jobs that wait in its queue, gives running jobs two seconds to end, and ends its
/// workers. A kernel in this process that never checks whether it should stop is waited for.
pub struct Pool {
    executor: Arc<dyn Executor>,
    registry: Arc<Registry>,
    config: PoolConfig,
    next: AtomicU64,
    /// Kernel of the last job. The next job probably has the same.
    recent: AtomicU32,
    /// Its workers are ended already.
    is_closed: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}, {} workers)", self.config.backend, self.config.slots())
    }
}

/// Settings for a new [`Pool`]; see [`Pool::builder`].
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
        /// Where and how jobs run. Default: [`Backend::Processes`].
        backend: Backend,
        /// Number of workers, from 1 to 1024. Default: the cores that this process may use, by
        /// affinity and container quota.
        workers: usize,
        /// How payloads travel to and from a worker process. Default: [`Transport::Arena`].
        transport: Transport,
        /// How a worker process is started. Default: [`StartMethod::Spawn`].
        start_method: StartMethod,
        /// Upper limit of the arena's shared memory, in bytes. Default: a quarter of the memory
        /// that this process may use.
        arena_limit: Option<u64>,
        /// How long a worker, and a caller that waits for one, polls before it sleeps. Default:
        /// about as long as a wake-up takes, measured once per process.
        spin: Option<Duration>,
        /// Jobs assigned to one worker process at a time, from 1 to 16. Default: 2.
        depth: usize,
        /// Jobs that may wait for a worker; [`Pool::submit`] blocks while the queue is full.
        /// Default: 8192.
        queue: usize,
        /// How long a kernel may run and, counted separately, how long reading the inputs of its
        /// job may take. Time in which this process was stopped or frozen does not count. Default:
        /// no limit.
        timeout: Option<Duration>,
        /// How often a job is retried after its worker died with the job in hand. Default: 2.
        retries: u32,
        /// How many generations of workers may die in a row without a job in hand and with no job
        /// completed in between. After more the pool gives up, unless another worker has a job.
        /// Workers that die together count once. Default: 5.
        max_restarts: u32,
        /// How long a worker process may take to begin a job that it was given, or may be stopped
        /// by a signal. After that it is killed and replaced. Default: 10 s.
        heartbeat: Duration,
        /// Number of jobs after which a worker process is replaced, or up to an eighth fewer.
        /// Default: never.
        max_jobs_per_worker: Option<u64>,
        /// Private memory that a job may use in a worker process, in bytes, at least 4 MiB.
        /// Default: no limit.
        memory_limit: Option<u64>,
        /// Processor time that a job may use in a worker process. Default: no limit.
        cpu_limit: Option<Duration>,
        /// Sandbox for worker processes. Default: none.
        sandbox: Option<Sandbox>,
        /// Each worker process can read only the inputs of its own jobs. The sandbox implies it.
        /// The pool then copies inputs in memory when it knows which worker has the job. That
        /// includes inputs from [`Pool::alloc`], which are then on the heap. Default: off. Workers
        /// cannot write inputs in any case.
        own_inputs: bool,
        /// Bind worker n to the n-th core that this process may use, wrapping around. Default: off.
        pin: bool,
        /// How long a worker process may take to start and to complete the handshake.
        /// Default: 10 s.
        start_deadline: Duration,
        /// The program that is started as a worker. Default: this executable.
        worker_program: Option<PathBuf>,
    }

    /// Sets a variable in the environment of worker processes. Workers get only those variables of
    /// this process that they need to run ([`Environment`](crate::Environment)), because others may
    /// hold secrets.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.config.environment.set(name, value);
        self
    }

    /// Passes a variable of this process on to worker processes.
    pub fn pass_env(mut self, name: impl Into<OsString>) -> Self {
        self.config.environment.pass(name);
        self
    }

    /// Forks the pool's workers from a fork server that already runs, and selects
    /// [`StartMethod::Forkserver`]. By default a pool with that start method starts a fork server
    /// of its own.
    pub fn fork_server(mut self, server: &ForkServer) -> Self {
        self.config.start_method = StartMethod::Forkserver;
        self.config.fork_server = Some(server.clone());
        self
    }

    /// Replaces all settings except the registry.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// The kernels that jobs may name. Default: the built-in ones. The worker program must have the
    /// same kernels.
    pub fn registry(mut self, registry: impl Into<Arc<Registry>>) -> Self {
        self.registry = Some(registry.into());
        self
    }

    /// Starts the workers and waits until all of them are ready.
    ///
    /// # Errors
    /// If a setting is invalid, the pool cannot be set up, or a worker cannot start.
    pub fn build(self) -> Result<Pool, PoolError> {
        let pool = self.start()?;
        if let Err(error) = pool.ready() {
            // The pool holds the other reference to the error.
            drop(pool);
            let reason = error.to_string();
            return Err(Arc::into_inner(error).unwrap_or(PoolError::Refused { reason }));
        }
        Ok(pool)
    }

    /// Starts the workers and does not wait for them. Jobs that are submitted meanwhile run as soon
    /// as the first worker is ready. [`Pool::ready`] waits for all workers. If a worker cannot
    /// start, [`Pool::ready`] says why, and the jobs submitted so far end as cancelled.
    ///
    /// # Errors
    /// If a setting is invalid, or the pool itself cannot be set up.
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
        Ok(Pool { executor, registry, config, next, recent, is_closed: false })
    }
}

/// The built-in kernels: one registry for all pools that name none.
fn builtin() -> Arc<Registry> {
    static BUILTIN: OnceLock<Arc<Registry>> = OnceLock::new();
    Arc::clone(BUILTIN.get_or_init(|| Arc::new(Registry::builtin())))
}

impl Pool {
    /// A builder with the default settings.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// The settings of this pool.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// The kernels that jobs may name.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// How long the start took, how many workers were restarted, and why the pool gave up, if it
    /// did.
    pub fn status(&self) -> PoolStatus {
        self.executor.status()
    }

    /// Waits until all workers are ready. After [`PoolBuilder::build`] they are.
    ///
    /// # Errors
    /// Why a worker could not start, or why the pool gave up.
    pub fn ready(&self) -> Result<(), Arc<PoolError>> {
        self.executor.ready()?;
        let startup_us = self.status().startup.as_micros() as u64;
        tracing::info!(startup_us, "pool is ready");
        Ok(())
    }

    /// Checks a job without running it.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] or [`SubmitError::NeedsIsolation`].
    pub fn check(&self, job: &JobSpec) -> Result<(), SubmitError> {
        self.resolve(job).map(drop)
    }

    /// A buffer of `len` bytes for a job's input. If it lies in shared memory, workers read the
    /// input in place and it is not copied. Its initial contents are arbitrary: zeros, or bytes of
    /// earlier payloads.
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
    /// The buffer is in shared memory if the pool has an arena with room for it, and on the heap
    /// otherwise. With the sandbox or [`PoolBuilder::own_inputs`] it is always on the heap. `None`
    /// if there is no memory at all.
    pub fn alloc(&self, len: usize) -> Option<PoolBuffer> {
        match self.executor.alloc(len) {
            Some(slab) => Some(PoolBuffer(BufferMemory::Slab(slab))),
            None => Buffer::try_zeroed(len).map(|buffer| PoolBuffer(BufferMemory::Heap(buffer))),
        }
    }

    /// Submits a job. Blocks while the queue is full, and with [`Backend::Sync`] until the job has
    /// ended.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] or [`SubmitError::NeedsIsolation`] if the pool cannot run such a
    /// job, and [`SubmitError::Closed`] if the pool was stopped or gave up.
    pub fn submit(&self, job: JobSpec) -> Result<JobHandle, SubmitError> {
        let job_state = self.hand_over(job, CompletionSink::Handle, true)?;
        Ok(JobHandle::new(job_state, Arc::clone(&self.executor)))
    }

    /// Submits a job if the queue has room.
    ///
    /// # Errors
    /// As [`Pool::submit`], and [`SubmitError::Full`] if the queue is full.
    pub fn try_submit(&self, job: JobSpec) -> Result<JobHandle, SubmitError> {
        let job_state = self.hand_over(job, CompletionSink::Handle, false)?;
        Ok(JobHandle::new(job_state, Arc::clone(&self.executor)))
    }

    /// Submits a job whose outcome goes to the channel `outcomes`. Blocks while the queue is full.
    /// For callers that collect many outcomes in one place. Use an unbounded channel, or one with
    /// room for every job in flight: a full channel blocks the thread that sends the outcome, and
    /// with it the worker.
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
    ) -> Result<Arc<JobState>, SubmitError> {
        self.hand_over(job, CompletionSink::Queue(Arc::clone(completions)), true)
    }

    /// Submits a batch. Returns its state, which has the id of its first job; the ids of the others
    /// follow.
    pub(crate) fn submit_batch(&self, batch: JobBatch) -> Result<Arc<JobState>, SubmitError> {
        let submitted = clock::now();
        let count = batch.count as u64;
        let id = JobId(self.next.fetch_add(count, Ordering::Relaxed));
        let sink = CompletionSink::Queue(Arc::clone(&batch.completions));
        // Kernel, parameters and inputs are those of the batch.
        let mut task = Task::new(id, submitted, sink, KernelId(0), Arc::default(), Vec::new());
        task.batch = Some(Box::new(batch));
        let job_state = Arc::clone(&task.job_state);
        self.executor.submit(task, true)?;
        Ok(job_state)
    }

    /// An id for a job that the pool did not accept.
    pub(crate) fn refused_id(&self) -> JobId {
        JobId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// Runs many jobs and yields their outcomes in the order of the jobs. The returned iterator
    /// submits jobs while the caller consumes it. It takes at most [`PoolConfig::queue`] jobs from
    /// `jobs` ahead of the caller, or fewer if their inputs take much memory. Small jobs go to a
    /// worker process in batches.
    ///
    /// Dropping the iterator midway cancels the jobs that wait, and asks kernels in this process to
    /// stop. Jobs and batches that worker processes already have run to their end.
    pub fn map<I>(&self, jobs: I) -> Map<'_, I::IntoIter>
    where
        I: IntoIterator<Item = JobSpec>,
    {
        Map::new(self, jobs.into_iter())
    }

    /// Runs many jobs and yields their outcomes as they become ready, each with the index of its
    /// job in `jobs`, counted from 0. Bounded like [`Pool::map`].
    pub fn map_unordered<I>(&self, jobs: I) -> MapUnordered<'_, I::IntoIter>
    where
        I: IntoIterator<Item = JobSpec>,
    {
        MapUnordered::new(self, jobs.into_iter())
    }

    /// Ends the run early; [`Stop`] says how. Accepted jobs that have not run end as cancelled, and
    /// the pool refuses later jobs.
    pub fn stop(&self, how: Stop) {
        self.executor.stop(how);
    }

    /// Stops worker processes (SIGSTOP) until [`Pool::resume`]. For a program that is about to stop
    /// itself because a terminal asks it to (Ctrl-Z). The workers are in process groups of their
    /// own, so the terminal does not stop them.
    pub fn pause(&self) {
        self.executor.pause();
    }

    /// Continues worker processes after [`Pool::pause`]. If the calling process was stopped in
    /// between, that time counts against no limit.
    pub fn resume(&self) {
        self.executor.resume();
    }

    /// Waits until all accepted jobs have ended, ends the workers, and returns one report per slot.
    pub fn close(mut self) -> Vec<WorkerReport> {
        self.is_closed = true;
        self.executor.close()
    }

    /// Waits for the accepted jobs for at most `limit`. What is left then is stopped as by
    /// [`Stop::Kill`]. Returns one report per slot.
    ///
    /// Worker processes are killed. A kernel in this process is only asked to stop, since a thread
    /// cannot be ended from outside: one that never checks is waited for beyond the limit.
    pub fn shutdown(mut self, limit: Duration) -> Vec<WorkerReport> {
        self.is_closed = true;
        close_within(&self.executor, limit)
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
        let mut task = Task::new(id, submitted, sink, kernel, params, job.inputs);
        task.digests = job.digest_inputs.then(Vec::new);
        task.timeout = job.timeout.or(self.config.timeout);
        let job_state = Arc::clone(&task.job_state);
        self.executor.submit(task, block)?;
        Ok(job_state)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        // When the caller unwinds, it does not read the results.
        self.executor.stop(if thread::panicking() { Stop::Kill } else { Stop::Drain });
        close_within(&self.executor, DROP_LIMIT);
    }
}

/// How long a pool that is dropped waits for its running jobs.
const DROP_LIMIT: Duration = Duration::from_secs(2);

fn close_within(executor: &Arc<dyn Executor>, limit: Duration) -> Vec<WorkerReport> {
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    let killed = Arc::clone(executor);
    let kill_late = move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            killed.stop(Stop::Kill);
        }
    };
    let killer = thread::Builder::new().name("shutdown".to_owned()).spawn(kill_late);
    if killer.is_err() {
        // No thread can be started to keep the limit.
        executor.stop(Stop::Kill);
    }
    let reports = executor.close();
    drop(done);
    if let Ok(killer) = killer {
        let _ = killer.join();
    }
    reports
}
