use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use brigade_kernels::{Context, Registry};
use brigade_proto::JobError;
use brigade_sys::{affinity, clock, usage};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::outputs::OutputBufferPool;
use super::slot::InProcessWorker;
use crate::executor::{Executor, PoolStatus, Stop, WorkerReport};
use crate::invoke::{CallError, Deadline, KernelCall, StepResult};
use crate::job_state::JobState;
use crate::log::{is_chatty, tell_called};
use crate::stall::{self, Ticking};
use crate::task::Task;
use crate::{PoolConfig, PoolError, SubmitError};

/// One thread with an event loop. Jobs that wait overlap; jobs that compute take turns, because
/// nothing interrupts a kernel between its waits.
pub(crate) struct EventLoop {
    shared: Arc<EventLoopState>,
    /// `None` once the executor is closed: without a sender the loop ends.
    queue: Mutex<Option<mpsc::Sender<Task>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    startup: Duration,
}

struct EventLoopState {
    registry: Arc<Registry>,
    slot: InProcessWorker,
    stopping: AtomicBool,
    /// Changes when waiting jobs should check whether they have to stop.
    nudge: watch::Sender<()>,
}

impl EventLoop {
    pub(crate) fn start(registry: &Arc<Registry>, config: &PoolConfig) -> Result<Self, PoolError> {
        let begin = clock::now();
        let setup = |source| PoolError::Setup { what: "the event loop".to_owned(), source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(setup)?;
        let (queue, tasks) = mpsc::channel(config.queue);
        let shared = Arc::new(EventLoopState {
            registry: Arc::clone(registry),
            slot: InProcessWorker::new(0, config, &OutputBufferPool::new(1)),
            stopping: AtomicBool::new(false),
            nudge: watch::Sender::new(()),
        });
        let (ready, is_ready) = crossbeam_channel::bounded(1);
        let (inner, in_flight) = (Arc::clone(&shared), config.queue);
        let pin = config.pin.then_some(0);
        let thread = thread::Builder::new()
            .name("event-loop".to_owned())
            .spawn(move || {
                if let Some(index) = pin {
                    affinity::pin_thread(index);
                }
                inner.slot.ready_ns.store(clock::since(begin).as_nanos() as u64, Ordering::Relaxed);
                let _ = ready.send(());
                LocalSet::new().block_on(&runtime, Arc::clone(&inner).serve(tasks, in_flight));
                inner.slot.cpu_ns.store(usage::thread_cpu_ns(), Ordering::Relaxed);
            })
            .map_err(setup)?;
        let _ = is_ready.recv();
        Ok(Self {
            shared,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            startup: clock::since(begin),
        })
    }

    fn queue(&self) -> Option<mpsc::Sender<Task>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventLoopState {
    async fn serve(self: Arc<Self>, mut tasks: mpsc::Receiver<Task>, in_flight: usize) {
        let slots = Arc::new(Semaphore::new(in_flight));
        let mut running = JoinSet::new();
        while let Some(task) = tasks.recv().await {
            // Fails only if the semaphore is closed, which never happens.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            let shared = Arc::clone(&self);
            running.spawn_local(async move {
                shared.run(task).await;
                drop(slot);
            });
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }

    async fn run(&self, task: Task) {
        if self.stopping.load(Ordering::Acquire) {
            if task.job_state.take() {
                task.finish_unrun(JobError::Cancelled);
            }
            return;
        }
        let _ticking = task.timeout.map(|_| Ticking::begin());
        let Some(mut ready) = self.slot.take(task) else {
            return;
        };
        let Some(entry) = self.registry.get(ready.task.kernel) else {
            unreachable!("the pool resolved the kernel in this registry")
        };
        let job_state = Arc::clone(&ready.task.job_state);
        let params = Arc::clone(&ready.task.params);
        let mut sink = self.slot.sink();
        if is_chatty() {
            tell_called(entry.spec.name);
        }
        let called = clock::now();
        let (returned, judged) = {
            let stopping = || job_state.is_stopping();
            let deadline = Deadline::new(ready.task.timeout, called, &stall::here, &stopping);
            let slices = ready.slices();
            let context = Context::new(&params, &slices, &mut sink, &deadline);
            let mut call = KernelCall::new(entry, context);
            let result = 'call: loop {
                let end = match call.step() {
                    StepResult::Finished(result) => break result,
                    StepResult::Wait(time) => clock::after(time),
                };
                // Sleep again if the wait was shortened, as in `invoke::run_to_end`.
                loop {
                    let left = Duration::from_nanos(end.saturating_sub(clock::now()));
                    self.wait(&job_state, deadline.shorten(left)).await;
                    if job_state.is_stopping() || deadline.is_over() {
                        break 'call Err(Box::new(CallError::Stopped));
                    }
                    if clock::now() >= end {
                        break;
                    }
                }
            };
            let returned = clock::now();
            (returned, deadline.judge(result, returned).map_err(|error| *error))
        };
        let result = ready.outputs(called, returned, judged, sink);
        self.slot.end(ready, result);
    }

    /// Lets other jobs run for `time`, or until the job is asked to stop.
    async fn wait(&self, job_state: &JobState, time: Duration) {
        let mut nudged = self.nudge.subscribe();
        let until_stop =
            async { while !job_state.is_stopping() && nudged.changed().await.is_ok() {} };
        // It does not matter which of the two ended the wait.
        drop(tokio::time::timeout(time, until_stop).await);
    }
}

/// Sends a task, and blocks this thread while the queue is full. `Sender::blocking_send` would panic
/// in a thread that runs asynchronous tasks of the caller.
fn send_blocking(queue: &mpsc::Sender<Task>, job: Task) -> Result<(), SubmitError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = task::Context::from_waker(&waker);
    // Unconstrained: a task of the caller that has used up its share of tokio's time would be put off
    // here for ever.
    let mut sending = pin!(tokio::task::unconstrained(queue.send(job)));
    let mut has_parked = false;
    loop {
        match sending.as_mut().poll(&mut context) {
            Poll::Ready(sent) => {
                if has_parked {
                    // The token may have been meant for the caller's own event loop.
                    thread::current().unpark();
                }
                return sent.map_err(|_| SubmitError::Closed);
            }
            Poll::Pending => {
                thread::park();
                has_parked = true;
            }
        }
    }
}

impl Executor for EventLoop {
    fn submit(&self, task: Task, block: bool) -> Result<(), SubmitError> {
        let queue = self.queue().ok_or(SubmitError::Closed)?;
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(SubmitError::Closed);
        }
        if block {
            send_blocking(&queue, task)
        } else {
            queue.try_send(task).map_err(|error| match error {
                TrySendError::Full(_) => SubmitError::Full,
                TrySendError::Closed(_) => SubmitError::Closed,
            })
        }
    }

    fn cancel_running(&self, _: &Arc<JobState>) {
        self.shared.nudge.send_replace(());
    }

    fn stop(&self, how: Stop) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.slot.stop_reading();
        if how == Stop::Kill {
            self.shared.slot.stop_running();
        }
        self.shared.nudge.send_replace(());
    }

    fn status(&self) -> PoolStatus {
        PoolStatus { startup: self.startup, ..PoolStatus::default() }
    }

    fn close(&self) -> Vec<WorkerReport> {
        // The loop ends when the last sender is gone and all its jobs have ended.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The loop does not panic: panics of kernels are caught.
            drop(thread.join());
        }
        vec![self.shared.slot.report()]
    }
}
