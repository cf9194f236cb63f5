use std::path::PathBuf;

use brigade_kernels::Size;
use clap::{Args, ValueEnum};

use super::{DurabilityArgs, JournalArgs, OutputArgs, PoolArgs, TraceArgs};

/// Run a kernel: one job per input file, or synthetic jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Without -o the results are computed, checked and digested, but not written.

A kernel that reads two inputs (`brigade kernels matmul`) takes the files in pairs: A1 B1 A2 B2.
A kernel without inputs (spin) runs --jobs N times. A kernel that reads files runs without files only
with --synthetic, --jobs or --size, on made-up inputs.

Examples:
  brigade run blur a.png -p sigma=2 -o blurred.png     one file
  brigade run resize *.jpg -p width=640 -o small/ --ext webp
                                                       a directory of files, in another format
  brigade run blur --jobs 100 --size 1920x1080         100 jobs on one synthetic image
  brigade run matmul a.npy b.npy -o product.npy        two inputs, one job
  brigade run spin --jobs 200 -p us=2000 -b threads    on threads
  brigade run blur *.png --keep-going --format json    digest, spans and error of every job
  brigade run blur *.png --trace run.trace.json        where the time went: open it in Perfetto
  brigade run blur *.png -o out/ --journal blur.journal --resume
                                                       run the same command again to continue

Exit codes: 0 all jobs succeeded; 1 a job failed; 2 wrong command line, file or parameter, found
before any job started; 5 the pool could not start or gave up; 129/130/143 interrupted.")]
pub(crate) struct RunArgs {
    /// The kernel; `brigade kernels` lists them
    pub(crate) kernel: String,
    /// Input files
    pub(crate) inputs: Vec<PathBuf>,

    /// A parameter of the kernel; `brigade kernels KERNEL` lists them
    #[arg(short, long = "param", value_name = "NAME=VALUE", help_heading = "Job")]
    #[arg(value_parser = name_and_value)]
    pub(crate) params: Vec<(String, String)>,
    /// Refuse images with more pixels than this, against decompression bombs; sets the
    /// parameter max_pixels of image kernels
    #[arg(long, value_name = "N", help_heading = "Job")]
    pub(crate) max_pixels: Option<u64>,
    /// Continue after a failed job. Without it no job starts after the first failure,
    /// running jobs finish, and the rest is reported as cancelled
    #[arg(short, long, help_heading = "Job")]
    pub(crate) keep_going: bool,

    /// Run on made-up inputs; --jobs and --size imply it. Without one of the three, a kernel
    /// that reads files refuses to run without files
    #[arg(long, help_heading = "Synthetic inputs")]
    pub(crate) synthetic: bool,
    /// How many jobs to run on synthetic inputs [default: 1]
    #[arg(long, value_name = "N", help_heading = "Synthetic inputs")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) jobs: Option<u64>,
    /// Size of the synthetic inputs: 1920x1080, 512 or 8MiB [default: the kernel's own]
    #[arg(long, value_name = "SIZE", help_heading = "Synthetic inputs")]
    pub(crate) size: Option<Size>,
    /// Seed of the synthetic inputs: equal seeds give equal bytes [default: 0]
    #[arg(long, value_name = "N", help_heading = "Synthetic inputs")]
    pub(crate) seed: Option<u64>,

    /// Where results are written. A directory if OUT ends with / or is one, whatever the number
    /// of jobs; a file if OUT is one; if nothing is there, a file for one job and a directory for
    /// several, which is made. In a directory each result has its input's name. A file appears
    /// whole or not at all; links are followed, devices and pipes are written directly
    #[arg(short, value_name = "OUT", help_heading = "Results")]
    pub(crate) out: Option<PathBuf>,
    /// Write results in this format: png, jpg, webp, tiff or npy [default: that of the file's
    /// name after -o, else the input's]
    #[arg(long, value_name = "EXT", requires = "out", help_heading = "Results")]
    pub(crate) ext: Option<String>,
    /// Replace files that exist; without it they are refused before any job starts. A replaced
    /// file keeps its mode and owner, a link stays a link to it; other hard links keep what was
    /// there
    #[arg(long, requires = "out", help_heading = "Results")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) durability: DurabilityArgs,

    /// Report format [default: human; for --output *.json or *.jsonl what the file's name says]
    #[arg(long, value_enum, help_heading = "Report")]
    pub(crate) format: Option<RunFormat>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    #[command(flatten)]
    pub(crate) journal: JournalArgs,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Form of the report of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunFormat {
    /// Failed jobs, then a summary to read
    #[default]
    Human,
    /// One JSON object at the end; schema brigade.run.v1
    Json,
    /// One line of JSON per job as it ends, and a last line with the summary
    Jsonl,
}

impl RunArgs {
    /// Forms of the report on standard output and in the file beside it.
    pub(crate) fn formats(&self) -> (RunFormat, RunFormat) {
        let stdout = self.format.unwrap_or_default();
        let file = match self.output.extension() {
            _ if self.format.is_some() => stdout,
            Some("json") => RunFormat::Json,
            Some("jsonl") => RunFormat::Jsonl,
            _ => stdout,
        };
        (stdout, file)
    }
}

/// `NAME=VALUE`.
pub(super) fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, as in sigma=2".to_owned()),
    }
}
