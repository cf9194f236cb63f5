use std::path::PathBuf;

use brigade_exec::{Backend, StartMethod, Transport};
use clap::Args;

use super::pool::{self, GuardArgs, WorkerArgs};

/// The pools that an experiment measures. What is not given is as the experiment has it; where
/// one takes a list, it chooses from what the experiment compares.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Workers")]
pub(crate) struct MeasuredArgs {
    /// Measure only these, as in threads,processes. `sync` is added where it is the baseline of a
    /// speedup [default: all that the experiment compares]
    #[arg(short, long, value_name = "BACKENDS", value_delimiter = ',', alias = "backends")]
    #[arg(value_parser = pool::backend())]
    pub(crate) backend: Vec<Backend>,
    /// How many workers, as in 1,2,4; sync and async have one [default: 1 for latency, bandwidth
    /// and isolation; 1,2 for throughput, startup and break-even; 1,2,4,8 for paradigms; each
    /// up to twice the cores for scaling]
    #[arg(short, long, value_name = "COUNTS", value_delimiter = ',')]
    pub(crate) workers: Vec<usize>,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) processes: MeasuredProcessArgs,
}

/// What only worker processes have.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Worker processes (no effect on other backends)")]
pub(crate) struct MeasuredProcessArgs {
    /// How data reaches a worker; a list selects what latency, bandwidth and isolation compare, as
    /// in arena,shm [default: all there, arena elsewhere]
    #[arg(long, value_name = "TRANSPORTS", value_delimiter = ',')]
    #[arg(value_parser = pool::transport())]
    pub(crate) transport: Vec<Transport>,
    /// How a worker starts; a list selects what startup compares, as in spawn,forkserver
    /// [default: all there, spawn elsewhere]
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    #[arg(value_parser = pool::start_method())]
    pub(crate) start_method: Vec<StartMethod>,
    /// Jobs assigned to one worker at a time; a list selects what throughput compares, as in 1,2,8
    /// [default: 1,2,8 there, 2 elsewhere]
    #[arg(long, value_name = "DEPTHS", value_delimiter = ',')]
    pub(crate) depth: Vec<usize>,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
}

/// Options of `run` that a measurement has no use for: they are understood, to say so.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct MeaninglessArgs {
    /// Refused: a measurement cannot be resumed
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) journal: Option<PathBuf>,
    /// Refused: a measurement cannot be resumed
    #[arg(long, hide = true)]
    pub(crate) resume: bool,
    /// Accepted because `run` has it: a variant that fails never hides the others
    #[arg(short, long, hide = true)]
    pub(crate) keep_going: bool,
}
