//! GitHub Flavored Markdown: a sentence, then a table, for `$GITHUB_STEP_SUMMARY` or a
//! comment.

use std::io::{self, Write};

use brigade_measure::comparison::{Comparison, Verdict};
use brigade_proto::is_printable;

use super::Document;
use crate::bench::Bench;
use crate::comparison_words::{LEGEND, change, overall, reason, smallest};
use crate::units::{count, quantity};

pub(super) fn write(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    match document {
        Document::Comparison(comparison) => compared(out, comparison, &document.names()),
        Document::Bench(bench) => measured(out, bench, &document.names()),
    }
}

fn compared(out: &mut dyn Write, comparison: &Comparison, names: &[String]) -> io::Result<()> {
    let (base, head) = (plain(&comparison.base.name), plain(&comparison.head.name));
    writeln!(out, "{} Base is {base}, head is {head}.\n", plain(&overall(comparison)))?;
    writeln!(out, "| verdict | what | change | smallest detectable | base | head |")?;
    writeln!(out, "| --- | --- | --- | ---: | ---: | ---: |")?;
    for (cell, name) in comparison.cells.iter().zip(names) {
        let verdict = match cell.verdict {
            Verdict::Worse => "**worse**".to_owned(),
            other => other.to_string(),
        };
        writeln!(
            out,
            "| {verdict} | {} | {} | {} | {} | {} |",
            plain(name),
            plain(&change(&cell.ratio)),
            plain(&smallest(cell, comparison.tolerance)),
            plain(&quantity(cell.base, &cell.unit)),
            plain(&quantity(cell.head, &cell.unit)),
        )?;
    }
    let mut notes = Vec::new();
    for (cell, name) in comparison.cells.iter().zip(names) {
        if cell.verdict != Verdict::Same {
            let reason = reason(cell, comparison.tolerance);
            notes.push(format!("{}: {}: {}", cell.verdict, plain(name), plain(&reason)));
        }
    }
    notes.push(plain(LEGEND));
    bullets(out, notes.into_iter().chain(comparison.warnings.iter().map(|text| plain(text))))
}

fn measured(out: &mut dyn Write, bench: &Bench, names: &[String]) -> io::Result<()> {
    let figures = count(bench.experiments.len() as u64, "figure");
    let interrupted = if bench.interrupted { " Interrupted before it was done." } else { "" };
    writeln!(
        out,
        "{figures}: medians with their 95 % intervals, variants in random order, seed {}.{interrupted}\n",
        bench.seed
    )?;
    writeln!(out, "| what | median | 95 % interval | p95 | samples |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: |")?;
    for (cell, name) in bench.experiments.iter().zip(names) {
        let figure = |value: f64| plain(&quantity(value, cell.unit));
        // Too few blocks have none.
        let interval = match cell.ci95.iter().all(|end| end.is_finite()) {
            true => cell.ci95.map(figure).join(" .. "),
            false => "-".to_owned(),
        };
        writeln!(
            out,
            "| {} | {} | {interval} | {} | {} |",
            plain(name),
            figure(cell.p50),
            figure(cell.p95),
            cell.n
        )?;
    }
    let failed = bench.experiments.iter().zip(names).filter_map(|(cell, name)| {
        Some(format!("{}: {}", plain(name), plain(cell.error.as_ref()?)))
    });
    let said = bench.findings.iter().chain(&bench.warnings).map(|text| plain(text));
    bullets(out, failed.chain(said))
}

fn bullets(out: &mut dyn Write, notes: impl Iterator<Item = String>) -> io::Result<()> {
    for (at, note) in notes.enumerate() {
        writeln!(out, "{}- {note}", if at == 0 { "\n" } else { "" })?;
    }
    Ok(())
}

/// Text that stays as it is: a line feed would end a row, `|` a cell, `<` would be HTML,
/// and `@` would call somebody.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => plain.push(' '),
            '@' => plain.push_str("&#64;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '~' | '#' | '$' => {
                plain.push('\\');
                plain.push(c);
            }
            _ if is_printable(c) => plain.push(c),
            _ => plain.extend(c.escape_default()),
        }
    }
    plain
}
