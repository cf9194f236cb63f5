//! What a history keeps of a saved result.

use brigade_measure::comparison::{COMPARE_SCHEMA, Comparison};
use brigade_measure::history::Kept;
use serde_json::{Map, Value};

use crate::bench::BENCH_SCHEMA;
use crate::formats::{Document, name};

/// The figures of a result, and where they are from.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptResult {
    /// Its schema.
    pub schema: String,
    /// The machine.
    pub host: Value,
    /// Those of which less is better: not what the machine takes without Brigade (floors), nor
    /// ratios of other figures.
    pub figures: Vec<Kept>,
    /// Names of figures that were not measured, or not to the end.
    pub unmeasured: Vec<String>,
}

/// Reads a result of `brigade bench`, or what `ab` and `compare` say of head.
///
/// # Errors
/// When it is something else, was interrupted, or has no figure that was measured.
pub fn read(result: &Value) -> Result<KeptResult, String> {
    let schema = result["schema"].as_str().ok_or("it is not a result of Brigade: no schema")?;
    let (host, all) = match schema {
        BENCH_SCHEMA => (&result["host"], of_bench(result)),
        COMPARE_SCHEMA => (&result["head"]["host"], of_comparison(result)?),
        other => {
            return Err(format!(
                "its schema is {other}; a history keeps {BENCH_SCHEMA} and {COMPARE_SCHEMA}"
            ));
        }
    };
    if result["interrupted"] == true {
        return Err("it was interrupted: measure to the end".to_owned());
    }
    let mut figures = Vec::new();
    let mut unmeasured = Vec::new();
    for (kept, is_whole) in all {
        let is_measured = is_whole && kept.median.is_finite() && kept.samples > 0;
        if is_measured { figures.push(kept) } else { unmeasured.push(kept.name) }
    }
    if figures.is_empty() {
        return Err("it has no figure that was measured to the end".to_owned());
    }
    Ok(KeptResult { schema: schema.to_owned(), host: host.clone(), figures, unmeasured })
}

fn of_comparison(result: &Value) -> Result<Vec<(Kept, bool)>, String> {
    let comparison: Comparison = serde_json::from_value(result.clone())
        .map_err(|error| format!("it is not whole as {COMPARE_SCHEMA}: {error}"))?;
    let figures = Document::Comparison(&comparison).figures();
    let kept = figures.iter().zip(&comparison.cells).filter(|(_, cell)| cell.unit != "ratio");
    let kept = kept.map(|(figure, cell)| {
        let samples = figure.samples.iter().filter(|sample| sample.is_finite()).count();
        let kept = Kept {
            name: figure.name.clone(),
            unit: figure.unit.to_owned(),
            median: figure.value,
            interval: figure.interval,
            samples,
            blocks: cell.blocks,
        };
        (kept, true)
    });
    Ok(kept.collect())
}

/// As they are named by `--export`.
fn of_bench(result: &Value) -> Vec<(Kept, bool)> {
    let cells = result["experiments"].as_array().map_or(&[][..], Vec::as_slice);
    let samples = |cell: &Value| cell["samples"].as_array().map_or(0, Vec::len);
    // Spans have no samples of their own: they are parts of other figures.
    let cells: Vec<&Value> =
        cells.iter().filter(|cell| cell["error"].is_string() || samples(cell) > 0).collect();
    let none = Map::new();
    let case = |cell: &'_ Value| cell["case"].as_object().cloned().unwrap_or_default();
    let names = cells.iter().map(|cell| {
        let text = |key: &str| cell[key].as_str().unwrap_or_default();
        let case = cell["case"].as_object().unwrap_or(&none);
        name::cell(text("experiment"), text("metric"), case)
    });
    let names = name::unique(names);
    let kept = cells
        .into_iter()
        .zip(names)
        .filter(|(cell, _)| cell["unit"] != "ratio" && !case(cell).contains_key("floor"));
    let kept = kept.map(|(cell, name)| {
        let end = |at: usize| cell["ci95"][at].as_f64();
        let blocks = cell["per_block"].as_array().map_or(samples(cell), |counts| {
            counts.iter().filter(|count| count.as_u64() > Some(0)).count()
        });
        let kept = Kept {
            name,
            unit: cell["unit"].as_str().unwrap_or_default().to_owned(),
            median: cell["p50"].as_f64().unwrap_or(f64::NAN),
            interval: end(0).zip(end(1)).map(|(low, high)| [low, high]),
            samples: samples(cell),
            blocks,
        };
        (kept, !cell["error"].is_string())
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_benchmark_has_its_figures_but_for_floors_and_ratios() {
        let cell = |case: Value, unit: &str| {
            json!({"experiment": "latency", "case": case, "metric": "round_trip", "unit": unit,
                   "p50": 2.5, "ci95": [2.0, 3.0], "samples": [2.0, 2.5, 3.0], "per_block": [1, 2]})
        };
        let mut failed = cell(json!({"backend": "async"}), "us");
        failed["error"] = json!("no more");
        let span = json!({"experiment": "latency", "case": {}, "metric": "encode", "unit": "us",
                          "p50": 1.0, "samples": []});
        let result = json!({"schema": "brigade.bench.v1", "host": {"cpu": "x"}, "experiments": [
            cell(json!({"backend": "threads", "bytes": 0}), "us"),
            cell(json!({"floor": "ping-pong"}), "us"), cell(json!({}), "ratio"), failed, span]});
        let kept = read(&result).unwrap();
        assert_eq!(
            kept.figures,
            [Kept {
                name: "latency round_trip backend=threads bytes=0".to_owned(),
                unit: "us".to_owned(),
                median: 2.5,
                interval: Some([2.0, 3.0]),
                samples: 3,
                blocks: 2,
            }]
        );
        assert_eq!(kept.unmeasured, ["latency round_trip backend=async"]);
        assert_eq!(kept.host, json!({"cpu": "x"}));
    }

    #[test]
    fn of_a_comparison_it_is_head() {
        let ratio = json!({"estimate": 1.1, "interval": [1.0, 1.21], "confidence": 0.99});
        let cell = json!({"experiment": "ab", "case": {}, "metric": "wall", "unit": "us",
            "verdict": "worse", "why": "", "blocks": 3, "base": 10.0, "head": 11.0, "ratio": ratio,
            "aa": ratio, "p": 0.01, "p_holm": 0.01, "detectable": 0.1, "confirmed": null,
            "base_samples": [10.0, 10.0, 10.0, 10.0], "again_samples": [],
            "head_samples": [11.0, 11.0, 11.0, null]});
        let side = |cpu: &str| json!({"name": cpu, "host": {"cpu": cpu}});
        let result = json!({"schema": "brigade.compare.v1", "kind": "ab", "base": side("old"),
            "head": side("new"), "tolerance": 0.05, "seed": 1, "took_s": 1.0, "warnings": [],
            "verdict": "worse", "cells": [cell]});
        let kept = read(&result).unwrap();
        assert_eq!(kept.host, json!({"cpu": "new"}));
        let Kept { name, median, interval, samples, blocks, .. } = &kept.figures[0];
        assert_eq!((&name[..], *median, *samples, *blocks), ("ab wall", 11.0, 3, 3));
        let [low, high] = interval.unwrap();
        assert!((low - 10.0).abs() < 1e-9 && (high - 12.1).abs() < 1e-9);
    }

    #[test]
    fn what_is_none_or_not_whole_says_so() {
        for (result, says) in [
            (json!([1]), "no schema"),
            (json!({"schema": "brigade.run.v1"}), "brigade.run.v1"),
            (json!({"schema": "brigade.compare.v1"}), "not whole"),
            (json!({"schema": "brigade.bench.v1", "interrupted": true}), "interrupted"),
            (json!({"schema": "brigade.bench.v1", "experiments": []}), "no figure"),
        ] {
            let error = read(&result).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
