use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ListFormat;

/// Keep results of commits, show how figures changed, find the commit that changed them
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  brigade ab --base ./old --head ./new --output ab.json
  brigade history add ab.json --commit HEAD       keep the figures of head
  brigade history show                            a table, and every change with its commit
  brigade history show --page history.html        the same as a page with pictures
  brigade history check                           3 if one of the newest commits is slower

A history is a directory with a small file per commit and result. It can live in a git branch:
results that were added in different places merge without conflicts. docs/history.md says how
changes are found and how often that is wrong."
)]
pub(crate) struct HistoryArgs {
    #[command(subcommand)]
    pub(crate) command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    Add(HistoryAddArgs),
    Show(HistoryShowArgs),
    Check(HistoryCheckArgs),
}

/// Where the history is.
#[derive(Debug, Args)]
pub(crate) struct KeptArgs {
    /// The directory of the history
    #[arg(long, value_name = "DIR", default_value = "brigade-history")]
    pub(crate) dir: PathBuf,
    /// The git repository that knows the commits
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repo: PathBuf,
}

/// Add results of a commit
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade history add bench.json --commit HEAD
  brigade history add ab.json latency.json --commit \"$GITHUB_SHA\" --dir history
  brigade history add ab.json --commit r1042 --time 2026-01-31T12:00:00Z    without git
  brigade history add again.json --commit HEAD --replace

It keeps the median, interval and number of measurements of each figure where less is better; of a
comparison, those of head. A figure that the commit already has on this kind of machine is refused
without --replace. Figures of different machines are kept apart.")]
pub(crate) struct HistoryAddArgs {
    /// Results: files with JSON of `bench`, `ab` or `compare`
    #[arg(value_name = "RESULT.json", required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// The commit that was measured: any name that git has for it, or without a repository
    /// letters, digits and any of . _ -
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: String,
    /// When the commit was made, as in 2026-01-31T12:00:00Z or 2026-01-31 (UTC)
    /// [default: what git says]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) time: Option<String>,
    /// Replace figures that the commit already has
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// Show how figures changed from commit to commit
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade history show
  brigade history show --name 'ab wall'           this figure, or all whose names contain it
  brigade history show --page history.html        a page with pictures
  brigade history show --format json              for programs; schema brigade.history.v1

Commits are ordered by the first parents of --tip. Without a repository, or in a shallow clone that
lacks some, they are ordered by time, and a note says so.")]
pub(crate) struct HistoryShowArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    /// Write a page with charts to this file, overwritten if it exists
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,
}

/// Which figures of which commits.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Only this figure; if no name matches exactly, all whose names contain it
    #[arg(long, value_name = "FIGURE")]
    pub(crate) name: Option<String>,
    /// How commits are ordered
    #[arg(long, value_enum, value_name = "ORDER", default_value_t)]
    pub(crate) order: OrderBy,
    /// The newest commit of the line that git orders them by
    #[arg(long, value_name = "COMMIT", default_value = "HEAD")]
    pub(crate) tip: String,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// Fail if one of the newest commits made something slower
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade history check
  brigade history check --last 5 --tolerance 2%
  brigade history check --name 'ab wall' --fail-on change
  brigade history check --accept 1a2b3c4d5e       that slowdown was intended

A slowdown is seen when four commits of the new level have been measured. It then fails the check
until it is undone, accepted (--accept), or no longer among the newest (--last). Exit code 0: no
slowdown beyond the tolerance; 3: at least one, and the text names the commit.")]
pub(crate) struct HistoryCheckArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// How many of the newest commits of each figure to check
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) last: u32,
    /// Ignore slowdowns up to this
    #[arg(long, value_name = "PERCENT", value_parser = super::percent, default_value = "1%")]
    pub(crate) tolerance: f64,
    /// What ends with exit code 3
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub(crate) fail_on: HistoryFailOn,
    /// A commit whose change was intended. Can be repeated
    #[arg(long, value_name = "COMMIT")]
    pub(crate) accept: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// What ends `history check` with exit code 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistoryFailOn {
    /// A slowdown that is not undone
    #[default]
    Slowdown,
    /// That, or any other change beyond the tolerance
    Change,
    /// Nothing; only the text reports it
    Nothing,
}

/// How commits are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderBy {
    /// By git if it knows them, otherwise by time
    #[default]
    Auto,
    /// By git; fail if it does not know them
    FirstParent,
    /// By commit time
    Time,
}

/// A time, as it is kept: in UTC, to the second.
fn time(text: &str) -> Result<String, String> {
    let text = text.trim();
    let day = text.len() == "2026-01-31".len();
    let whole = if day { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = humantime::parse_rfc3339_weak(&whole)
        .map_err(|error| format!("expected a time as 2026-01-31T12:00:00Z: {error}"))?;
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_in_one_form() {
        assert_eq!(time("2026-01-31T12:00:00Z").unwrap(), "2026-01-31T12:00:00Z");
        assert_eq!(time("2026-01-31 12:00:00").unwrap(), "2026-01-31T12:00:00Z");
        assert_eq!(time("2026-01-31").unwrap(), "2026-01-31T00:00:00Z");
        for wrong in ["", "yesterday", "2026-13-01", "2026-01-31T12:00:00+02:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
