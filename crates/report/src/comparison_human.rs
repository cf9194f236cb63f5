//! A comparison for people: a sentence for each figure, then the figures, then the verdict in a
//! line.

use std::io::{self, Write};

use brigade_measure::comparison::{Comparison, Verdict};

use brigade_proto::printable;

use crate::clean;
use crate::comparison_words::{LEGEND, change, overall, reason, smallest};
use crate::formats::Document;
use crate::units::quantity;

const HEADS: [&str; 7] =
    ["", "", "change", "smallest detectable", "noise (base vs base)", "base", "head"];
/// So many figures are each told in a sentence; of more only those that are not the same.
const FEW: usize = 8;

/// Writes a sentence for each figure, the table, what its columns mean, what is remarkable about
/// the machine, and the verdict of all.
///
/// # Errors
/// When `out` fails.
pub fn human(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    clean::lines(out, |out| write(out, comparison))
}

fn write(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let names = Document::Comparison(comparison).names();
    if comparison.kind == "gate" {
        let (base, head) = (&comparison.base.name, &comparison.head.name);
        writeln!(out, "Base is {}, head is {}.\n", printable(base), printable(head))?;
    }
    let are_few = comparison.cells.len() <= FEW;
    for (cell, name) in comparison.cells.iter().zip(&names) {
        if are_few || cell.verdict >= Verdict::Inconclusive {
            let reason = reason(cell, comparison.tolerance);
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(out, "{}: {}: {reason}", cell.verdict, printable(name))?;
        }
    }
    writeln!(out)?;
    let mut rows = vec![HEADS.map(str::to_owned)];
    for (cell, name) in comparison.cells.iter().zip(&names) {
        rows.push(
            [
                cell.verdict.to_string(),
                name.clone(),
                change(&cell.ratio),
                smallest(cell, comparison.tolerance),
                cell.aa.as_ref().map_or_else(|| "-".to_owned(), change),
                quantity(cell.base, &cell.unit),
                quantity(cell.head, &cell.unit),
            ]
            .map(|cell| printable(&cell)),
        );
    }
    table(out, &rows)?;
    writeln!(out, "({LEGEND})\n")?;
    for warning in &comparison.warnings {
        writeln!(out, "note: {}", printable(warning))?;
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
