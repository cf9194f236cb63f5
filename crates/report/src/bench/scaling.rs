//! What more workers are worth.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use serde_json::Value;

use super::{estimate, groups, is_backend, models, number, said, text, time};
use crate::units::{bytes, digits};

/// The situation: what is told above the table.
const SITUATION: [&str; 2] = ["kernel", "mode"];
/// Length of the longest bar.
const BAR: f64 = 20.0;

/// For each kernel and way to grow a table of what there is to know at a glance, and one of where
/// the time went.
pub(super) fn tables(out: &mut dyn Write, cells: &[&Cell], fits: &[Value]) -> io::Result<()> {
    for table in groups(cells, &SITUATION) {
        let parts = SITUATION.iter().filter_map(|key| Some(said(key, table[0].case.get(*key)?)));
        let parts = parts.collect::<Vec<_>>().join(", ");
        let is_weak = is_weak(table[0]);
        let rows = groups(&table, &["backend", "workers"]);
        let worth: Vec<Option<Worth>> = rows.iter().map(|row| of_row(row, &table, fits)).collect();
        worth_table(out, &parts, is_weak, &rows, &worth)?;
        shares_table(out, &parts, is_weak, &rows, &worth)?;
    }
    Ok(())
}

fn is_weak(cell: &Cell) -> bool {
    cell.case.get("mode").is_some_and(|mode| mode == "weak")
}

/// What so many workers are worth, against `sync` of the same run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Worth {
    /// How many times as fast; of work that grows with the workers, how many times as much is done.
    pub(crate) times: f64,
    /// Its interval, where there are blocks enough.
    pub(crate) interval: Option<[f64; 2]>,
    /// That over the workers.
    pub(crate) efficiency: f64,
}

/// What the workers of the cell `wall` are worth, of the cells of one experiment; `None` where it
/// was not measured, or nothing to compare it with.
pub(crate) fn worth(wall: &Cell, cells: &[&Cell], fits: &[Value]) -> Option<Worth> {
    let alike = |cell: &&&Cell| {
        cell.metric == "wall"
            && is_backend(cell, "sync")
            && SITUATION.iter().all(|key| cell.case.get(*key) == wall.case.get(*key))
    };
    let sync = cells.iter().find(alike)?.p50;
    let workers = number(wall, "workers")?;
    let (times, interval) = match fitted(wall, fits) {
        Some([times, low, high]) => (times, Some([low, high])),
        // The ratio of the medians, which has no interval.
        None => (if is_weak(wall) { workers * sync / wall.p50 } else { sync / wall.p50 }, None),
    };
    times.is_finite().then(|| Worth { times, interval, efficiency: times / workers })
}

fn of_row(row: &[&Cell], table: &[&Cell], fits: &[Value]) -> Option<Worth> {
    let wall = row.iter().find(|cell| cell.metric == "wall" && cell.n > 0)?;
    worth(wall, table, fits)
}

/// Wall time, speedup and processor time, and a bar as long as the speedup.
fn worth_table(
    out: &mut dyn Write,
    about: &str,
    is_weak: bool,
    rows: &[Vec<&Cell>],
    worth: &[Option<Worth>],
) -> io::Result<()> {
    writeln!(out, "scaling: {about}")?;
    let times = if is_weak { "scaled x" } else { "speedup" };
    let titles = ["", "wall", times, "95 % interval", "efficiency", "processor"];
    let line = |out: &mut dyn Write,
                [name, wall, times, interval, efficiency, cpu]: [&str; 6],
                bar: &str| {
        let line = format!(
            "  {name:24} {wall:>8} {times:>8} {interval:>14} {efficiency:>10} {cpu:>9}  {bar}"
        );
        writeln!(out, "{}", line.trim_end())
    };
    line(out, titles, "")?;
    let most = worth.iter().flatten().map(|worth| worth.times).fold(0.0, f64::max);
    for (row, worth) in rows.iter().zip(worth) {
        let of = |metric| of(row, metric).map_or(String::new(), time);
        let times = worth.map_or(String::new(), |worth| digits(worth.times));
        let interval = worth.and_then(|worth| worth.interval);
        let interval =
            interval.map_or(String::new(), |[low, high]| format!("{low:.2} .. {high:.2}"));
        let efficiency =
            worth.map_or(String::new(), |worth| format!("{:.0} %", worth.efficiency * 100.0));
        let bar = worth.map_or(0.0, |worth| (worth.times / most * BAR).round());
        let cells = [&*name(row[0]), &of("wall"), &times, &interval, &efficiency, &of("cpu")];
        line(out, cells, &"#".repeat(bar as usize))?;
    }
    if rows.iter().any(|row| is_oversubscribed(row[0])) {
        writeln!(out, "  * more workers than cores")?;
    }
    writeln!(out)
}

/// Where the time went, and what law the speedup would follow.
fn shares_table(
    out: &mut dyn Write,
    about: &str,
    is_weak: bool,
    rows: &[Vec<&Cell>],
    worth: &[Option<Worth>],
) -> io::Result<()> {
    writeln!(out, "scaling, where the time goes: {about}")?;
    let serial = if is_weak { "serial" } else { "Karp-Flatt" };
    writeln!(
        out,
        "  {:24} {serial:>10} {:>8} {:>7} {:>9} {:>9}",
        "", "start-up", "comm.", "imbalance", "memory"
    )?;
    for (row, worth) in rows.iter().zip(worth) {
        let workers = number(row[0], "workers").unwrap_or(1.0);
        // What has no interval is too uncertain to hold a law against.
        let serial = match worth {
            Some(Worth { times, interval: Some(_), .. }) if workers > 1.0 => match is_weak {
                // Gustafson's share.
                true => format!("{:.3}", (workers - times) / (workers - 1.0)),
                false => format!("{:.3}", (1.0 / times - 1.0 / workers) / (1.0 - 1.0 / workers)),
            },
            _ => String::new(),
        };
        let share =
            |metric| of(row, metric).map_or(String::new(), |part| format!("{:.1} %", part * 100.0));
        // Threads have no memory of their own.
        let memory = of(row, "peak_memory").filter(|size| *size > 0.0);
        let line = format!(
            "  {:24} {serial:>10} {:>8} {:>7} {:>9} {:>9}",
            name(row[0]),
            share("startup_share"),
            share("communication_share"),
            of(row, "imbalance").map_or(String::new(), digits),
            memory.map_or(String::new(), |size| bytes(size as u64)),
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)
}

/// The median of a metric of a row, if it was measured.
fn of(row: &[&Cell], metric: &str) -> Option<f64> {
    row.iter().find(|cell| cell.metric == metric && cell.n > 0).map(|cell| cell.p50)
}

/// "threads, 4 workers *".
fn name(cell: &Cell) -> String {
    let part = |key: &str| cell.case.get(key).map_or(String::new(), |value| said(key, value));
    let more = if is_oversubscribed(cell) { " *" } else { "" };
    format!("{}, {}{more}", part("backend"), part("workers"))
}

fn is_oversubscribed(cell: &Cell) -> bool {
    cell.case.contains_key("oversubscribed")
}

/// Speedup and interval from the model of this row's backend.
fn fitted(cell: &Cell, fits: &[Value]) -> Option<[f64; 3]> {
    let (kind, name) =
        if is_weak(cell) { ("scaled-speedup", "scaled_speedup") } else { ("speedup", "speedup") };
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
            cell("scaling", "cpu", case("sync", 1), 7900.0),
            cell("scaling", "wall", case("processes", 2), 5000.0),
            cell("scaling", "cpu", case("processes", 2), 8600.0),
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
        let rows = |name: &str| {
            let lines = text.lines().filter(|line| line.trim_start().starts_with(name));
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            lines.map(words).collect::<Vec<_>>()
        };
        // Karp and Flatt: (1 / 1.7 - 1 / 2) / (1 - 1 / 2).
        let two = [
            "processes, 2 workers 5.00 ms 1.70 1.60 .. inf 85 % 8.60 ms #################",
            "processes, 2 workers 0.176 25.0 % 1.00 MiB",
        ];
        assert_eq!(rows("processes, 2 workers"), two);
        // Without an interval no law is held against it.
        let four = [
            "processes, 4 workers * 4.00 ms 2.00 50 % ####################",
            "processes, 4 workers *",
        ];
        assert_eq!(rows("processes, 4 workers"), four);
        let sync = ["sync, 1 worker 8.00 ms 1.00 100 % 7.90 ms ##########", "sync, 1 worker"];
        assert_eq!(rows("sync"), sync);
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(102), "{text}");
        assert!(text.contains("  * more workers than cores\n"), "{text}");
    }
}
