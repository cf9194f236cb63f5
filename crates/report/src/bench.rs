//! What `brigade bench` measured: a table to read, or `brigade.bench.v1`.

use std::io::{self, Write};

use brigade_measure::context::Block;
use brigade_measure::experiment::Cell;
use brigade_measure::host::Host;
use serde::Serialize;
use serde_json::Value;

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
    pub blocks: Vec<Block>,
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
    serde_json::to_writer(&mut *out, bench)?;
    out.write_all(b"\n")
}

/// Keys that make cells comparable: the same work in the same situation.
fn situation_keys(cell: &Cell) -> &'static [&'static str] {
    // How much more workers do together is what throughput is about.
    match cell.experiment.as_str() {
        "throughput" => &["kernel", "mode"],
        _ => &["kernel", "bytes", "state", "workers"],
    }
}

fn situation(cell: &Cell) -> Vec<Option<&Value>> {
    situation_keys(cell).iter().map(|key| cell.case.get(*key)).collect()
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

/// Who did it: everything of the case that is not the situation.
fn who(cell: &Cell) -> String {
    let keys = situation_keys(cell);
    let parts = cell.case.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
    parts.map(|(key, value)| said(key, value)).collect::<Vec<_>>().join(" ")
}

fn what(cell: &Cell) -> String {
    let keys = situation_keys(cell).iter();
    let parts = keys.filter_map(|key| Some(said(key, cell.case.get(*key)?)));
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("{} {}: {parts}", cell.experiment, cell.metric)
}

/// Writes a table for each situation: median, its interval, and ratios to the floor
/// and to threads; of throughput, jobs per second and how many times one worker's.
///
/// # Errors
/// When `out` fails.
pub fn human(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    let mut seen: Vec<(&str, &str, Vec<Option<&Value>>)> = Vec::new();
    for cell in &bench.experiments {
        let key = (cell.experiment.as_str(), cell.metric, situation(cell));
        if seen.contains(&key) {
            continue;
        }
        let rows: Vec<&Cell> = bench
            .experiments
            .iter()
            .filter(|row| (row.experiment.as_str(), row.metric, situation(row)) == key)
            .collect();
        seen.push(key);
        table(out, &rows)?;
    }
    writeln!(
        out,
        "Medians with their 95 % intervals, variants in random order, seed {}.",
        bench.seed
    )
}

fn table(out: &mut dyn Write, rows: &[&Cell]) -> io::Result<()> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let median = |wanted: &dyn Fn(&Cell) -> bool| {
        rows.iter().find(|row| wanted(row)).map(|row| row.p50).filter(|p50| *p50 > 0.0)
    };
    let is_floor = |row: &Cell| row.case.contains_key("floor");
    let is_threads = |row: &Cell| row.case.get("backend").is_some_and(|name| name == "threads");
    let with_workers = |row: &Cell, workers: Option<&Value>| row.case.get("workers") == workers;
    let floor = median(&is_floor);
    let one = Value::from(1);
    let many = first.experiment == "throughput";
    writeln!(out, "{}", what(first))?;
    writeln!(
        out,
        "  {:40} {:>11} {:>25} {:>11} {:>9} {:>10}",
        "",
        "median",
        "95 % interval",
        if many { "jobs/s" } else { "p95" },
        if many { "x 1 worker" } else { "x floor" },
        "x threads"
    )?;
    let ratio = |of: f64, to: Option<f64>| to.map_or(String::new(), |to| format!("{:.2}", of / to));
    for row in rows {
        let workers = row.case.get("workers");
        let threads = median(&|other| is_threads(other) && with_workers(other, workers));
        let alone = median(&|other| {
            let same = |key: &str| other.case.get(key) == row.case.get(key);
            same("backend") && same("depth") && with_workers(other, Some(&one))
        });
        let (fourth, fifth) = match many {
            true => (format!("{:.0}", 1e6 / row.p50), alone.map(|us| us / row.p50)),
            false => (format!("{:.2} us", row.p95), floor.map(|us| row.p50 / us)),
        };
        writeln!(
            out,
            "  {:40} {:>8.2} us {:>11.2} ..{:>9.2} us {:>11} {:>9} {:>10}",
            who(row),
            row.p50,
            row.ci95[0],
            row.ci95[1],
            fourth,
            fifth.map_or(String::new(), |times| format!("{times:.2}")),
            ratio(row.p50, threads),
        )?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_measure::experiment::{Hooks, Metric, Plan, Variant, run};
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
        let plan = Plan { blocks: 3, budget: None, precision: None, seed: 1 };
        let mut hooks = Hooks { done: &mut |_| {}, is_interrupted: &|| false };
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
    fn json_has_every_sample() {
        let mut out = Vec::new();
        json(&mut out, &bench()).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["schema"], BENCH_SCHEMA);
        assert_eq!(value["experiments"][1]["samples"], json!([3.0, 3.0, 3.0]));
        assert_eq!(value["experiments"][1]["ci95"], json!([3.0, 3.0]));
    }
}
