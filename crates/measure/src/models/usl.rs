//! Throughput by number of workers that wait for one another.

use brigade_proto::count;
use serde::Serialize;

use super::linear::Linear;
use super::resample::{Center, estimates};
use super::{AtWorkers, Fit, Refused, distinct, paired};
use crate::comparison::Estimate;

/// Parameters of `throughput = lambda n / (1 + sigma (n - 1) + kappa n (n - 1))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UslParameters {
    /// Throughput of one worker, in the unit of the input.
    pub lambda: Estimate,
    /// Contention: the share of the work that only one worker can do at a time.
    pub sigma: Estimate,
    /// Coherency: the cost of each pair of workers.
    pub kappa: Estimate,
    /// `sqrt((1 - sigma) / kappa)`: beyond this number of workers, throughput falls. At least 1;
    /// infinite if `kappa` is 0.
    pub peak_workers: Estimate,
}

/// The fitted model.
pub type Usl = Fit<UslParameters>;

/// Fits the Universal Scalability Law (Gunther, "Guerrilla capacity planning", 2007, chapter 5) to
/// `throughputs`, in jobs per unit of time. It uses least squares on the relative error of `n /
/// throughput`, in which the law is linear. No parameter is negative.
///
/// If a true parameter lies on this bound (`kappa` 0: contention only), the estimate is 0 in about
/// half of all experiments. Its interval then begins at 0 and covers the true value in 98 of 100
/// experiments; the interval of `sigma` covers it in 93. The bootstrap is not consistent there
/// (Andrews, "Inconsistency of the bootstrap when a parameter is on the boundary of the parameter
/// space", 2000); these coverages are from simulations.
///
/// # Errors
/// Refused with fewer than six worker counts, too few blocks, or figures that are not above 0.
pub fn usl(throughputs: &[AtWorkers], seed: u64) -> Result<Usl, Refused> {
    check("usl", throughputs)?;
    let law = Linear::new(throughputs.iter().map(|at| {
        let n = at.workers as f64;
        ([1.0, n - 1.0, n * (n - 1.0)], time_of_one_job(at))
    }));
    let [lambda, sigma, kappa, peak_workers] = estimates(law.first(), seed, |draw| {
        let [one, contention, coherency] = law.fit(draw);
        let (sigma, kappa) = (share(contention, one), share(coherency, one));
        // This is never NaN, because `max` returns the operand that is a number.
        let peak = ((1.0 - sigma).max(0.0) / kappa).sqrt().max(1.0);
        [1.0 / one, sigma, kappa, peak]
    });
    let parameters = UslParameters { lambda, sigma, kappa, peak_workers };
    Ok(Fit { parameters, worst_residual: law.worst_residual() })
}

/// Refuses figures that say too little about scaling.
pub(super) fn check(of: &'static str, throughputs: &[AtWorkers]) -> Result<(), Refused> {
    const NEEDED: usize = 6;
    let counts = distinct(throughputs.iter().map(|at| at.workers));
    if counts < NEEDED || throughputs.iter().any(|at| at.workers == 0) {
        let reason = format!(
            "{}, a fit needs {NEEDED} from 1 on: --workers 1,2,3,4,6,8",
            count(counts, "worker count")
        );
        return Err(Refused::new(of, reason));
    }
    paired(of, throughputs.iter().map(|at| &*at.blocks)).map(drop)
}

/// The time that one worker takes for a job.
pub(super) fn time_of_one_job(at: &AtWorkers) -> Center {
    Center::new(at.blocks.iter().map(|throughput| at.workers as f64 / throughput))
}

/// A coefficient relative to that of one worker, which is 0 only if one worker was not measured.
pub(super) fn share(coefficient: f64, one: f64) -> f64 {
    if coefficient == 0.0 { 0.0 } else { coefficient / one }
}
