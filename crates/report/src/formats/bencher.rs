//! Bencher Metric Format (<https://bencher.dev/docs/reference/bencher-metric-format>):
//! `{"name": {"latency": {"value", "lower_value", "upper_value"}}}`.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::Document;
use crate::units;

pub(super) fn write(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    let mut benchmarks = Map::new();
    for figure in document.figures() {
        // A value is required and has to be a number.
        if !figure.value.is_finite() {
            continue;
        }
        let (measure, times) = measure(figure.unit);
        let mut metric = json!({"value": figure.value * times});
        if let Some([low, high]) = figure.interval {
            metric["lower_value"] = Value::from(low * times);
            metric["upper_value"] = Value::from(high * times);
        }
        benchmarks.insert(figure.name, json!({measure: metric}));
    }
    serde_json::to_writer_pretty(&mut *out, &benchmarks)?;
    out.write_all(b"\n")
}

/// The slug of the measure, and how many of its unit are one of `unit`. Bencher's own
/// measure `latency` is in nanoseconds; other units are measures of their own.
fn measure(unit: &str) -> (String, f64) {
    match units::per_second(unit) {
        Some(per_second) => ("latency".to_owned(), 1e9 / per_second),
        None => {
            let dashed =
                |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
            let slug: String = unit.chars().map(dashed).collect();
            let slug = slug.trim_matches('-');
            (if slug.is_empty() { "value" } else { slug }.to_owned(), 1.0)
        }
    }
}
