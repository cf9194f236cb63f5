use std::path::PathBuf;
use std::time::Duration;

use brigade_exec::Backend;
use brigade_kernels::Size;
use clap::{Args, Subcommand};

use super::{ExportArgs, ListFormat, OutputArgs};

/// Measure what handing jobs over costs, beside what this machine itself takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency                          round trips of empty jobs and of payloads
  brigade bench latency --sizes 0,8MiB           only these payloads
  brigade bench bandwidth                        large payloads
  brigade bench throughput                       many jobs at once, one by one and by map
  brigade bench throughput --kernel blur --size 1920x1080
  brigade bench isolation                        what each further guard costs
  brigade bench startup --workers 1,2            how long until workers are ready
  brigade bench scaling --kernel matmul --workers 1,2,4     what more workers are worth
  brigade bench break-even --bytes 0,1MiB        how large a job must be to pay
  brigade bench paradigms                        waiting and computing, every backend
  brigade bench all --budget 5m --output b.json  all of these, and what they come to
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
    Latency(PayloadArgs),
    /// Round trip of large payloads
    Bandwidth(LargePayloadArgs),
    /// Time per job of many jobs that are in flight together, by workers and depth
    Throughput(ThroughputArgs),
    /// What each further guard adds to a round trip: process, shared memory, pinning, limits
    Isolation(IsolationArgs),
    /// From asking for a pool until its workers are ready, and until a first result
    Startup(StartupArgs),
    /// What more workers are worth: the same jobs for all, and as many for each
    Scaling(ScalingArgs),
    /// How large a job must be before a process, or a second worker, pays
    BreakEven(BreakEvenArgs),
    /// Work that waits, work that computes, and both, on every backend
    Paradigms(ParadigmsArgs),
    /// All of these within one budget, and what they come to in words
    All(AllArgs),
}

impl Experiment {
    pub(crate) fn common(&self) -> &CommonArgs {
        match self {
            Self::Latency(args) => &args.common,
            Self::Bandwidth(args) => &args.common,
            Self::Throughput(args) => &args.common,
            Self::Isolation(args) => &args.common,
            Self::Startup(args) => &args.common,
            Self::Scaling(args) => &args.common,
            Self::BreakEven(args) => &args.common,
            Self::Paradigms(args) => &args.common,
            Self::All(args) => &args.common,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PayloadArgs {
    /// Bytes of the payloads, as in 0,64KiB,8MiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "0,4KiB,64KiB,1MiB,8MiB")]
    pub(crate) sizes: Vec<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LargePayloadArgs {
    /// Bytes of the payloads, as in 1MiB,64MiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "1MiB,8MiB,64MiB")]
    pub(crate) sizes: Vec<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ThroughputArgs {
    /// The kernel; `brigade kernels` lists them
    #[arg(long, value_name = "KERNEL", default_value = "noop")]
    pub(crate) kernel: String,
    /// A parameter of the kernel
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    #[arg(value_parser = super::run::name_and_value)]
    pub(crate) params: Vec<(String, String)>,
    /// Size of the synthetic input, as for `brigade run`
    #[arg(long, value_name = "SIZE")]
    pub(crate) size: Option<Size>,
    /// How many workers, as in 1,2,4
    #[arg(short, long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2")]
    pub(crate) workers: Vec<usize>,
    /// Jobs assigned to one worker process at a time, as in 1,2,8
    #[arg(long = "depth", value_name = "DEPTHS", value_delimiter = ',', default_value = "1,2,8")]
    pub(crate) depths: Vec<usize>,
    /// For about how long each variant works when it is its turn
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "200ms")]
    pub(crate) time: Duration,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IsolationArgs {
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
pub(crate) struct ScalingArgs {
    /// The kernel; `brigade kernels` lists them
    #[arg(long, value_name = "KERNEL", default_value = "blur")]
    pub(crate) kernel: String,
    /// A parameter of the kernel
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    #[arg(value_parser = super::run::name_and_value)]
    pub(crate) params: Vec<(String, String)>,
    /// Size of the synthetic input, as for `brigade run`
    #[arg(long, value_name = "SIZE")]
    pub(crate) size: Option<Size>,
    /// How many workers, as in 1,2,4 [default: each up to twice the cores]
    #[arg(short, long, value_name = "COUNTS", value_delimiter = ',')]
    pub(crate) workers: Vec<usize>,
    /// On what
    #[arg(short, long, value_name = "BACKENDS", value_delimiter = ',')]
    #[arg(value_parser = super::pool::backend(), default_value = "threads,processes")]
    pub(crate) backends: Vec<Backend>,
    /// Jobs for all workers together, and then for each
    #[arg(long, value_name = "N", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) jobs: u32,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BreakEvenArgs {
    /// Bytes that go to each job, as in 0,64KiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "0,64KiB,1MiB")]
    pub(crate) bytes: Vec<u64>,
    /// How long each job computes, as in 0,100us,10ms
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',')]
    #[arg(value_parser = super::pool::duration_or_0, default_value = "0,10us,100us,1ms,10ms")]
    pub(crate) compute: Vec<Duration>,
    /// What a process may cost more than a thread
    #[arg(long, value_name = "PERCENT", value_parser = super::percent_or_number)]
    #[arg(default_value = "5%")]
    pub(crate) percent: f64,
    /// How many workers, as in 1,2
    #[arg(short, long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2")]
    pub(crate) workers: Vec<usize>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ParadigmsArgs {
    /// Kernels that compute; the first also in turn with waiting
    #[arg(long, value_name = "KERNELS", value_delimiter = ',')]
    #[arg(default_value = "blur,matmul,spectrogram,mlp")]
    pub(crate) kernels: Vec<String>,
    /// How many workers, as in 1,2,4,8; sync and async have one
    #[arg(short, long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2,4,8")]
    pub(crate) workers: Vec<usize>,
    /// How many orders there are of each work
    #[arg(long, value_name = "N", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) orders: u32,
    /// For how long an order waits
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "5ms")]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AllArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CommonArgs {
    /// How often each variant takes its turn [default: 15, or what the budget allows]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) blocks: Option<u32>,
    /// How long all of it may take, as in 60s [default for `all`: 120s]
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) budget: Option<Duration>,
    /// Stop as soon as every interval reaches no further than this from its median, as in 2%
    #[arg(long, value_name = "PERCENT", value_parser = super::percent)]
    pub(crate) precision: Option<f64>,
    /// Seed of the order in which variants take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Form of the results
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
    /// Write a timeline for Perfetto (https://ui.perfetto.dev) or speedscope: when each block
    /// ran and what the machine was like, and who did what in the runs of `paradigms`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) trace: Option<PathBuf>,
}
