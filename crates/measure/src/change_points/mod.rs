//! Change points of a time series of measurements: where its level moved, by how much, and with
//! what certainty.
//!
//! The method is binary segmentation (Scott and Knott, "A cluster analysis method for grouping
//! means in the analysis of variance", 1974). It tests the split of the series that two levels
//! explain best. If the split is significant, it searches both sides in the same way. A level that
//! rises and falls again can hide from this method, because neither of its ends stands out in the
//! whole series. If no split of the whole is significant, the seeded intervals of the series are
//! therefore searched, too (Kovács, Bühlmann, Li and Munk, "Seeded binary segmentation", 2023).
//!
//! The levels of a split are Huber's M-estimates. Their difference is tested in two ways, and both
//! tests must reject; levels.rs explains why.

mod levels;
mod ranks;
#[cfg(test)]
mod tests;

use crate::comparison::Estimate;
use levels::{Shift, place, shift, statistic};
use ranks::rank_sum_p;

/// Minimum number of values of a level. A change is therefore detected only when this many values
/// follow it: three disturbed measurements in a row are not a change.
pub const SHORTEST_LEVEL: usize = 4;

/// A series with fewer values has no change points. The correlation of neighbours cannot be
/// estimated from fewer values. Where neighbours are correlated, a third of all false alarms came
/// from shorter series.
pub const FEWEST: usize = 20;

/// Permitted error rate of the best split of a series without a change, divided among all splits
/// that are tested (Bonferroni). Neighbouring splits nearly agree, so the actual error rate is
/// lower.
const ERROR: f64 = 0.01;
/// Maximum level of one split, which is about the level for a series of 30 values. A series that is
/// tested after every commit is tested many times while it is short.
const MOST_OF_A_SPLIT: f64 = 0.000_45;
/// The permitted error rate for the splits of all seeded intervals together. The changes for which
/// these intervals exist are far above the noise.
const ERROR_OF_INTERVALS: f64 = 0.001;
/// The rank test of a split of the whole must reject at the level of the size test times this
/// factor. The level of the rank test is exact for any noise, so this test protects against noise
/// that is skewed or has outliers.
const RANKS: f64 = 2.0;
/// Level at which the rank test of a split of a seeded interval must reject.
const RANKS_OF_INTERVALS: f64 = 0.000_1;
/// Level at which the size test of every final change point must reject between its neighbours.
const CLEAR: f64 = 0.001;
/// Minimum length of a seeded interval. With fewer values, the rank test can hardly reach its
/// level.
const SHORTEST_INTERVAL: usize = 16;
/// Smaller changes are ignored, however clear they are: 0.001 is 0.1 %. Measurements without noise
/// (instructions) move a little with every commit.
pub const SMALLEST_CHANGE: f64 = 0.001;
/// Confidence level of the interval of a change.
const CONFIDENCE: f64 = 0.95;

/// A point at which the series moves to another level.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangePoint {
    /// The first value of the new level, counted from 0.
    pub at: usize,
    /// The new level over the old one: 1.03 is 3 % more.
    pub ratio: Estimate,
    /// Probability of a split at least this clear where nothing changed, if it were the only split
    /// tested.
    pub p: f64,
}

/// A stretch of values without a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Its first value, counted from 0.
    pub from: usize,
    /// The first value after it.
    pub to: usize,
    /// Estimated level of its values.
    pub value: f64,
}

/// The change points of a series, in order. The function is deterministic: the same values always
/// have the same change points.
///
/// Values that are not positive or not finite have no ratios. A series that contains one has no
/// change points; the caller should remove such values first.
pub fn change_points(values: &[f64]) -> Vec<ChangePoint> {
    let has_ratios = values.iter().all(|value| value.is_finite() && *value > 0.0);
    if !has_ratios || values.len() < FEWEST {
        return Vec::new();
    }
    let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let mut found = Vec::new();
    search(&logarithms, 0, &mut found);
    found.sort_unstable();
    settled(&logarithms, found)
}

/// The levels between the change points, each estimated from its own values.
pub fn levels(values: &[f64], points: &[ChangePoint]) -> Vec<Level> {
    let starts = std::iter::once(0).chain(points.iter().map(|point| point.at));
    let ends = points.iter().map(|point| point.at).chain([values.len()]);
    let level = |(from, to): (usize, usize)| {
        let logarithms: Vec<f64> = values[from..to].iter().map(|value| value.ln()).collect();
        Level { from, to, value: levels::level(&logarithms).exp() }
    };
    starts.zip(ends).filter(|(from, to)| from < to).map(level).collect()
}

/// Finds the best significant split of `values`, which start at `offset` of the series, and
/// recursively the splits of both sides.
fn search(values: &[f64], offset: usize, found: &mut Vec<usize>) {
    let Some(at) = best_split(values) else { return };
    found.push(offset + at);
    let (before, after) = values.split_at(at);
    search(before, offset, found);
    search(after, offset + at, found);
}

fn best_split(values: &[f64]) -> Option<usize> {
    let splits = splits(values.len());
    if splits == 0 {
        return None;
    }
    let level = (ERROR / splits as f64).min(MOST_OF_A_SPLIT);
    if let Some(at) = clearest(values, level, RANKS * level) {
        return Some(at);
    }
    let intervals = seeded_intervals(values.len());
    let all: usize = intervals.iter().map(|(from, to)| self::splits(to - from)).sum();
    let level = ERROR_OF_INTERVALS / all as f64;
    let of = |(from, to): (usize, usize)| {
        let at = clearest(&values[from..to], level, RANKS_OF_INTERVALS)?;
        Some((shift(&values[from..to], at).t(), from + at))
    };
    let best = intervals.into_iter().filter_map(of).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, at)| at)
}

/// Number of positions at which a series of this many values can be split.
fn splits(values: usize) -> usize {
    (values + 1).saturating_sub(2 * SHORTEST_LEVEL)
}

/// The split with the largest difference relative to its noise, among those that pass the size test
/// and the rank test at these levels.
fn clearest(values: &[f64], level: f64, of_ranks: f64) -> Option<usize> {
    // No split with a smaller statistic passes at any level that is used here.
    const LEAST: f64 = 2.5;
    let last = values.len().checked_sub(SHORTEST_LEVEL)?;
    let mut candidates: Vec<(f64, usize)> = (SHORTEST_LEVEL..=last)
        .map(|at| (statistic(values, at), at))
        .filter(|(t, _)| *t > LEAST)
        .collect();
    // Of equal statistics, the earlier split comes first.
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let holds = |at: &usize| {
        let shift = shift(values, *at);
        is_large(&shift)
            && shift.p() <= level
            && rank_sum_p(&values[..*at], &values[*at..]) <= of_ranks
    };
    candidates.into_iter().map(|(_, at)| at).find(holds)
}

fn is_large(shift: &Shift) -> bool {
    shift.by.abs() >= SMALLEST_CHANGE.ln_1p()
}

/// The seeded intervals. Their lengths decrease by a factor of the square root of 2 from layer to
/// layer, and each interval is shifted by about half its length against the one before (Kovács et
/// al., definition 1). The whole series is left out.
fn seeded_intervals(values: usize) -> Vec<(usize, usize)> {
    let n = values as f64;
    let mut intervals = Vec::new();
    for layer in 1.. {
        let share = 0.5_f64.powf(f64::from(layer) / 2.0);
        let length = n * share;
        if length < SHORTEST_INTERVAL as f64 {
            break;
        }
        let count = 2 * (1.0 / share - 1e-9).ceil() as usize - 1;
        let shift = (n - length) / (count - 1) as f64;
        intervals.extend((0..count).map(|i| {
            let from = i as f64 * shift;
            (from.floor() as usize, ((from + length).ceil() as usize).min(values))
        }));
    }
    intervals
}

/// Moves each change point to the position that fits best between its neighbours, and computes its
/// statistics there. A split is first found in a stretch that contains other changes, which pull it
/// away from its true position. Also removes change points that are not significant between their
/// neighbours.
fn settled(values: &[f64], mut found: Vec<usize>) -> Vec<ChangePoint> {
    // Two passes, because moving a neighbour changes the stretch.
    for _ in 0..2 {
        for i in 0..found.len() {
            let (from, to) = neighbours(&found, i, values.len());
            found[i] = from + place(&values[from..to], found[i] - from, SHORTEST_LEVEL);
        }
    }
    let shift_of = |found: &[usize], i: usize| {
        let (from, to) = neighbours(found, i, values.len());
        shift(&values[from..to], found[i] - from)
    };
    // The least clear change point is removed first, because its neighbours may be significant
    // without it.
    loop {
        let shifts: Vec<Shift> = (0..found.len()).map(|i| shift_of(&found, i)).collect();
        let doubtful = |shift: &Shift| !is_large(shift) || shift.p() > CLEAR;
        let worst = (0..found.len())
            .filter(|i| doubtful(&shifts[*i]))
            .min_by(|a, b| shifts[*a].t().total_cmp(&shifts[*b].t()));
        match worst {
            Some(worst) => {
                found.remove(worst);
            }
            None => {
                let points = found.into_iter().zip(&shifts);
                return points.map(|(at, shift)| point(at, shift)).collect();
            }
        }
    }
}

/// The stretch between the change points before and after the `i`th.
fn neighbours(found: &[usize], i: usize, end: usize) -> (usize, usize) {
    let before = i.checked_sub(1).map_or(0, |before| found[before]);
    (before, found.get(i + 1).copied().unwrap_or(end))
}

fn point(at: usize, shift: &Shift) -> ChangePoint {
    let reach = shift.reach(CONFIDENCE);
    let ratio = Estimate {
        estimate: shift.by.exp(),
        interval: [(shift.by - reach).exp(), (shift.by + reach).exp()],
        confidence: CONFIDENCE,
    };
    ChangePoint { at, ratio, p: shift.p() }
}
