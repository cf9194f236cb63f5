//! Where the time of a round trip goes.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use brigade_proto::Span;

use super::{groups, said, who};
use crate::units::digits;

/// The situation: what is told above the table.
const SITUATION: [&str; 4] = ["kernel", "bytes", "state", "workers"];

/// Whether a cell is of a span, and not of a whole.
pub(super) fn is_span(cell: &Cell) -> bool {
    Span::ALL.iter().any(|span| span.name() == cell.metric)
}

/// A table for each situation: a row for each way, a column for each span.
pub(super) fn tables(out: &mut dyn Write, cells: &[&Cell]) -> io::Result<()> {
    for table in groups(cells, &SITUATION) {
        let parts = SITUATION.iter().filter_map(|key| Some(said(key, table[0].case.get(*key)?)));
        let parts = parts.collect::<Vec<_>>().join(", ");
        writeln!(out, "{}, where the time goes, us: {parts}", table[0].experiment)?;
        write!(out, "  {:40}", "")?;
        for span in Span::ALL {
            write!(out, " {:>8}", span.name())?;
        }
        writeln!(out)?;
        let mut rows: Vec<Vec<&Cell>> = Vec::new();
        for &cell in &table {
            match rows.iter_mut().find(|row| row[0].case == cell.case) {
                Some(row) => row.push(cell),
                None => rows.push(vec![cell]),
            }
        }
        for row in rows {
            write!(out, "  {:40}", who(row[0], &SITUATION))?;
            for span in Span::ALL {
                let cell = row.iter().find(|cell| cell.metric == span.name());
                let us = cell.map(|cell| cell.p50).filter(|us| us.is_finite());
                write!(out, " {:>8}", us.map_or(String::new(), digits))?;
            }
            writeln!(out)?;
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
    fn a_row_for_each_way_and_a_column_for_each_span() {
        let case = |backend: &str| json!({"backend": backend, "bytes": 0, "state": "idle"});
        let cells = [
            cell("latency", "round_trip", case("threads"), 60.0),
            cell("latency", "deliver", case("threads"), 40.0),
            cell("latency", "compute", case("threads"), 0.25),
            cell("latency", "deliver", case("processes"), 55.0),
        ];
        let spans: Vec<&Cell> = cells.iter().filter(|cell| is_span(cell)).collect();
        assert_eq!(spans.len(), 3);
        let mut out = Vec::new();
        tables(&mut out, &spans).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(text.lines().next(), Some("latency, where the time goes, us: 0 B, idle"));
        let names: Vec<&str> = Span::ALL.iter().map(|span| span.name()).collect();
        assert_eq!(lines[1], names);
        assert_eq!(lines[2], ["threads", "40.0", "0.25"]);
        assert_eq!(lines[3], ["processes", "55.0"]);
    }
}
