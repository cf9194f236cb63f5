//! What `brigade bench` measured: a table to read, or `brigade.bench.v1`.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use brigade_measure::host::Host;
use serde::Serialize;
use serde_json::Value;

/// The schema of [`json`].
pub const BENCH_SCHEMA: &str = "brigade.bench.v1";

/// Everything that one invocation measured.
#[derive(Debug, Serialize)]
pub struct Bench {
    schema: &'static str,
    host: Value,
    seed: u64,
    experiments: Vec<Cell>,
    /// None are fitted yet.
    models: Vec<Value>,
}

impl Bench {
    /// The results of `cells`, taken in an order of `seed`.
    pub fn new(host: &Host, seed: u64, experiments: Vec<Cell>) -> Self {
        let host = serde_json::to_value(host).unwrap_or(Value::Null);
        Self { schema: BENCH_SCHEMA, host, seed, experiments, models: Vec::new() }
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
const SITUATION: [&str; 4] = ["kernel", "bytes", "state", "workers"];

fn situation(cell: &Cell) -> Vec<Option<&Value>> {
    SITUATION.iter().map(|key| cell.case.get(*key)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Who did it: everything of the case that is not the situation.
fn who(cell: &Cell) -> String {
    let parts = cell.case.iter().filter(|(key, _)| !SITUATION.contains(&key.as_str()));
    parts.map(|(_, value)| text(value)).collect::<Vec<_>>().join(" ")
}

fn what(cell: &Cell) -> String {
    let said = SITUATION.iter().filter_map(|key| {
        let value = cell.case.get(*key)?;
        Some(match *key {
            "bytes" => crate::units::bytes(value.as_u64()?),
            "workers" => format!("{value} workers"),
            _ => text(value),
        })
    });
    format!("{} {}: {}", cell.experiment, cell.metric, said.collect::<Vec<_>>().join(", "))
}

/// Writes a table for each situation: median, its interval, and ratios to the floor
/// and to threads.
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
    let of = |wanted: &dyn Fn(&Cell) -> bool| {
        rows.iter().find(|row| wanted(row)).map(|row| row.p50).filter(|p50| *p50 > 0.0)
    };
    let floor = of(&|row| row.case.contains_key("floor"));
    let threads = of(&|row| row.case.get("backend").is_some_and(|name| name == "threads"));
    writeln!(out, "{}", what(first))?;
    writeln!(
        out,
        "  {:34} {:>11} {:>25} {:>11} {:>9} {:>10}",
        "", "median", "95 % interval", "p95", "x floor", "x threads"
    )?;
    let ratio = |of: f64, to: Option<f64>| to.map_or(String::new(), |to| format!("{:.2}", of / to));
    for row in rows {
        writeln!(
            out,
            "  {:34} {:>8.2} us {:>11.2} ..{:>9.2} us {:>8.2} us {:>9} {:>10}",
            who(row),
            row.p50,
            row.ci95[0],
            row.ci95[1],
            row.p95,
            ratio(row.p50, floor),
            ratio(row.p50, threads),
        )?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_measure::experiment::{Variant, run};
    use serde_json::json;

    fn bench() -> Bench {
        let variant = |case: Value, us: f64| Variant {
            case: case.as_object().cloned().unwrap(),
            run: Box::new(move || vec![us]),
        };
        let mut variants = [
            variant(json!({"backend": "threads", "bytes": 0, "workers": 1}), 2.0),
            variant(json!({"backend": "processes", "bytes": 0, "workers": 1}), 3.0),
            variant(json!({"floor": "ping-pong", "bytes": 0, "workers": 1}), 0.5),
        ];
        let cells = run("latency", "round_trip", &mut variants, 3, 1, |_| {});
        Bench::new(&Host::read(), 1, cells)
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_threads_of_the_same_situation() {
        let mut out = Vec::new();
        human(&mut out, &bench()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = text.lines().find(|line| line.trim_start().starts_with("processes")).unwrap();
        assert!(row.contains("6.00") && row.contains("1.50"), "{text}");
        assert!(text.starts_with("latency round_trip: 0 B, 1 workers"), "{text}");
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
