//! The command line as it was written: no checks beyond the form, no I/O.

mod batch;
mod bench;
mod compare;
mod gate;
mod history;
mod measured;
mod pool;
mod report;
mod run;

use std::path::PathBuf;

use brigade_report::formats::{Format, UnknownFormat};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use batch::BatchArgs;
pub(crate) use bench::{
    AllArgs, BenchArgs, BreakEvenArgs, CommonArgs, Experiment, ParadigmsArgs, ScalingArgs,
    ScalingMode, StartupArgs, ThroughputArgs,
};
pub(crate) use compare::{
    AbArgs, AbMetric, CompareArgs, DEFAULT_TOLERANCE, FailOn, Parameter, VerdictArgs,
};
pub(crate) use gate::GateArgs;
pub(crate) use history::{
    HistoryAddArgs, HistoryArgs, HistoryCheckArgs, HistoryCommand, HistoryFailOn, HistoryShowArgs,
    OrderBy, WhichArgs,
};
pub(crate) use measured::{MeaninglessArgs, MeasuredArgs};
pub(crate) use pool::{GuardArgs, PoolArgs, Variable, duration};
pub(crate) use report::ReportArgs;
pub(crate) use run::{RunArgs, RunFormat};

const EXAMPLES: &str = "\
Examples:
  brigade run blur photos/*.jpg -p sigma=2 -o blurred/   blur photographs, one job each
  brigade run spin --jobs 200 -p us=5000                 no file at hand: 200 synthetic jobs
  brigade run blur --jobs 50 --backend threads           the same on threads
  brigade batch jobs.jsonl > results.jsonl               one job per line of JSON
  brigade kernels                                        what it can compute
  brigade bench latency                                  what dispatching a job costs here
  brigade report latency.json                            a page with pictures of a saved result
  brigade doctor                                         what this machine offers

Exit codes:
  0        all jobs succeeded
  1        a job failed while it ran
  2        the command line, a file or a parameter is wrong; found before any job started
  3        a comparison found a slowdown (ab, gate, compare, history check)
  4        a comparison cannot tell
  5        the worker pool could not start, or gave up
  130/143  interrupted by SIGINT (Ctrl-C) or SIGTERM: running jobs were finished and written
  129      the same by SIGHUP: the terminal was closed
  141      the reader of the results went away before all jobs had run (`| head`)";

/// Runs CPU-bound jobs in worker processes (or threads, or one after another),
/// and shows where the time went.
#[derive(Debug, Parser)]
#[command(
    name = "brigade",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What is logged to standard error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// Log level on standard error, for workers too: off, error, warn, info, debug,
    /// trace, or per module, as in `info,brigade_exec=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "BRIGADE_LOG")]
    #[arg(default_value = "warn", hide_env_values = true)]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    Batch(Box<BatchArgs>),
    Kernels(KernelsArgs),
    Bench(Box<BenchArgs>),
    Ab(Box<AbArgs>),
    Gate(Box<GateArgs>),
    Compare(CompareArgs),
    History(HistoryArgs),
    Report(ReportArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// List the kernels: what they compute, their parameters, defaults, inputs and outputs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade kernels                  all kernels, by family
  brigade kernels blur             one kernel in full
  brigade kernels --format json    for programs; schema brigade.kernels.v1")]
pub(crate) struct KernelsArgs {
    /// Show this kernel in full
    pub(crate) name: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// Check this machine: which features it has, and what would disturb a measurement
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade doctor                  each finding, what it means and how to fix it
  brigade doctor --format json    for programs")]
pub(crate) struct DoctorArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade completions bash > ~/.local/share/bash-completion/completions/brigade
  brigade completions zsh > ~/.zfunc/_brigade
  brigade completions fish > ~/.config/fish/completions/brigade.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or write one for each command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade man | man -l -                          read it
  brigade man --dir ~/.local/share/man/man1       install brigade.1, brigade-run.1, ...")]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory, which must exist
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Form of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// A table to read
    #[default]
    Human,
    /// One JSON object
    Json,
}

/// Where results go besides standard output.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArgs {
    /// Also write the report to this file; as JSON if its name ends in .json, unless --format
    /// says otherwise
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) output: Option<PathBuf>,
}

impl OutputArgs {
    /// What the name of the file ends in.
    pub(crate) fn extension(&self) -> Option<&str> {
        self.output.as_ref()?.extension()?.to_str()
    }

    /// Forms of what goes to standard output and to the file beside it.
    pub(crate) fn formats(&self, given: Option<ListFormat>) -> (ListFormat, ListFormat) {
        let stdout = given.unwrap_or_default();
        let is_json = given.is_none() && self.extension() == Some("json");
        (stdout, if is_json { ListFormat::Json } else { stdout })
    }
}

/// As [`percent`], and a bare number is in percent too.
pub(crate) fn percent_or_number(text: &str) -> Result<f64, String> {
    if text.ends_with('%') { percent(text) } else { percent(&format!("{text}%")) }
}

/// A share that is written in percent, as in `5%` or `0.5 %`.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    match number.and_then(|number| number.parse::<f64>().ok()) {
        Some(percent) if percent > 0.0 && percent < 100.0 => Ok(percent / 100.0),
        _ => Err("expected a percentage above 0, as in 5%".to_owned()),
    }
}

/// Where results go in other forms.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ExportArgs {
    /// Also write the result to this file in another format, as in junit=gate.xml. With - as the
    /// file it goes to standard output, and the report to standard error. FORMAT is json, jsonl, csv,
    /// csv-wide, markdown, junit, github, bencher, github-action-benchmark, hyperfine or
    /// openmetrics. Can be repeated
    #[arg(long, value_name = "FORMAT=FILE", help_heading = "Report", value_parser = export)]
    pub(crate) export: Vec<Export>,
}

/// A form and a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    pub(crate) format: Format,
    pub(crate) file: PathBuf,
}

fn export(text: &str) -> Result<Export, String> {
    match text.split_once('=') {
        Some((format, file)) if !file.is_empty() => {
            let format = format.parse().map_err(|error: UnknownFormat| error.to_string())?;
            Ok(Export { format, file: file.into() })
        }
        _ => Err("expected FORMAT=FILE, as in junit=gate.xml".to_owned()),
    }
}

/// What is kept of a run, so that another can go on after it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Resuming after an interruption")]
pub(crate) struct JournalArgs {
    /// Record accepted and finished jobs in this file, so that --resume can continue the run
    /// after a crash, a power failure or Ctrl-C
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Skip jobs whose result is in the journal and unchanged on the disk, and run the rest;
    /// starts a journal if there is none
    #[arg(long, requires = "journal")]
    pub(crate) resume: bool,
}

/// What is on the disk when a result is reported.
#[derive(Debug, Default, Args)]
pub(crate) struct DurabilityArgs {
    /// When results are synced to the disk
    #[arg(long, value_enum, default_value_t, help_heading = "Results")]
    pub(crate) durability: Durability,
}

/// When results are on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// Each result before it is reported, one at a time
    Sync,
    /// Each result before it is reported, in groups, up to 0.1 s later
    #[default]
    Batch,
    /// When the operating system decides; the fastest. After a power failure results may be
    /// missing, empty or cut off; --resume with a journal finds them and runs their jobs again
    None,
}

/// What else is written about a run.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Write a timeline for Perfetto (https://ui.perfetto.dev) or speedscope: what each
    /// worker did and when, queue depth, memory. Replaces FILE at the end of the run; takes
    /// about 750 bytes a job
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) trace: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn percentages_need_their_sign() {
        assert_eq!(percent("5%"), Ok(0.05));
        assert_eq!(percent("0.5 %"), Ok(0.005));
        for wrong in ["5", "0.05", "0%", "100%", "-1%", "%", "nan%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_option_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let below = command.get_subcommands();
            for argument in below.chain([command]).flat_map(|of| of.get_arguments()) {
                assert!(argument.get_help().is_some(), "{}", argument.get_id());
            }
        }
    }
}
