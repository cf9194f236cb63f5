use std::path::PathBuf;
use std::time::Duration;

use brigade_kernels::Size;
use clap::{Args, Subcommand, ValueEnum};

use super::{ExportArgs, ListFormat, MeaninglessArgs, MeasuredArgs, OutputArgs};

/// Measure dispatch overhead against this machine's lower bounds
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency                          round trips of empty jobs and of payloads
  brigade bench latency --sizes 0,8MiB           only these payloads
  brigade bench bandwidth                        large payloads
  brigade bench throughput                       many jobs at once, one by one and with map
  brigade bench throughput --kernel blur --size 1920x1080
  brigade bench isolation                        what each further guard costs
  brigade bench startup --workers 1,2            how long until workers are ready
  brigade bench scaling --kernel matmul --workers 1,2,4     what more workers gain
  brigade bench break-even --bytes 0,1MiB        how large a job must be to pay
  brigade bench paradigms                        waiting and computing, every backend
  brigade bench all --budget 5m --output b.json  all of these, summed up in sentences
  brigade bench latency --format json > a.json   every sample; schema brigade.bench.v1

Variants alternate in random order, so that a disturbance hits all of them. Compare ratios within a
run, not figures of different runs.")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) experiment: Experiment,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Experiment {
    /// Round trip of a job: an empty one, and payloads that are read and written once
    Latency(PayloadArgs),
    /// Round trip of large payloads
    Bandwidth(LargePayloadArgs),
    /// Time per job with many jobs in flight, by workers and depth
    Throughput(ThroughputArgs),
    /// What each further guard adds to a round trip: process, shared memory, pinning, limits,
    /// private inputs
    Isolation(IsolationArgs),
    /// Time until the workers of a new pool are ready, until a first result, and until the pool
    /// has ended
    Startup(StartupArgs),
    /// Speedup by number of workers: for the same jobs (strong), and for as many per worker (weak)
    Scaling(ScalingArgs),
    /// How large a job must be before a process, or a second worker, pays off
    BreakEven(BreakEvenArgs),
    /// Work that waits, work that computes, and both, on every backend
    Paradigms(ParadigmsArgs),
    /// All of these within one budget, summed up in sentences
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
#[command(after_help = "\
Examples:
  brigade bench latency --sizes 0                             empty jobs, busy and after a rest
  brigade bench latency -b threads,processes --transport arena,shm    only these
  brigade bench latency -b processes --pin --spin 50us        with a setting; compare with a run without it")]
#[command(next_help_heading = "What is measured")]
pub(crate) struct PayloadArgs {
    /// Bytes of the payloads, as in 0,64KiB,8MiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "0,4KiB,64KiB,1MiB,8MiB")]
    pub(crate) sizes: Vec<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench bandwidth --sizes 8MiB,64MiB
  brigade bench bandwidth -b processes --transport arena --arena-limit 1GiB")]
#[command(next_help_heading = "What is measured")]
pub(crate) struct LargePayloadArgs {
    /// Bytes of the payloads, as in 1MiB,64MiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "1MiB,8MiB,64MiB")]
    pub(crate) sizes: Vec<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench throughput -w 1,2 --depth 1,2,8              empty jobs, by workers and depth
  brigade bench throughput --kernel blur --size 1920x1080    of a real kernel
  brigade bench throughput -b processes --depth 2 --sandbox  what a sandbox costs")]
#[command(next_help_heading = "What is measured")]
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
    /// About how long each variant runs per block
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "200ms")]
    pub(crate) time: Duration,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench isolation                                    every guard
  brigade bench isolation --memory-limit 64MiB --sandbox     only these guards, and none
  brigade bench isolation --sizes 64KiB,64MiB                private inputs")]
#[command(next_help_heading = "What is measured")]
pub(crate) struct IsolationArgs {
    /// Sizes of inputs, shared by all workers and private to one, as in 1MiB,8MiB (the default
    /// unless guards are given)
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    pub(crate) sizes: Vec<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench startup -w 1,2,4,8
  brigade bench startup -b processes --start-method forkserver")]
pub(crate) struct StartupArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench scaling --kernel matmul -w 1,2,4 --mode strong --export csv-wide=cores.csv
  brigade bench scaling -b threads,threads-gil,processes     under a global lock as well
  brigade bench scaling -w 1,2,3,4,5,6 --blocks 9            enough counts to fit Amdahl's law and USL")]
#[command(next_help_heading = "What is measured")]
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
    /// Jobs for all workers together (strong), or for each (weak)
    #[arg(long, value_name = "N", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) jobs: u32,
    /// How the work grows with the workers
    #[arg(long, value_enum, value_name = "MODES", value_delimiter = ',')]
    #[arg(default_value = "strong,weak")]
    pub(crate) mode: Vec<ScalingMode>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// How the work of `scaling` depends on the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScalingMode {
    /// The same jobs, shared by all workers
    Strong,
    /// As many jobs for each worker
    Weak,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench break-even --bytes 0,1MiB --compute 0,100us,1ms -w 2
  brigade bench break-even --percent 10 --transport shm      where messages carry payloads")]
#[command(next_help_heading = "What is measured")]
pub(crate) struct BreakEvenArgs {
    /// Input bytes of each job, as in 0,64KiB
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = super::pool::bytes)]
    #[arg(default_value = "0,64KiB,1MiB")]
    pub(crate) bytes: Vec<u64>,
    /// How long each job computes, as in 0,100us,10ms
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',')]
    #[arg(value_parser = super::pool::duration_or_0, default_value = "0,10us,100us,1ms,10ms")]
    pub(crate) compute: Vec<Duration>,
    /// How much more than a thread a process may cost
    #[arg(long, value_name = "PERCENT", value_parser = super::percent_or_number)]
    #[arg(default_value = "5%")]
    pub(crate) percent: f64,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench paradigms --kernels blur -w 1,2
  brigade bench paradigms --wait 20ms --trace course.trace.json    open it in Perfetto")]
#[command(next_help_heading = "What is measured")]
pub(crate) struct ParadigmsArgs {
    /// Computing kernels; the first also alternates with waiting
    #[arg(long, value_name = "KERNELS", value_delimiter = ',')]
    #[arg(default_value = "blur,matmul,spectrogram,mlp")]
    pub(crate) kernels: Vec<String>,
    /// How many jobs of each kind of work
    #[arg(long, value_name = "N", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) orders: u32,
    /// How long a job waits
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "5ms")]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench all --budget 5m --output all.json && brigade report all.json
  brigade bench all -b sync,processes --start-method forkserver")]
pub(crate) struct AllArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What all experiments have.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) pool: MeasuredArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) report: BenchReportArgs,
    #[command(flatten)]
    pub(crate) meaningless: MeaninglessArgs,
}

/// How long it is measured.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How often and how long")]
pub(crate) struct PlanArgs {
    /// How often each variant runs [default: 15, or what the budget allows]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) blocks: Option<u32>,
    /// Time for the whole measurement, as in 60s; what does not fit is not measured, and named
    /// [default for `all`: 120s]
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) budget: Option<Duration>,
    /// Stop as soon as every interval is within this of its median, as in 2%
    #[arg(long, value_name = "PERCENT", value_parser = super::percent)]
    pub(crate) precision: Option<f64>,
    /// Seed of the random order of variants, and of synthetic inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Where the result goes, and in which form.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct BenchReportArgs {
    /// Output format [default: human]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ListFormat>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
    /// Write a timeline for Perfetto (https://ui.perfetto.dev) or speedscope: when each block ran,
    /// the state of the machine, and for `paradigms` what each worker did
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}
