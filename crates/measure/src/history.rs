//! The benchmark results of a sequence of commits, as plain data. `brigade.history-entry.v1` is
//! what is stored of one result; `brigade.history.v1` is the analysis of all stored results.

mod series;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::comparison::Estimate;
pub use series::{CommitOrder, KnownCommit, history};

/// Schema of a history in JSON.
pub const HISTORY_SCHEMA: &str = "brigade.history.v1";
/// Schema of a stored result in JSON.
pub const ENTRY_SCHEMA: &str = "brigade.history-entry.v1";

/// What is stored of one result of one commit. Each entry is a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// [`ENTRY_SCHEMA`].
    pub schema: String,
    /// The commit that was measured.
    pub commit: String,
    /// Time of the commit, in UTC, as in `2026-01-31T12:00:00Z`.
    pub commit_time: String,
    /// Time at which the result was added, in the same format.
    pub added: String,
    /// Schema of the original result, which tells its kind: "brigade.compare.v1".
    pub result: String,
    /// Description of the machine: see [`machine`]. A series never mixes values of different
    /// machines.
    pub machine: String,
    /// All that the result records about the machine.
    pub host: Value,
    /// The measured values.
    pub figures: Vec<Kept>,
}

/// One measured value of a result. Less is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Name that identifies the same measurement in later results: "ab wall".
    pub name: String,
    /// "us", "instructions", "bytes".
    pub unit: String,
    /// The median.
    pub median: f64,
    /// Confidence interval of the median, if the result has one.
    pub interval: Option<[f64; 2]>,
    /// Number of measurements.
    pub samples: usize,
    /// Number of replication blocks that the measurements were taken in.
    pub blocks: usize,
}

/// The analysis of all stored results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// [`HISTORY_SCHEMA`].
    pub schema: String,
    /// Order of the commits: "first-parent" or "time".
    pub order: String,
    /// Warnings for the reader.
    pub warnings: Vec<String>,
    /// One series per measurement and machine.
    pub series: Vec<Series>,
    /// Result of `brigade history check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// Whether one of the newest commits made something slower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// "worse", "changed" or "same".
    pub verdict: String,
    /// Number of newest commits of each series that were checked.
    pub last: usize,
    /// Changes up to this size count as the same: 0.01 is 1 %.
    pub tolerance: f64,
    /// Commits whose change was intended.
    pub accepted: Vec<String>,
    /// Slowdowns that have not been undone since.
    pub slowdowns: Vec<Found>,
}

/// A change point that the check reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Name of the measurement.
    pub name: String,
    /// The machine.
    pub machine: String,
    /// The commit that introduced the change.
    pub commit: String,
    /// The new level over the old one.
    pub ratio: Estimate,
}

/// One measurement on one machine, commit by commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Name of the measurement.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The machine.
    pub machine: String,
    /// The measured values, in the order of the commits.
    pub points: Vec<Point>,
    /// Stretches without a change. Empty if a value is not above 0, because such values have no
    /// ratios.
    pub levels: Vec<SeriesLevel>,
    /// The change points, where one level ends and the next begins.
    pub changes: Vec<Change>,
}

/// The value of one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The commit.
    pub commit: String,
    /// Time of the commit.
    pub time: String,
    /// First line of the commit message, if git knows the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The median.
    pub median: f64,
    /// Its confidence interval, if the result has one.
    pub interval: Option<[f64; 2]>,
    /// Number of measurements.
    pub samples: usize,
    /// Number of replication blocks.
    pub blocks: usize,
}

/// A stretch of commits without a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesLevel {
    /// Its first point, counted from 0.
    pub from: usize,
    /// The first point after it.
    pub to: usize,
    /// Estimated level of its values, in the unit of the series.
    pub value: f64,
}

/// A change point, where one level ends and the next begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The first point of the new level, counted from 0.
    pub at: usize,
    /// Commit of that point. The change was introduced by this commit or by an unmeasured commit
    /// between `after` and it.
    pub commit: String,
    /// The last measured commit of the old level.
    pub after: String,
    /// First line of the commit message, if git knows the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Number of unmeasured commits between `after` and `commit`, if git knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<usize>,
    /// "slower" or "faster" for times; "more" or "less" for other units.
    pub direction: String,
    /// The new level over the old one: 1.03 is 3 % more.
    pub ratio: Estimate,
    /// Probability of a split at least this clear without a change, if it were the only split
    /// tested.
    pub p: f64,
    /// Properties of the machine that changed with this commit, as in "kernel: 6.1 and 6.5".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
}

/// Describes the properties of a machine that make times incomparable: "Xeon 8488C, 2 cores, 4 GiB,
/// kvm". It leaves out the kernel release; otherwise every kernel update would start a new series.
/// A kernel update that coincides with a change point is reported in [`Change::beside`].
pub fn machine(host: &Value) -> String {
    let text = |key: &str| match &host[key] {
        Value::String(text) => text.clone(),
        _ => "unknown".to_owned(),
    };
    let cores = host["cores_usable"].as_u64();
    let cores =
        cores.map_or("unknown cores".to_owned(), |cores| brigade_proto::count(cores, "core"));
    // The memory of virtual machines of one kind differs by a few megabytes.
    let memory = host["memory_total_bytes"].as_u64();
    let memory = memory.map_or("unknown memory".to_owned(), |bytes| {
        format!("{} GiB", (bytes as f64 / f64::from(1 << 30)).round().max(1.0))
    });
    let machine = match text("virtual_machine").as_str() {
        "none" => "bare metal".to_owned(),
        "unknown" => "unknown kind of machine".to_owned(),
        kind => kind.to_owned(),
    };
    format!("{}, {cores}, {memory}, {machine}", text("cpu"))
}
