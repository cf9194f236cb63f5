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
  brigade ab --base './old {size}' --head './new {size}' --parameter size=10,100 --name sort
  brigade ab --shell --base './old < in | wc' --head './new < in | wc' --prepare 'make in'

Base, base again and head take turns in random order until it is clear which verdict is
right, or the budget is spent. Exit code 0: better or the same; 3: worse, found in two
independent rounds; 4: inconclusive (0 with --fail-on worse). A command that fails ends it with
exit code 1, one that cannot be started with 2, Ctrl-C with 130; what was measured until then
is written all the same. `brigade gate` builds and compares two commits.")]
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
    /// For how long it may run, for each value of --parameter; it ends as soon as the verdict is
    /// clear. Up to 60 % are for the first round, the rest is for the second, which confirms a
    /// slowdown
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "20s")]
    pub(crate) budget: Duration,
    /// A run that takes longer is ended, with its process group, and has failed
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Blocks at most in a round; each runs base twice and head once
    #[arg(long, value_name = "N", default_value_t = 400)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) blocks: u32,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) names: NameArgs,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    /// Seed of the order in which the commands take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How the commands of `ab` are run.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the commands are run")]
pub(crate) struct HowArgs {
    /// Let a shell run the commands, for pipes and variables: bash, which fails with any part of a
    /// pipe that fails, or sh where there is none. Its own start is measured, too
    #[arg(long)]
    pub(crate) shell: bool,
    /// Put each of these values for {NAME} into the commands, as in size=10,100: each has figures of
    /// its own. May be given several times, for all combinations
    #[arg(long, value_name = "NAME=VALUES", value_parser = parameter)]
    pub(crate) parameter: Vec<Parameter>,
    /// Runs of each command before it is measured
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) warmup: u32,
    /// A shell command that runs before the first run of each side; like the two below it is
    /// not measured, and BRIGADE_SIDE tells it which side it is for (base, head)
    #[arg(long, value_name = "CMD")]
    pub(crate) setup: Option<String>,
    /// A shell command that runs before each run
    #[arg(long, value_name = "CMD")]
    pub(crate) prepare: Option<String>,
    /// A shell command that runs for each side when all is over
    #[arg(long, value_name = "CMD")]
    pub(crate) cleanup: Option<String>,
    /// An exit status other than 0 is no failure, if all runs have the same; the end by a signal is
    #[arg(long)]
    pub(crate) ignore_failure: bool,
}

/// What is written in the places of long command lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names in reports")]
pub(crate) struct NameArgs {
    /// What the figures are called, so that those of several comparisons can be told apart
    /// [default: ab]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// What base is called, as in a commit [default: its command]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) base_name: Option<String>,
    /// What head is called [default: its command]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) head_name: Option<String>,
}

/// A part of the commands that takes several values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

fn parameter(text: &str) -> Result<Parameter, String> {
    let (name, values) = text.split_once('=').unwrap_or((text, ""));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(is_name) || values.is_empty() {
        return Err("expected NAME=VALUE,VALUE, as in size=10,100".to_owned());
    }
    let values: Vec<String> = values.split(',').map(str::to_owned).collect();
    Ok(Parameter { name: name.to_owned(), values })
}

fn name(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("a name cannot be empty".to_owned()),
        false => Ok(text.to_owned()),
    }
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

/// What `ab`, `gate` and `compare` have in common.
#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// Changes up to this are the same [default: 5%]
    #[arg(long, value_name = "PERCENT", value_parser = super::percent)]
    pub(crate) tolerance: Option<f64>,
    /// What ends with an exit code other than 0: worse (3) alone, or inconclusive (4) too
    #[arg(long, visible_alias = "policy", value_enum, value_name = "VERDICT")]
    #[arg(default_value = "inconclusive")]
    pub(crate) fail_on: FailOn,
    /// Form of the verdict [default: human]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ListFormat>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
}

impl VerdictArgs {
    /// What was given, or the default.
    pub(crate) fn tolerance(&self) -> f64 {
        self.tolerance.unwrap_or(DEFAULT_TOLERANCE)
    }
}

/// Changes up to this are the same unless a tolerance is given.
pub(crate) const DEFAULT_TOLERANCE: f64 = 0.05;

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
    /// Instructions in user mode, with its children: hardly any noise. Counted by the processor
    /// where that is allowed, else by valgrind where it is installed, in runs of their own that
    /// take about 20 times as long
    Instructions,
    /// The largest resident set of it or a child that it waits for
    PeakMemory,
}

impl AbMetric {
    /// Whether it is the time of a whole run, and not a part of that.
    pub(crate) fn is_main_time(self) -> bool {
        matches!(self, Self::Wall | Self::Cpu)
    }

    /// As it is written.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Which verdicts fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Only a slowdown
    Worse,
    /// A slowdown, and when neither can be said
    Inconclusive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_a_name_and_values() {
        let read = parameter("n=1,20,a b").unwrap();
        assert_eq!((read.name.as_str(), read.values.len()), ("n", 3));
        for wrong in ["n", "n=", "=1", "a b=1", "{n}=1"] {
            assert!(parameter(wrong).is_err(), "{wrong}");
        }
    }
}
