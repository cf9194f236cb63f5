//! `--export FORMAT=FILE`: results in the formats of other programs.

use std::path::{Path, PathBuf};

use brigade_report::formats::{Document, Format};

use crate::args::{Export, ListFormat};
use crate::console::Results;
use crate::exit::{Exit, Failure};
use crate::write;

impl Export {
    fn is_on_stdout(&self) -> bool {
        self.file == Path::new("-")
    }
}

/// Moves the report to standard error if an export goes to standard output: a reader could not tell
/// the two apart. Refuses this for a report in JSON, which is meant for programs, too.
pub(crate) fn make_room(
    exports: &[Export],
    format: Option<ListFormat>,
    results: Results,
) -> Result<Results, Failure> {
    match (exports.iter().find(|export| export.is_on_stdout()), format) {
        (None, _) => Ok(results),
        (Some(export), Some(ListFormat::Json)) => Err(Failure::usage(format!(
            "--export {}=- and --format json both want standard output; give one of them a file: \
             --export {}=FILE or --output FILE.json",
            export.format, export.format
        ))),
        (Some(_), _) => Ok(results.on_stderr()),
    }
}

/// Refuses, before anything is measured, export files that cannot be written, or that the command
/// also reads or writes in another way.
pub(crate) fn check<'a>(
    exports: &'a [Export],
    used: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), Failure> {
    let mut used: Vec<&PathBuf> = used.into_iter().collect();
    let mut on_stdout = exports.iter().filter(|export| export.is_on_stdout());
    if let (Some(one), Some(other)) = (on_stdout.next(), on_stdout.next()) {
        return Err(Failure::usage(format!(
            "--export {}=- and --export {}=- both want standard output; give one of them a file",
            one.format, other.format
        )));
    }
    for Export { format, file } in exports.iter().filter(|export| !export.is_on_stdout()) {
        let show = format!("--export {format}={}", file.display());
        let identity = write::identity(file);
        if let Some(other) = used.iter().find(|other| write::identity(other) == identity) {
            let other = other.display();
            return Err(Failure::usage(format!(
                "{show} would overwrite {other}, which is read or written otherwise"
            )));
        }
        write::try_to_replace(file)
            .map_err(|error| Failure::usage(format!("cannot write {show}: {error}")))?;
        used.push(file);
    }
    Ok(())
}

/// Refuses, before anything is measured, formats of verdicts, which `bench` does not have.
pub(crate) fn check_bench(exports: &[Export]) -> Result<(), Failure> {
    let wrong =
        exports.iter().find(|export| matches!(export.format, Format::Junit | Format::Github));
    match wrong {
        Some(export) => Err(Failure::usage(format!(
            "--export {}: it tells verdicts, and `bench` gives none; `ab` and `compare` do",
            export.format
        ))),
        None => Ok(()),
    }
}

/// Refuses, before anything is measured, a format that has only times if no time is measured.
pub(crate) fn check_times(exports: &[Export], has_times: bool) -> Result<(), Failure> {
    match exports.iter().find(|export| export.format == Format::Hyperfine && !has_times) {
        Some(export) => Err(no_times(export.format)),
        None => Ok(()),
    }
}

/// Refuses, before anything is written, a format that cannot express the document.
pub(crate) fn check_document(exports: &[Export], document: Document<'_>) -> Result<(), Failure> {
    match exports.iter().find(|export| !export.format.supports(&document)) {
        Some(export) => Err(no_times(export.format)),
        None => Ok(()),
    }
}

fn no_times(format: Format) -> Failure {
    Failure::usage(format!(
        "--export {format}: it tells times of commands, and there are none; `ab` has them with \
         --metric wall or cpu, `compare` without --relative"
    ))
}

/// Writes each export file atomically; `-` is standard output.
pub(crate) fn write(
    exports: &[Export],
    document: Document<'_>,
    results: &mut Results,
) -> Result<(), Failure> {
    for export in exports {
        let Export { format, file } = export;
        let failed = |error: std::io::Error| Failure {
            exit: Exit::JobFailed,
            message: format!("--export {format}={}: {error}", file.display()),
        };
        let mut bytes = Vec::new();
        format.write(&mut bytes, document).map_err(failed)?;
        if export.is_on_stdout() {
            results.write_to_stdout(&bytes)?;
        } else {
            write::atomically(file, &bytes).map_err(failed)?;
        }
    }
    Ok(())
}
