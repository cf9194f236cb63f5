//! GitHub's workflow commands: `::error title=…::…` on stdout of a step becomes an
//! annotation of the run
//! (<https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>).

use std::cmp::Reverse;
use std::io::{self, Write};

use brigade_measure::comparison::{Comparison, EndedBy, Verdict};

use super::Document;
use crate::clean;
use crate::comparison_words::{overall, reason};

/// GitHub shows ten annotations of a kind for a step and drops the others in silence.
const AT_MOST: usize = 10;

pub(super) fn write(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let names = Document::Comparison(comparison).names();
    let mut cells: Vec<_> = comparison.cells.iter().zip(&names).collect();
    cells.retain(|(cell, _)| cell.verdict != Verdict::Same);
    // The worst first: what does not fit is the least.
    cells.sort_by_key(|(cell, _)| Reverse(cell.verdict));
    for (cell, name) in cells.iter().take(AT_MOST) {
        let command = match cell.verdict {
            Verdict::Worse => "error",
            _ if cell.ended_by == Some(EndedBy::Failure) => "error",
            Verdict::Inconclusive => "warning",
            Verdict::Better | Verdict::Same => "notice",
        };
        let title = format!("{}: {name}", cell.verdict);
        issue(out, command, &title, &reason(cell, comparison.tolerance))?;
    }
    let more = cells.len().saturating_sub(AT_MOST);
    if more > 0 {
        issue(out, "notice", "brigade", &format!("{more} more"))?;
    }
    if cells.is_empty() {
        issue(out, "notice", "brigade", &overall(comparison))?;
    }
    Ok(())
}

fn issue(out: &mut dyn Write, command: &str, title: &str, message: &str) -> io::Result<()> {
    writeln!(out, "::{command} title={}::{}", property(title), data(message))
}

/// As `escapeData` in packages/core/src/command.ts of actions/toolkit. `%` comes first:
/// what the others insert has one.
fn data(text: &str) -> String {
    let text = clean::escaped(text, &['\r', '\n']);
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As `escapeProperty` there.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_or_a_property_is_escaped() {
        assert_eq!(data("100 %,\r\na:b %0A"), "100 %25,%0D%0Aa:b %250A");
        assert_eq!(data("a\u{9b}\u{202e}"), "a\\u{9b}\\u{202e}");
        assert_eq!(property("100 %,\r\na:b"), "100 %25%2C%0D%0Aa%3Ab");
    }
}
