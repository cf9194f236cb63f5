use std::path::PathBuf;

use clap::Args;

/// Make a page with charts from a saved result
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency --output latency.json
  brigade report latency.json                     writes latency.html
  brigade report latency.json -o report.html
  brigade report ab.json -o - | gzip > ab.html.gz

The page is one file and loads nothing, so it can be mailed and printed. It shows what `bench`, `run`, `ab` and `compare` write with --format json.")]
pub(crate) struct ReportArgs {
    /// The result: a file with JSON of schema brigade.bench.v1, brigade.run.v1 or
    /// brigade.compare.v1
    #[arg(value_name = "RESULT.json")]
    pub(crate) result: PathBuf,
    /// The page, overwritten if it exists; `-` is standard output [default: the name of the
    /// result with .html]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
