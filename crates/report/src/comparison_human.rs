//! A comparison for people: a row per figure, a sentence for each that is not well, and
//! the verdict in a line.

use std::io::{self, Write};

use brigade_measure::comparison::{Comparison, Verdict};

use brigade_proto::printable;

use crate::clean;
use crate::comparison_words::{change, overall, reason, smallest};
use crate::formats::Document;
use crate::units::quantity;

const HEADS: [&str; 7] = ["", "", "change", "detectable", "A/A", "base", "head"];

/// Writes the table of a comparison, its sentences and its verdict.
///
/// # Errors
/// When `out` fails.
pub fn human(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    clean::lines(out, |out| write(out, comparison))
}

fn write(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let names = Document::Comparison(comparison).names();
    let mut rows = vec![HEADS.map(str::to_owned)];
    for (cell, name) in comparison.cells.iter().zip(&names) {
        rows.push(
            [
                cell.verdict.to_string(),
                name.clone(),
                change(&cell.ratio),
                smallest(cell.detectable),
                cell.aa.as_ref().map_or_else(|| "-".to_owned(), change),
                quantity(cell.base, &cell.unit),
                quantity(cell.head, &cell.unit),
            ]
            .map(|cell| printable(&cell)),
        );
    }
    table(out, &rows)?;
    writeln!(out)?;
    for (cell, name) in comparison.cells.iter().zip(&names) {
        if cell.verdict >= Verdict::Inconclusive {
            let reason = reason(cell, comparison.tolerance);
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(out, "{}: {}: {reason}", cell.verdict, printable(name))?;
        }
    }
    writeln!(out, "{}", printable(&overall(comparison)))
}

/// Columns as wide as their widest cell; what it is and how it changed to the left,
/// quantities to the right.
fn table(out: &mut dyn Write, rows: &[[String; 7]]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in rows {
        let cells =
            row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                0 | 1 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
    }
    Ok(())
}
