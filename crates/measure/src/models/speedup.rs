//! Speedup by number of workers, without a model of its causes.

use serde::Serialize;

use super::resample::{Center, estimates};
use super::{AtWorkers, Refused, paired};
use crate::comparison::Estimate;

/// Speedup for a fixed amount of work (strong scaling).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speedup {
    /// One point per number of workers, in the order of the input.
    pub points: Vec<SpeedupPoint>,
}

/// Speedup with one number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpeedupPoint {
    /// Number of workers.
    pub workers: usize,
    /// Reference time over time.
    pub speedup: Estimate,
    /// Speedup over workers: 1 is perfect.
    pub efficiency: Estimate,
    /// Experimentally determined serial fraction, `(1 / speedup - 1 / workers) / (1 - 1 / workers)`
    /// (Karp and Flatt, "Measuring parallel processor performance", 1990). It rises with the number
    /// of workers if each additional worker slows down the others. It is negative if the speedup
    /// exceeds the number of workers. `None` for one worker.
    pub serial_fraction: Option<Estimate>,
}

/// Speedup of `times` over `reference`, the time that `sync` takes for the same work, in the same
/// unit.
///
/// # Errors
/// Refused with too few blocks or with figures that are not above 0.
pub fn speedup(reference: &[f64], times: &[AtWorkers], seed: u64) -> Result<Speedup, Refused> {
    let point = |time: &AtWorkers| {
        let n = time.workers as f64;
        let ratio = ratio(reference, &time.blocks);
        let [speedup, efficiency, serial] = estimates(&ratio, seed, |draw| {
            let speedup = ratio.of(draw);
            [speedup, speedup / n, (1.0 / speedup - 1.0 / n) / (1.0 - 1.0 / n)]
        });
        let serial_fraction = (time.workers > 1).then_some(serial);
        SpeedupPoint { workers: time.workers, speedup, efficiency, serial_fraction }
    };
    check("speedup", reference, times)?;
    Ok(Speedup { points: times.iter().map(point).collect() })
}

/// Speedup for work that grows with the number of workers (weak scaling).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaledSpeedup {
    /// One point per number of workers, in the order of the input.
    pub points: Vec<ScaledSpeedupPoint>,
}

/// Speedup with one number of workers, each of which brings its own work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScaledSpeedupPoint {
    /// Number of workers.
    pub workers: usize,
    /// Factor by which more work is done in the same time: `workers * reference / time` (Gustafson,
    /// "Reevaluating Amdahl's law", 1988).
    pub scaled_speedup: Estimate,
    /// Reference time over time: 1 is perfect.
    pub efficiency: Estimate,
    /// The `s` of Gustafson's `speedup = workers + (1 - workers) s`: the serial share of the time
    /// with many workers. `None` for one worker.
    pub serial_fraction: Option<Estimate>,
}

/// Scaled speedup of `times`. Each time is for `workers` times the work that takes the `reference`
/// time, in the same unit.
///
/// # Errors
/// Refused with too few blocks or with figures that are not above 0.
pub fn scaled_speedup(
    reference: &[f64],
    times: &[AtWorkers],
    seed: u64,
) -> Result<ScaledSpeedup, Refused> {
    let point = |time: &AtWorkers| {
        let n = time.workers as f64;
        let ratio = ratio(reference, &time.blocks);
        let [scaled_speedup, efficiency, serial] = estimates(&ratio, seed, |draw| {
            let efficiency = ratio.of(draw);
            [n * efficiency, efficiency, n * (1.0 - efficiency) / (n - 1.0)]
        });
        let serial_fraction = (time.workers > 1).then_some(serial);
        ScaledSpeedupPoint { workers: time.workers, scaled_speedup, efficiency, serial_fraction }
    };
    check("scaled-speedup", reference, times)?;
    Ok(ScaledSpeedup { points: times.iter().map(point).collect() })
}

/// The ratio is taken block by block, so a disturbance that slows down a whole block cancels.
fn ratio(reference: &[f64], times: &[f64]) -> Center {
    Center::new(reference.iter().zip(times).map(|(reference, time)| reference / time))
}

fn check(of: &'static str, reference: &[f64], times: &[AtWorkers]) -> Result<(), Refused> {
    if times.iter().any(|time| time.workers == 0) {
        return Err(Refused::new(of, "0 workers do no work".to_owned()));
    }
    paired(of, times.iter().map(|time| &*time.blocks).chain([reference])).map(drop)
}
