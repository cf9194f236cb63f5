use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::compare::{AbMetric, VerdictArgs};

/// Compare two commits: build both, run their benchmarks in turns, one verdict
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade gate origin/main                      the working tree against origin/main
  brigade gate v1.2 v1.3 --only parse,sort      two of the benchmarks, two tags
  brigade gate HEAD~1 HEAD --export markdown=gate.md --export junit=gate.xml
  brigade gate HEAD~1 HEAD --build 'make' --command './sort data/words'   without a file

brigade-gate.toml at the top of the repository says what is built and measured; it is read from
HEAD:

  build = 'cargo build --release --locked'   # by a shell, in a checkout of each commit
  metrics = ['cpu', 'wall']                  # what `brigade ab --metric` knows; this is the default
  tolerance = '5%'
  budget = '30s'                             # for each benchmark and value of its parameters

  [[benchmark]]                              # as many as you like
  name = 'sort'
  command = 'target/release/sort {size}'     # run in the checkout
  parameters = { size = ['1000', '100000'] } # optional, as are setup, prepare, cleanup, shell,
                                             # warmup, timeout, blocks, ignore_failure, and
                                             # metrics, tolerance, budget of its own

Exit code 0: no benchmark is slower; 3: one is, found in two independent rounds; 4: it cannot be
said (0 with --policy worse, but only where twice the time would have been found); 1: a build or a
command failed; 2: something is written wrongly, or base and head are the same. It is 0 only if
every figure of every benchmark was measured.")]
pub(crate) struct GateArgs {
    /// The commit that was there before: a branch, a tag or an id
    #[arg(value_name = "BASE")]
    pub(crate) base: String,
    /// The commit that is to be judged [default: the working tree as it is, without what git
    /// ignores]
    #[arg(value_name = "HEAD")]
    pub(crate) head: Option<String>,
    /// Run only the benchmarks with these names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// What is built and measured [default: brigade-gate.toml of HEAD]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Measure this command, and read no file; it runs in the checkout
    #[arg(long, value_name = "CMD", conflicts_with_all = ["config", "only"])]
    pub(crate) command: Option<String>,
    /// What builds a checkout, by a shell, in the place of what the file says
    #[arg(long, value_name = "CMD")]
    pub(crate) build: Option<String>,
    /// What is compared, in the place of what the file says
    #[arg(long, value_enum, value_name = "METRICS", value_delimiter = ',')]
    pub(crate) metric: Vec<AbMetric>,
    /// For how long each benchmark may run, in the place of what the file says
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) budget: Option<Duration>,
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repository: PathBuf,
    /// Where checkouts are built, outside of the repository; those of the last four commits are kept
    /// for the next time
    /// [default: brigade/gate in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Build both commits, also if that was done before
    #[arg(long)]
    pub(crate) rebuild: bool,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    /// Seed of the order in which base and head take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}
