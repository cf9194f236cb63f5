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
