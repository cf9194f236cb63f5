use std::path::PathBuf;

use clap::Args;

use super::{DurabilityArgs, JournalArgs, OutputArgs, PoolArgs, TraceArgs};

/// Run one job per line of JSON, and write one line of JSON per result
#[derive(Debug, Args)]
#[command(after_help = "\
A line:
  {\"id\": 7, \"kernel\": \"blur\", \"params\": {\"sigma\": 2}, \"inputs\": [\"a.png\"],
   \"output\": \"b.png\", \"timeout_ms\": 5000}
Only kernel is required. id is any JSON and comes back with the result as it was written, digit
for digit; without it, it is the line's number. Paths are relative to the current directory; the
directory of output must exist. A name that is not UTF-8 is written as {\"bytes\": BASE64}, or as
results have it: replaced by U+FFFD where it is no text, with input_bytes or output_bytes in base64.
Inputs are regular files: pipes, devices, /dev/stdin and files in /proc are refused, and outputs may
not be pipes or sockets. --root confines lines that somebody else has written to a directory.
Without output the result is digested, but not written. Empty lines are skipped; an empty batch is
reported on standard error and is no failure.

A line that is not a valid job, or whose job fails, gets a result line with the reason and the
number of the line; the other lines run. Lines are read as workers become free: a batch may be endless.
A batch is UTF-8, with or without a byte order mark, and a line has at most 1 MiB. Brigade stops reading a file
that begins as UTF-16 or with zero bytes, or has no line end within 16 MiB.

Examples:
  brigade batch jobs.jsonl > results.jsonl
  generate | brigade batch - --ordered | consume
  brigade batch jobs.jsonl --output results.jsonl --timeout 30s
  brigade batch uploads.jsonl --root uploads --sandbox     lines and files from other people
  brigade batch jobs.jsonl --trace batch.trace.json    where the time went: open it in Perfetto
  brigade batch jobs.jsonl --journal jobs.journal --resume   run the same command again to continue

Exit codes: 0 all lines succeeded; 1 a line failed; 2 wrong command line or file, found before any
job started; 5 the pool could not start or gave up; 129/130/143 interrupted; 141 the reader of the
results went away.")]
pub(crate) struct BatchArgs {
    /// A file with one JSON object per line; - is standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// Write results in the order of the lines instead of as they finish
    #[arg(long, help_heading = "Results")]
    pub(crate) ordered: bool,
    /// Replace output files that exist; without it their lines fail. Two lines may never
    /// name the same output
    #[arg(long, help_heading = "Results")]
    pub(crate) force: bool,
    /// Lines may only name inputs and outputs under this directory; names stay relative to the
    /// current directory. Neither .. nor a link leads out of it. Lines may lower max_pixels,
    /// max_bytes and --timeout, not raise them
    #[arg(long, value_name = "DIR", help_heading = "Untrusted lines")]
    pub(crate) root: Option<PathBuf>,
    /// Let lines name kernels that crash, hang, panic or take memory on purpose
    #[arg(long, help_heading = "Untrusted lines")]
    pub(crate) allow_fault_kernels: bool,
    /// Accepted because `run` has it: a batch always goes on after a failed job
    #[arg(short, long, help_heading = "Results")]
    pub(crate) keep_going: bool,
    #[command(flatten)]
    pub(crate) durability: DurabilityArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}
