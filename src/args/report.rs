use std::path::PathBuf;

use clap::Args;

/// Make a page with charts from saved results
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade bench latency --output latency.json
  brigade report latency.json                     writes latency.html
  brigade report latency.json -o report.html
  brigade report latency.json scaling.json ab.json -o all.html    one page of several results
  brigade report ab.json -o - | gzip > ab.html.gz

The page is one file and loads nothing, so it can be mailed and printed. It shows what `bench`, `run`,
`ab`, `compare` and `history show` write with --format json.")]
pub(crate) struct ReportArgs {
    /// The results: files with JSON of schema brigade.bench.v1, brigade.run.v1,
    /// brigade.compare.v1 or brigade.history.v1
    #[arg(value_name = "RESULT.json", required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// The page, overwritten if it exists; `-` is standard output [default: the name of the
    /// result with .html; report.html for several]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
