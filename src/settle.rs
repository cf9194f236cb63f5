//! The end of a job: its result is digested, written, counted, and reported.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use brigade_proto::{Bytes, JobError, Outcome, Spans, Status};
use brigade_report::{FileBytes, Files, Id, JobRow, Micros, NoteNames, SpansUs};
use brigade_sys::clock;

use crate::exit::Failure;
use crate::journal::{Done, Entry};
use crate::ledger::Ledger;
use crate::write::{self, Draft, Place, Placed};

/// What the commands know of a job that its outcome does not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobInfo {
    pub(crate) id: Id,
    /// Whether the id is one that the line gives itself: else it is its number.
    pub(crate) is_named: bool,
    pub(crate) line: Option<u64>,
    pub(crate) kernel: String,
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) output: Option<PathBuf>,
    /// Whether an output that exists is replaced.
    pub(crate) replace: bool,
    /// What it is in the journal, if one is kept.
    pub(crate) entry: Option<Entry>,
}

/// Writes the result of a job, if it has one and it is wanted, and enters it.
///
/// # Errors
/// When the journal cannot be written: the result is then not put in place.
pub(crate) fn settle(
    info: JobInfo,
    outcome: &Outcome,
    ledger: &mut Ledger,
) -> Result<JobRow, Failure> {
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
    row.total_us = Micros(spans.total());
    match &outcome.result {
        Err(error) => {
            row.error = Some(in_line(info.line, error.to_string()));
            row.stderr = last_words(error);
        }
        Ok(outputs) => {
            if let Err((path, error)) = put(&info, outputs, &mut row, ledger)? {
                row.status = Status::Failed;
                let message = format!("cannot write {}: {error}", path.display());
                row.error = Some(in_line(info.line, message));
            }
        }
    }
    if !matches!(row.status, Status::Ok | Status::Cancelled)
        && let (Some(journal), Some(entry)) = (ledger.journal(), &info.entry)
    {
        journal.failed_job(entry, row.status)?;
    }
    ledger.enter(outcome, &row, since);
    Ok(row)
}

/// Puts a result in its place, if it has one. It is in the journal before that, so that a
/// file that is there is always known there; the other way round, a file that is not there
/// is noticed.
fn put(
    info: &JobInfo,
    outputs: &[Bytes],
    row: &mut JobRow,
    ledger: &mut Ledger,
) -> Result<Result<(), (PathBuf, io::Error)>, Failure> {
    let drafts = match &info.output {
        Some(path) => {
            if let (Some(journal), Some(_)) = (ledger.journal(), &info.entry) {
                journal.expect_drafts(path)?;
            }
            match Drafts::write(path, outputs) {
                Ok((drafts, digest)) => {
                    row.digest = Some(digest);
                    drafts
                }
                Err(failed) => return Ok(Err(failed)),
            }
        }
        None => {
            row.digest = Some(digest(outputs));
            Drafts::default()
        }
    };
    let paths = drafts.paths();
    if let (Some(journal), Some(entry)) = (ledger.journal(), &info.entry) {
        journal.done(entry, &paths, row)?;
    }
    let published = drafts.publish(info.replace);
    if published.is_ok() {
        row.output = Files::of(&paths);
        row.output_bytes = FileBytes::of(&paths);
    }
    Ok(published)
}

/// Enters a job whose result is there from an earlier run.
pub(crate) fn settle_resumed(
    info: &JobInfo,
    done: Done,
    outputs: &[PathBuf],
    ledger: &mut Ledger,
) -> JobRow {
    ledger.enter_resumed();
    // As it is called in this run, if that is the same file.
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

/// A result in temporary files.
#[derive(Default)]
struct Drafts(Vec<Draft>);

impl Drafts {
    /// One output for `path`, several for `path` with their number before the extension; and
    /// the digest of what is in them.
    fn write(path: &Path, outputs: &[Bytes]) -> Result<(Self, String), (PathBuf, io::Error)> {
        let mut drafts = Vec::with_capacity(outputs.len());
        let mut hasher = blake3::Hasher::new();
        if outputs.len() > 1 && write::look(path).is_ok_and(|found| found == Place::Special) {
            let several = io::Error::other("it is no file, and the result is several files");
            return Err((path.to_owned(), several));
        }
        for (index, output) in outputs.iter().enumerate() {
            let path = if outputs.len() == 1 { path.to_owned() } else { numbered(path, index) };
            let draft = Draft::of(&path).and_then(|mut draft| {
                copy(output, &mut hasher, &mut draft)?;
                draft.flush()?;
                Ok(draft)
            });
            drafts.push(draft.map_err(|error| (path, error))?);
        }
        Ok((Self(drafts), hasher.finalize().to_string()))
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|draft| draft.path().to_owned()).collect()
    }

    /// Gives them their names: all, or none.
    fn publish(mut self, replace: bool) -> Result<(), (PathBuf, io::Error)> {
        if self.0.len() == 1
            && let Some(only) = self.0.pop()
        {
            let path = only.path().to_owned();
            return only.publish(replace).map_err(|error| (path, error));
        }
        let mut placed = Vec::new();
        for draft in self.0 {
            let path = draft.path().to_owned();
            match draft.place(replace) {
                Ok(done) => placed.push(done),
                Err(error) => {
                    placed.into_iter().for_each(Placed::undo);
                    return Err((path, error));
                }
            }
        }
        Ok(())
    }
}

/// Writes what it digests: a worker that was taken over may change its result meanwhile, so
/// each byte is read once, into memory of our own.
fn copy(from: &[u8], hasher: &mut blake3::Hasher, to: &mut impl Write) -> io::Result<()> {
    let mut own = vec![0; from.len().min(CHUNK)];
    for chunk in from.chunks(CHUNK) {
        let own = &mut own[..chunk.len()];
        own.copy_from_slice(chunk);
        // Not to be read from where it came from instead.
        let own = std::hint::black_box(&*own);
        hasher.update(own);
        to.write_all(own)?;
    }
    Ok(())
}

/// Bytes that are copied at once: they stay in the cache.
const CHUNK: usize = 64 << 10;

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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use brigade_proto::{Buffer, Lend};

    use super::*;

    #[test]
    fn several_outputs_are_numbered_and_written_all_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let outputs = [Bytes::from(&b"0"[..]), Bytes::from(&b"1"[..])];
        let (drafts, written_digest) = Drafts::write(&path, &outputs).unwrap();
        assert_eq!(written_digest, digest(&outputs));
        let written = drafts.paths();
        assert_eq!(written, [dir.path().join("a.0.npy"), dir.path().join("a.1.npy")]);
        assert!(!written[0].exists(), "not yet");
        drafts.publish(false).unwrap();
        std::fs::remove_file(&written[0]).unwrap();
        let (drafts, _) = Drafts::write(&path, &outputs).unwrap();
        let (failed, _) = drafts.publish(false).unwrap_err();
        assert_eq!(failed, written[1]);
        assert!(!written[0].exists());
    }

    #[test]
    fn what_cannot_be_replaced_as_a_whole_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let (first, second) = (dir.path().join("a.0.npy"), dir.path().join("a.1.npy"));
        let new = [Bytes::from(&b"new"[..]), Bytes::from(&b"new"[..])];
        std::fs::write(&first, "old").unwrap();
        let (drafts, _) = Drafts::write(&path, &new).unwrap();
        // Full, so that no file can take its place, as if the disk were.
        std::fs::create_dir(&second).unwrap();
        std::fs::write(second.join("x"), "").unwrap();
        let (failed, _) = drafts.publish(true).unwrap_err();
        assert_eq!(failed, second);
        assert_eq!(std::fs::read(&first).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }

    /// The bytes are other ones each time that they are looked at.
    #[test]
    fn the_digest_is_that_of_the_bytes_that_are_written() {
        struct Shifty([Buffer; 2], AtomicUsize);
        impl Lend for Shifty {
            fn bytes(&self) -> &[u8] {
                &self.0[self.1.fetch_add(1, Ordering::Relaxed) % 2]
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let fill = |byte: u8| Buffer::from(&vec![byte; 3 * CHUNK / 2][..]);
        let output = Bytes::lent(Arc::new(Shifty([fill(1), fill(2)], AtomicUsize::new(0))));
        let (drafts, digest) = Drafts::write(&path, &[output]).unwrap();
        drafts.publish(false).unwrap();
        assert_eq!(digest, blake3::hash(&std::fs::read(&path).unwrap()).to_string());
    }

    #[test]
    fn the_digest_is_that_of_all_bytes_in_a_row() {
        let parts = [Bytes::from(&b"ab"[..]), Bytes::from(&b"c"[..])];
        assert_eq!(digest(&parts), blake3::hash(b"abc").to_string());
    }
}
