//! What more workers are worth.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use serde_json::Value;

use super::{estimate, groups, is_backend, models, number, said, text, time};
use crate::units::{bytes, digits};

/// The situation: what is told above the table.
const SITUATION: [&str; 2] = ["kernel", "mode"];

/// A table for each kernel and way to grow.
pub(super) fn tables(out: &mut dyn Write, cells: &[&Cell], fits: &[Value]) -> io::Result<()> {
    for table in groups(cells, &SITUATION) {
        let parts = SITUATION.iter().filter_map(|key| Some(said(key, table[0].case.get(*key)?)));
        let is_weak = table[0].case.get("mode").is_some_and(|mode| mode == "weak");
        writeln!(out, "scaling: {}", parts.collect::<Vec<_>>().join(", "))?;
        writeln!(
            out,
            "  {:37} {:>9} {:>8} {:>14} {:>10} {:>10} {:>8} {:>7} {:>9} {:>9}",
            "",
            "wall",
            if is_weak { "scaled x" } else { "speedup" },
            "95 % interval",
            "efficiency",
            if is_weak { "serial" } else { "Karp-Flatt" },
            "start-up",
            "comm.",
            "imbalance",
            "memory"
        )?;
        let sync = table.iter().find(|cell| cell.metric == "wall" && is_backend(cell, "sync"));
        for row in groups(&table, &["backend", "workers"]) {
            let sync = sync.map_or(f64::NAN, |cell| cell.p50);
            line(out, &row, sync, is_weak, fits)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The cells of one row, one for each metric.
fn line(
    out: &mut dyn Write,
    row: &[&Cell],
    sync: f64,
    is_weak: bool,
    fits: &[Value],
) -> io::Result<()> {
    let of = |metric: &str| {
        let cell = row.iter().find(|cell| cell.metric == metric && cell.n > 0);
        cell.map(|cell| cell.p50)
    };
    let share = |metric| of(metric).map_or(String::new(), |part| format!("{:.1} %", part * 100.0));
    let workers = number(row[0], "workers").unwrap_or(1.0);
    let wall = of("wall").unwrap_or(f64::NAN);
    // Without a fit, the ratio of the medians, which has no interval.
    let times = if is_weak { workers * sync / wall } else { sync / wall };
    let [times, low, high] = fitted(row[0], is_weak, fits).unwrap_or([times, f64::NAN, f64::NAN]);
    let serial = match is_weak {
        // Gustafson's share.
        true => (workers - times) / (workers - 1.0),
        false => (1.0 / times - 1.0 / workers) / (1.0 - 1.0 / workers),
    };
    let number = |value: f64| if value.is_finite() { digits(value) } else { String::new() };
    let interval = if low.is_nan() { String::new() } else { format!("{low:.2} .. {high:.2}") };
    let efficiency = times / workers * 100.0;
    writeln!(
        out,
        "  {:37} {:>9} {:>8} {:>14} {:>10} {:>10} {:>8} {:>7} {:>9} {:>9}",
        name(row[0]),
        time(wall),
        number(times),
        interval,
        if efficiency.is_finite() { format!("{efficiency:.0} %") } else { String::new() },
        if serial.is_finite() { format!("{serial:.3}") } else { String::new() },
        share("startup_share"),
        share("communication_share"),
        of("imbalance").map_or(String::new(), number),
        // Threads have no memory of their own.
        of("peak_memory")
            .filter(|size| *size > 0.0)
            .map_or(String::new(), |size| bytes(size as u64)),
    )
}

/// "threads, 4 workers (oversubscribed)".
fn name(cell: &Cell) -> String {
    let part = |key: &str| cell.case.get(key).map_or(String::new(), |value| said(key, value));
    let more = if cell.case.contains_key("oversubscribed") { " (oversubscribed)" } else { "" };
    format!("{}, {}{more}", part("backend"), part("workers"))
}

/// Speedup and interval from the model of this row's backend.
fn fitted(cell: &Cell, is_weak: bool, fits: &[Value]) -> Option<[f64; 3]> {
    let (kind, name) =
        if is_weak { ("scaled-speedup", "scaled_speedup") } else { ("speedup", "speedup") };
    let model = models(fits, kind, cell, &["kernel", "mode", "backend"])?;
    let mut points = model["points"].as_array()?.iter();
    let workers = text(cell.case.get("workers")?);
    let point = points.find(|point| text(&point["workers"]) == workers)?;
    estimate(point.get(name))
}

#[cfg(test)]
mod tests {
    use super::super::cell;
    use super::*;
    use serde_json::json;

    #[test]
    fn speedup_is_from_the_model_if_there_is_one() {
        let case = |backend: &str, workers: usize| json!({"backend": backend, "workers": workers, "kernel": "blur", "mode": "strong"});
        let mut oversubscribed = case("processes", 4);
        oversubscribed["oversubscribed"] = true.into();
        let cells = [
            cell("scaling", "wall", case("sync", 1), 8000.0),
            cell("scaling", "wall", case("processes", 2), 5000.0),
            cell("scaling", "startup_share", case("processes", 2), 0.25),
            cell("scaling", "peak_memory", case("processes", 2), 1048576.0),
            cell("scaling", "wall", oversubscribed, 4000.0),
        ];
        let speedup = json!({"estimate": 1.7, "interval": [1.6, null], "confidence": 0.95});
        let point = json!({"workers": 2, "speedup": speedup});
        let case = json!({"backend": "processes", "kernel": "blur", "mode": "strong"});
        let fits = [json!({"model": "speedup", "case": case, "points": [point]})];
        let mut out = Vec::new();
        tables(&mut out, &cells.iter().collect::<Vec<_>>(), &fits).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        // Karp and Flatt: (1 / 1.7 - 1 / 2) / (1 - 1 / 2).
        let two = "processes, 2 workers 5.00 ms 1.70 1.60 .. inf 85 % 0.176 25.0 % 1.00 MiB";
        assert_eq!(row("processes, 2 workers"), two);
        let four = "processes, 4 workers (oversubscribed) 4.00 ms 2.00 50 % 0.333";
        assert_eq!(row("processes, 4 workers"), four);
        assert_eq!(row("sync"), "sync, 1 worker 8.00 ms 1.00 100 %");
    }
}
