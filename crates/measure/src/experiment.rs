//! Experiments: variants that take turns in random order, and what is said of their
//! samples.
//!
//! A figure that was taken alone says little on a machine that others use too. So every
//! variant runs once in each *block*, the order is shuffled from a seed, and the
//! interval comes from resampling whole blocks: what disturbs a block disturbs all
//! variants in it.

mod rng;

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::context::{Block, Meter};
use crate::models::LEAST_BLOCKS;
use crate::stats::bootstrap;
pub use crate::stats::{median, quantile};
pub use rng::Rng;

/// What a variant measured in one block: for each metric of its experiment, samples.
pub type Readings = Vec<Vec<f64>>;

/// Something that is measured, as `("wall", "us")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// "round_trip", "wall".
    pub name: &'static str,
    /// "us", "ratio", "bytes".
    pub unit: &'static str,
}

impl Metric {
    /// A time in microseconds.
    pub const fn us(name: &'static str) -> Self {
        Self { name, unit: "us" }
    }
}

/// One variant of an experiment: what varies, and a way to take some samples.
pub struct Variant<'a> {
    /// What varies, as in `{"backend": "threads", "bytes": 0}`.
    pub case: Map<String, Value>,
    /// Takes the samples of one block, or says what went wrong. A variant that failed
    /// does not run again, and the others go on.
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

/// What was measured of one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// "latency", "startup".
    pub experiment: String,
    /// What varies.
    pub case: Map<String, Value>,
    /// "round_trip", "ready".
    pub metric: &'static str,
    /// "us".
    pub unit: &'static str,
    /// Samples.
    pub n: usize,
    /// The least.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 95 of 100 are at most this.
    pub p95: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The mean.
    pub mean: f64,
    /// Interval of `p50` at 95 % confidence, from resampled blocks. NaN (null) where there
    /// are fewer than [`LEAST_BLOCKS`] of them.
    #[serde(serialize_with = "unless_unknown")]
    pub ci95: [f64; 2],
    /// All samples, in the order in which they were taken.
    pub samples: Vec<f64>,
    /// How many of the samples each block took.
    pub per_block: Vec<usize>,
    /// Why it was not measured to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// No interval is null.
fn unless_unknown<S: Serializer>(interval: &[f64; 2], to: S) -> Result<S::Ok, S::Error> {
    Some(interval).filter(|ends| ends.iter().all(|end| end.is_finite())).serialize(to)
}

impl Cell {
    /// The samples, block by block.
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

/// When an experiment ends.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Blocks at most.
    pub blocks: usize,
    /// No block begins that would probably end after this, but for the first.
    pub budget: Option<Duration>,
    /// Blocks end when each interval reaches no further than this share of its median
    /// to each side.
    pub precision: Option<f64>,
    /// Of the order in which variants take turns, and of the resampling.
    pub seed: u64,
}

/// What an experiment is told, and tells, while it runs.
pub struct Hooks<'a> {
    /// How many runs are over.
    pub done: &'a mut dyn FnMut(usize),
    /// Whether somebody wants it to end: asked before each run.
    pub is_interrupted: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// What came of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// For each variant, a cell for each metric.
    pub cells: Vec<Cell>,
    /// What the machine was like in each block.
    pub blocks: Vec<Block>,
}

/// Runs all variants in blocks, until the plan says that it is enough.
pub fn run(
    experiment: &str,
    metrics: &[Metric],
    variants: &mut [Variant<'_>],
    plan: &Plan,
    hooks: &mut Hooks<'_>,
) -> Measured {
    let mut rng = Rng::new(plan.seed);
    let mut taken: Vec<Taken> = variants.iter().map(|_| Taken::of(metrics.len())).collect();
    let mut order: Vec<usize> = (0..variants.len()).collect();
    let (begin, mut runs) = (Instant::now(), 0);
    let mut blocks: Vec<Block> = Vec::new();
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
            if (hooks.is_interrupted)() {
                // What an unfinished block measured is kept: nothing compares it.
                blocks.push(meter.stop(experiment, block));
                return measured(experiment, metrics, variants, &taken, blocks, plan.seed);
            }
            taken[place].run(&mut variants[place]);
            runs += 1;
            (hooks.done)(runs);
        }
        blocks.push(meter.stop(experiment, block));
        let is_narrow = |taken: &Taken| {
            let precision = plan.precision.unwrap_or(0.0);
            taken.error.is_some() || taken.metrics.iter().all(|of| half_width(of) <= precision)
        };
        if plan.precision.is_some() && block + 1 >= LEAST_BLOCKS && taken.iter().all(is_narrow) {
            break;
        }
    }
    measured(experiment, metrics, variants, &taken, blocks, plan.seed)
}

/// The samples of a variant: by metric, by block.
struct Taken {
    metrics: Vec<Vec<Vec<f64>>>,
    error: Option<String>,
}

impl Taken {
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

/// How far the interval reaches from the median, as a share of it.
fn half_width(blocks: &[Vec<f64>]) -> f64 {
    let [low, high] = interval(blocks, 1);
    let middle = median(&blocks.concat()).abs();
    if middle == 0.0 { 0.0 } else { (high - low) / 2.0 / middle }
}

fn measured(
    experiment: &str,
    metrics: &[Metric],
    variants: &[Variant<'_>],
    taken: &[Taken],
    blocks: Vec<Block>,
    seed: u64,
) -> Measured {
    let mut cells = Vec::new();
    for (variant, taken) in variants.iter().zip(taken) {
        for (&metric, samples) in metrics.iter().zip(&taken.metrics) {
            let mut cell = cell(experiment, metric, variant.case.clone(), samples, seed);
            cell.error.clone_from(&taken.error);
            cells.push(cell);
        }
    }
    Measured { cells, blocks }
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

/// Of the median of all samples; no resample of too few blocks says how far off it may be.
fn interval(blocks: &[Vec<f64>], seed: u64) -> [f64; 2] {
    if blocks.iter().filter(|block| !block.is_empty()).count() < LEAST_BLOCKS {
        return [f64::NAN; 2];
    }
    bootstrap::of_median(blocks, 0.95, 2000, &mut Rng::new(seed))
}

#[cfg(test)]
mod tests;
