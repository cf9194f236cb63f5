use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use brigade_kernels::Registry;
use brigade_sys::clock;

use super::lane::Lane;
use super::outputs::Outputs;
use super::threads::run;
use crate::executor::{Executor, Status, Stop, WorkerReport};
use crate::ticket::{Task, Ticket};
use crate::{PoolConfig, SubmitError};

/// One job after another, on the thread that submits: plain synchronous code.
pub(crate) struct Sync {
    registry: Arc<Registry>,
    lane: Lane,
    stopping: AtomicU8,
    startup: Duration,
}

impl Sync {
    pub(crate) fn start(registry: &Arc<Registry>, config: &PoolConfig) -> Self {
        let begin = clock::now();
        let lane = Lane::new(0, config, &Outputs::new(1));
        let startup = clock::since(begin);
        lane.ready_ns.store(startup.as_nanos() as u64, Ordering::Relaxed);
        Self { registry: Arc::clone(registry), lane, stopping: AtomicU8::new(0), startup }
    }
}

impl Executor for Sync {
    fn submit(&self, task: Task, _block: bool) -> Result<(), SubmitError> {
        if self.stopping.load(Ordering::Acquire) != 0 {
            return Err(SubmitError::Closed);
        }
        run(&self.registry, &self.lane, task, None);
        Ok(())
    }

    fn cancel_running(&self, _: &Arc<Ticket>) {}

    fn stop(&self, how: Stop) {
        self.stopping.store(1, Ordering::Release);
        self.lane.stop_reading();
        if how == Stop::Kill {
            self.lane.stop_running();
        }
    }

    fn status(&self) -> Status {
        Status { startup: self.startup, ..Status::default() }
    }

    fn close(&self) -> Vec<WorkerReport> {
        vec![self.lane.report()]
    }
}
