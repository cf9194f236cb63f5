//! The end of a job: its result is digested, written, counted and reported.

use std::path::PathBuf;

use brigade_proto::{Bytes, JobError, Outcome, Spans, Status};
use brigade_report::{FileBytes, Files, Id, JobRow, Micros, NoteNames, SpansUs};
use brigade_sys::clock;

use crate::commit::{Committed, Uncommitted};
use crate::exit::Failure;
use crate::journal::{DoneRecord, JournaledJob};
use crate::recorder::RunRecorder;
use crate::write::{Drafts, FileError, Replace};

/// What the commands know of a job besides its outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobInfo {
    pub(crate) id: Id,
    /// Whether the line gives the id itself. Otherwise the id is the job's number.
    pub(crate) is_named: bool,
    pub(crate) line: Option<u64>,
    pub(crate) kernel: String,
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) output: Option<PathBuf>,
    /// Whether an existing output may be replaced.
    pub(crate) replace: Replace,
    /// The job's entry in the journal, if one is kept.
    pub(crate) entry: Option<JournaledJob>,
}

/// Writes the result of a job, if it has one that is wanted, and records the job. Returns `None` if
/// the committer has the result now: when the job comes back as `place`, call [`concluded`].
///
/// # Errors
/// When the journal cannot be written. The result is then not put in place.
pub(crate) fn finalize(
    info: JobInfo,
    place: u64,
    outcome: &Outcome,
    recorder: &mut RunRecorder,
) -> Result<Option<JobRow>, Failure> {
    let since = clock::now();
    let mut row = row(&info, outcome.status());
    row.worker = outcome.worker.map(|worker| worker.0);
    row.pid = Some(outcome.pid).filter(|&pid| pid != 0);
    row.attempts = outcome.attempts;
    row.bytes_in = outcome.bytes_in;
    row.bytes_out = outcome.bytes_out();
    row.notes = NoteNames(outcome.notes);
    let spans = outcome.stamps.spans();
    row.spans_us = SpansUs(spans);
    row.behind_us = Micros(outcome.stamps.behind());
    row.total_us = Micros(spans.total());
    let mut drafts = Drafts::default();
    match &outcome.result {
        Err(error) => {
            row.error = Some(in_line(info.line, error.to_string()));
            row.stderr = last_words(error);
        }
        Ok(outputs) => match draft(&info, outputs, &mut row, recorder)? {
            Ok(written) => drafts = written,
            Err(failed) => not_written(&mut row, &failed),
        },
    }
    if !matches!(row.status, Status::Ok | Status::Cancelled)
        && let (Some(journal), Some(entry)) = (recorder.journal(), &info.entry)
    {
        journal.failed_job(entry.job, row.status)?;
    }
    recorder.enter(outcome, &row, since);
    let record = match (recorder.journal(), &info.entry) {
        (Some(journal), Some(entry)) if row.status == Status::Ok => {
            let read = outcome.input_digests.as_deref();
            Some((entry.job.digest(), journal.done(entry, &drafts.paths(), &row, read)))
        }
        _ => None,
    };
    if drafts.len() == 0 && record.is_none() {
        return Ok(Some(row));
    }
    recorder.commits().add(Uncommitted { place, row, drafts, output: info.output, record });
    Ok(None)
}

/// Writes a result to drafts, if it has an output to go to.
fn draft(
    info: &JobInfo,
    outputs: &[Bytes],
    row: &mut JobRow,
    recorder: &mut RunRecorder,
) -> Result<Result<Drafts, FileError>, Failure> {
    let Some(path) = &info.output else {
        row.digest = Some(digest(outputs));
        return Ok(Ok(Drafts::default()));
    };
    if let (Some(journal), Some(_)) = (recorder.journal(), &info.entry) {
        journal.expect_drafts(path)?;
    }
    Ok(Drafts::write(path, outputs, info.replace).map(|(drafts, digest)| {
        row.digest = Some(digest);
        let paths = drafts.paths();
        row.output = Files::of(&paths);
        row.output_bytes = FileBytes::of(&paths);
        drafts
    }))
}

/// The row of a job that the committer has handed back.
pub(crate) fn concluded(job: Committed, recorder: &mut RunRecorder) -> JobRow {
    recorder.commits().came_back(&job);
    let mut row = job.row;
    if let Err(failed) = job.result {
        not_written(&mut row, &failed);
        recorder.was_not_written();
    }
    row
}

fn not_written(row: &mut JobRow, (path, error): &FileError) {
    row.status = Status::Failed;
    row.output = Files::default();
    row.output_bytes = FileBytes::default();
    let message = format!("cannot write {}: {error}", path.display());
    row.error = Some(in_line(row.line, message));
}

/// Records a job whose result an earlier run has made.
pub(crate) fn settle_resumed(
    info: &JobInfo,
    done: DoneRecord,
    outputs: &[PathBuf],
    recorder: &mut RunRecorder,
) -> JobRow {
    recorder.enter_resumed();
    // If the result is a single file, report it by its name in this run.
    let outputs = match (&info.output, outputs) {
        (Some(path), [_]) => std::slice::from_ref(path),
        _ => outputs,
    };
    JobRow {
        output: Files::of(outputs),
        output_bytes: FileBytes::of(outputs),
        digest: Some(done.digest),
        bytes_in: done.bytes_in,
        bytes_out: done.bytes_out,
        attempts: done.attempts,
        resumed: true,
        ..row(info, Status::Ok)
    }
}

/// Records a job that never reached the pool, and why.
pub(crate) fn settle_unrun(
    info: &JobInfo,
    status: Status,
    reason: String,
    recorder: &mut RunRecorder,
) -> JobRow {
    recorder.enter_unrun(status);
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
        input: Files::of(&info.inputs),
        input_bytes: FileBytes::of(&info.inputs),
        output: Files::default(),
        output_bytes: FileBytes::default(),
        status,
        worker: None,
        pid: None,
        attempts: 0,
        resumed: false,
        notes: NoteNames::default(),
        digest: None,
        bytes_in: 0,
        bytes_out: 0,
        spans_us: SpansUs(Spans::default()),
        behind_us: Micros(0),
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

fn digest(outputs: &[Bytes]) -> String {
    let mut hasher = blake3::Hasher::new();
    for output in outputs {
        hasher.update(output);
    }
    hasher.finalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_all_bytes_in_a_row() {
        let parts = [Bytes::from(&b"ab"[..]), Bytes::from(&b"c"[..])];
        assert_eq!(digest(&parts), blake3::hash(b"abc").to_string());
    }
}
