//! Throughput by number of workers, with a serial share of the work.

use serde::Serialize;

use super::linear::Linear;
use super::resample::estimates;
use super::usl::{check, share, time_of_one_job};
use super::{AtWorkers, Fit, Refused};
use crate::comparison::Estimate;

/// Parameters of `throughput = lambda n / (1 + sigma (n - 1))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AmdahlParameters {
    /// Throughput of one worker, in the unit of the input.
    pub lambda: Estimate,
    /// The serial share of the work; not negative. Its inverse is the maximum speedup.
    pub sigma: Estimate,
}

/// The fitted model.
pub type Amdahl = Fit<AmdahlParameters>;

/// Fits Amdahl's law ("Validity of the single processor approach to achieving large scale computing
/// capabilities", 1967) to `throughputs`. The method is that of [`usl`](super::usl()), of which
/// this law is the special case without coherency cost.
///
/// # Errors
/// As for [`usl`](super::usl()).
pub fn amdahl(throughputs: &[AtWorkers], seed: u64) -> Result<Amdahl, Refused> {
    check("amdahl", throughputs)?;
    let law = Linear::new(
        throughputs.iter().map(|at| ([1.0, at.workers as f64 - 1.0], time_of_one_job(at))),
    );
    let [lambda, sigma] = estimates(law.first(), seed, |draw| {
        let [one, serial] = law.fit(draw);
        [1.0 / one, share(serial, one)]
    });
    let parameters = AmdahlParameters { lambda, sigma };
    Ok(Fit { parameters, worst_residual: law.worst_residual() })
}
