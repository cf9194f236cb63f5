//! The end of a job: its result is digested, written, counted, and reported.

use std::io;
use std::path::{Path, PathBuf};

use brigade_proto::{Bytes, JobError, Outcome, Spans, Status};
use brigade_report::{Files, JobRow, Micros, SpansUs};
use brigade_sys::clock;
use serde_json::Value;

use crate::ledger::Ledger;
use crate::write;

/// What the commands know of a job that its outcome does not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobInfo {
    pub(crate) id: Value,
    pub(crate) line: Option<u64>,
    pub(crate) kernel: String,
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) output: Option<PathBuf>,
    /// Whether an output that exists is replaced.
    pub(crate) replace: bool,
}

/// Writes the result of a job, if it has one and it is wanted, and enters it.
pub(crate) fn settle(info: JobInfo, outcome: &Outcome, ledger: &mut Ledger) -> JobRow {
    let since = clock::now();
    let mut row = row(&info, outcome.status());
    row.worker = outcome.worker.map(|worker| worker.0);
    row.pid = Some(outcome.pid).filter(|&pid| pid != 0);
    row.attempts = outcome.attempts;
    row.bytes_in = outcome.bytes_in;
    row.bytes_out = outcome.bytes_out();
    let spans = outcome.stamps.spans();
    row.spans_us = SpansUs(spans);
    row.total_us = Micros(spans.total());
    match &outcome.result {
        Err(error) => {
            row.error = Some(in_line(info.line, error.to_string()));
            row.stderr = last_words(error);
        }
        Ok(outputs) => {
            row.digest = Some(digest(outputs));
            if let Some(path) = &info.output {
                match write_all(path, outputs, info.replace) {
                    Ok(written) => row.output = names(&written),
                    Err((path, error)) => {
                        row.status = Status::Failed;
                        let message = format!("cannot write {}: {error}", path.display());
                        row.error = Some(in_line(info.line, message));
                    }
                }
            }
        }
    }
    ledger.enter(outcome, &row, since);
    row
}

/// Enters a job that never reached the pool, for this reason.
pub(crate) fn settle_unrun(
    info: &JobInfo,
    status: Status,
    reason: String,
    ledger: &mut Ledger,
) -> JobRow {
    ledger.enter_unrun(status);
    JobRow { error: Some(in_line(info.line, reason)), ..row(info, status) }
}

fn in_line(line: Option<u64>, message: String) -> String {
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

fn row(info: &JobInfo, status: Status) -> JobRow {
    JobRow {
        id: info.id.clone(),
        line: info.line,
        kernel: info.kernel.clone(),
        input: names(&info.inputs),
        output: Files::default(),
        status,
        worker: None,
        pid: None,
        attempts: 0,
        digest: None,
        bytes_in: 0,
        bytes_out: 0,
        spans_us: SpansUs(Spans::default()),
        total_us: Micros(0),
        error: None,
        stderr: None,
    }
}

fn last_words(error: &JobError) -> Option<String> {
    match error {
        JobError::Crashed { last_words, .. } if !last_words.is_empty() => Some(last_words.clone()),
        _ => None,
    }
}

/// JSON has no place for names that are not UTF-8: what is not is replaced.
fn names(paths: &[PathBuf]) -> Files {
    Files(paths.iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

fn digest(outputs: &[Bytes]) -> String {
    let mut hasher = blake3::Hasher::new();
    for output in outputs {
        hasher.update(output);
    }
    hasher.finalize().to_string()
}

/// Writes one output to `path`, several to `path` with their number before the
/// extension.
fn write_all(
    path: &Path,
    outputs: &[Bytes],
    replace: bool,
) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut written = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let path = if outputs.len() == 1 { path.to_owned() } else { numbered(path, index) };
        match write::atomically(&path, output, replace) {
            Ok(()) => written.push(path),
            Err(error) => {
                // No half of a result is left behind.
                for earlier in written {
                    let _ = std::fs::remove_file(earlier);
                }
                return Err((path, error));
            }
        }
    }
    Ok(written)
}

/// `dir/a.npy` -> `dir/a.0.npy`.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_outputs_are_numbered_and_written_all_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let outputs = [Bytes::from(&b"0"[..]), Bytes::from(&b"1"[..])];
        let written = write_all(&path, &outputs, false).unwrap();
        assert_eq!(written, [dir.path().join("a.0.npy"), dir.path().join("a.1.npy")]);
        std::fs::remove_file(&written[0]).unwrap();
        let (failed, _) = write_all(&path, &outputs, false).unwrap_err();
        assert_eq!(failed, written[1]);
        assert!(!written[0].exists());
    }

    #[test]
    fn the_digest_is_that_of_all_bytes_in_a_row() {
        let parts = [Bytes::from(&b"ab"[..]), Bytes::from(&b"c"[..])];
        assert_eq!(digest(&parts), blake3::hash(b"abc").to_string());
    }
}
