//! What `ab`, `gate` and `compare` have in common: how they report a verdict.

use std::io::{self, Write};
use std::path::PathBuf;

use brigade_measure::comparison::{Compared, Comparison, Verdict};
use brigade_measure::doctor;
use brigade_report::comparison_human;
use brigade_report::formats::Document;

use crate::args::{FailOn, ListFormat, VerdictArgs};
use crate::console::Results;
use crate::exit::{Exit, Failure};
use crate::exports;

/// Opens the outputs for the verdict, which must differ from the `inputs`.
pub(super) fn open(args: &VerdictArgs, inputs: &[PathBuf]) -> Result<Results, Failure> {
    let used = inputs.iter().chain(&args.output.output);
    exports::check(&args.exports.export, used)?;
    let results = Results::open(args.output.output.as_deref(), inputs)?;
    exports::make_room(&args.exports.export, args.format, results)
}

/// The verdict of several cells is their worst.
pub(super) fn worst(cells: &[Compared]) -> Verdict {
    cells.iter().map(|cell| cell.verdict).max().unwrap_or(Verdict::Inconclusive)
}

pub(super) fn exit(verdict: Verdict, fail_on: FailOn) -> Exit {
    match (verdict, fail_on) {
        (Verdict::Worse, _) => Exit::Worse,
        (Verdict::Inconclusive, FailOn::Inconclusive) => Exit::Inconclusive,
        _ => Exit::Ok,
    }
}

/// Writes the comparison to all outputs. `exit` is the program's exit code, or `None` if the
/// program ends with a failure that has its own message.
pub(super) fn write(
    comparison: &Comparison,
    args: &VerdictArgs,
    exit: Option<&Exit>,
    results: &mut Results,
) -> Result<(), Failure> {
    let (stdout, file) = args.output.formats(args.format);
    say(comparison, stdout, exit, &mut results.stdout_only())?;
    say(comparison, file, exit, &mut results.file_only())?;
    results.finish()?;
    exports::write(&args.exports.export, Document::Comparison(comparison), results)
}

fn say(
    comparison: &Comparison,
    format: ListFormat,
    exit: Option<&Exit>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        ListFormat::Human => {
            comparison_human::human(out, comparison)?;
            match (comparison.verdict, exit) {
                (Verdict::Inconclusive, Some(Exit::Ok)) => writeln!(
                    out,
                    "Inconclusive passes, as --policy worse says: a slowdown may be in it."
                ),
                (Verdict::Inconclusive, Some(Exit::Inconclusive)) => {
                    writeln!(out, "Inconclusive fails with exit code 4, as --policy says.")
                }
                _ => Ok(()),
            }
        }
        ListFormat::Json => {
            serde_json::to_writer(&mut *out, comparison)?;
            out.write_all(b"\n")
        }
    }
}

/// The findings of `doctor` that would distort a measurement.
pub(super) fn warnings() -> Vec<String> {
    let findings = doctor::examine().into_iter();
    findings
        .filter(|finding| finding.verdict == doctor::Severity::Warning)
        .map(|finding| format!("{}: {}: {}", finding.topic, finding.value, finding.meaning))
        .collect()
}
