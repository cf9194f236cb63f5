//! Models fitted to measured values: each condenses a table into a few parameters with intervals.
//!
//! Each model is a pure function of *figures*. A cell has one figure per replication block, the
//! median of the block's samples, in the order of the blocks. The cells of one call are paired:
//! figure `b` of every cell was measured in the same block. If the figures do not suffice for a
//! model, the function returns [`Refused`] instead of guessing.
//!
//! Intervals are at 95 % confidence. An end without a bound is infinite, which is `null` in JSON;
//! the number of workers at the peak, for example, has no upper bound where there may be no peak.

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

/// Fewer blocks than this give no interval at 95 % confidence. All of five blocks lie on one side
/// of the true value in 6 of 100 experiments, and no resample leaves the range of the blocks.
pub const LEAST_BLOCKS: usize = 6;

/// One entry of `"models"` in `brigade.bench.v1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelResult {
    /// The fitted model, or why none was fitted.
    #[serde(flatten)]
    pub model: Model,
    /// Parameters that all figures share, as in `{"backend": "threads"}`.
    pub case: Map<String, Value>,
}

/// A fitted model, or a refusal.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "model", rename_all = "kebab-case")]
pub enum Model {
    /// Time as a function of the payload size.
    Hockney(Hockney),
    /// Speedup by number of workers for a fixed amount of work.
    Speedup(Speedup),
    /// Amount of work by number of workers in a fixed time.
    ScaledSpeedup(ScaledSpeedup),
    /// Throughput by number of workers, with a serial share of the work.
    Amdahl(Amdahl),
    /// Throughput by number of workers that also wait for one another.
    Usl(Usl),
    /// Compute time from which on isolation is cheap enough.
    BreakEven(BreakEven),
    /// Number of jobs after which the start-up has paid for itself.
    PaysBack(PaysBack),
    /// No model could be fitted.
    Refused(Refused),
}

/// A fit: its parameters, and the distance of the worst cell from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit<P> {
    /// The parameters, each with its interval.
    pub parameters: P,
    /// The largest |model / measured - 1| of all cells: 0.1 is 10 %. If it is large, the model is
    /// wrong, however narrow the intervals are.
    pub worst_residual: f64,
}

/// Kind of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdKind {
    /// The threshold is a finite value above 0.
    At,
    /// The threshold is never reached.
    Never,
    /// The threshold is passed from the start.
    Always,
}

impl ThresholdKind {
    /// The answer for a threshold for which 0 means "always" and infinity "never".
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

/// Figures for one number of workers.
#[derive(Clone, Debug, PartialEq)]
pub struct AtWorkers {
    /// Number of workers.
    pub workers: usize,
    /// One figure per block.
    pub blocks: Vec<f64>,
}

/// Why a model was not fitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("no {}: {reason}", name(of))]
pub struct Refused {
    /// Name of the model: "usl".
    pub of: &'static str,
    /// What the figures lack, and what the model needs.
    pub reason: String,
    /// Whether more blocks would suffice.
    #[serde(skip)]
    pub needs_blocks: bool,
}

impl Refused {
    fn new(of: &'static str, reason: String) -> Self {
        Self { of, reason, needs_blocks: false }
    }
}

/// Name of a model in messages.
fn name(of: &str) -> &str {
    match of {
        "amdahl" => "fit of Amdahl's law",
        "usl" => "fit of the universal scalability law",
        "hockney" => "line through latency and bandwidth",
        other => other,
    }
}

/// The number of blocks, which must be the same for all `cells`. Refuses figures that are not above
/// 0, and too few blocks.
fn paired<'a>(
    of: &'static str,
    cells: impl IntoIterator<Item = &'a [f64]>,
) -> Result<usize, Refused> {
    let refused = |reason| Err(Refused::new(of, reason));
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
        Some(blocks) if blocks < LEAST_BLOCKS => {
            let blocks = count(blocks, "block");
            let reason = format!("{blocks}, an interval needs {LEAST_BLOCKS}");
            Err(Refused { needs_blocks: true, ..Refused::new(of, reason) })
        }
        Some(blocks) => Ok(blocks),
    }
}

/// Number of distinct values.
fn distinct<T: Ord>(values: impl IntoIterator<Item = T>) -> usize {
    values.into_iter().collect::<std::collections::BTreeSet<_>>().len()
}
