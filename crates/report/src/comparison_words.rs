//! What is said of a comparison, in the same words in every format.

use brigade_measure::comparison::{Compared, Comparison, Estimate, Verdict};

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
    let [low, high] = ratio.interval.map(|end| percent(end - 1.0));
    format!("{} % ({low} .. {high})", percent(ratio.estimate - 1.0))
}

/// The smallest detectable slowdown: `2.0 %`, or `none`.
pub(crate) fn smallest(detectable: f64) -> String {
    match detectable.is_finite() {
        true => format!("{:.1} %", detectable * 100.0),
        false => "none".to_owned(),
    }
}

/// A tolerance: 0.05 is `5 %`.
fn tolerated(tolerance: f64) -> String {
    format!("{} %", (tolerance * 1e6).round() / 1e4)
}

/// Why a figure has its verdict and, unless all is well, what to do.
pub(crate) fn reason(cell: &Compared, tolerance: f64) -> String {
    let confirmed = match cell.confirmed {
        Some(true) => "; a second round found the same",
        Some(false) => "; a second round did not find the same",
        None => "",
    };
    let why = sentence(&cell.why);
    let changed = sentence(&format!("{}{confirmed}", change(&cell.ratio)));
    let limit = tolerated(tolerance);
    let said = match cell.verdict {
        Verdict::Better | Verdict::Same => vec![changed, why],
        Verdict::Worse => vec![
            sentence(&format!("Slower by more than {limit}: {changed}")),
            why,
            "Profile base and head side by side, or raise the tolerance if it is worth it.".into(),
        ],
        Verdict::Inconclusive => vec![why, advice(cell, tolerance)],
    };
    said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn advice(cell: &Compared, tolerance: f64) -> String {
    if !cell.detectable.is_finite() {
        return "Run more blocks: these are too few to find anything.".to_owned();
    }
    let (found, limit) = (smallest(cell.detectable), tolerated(tolerance));
    match cell.detectable > tolerance {
        true => format!(
            "These blocks would find {found} at best and the tolerance is {limit}: run more \
             blocks, or tolerate more."
        ),
        false => format!(
            "There were blocks enough to find {found}: run it again on a machine that does \
             nothing else."
        ),
    }
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
    let (verdict, limit) = (comparison.verdict, tolerated(comparison.tolerance));
    format!("{verdict}: {}; tolerance {limit}, seed {}.", parts.join(", "), comparison.seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_in_percent() {
        let ratio = Estimate { estimate: 1.012, interval: [1.004, 1.021], confidence: 0.95 };
        assert_eq!(change(&ratio), "+1.2 % (+0.4 .. +2.1)");
        let none = Estimate { estimate: 0.9999, interval: [0.5, f64::INFINITY], confidence: 0.95 };
        assert_eq!(change(&none), "+0.0 % (-50.0 .. +inf)");
        let unknown = Estimate { estimate: f64::NAN, ..none };
        assert_eq!(change(&unknown), "unknown");
        assert_eq!(
            (smallest(0.0201).as_str(), smallest(f64::INFINITY).as_str()),
            ("2.0 %", "none")
        );
        assert_eq!((tolerated(0.07).as_str(), tolerated(0.0025).as_str()), ("7 %", "0.25 %"));
    }
}
