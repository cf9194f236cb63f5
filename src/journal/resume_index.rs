//! What earlier runs have left in a journal, and beside their outputs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

use super::base::Base;
use super::record::{Digest, Record, TAKEN};
use crate::write::{self, RunId};

/// What is learnt while a journal is read.
#[derive(Debug, Default)]
pub(super) struct ResumeIndex {
    /// Of each end of a job, its key and the line that tells it.
    ends: Vec<(u64, u64)>,
    /// Whether the last session has come to its end, and nothing of it is missing.
    pub(super) has_ended: bool,
    /// Whether a job whose place is taken by somebody else's file is told from other failed ones.
    tells_taken: bool,
    /// Begun and neither done nor failed.
    pub(super) unfinished: HashSet<Digest>,
    runs: BTreeSet<RunId>,
    /// Where the journal lay in its sessions, the last one last.
    pub(super) bases: Vec<PathBuf>,
    /// Where they wrote, as the journal names it.
    directories: BTreeSet<PathBuf>,
}

/// In the place of a line: the job failed.
const FAILED: u64 = u64::MAX;

/// The same: a file of somebody else was in the place of its result.
const TAKEN_BY_ANOTHER: u64 = u64::MAX - 1;

impl ResumeIndex {
    /// The next record, whose line begins at `line`.
    pub(super) fn learn(&mut self, line: u64, record: Record) {
        match record {
            Record::Journal { .. } => {}
            Record::Session { run, base, .. } => {
                self.has_ended = false;
                self.runs.insert(run);
                if let Some(base) = base.map(|name| name.path()) {
                    self.bases.retain(|known| *known != base);
                    self.bases.push(base);
                }
            }
            Record::Accepted { job, output, .. } => {
                if let Some(parent) = output.map(|name| name.path())
                    && let Some(parent) = parent.parent()
                    && !self.directories.contains(parent)
                {
                    self.directories.insert(parent.to_owned());
                }
                self.unfinished.insert(job);
            }
            Record::Done(done) => {
                self.unfinished.remove(&done.job);
                self.ends.push((key(done.job), line));
            }
            Record::Failed { job, status } => {
                self.unfinished.remove(&job);
                let ended = if status == TAKEN { TAKEN_BY_ANOTHER } else { FAILED };
                self.ends.push((key(job), ended));
            }
            Record::Synced { ended, .. } => self.has_ended |= ended,
        }
    }

    /// Removes the temporary files of earlier runs that were killed. None of them lives: this
    /// one has the lock that a run keeps to its end.
    pub(super) fn clear_up(&self, base: &Base) {
        // It was killed here, or before the journal was moved.
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
                    // What cannot be removed is in nobody's way.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// The version of the journal decides it.
    pub(super) fn tells_taken(&mut self, so: bool) {
        self.tells_taken = so;
    }

    /// Where the results are told.
    pub(super) fn results(self) -> Results {
        let mut ends = self.ends;
        // Stable: those of one job stay in their order.
        ends.sort_by_key(|&(key, _)| key);
        let mut results = Vec::with_capacity(ends.len());
        for ends in ends.chunk_by(|one, other| one.0 == other.0) {
            let last = ends.iter().fold(None, |before, &(_, end)| match (end, before) {
                // Its files of earlier runs are still its own.
                (FAILED, Some(line)) if self.tells_taken => Some(line | HAS_FAILED),
                (FAILED | TAKEN_BY_ANOTHER, _) => None,
                (line, _) => Some(line),
            });
            results.extend(last.map(|line| (ends[0].0, line)));
        }
        results.shrink_to_fit();
        Results(results)
    }
}

/// In the number of a line: the job has failed after that.
const HAS_FAILED: u64 = 1 << 63;

/// What is known of a job that had a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Where the line begins that tells its last one; it may be of another job with the same half.
    pub(super) line: u64,
    /// Whether it was run again after that, and failed.
    pub(super) has_failed: bool,
}

/// For each job that has had a result, half of its digest and where the line begins that tells
/// it: 16 bytes. The rest is read when it is asked for.
#[derive(Debug, Default)]
pub(super) struct Results(Vec<(u64, u64)>);

impl Results {
    /// How many jobs have one.
    pub(super) fn len(&self) -> usize {
        self.0.iter().filter(|(_, line)| line & HAS_FAILED == 0).count()
    }

    pub(super) fn of(&self, job: Digest) -> Option<Known> {
        let place = self.0.binary_search_by_key(&key(job), |&(key, _)| key).ok()?;
        let line = self.0[place].1;
        Some(Known { line: line & !HAS_FAILED, has_failed: line & HAS_FAILED != 0 })
    }
}

fn key(job: Digest) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = job.0;
    u64::from_be_bytes(half)
}
