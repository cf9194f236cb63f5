//! What earlier runs have left in a journal, and in the directories of their outputs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

use super::base::Base;
use super::record::{Digest, JournalRecord, TAKEN};
use crate::write::{self, RunId};

/// What is learnt while a journal is read.
#[derive(Debug, Default)]
pub(super) struct ResumeIndex {
    /// For each end of a job: the job's key, and the offset of the line that records the end, or
    /// one of the markers below.
    ends: Vec<(u64, u64)>,
    /// Whether the last session has ended, and none of its records is missing.
    pub(super) has_ended: bool,
    /// Whether the journal distinguishes [`TAKEN`] from other failures.
    tells_taken: bool,
    /// Jobs that were accepted and are neither done nor failed.
    pub(super) unfinished: HashSet<Digest>,
    runs: BTreeSet<RunId>,
    /// The directories of the journal in its sessions, the latest last.
    pub(super) bases: Vec<PathBuf>,
    /// The directories of accepted outputs, as the journal names them.
    directories: BTreeSet<PathBuf>,
}

/// Instead of an offset: the job failed.
const FAILED: u64 = u64::MAX;

/// Instead of an offset: a file of another program was in the place of the result.
const TAKEN_BY_ANOTHER: u64 = u64::MAX - 1;

impl ResumeIndex {
    /// Adds the next record, whose line begins at offset `line`.
    pub(super) fn learn(&mut self, line: u64, record: JournalRecord) {
        match record {
            JournalRecord::Journal { .. } => {}
            JournalRecord::Session { run, base, .. } => {
                self.has_ended = false;
                self.runs.insert(run);
                if let Some(base) = base.map(|name| name.path()) {
                    self.bases.retain(|known| *known != base);
                    self.bases.push(base);
                }
            }
            JournalRecord::Accepted { job, output, .. } => {
                if let Some(parent) = output.map(|name| name.path())
                    && let Some(parent) = parent.parent()
                    && !self.directories.contains(parent)
                {
                    self.directories.insert(parent.to_owned());
                }
                self.unfinished.insert(job);
            }
            JournalRecord::Done(done) => {
                self.unfinished.remove(&done.job);
                self.ends.push((key(done.job), line));
            }
            JournalRecord::Failed { job, status } => {
                self.unfinished.remove(&job);
                let ended = if status == TAKEN { TAKEN_BY_ANOTHER } else { FAILED };
                self.ends.push((key(job), ended));
            }
            JournalRecord::Synced { ended, .. } => self.has_ended |= ended,
        }
    }

    /// Removes the temporary files of earlier runs that were killed. None of these runs is alive:
    /// this run has the lock, which a run holds until its end.
    pub(super) fn clear_up(&self, base: &Base) {
        // The earlier run was killed here, or before the journal was moved.
        let earlier = self.bases.iter().cloned().map(Base::Directory);
        let bases: BTreeSet<Base> = earlier.chain([base.clone()]).collect();
        let directories: BTreeSet<PathBuf> = bases
            .iter()
            .flat_map(|base| self.directories.iter().map(|directory| base.join(directory)))
            .collect();
        for directory in &directories {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let writer = write::writer_of(&entry.file_name());
                if writer.is_some_and(|run| self.runs.contains(&run)) {
                    // A file that cannot be removed does no harm.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// The version of the journal decides this.
    pub(super) fn tells_taken(&mut self, so: bool) {
        self.tells_taken = so;
    }

    /// Where the journal has the results.
    pub(super) fn results(self) -> ResultIndex {
        let mut ends = self.ends;
        // The sort is stable: the ends of one job stay in order.
        ends.sort_by_key(|&(key, _)| key);
        let mut results = Vec::with_capacity(ends.len());
        for ends in ends.chunk_by(|one, other| one.0 == other.0) {
            let last = ends.iter().fold(None, |before, &(_, end)| match (end, before) {
                // The files of the job's earlier results still belong to it.
                (FAILED, Some(line)) if self.tells_taken => Some(line | HAS_FAILED),
                (FAILED | TAKEN_BY_ANOTHER, _) => None,
                (line, _) => Some(line),
            });
            results.extend(last.map(|line| (ends[0].0, line)));
        }
        results.shrink_to_fit();
        ResultIndex(results)
    }
}

/// Flag in the offset of a line: the job has failed after that line.
const HAS_FAILED: u64 = 1 << 63;

/// What is known of a job that had a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownResult {
    /// Offset of the line with its last result. That line may be of another job with the same key.
    pub(super) line: u64,
    /// Whether the job was run again after that line, and failed.
    pub(super) has_failed: bool,
}

/// For each job that has had a result, half of its digest and the offset of the line with the
/// result: 16 bytes. The line is read when it is needed.
#[derive(Debug, Default)]
pub(super) struct ResultIndex(Vec<(u64, u64)>);

impl ResultIndex {
    /// How many jobs have a result.
    pub(super) fn len(&self) -> usize {
        self.0.iter().filter(|(_, line)| line & HAS_FAILED == 0).count()
    }

    pub(super) fn of(&self, job: Digest) -> Option<KnownResult> {
        let place = self.0.binary_search_by_key(&key(job), |&(key, _)| key).ok()?;
        let line = self.0[place].1;
        Some(KnownResult { line: line & !HAS_FAILED, has_failed: line & HAS_FAILED != 0 })
    }
}

fn key(job: Digest) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = job.0;
    u64::from_be_bytes(half)
}
