//! Limits that a worker process puts on itself.

use std::time::Duration;

use brigade_ipc::{Bounds, Refusal, Region};
use brigade_kernels::KernelError;
use brigade_proto::JobError;
use brigade_sys::limits::{CpuTimer, PrivateMemory, bound_files};
use brigade_sys::sandbox;

use crate::invoke::CallError;

pub(super) struct AppliedLimits {
    memory: Option<AppliedMemoryLimit>,
    cpu: Option<(CpuTimer, Duration)>,
}

struct AppliedMemoryLimit {
    /// The limit that was configured: what a job may use, in bytes.
    limit: u64,
    private: PrivateMemory,
    /// If the process holds more than this after a job, less than half of the limit is left for the
    /// next one.
    enough: u64,
}

impl AppliedLimits {
    /// Sets the limits. Call it before entering the sandbox, in which the process cannot open what
    /// this needs.
    pub(super) fn set(bounds: &Bounds) -> Result<Self, Refusal> {
        let failed = |what: &'static str| {
            move |error| Refusal::Broken(format!("cannot limit its {what}: {error}"))
        };
        // A core file contains inputs of other jobs, which a sandbox must keep inside.
        bound_files(bounds.sandbox.is_none()).map_err(failed("files"))?;
        let memory = bounds.memory.map(|limit| {
            let private = PrivateMemory::watch()?;
            let most = private.limit(limit)?;
            Ok(AppliedMemoryLimit { limit, private, enough: most - limit / 2 })
        });
        let memory = memory.transpose().map_err(failed("memory"))?;
        Ok(Self { memory, cpu: bounds.cpu.map(|limit| (CpuTimer::new(), limit)) })
    }

    /// How many bytes the outputs of a job may have. They are not private memory.
    pub(super) fn outputs(&self) -> u64 {
        self.memory.as_ref().map_or(u64::MAX, |memory| memory.limit)
    }

    /// Calls a kernel with the processor time of one job.
    pub(super) fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let Some((timer, limit)) = &self.cpu else {
            return call();
        };
        timer.start(*limit);
        let returned = call();
        timer.stop();
        returned
    }

    /// If a memory limit is set, it is the reason why a kernel's allocation failed. For any other
    /// lack of memory, this does not return if the worker is to blame and not the job, see
    /// [`recycle_if_starved`].
    pub(super) fn attribute_oom(&self, error: CallError) -> CallError {
        match (error, &self.memory) {
            (CallError::NoMemory(KernelError::Memory { .. }), Some(memory)) => {
                CallError::Failed(JobError::MemoryLimit { limit: memory.limit })
            }
            (CallError::NoMemory(error), _) => {
                recycle_if_starved();
                CallError::NoMemory(error)
            }
            (error, _) => error,
        }
    }

    /// Whether this process holds so much memory after a job that a fresh process should replace
    /// it.
    pub(super) fn has_outgrown(&self) -> bool {
        // If the process cannot read its size, the limit itself still holds.
        let holds =
            |memory: &AppliedMemoryLimit| memory.private.bytes().unwrap_or(0) > memory.enough;
        self.memory.as_ref().is_some_and(holds)
    }
}

/// Aborts this process if there is no memory for any job, as a failed allocation that is not
/// checked would. The next job must not fail for what is wrong with its worker, and this job is
/// tried elsewhere.
pub(super) fn recycle_if_starved() {
    /// Hardly any job needs less.
    const LITTLE: usize = 1 << 20;
    if Region::zeroed(LITTLE).is_none() {
        eprintln!("brigade worker: there is no memory left, not even 1 MiB");
        std::process::abort();
    }
}

/// Enters the sandbox, if one is configured. `Some(true)` is a strict one: every part must work.
pub(super) fn enter_sandbox(sandbox: Option<bool>) -> Result<(), Refusal> {
    let Some(strict) = sandbox else { return Ok(()) };
    let missing = sandbox::missing();
    for (part, why) in sandbox::enter() {
        if strict {
            return Err(Refusal::Broken(format!("cannot enter the sandbox: {part}: {why}")));
        }
        // The coordinator has already reported what this kernel lacks.
        if !missing.contains(&part) {
            tracing::warn!(%part, why, "the sandbox goes without a part that has failed");
        }
    }
    Ok(())
}
