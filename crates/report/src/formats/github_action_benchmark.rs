//! `customSmallerIsBetter` of <https://github.com/benchmark-action/github-action-benchmark>:
//! `[{"name", "unit", "value", "range", "extra"}]`.

use std::io::{self, Write};

use serde::Serialize;

use super::Document;
use crate::units;

#[derive(Serialize)]
struct BenchmarkEntry {
    name: String,
    unit: String,
    value: f64,
    /// The action reads the number after `±`.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

pub(super) fn write(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    let figures = document.figures().into_iter();
    let entries: Vec<BenchmarkEntry> = figures
        // The action wants a number.
        .filter(|figure| figure.value.is_finite())
        .map(|figure| {
            let samples = units::count(figure.samples.len() as u64, "sample");
            let half = |[low, high]: [f64; 2]| (figure.value - low).max(high - figure.value);
            let between =
                |[low, high]: [f64; 2]| format!(", between {} and {}", short(low), short(high));
            BenchmarkEntry {
                unit: figure.unit.to_owned(),
                value: figure.value,
                range: figure.interval.map(|interval| format!("± {}", short(half(interval)))),
                extra: format!(
                    "median of {samples}{}",
                    figure.interval.map_or(String::new(), between)
                ),
                name: figure.name,
            }
        })
        .collect();
    serde_json::to_writer_pretty(&mut *out, &entries)?;
    out.write_all(b"\n")
}

/// Four significant digits: more would be noise in a tooltip.
fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
