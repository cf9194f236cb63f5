//! Experiments: variants that take turns in random order, and what is said of their
//! samples.
//!
//! A figure that was taken alone says little on a machine that others use too. So every
//! variant runs once in each *block*, the order is shuffled from a seed, and the
//! interval comes from resampling whole blocks: what disturbs a block disturbs all
//! variants in it.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::context::{Block, Meter};
use crate::stats::bootstrap;
pub use crate::stats::{median, quantile};

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
    /// Interval of the median at 95 % confidence, from resampled blocks.
    pub ci95: [f64; 2],
    /// All samples, in the order in which they were taken.
    pub samples: Vec<f64>,
    /// How many of the samples each block took.
    pub per_block: Vec<usize>,
    /// Why it was not measured to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
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

/// Random numbers that are the same for the same seed: xorshift64* (Vigna, "An
/// experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed. Neighbouring seeds give streams that have nothing in common: a seed is
    /// mixed by a step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    /// number generators", 2014).
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // Of all states xorshift has no use for 0 alone, which one seed comes to.
        Self(if z == 0 { 1 } else { z })
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.next() >> 33) as usize % sides.max(1)
    }

    /// A number from 0 (inclusive) to 1 (exclusive), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.roll(i + 1));
        }
    }
}

/// Blocks before the precision is looked at: an interval of fewer says too little.
const LEAST_BLOCKS: usize = 5;

/// Runs all variants in blocks, until the plan says that it is enough.
pub fn run(
    experiment: &str,
    metrics: &[Metric],
    variants: &mut [Variant<'_>],
    plan: &Plan,
    hooks: &mut Hooks<'_>,
) -> Measured {
    let mut dice = Dice::new(plan.seed);
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
        dice.shuffle(&mut order);
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

/// Of the median of the blocks' medians.
fn interval(blocks: &[Vec<f64>], seed: u64) -> [f64; 2] {
    let medians: Vec<f64> = blocks.iter().map(|block| median(block)).collect();
    bootstrap::over_blocks(&medians, 0.95, 2000, &mut Dice::new(seed), median)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn plan(blocks: usize, seed: u64) -> Plan {
        Plan { blocks, budget: None, precision: None, seed }
    }

    fn go(variants: &mut [Variant<'_>], plan: &Plan) -> Measured {
        let mut hooks = Hooks { done: &mut |_| {}, is_interrupted: &|| false };
        run("test", &[Metric::us("x")], variants, plan, &mut hooks)
    }

    #[test]
    fn every_variant_runs_once_in_each_block_in_an_order_of_the_seeds() {
        let order = |seed| {
            let log = RefCell::new(Vec::new());
            let mut variants: Vec<Variant<'_>> = (0..5)
                .map(|i| {
                    let log = &log;
                    Variant::new(Map::new(), move || {
                        log.borrow_mut().push(i);
                        Ok(vec![f64::from(i)])
                    })
                })
                .collect();
            let measured = go(&mut variants, &plan(4, seed));
            assert!(measured.cells.iter().all(|cell| cell.n == 4));
            assert_eq!(measured.blocks.len(), 4);
            drop(variants);
            let log = log.into_inner();
            for block in log.chunks(5) {
                let mut block = block.to_vec();
                block.sort_unstable();
                assert_eq!(block, [0, 1, 2, 3, 4]);
            }
            log
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }

    #[test]
    fn no_two_seeds_roll_the_same() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..8).map(|_| dice.roll(1 << 16)).collect::<Vec<_>>()
        };
        let all: std::collections::BTreeSet<_> = (0..1000).map(rolls).collect();
        assert_eq!(all.len(), 1000);
        assert_eq!(rolls(3), rolls(3));
        // What SplitMix64 would make 0.
        let seed = 0_u64.wrapping_sub(0x9e37_79b9_7f4a_7c15);
        assert!(rolls(seed).iter().any(|roll| *roll > 0));
    }

    #[test]
    fn a_variant_that_fails_hides_no_other() {
        let mut turns = 0;
        let mut variants = [
            Variant::new(Map::new(), || Ok(vec![1.0, 2.0])),
            Variant::new(Map::new(), move || {
                turns += 1;
                if turns == 3 { Err("no more".to_owned()) } else { Ok(vec![5.0]) }
            }),
        ];
        let cells = go(&mut variants, &plan(6, 1)).cells;
        assert_eq!((cells[0].n, &cells[0].error), (12, &None));
        assert_eq!((cells[1].n, cells[1].error.as_deref()), (2, Some("no more")));
        assert_eq!(cells[0].per_block, [2; 6]);
        assert_eq!(cells[0].block_medians(), [1.5; 6]);
    }

    #[test]
    fn an_interrupted_experiment_keeps_what_it_has() {
        let runs = RefCell::new(0);
        let mut variants: Vec<Variant<'_>> =
            (0..3).map(|_| Variant::new(Map::new(), || Ok(vec![1.0]))).collect();
        let mut hooks = Hooks {
            done: &mut |done| *runs.borrow_mut() = done,
            is_interrupted: &|| *runs.borrow() == 4,
        };
        let measured = run("test", &[Metric::us("x")], &mut variants, &plan(100, 1), &mut hooks);
        assert_eq!(measured.cells.iter().map(|cell| cell.n).sum::<usize>(), 4);
        assert_eq!(measured.blocks.len(), 2);
    }

    #[test]
    fn blocks_end_when_the_intervals_are_narrow_or_the_budget_is_spent() {
        let mut dice = Dice::new(3);
        let mut steady =
            [Variant::new(Map::new(), move || Ok(vec![100.0 + dice.roll(100) as f64 / 100.0]))];
        let narrow = Plan { precision: Some(0.05), ..plan(1000, 1) };
        assert_eq!(go(&mut steady, &narrow).blocks.len(), LEAST_BLOCKS);
        let spent = Plan { budget: Some(Duration::ZERO), ..plan(1000, 1) };
        assert_eq!(go(&mut steady, &spent).blocks.len(), 1);
    }

    #[test]
    fn each_metric_has_a_cell() {
        let metrics = [Metric::us("wall"), Metric { name: "memory", unit: "bytes" }];
        let run_once = || Ok(vec![vec![3.0], vec![4096.0]]);
        let mut variants = [Variant { case: Map::new(), run: Box::new(run_once) }];
        let mut hooks = Hooks { done: &mut |_| {}, is_interrupted: &|| false };
        let cells = run("test", &metrics, &mut variants, &plan(2, 1), &mut hooks).cells;
        assert_eq!((cells[0].metric, cells[0].p50), ("wall", 3.0));
        assert_eq!((cells[1].unit, cells[1].p50), ("bytes", 4096.0));
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_less_noise() {
        let noisy = |spread: f64| {
            let mut dice = Dice::new(3);
            let blocks: Vec<Vec<f64>> = (0..30)
                .map(|_| vec![100.0 + spread * (dice.roll(1000) as f64 / 500.0 - 1.0)])
                .collect();
            interval(&blocks, 1)
        };
        let (wide, narrow) = (noisy(50.0), noisy(1.0));
        assert!(wide[0] < 100.0 && wide[1] > 100.0);
        assert!(narrow[1] - narrow[0] < wide[1] - wide[0]);
    }
}
