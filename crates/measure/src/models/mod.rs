//! Models of what was measured: a few numbers with intervals that stand for a table.
//!
//! Each is a pure function of *figures*, one for each replication block (the median of
//! the block's samples), in the order of the blocks; the cells of one call are paired,
//! that is, figure `b` of each was taken in the same block. What cannot be said with the
//! figures at hand is [`Refused`], not guessed.
//!
//! Intervals are at 95 % confidence. An end that has no bound (the number of workers at
//! the peak where there may be none) is infinite, which is `null` in JSON.

mod amdahl;
mod break_even;
mod hockney;
mod linear;
mod nnls;
mod pays_back;
mod resample;
mod speedup;
mod usl;

use brigade_proto::count;
use serde::Serialize;
use serde_json::{Map, Value};

pub use amdahl::{Amdahl, AmdahlParameters, amdahl};
pub use break_even::{BreakEven, BreakEvenCell, BreakEvenPoint, break_even};
pub use hockney::{Hockney, HockneyParameters, Transfer, hockney};
pub use pays_back::{PaysBack, pays_back_after};
pub use speedup::{
    ScaledSpeedup, ScaledSpeedupPoint, Speedup, SpeedupPoint, scaled_speedup, speedup,
};
pub use usl::{Usl, UslParameters, usl};

/// Fewer blocks than this give no interval at 95 % confidence: all of five blocks lie on
/// one side of the truth in 6 of 100 experiments, and no resample leaves their range.
pub const LEAST_BLOCKS: usize = 6;

/// One entry of `"models"` in `brigade.bench.v1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What was fitted, or why nothing was.
    #[serde(flatten)]
    pub model: Model,
    /// What the figures have in common, as in `{"backend": "threads"}`.
    pub case: Map<String, Value>,
}

/// What can be said of figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "model", rename_all = "kebab-case")]
pub enum Model {
    /// Time by payload size.
    Hockney(Hockney),
    /// How much faster more workers are with the same work.
    Speedup(Speedup),
    /// How much more work more workers do in the same time.
    ScaledSpeedup(ScaledSpeedup),
    /// Throughput by workers, part of the work being serial.
    Amdahl(Amdahl),
    /// Throughput by workers that also wait for one another.
    Usl(Usl),
    /// From which compute time on isolation is cheap enough.
    BreakEven(BreakEven),
    /// After how many jobs start-up has paid for itself.
    PaysBack(PaysBack),
    /// Nothing.
    Refused(Refused),
}

/// A fit: its parameters, and how far the worst cell is from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit<P> {
    /// Each with its interval.
    pub parameters: P,
    /// The largest |model / measured - 1| of all cells: 0.1 is 10 %. Where this is large
    /// the model is wrong, however narrow the intervals.
    pub worst_residual: f64,
}

/// What a threshold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// There is one.
    At,
    /// It is not reached.
    Never,
    /// It is passed from the beginning.
    Always,
}

impl Answer {
    /// Of a threshold for which 0 is "always" and infinity "never".
    fn of(threshold: f64) -> Self {
        if threshold <= 0.0 {
            Self::Always
        } else if threshold.is_finite() {
            Self::At
        } else {
            Self::Never
        }
    }
}

/// What one number of workers did.
#[derive(Clone, Debug, PartialEq)]
pub struct AtWorkers {
    /// How many.
    pub workers: usize,
    /// One figure for each block.
    pub blocks: Vec<f64>,
}

/// Why nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("no {}: {reason}", name(of))]
pub struct Refused {
    /// The model: "usl".
    pub of: &'static str,
    /// What there is, what is needed, and what to do.
    pub reason: String,
}

/// What a person calls a model.
fn name(of: &str) -> &str {
    match of {
        "amdahl" => "fit of Amdahl's law",
        "usl" => "fit of the universal scalability law",
        "hockney" => "line through latency and bandwidth",
        other => other,
    }
}

/// How many blocks all `cells` have.
fn paired<'a>(
    of: &'static str,
    cells: impl IntoIterator<Item = &'a [f64]>,
) -> Result<usize, Refused> {
    let refused = |reason| Err(Refused { of, reason });
    let mut paired = None;
    for cell in cells {
        let blocks = *paired.get_or_insert(cell.len());
        if cell.len() != blocks {
            let other = cell.len();
            return refused(format!("cells of {blocks} and of {other} blocks are not paired"));
        }
        if let Some(figure) = cell.iter().find(|figure| !(figure.is_finite() && **figure > 0.0)) {
            return refused(format!("{figure} is among the figures; all must be above 0"));
        }
    }
    match paired {
        None => refused("there are no figures".to_owned()),
        Some(blocks) if blocks < LEAST_BLOCKS => refused(format!(
            "{}, an interval needs {LEAST_BLOCKS}: --blocks {LEAST_BLOCKS}",
            count(blocks, "block")
        )),
        Some(blocks) => Ok(blocks),
    }
}

/// How many different values there are.
fn distinct<T: Ord>(values: impl IntoIterator<Item = T>) -> usize {
    values.into_iter().collect::<std::collections::BTreeSet<_>>().len()
}
