use std::path::PathBuf;

use clap::Args;

/// Make a page with pictures from a saved result
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency --output latency.json
  brigade report latency.json                     writes latency.html
  brigade report latency.json -o report.html
  brigade report ab.json -o - | gzip > ab.html.gz

The page is one file without scripts, fonts or anything else from elsewhere: it can be sent
and printed. It shows what `bench`, `run`, `ab` and `compare` write with --format json.")]
pub(crate) struct ReportArgs {
    /// The result: a file with JSON of schema brigade.bench.v1, brigade.run.v1 or
    /// brigade.compare.v1
    #[arg(value_name = "RESULT.json")]
    pub(crate) result: PathBuf,
    /// The page, replaced if it is there; `-` is standard output [default: the name of the
    /// result with .html]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
