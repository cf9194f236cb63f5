//! Comma-separated values (RFC 4180): a row per figure under a row of names. What is not
//! known is empty.

use std::io::{self, Write};

use brigade_proto::printable;
use serde_json::{Map, Value};

use super::Document;
use crate::clean;

pub(super) fn write(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let names = document.names();
    match document {
        Document::Comparison(comparison) => {
            csv.write_record([
                "name",
                "experiment",
                "metric",
                "unit",
                "case",
                "verdict",
                "why",
                "blocks",
                "base",
                "head",
                "ratio",
                "ratio_low",
                "ratio_high",
                "confidence",
                "aa",
                "aa_low",
                "aa_high",
                "p",
                "p_holm",
                "detectable",
                "confirmed",
            ])?;
            for (cell, name) in comparison.cells.iter().zip(names) {
                let aa = |of: fn(&brigade_measure::comparison::Estimate) -> f64| {
                    cell.aa.as_ref().map_or(String::new(), |aa| number(of(aa)))
                };
                csv.write_record([
                    text(&name),
                    text(&cell.experiment),
                    text(&cell.metric),
                    text(&cell.unit),
                    case(&cell.case)?,
                    cell.verdict.to_string(),
                    text(&cell.why),
                    cell.blocks.to_string(),
                    number(cell.base),
                    number(cell.head),
                    number(cell.ratio.estimate),
                    number(cell.ratio.interval[0]),
                    number(cell.ratio.interval[1]),
                    number(cell.ratio.confidence),
                    aa(|aa| aa.estimate),
                    aa(|aa| aa.interval[0]),
                    aa(|aa| aa.interval[1]),
                    number(cell.p),
                    number(cell.p_holm),
                    number(cell.detectable),
                    cell.confirmed.map_or(String::new(), |confirmed| confirmed.to_string()),
                ])?;
            }
        }
        Document::Bench(bench) => {
            csv.write_record([
                "name",
                "experiment",
                "metric",
                "unit",
                "case",
                "n",
                "min",
                "p50",
                "p95",
                "p99",
                "mean",
                "ci95_low",
                "ci95_high",
                "error",
            ])?;
            for (cell, name) in bench.experiments.iter().zip(names) {
                csv.write_record([
                    text(&name),
                    text(&cell.experiment),
                    text(cell.metric),
                    text(cell.unit),
                    case(&cell.case)?,
                    cell.n.to_string(),
                    number(cell.min),
                    number(cell.p50),
                    number(cell.p95),
                    number(cell.p99),
                    number(cell.mean),
                    number(cell.ci95[0]),
                    number(cell.ci95[1]),
                    text(cell.error.as_deref().unwrap_or_default()),
                ])?;
            }
        }
    }
    csv.flush()
}

/// NaN is no number: an empty field is "missing" to every reader. `inf` is what R, pandas
/// and Rust read.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

/// It begins with a brace, and stays JSON.
fn case(case: &Map<String, Value>) -> io::Result<String> {
    let mut text = Vec::new();
    clean::json(&mut text, case)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A text with an apostrophe before it if it begins like a formula, so that spreadsheets do not run
/// it. Characters that are not printable are escaped. Figures do not come here: `-0.5` stays.
pub(super) fn text(text: &str) -> String {
    let begins_a_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = printable(text);
    if begins_a_formula { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_formula() {
        for (given, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-x", "'-x"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            ("a=1", "a=1"),
            ("a\u{9b}\n", "a\\u{9b}\\n"),
            ("::error::x", "\\u{3a}:error::x"),
            ("", ""),
        ] {
            assert_eq!(text(given), expected);
        }
        assert_eq!(number(-0.5), "-0.5");
    }
}
