//! Change points of a series of measurements, one after another in time: where its level moved,
//! by how much, and how sure that is.
//!
//! The method is binary segmentation (Scott and Knott, "A cluster analysis method for grouping
//! means in the analysis of variance", 1974): the split of the series that two levels explain
//! best is tested, and if it holds, both sides are searched in the same way. A level that rises
//! and falls again can hide from that, because neither of its ends stands out in the whole. So
//! where no split of the whole holds, the seeded intervals of the series are searched, too
//! (Kovács, Bühlmann, Li and Munk, "Seeded binary segmentation", 2023).
//!
//! The levels of a split are Huber's M-estimates, and their difference is tested in two ways, of
//! which both have to hold; levels.rs says why.

mod levels;
mod ranks;
#[cfg(test)]
mod tests;

use crate::comparison::Estimate;
use levels::{Shift, place, shift, statistic};
use ranks::rank_sum_p;

/// Values of a level at least. A change is therefore seen when there are so many values after it,
/// and no sooner: three disturbed measurements in a row are no change.
pub const SHORTEST_LEVEL: usize = 4;

/// A series with fewer values has no change points. How much neighbours are alike cannot be told
/// from fewer, and where they are, a third of all false alarms came before this.
pub const FEWEST: usize = 20;

/// How often the best split of a series that has none may hold: shared out over all splits that
/// were looked at (Bonferroni). Neighbouring splits nearly agree, so it is less often in fact.
const ERROR: f64 = 0.01;
/// The level of one split at most: that of 30 values. A series that is looked at after every
/// commit is short many times.
const MOST_OF_A_SPLIT: f64 = 0.000_45;
/// The same for the splits of all seeded intervals together: what they are for is far above the
/// noise.
const ERROR_OF_INTERVALS: f64 = 0.001;
/// The ranks of a split of the whole have to hold at the level of its size times this. Their level
/// is exact whatever the noise looks like, and so it is what protects from noise that is lopsided
/// or has outliers.
const RANKS: f64 = 2.0;
/// What the ranks of a split of a seeded interval have to reach.
const RANKS_OF_INTERVALS: f64 = 0.000_1;
/// What the size of any change point has to reach between its neighbours in the end.
const CLEAR: f64 = 0.001;
/// A seeded interval is at least as long: with fewer values, ranks hardly reach their level.
const SHORTEST_INTERVAL: usize = 16;
/// Smaller changes are none, however clear they are: 0.001 is 0.1 %. Figures without noise
/// (instructions) move a little with every commit.
pub const SMALLEST_CHANGE: f64 = 0.001;
/// Of the interval of a change.
const CONFIDENCE: f64 = 0.95;

/// Where a series moves to another level.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangePoint {
    /// The first value of the new level, counted from 0.
    pub at: usize,
    /// The new level over the old one: 1.03 is 3 % more.
    pub ratio: Estimate,
    /// How likely a split as clear as this is where nothing changed, if it were the only one
    /// that was looked at.
    pub p: f64,
}

/// A stretch of values without a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Its first value, counted from 0.
    pub from: usize,
    /// The first value after it.
    pub to: usize,
    /// What its values are about.
    pub value: f64,
}

/// The change points of a series, in order. The same values always have the same change points:
/// nothing is random.
///
/// Values that are not above 0 or not finite have no ratios: a series that holds one has no change
/// points, and the caller leaves them out before.
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

/// The levels between the change points, each with its own estimate.
pub fn levels(values: &[f64], points: &[ChangePoint]) -> Vec<Level> {
    let starts = std::iter::once(0).chain(points.iter().map(|point| point.at));
    let ends = points.iter().map(|point| point.at).chain([values.len()]);
    let level = |(from, to): (usize, usize)| {
        let logarithms: Vec<f64> = values[from..to].iter().map(|value| value.ln()).collect();
        Level { from, to, value: levels::level(&logarithms).exp() }
    };
    starts.zip(ends).filter(|(from, to)| from < to).map(level).collect()
}

/// Finds the split of `values`, which begin at `offset` of the series, and those of both sides.
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

/// In how many places so many values can be split.
fn splits(values: usize) -> usize {
    (values + 1).saturating_sub(2 * SHORTEST_LEVEL)
}

/// The split with the largest difference, for its noise, among those whose size and ranks hold at
/// these levels.
fn clearest(values: &[f64], level: f64, of_ranks: f64) -> Option<usize> {
    // No split with less holds at any level that is asked for here.
    const LEAST: f64 = 2.5;
    let last = values.len().checked_sub(SHORTEST_LEVEL)?;
    let mut candidates: Vec<(f64, usize)> = (SHORTEST_LEVEL..=last)
        .map(|at| (statistic(values, at), at))
        .filter(|(t, _)| *t > LEAST)
        .collect();
    // Of equal ones the earlier.
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

/// Intervals of lengths that become less by the square root of 2, each shifted by about half of
/// its length against the one before, as in Kovács and others, definition 1. Without the whole.
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

/// Each change point where it fits best between its neighbours, with what is said of it there. A
/// split was found in a stretch with other changes in it, which pull it away from its place.
/// Removes change points that their neighbours do not confirm.
fn settled(values: &[f64], mut found: Vec<usize>) -> Vec<ChangePoint> {
    // Two passes: a neighbour that has moved changes the stretch.
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
    // The least clear goes first: without it, what is beside it may hold.
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

/// The stretch between the change points on both sides of the `i`th.
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
