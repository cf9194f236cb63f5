//! How much more workers are worth, without a model of why.

use serde::Serialize;

use super::resample::{Center, estimates};
use super::{AtWorkers, Refused, paired};
use crate::comparison::Estimate;

/// The same work with more workers (strong scaling).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speedup {
    /// In the order in which they were given.
    pub points: Vec<SpeedupPoint>,
}

/// What one number of workers is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpeedupPoint {
    /// How many.
    pub workers: usize,
    /// Reference time over time.
    pub speedup: Estimate,
    /// Speedup over workers: 1 is perfect.
    pub efficiency: Estimate,
    /// `(1 / speedup - 1 / workers) / (1 - 1 / workers)` (Karp and Flatt, "Measuring
    /// parallel processor performance", 1990). It rises with the workers if they cost one
    /// another time, and is negative if they are more than that many times as fast. `None`
    /// for one worker.
    pub serial_fraction: Option<Estimate>,
}

/// `times` of the same work, against the `reference` time of it (that of `sync`), in the
/// same unit.
///
/// # Errors
/// Refused with too few blocks or figures that are not above 0.
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

/// Work that grows with the workers (weak scaling).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaledSpeedup {
    /// In the order in which they were given.
    pub points: Vec<ScaledSpeedupPoint>,
}

/// What one number of workers is worth when each brings its own work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScaledSpeedupPoint {
    /// How many.
    pub workers: usize,
    /// How much more work is done in a time: `workers * reference / time` (Gustafson,
    /// "Reevaluating Amdahl's law", 1988).
    pub scaled_speedup: Estimate,
    /// Reference time over time: 1 is perfect.
    pub efficiency: Estimate,
    /// The `s` of Gustafson's `speedup = workers + (1 - workers) s`: the share of the time
    /// with many workers that is serial. `None` for one worker.
    pub serial_fraction: Option<Estimate>,
}

/// `times` of `workers` times the work that took the `reference` time, in the same unit.
///
/// # Errors
/// Refused with too few blocks or figures that are not above 0.
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

/// Block by block, so that what slows a whole block down cancels.
fn ratio(reference: &[f64], times: &[f64]) -> Center {
    Center::new(reference.iter().zip(times).map(|(reference, time)| reference / time))
}

fn check(of: &'static str, reference: &[f64], times: &[AtWorkers]) -> Result<(), Refused> {
    if times.iter().any(|time| time.workers == 0) {
        return Err(Refused { of, reason: "0 workers do no work".to_owned() });
    }
    paired(of, times.iter().map(|time| &*time.blocks).chain([reference])).map(drop)
}
