//! What other programs read of a comparison or a benchmark: one file per format.

mod bencher;
mod csv;
pub(crate) mod figure;
mod github;
mod github_action_benchmark;
mod hyperfine;
mod json;
mod junit;
mod markdown;
pub mod name;
mod openmetrics;
mod wide;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use brigade_measure::comparison::Comparison;

use crate::bench::Bench;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub enum Document<'a> {
    /// Of `brigade ab` or `brigade compare`.
    Comparison(&'a Comparison),
    /// Of `brigade bench`.
    Bench(&'a Bench),
}

/// A format, and so a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The whole document, as `brigade compare` and `brigade report` read it.
    Json,
    /// One JSON object per figure and line.
    Jsonl,
    /// One row per figure, for spreadsheets and data frames.
    Csv,
    /// One row per variant, with plain columns for what varies and for each metric.
    CsvWide,
    /// A table, for GitHub's job summary or a comment.
    Markdown,
    /// A test case per figure: Jenkins, GitLab and others show them.
    Junit,
    /// GitHub's workflow commands: annotations of a run.
    Github,
    /// Bencher Metric Format, for `bencher run --adapter json`.
    Bencher,
    /// For the action benchmark-action/github-action-benchmark, `customSmallerIsBetter`.
    GithubActionBenchmark,
    /// What `hyperfine --export-json` writes, for the scripts that read it.
    Hyperfine,
    /// OpenMetrics text, for Prometheus.
    Openmetrics,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 11] = [
        Self::Json,
        Self::Jsonl,
        Self::Csv,
        Self::CsvWide,
        Self::Markdown,
        Self::Junit,
        Self::Github,
        Self::Bencher,
        Self::GithubActionBenchmark,
        Self::Hyperfine,
        Self::Openmetrics,
    ];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::CsvWide => "csv-wide",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Github => "github",
            Self::Bencher => "bencher",
            Self::GithubActionBenchmark => "github-action-benchmark",
            Self::Hyperfine => "hyperfine",
            Self::Openmetrics => "openmetrics",
        }
    }

    /// Whether the format can say what the document says: a benchmark alone passes and
    /// fails nothing, and hyperfine knows nothing but times.
    pub fn supports(self, document: &Document<'_>) -> bool {
        match (self, document) {
            (Self::Junit | Self::Github, Document::Bench(_)) => false,
            (Self::Hyperfine, _) => hyperfine::has_times(*document),
            _ => true,
        }
    }

    /// Writes the document.
    ///
    /// # Errors
    /// When `out` fails; `InvalidInput` where the format does not [support](Self::supports)
    /// the document.
    pub fn write(self, out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
        let unsupported = || {
            let message = format!("{self} cannot say what this document says");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        };
        if !self.supports(&document) {
            return unsupported();
        }
        match (self, document) {
            (Self::Json, _) => json::whole(out, document),
            (Self::Jsonl, _) => json::lines(out, document),
            (Self::Csv, _) => csv::write(out, document),
            (Self::CsvWide, _) => wide::write(out, document),
            (Self::Markdown, _) => markdown::write(out, document),
            (Self::Junit, Document::Comparison(comparison)) => junit::write(out, comparison),
            (Self::Github, Document::Comparison(comparison)) => github::write(out, comparison),
            (Self::Junit | Self::Github, Document::Bench(_)) => unsupported(),
            (Self::Bencher, _) => bencher::write(out, document),
            (Self::GithubActionBenchmark, _) => github_action_benchmark::write(out, document),
            (Self::Hyperfine, _) => hyperfine::write(out, document),
            (Self::Openmetrics, _) => openmetrics::write(out, document),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no such format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {0:?}; there are {names}", names = Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat(
    /// What was asked for.
    pub String,
);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let named = Self::ALL.into_iter().find(|format| format.name() == name);
        named.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}
