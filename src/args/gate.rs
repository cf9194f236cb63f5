use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::compare::{AbMetric, VerdictArgs};

/// Compare two commits: build both, alternate their benchmarks, give one verdict
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade gate origin/main                      the working tree against origin/main
  brigade gate v1.2 v1.3 --only parse,sort      two of the benchmarks, two tags
  brigade gate HEAD~1 HEAD --export markdown=gate.md --export junit=gate.xml
  brigade gate HEAD~1 HEAD --build 'make' --command './sort data/words'   without a file

brigade-gate.toml at the top of the repository says what to build and measure; it is read from HEAD:

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

Exit code 0: no benchmark is slower; 3: one is, found in two independent rounds; 4: cannot tell (0
with --policy worse, but only where a factor of two would have been found); 1: a build or a command
failed; 2: the configuration is wrong, or base and head are the same. It is 0 only if every figure
of every benchmark was measured.")]
pub(crate) struct GateArgs {
    /// The commit to compare with: a branch, a tag or an id
    #[arg(value_name = "BASE")]
    pub(crate) base: String,
    /// The commit to judge [default: the working tree as it is, without what git ignores]
    #[arg(value_name = "HEAD")]
    pub(crate) head: Option<String>,
    /// Run only the benchmarks with these names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Configuration file [default: brigade-gate.toml of HEAD]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Measure this command in the checkout and read no configuration file
    #[arg(long, value_name = "CMD", conflicts_with_all = ["config", "only"])]
    pub(crate) command: Option<String>,
    /// Shell command that builds a checkout; overrides the file
    #[arg(long, value_name = "CMD")]
    pub(crate) build: Option<String>,
    /// What to compare; overrides the file
    #[arg(long, value_enum, value_name = "METRICS", value_delimiter = ',')]
    pub(crate) metric: Vec<AbMetric>,
    /// Time for each benchmark; overrides the file
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) budget: Option<Duration>,
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repository: PathBuf,
    /// Where checkouts are built, outside of the repository. The last four commits stay there for
    /// the next time
    /// [default: brigade/gate in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Build both commits again
    #[arg(long)]
    pub(crate) rebuild: bool,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    /// Seed of the random order of base and head
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}
