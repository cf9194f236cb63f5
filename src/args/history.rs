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
  brigade history add ab.json --commit HEAD       keep what it says of head
  brigade history show                            a table, and every change with its commit
  brigade history show --page history.html        the same as a page with pictures
  brigade history check                           3 if one of the newest commits is slower

A history is a directory with a small file for each commit and result, made for a branch of
git: results that were added at different places merge without conflicts. What finds a change,
and how often it is wrong, is in docs/history.md."
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

/// Keep results of a commit
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade history add bench.json --commit HEAD
  brigade history add ab.json latency.json --commit \"$GITHUB_SHA\" --dir history
  brigade history add ab.json --commit r1042 --time 2026-01-31T12:00:00Z    without git
  brigade history add again.json --commit HEAD --replace

Kept are median, interval and number of measurements of each figure of which less is better;
of a comparison, those of head. A figure that the commit already has on this kind of machine is
refused, unless --replace is given. Figures of different machines are kept apart.")]
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
  brigade history show --name 'ab wall'           this figure alone, or all that have it in
                                                  their names
  brigade history show --page history.html        a page with pictures
  brigade history show --format json              for programs; schema brigade.history.v1

Commits are in the order of the first parents of --tip. Without a repository, or where it does
not know all commits (a shallow clone), they are in the order of their time, and a note says so.")]
pub(crate) struct HistoryShowArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// Form of the table
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    /// Write a page with pictures to this file, replaced if it is there
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,
}

/// Which figures of which commits.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Only this figure; if none has just this name, all that have it in their names
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
  brigade history check --accept 1a2b3c4d5e       that slowdown was meant

A slowdown is seen when four commits after it have been measured, and then fails until it is
undone, meant (--accept), or no longer among the newest (--last). Exit code 0: no slowdown
beyond the tolerance; 3: at least one, and the text names the commit.")]
pub(crate) struct HistoryCheckArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// How many of the newest commits of each figure are looked at
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) last: u32,
    /// Slowdowns up to this are none
    #[arg(long, value_name = "PERCENT", value_parser = super::percent, default_value = "1%")]
    pub(crate) tolerance: f64,
    /// What ends with exit code 3
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub(crate) fail_on: HistoryFailOn,
    /// A commit whose change was meant. May be given several times
    #[arg(long, value_name = "COMMIT")]
    pub(crate) accept: Vec<String>,
    /// Form of what is found
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
    /// Nothing: the text alone says it
    Nothing,
}

/// How commits are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderBy {
    /// By git if it knows them, else by time
    #[default]
    Auto,
    /// By git, and fail where it does not know them
    FirstParent,
    /// By the time at which they were made
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
