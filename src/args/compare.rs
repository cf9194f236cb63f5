use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ExportArgs, ListFormat, OutputArgs};

/// Compare two builds, or any two commands, by running both here in turns
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade ab --base './old run blur --jobs 20' --head './new run blur --jobs 20'
  brigade ab --base 'gzip -k -f a' --head 'zstd -f a' --tolerance 1%
  brigade ab --base ./old --head ./new --metric wall,peak-memory --budget 60s

Base, base again and head take turns in random order until it is clear which verdict is
right, or the budget is spent. Commands are not run by a shell: use sh -c '...' where you
need one. Exit code 0: better or the same; 3: worse, found in two independent rounds;
4: inconclusive (0 with --fail-on worse). A command that fails ends it with exit code 1,
Ctrl-C with 130; what was measured until then is written all the same.")]
pub(crate) struct AbArgs {
    /// The command that was there before
    #[arg(long, value_name = "CMD")]
    pub(crate) base: String,
    /// The command that is to be judged
    #[arg(long, value_name = "CMD")]
    pub(crate) head: String,
    /// What is compared
    #[arg(long, value_enum, value_name = "METRICS", value_delimiter = ',')]
    #[arg(default_value = "wall")]
    pub(crate) metric: Vec<AbMetric>,
    /// For how long each round may run; it ends as soon as the verdict is clear
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "10s")]
    pub(crate) budget: Duration,
    /// A run that takes longer is ended, with its process group, and has failed
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Blocks at most in a round; each runs base twice and head once
    #[arg(long, value_name = "N", default_value_t = 400)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) blocks: u32,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    /// Seed of the order in which the commands take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Compare two saved results of `brigade bench`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency --output base.json
  brigade compare base.json head.json
  brigade compare base.json head.json --tolerance 10% --relative

Two results from different machines, or with --relative, are compared by their ratios to
threads (or to the floor) in the same file. Results that were taken one after the other
differ by whatever the machine did in between: `brigade ab` runs both in turns. What only one
of the two has measured is inconclusive.")]
pub(crate) struct CompareArgs {
    /// The result that was there before (brigade.bench.v1)
    #[arg(value_name = "BASE.json")]
    pub(crate) base: PathBuf,
    /// The result that is to be judged
    #[arg(value_name = "HEAD.json")]
    pub(crate) head: PathBuf,
    /// Compare ratios to threads or to the floor in the same file, not times
    #[arg(long)]
    pub(crate) relative: bool,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
}

/// What `ab` and `compare` have in common.
#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// Changes up to this are the same
    #[arg(long, value_name = "PERCENT", value_parser = super::percent, default_value = "5%")]
    pub(crate) tolerance: f64,
    /// What ends with an exit code other than 0: worse (3) alone, or inconclusive (4) too
    #[arg(long, value_enum, value_name = "VERDICT", default_value = "inconclusive")]
    pub(crate) fail_on: FailOn,
    /// Form of the verdict [default: human]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ListFormat>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
}

/// A figure of a command that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AbMetric {
    /// From its start until it has ended
    Wall,
    /// Processor time in user mode, with the children that it waits for
    User,
    /// Processor time in system mode, with the children that it waits for
    System,
    /// Both together; finer than either alone
    Cpu,
    /// Instructions in user mode, with its children: hardly any noise, where the machine can
    /// count them
    Instructions,
    /// The largest resident set of it or a child that it waits for
    PeakMemory,
}

/// Which verdicts fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Only a slowdown
    Worse,
    /// A slowdown, and when neither can be said
    Inconclusive,
}
