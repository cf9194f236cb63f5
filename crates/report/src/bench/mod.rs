//! What `brigade bench` measured: a table to read, or `brigade.bench.v1`.

mod break_even;
mod paradigms;
mod ratios;
pub(crate) mod scaling;
mod spans;

use std::io::{self, Write};

use brigade_measure::context::BlockContext;
use brigade_measure::experiment::Cell;
use brigade_measure::host::Host;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clean;

/// The schema of [`json`].
pub const BENCH_SCHEMA: &str = "brigade.bench.v1";

/// Everything that one invocation measured.
#[derive(Debug, Serialize)]
pub struct Bench {
    /// [`BENCH_SCHEMA`].
    pub schema: &'static str,
    /// The machine.
    pub host: Value,
    /// Things about it that a reader should know.
    pub warnings: Vec<String>,
    /// Of the order in which variants took turns.
    pub seed: u64,
    /// What was asked for of the pools that were measured; what is not there was as each
    /// experiment has it.
    pub config: Map<String, Value>,
    /// Whether it was ended before it was done.
    pub interrupted: bool,
    /// What it comes to, in sentences.
    pub findings: Vec<String>,
    /// What was measured.
    pub experiments: Vec<Cell>,
    /// What was fitted to it.
    pub models: Vec<Value>,
    /// Who did what when, of some runs.
    pub timelines: Vec<Value>,
    /// What the machine was like in each replication block.
    pub blocks: Vec<BlockContext>,
}

impl Bench {
    /// The results of `cells`, taken in an order of `seed`.
    pub fn new(host: &Host, seed: u64, experiments: Vec<Cell>) -> Self {
        let host = serde_json::to_value(host).unwrap_or(Value::Null);
        Self {
            schema: BENCH_SCHEMA,
            host,
            warnings: Vec::new(),
            seed,
            config: Map::new(),
            interrupted: false,
            findings: Vec::new(),
            experiments,
            models: Vec::new(),
            timelines: Vec::new(),
            blocks: Vec::new(),
        }
    }
}

/// Writes one JSON object.
///
/// # Errors
/// When `out` fails.
pub fn json(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    clean::json(out, bench)?;
    out.write_all(b"\n")
}

/// Writes a table for each situation, as it suits the experiment, and what all of it
/// comes to.
///
/// # Errors
/// When `out` fails.
pub fn human(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    clean::lines(out, |out| write(out, bench))
}

fn write(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    let of = |experiment: &str| {
        let cells = bench.experiments.iter().filter(|cell| cell.experiment == experiment);
        cells.collect::<Vec<_>>()
    };
    let mut seen: Vec<&str> = Vec::new();
    for cell in &bench.experiments {
        let experiment = cell.experiment.as_str();
        if seen.contains(&experiment) {
            continue;
        }
        seen.push(experiment);
        let cells = of(experiment);
        match experiment {
            "scaling" => scaling::tables(out, &cells, &bench.models)?,
            "break-even" => break_even::tables(out, &cells, &bench.models)?,
            "paradigms" => paradigms::tables(out, &cells, &bench.models)?,
            _ => {
                let (spans, cells): (Vec<_>, Vec<_>) =
                    cells.into_iter().partition(|cell| spans::is_span(cell));
                ratios::tables(out, &cells)?;
                spans::tables(out, &spans)?;
            }
        }
    }
    let mut failed: Vec<(&str, String)> = Vec::new();
    for cell in &bench.experiments {
        let name = (cell.experiment.as_str(), who(cell, &[]));
        // Once for all metrics.
        if let Some(error) = &cell.error
            && !failed.contains(&name)
        {
            writeln!(out, "- {} of {} failed: {error}", name.0, name.1)?;
            failed.push(name);
        }
    }
    for finding in &bench.findings {
        writeln!(out, "- {finding}")?;
    }
    if !bench.findings.is_empty() {
        writeln!(out)?;
    }
    if bench.interrupted {
        writeln!(out, "Interrupted: this is what had been measured.")?;
    }
    writeln!(
        out,
        "Medians with their 95 % intervals, variants in random order, seed {}.",
        bench.seed
    )
}

/// The groups of cells that agree in these keys, in the order of their first cells.
fn groups<'a>(cells: &[&'a Cell], keys: &[&str]) -> Vec<Vec<&'a Cell>> {
    let mut groups: Vec<Vec<&Cell>> = Vec::new();
    let same = |a: &Cell, b: &Cell| keys.iter().all(|key| a.case.get(*key) == b.case.get(*key));
    for &cell in cells {
        match groups.iter_mut().find(|group| same(group[0], cell)) {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    groups
}

/// The value of a key as a person says it.
fn said(key: &str, value: &Value) -> String {
    match key {
        "bytes" => value.as_u64().map_or_else(|| text(value), crate::units::bytes),
        "workers" if value == 1 => "1 worker".to_owned(),
        "workers" => format!("{value} workers"),
        "depth" => format!("depth {value}"),
        _ => text(value),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Who did it: everything of the case that is not of the situation.
fn who(cell: &Cell, situation: &[&str]) -> String {
    let parts = cell.case.iter().filter(|(key, _)| !situation.contains(&key.as_str()));
    parts.map(|(key, value)| said(key, value)).collect::<Vec<_>>().join(" ")
}

/// A number of the case of a cell.
fn number(cell: &Cell, key: &str) -> Option<f64> {
    cell.case.get(key).and_then(Value::as_f64)
}

/// Whether a cell is one of this backend.
fn is_backend(cell: &Cell, backend: &str) -> bool {
    cell.case.get("backend").is_some_and(|name| name == backend)
}

/// Microseconds as a person reads them; nothing where nothing was measured.
fn time(us: f64) -> String {
    if us.is_finite() { crate::units::time((us * 1e3).round() as u64) } else { String::new() }
}

/// An estimate of a model, as JSON: the guess and its interval.
fn estimate(value: Option<&Value>) -> Option<[f64; 3]> {
    let value = value?;
    let interval = value.get("interval")?;
    // An end without bound is null.
    let end = |at: usize| interval.get(at).and_then(Value::as_f64).unwrap_or(f64::INFINITY);
    Some([value.get("estimate")?.as_f64()?, end(0), end(1)])
}

/// The models of a kind whose case says of these keys what the cell's says.
fn models<'a>(models: &'a [Value], kind: &str, cell: &Cell, keys: &[&str]) -> Option<&'a Value> {
    models.iter().find(|model| {
        model["model"] == kind
            && keys.iter().all(|key| model["case"].get(*key) == cell.case.get(*key))
    })
}

/// A cell for tests of tables: one sample.
#[cfg(test)]
fn cell(experiment: &str, metric: &'static str, case: Value, value: f64) -> Cell {
    Cell {
        experiment: experiment.to_owned(),
        case: case.as_object().cloned().unwrap_or_default(),
        metric,
        unit: "us",
        n: 1,
        min: value,
        p50: value,
        p95: value,
        p99: value,
        mean: value,
        ci95: [value; 2],
        samples: vec![value],
        per_block: vec![1],
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_measure::experiment::{ExperimentHooks, Metric, Plan, Variant, run};
    use serde_json::json;

    fn bench() -> Bench {
        let variant = |case: Value, us: f64| {
            Variant::new(case.as_object().cloned().unwrap(), move || Ok(vec![us]))
        };
        let mut variants = [
            variant(json!({"backend": "threads", "bytes": 0, "workers": 1}), 2.0),
            variant(json!({"backend": "processes", "bytes": 0, "workers": 1}), 3.0),
            variant(json!({"floor": "ping-pong", "bytes": 0, "workers": 1}), 0.5),
        ];
        let plan = Plan { blocks: 6, budget: None, precision: None, seed: 1 };
        let mut hooks = ExperimentHooks { done: &mut |_| {}, is_interrupted: &|| false };
        let metrics = [Metric::us("round_trip")];
        let measured = run("latency", &metrics, &mut variants, &plan, &mut hooks);
        Bench::new(&Host::read(), 1, measured.cells)
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_threads_of_the_same_situation() {
        let mut out = Vec::new();
        human(&mut out, &bench()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = text.lines().find(|line| line.trim_start().starts_with("processes")).unwrap();
        assert!(row.contains("6.00") && row.contains("1.50"), "{text}");
        assert!(text.starts_with("latency round_trip: 0 B, 1 worker\n"), "{text}");
    }

    #[test]
    fn findings_failures_and_an_interrupt_are_told_once() {
        let mut bench = bench();
        let case = json!({"backend": "processes", "workers": 2});
        for metric in ["wall", "imbalance"] {
            let mut failed = cell("scaling", metric, case.clone(), f64::NAN);
            failed.error = Some("no more".to_owned());
            bench.experiments.push(failed);
        }
        bench.findings = vec!["it costs little".to_owned()];
        bench.interrupted = true;
        let mut out = Vec::new();
        human(&mut out, &bench).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("scaling of processes 2 workers failed: no more").count(), 1);
        assert!(text.contains("- it costs little\n") && text.contains("Interrupted"), "{text}");
    }

    #[test]
    fn json_has_every_sample() {
        let mut out = Vec::new();
        json(&mut out, &bench()).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["schema"], BENCH_SCHEMA);
        assert_eq!(value["experiments"][1]["samples"], json!(vec![3.0; 6]));
        assert_eq!(value["experiments"][1]["ci95"], json!([3.0, 3.0]));
    }
}
