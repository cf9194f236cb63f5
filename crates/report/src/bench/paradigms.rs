//! The course measured: time against sync, and what each row teaches.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use serde_json::Value;

use super::{groups, is_backend, models, number, said, time};
use crate::units::digits;

/// A table for each work: a row for each backend, a column for each number of workers, and
/// below each row its lesson.
pub(super) fn tables(out: &mut dyn Write, cells: &[&Cell], fits: &[Value]) -> io::Result<()> {
    let mut columns: Vec<u64> =
        cells.iter().filter_map(|cell| number(cell, "workers")).map(|n| n as u64).collect();
    columns.sort_unstable();
    columns.dedup();
    for table in groups(cells, &["work", "kernel"]) {
        let part = |key: &str| table[0].case.get(key).map_or(String::new(), |of| said(key, of));
        let sync = table.iter().find(|cell| is_backend(cell, "sync"));
        let sync = sync.map_or(f64::NAN, |cell| cell.p50);
        writeln!(
            out,
            "paradigms: {} ({}), time against sync, which takes {}",
            part("work"),
            part("kernel"),
            time(sync)
        )?;
        write!(out, "  {:12}", "")?;
        for &workers in &columns {
            write!(out, " {:>10}", said("workers", &workers.into()))?;
        }
        writeln!(out)?;
        for row in groups(&table, &["backend"]) {
            let backend = row[0].case.get("backend").unwrap_or(&Value::Null);
            write!(out, "  {:12}", said("backend", backend))?;
            for &workers in &columns {
                let here = |cell: &&&Cell| number(cell, "workers") == Some(workers as f64);
                let wall = row.iter().find(here).map_or(f64::NAN, |cell| cell.p50);
                let ratio = wall / sync;
                let ratio = if ratio.is_finite() { digits(ratio) } else { String::new() };
                write!(out, " {ratio:>10}")?;
            }
            writeln!(out)?;
            if let Some(lesson) = models(fits, "lesson", row[0], &["work", "kernel", "backend"]) {
                let contradicts = lesson["holds"] == false;
                let mark = if contradicts { "against the course: " } else { "" };
                writeln!(out, "      {mark}{}", lesson["sentence"].as_str().unwrap_or_default())?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cell;
    use super::*;
    use serde_json::json;

    #[test]
    fn time_is_against_sync_and_each_row_has_its_lesson() {
        let case = |backend: &str, workers: usize| json!({"work": "waiting", "kernel": "wait", "backend": backend, "workers": workers});
        let cells = [
            cell("paradigms", "wall", case("sync", 1), 100e3),
            cell("paradigms", "wall", case("threads", 1), 101e3),
            cell("paradigms", "wall", case("threads", 4), 25e3),
        ];
        let about = json!({"work": "waiting", "kernel": "wait", "backend": "threads"});
        let sentence = "four wait at once";
        let fits =
            [json!({"model": "lesson", "case": about, "holds": false, "sentence": sentence})];
        let mut out = Vec::new();
        tables(&mut out, &cells.iter().collect::<Vec<_>>(), &fits).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].ends_with("time against sync, which takes 100 ms"), "{text}");
        let row: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(row, ["threads", "1.01", "0.25"]);
        assert_eq!(lines[4], "against the course: four wait at once");
    }
}
