//! Results that are committed together.

use std::path::PathBuf;

use brigade_report::JobRow;

use super::{Committed, Uncommitted, files};
use crate::exit::{Exit, Failure};
use crate::journal::{Digest, DoneRecord, JournalWriter};
use crate::write::{FileError, FinishedDrafts, is_taken, sync};

/// The jobs of a group, and what else has to be synced.
#[derive(Default)]
pub(super) struct CommitGroup {
    journal: Option<JournalWriter>,
    jobs: Vec<Uncommitted>,
    files: usize,
    bytes: u64,
    /// Directories with new entries that are not synced.
    directories: Vec<PathBuf>,
}

/// A job that is being committed.
struct CommittingJob {
    place: u64,
    row: JobRow,
    output: Option<PathBuf>,
    files: usize,
    digest: Option<Digest>,
    done: Option<DoneRecord>,
    /// `Ok(None)` once the files have their names.
    result: Result<Option<FinishedDrafts>, FileError>,
}

impl CommitGroup {
    pub(super) fn new(journal: Option<JournalWriter>, directories: Vec<PathBuf>) -> Self {
        Self { journal, jobs: Vec::new(), files: 0, bytes: 0, directories }
    }

    pub(super) fn files(&self) -> usize {
        self.files
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn add(&mut self, job: Uncommitted) {
        // The disk can begin with a large result at once.
        if job.row.bytes_out >= 1 << 20 {
            job.drafts.start_writeback();
        }
        self.files += files(&job.drafts);
        self.bytes += job.row.bytes_out;
        self.jobs.push(job);
    }

    /// Syncs the directory entry of the journal, and the directories that results will be in.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if let Some(journal) = &self.journal {
            self.directories.push(journal.directory());
        }
        self.sync_names(false)
    }

    /// Gives the results their names without a sync: the kernel writes them when it likes.
    pub(super) fn name(&mut self) -> Vec<Result<Committed, Failure>> {
        let mut jobs = self.take();
        if let Err(failure) = self.record(&mut jobs) {
            return vec![Err(failure)];
        }
        let named = self.publish(&mut jobs);
        let named = named.and_then(|_| self.write_journal());
        told(jobs, named)
    }

    /// Commits everything in order: syncs contents and journal, gives the results their names, then
    /// syncs the names.
    pub(super) fn commit(&mut self) -> Vec<Result<Committed, Failure>> {
        let mut jobs = self.take();
        let committed = self
            .record(&mut jobs)
            .and_then(|()| self.sync_contents(&mut jobs))
            .and_then(|()| self.publish(&mut jobs))
            .and_then(|are_undone| self.sync_names(are_undone));
        told(jobs, committed)
    }

    /// Finishes the drafts, which finds out what is in the way.
    fn take(&mut self) -> Vec<CommittingJob> {
        (self.files, self.bytes) = (0, 0);
        let finish = |job: Uncommitted| {
            let files = files(&job.drafts);
            let (digest, done) = job.record.unzip();
            let Uncommitted { place, row, drafts, output, .. } = job;
            let result = drafts.finish().map(Some);
            CommittingJob { place, row, output, files, digest, done, result }
        };
        std::mem::take(&mut self.jobs).into_iter().map(finish).collect()
    }

    /// Adds the `done` records to the journal before the results get their names. So no file is
    /// ever in the place of a result without the journal knowing it.
    fn record(&mut self, jobs: &mut [CommittingJob]) -> Result<(), Failure> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let whole = jobs.iter_mut().filter(|job| job.result.is_ok());
        journal.done(whole.filter_map(|job| job.done.take()))
    }

    /// Syncs the files and the journal.
    fn sync_contents(&mut self, jobs: &mut [CommittingJob]) -> Result<(), Failure> {
        let written = self.journal.as_ref().map(JournalWriter::write).transpose()?;
        let files: Vec<_> = jobs
            .iter()
            .enumerate()
            .filter_map(|(index, job)| Some((index, job.result.as_ref().ok()?.as_ref()?)))
            .flat_map(|(index, finished)| finished.each().map(move |file| (index, file)))
            .filter_map(|(index, finished)| Some((index, finished.path(), finished.file()?)))
            .collect();
        let mut all: Vec<_> = files.iter().map(|&(.., file)| file).collect();
        all.extend(self.journal.as_ref().map(JournalWriter::file));
        let mut results = sync::files(&all);
        if let (Some(journal), Some(written)) = (&self.journal, written) {
            match results.pop() {
                Some(Err(error)) => return Err(journal.failed("write", &error)),
                _ => journal.is_synced(written),
            }
        }
        let lost: Vec<(usize, FileError)> = files
            .iter()
            .zip(results)
            .filter_map(|(&(index, path, _), result)| {
                Some((index, (path.to_owned(), result.err()?)))
            })
            .collect();
        for (index, error) in lost {
            jobs[index].result = Err(error);
        }
        Ok(())
    }

    /// Gives the results their names. Returns whether a result got none, which the journal has to
    /// record.
    fn publish(&mut self, jobs: &mut [CommittingJob]) -> Result<bool, Failure> {
        let mut are_undone = false;
        for job in jobs {
            if let Ok(drafts) = &mut job.result
                && let Some(drafts) = drafts.take()
            {
                for directory in drafts.each().filter_map(|file| file.directory()) {
                    if !self.directories.iter().any(|known| known == directory) {
                        self.directories.push(directory.to_owned());
                    }
                }
                let published = drafts.publish();
                job.result = published.map(|()| None);
            }
            if let (Err((_, error)), Some(journal), Some(digest)) =
                (&job.result, &self.journal, job.digest)
            {
                journal.undone(digest, is_taken(error));
                are_undone = true;
            }
        }
        Ok(are_undone)
    }

    fn write_journal(&self) -> Result<(), Failure> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.write().map(drop))
    }

    /// Syncs the names, and the journal if a result got none.
    fn sync_names(&mut self, are_undone: bool) -> Result<(), Failure> {
        if are_undone && let Some(journal) = &self.journal {
            journal.sync()?;
        }
        let directories = std::mem::take(&mut self.directories);
        sync::directories(&directories).map_err(|(path, error)| Failure {
            exit: Exit::JobFailed,
            message: format!("cannot bring the directory {} to the disk: {error}", path.display()),
        })
    }
}

/// The jobs with their results, or the failure that stops all of them.
fn told(
    jobs: Vec<CommittingJob>,
    committed: Result<(), Failure>,
) -> Vec<Result<Committed, Failure>> {
    if let Err(failure) = committed {
        return vec![Err(failure)];
    }
    let told = |job: CommittingJob| {
        let CommittingJob { place, row, output, files, result, .. } = job;
        Ok(Committed { place, row, output, files, result: result.map(drop) })
    };
    jobs.into_iter().map(told).collect()
}
