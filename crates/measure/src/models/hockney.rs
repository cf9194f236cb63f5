//! Round-trip time as a function of the payload size.

use serde::Serialize;

use super::linear::Linear;
use super::resample::{Center, estimates};
use super::{Fit, Refused, distinct, paired};
use crate::comparison::Estimate;

/// Measured round trips with payloads of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// Size of the payload in bytes.
    pub bytes: u64,
    /// Time in microseconds, one figure per block.
    pub blocks: Vec<f64>,
}

/// Parameters of `time = latency + bytes / bandwidth`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HockneyParameters {
    /// Time without payload in microseconds; not negative.
    pub latency_us: Estimate,
    /// Bytes per microsecond, which is MB/s. Infinite if the size has no effect.
    pub bandwidth_mb_per_s: Estimate,
}

/// The fitted model.
pub type Hockney = Fit<HockneyParameters>;

/// Fits latency and bandwidth (Hockney, "The communication challenge for MPP: Intel Paragon and
/// Meiko CS-2", 1994) by least squares on the relative error.
///
/// # Errors
/// Refused with fewer than three sizes (two fit any line), too few blocks, or figures that are not
/// above 0.
pub fn hockney(transfers: &[Transfer], seed: u64) -> Result<Hockney, Refused> {
    paired("hockney", transfers.iter().map(|transfer| &*transfer.blocks))?;
    let sizes = distinct(transfers.iter().map(|transfer| transfer.bytes));
    if sizes < 3 {
        let reason = format!(
            "{sizes} payload sizes, a line that can be seen to be wrong needs 3: \
             --sizes 0,64KiB,8MiB"
        );
        return Err(Refused::new("hockney", reason));
    }
    let line = Linear::new(transfers.iter().map(|transfer| {
        ([1.0, transfer.bytes as f64], Center::new(transfer.blocks.iter().copied()))
    }));
    let [latency_us, bandwidth_mb_per_s] = estimates(line.first(), seed, |draw| {
        let [latency, us_per_byte] = line.fit(draw);
        [latency, 1.0 / us_per_byte]
    });
    let parameters = HockneyParameters { latency_us, bandwidth_mb_per_s };
    Ok(Fit { parameters, worst_residual: line.worst_residual() })
}
