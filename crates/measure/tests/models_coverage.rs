//! Do the intervals hold what they promise? Experiments with known parameters are
//! simulated; the 95 % interval of each parameter must hold the truth in 92 to 98 of 100.
//! Over 500 experiments chance alone moves the share by 2 points (two standard errors); with
//! 4000, each lay between 95 and 98.

use brigade_measure::comparison::Estimate;
use brigade_measure::experiment::quantile;
use brigade_measure::models::{
    AtWorkers, BreakEvenCell, Transfer, amdahl, break_even, hockney, pays_back_after,
    scaled_speedup, speedup, usl,
};
use brigade_measure::rng::Rng;

const EXPERIMENTS: u64 = 500;
const SAMPLES: usize = 5;
/// Standard deviations of the logarithms: what disturbs a whole block, and one sample.
const BLOCK_NOISE: f64 = 0.03;
const SAMPLE_NOISE: f64 = 0.05;

/// One simulated experiment: its blocks, each with what disturbed all of it.
struct Simulation {
    rng: Rng,
    blocks: Vec<f64>,
}

impl Simulation {
    fn new(blocks: usize, seed: u64) -> Self {
        let mut rng = Rng::new((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let blocks = (0..blocks).map(|_| noise(&mut rng, BLOCK_NOISE)).collect();
        Self { rng, blocks }
    }

    /// One figure for each block: the median of its samples of something that takes `truth`.
    fn measure(&mut self, truth: f64) -> Vec<f64> {
        let figure = |block: &f64| {
            let mut samples: Vec<f64> =
                (0..SAMPLES).map(|_| truth * block * noise(&mut self.rng, SAMPLE_NOISE)).collect();
            samples.sort_by(f64::total_cmp);
            quantile(&samples, 0.5)
        };
        self.blocks.iter().map(figure).collect()
    }
}

/// Log-normal with median 1, from two uniform numbers (Box and Muller, 1958).
fn noise(rng: &mut Rng, deviation: f64) -> f64 {
    let mut uniform = || (rng.roll(1 << 30) as f64 + 0.5) / f64::from(1 << 30);
    let radius = (-2.0 * uniform().ln()).sqrt();
    (deviation * radius * (std::f64::consts::TAU * uniform()).cos()).exp()
}

/// Per parameter, the share of experiments whose interval holds the truth.
fn coverage<const K: usize>(
    truth: [f64; K],
    blocks: usize,
    experiment: impl Fn(&mut Simulation, u64) -> [Estimate; K],
) -> [f64; K] {
    let mut held = [0; K];
    for seed in 0..EXPERIMENTS {
        let mut simulation = Simulation::new(blocks, seed);
        let estimates = experiment(&mut simulation, seed + 1_000_000);
        for ((held, estimate), truth) in held.iter_mut().zip(estimates).zip(truth) {
            let [low, high] = estimate.interval;
            *held += u32::from(low <= truth && truth <= high);
        }
    }
    held.map(|held| f64::from(held) / EXPERIMENTS as f64)
}

fn assert_nominal(what: &str, shares: &[f64]) {
    let nominal = shares.iter().all(|share| (0.92..=0.98).contains(share));
    assert!(nominal, "{what}: {shares:?}");
}

fn throughputs(simulation: &mut Simulation, law: impl Fn(f64) -> f64) -> Vec<AtWorkers> {
    [1, 2, 3, 4, 6, 8]
        .map(|workers| AtWorkers { workers, blocks: simulation.measure(law(workers as f64)) })
        .into()
}

/// Gunther's law.
fn law(lambda: f64, sigma: f64, kappa: f64) -> impl Fn(f64) -> f64 {
    move |n| lambda * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
}

#[test]
fn hockney_covers() {
    let [latency, bandwidth] = [12.0, 8_000.0];
    for blocks in [10, 20] {
        let shares = coverage([latency, bandwidth], blocks, |simulation, seed| {
            let transfers = [0_u64, 4 << 10, 64 << 10, 1 << 20, 8 << 20].map(|bytes| Transfer {
                bytes,
                blocks: simulation.measure(latency + bytes as f64 / bandwidth),
            });
            let fit = hockney(&transfers, seed).unwrap();
            [fit.parameters.latency_us, fit.parameters.bandwidth_mb_per_s]
        });
        assert_nominal(&format!("{blocks} blocks"), &shares);
    }
}

#[test]
fn speedups_cover() {
    let [workers, ratio] = [4.0, 3.2];
    let serial = (1.0 / ratio - 1.0 / workers) / (1.0 - 1.0 / workers);
    let scaled_serial = (workers - ratio) / (workers - 1.0);
    let truth = [ratio, ratio / workers, serial, ratio, scaled_serial];
    for blocks in [10, 20] {
        let shares = coverage(truth, blocks, |simulation, seed| {
            let reference = simulation.measure(1000.0);
            let times = |time| [AtWorkers { workers: 4, blocks: time }];
            let strong = times(simulation.measure(1000.0 / ratio));
            let strong = speedup(&reference, &strong, seed).unwrap().points[0];
            let weak = times(simulation.measure(1000.0 * workers / ratio));
            let weak = scaled_speedup(&reference, &weak, seed).unwrap().points[0];
            let [serial, scaled_serial] = [strong.serial_fraction, weak.serial_fraction];
            let [serial, scaled_serial] = [serial.unwrap(), scaled_serial.unwrap()];
            [strong.speedup, strong.efficiency, serial, weak.scaled_speedup, scaled_serial]
        });
        assert_nominal(&format!("{blocks} blocks"), &shares);
    }
}

#[test]
fn amdahl_covers() {
    let [lambda, sigma] = [500.0, 0.1];
    let shares = coverage([lambda, sigma], 12, |simulation, seed| {
        let fit = amdahl(&throughputs(simulation, law(lambda, sigma, 0.0)), seed).unwrap();
        [fit.parameters.lambda, fit.parameters.sigma]
    });
    assert_nominal("amdahl", &shares);
}

#[test]
fn usl_covers() {
    let [lambda, sigma, kappa]: [f64; 3] = [500.0, 0.15, 0.02];
    let peak = ((1.0 - sigma) / kappa).sqrt();
    let shares = coverage([lambda, sigma, kappa, peak], 15, |simulation, seed| {
        let throughputs = throughputs(simulation, law(lambda, sigma, kappa));
        let fit = usl(&throughputs, seed).unwrap().parameters;
        [fit.lambda, fit.sigma, fit.kappa, fit.peak_workers]
    });
    assert_nominal("usl", &shares);
}

/// Where there is no coherency at all its interval covers more often than promised, as it
/// can miss on one side only, and that of contention, which gets what the bound denies to
/// coherency, a little less often.
#[test]
fn at_its_bound_coherency_is_covered_more_often() {
    let [lambda, sigma] = [500.0, 0.15];
    let shares = coverage([lambda, sigma, 0.0, f64::INFINITY], 12, |simulation, seed| {
        let fit = usl(&throughputs(simulation, law(lambda, sigma, 0.0)), seed).unwrap().parameters;
        [fit.lambda, fit.sigma, fit.kappa, fit.peak_workers]
    });
    let [lambda, sigma, kappa, peak] = shares;
    assert!(lambda >= 0.92 && sigma >= 0.9, "{shares:?}");
    assert!(kappa > 0.96 && peak > 0.96, "{shares:?}");
}

#[test]
fn break_even_covers() {
    // (20 + 1.01 c) <= 1.1 (2 + c) from here on.
    let truth = (20.0 - 1.1 * 2.0) / (1.1 - 1.01);
    let shares = coverage([truth], 12, |simulation, seed| {
        let cells = [0.0, 10.0, 100.0, 1000.0].map(|compute_us| BreakEvenCell {
            bytes: 0,
            compute_us,
            rival: simulation.measure(20.0 + 1.01 * compute_us),
            reference: simulation.measure(2.0 + compute_us),
        });
        let interval_us = break_even(&cells, 0.1, seed).unwrap().points[0].interval_us;
        [unnamed(interval_us)]
    });
    assert_nominal("break-even", &shares);
}

#[test]
fn pays_back_covers() {
    let truth = 2000.0 / (100.0 - 60.0);
    let shares = coverage([truth], 10, |simulation, seed| {
        let [startup, sync, rival] = [2000.0, 100.0, 60.0].map(|time| simulation.measure(time));
        [unnamed(pays_back_after(&startup, &sync, &rival, seed).unwrap().interval_jobs)]
    });
    assert_nominal("pays-back", &shares);
}

/// An interval that stands also where there is no estimate.
fn unnamed(interval: [f64; 2]) -> Estimate {
    Estimate { estimate: f64::NAN, interval, confidence: 0.95 }
}
