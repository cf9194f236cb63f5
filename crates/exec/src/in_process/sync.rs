use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use brigade_kernels::Registry;
use brigade_sys::clock;

use super::outputs::OutputBufferPool;
use super::slot::InProcessWorker;
use super::threads::run;
use crate::executor::{Executor, PoolStatus, Stop, WorkerReport};
use crate::job_state::JobState;
use crate::task::Task;
use crate::{PoolConfig, SubmitError};

/// Runs one job after another on the thread that submits it: plain synchronous code.
pub(crate) struct Sync {
    registry: Arc<Registry>,
    slot: InProcessWorker,
    stopping: AtomicU8,
    startup: Duration,
}

impl Sync {
    pub(crate) fn start(registry: &Arc<Registry>, config: &PoolConfig) -> Self {
        let begin = clock::now();
        let slot = InProcessWorker::new(0, config, &OutputBufferPool::new(1));
        let startup = clock::since(begin);
        slot.ready_ns.store(startup.as_nanos() as u64, Ordering::Relaxed);
        Self { registry: Arc::clone(registry), slot, stopping: AtomicU8::new(0), startup }
    }
}

impl Executor for Sync {
    fn submit(&self, task: Task, _block: bool) -> Result<(), SubmitError> {
        if self.stopping.load(Ordering::Acquire) != 0 {
            return Err(SubmitError::Closed);
        }
        run(&self.registry, &self.slot, task, None);
        Ok(())
    }

    fn cancel_running(&self, _: &Arc<JobState>) {}

    fn stop(&self, how: Stop) {
        self.stopping.store(1, Ordering::Release);
        self.slot.stop_reading();
        if how == Stop::Kill {
            self.slot.stop_running();
        }
    }

    fn status(&self) -> PoolStatus {
        PoolStatus { startup: self.startup, ..PoolStatus::default() }
    }

    fn close(&self) -> Vec<WorkerReport> {
        vec![self.slot.report()]
    }
}
