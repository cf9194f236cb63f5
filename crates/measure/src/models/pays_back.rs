//! Number of jobs after which a pool was worth its start-up.

use serde::Serialize;

use super::resample::{Center, estimates};
use super::{Refused, ThresholdKind, paired};
use crate::comparison::Estimate;

/// Number of jobs after which the start-up has paid for itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PaysBack {
    /// `Never` if the rival is not faster. `Always` does not occur, because start-up takes time.
    pub answer: ThresholdKind,
    /// Number of jobs, not rounded; `None` if never.
    pub jobs: Option<Estimate>,
    /// Interval of the number of jobs, independent of the answer; infinity means "never".
    pub interval_jobs: [f64; 2],
}

/// Computes `startup / (sync - rival)`. The arguments are the time until a pool is ready and the
/// times per job of `sync` and of the pool, all in the same unit and with the same number of
/// blocks.
///
/// # Errors
/// Refused with too few blocks or with figures that are not above 0.
pub fn pays_back_after(
    startup: &[f64],
    sync: &[f64],
    rival: &[f64],
    seed: u64,
) -> Result<PaysBack, Refused> {
    paired("pays-back", [startup, sync, rival])?;
    let [startup, sync, rival] =
        [startup, sync, rival].map(|figures| Center::new(figures.iter().copied()));
    let [jobs] = estimates(&startup, seed, |draw| {
        let saved = sync.of(draw) - rival.of(draw);
        [if saved > 0.0 { startup.of(draw) / saved } else { f64::INFINITY }]
    });
    let answer = ThresholdKind::of(jobs.estimate);
    let found = (answer == ThresholdKind::At).then_some(jobs);
    Ok(PaysBack { answer, jobs: found, interval_jobs: jobs.interval })
}
