//! A comparison of two builds, two commands or two results: plain data, in the form of
//! `brigade.compare.v1`.

mod null;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::Block;

/// The schema of a comparison as JSON.
pub const COMPARE_SCHEMA: &str = "brigade.compare.v1";

/// What is said of one comparison. The order is that of how bad it is: the verdict of
/// several cells is the greatest of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The interval lies below the tolerance: head is faster by more than that.
    Better,
    /// The interval lies within the tolerance.
    Same,
    /// Neither can be said: too much noise for the time that was given.
    Inconclusive,
    /// The interval lies above the tolerance: head is slower by more than that.
    Worse,
}

impl Verdict {
    /// As it is written.
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

/// A share in percent, to four digits after the point: 0.07 is 7, and not 7.000000000000001.
pub fn in_percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// What ended the runs of a compared figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// The verdict was clear.
    Verdict,
    /// The time was up.
    Budget,
    /// As many blocks were run as were allowed.
    Blocks,
    /// A signal.
    Interruption,
    /// A run failed.
    Failure,
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The best guess. NaN (null) where there is none.
    #[serde(deserialize_with = "null::as_nan")]
    pub estimate: f64,
    /// From here to there, at [`confidence`](Self::confidence). A side without a bound is
    /// infinite (null).
    #[serde(deserialize_with = "null::as_no_bound")]
    pub interval: [f64; 2],
    /// As in 0.95.
    pub confidence: f64,
}

/// One of the two sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// The name that it was given, else the command line, the name of the file, or the commit.
    pub name: String,
    /// The bytes of the file's name in base64, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_bytes: Option<String>,
    /// The command line, where the name is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The commit's id, where one was compared; with changes if it is of a working tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The machine that its figures are from, as in `brigade.bench.v1`.
    pub host: Value,
}

/// One compared figure: the same case and the same metric on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// "ab", the name that the benchmark was given, or the experiment of the results that were
    /// compared ("latency").
    pub experiment: String,
    /// What varies, as in `{"backend": "threads", "bytes": 0}`; empty for two commands.
    pub case: Map<String, Value>,
    /// "wall", "user", "round_trip". Less is better.
    pub metric: String,
    /// "us", "instructions", "bytes".
    pub unit: String,
    /// What is said of it.
    pub verdict: Verdict,
    /// Why it is inconclusive, or what is remarkable; empty if nothing is.
    pub why: String,
    /// Replication blocks that the estimate is from.
    pub blocks: usize,
    /// What ended its runs; of `ab` and `gate` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// The tolerance of this figure, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// How long its runs might take, in seconds; of `ab` and `gate` alone.
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
    /// Base again over base: what the machine makes of no difference at all.
    pub aa: Option<Estimate>,
    /// A test, two-sided, by itself; the verdict of `ab` is not made from it. Of `ab`: the
    /// sign-flip permutation test of "no difference" with the blocks that there were in
    /// the end. It knows nothing of the tolerance, nor that the comparison would have gone
    /// on if it had been less clear, which makes it smaller than it should be. Of
    /// `compare`: the Mann-Whitney test of "differs by no more than the tolerance"; 1 where
    /// the estimate does not.
    #[serde(deserialize_with = "null::as_nan")]
    pub p: f64,
    /// The same after Holm's correction over all cells that have one. `compare` says worse
    /// or better only if it is at most 0.01.
    #[serde(deserialize_with = "null::as_nan")]
    pub p_holm: f64,
    /// The smallest slowdown beyond the tolerance that as many blocks with the same noise,
    /// at the level that this verdict is at, would find in 80 of 100 comparisons, as a
    /// ratio less one: 0.02 is 2 %. Infinite (null) where nothing would be.
    #[serde(deserialize_with = "null::as_infinite")]
    pub detectable: f64,
    /// Whether a second round found the same; `None` where none was run.
    pub confirmed: Option<bool>,
    /// That second round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondRound>,
    /// One figure for each block: base, base again, head. NaN (null) where it failed, or
    /// was interrupted.
    #[serde(deserialize_with = "null::as_nans")]
    pub base_samples: Vec<f64>,
    /// Empty where base was not run twice.
    #[serde(deserialize_with = "null::as_nans")]
    pub again_samples: Vec<f64>,
    /// In the order of `base_samples`.
    #[serde(deserialize_with = "null::as_nans")]
    pub head_samples: Vec<f64>,
}

/// The round that was run to confirm a slowdown, all by itself: `ratio`, `base_samples`
/// and the rest of [`Compared`] are of the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondRound {
    /// Of the order in which the commands took turns.
    pub seed: u64,
    /// What is said of this round alone.
    pub verdict: Verdict,
    /// Why it is inconclusive; empty else.
    pub why: String,
    /// Replication blocks that the estimate is from.
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
    /// "ab" (run here, interleaved), "gate" (the same for two commits) or "compare" (two saved
    /// results).
    pub kind: String,
    /// What was there before.
    pub base: Side,
    /// What is to be judged.
    pub head: Side,
    /// Changes up to this are the same: 0.05 is 5 %.
    pub tolerance: f64,
    /// Of the order in which the commands took turns, and of the resampling.
    pub seed: u64,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// Things about the machine that a reader should know.
    pub warnings: Vec<String>,
    /// Whether it was ended before it was done.
    #[serde(default)]
    pub interrupted: bool,
    /// The worst of the cells' verdicts.
    pub verdict: Verdict,
    /// Every figure that was compared.
    pub cells: Vec<Compared>,
    /// What the machine was like in each block; empty where none was run.
    #[serde(default)]
    pub blocks: Vec<Block>,
}
