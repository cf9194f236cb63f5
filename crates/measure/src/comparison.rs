//! A comparison of two builds, two commands or two results, as plain data in the form of
//! `brigade.compare.v1`.

mod null;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::BlockContext;

/// Schema of a comparison in JSON.
pub const COMPARE_SCHEMA: &str = "brigade.compare.v1";

/// Verdict of one comparison. The variants are ordered from best to worst: the verdict of several
/// cells is the maximum of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies below the tolerance: head is faster by more than the tolerance.
    Better,
    /// The whole interval lies within the tolerance.
    Same,
    /// None of the others can be established: there is too much noise for the time that was
    /// available.
    Inconclusive,
    /// The whole interval lies above the tolerance: head is slower by more than the tolerance.
    Worse,
}

impl Verdict {
    /// Name used in JSON and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Same => "same",
            Self::Inconclusive => "inconclusive",
            Self::Worse => "worse",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Converts a share to percent, rounded to four decimal places: 0.07 becomes 7 and not
/// 7.000000000000001.
pub fn in_percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// What ended the runs of a compared metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// The verdict was clear.
    Verdict,
    /// The time budget was spent.
    Budget,
    /// The maximum number of blocks was reached.
    Blocks,
    /// A signal interrupted the comparison.
    Interruption,
    /// A run failed.
    Failure,
}

/// An estimate with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The point estimate. NaN (null in JSON) if there is none.
    #[serde(deserialize_with = "null::as_nan")]
    pub estimate: f64,
    /// Lower and upper bound at [`confidence`](Self::confidence). A side without a bound is
    /// infinite (null in JSON).
    #[serde(deserialize_with = "null::as_no_bound")]
    pub interval: [f64; 2],
    /// Confidence level, as in 0.95.
    pub confidence: f64,
}

/// One of the two sides of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Name given by the user; without one, the command line, the file name, or the commit.
    pub name: String,
    /// The bytes of the file name in base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_bytes: Option<String>,
    /// The command line, if the name is different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Id of the compared commit, if there is one. For a working tree with changes, it is the id of
    /// a temporary commit that contains them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The machine that its values were measured on, as in `brigade.bench.v1`.
    pub host: Value,
}

/// One compared value: the same case and the same metric on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// "ab", the name of the benchmark, or the experiment of the compared results ("latency").
    pub experiment: String,
    /// Parameters of the case, as in `{"backend": "threads", "bytes": 0}`; empty for two commands.
    pub case: Map<String, Value>,
    /// Name of the metric: "wall", "user", "round_trip". Less is better.
    pub metric: String,
    /// Unit of the metric: "us", "instructions", "bytes".
    pub unit: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is inconclusive, or what is remarkable about it; otherwise empty.
    pub why: String,
    /// Number of replication blocks that the estimate is based on.
    pub blocks: usize,
    /// What ended its runs; only in results of `ab` and `gate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// Tolerance of this metric, if each metric has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Time budget of its runs in seconds; only in results of `ab` and `gate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_s: Option<f64>,
    /// Median of base, in `unit`.
    #[serde(deserialize_with = "null::as_nan")]
    pub base: f64,
    /// Median of head, in `unit`.
    #[serde(deserialize_with = "null::as_nan")]
    pub head: f64,
    /// Head over base: 1.05 is 5 % more.
    pub ratio: Estimate,
    /// Base again over base: the difference that the machine produces where there is none.
    pub aa: Option<Estimate>,
    /// Two-sided p-value of a test of this cell alone. The verdict of `ab` does not depend on it.
    ///
    /// In `ab`, it is the sign-flip permutation test of "no difference" on all blocks that were
    /// run. It ignores the tolerance. It also ignores that the comparison would have continued if
    /// the result had been less clear, which makes the p-value smaller than it should be.
    ///
    /// In `compare`, it is the Mann-Whitney test of "differs by no more than the tolerance"; 1 if
    /// the estimate is within the tolerance.
    #[serde(deserialize_with = "null::as_nan")]
    pub p: f64,
    /// The p-value after Holm's correction over all cells that have one. `compare` reports worse or
    /// better only if it is at most 0.01.
    #[serde(deserialize_with = "null::as_nan")]
    pub p_holm: f64,
    /// The smallest slowdown beyond the tolerance that would be detected in 80 of 100 comparisons
    /// with the same number of blocks, the same noise and the level of this verdict, as a ratio
    /// less one: 0.02 is 2 %. Infinite (null in JSON) if nothing would be detected.
    #[serde(deserialize_with = "null::as_infinite")]
    pub detectable: f64,
    /// Whether a second round had the same verdict; `None` if there was no second round.
    pub confirmed: Option<bool>,
    /// The second round, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondRound>,
    /// Values of base, one per block. NaN (null in JSON) for a run that failed or was interrupted.
    #[serde(deserialize_with = "null::as_nans")]
    pub base_samples: Vec<f64>,
    /// Values of base again, in the same order; empty if base was not run twice.
    #[serde(deserialize_with = "null::as_nans")]
    pub again_samples: Vec<f64>,
    /// Values of head, in the same order.
    #[serde(deserialize_with = "null::as_nans")]
    pub head_samples: Vec<f64>,
}

/// The round that was run to confirm a slowdown, by itself. `ratio`, `base_samples` and the other
/// fields of [`Compared`] describe the first round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondRound {
    /// Seed of the order in which the commands took turns.
    pub seed: u64,
    /// Verdict of this round alone.
    pub verdict: Verdict,
    /// Why the verdict is inconclusive; otherwise empty.
    pub why: String,
    /// Number of replication blocks that the estimate is based on.
    pub blocks: usize,
    /// Head over base.
    pub ratio: Estimate,
    /// Base again over base.
    pub aa: Estimate,
    /// As in [`Compared`].
    #[serde(deserialize_with = "null::as_infinite")]
    pub detectable: f64,
    /// As in [`Compared`].
    #[serde(deserialize_with = "null::as_nans")]
    pub base_samples: Vec<f64>,
    /// As in [`Compared`].
    #[serde(deserialize_with = "null::as_nans")]
    pub again_samples: Vec<f64>,
    /// As in [`Compared`].
    #[serde(deserialize_with = "null::as_nans")]
    pub head_samples: Vec<f64>,
}

/// A whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`COMPARE_SCHEMA`].
    pub schema: String,
    /// "ab" (two commands, run here in turns), "gate" (two commits, run here in turns) or "compare"
    /// (two saved results).
    pub kind: String,
    /// The reference side.
    pub base: Side,
    /// The side under test.
    pub head: Side,
    /// Changes up to this size count as the same: 0.05 is 5 %.
    pub tolerance: f64,
    /// Seed of the order in which the commands took turns, and of the resampling.
    pub seed: u64,
    /// Duration of the comparison in seconds.
    pub took_s: f64,
    /// Warnings about the machine.
    pub warnings: Vec<String>,
    /// Whether the user ended it early.
    #[serde(default)]
    pub interrupted: bool,
    /// The worst verdict of all cells.
    pub verdict: Verdict,
    /// All compared values.
    pub cells: Vec<Compared>,
    /// State of the machine during each block; empty if no block was run.
    #[serde(default)]
    pub blocks: Vec<BlockContext>,
}
