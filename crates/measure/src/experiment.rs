//! Experiments: variants that take turns in random order, and what is said of their
//! samples.
//!
//! A figure that was taken alone says little on a machine that others use too. So every
//! variant runs once in each *block*, the order is shuffled from a seed, and the
//! interval comes from resampling whole blocks: what disturbs a block disturbs all
//! variants in it.

use serde::Serialize;
use serde_json::{Map, Value};

pub use crate::stats::quantile;
use crate::stats::{bootstrap, median};

/// One variant of an experiment: what varies, and a way to take some samples.
pub struct Variant<'a> {
    /// What varies, as in `{"backend": "threads", "bytes": 0}`.
    pub case: Map<String, Value>,
    /// Takes the samples of one block, in the experiment's unit.
    pub run: Box<dyn FnMut() -> Vec<f64> + 'a>,
}

impl std::fmt::Debug for Variant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
}

/// Random numbers that are the same for the same seed: xorshift64* (Vigna, "An
/// experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
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
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.roll(i + 1));
        }
    }
}

/// Runs all variants, `blocks` times each. `done` hears how many runs are over.
pub fn run(
    experiment: &str,
    metric: &'static str,
    variants: &mut [Variant<'_>],
    blocks: usize,
    seed: u64,
    mut done: impl FnMut(usize),
) -> Vec<Cell> {
    let mut dice = Dice::new(seed);
    let mut samples: Vec<Vec<Vec<f64>>> = variants.iter().map(|_| Vec::new()).collect();
    let mut order: Vec<usize> = (0..variants.len()).collect();
    for block in 0..blocks {
        dice.shuffle(&mut order);
        for (i, &variant) in order.iter().enumerate() {
            samples[variant].push((variants[variant].run)());
            done(block * variants.len() + i + 1);
        }
    }
    variants
        .iter()
        .zip(samples)
        .map(|(variant, blocks)| cell(experiment, metric, variant.case.clone(), &blocks, seed))
        .collect()
}

fn cell(
    experiment: &str,
    metric: &'static str,
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
        metric,
        unit: "us",
        n: samples.len(),
        min: quantile(&sorted, 0.0),
        p50: quantile(&sorted, 0.5),
        p95: quantile(&sorted, 0.95),
        p99: quantile(&sorted, 0.99),
        mean: samples.iter().sum::<f64>() / samples.len().max(1) as f64,
        ci95: interval(blocks, seed),
        samples,
    }
}

/// Of the median of the blocks' medians.
fn interval(blocks: &[Vec<f64>], seed: u64) -> [f64; 2] {
    let medians: Vec<f64> = blocks.iter().map(|block| median(block)).collect();
    bootstrap::over_blocks(&medians, 0.95, 2000, &mut Dice::new(seed), median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_runs_once_in_each_block_in_an_order_of_the_seeds() {
        let order = |seed| {
            let log = std::cell::RefCell::new(Vec::new());
            let mut variants: Vec<Variant<'_>> = (0..5)
                .map(|i| {
                    let log = &log;
                    let run = move || {
                        log.borrow_mut().push(i);
                        vec![f64::from(i)]
                    };
                    Variant { case: Map::new(), run: Box::new(run) }
                })
                .collect();
            let mut runs = 0;
            let cells = run("test", "x", &mut variants, 4, seed, |done| runs = done);
            assert_eq!(runs, 20);
            assert!(cells.iter().all(|cell| cell.n == 4));
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
