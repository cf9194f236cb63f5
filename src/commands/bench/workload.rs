//! The workloads of `bench paradigms`: what the jobs do, and how many there are.

use std::time::Duration;

use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::case;

/// Kind of work that the jobs do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkKind {
    /// "Concurrent burgers": many orders that mostly wait, and few cooks.
    Waiting,
    /// "Cleaning a big house": there is always something to do.
    Computing,
    /// "Parallel burgers": the cashier is also the cook, who waits and computes for each order.
    Mixed,
}

impl WorkKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Computing => "computing",
            Self::Mixed => "mixed",
        }
    }
}

/// A workload that runs on every backend.
pub(super) struct Workload {
    pub(super) kind: WorkKind,
    /// Name of the kernel: "wait", "blur", "wait+blur".
    pub(super) kernel: String,
    /// The jobs of one order, in turn.
    pub(super) jobs: Vec<JobSpec>,
    /// Number of orders.
    pub(super) orders: usize,
    /// How long each order waits.
    pub(super) wait: Duration,
}

impl Workload {
    pub(super) fn case(&self) -> Map<String, Value> {
        case(json!({"work": self.kind.name(), "kernel": self.kernel}))
    }

    pub(super) fn job(&self, number: usize) -> JobSpec {
        self.jobs[number % self.jobs.len()].clone()
    }

    /// Number of jobs of this many orders.
    pub(super) fn jobs_of(&self, orders: usize) -> usize {
        orders * self.jobs.len()
    }
}
