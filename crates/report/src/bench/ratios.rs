//! Tables of one column of times: median, interval, and ratios.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use serde_json::Value;

use super::{is_backend, said, who};

/// Keys that make cells comparable: the same work in the same situation.
fn situation_keys(cell: &Cell) -> &'static [&'static str] {
    // How much more workers do together is what throughput is about.
    match cell.experiment.as_str() {
        "throughput" => &["kernel", "mode"],
        _ => &["kernel", "bytes", "state", "workers"],
    }
}

/// A table for each metric and situation: median, its interval, and ratios to the floor
/// and to threads; of throughput, jobs per second and how many times one worker's.
pub(super) fn tables(out: &mut dyn Write, cells: &[&Cell]) -> io::Result<()> {
    let mut metrics: Vec<&str> = Vec::new();
    for cell in cells {
        if !metrics.contains(&cell.metric) {
            metrics.push(cell.metric);
        }
    }
    for metric in metrics {
        let of: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.metric == metric).collect();
        for rows in super::groups(&of, of.first().map_or(&[], |cell| situation_keys(cell))) {
            table(out, &rows)?;
        }
    }
    Ok(())
}

fn what(cell: &Cell) -> String {
    let keys = situation_keys(cell).iter();
    let parts = keys.filter_map(|key| Some(said(key, cell.case.get(*key)?)));
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("{} {}: {parts}", cell.experiment, cell.metric)
}

fn table(out: &mut dyn Write, rows: &[&Cell]) -> io::Result<()> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let median = |wanted: &dyn Fn(&Cell) -> bool| {
        rows.iter().find(|row| wanted(row)).map(|row| row.p50).filter(|p50| *p50 > 0.0)
    };
    let is_floor = |row: &Cell| row.case.contains_key("floor");
    let is_threads = |row: &Cell| is_backend(row, "threads");
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
        if row.n == 0 {
            // It failed, or the budget left it no turn.
            writeln!(out, "  {:40} {:>11}", who(row, situation_keys(row)), "-")?;
            continue;
        }
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
            "  {:40} {:>8.2} us {:>25} {:>11} {:>9} {:>10}",
            who(row, situation_keys(row)),
            row.p50,
            interval(row.ci95),
            fourth,
            fifth.map_or(String::new(), |times| format!("{times:.2}")),
            ratio(row.p50, threads),
        )?;
    }
    writeln!(out)
}

/// Nothing where there were too few blocks.
fn interval([low, high]: [f64; 2]) -> String {
    match low.is_finite() && high.is_finite() {
        true => format!("{low:.2} ..{high:>9.2} us"),
        false => "-".to_owned(),
    }
}
