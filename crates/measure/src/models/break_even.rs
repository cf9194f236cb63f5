//! The compute time from which on isolation costs little.

use std::collections::BTreeMap;

use serde::Serialize;

use super::linear::Linear;
use super::resample::{Center, estimates};
use super::{Refused, ThresholdKind, distinct, paired};
use crate::comparison::Estimate;

/// Measurements of jobs with one payload and one compute time on two backends.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakEvenCell {
    /// Size of the payload in bytes.
    pub bytes: u64,
    /// Requested compute time per job in microseconds; not negative.
    pub compute_us: f64,
    /// Time per job of the backend under test (processes) in microseconds, one value per block.
    pub rival: Vec<f64>,
    /// Time per job of the reference backend (threads), in the same blocks.
    pub reference: Vec<f64>,
}

/// The compute times from which on the rival is cheap enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakEven {
    /// Permitted additional cost of the rival: 0.05 is 5 %.
    pub tolerance: f64,
    /// One point per payload size, ascending.
    pub points: Vec<BreakEvenPoint>,
}

/// The break-even point of one payload size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BreakEvenPoint {
    /// Size of the payload in bytes.
    pub bytes: u64,
    /// `Always`: for every compute time. `Never`: the rival's time grows faster than the tolerance
    /// allows, or the two lines never meet.
    pub answer: ThresholdKind,
    /// The smallest compute time per job in microseconds; `None` unless the answer is `At`.
    pub compute_us: Option<Estimate>,
    /// Interval of the compute time, independent of the answer: from 0 ("always") to infinity
    /// ("never").
    pub interval_us: [f64; 2],
    /// Whether `compute_us` lies outside the measured range.
    pub extrapolated: bool,
    /// The largest |model / measured - 1| of the cells of both backends.
    pub worst_residual: f64,
}

/// The smallest compute time from which on the rival costs at most `tolerance` more than the
/// reference, for each payload size.
///
/// Both backends are modelled as lines in the compute time. The intercept is the fixed cost of a
/// job, the slope is the real time per microsecond of compute time, and neither is negative. The
/// lines are fitted by least squares on the relative error. The answer is the compute time at which
/// the rival's line meets the reference's line raised by the tolerance. All sizes are resampled
/// with the same draws.
///
/// # Errors
/// Refused with fewer than three compute times for a size, a compute time that is negative or not a
/// number, too few blocks, or figures that are not above 0.
pub fn break_even(
    cells: &[BreakEvenCell],
    tolerance: f64,
    seed: u64,
) -> Result<BreakEven, Refused> {
    let of = "break-even";
    paired(of, cells.iter().flat_map(|cell| [&*cell.rival, &*cell.reference]))?;
    let mut sizes: BTreeMap<u64, Vec<&BreakEvenCell>> = BTreeMap::new();
    for cell in cells {
        if !(cell.compute_us.is_finite() && cell.compute_us >= 0.0) {
            let reason = format!("{} us is no compute time", cell.compute_us);
            return Err(Refused::new(of, reason));
        }
        sizes.entry(cell.bytes).or_default().push(cell);
    }
    let points = sizes.into_iter().map(|(bytes, cells)| {
        // Non-negative floats are ordered like their bits.
        let times = distinct(cells.iter().map(|cell| cell.compute_us.abs().to_bits()));
        if times < 3 {
            let reason = format!(
                "{times} compute times for {bytes} bytes, a line that can be seen to be wrong \
                 needs 3"
            );
            return Err(Refused::new(of, reason));
        }
        Ok(point(bytes, &cells, tolerance, seed))
    });
    Ok(BreakEven { tolerance, points: points.collect::<Result<_, _>>()? })
}

fn point(bytes: u64, cells: &[&BreakEvenCell], tolerance: f64, seed: u64) -> BreakEvenPoint {
    let line = |of: fn(&BreakEvenCell) -> &[f64]| {
        Linear::new(
            cells.iter().map(|cell| ([1.0, cell.compute_us], Center::new(of(cell).to_vec()))),
        )
    };
    let (rival, reference) = (line(|cell| &cell.rival), line(|cell| &cell.reference));
    let [threshold] = estimates(rival.first(), seed, |draw| {
        [meeting(rival.fit(draw), reference.fit(draw).map(|value| value * (1.0 + tolerance)))]
    });
    let answer = ThresholdKind::of(threshold.estimate);
    let measured = |time: f64| {
        cells.iter().any(|cell| cell.compute_us <= time)
            && cells.iter().any(|cell| cell.compute_us >= time)
    };
    BreakEvenPoint {
        bytes,
        answer,
        compute_us: (answer == ThresholdKind::At).then_some(threshold),
        interval_us: threshold.interval,
        extrapolated: answer == ThresholdKind::At && !measured(threshold.estimate),
        worst_residual: rival.worst_residual().max(reference.worst_residual()),
    }
}

/// The point from which on the first line stays at or below the second: 0 if it does so everywhere,
/// infinity if there is no such point.
fn meeting(rival: [f64; 2], allowed: [f64; 2]) -> f64 {
    let [start, slope] = [rival[0] - allowed[0], rival[1] - allowed[1]];
    if slope > 0.0 || (slope == 0.0 && start > 0.0) {
        f64::INFINITY
    } else if start <= 0.0 {
        0.0
    } else {
        -start / slope
    }
}
