use clap::{Args, Subcommand};

use super::{ListFormat, OutputArgs};

/// Measure what handing jobs over costs, beside what this machine itself takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency                          round trips of empty jobs and of payloads
  brigade bench latency --sizes 0,8MiB           only these payloads
  brigade bench startup --workers 1,2            how long until workers are ready
  brigade bench latency --format json > a.json   every sample; schema brigade.bench.v1

Variants take turns in random order, so that what disturbs this machine disturbs all of
them; compare ratios, not figures from different runs.")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) experiment: Experiment,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Experiment {
    /// Round trip of a job: empty ones, and payloads that are read and written once
    Latency(LatencyArgs),
    /// From asking for a pool until its workers are ready, and until a first result
    Startup(StartupArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Bytes of the payloads, as in 0,64KiB,8MiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "0,4KiB,64KiB,1MiB,8MiB")]
    pub(crate) sizes: Vec<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StartupArgs {
    /// How many workers, as in 1,2,4
    #[arg(short, long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2")]
    pub(crate) workers: Vec<usize>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// How often each variant takes its turn
    #[arg(long, value_name = "N", default_value_t = 15)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) blocks: u32,
    /// Seed of the order in which variants take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Form of the results
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
