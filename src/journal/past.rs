//! What earlier runs have left in a journal, and beside their outputs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

use super::base::Base;
use super::record::{Digest, Record};
use crate::write::{self, RunId};

/// What is learnt while a journal is read.
#[derive(Debug, Default)]
pub(super) struct Past {
    ends: Vec<(u64, u64)>,
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

impl Past {
    /// The next record, whose line begins at `line`.
    pub(super) fn learn(&mut self, line: u64, record: Record) {
        match record {
            Record::Journal { .. } => {}
            Record::Session { run, base, .. } => {
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
            Record::Failed { job, .. } => {
                self.unfinished.remove(&job);
                self.ends.push((key(job), FAILED));
            }
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

    /// Where the results are told.
    pub(super) fn results(self) -> Results {
        let mut ends = self.ends;
        // Stable: of several ends of one job the last counts.
        ends.sort_by_key(|&(key, _)| key);
        ends.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                *earlier = *later;
            }
            same
        });
        ends.retain(|&(_, line)| line != FAILED);
        ends.shrink_to_fit();
        Results(ends)
    }
}

/// For each job that has a result, half of its digest and where the line begins that tells
/// it: 16 bytes. The rest is read when it is asked for.
#[derive(Debug, Default)]
pub(super) struct Results(Vec<(u64, u64)>);

impl Results {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The line of a job; it may be of another with the same half.
    pub(super) fn line_of(&self, job: Digest) -> Option<u64> {
        let place = self.0.binary_search_by_key(&key(job), |&(key, _)| key).ok()?;
        Some(self.0[place].1)
    }
}

fn key(job: Digest) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = job.0;
    u64::from_be_bytes(half)
}
