//! Experiments: variants run in turns in random order, and the samples of each are summarised.
//!
//! A value measured in isolation says little on a machine that is shared with other work. Therefore
//! every variant runs once in each *block*, in an order shuffled from a seed. The confidence
//! interval comes from resampling whole blocks, because a disturbance of a block affects all
//! variants in it.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::context::{BlockContext, Meter};
use crate::models::LEAST_BLOCKS;
use crate::rng::Rng;
use crate::stats::bootstrap;
pub use crate::stats::{median, quantile};

/// The samples that a variant took in one block, one list per metric of its experiment.
pub type Readings = Vec<Vec<f64>>;

/// A measured quantity, such as `("wall", "us")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name: "round_trip", "wall".
    pub name: &'static str,
    /// Unit: "us", "ratio", "bytes".
    pub unit: &'static str,
}

impl Metric {
    /// A time in microseconds.
    pub const fn us(name: &'static str) -> Self {
        Self { name, unit: "us" }
    }
}

/// One variant of an experiment: its parameters, and a function that takes samples.
pub struct Variant<'a> {
    /// Parameters of the variant, as in `{"backend": "threads", "bytes": 0}`.
    pub case: Map<String, Value>,
    /// Takes the samples of one block, or returns an error message. A variant that failed does not
    /// run again; the others continue.
    pub run: Box<dyn FnMut() -> Result<Readings, String> + 'a>,
}

impl<'a> Variant<'a> {
    /// A variant of an experiment with one metric.
    pub fn new(
        case: Map<String, Value>,
        mut run: impl FnMut() -> Result<Vec<f64>, String> + 'a,
    ) -> Self {
        Self { case, run: Box::new(move || Ok(vec![run()?])) }
    }
}

impl fmt::Debug for Variant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variant({:?})", self.case)
    }
}

/// The results of one variant for one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Name of the experiment: "latency", "startup".
    pub experiment: String,
    /// Parameters of the variant.
    pub case: Map<String, Value>,
    /// Name of the metric: "round_trip", "ready".
    pub metric: &'static str,
    /// Unit of the metric: "us".
    pub unit: &'static str,
    /// Number of samples.
    pub n: usize,
    /// The minimum.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The mean.
    pub mean: f64,
    /// Interval of `p50` at 95 % confidence, from resampled blocks. NaN (null in JSON) with fewer
    /// than [`LEAST_BLOCKS`] blocks.
    #[serde(serialize_with = "unless_unknown")]
    pub ci95: [f64; 2],
    /// All samples, in the order in which they were taken.
    pub samples: Vec<f64>,
    /// Number of samples of each block.
    pub per_block: Vec<usize>,
    /// Why the variant stopped early, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Serialises an interval that is not finite as null.
fn unless_unknown<S: Serializer>(interval: &[f64; 2], to: S) -> Result<S::Ok, S::Error> {
    Some(interval).filter(|ends| ends.iter().all(|end| end.is_finite())).serialize(to)
}

impl Cell {
    /// The samples, split by block.
    pub fn blocks(&self) -> Vec<&[f64]> {
        let mut rest = &self.samples[..];
        let mut blocks = Vec::with_capacity(self.per_block.len());
        for &count in &self.per_block {
            let (block, others) = rest.split_at(count.min(rest.len()));
            blocks.push(block);
            rest = others;
        }
        blocks
    }

    /// The median of each block. NaN for a block without samples.
    pub fn block_medians(&self) -> Vec<f64> {
        self.blocks().into_iter().map(median).collect()
    }
}

/// Limits of an experiment, and its seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Maximum number of blocks.
    pub blocks: usize,
    /// The experiment ends after this time, or after the run that is under way then. No block starts
    /// if it would probably end later. One variant runs whatever the budget; variants that had no
    /// turn have cells without samples.
    pub budget: Option<Duration>,
    /// The experiment ends when each interval reaches at most this share of its median to each
    /// side.
    pub precision: Option<f64>,
    /// Seed of the order in which variants run, and of the resampling.
    pub seed: u64,
}

/// Callbacks of an experiment.
pub struct ExperimentHooks<'a> {
    /// Called after each run with the number of finished runs.
    pub done: &'a mut dyn FnMut(usize),
    /// Whether the user wants the experiment to end. Called before each run.
    pub is_interrupted: &'a dyn Fn() -> bool,
}

impl fmt::Debug for ExperimentHooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExperimentHooks")
    }
}

/// Results of an experiment.
#[derive(Clone, Debug, Default)]
pub struct ExperimentResults {
    /// One cell per variant and metric.
    pub cells: Vec<Cell>,
    /// State of the machine during each block.
    pub blocks: Vec<BlockContext>,
}

/// Runs all variants in blocks until a limit of the plan is reached.
pub fn run(
    experiment: &str,
    metrics: &[Metric],
    variants: &mut [Variant<'_>],
    plan: &Plan,
    hooks: &mut ExperimentHooks<'_>,
) -> ExperimentResults {
    let mut rng = Rng::new(plan.seed);
    let mut taken: Vec<VariantSamples> =
        variants.iter().map(|_| VariantSamples::of(metrics.len())).collect();
    let mut order: Vec<usize> = (0..variants.len()).collect();
    let (begin, mut runs) = (Instant::now(), 0);
    let mut blocks: Vec<BlockContext> = Vec::new();
    for block in 0..plan.blocks {
        if let Some(budget) = plan.budget
            && block > 0
            && begin.elapsed().mul_f64((block + 1) as f64 / block as f64) > budget
        {
            break;
        }
        rng.shuffle(&mut order);
        let meter = Meter::start();
        for &place in &order {
            let is_over = plan.budget.is_some_and(|budget| runs > 0 && begin.elapsed() >= budget);
            if is_over || (hooks.is_interrupted)() {
                // Samples of an unfinished block are kept; nothing here compares variants within a
                // block.
                blocks.push(meter.stop(experiment, block));
                return measured(experiment, metrics, variants, &taken, blocks, plan.seed);
            }
            taken[place].run(&mut variants[place]);
            runs += 1;
            (hooks.done)(runs);
        }
        blocks.push(meter.stop(experiment, block));
        let is_narrow = |taken: &VariantSamples| {
            let precision = plan.precision.unwrap_or(0.0);
            taken.error.is_some() || taken.metrics.iter().all(|of| half_width(of) <= precision)
        };
        if plan.precision.is_some() && block + 1 >= LEAST_BLOCKS && taken.iter().all(is_narrow) {
            break;
        }
    }
    measured(experiment, metrics, variants, &taken, blocks, plan.seed)
}

/// The samples of a variant, by metric and block.
struct VariantSamples {
    metrics: Vec<Vec<Vec<f64>>>,
    error: Option<String>,
}

impl VariantSamples {
    fn of(metrics: usize) -> Self {
        Self { metrics: vec![Vec::new(); metrics], error: None }
    }

    fn run(&mut self, variant: &mut Variant<'_>) {
        if self.error.is_some() {
            return;
        }
        match (variant.run)() {
            Ok(readings) => {
                for (metric, samples) in self.metrics.iter_mut().zip(readings) {
                    metric.push(samples);
                }
            }
            Err(error) => self.error = Some(error),
        }
    }
}

/// Half the width of the interval, as a share of the median.
fn half_width(blocks: &[Vec<f64>]) -> f64 {
    let [low, high] = interval(blocks, 1);
    let middle = median(&blocks.concat()).abs();
    if middle == 0.0 { 0.0 } else { (high - low) / 2.0 / middle }
}

fn measured(
    experiment: &str,
    metrics: &[Metric],
    variants: &[Variant<'_>],
    taken: &[VariantSamples],
    blocks: Vec<BlockContext>,
    seed: u64,
) -> ExperimentResults {
    let mut cells = Vec::new();
    for (variant, taken) in variants.iter().zip(taken) {
        for (&metric, samples) in metrics.iter().zip(&taken.metrics) {
            let mut cell = cell(experiment, metric, variant.case.clone(), samples, seed);
            cell.error.clone_from(&taken.error);
            cells.push(cell);
        }
    }
    ExperimentResults { cells, blocks }
}

fn cell(
    experiment: &str,
    metric: Metric,
    case: Map<String, Value>,
    blocks: &[Vec<f64>],
    seed: u64,
) -> Cell {
    let samples = blocks.concat();
    let mut sorted = samples.clone();
    sorted.sort_by(f64::total_cmp);
    Cell {
        experiment: experiment.to_owned(),
        case,
        metric: metric.name,
        unit: metric.unit,
        n: samples.len(),
        min: quantile(&sorted, 0.0),
        p50: quantile(&sorted, 0.5),
        p95: quantile(&sorted, 0.95),
        p99: quantile(&sorted, 0.99),
        mean: samples.iter().sum::<f64>() / samples.len() as f64,
        ci95: interval(blocks, seed),
        samples,
        per_block: blocks.iter().map(Vec::len).collect(),
        error: None,
    }
}

/// Interval of the median of all samples. With too few blocks, no resampling can show the
/// uncertainty.
fn interval(blocks: &[Vec<f64>], seed: u64) -> [f64; 2] {
    if blocks.iter().filter(|block| !block.is_empty()).count() < LEAST_BLOCKS {
        return [f64::NAN; 2];
    }
    bootstrap::of_median(blocks, 0.95, 2000, &mut Rng::new(seed))
}

#[cfg(test)]
mod tests;
