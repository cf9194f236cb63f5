use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brigade_kernels::{Context, Registry};
use brigade_proto::{JobError, Nanos};
use brigade_sys::affinity::{self, SharedCoreDetector};
use brigade_sys::{clock, usage};
use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::outputs::OutputBufferPool;
use super::slot::InProcessWorker;
use crate::executor::{Executor, PoolStatus, Stop, WorkerReport};
use crate::invoke::{self, Deadline, KernelCall};
use crate::job_state::JobState;
use crate::log::{is_chatty, tell_called};
use crate::stall::{self, Ticking};
use crate::task::Task;
use crate::{PoolConfig, PoolError, SubmitError};

/// Threads of this process behind one bounded queue.
///
/// The queue is a crossbeam channel and not rayon. Jobs are whole and arrive one by one from
/// outside, so there is nothing to steal. But every backend has to offer a bounded queue that
/// blocks its submitter, keeps the order of submission and can be drained. The channel also spins
/// before it parks, which makes it the fastest baseline to measure worker processes against.
///
/// `threads-gil` adds one lock. A kernel holds it while it computes and releases it while it waits.
/// That models an interpreter with a global lock.
pub(crate) struct Threads {
    shared: Arc<ThreadPoolState>,
    queue: Sender<ThreadCommand>,
    backlog: Receiver<ThreadCommand>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    startup: Duration,
}

struct ThreadPoolState {
    registry: Arc<Registry>,
    slots: Vec<InProcessWorker>,
    stopping: AtomicBool,
    /// The global lock of `threads-gil`.
    gil: Option<Mutex<()>>,
    /// Core of the thread that submitted last. A worker thread on the same core moves away from it,
    /// as a worker process does. `None` if threads are pinned or no core is spare.
    core: Option<AtomicUsize>,
}

/// A thread without work for longer than this, in nanoseconds, counts as having slept.
const REST: Nanos = 1_000_000;

enum ThreadCommand {
    Run(Task),
    Quit,
}

impl Threads {
    pub(crate) fn start(
        registry: &Arc<Registry>,
        config: &PoolConfig,
        gil: bool,
    ) -> Result<Self, PoolError> {
        let begin = clock::now();
        let (queue, backlog) = crossbeam_channel::bounded(config.queue);
        let outputs = OutputBufferPool::new(config.workers);
        let slot = |worker| InProcessWorker::new(worker, config, &outputs);
        let shared = Arc::new(ThreadPoolState {
            registry: Arc::clone(registry),
            slots: (0..config.workers as u32).map(slot).collect(),
            stopping: AtomicBool::new(false),
            gil: gil.then(|| Mutex::new(())),
            core: (!config.pin && config.workers < affinity::allowed())
                .then(|| AtomicUsize::new(affinity::core())),
        });
        let (ready, all_ready) = crossbeam_channel::bounded(config.workers);
        let mut threads = Vec::with_capacity(config.workers);
        for index in 0..config.workers {
            let (shared, backlog, ready) = (Arc::clone(&shared), backlog.clone(), ready.clone());
            let pin = config.pin.then_some(index);
            let spawned = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || shared.work(index, pin, begin, &ready, &backlog));
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(source) => {
                    (0..threads.len()).for_each(|_| drop(queue.send(ThreadCommand::Quit)));
                    threads.into_iter().for_each(|thread| drop(thread.join()));
                    let what = format!("thread {index} of {}", config.workers);
                    return Err(PoolError::Setup { what, source });
                }
            }
        }
        drop(ready);
        (0..config.workers).for_each(|_| _ = all_ready.recv());
        let startup = clock::since(begin);
        Ok(Self { shared, queue, backlog, threads: Mutex::new(threads), startup })
    }

    fn cancel_backlog(&self) {
        let mut quits = 0;
        while let Ok(command) = self.backlog.try_recv() {
            match command {
                ThreadCommand::Run(task) => cancel(task),
                ThreadCommand::Quit => quits += 1,
            }
        }
        // `close` waits for threads that have not taken theirs yet.
        for _ in 0..quits {
            drop(self.queue.send(ThreadCommand::Quit));
        }
    }
}

fn cancel(task: Task) {
    if task.job_state.take() {
        task.finish_unrun(JobError::Cancelled);
    }
}

impl ThreadPoolState {
    fn work(
        &self,
        index: usize,
        pin: Option<usize>,
        begin: u64,
        ready: &Sender<()>,
        backlog: &Receiver<ThreadCommand>,
    ) {
        if let Some(index) = pin {
            affinity::pin_thread(index);
        }
        let slot = &self.slots[index];
        slot.ready_ns.store(clock::since(begin).as_nanos() as u64, Ordering::Relaxed);
        // Fails only if `start` gave up.
        let _ = ready.send(());
        let (mut neighbour, mut last) = (SharedCoreDetector::default(), 0);
        while let Ok(ThreadCommand::Run(task)) = backlog.recv() {
            if let Some(core) = &self.core {
                if task.stamps.submitted.saturating_sub(last) > REST {
                    neighbour.has_slept();
                }
                last = task.stamps.submitted;
                neighbour.mind(core.load(Ordering::Relaxed));
            }
            if self.stopping.load(Ordering::Acquire) {
                cancel(task);
            } else {
                run(&self.registry, slot, task, self.gil.as_ref());
            }
            neighbour.migrate_if_shared();
        }
        slot.cpu_ns.store(usage::thread_cpu_ns(), Ordering::Relaxed);
    }
}

/// Runs a task to its end on this thread.
pub(super) fn run(
    registry: &Registry,
    slot: &InProcessWorker,
    task: Task,
    gil: Option<&Mutex<()>>,
) {
    let _span = tracing::debug_span!("job", id = task.job_state.id.0).entered();
    let _ticking = task.timeout.map(|_| Ticking::begin());
    let Some(mut ready) = slot.take(task) else {
        return;
    };
    let Some(entry) = registry.get(ready.task.kernel) else {
        unreachable!("the pool resolved the kernel in this registry")
    };
    let lock = || gil.map(|gil| gil.lock().unwrap_or_else(PoisonError::into_inner));
    let job_state = Arc::clone(&ready.task.job_state);
    let params = Arc::clone(&ready.task.params);
    let mut sink = slot.sink();
    if is_chatty() {
        tell_called(entry.spec.name);
    }
    let mut held = lock();
    let called = clock::now();
    let (returned, judged) = {
        let stopping = || job_state.is_stopping();
        let deadline = Deadline::new(ready.task.timeout, called, &stall::here, &stopping);
        let slices = ready.slices();
        let context = Context::new(&params, &slices, &mut sink, &deadline);
        let (returned, result) =
            invoke::run_to_end(&mut KernelCall::new(entry, context), &deadline, |time| {
                held = None;
                job_state.nap(time);
                held = lock();
            });
        (returned, deadline.judge(result, returned).map_err(|error| *error))
    };
    drop(held);
    let result = ready.outputs(called, returned, judged, sink);
    slot.end(ready, result);
}

impl Executor for Threads {
    fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(SubmitError::Closed);
        }
        if let Some(core) = &self.shared.core {
            core.store(affinity::core(), Ordering::Relaxed);
        }
        let command = ThreadCommand::Run(task);
        if block {
            self.queue.send(command).map_err(|_| SubmitError::Closed)
        } else {
            self.queue.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) => SubmitError::Full,
                TrySendError::Disconnected(_) => SubmitError::Closed,
            })
        }
    }

    fn cancel_running(&self, _: &Arc<JobState>) {
        // A thread cannot be killed. Only the stop flag of the job state reaches its kernel, and
        // that is already set.
    }

    fn stop(&self, how: Stop) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.slots.iter().for_each(InProcessWorker::stop_reading);
        if how == Stop::Kill {
            self.shared.slots.iter().for_each(InProcessWorker::stop_running);
        }
        // After the kernels were asked to stop: this may wait until a thread takes its `Quit`.
        self.cancel_backlog();
    }

    fn status(&self) -> PoolStatus {
        PoolStatus { startup: self.startup, ..PoolStatus::default() }
    }

    fn close(&self) -> Vec<WorkerReport> {
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        for _ in &threads {
            // Behind all tasks in the queue, so those are finished first.
            drop(self.queue.send(ThreadCommand::Quit));
        }
        for thread in threads {
            // A worker thread does not panic: panics of kernels are caught.
            drop(thread.join());
        }
        self.cancel_backlog();
        self.shared.slots.iter().map(InProcessWorker::report).collect()
    }
}
