//! Compares two saved results, cell by cell.
//!
//! The results were not measured in turns, so their blocks are not paired. The blocks of each side,
//! and the samples within them, are resampled separately. No interval accounts for changes of the
//! machine between the two measurements.

use super::{Saved, SavedCell};
use crate::comparison::{Compared, Estimate, Verdict};
use crate::experiment::median;
use crate::rng::Rng;
use crate::stats::bootstrap::{self, BlockSamples};
use crate::stats::{detectable_from, holm, mann_whitney, median_in_place};

/// Seed of the resampling: the verdict for two given files is always the same.
pub const SEED: u64 = 1;
/// Confidence level of the intervals. Its complement is also the permitted probability that any of
/// all cells is wrongly called worse or better.
const CONFIDENCE: f64 = 0.99;
/// With fewer blocks, an interval from resampling them is too narrow.
const LEAST_BLOCKS: usize = 8;
const RESAMPLES: usize = 2000;

/// Explanation for two sides with identical samples.
const THE_SAME: &str = "both sides hold the same measurements";

/// Compares every cell that either side has. `relative` compares each file's ratios to threads or
/// to the floor instead of the values. A cell that only one side has, or that was not measured
/// completely, is inconclusive. Returns nothing if the two sides have no cell in common.
pub fn compare(base: &Saved, head: &Saved, tolerance: f64, relative: bool) -> Vec<Compared> {
    let of = |result: &'_ Saved| -> Vec<SavedCell> {
        result.cells.iter().filter(|cell| cell.is_compared()).cloned().collect()
    };
    let (of_base, of_head) = (of(base), of(head));
    let limit = 1.0 + tolerance;
    let mut cells = Vec::new();
    let mut common = false;
    for cell in &of_base {
        let other = of_head.iter().find(|other| other.is_of(cell));
        common |= other.is_some();
        cells.extend(pair([(base, Some(cell)), (head, other)], limit, relative));
    }
    for cell in &of_head {
        if !of_base.iter().any(|other| other.is_of(cell)) {
            cells.extend(pair([(base, None), (head, Some(cell))], limit, relative));
        }
    }
    if !common {
        return Vec::new();
    }
    judge(&mut cells, limit);
    cells
}

/// Compares one cell of both results; one of them may lack it. `None` if the cell does not take
/// part in the comparison.
fn pair(sides: [(&Saved, Option<&SavedCell>); 2], limit: f64, relative: bool) -> Option<Compared> {
    let [base, head] = sides.map(|(_, cell)| cell);
    let about = base.or(head)?;
    let references = sides.map(|(result, cell)| cell.and_then(|cell| result.reference(cell)));
    if relative && references == [None, None] {
        return None;
    }
    // Neither side was meant to measure this cell: it is a span that the backend does not have.
    if let (Some(base), Some(head)) = (base, head)
        && [base, head].into_iter().all(|cell| cell.blocks.is_empty() && cell.error.is_none())
    {
        return None;
    }
    let mut why: Vec<String> = Vec::new();
    for ((name, cell), reference) in [("base", base), ("head", head)].into_iter().zip(references) {
        match cell {
            None => why.push(format!("{name} has no such figure")),
            Some(SavedCell { error: Some(error), .. }) => {
                why.push(format!("{name} was not measured to the end: {error}"));
            }
            Some(cell) if cell.blocks.is_empty() => why.push(format!("{name} was not measured")),
            Some(_) if relative && reference.is_none() => {
                why.push(format!("{name} has neither threads nor a floor to be compared with"));
            }
            Some(_) => {}
        }
    }
    let why = why.join("; ");
    let unit = if relative { "ratio" } else { &about.unit };
    let mut compared = if relative {
        let with = |cell, reference| -> Vec<BlockSamples<2>> {
            let pairs = blocks(cell).iter().zip(blocks(reference));
            pairs.map(|(own, other)| [own.clone(), other.clone()]).collect()
        };
        compared(&with(base, references[0]), &with(head, references[1]), limit, |[own, other]| {
            over(median_in_place(own), median_in_place(other))
        })
    } else {
        let alone = |cell| -> Vec<BlockSamples<1>> {
            blocks(cell).iter().map(|samples| [samples.clone()]).collect()
        };
        compared(&alone(base), &alone(head), limit, |[own]| median_in_place(own))
    };
    compared.experiment.clone_from(&about.experiment);
    compared.case.clone_from(&about.case);
    compared.metric.clone_from(&about.metric);
    unit.clone_into(&mut compared.unit);
    compared.why = why;
    Some(compared)
}

fn blocks(cell: Option<&SavedCell>) -> &[Vec<f64>] {
    cell.map_or(&[], |cell| &cell.blocks)
}

/// A ratio; equal values, including two zeros, give 1.
fn over(over: f64, under: f64) -> f64 {
    if over == under { 1.0 } else { over / under }
}

/// Compares the two sides of a cell. The value of a side is the median of `figure` over its blocks.
/// The estimate, its interval and the test are all based on these values.
fn compared<const ARMS: usize>(
    base: &[BlockSamples<ARMS>],
    head: &[BlockSamples<ARMS>],
    limit: f64,
    figure: impl Fn(&mut BlockSamples<ARMS>) -> f64,
) -> Compared {
    let figures =
        |blocks: &mut [BlockSamples<ARMS>]| blocks.iter_mut().map(&figure).collect::<Vec<f64>>();
    let (of_base, of_head) = (figures(&mut base.to_vec()), figures(&mut head.to_vec()));
    let estimate = over(median(&of_head), median(&of_base));
    let blocks = of_base.len().min(of_head.len());
    let interval = match blocks {
        0 => [f64::NEG_INFINITY, f64::INFINITY],
        _ => {
            let rng = &mut Rng::new(SEED);
            bootstrap::of_two(base, head, CONFIDENCE, RESAMPLES, rng, |base, head| {
                over(median_in_place(&mut figures(head)), median_in_place(&mut figures(base)))
            })
        }
    };
    Compared {
        experiment: String::new(),
        case: serde_json::Map::new(),
        metric: String::new(),
        unit: String::new(),
        verdict: Verdict::Inconclusive,
        why: String::new(),
        blocks,
        ended_by: None,
        tolerance: None,
        budget_s: None,
        base: median(&of_base),
        head: median(&of_head),
        ratio: Estimate { estimate, interval, confidence: CONFIDENCE },
        aa: None,
        p: match blocks < LEAST_BLOCKS {
            true => f64::NAN,
            false => p_beyond(&of_base, &of_head, estimate, limit),
        },
        p_holm: f64::NAN,
        detectable: f64::INFINITY,
        confirmed: None,
        second: None,
        base_samples: of_base,
        again_samples: Vec::new(),
        head_samples: of_head,
    }
}

/// Two-sided p-value of "head differs from base by at most a factor of `limit` in either
/// direction". It tests the bound that the estimate exceeds; 1 if the estimate exceeds neither.
fn p_beyond(base: &[f64], head: &[f64], estimate: f64, limit: f64) -> f64 {
    let moved = |values: &[f64]| values.iter().map(|value| value * limit).collect::<Vec<f64>>();
    let (more, less) = if estimate > limit {
        (head.to_vec(), moved(base))
    } else if estimate < 1.0 / limit {
        (base.to_vec(), moved(head))
    } else {
        return 1.0;
    };
    let found = mann_whitney(&more, &less);
    // Medians may differ in one direction and ranks in the other.
    let half = (more.len() * less.len()) as f64 / 2.0;
    if found.u > half { found.p } else { 1.0 }
}

/// Sets the verdict of each cell. Among many cells, one deviates far by chance, so a change must
/// also be significant after Holm's correction.
fn judge(cells: &mut [Compared], limit: f64) {
    let tested: Vec<usize> = (0..cells.len()).filter(|at| !cells[*at].p.is_nan()).collect();
    let tests: Vec<f64> = tested.iter().map(|at| cells[*at].p).collect();
    for (at, p) in tested.iter().zip(holm(&tests)) {
        cells[*at].p_holm = p;
    }
    for cell in cells {
        if cell.blocks >= LEAST_BLOCKS {
            cell.detectable = detectable(cell, tested.len());
        }
        // Identical samples are the same however wide the interval is.
        if cell.why.is_empty() && are_same_measurements(cell) {
            (cell.verdict, cell.why) = (Verdict::Same, THE_SAME.to_owned());
            continue;
        }
        let (verdict, why) = verdict(cell, limit, tested.len());
        let unmeasured = !cell.why.is_empty();
        if !unmeasured {
            (cell.verdict, cell.why) = (verdict, why);
        } else if verdict == Verdict::Worse {
            // Some samples are missing, but those that exist already show a slowdown.
            cell.verdict = verdict;
        }
    }
}

fn are_same_measurements(cell: &Compared) -> bool {
    !cell.base_samples.is_empty() && cell.base_samples == cell.head_samples
}

/// Each cell is held to the first step of Holm's correction, which is the strictest.
fn detectable(cell: &Compared, tested: usize) -> f64 {
    let [low, high] = cell.ratio.interval;
    let reach = (high / low).ln() / 2.0;
    if !reach.is_finite() {
        return f64::INFINITY;
    }
    let degrees = (cell.base_samples.len() + cell.head_samples.len() - 2) as f64;
    let level = 1.0 - CONFIDENCE;
    detectable_from(reach, degrees, [level, level / tested as f64], 0.8)
}

fn verdict(cell: &Compared, limit: f64, tested: usize) -> (Verdict, String) {
    if cell.blocks < LEAST_BLOCKS {
        let why = format!("fewer than {LEAST_BLOCKS} blocks: measure with more --blocks");
        return (Verdict::Inconclusive, why);
    }
    let [low, high] = cell.ratio.interval;
    let looks = if low > limit {
        Verdict::Worse
    } else if high < 1.0 / limit {
        Verdict::Better
    } else if low >= 1.0 / limit && high <= limit {
        return (Verdict::Same, String::new());
    } else {
        let why = "the interval reaches over the tolerance: measure with more --blocks";
        return (Verdict::Inconclusive, why.to_owned());
    };
    let is_clear = cell.p_holm <= 1.0 - CONFIDENCE;
    if !is_clear {
        let why = format!(
            "it looks {looks}, but of {tested} figures one may look so by chance (p = {:.3} after \
             Holm's correction): measure with more --blocks",
            cell.p_holm
        );
        return (Verdict::Inconclusive, why);
    }
    let why = match looks {
        Verdict::Worse if cell.base == 0.0 => "base is 0, so that there is no ratio",
        Verdict::Worse => "not run in turns: `brigade ab` confirms it",
        _ => "",
    };
    (looks, why.to_owned())
}
