use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ExportArgs, ListFormat, OutputArgs};

/// Compare two builds, or any two commands, by running them alternately on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade ab --base './old run blur --jobs 20' --head './new run blur --jobs 20'
  brigade ab --base 'gzip -k -f a' --head 'zstd -f a' --tolerance 1%
  brigade ab --base ./old --head ./new --metric wall,peak-memory --budget 60s
  brigade ab --base './old {size}' --head './new {size}' --parameter size=10,100 --name sort
  brigade ab --shell --base './old < in | wc' --head './new < in | wc' --prepare 'make in'

Base, base again and head alternate in random order until the verdict is clear or the budget is
spent. Exit code 0: better or the same; 3: worse, found in two independent rounds; 4: cannot tell
(0 with --fail-on worse); 1: a command failed; 2: a command cannot be started; 130: Ctrl-C. What
was measured until then is written in any case. `brigade gate` builds and compares two commits.")]
pub(crate) struct AbArgs {
    /// The command to compare with
    #[arg(long, value_name = "CMD")]
    pub(crate) base: String,
    /// The command to judge
    #[arg(long, value_name = "CMD")]
    pub(crate) head: String,
    /// What to compare
    #[arg(long, value_enum, value_name = "METRICS", value_delimiter = ',')]
    #[arg(default_value = "wall")]
    pub(crate) metric: Vec<AbMetric>,
    /// Time for each value of --parameter; ends earlier if the verdict is clear. Up to 60 % are for
    /// the first round; the second round confirms a slowdown
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    #[arg(default_value = "20s")]
    pub(crate) budget: Duration,
    /// Kill a run that takes longer, with its process group; it has failed
    #[arg(long, value_name = "DURATION", value_parser = super::pool::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Blocks per round at most; a block runs base twice and head once
    #[arg(long, value_name = "N", default_value_t = 400)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) blocks: u32,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) names: NameArgs,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    /// Seed of the random order of the commands
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How the commands of `ab` are run.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the commands are run")]
pub(crate) struct HowArgs {
    /// Run the commands in a shell, for pipes and variables: bash, which fails if any part of a pipe
    /// fails, or sh if there is no bash. The start of the shell is measured too
    #[arg(long)]
    pub(crate) shell: bool,
    /// Replace {NAME} in the commands by each of these values, as in size=10,100; each value gets
    /// its own verdict. Can be repeated, for all combinations
    #[arg(long, value_name = "NAME=VALUES", value_parser = parameter)]
    pub(crate) parameter: Vec<Parameter>,
    /// Unmeasured runs of each command at the beginning
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) warmup: u32,
    /// A shell command before the first run of each side. It is not measured; BRIGADE_SIDE is base
    /// or head. The same holds for --prepare and --cleanup
    #[arg(long, value_name = "CMD")]
    pub(crate) setup: Option<String>,
    /// A shell command before each run
    #[arg(long, value_name = "CMD")]
    pub(crate) prepare: Option<String>,
    /// A shell command for each side at the end
    #[arg(long, value_name = "CMD")]
    pub(crate) cleanup: Option<String>,
    /// Accept exit statuses other than 0 if all runs have the same; a death by signal still fails
    #[arg(long)]
    pub(crate) ignore_failure: bool,
}

/// What is written in the places of long command lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names in reports")]
pub(crate) struct NameArgs {
    /// Name of the benchmark in reports and exports, so that several can be told apart
    /// [default: ab]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// Name of base, for example a commit [default: its command]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) base_name: Option<String>,
    /// Name of head [default: its command]
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

Results of different machines, or with --relative, are compared by their ratios to threads (or to
the floor) in the same file. Results that were measured one after the other also differ by what the
machine did in between: `brigade ab` alternates. What only one file has is inconclusive.")]
pub(crate) struct CompareArgs {
    /// The result to compare with (brigade.bench.v1)
    #[arg(value_name = "BASE.json")]
    pub(crate) base: PathBuf,
    /// The result to judge
    #[arg(value_name = "HEAD.json")]
    pub(crate) head: PathBuf,
    /// Compare ratios to threads or to the floor in the same file instead of times
    #[arg(long)]
    pub(crate) relative: bool,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
}

/// What `ab`, `gate` and `compare` have in common.
#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// Changes up to this count as the same [default: 5%]
    #[arg(long, value_name = "PERCENT", value_parser = super::percent)]
    pub(crate) tolerance: Option<f64>,
    /// Which verdicts fail: worse (exit code 3) alone, or inconclusive (4) too
    #[arg(long, visible_alias = "policy", value_enum, value_name = "VERDICT")]
    #[arg(default_value = "inconclusive")]
    pub(crate) fail_on: FailOn,
    /// Output format [default: human]
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
    /// Wall time from start to end
    Wall,
    /// Processor time in user mode, of the command and the children that it waits for
    User,
    /// Processor time in system mode, likewise
    System,
    /// User and system time together; finer than either alone
    Cpu,
    /// Instructions in user mode, children included; hardly any noise. Counted by the processor if
    /// that is allowed, otherwise by valgrind if it is installed, in separate runs that take about
    /// 20 times as long
    Instructions,
    /// Largest resident set of the command or of a child that it waits for
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
    /// A slowdown
    Worse,
    /// A slowdown, and a comparison that cannot tell
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
