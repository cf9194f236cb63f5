//! Worker processes.
use std::process::ExitCode;
use std::sync::Arc;

use brigade_kernels::Registry;

use crate::executor::{Executor, Status, Stop, WorkerReport};
use crate::ticket::{Task, Ticket};
use crate::{PoolConfig, PoolError, SubmitError};

/// Placeholder until the backend lands.
pub(crate) struct Processes;

impl Processes {
    pub(crate) fn start(_: &Arc<Registry>, _: &PoolConfig) -> Result<Self, PoolError> {
        Err(PoolError::Unsupported { what: "the processes backend" })
    }
}

impl Executor for Processes {
    fn submit(&self, _: Task, _: bool) -> Result<(), SubmitError> {
        Err(SubmitError::Closed)
    }
    fn cancel_running(&self, _: &Ticket) {}
    fn stop(&self, _: Stop) {}
    fn status(&self) -> Status {
        Status::default()
    }
    fn close(&self) -> Vec<WorkerReport> {
        Vec::new()
    }
}

/// Runs this process as a worker if it was started as one.
pub fn run_if_worker(_registry: &Registry) -> Option<ExitCode> {
    None
}
