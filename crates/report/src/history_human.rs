//! A history for people: a row for each figure, and a sentence for each change.

use std::io::{self, Write};

use brigade_measure::history::{History, Series};
use brigade_proto::{count, printable};

use crate::clean;
use crate::history_words::{sentence, short, size, sparkline, step, too_few};
use crate::units::quantity;

/// So many of the newest commits are in the bars.
const BARS: usize = 40;

/// Writes a table of the figures, and their changes, the newest of each first.
///
/// # Errors
/// When `out` fails.
pub fn show(out: &mut dyn Write, history: &History) -> io::Result<()> {
    clean::lines(out, |out| {
        warnings(out, history)?;
        for machine in machines(history) {
            let of = || history.series.iter().filter(|series| series.machine == machine);
            writeln!(out, "On {}:", printable(machine))?;
            table(out, of())?;
            writeln!(out)?;
            for series in of() {
                for change in series.changes.iter().rev() {
                    writeln!(out, "{}", printable(&sentence(series, change)))?;
                }
                if let Some(why) = too_few(series) {
                    writeln!(out, "{}", printable(&why))?;
                }
            }
            if of().all(|series| series.changes.is_empty() && too_few(series).is_none()) {
                writeln!(out, "No change in any of them.")?;
            }
            writeln!(out)?;
        }
        let order = match &history.order[..] {
            "time" => "their time",
            _ => "the first parents of git",
        };
        writeln!(out, "Medians; commits in the order of {order}. Bars: the newest {BARS} commits.")
    })
}

/// Writes one JSON object.
///
/// # Errors
/// When `out` fails.
pub fn json(out: &mut dyn Write, history: &History) -> io::Result<()> {
    clean::json(out, history)?;
    out.write_all(b"\n")
}

/// Writes what `brigade history check` found, in sentences.
///
/// # Errors
/// When `out` fails.
pub fn check(out: &mut dyn Write, history: &History) -> io::Result<()> {
    let Some(check) = &history.check else { return Ok(()) };
    clean::lines(out, |out| {
        warnings(out, history)?;
        let tolerance = crate::units::digits(check.tolerance * 100.0);
        for series in &history.series {
            for change in &series.changes {
                let is_new = change.at + check.last >= series.points.len();
                let is_slow = check.slowdowns.iter().any(|found| {
                    (&found.name, &found.machine, &found.commit)
                        == (&series.name, &series.machine, &change.commit)
                });
                let is_meant = is_new && !is_slow && change.ratio.estimate > 1.0 + check.tolerance;
                let mark = match (is_slow, is_new) {
                    (true, _) => "worse: ",
                    (false, true) if is_meant => "accepted, or undone since: ",
                    (false, true) => "changed: ",
                    (false, false) => continue,
                };
                writeln!(out, "{mark}{}", printable(&sentence(series, change)))?;
            }
            if let Some(why) = too_few(series) {
                writeln!(out, "{}", printable(&why))?;
            }
        }
        let looked = format!(
            "{} looked at, the newest {} of each, tolerance {tolerance} %",
            series_count(history.series.len()),
            count(check.last, "commit"),
        );
        match &check.slowdowns[..] {
            [] => writeln!(out, "No slowdown that holds: {looked}."),
            [first, ..] => {
                let commit = short(&first.commit);
                writeln!(
                    out,
                    "Slower: {looked}. To measure it again, run `brigade ab` with a build of the \
                     commit before and one of {commit}; if it was meant, --accept {commit}."
                )
            }
        }
    })
}

/// The word is the same for one and for many.
fn series_count(count: usize) -> String {
    format!("{count} series")
}

fn warnings(out: &mut dyn Write, history: &History) -> io::Result<()> {
    history.warnings.iter().try_for_each(|text| writeln!(out, "note: {}", printable(text)))
}

fn machines(history: &History) -> Vec<&str> {
    let mut machines: Vec<&str> = history.series.iter().map(|series| &series.machine[..]).collect();
    machines.sort_unstable();
    machines.dedup();
    machines
}

fn table<'a>(out: &mut dyn Write, series: impl Iterator<Item = &'a Series>) -> io::Result<()> {
    let mut rows =
        vec![["", "commits", "newest", "step", "last change", "trend"].map(str::to_owned)];
    for series in series {
        let Some(last) = series.points.last() else { continue };
        rows.push([
            printable(&series.name),
            series.points.len().to_string(),
            quantity(last.median, &series.unit),
            step(series),
            series.changes.last().map_or("-".to_owned(), |change| {
                let size = size(change);
                let size = size.split(" (").next().unwrap_or_default();
                printable(&format!("{size} since {}", short(&change.commit)))
            }),
            sparkline(&series.points, BARS),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in &rows {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 | 4 | 5 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use brigade_measure::history::{Check, Found};

    use super::*;
    use crate::history_words::tests::sixty;

    fn said(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_for_each_figure_and_a_sentence_for_each_change() {
        let mut history = sixty();
        let text = said(|out| show(out, &history));
        let row = text.lines().find(|line| line.starts_with("ab wall  ")).unwrap();
        assert!(row.contains(" 60 ") && row.contains("ms") && row.contains('█'), "{text}");
        assert!(text.contains("slower (") && text.contains("(Keep names in a <tree>)"), "{text}");
        assert!(text.starts_with("On Xeon, 2 cores, 4 GiB, kvm:\n"), "{text}");
        history.series[0].changes.clear();
        history.warnings = vec!["mind the gap".to_owned()];
        let text = said(|out| show(out, &history));
        assert!(text.contains("No change in any") && text.starts_with("note: mind the gap\n"));
    }

    #[test]
    fn a_check_says_what_to_do() {
        let mut history = sixty();
        let change = history.series[0].changes[0].clone();
        let found = Found {
            name: "ab wall".to_owned(),
            machine: history.series[0].machine.clone(),
            commit: change.commit.clone(),
            ratio: change.ratio,
        };
        let check_of = |slowdowns: Vec<Found>| Check {
            verdict: "worse".to_owned(),
            last: 20,
            tolerance: 0.01,
            accepted: Vec::new(),
            slowdowns,
        };
        history.check = Some(check_of(vec![found]));
        let text = said(|out| check(out, &history));
        assert!(text.starts_with("worse: ab wall: ") && text.contains("--accept 0000000000"));
        assert!(text.contains("1 series looked at, the newest 20 commits of each"), "{text}");
        history.check = Some(check_of(Vec::new()));
        let text = said(|out| check(out, &history));
        assert!(text.starts_with("accepted, or undone since: ") && text.contains("No slowdown"));
    }
}
