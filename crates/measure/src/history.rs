//! Results of commits, kept one after another: plain data, in the forms of
//! `brigade.history-entry.v1` (what is kept of a result) and `brigade.history.v1` (what all of it
//! comes to).

mod series;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::comparison::Estimate;
pub use series::{Known, Order, history};

/// The schema of a history as JSON.
pub const HISTORY_SCHEMA: &str = "brigade.history.v1";
/// The schema of what is kept of one result.
pub const ENTRY_SCHEMA: &str = "brigade.history-entry.v1";

/// What is kept of one result of one commit: a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`ENTRY_SCHEMA`].
    pub schema: String,
    /// The commit that was measured.
    pub commit: String,
    /// When it was made, in UTC, as in `2026-01-31T12:00:00Z`.
    pub commit_time: String,
    /// When the result was added, in the same form.
    pub added: String,
    /// The schema of the result, and what it was of: "brigade.compare.v1".
    pub result: String,
    /// The machine, in words: see [`machine`]. Figures of different machines are never in one
    /// series.
    pub machine: String,
    /// All that the result says of the machine.
    pub host: Value,
    /// Its figures.
    pub figures: Vec<Kept>,
}

/// A figure of a result. Less of it is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// By which it is known again in the next result: "ab wall".
    pub name: String,
    /// "us", "instructions", "bytes".
    pub unit: String,
    /// The median.
    pub median: f64,
    /// Its interval, where the result has one.
    pub interval: Option<[f64; 2]>,
    /// Measurements.
    pub samples: usize,
    /// Replication blocks that they were taken in.
    pub blocks: usize,
}

/// What all that was kept comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// [`HISTORY_SCHEMA`].
    pub schema: String,
    /// How commits are ordered: "first-parent" or "time".
    pub order: String,
    /// Things that a reader should know.
    pub warnings: Vec<String>,
    /// A series for each figure and machine.
    pub series: Vec<Series>,
    /// What `brigade history check` says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// Whether one of the newest commits made something slower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// "worse", "changed" or "same".
    pub verdict: String,
    /// So many of the newest commits of each series were looked at.
    pub last: usize,
    /// Changes up to this are the same: 0.01 is 1 %.
    pub tolerance: f64,
    /// Commits whose change was meant.
    pub accepted: Vec<String>,
    /// Changes for the worse that still hold.
    pub slowdowns: Vec<Found>,
}

/// One of a history's changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The figure.
    pub name: String,
    /// The machine.
    pub machine: String,
    /// The commit that brought the change.
    pub commit: String,
    /// The new level over the old one.
    pub ratio: Estimate,
}

/// One figure on one machine, commit by commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The figure.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The machine.
    pub machine: String,
    /// What was measured, in the order of the commits.
    pub points: Vec<Point>,
    /// Stretches without a change. Empty where there can be none: values that are not above 0.
    pub levels: Vec<Level>,
    /// Where one level ends and the next begins.
    pub changes: Vec<Change>,
}

/// A figure of one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The commit.
    pub commit: String,
    /// When it was made.
    pub time: String,
    /// The first line of its message, where git knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The median.
    pub median: f64,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// Measurements.
    pub samples: usize,
    /// Replication blocks.
    pub blocks: usize,
}

/// A stretch of commits between which nothing changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Its first point, counted from 0.
    pub from: usize,
    /// The first point after it.
    pub to: usize,
    /// What its figures are about, in the unit of the series.
    pub value: f64,
}

/// A change point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The first point of the new level, counted from 0.
    pub at: usize,
    /// Its commit: the change came with it, or with one between `after` and it that was not
    /// measured.
    pub commit: String,
    /// The commit measured before it, the last of the old level.
    pub after: String,
    /// The first line of the commit's message, where git knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How many commits lie between `after` and `commit` that were not measured, where git knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<usize>,
    /// "slower" or "faster"; "more" or "less" of what is no time.
    pub direction: String,
    /// The new level over the old one: 1.03 is 3 % more.
    pub ratio: Estimate,
    /// How likely a split as clear as this is without a change, looked at alone.
    pub p: f64,
    /// What else changed with this commit, as "kernel: 6.1 and 6.5".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
}

/// What makes times of two machines incomparable, in words: "Xeon 8488C, 2 cores, 4 GiB, kvm".
/// Not the release of the kernel: a history would begin anew with every update. Where it changed
/// with a change point, that is told.
pub fn machine(host: &Value) -> String {
    let text = |key: &str| match &host[key] {
        Value::String(text) => text.clone(),
        _ => "unknown".to_owned(),
    };
    let cores = host["cores_usable"].as_u64();
    let cores =
        cores.map_or("unknown cores".to_owned(), |cores| brigade_proto::count(cores, "core"));
    // Virtual machines of one kind differ by some megabytes.
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
