//! What is said of a comparison, in the same words in every format.

use brigade_measure::comparison::{Compared, Comparison, EndedBy, Estimate, Verdict, in_percent};

use crate::units::count;

/// A ratio less one in percent with its sign: 0.012 is `+1.2`.
fn percent(ratio_less_one: f64) -> String {
    // Adding 0 makes -0 a 0: nobody wants to read "-0.0".
    format!("{:+.1}", (ratio_less_one * 1e3).round() / 10.0 + 0.0)
}

/// `+1.2 % (+0.4 .. +2.1)`, or `unknown`. A ratio of 1 is no change.
pub(crate) fn change(ratio: &Estimate) -> String {
    if !ratio.estimate.is_finite() {
        return "unknown".to_owned();
    }
    let estimate = percent(ratio.estimate - 1.0);
    // Of too few blocks: anything is possible.
    if ratio.interval == [0.0, f64::INFINITY] {
        return format!("{estimate} %");
    }
    let [low, high] = ratio.interval.map(|end| percent(end - 1.0));
    format!("{estimate} % ({low} .. {high})")
}

/// From which slowdown on a figure would have been called worse in 80 of 100 comparisons: `7.1 %`,
/// or `none`. JSON has what is beyond the tolerance.
pub(crate) fn smallest(cell: &Compared, tolerance: f64) -> String {
    let tolerance = cell.tolerance.unwrap_or(tolerance);
    match cell.detectable.is_finite() {
        true => {
            let from = (1.0 + tolerance) * (1.0 + cell.detectable) - 1.0;
            format!("{:.1} %", from * 100.0)
        }
        false => "none".to_owned(),
    }
}

/// A tolerance: 0.05 is `5 %`.
fn tolerated(tolerance: f64) -> String {
    format!("{} %", in_percent(tolerance))
}

/// What is said of a figure to a reader who knows no statistics: what changed and by how much, what
/// would have been found, and what to do.
pub(crate) fn reason(cell: &Compared, tolerance: f64) -> String {
    let limit = tolerated(cell.tolerance.unwrap_or(tolerance));
    let change = change_in_words(cell);
    let why = sentence(&cell.why);
    let said = match cell.verdict {
        Verdict::Better => vec![sentence(&change), why],
        Verdict::Same => {
            let found = match cell.detectable.is_finite() {
                true => {
                    format!("; {} or more would usually have been found", smallest(cell, tolerance))
                }
                false => String::new(),
            };
            match change.is_empty() {
                true => vec![why],
                false => {
                    vec![format!("{change}, within the {limit} that are tolerated{found}."), why]
                }
            }
        }
        Verdict::Worse => {
            let confirmed = match cell.confirmed {
                Some(true) => "; a second round found the same",
                _ => "",
            };
            let more = match change.is_empty() {
                true => String::new(),
                false => format!("{change}, more than the {limit} that are tolerated{confirmed}."),
            };
            let advice = "Profile base and head side by side, or raise --tolerance if the change \
                          is worth it.";
            vec![more, why, advice.to_owned()]
        }
        Verdict::Inconclusive => {
            vec![format!("Cannot tell: {why}"), likely(cell), advice(cell, tolerance)]
        }
    };
    said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `Head takes 9.7 % longer (5.1 to 13.8 %)`; nothing where there is no ratio.
fn change_in_words(cell: &Compared) -> String {
    let change = cell.ratio.estimate - 1.0;
    if !change.is_finite() {
        return String::new();
    }
    let (does, more, less) = match cell.metric.as_str() {
        "wall" => ("Head takes", "longer", "less time"),
        "cpu" | "user" | "system" => ("Head uses", "more processor time", "less processor time"),
        "instructions" => ("Head executes", "more instructions", "fewer instructions"),
        "peak-memory" => ("Head needs", "more memory", "less memory"),
        _ => ("Head's figure is", "higher", "lower"),
    };
    let size = |ratio_less_one: f64| percent(ratio_less_one)[1..].to_owned();
    let [low, high] = cell.ratio.interval.map(|end| end - 1.0);
    let between = match (low >= 0.0, high <= 0.0) {
        (true, _) => format!("{} to {} %", size(low), size(high)),
        (_, true) => format!("{} to {} %", size(high), size(low)),
        _ => format!("{} to {} %", percent(low), percent(high)),
    };
    let direction = if change < 0.0 { less } else { more };
    format!("{does} {} % {direction} ({between})", size(change))
}

/// What an open question most probably comes to: a reader of a green build should see it.
fn likely(cell: &Compared) -> String {
    match cell.ratio.estimate.is_finite() && cell.blocks > 0 {
        true => format!("Most likely it is {} %.", percent(cell.ratio.estimate - 1.0)),
        false => String::new(),
    }
}

fn advice(cell: &Compared, tolerance: f64) -> String {
    let more = match cell.ended_by {
        Some(EndedBy::Interruption) => return "Let it come to its end.".to_owned(),
        // There is nothing to run more of.
        Some(EndedBy::Failure) => return String::new(),
        _ if cell.blocks == 0 => return String::new(),
        Some(EndedBy::Budget) => match cell.budget_s {
            Some(budget) => format!("Raise --budget (it was {budget} s)"),
            None => "Raise --budget".to_owned(),
        },
        _ => "Run more blocks (--blocks)".to_owned(),
    };
    if !cell.detectable.is_finite() {
        return format!("So few blocks find nothing. {more}.");
    }
    let found = smallest(cell, tolerance);
    let other = if cell.metric == "wall" { ", use --metric cpu" } else { "" };
    format!(
        "With this noise only slowdowns above {found} would usually be called worse. {more}{other}, \
         find a quieter machine, or raise --tolerance."
    )
}

/// With a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    match text.is_empty() || text.ends_with(['.', '!', '?']) {
        true => text.to_owned(),
        false => format!("{text}."),
    }
}

/// The verdict of all: `worse: 4 figures, 1 worse, 3 same; tolerance 5 %, seed 7.`
pub(crate) fn overall(comparison: &Comparison) -> String {
    let cells = &comparison.cells;
    let mut parts = vec![count(cells.len() as u64, "figure")];
    for verdict in [Verdict::Worse, Verdict::Inconclusive, Verdict::Same, Verdict::Better] {
        let n = cells.iter().filter(|cell| cell.verdict == verdict).count();
        if n > 0 {
            parts.push(format!("{n} {verdict}"));
        }
    }
    let verdict = comparison.verdict;
    // Benchmarks may have tolerances of their own.
    let of_cells = cells.iter().map(|cell| cell.tolerance.unwrap_or(comparison.tolerance));
    let (least, most) = of_cells.fold((f64::INFINITY, 0.0_f64), |(least, most), tolerance| {
        (least.min(tolerance), most.max(tolerance))
    });
    let limit = match least < most {
        true => format!("{} to {}", tolerated(least), tolerated(most)),
        false => tolerated(if cells.is_empty() { comparison.tolerance } else { most }),
    };
    format!("{verdict}: {}; tolerance {limit}, seed {}.", parts.join(", "), comparison.seed)
}

/// What the columns of a table of figures mean.
pub(crate) const LEGEND: &str = "\
change: head against base, and between which values the true change lies. smallest detectable: \
slowdowns from here on would usually be called worse. noise: base against itself.";

#[cfg(test)]
mod tests;
