//! Comma-separated values (RFC 4180): a row per figure under a row of names. What is not
//! known is empty.

use std::io::{self, Write};

use super::Document;

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
                    name,
                    cell.experiment.clone(),
                    cell.metric.clone(),
                    cell.unit.clone(),
                    serde_json::to_string(&cell.case)?,
                    cell.verdict.to_string(),
                    cell.why.clone(),
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
                    name,
                    cell.experiment.clone(),
                    cell.metric.to_owned(),
                    cell.unit.to_owned(),
                    serde_json::to_string(&cell.case)?,
                    cell.n.to_string(),
                    number(cell.min),
                    number(cell.p50),
                    number(cell.p95),
                    number(cell.p99),
                    number(cell.mean),
                    number(cell.ci95[0]),
                    number(cell.ci95[1]),
                    cell.error.clone().unwrap_or_default(),
                ])?;
            }
        }
    }
    csv.flush()
}

/// NaN is no number: an empty field is "missing" to every reader. `inf` is what R, pandas
/// and Rust read.
fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}
