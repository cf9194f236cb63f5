//! Records on disk what a run has done, so that another run can resume it. README.md beside this
//! file has the format and what holds at which moment.

mod base;
mod identity;
mod record;
mod resume_index;
mod scan;
mod writer;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use brigade_proto::{JobSpec, Status};
use brigade_report::{Id, units};

use crate::args::JournalArgs;
use crate::console::say;
use crate::exit::Failure;
use crate::write::{self, FileReservation, Replace, RunId, disk};
use base::{Base, absolute};
pub(crate) use identity::{JobIdentity, JournaledJob, With};
use identity::{JobNamer, digest_of_files};
pub(crate) use record::{Digest, DoneRecord};
use record::{FileName, JournalRecord, SCHEMA};
use resume_index::{KnownResult, ResultIndex, ResumeIndex};
use scan::{JournalEnd, Unreadable, Version, scan};
pub(crate) use writer::JournalWriter;

/// A journal that only this process writes.
#[derive(Debug)]
pub(crate) struct Journal {
    writer: JournalWriter,
    /// Prevents a job's result from replacing this file.
    _reserved: FileReservation,
    /// The file, to read the records of earlier runs.
    file: File,
    /// Whether its last session did not end properly. Then its last records may be missing,
    /// although the results exist.
    is_cut: bool,
    /// Whether the file was empty.
    is_new: bool,
    /// What the names in it are relative to.
    base: Base,
    /// The bases of earlier sessions that differ from `base`, the latest first.
    earlier_bases: Vec<Base>,
    /// The jobs that have a result of an earlier run.
    earlier: ResultIndex,
    namer: JobNamer,
    /// Hashes of the directories for which the journal on file already says that outputs of this
    /// run are in them.
    directories: HashSet<u64>,
    again: Again,
}

/// How many directories are remembered. For a forgotten directory, the pending records are written
/// once more.
const MAX_DIRECTORIES: usize = 4096;

/// How many jobs that have a result are run again, by reason.
#[derive(Debug, Default)]
struct Again {
    changed: u64,
    gone: u64,
}

/// What earlier runs have made of a job.
#[derive(Debug)]
pub(crate) enum ResumeDecision {
    /// No result is known.
    New,
    /// Its result exists, in these files.
    Done(Box<DoneRecord>, Vec<PathBuf>),
    /// It had a result that is gone, or that is not what the job would give now: it has to be run
    /// again. Any file in the place of its result belongs to the job, whatever it contains: a power
    /// failure may have left it.
    Again,
}

impl Journal {
    /// Opens the journal that the arguments ask for, if any. It must not be one of the `used`
    /// files.
    ///
    /// # Errors
    /// When it cannot be written, exists but `--resume` is missing, or is not a journal that this
    /// version can continue.
    pub(crate) fn open<'a>(
        args: &JournalArgs,
        used: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<Option<Self>, Failure> {
        let Some(path) = &args.journal else { return Ok(None) };
        let place = write::identity(path);
        if used.into_iter().any(|other| write::identity(other) == place) {
            let show = path.display();
            return Err(Failure::usage(format!(
                "--journal {show} is also an input or an output; name another file"
            )));
        }
        Self::open_at(path, args.resume).map(Some).map_err(Failure::usage)
    }

    /// Refuses a journal that exists if `--resume` is missing. Called before the plan refuses the
    /// results of the earlier run.
    ///
    /// # Errors
    /// When there is one.
    pub(crate) fn check(args: &JournalArgs) -> Result<(), Failure> {
        match &args.journal {
            Some(path) if !args.resume && is_kept(path) => Err(Failure::usage(exists(path))),
            _ => Ok(()),
        }
    }

    fn open_at(path: &Path, resume: bool) -> Result<Self, String> {
        let show = path.display();
        let cannot = |error: io::Error| format!("cannot write --journal {show}: {error}");
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(format!("--journal {show} is not a file"));
        }
        let is_there = path.symlink_metadata().is_ok();
        let stored = disk::open_to_append(path).map_err(cannot)?;
        let mut file = stored.file().try_clone().map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("--journal {show} is in use by another brigade"));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        if !resume && file.metadata().map_err(cannot)?.len() > 0 {
            return Err(exists(path));
        }
        let mut resume_index = ResumeIndex::default();
        let end = scan(BufReader::new(&mut file), |line, record| resume_index.learn(line, record))
            .map_err(|error: Unreadable| format!("--journal {show} {error}"))?;
        let JournalEnd { good, torn, chain, version } = end;
        let base = match version {
            Version::Absolute => Base::None,
            Version::Unsynced | Version::Current => Base::of_journal(path),
        };
        resume_index.tells_taken(version == Version::Current);
        if torn > 0 {
            stored.set_len(good).map_err(cannot)?;
            say(format_args!(
                "note: the last {torn} bytes of {show} are an unfinished record, and were dropped"
            ));
        }
        let is_cut = resume && is_there && (torn > 0 || !resume_index.has_ended);
        resume_index.clear_up(&base);
        let unfinished = resume_index.unfinished.len();
        let earlier_bases: Vec<Base> = match base {
            Base::None => Vec::new(),
            Base::Directory(_) => {
                let bases = resume_index.bases.iter().rev().cloned().map(Base::Directory);
                bases.filter(|earlier| *earlier != base).collect()
            }
        };
        let earlier = resume_index.results();
        if resume && good > 0 {
            let done = units::count(earlier.len() as u64, "job");
            say(format_args!("resuming {show}: {done} done, {unfinished} unfinished"));
        }
        let journal = Self {
            writer: JournalWriter::new(path, stored, good, chain, version).map_err(cannot)?,
            _reserved: write::reserve(path, "the journal of this run"),
            file,
            is_cut,
            is_new: good == 0,
            base,
            earlier_bases,
            earlier,
            namer: JobNamer::default(),
            directories: HashSet::new(),
            again: Again::default(),
        };
        if good == 0 {
            journal.writer.add(&JournalRecord::Journal { schema: SCHEMA.to_owned() });
        }
        Ok(journal)
    }

    /// Begins a session. Called when all other checks have passed.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        if self.is_new {
            // The first line identifies the file as a journal. Later lines may reach the disk in
            // any order.
            self.writer.sync()?;
        }
        let base = match &self.base {
            Base::None => None,
            Base::Directory(directory) => Some(FileName::from(&**directory)),
        };
        self.writer.add(&JournalRecord::Session {
            pid: std::process::id(),
            run: RunId::own(),
            base,
        });
        self.writer.write().map(drop)
    }

    /// A handle that appends to the journal.
    pub(crate) fn writer(&self) -> JournalWriter {
        self.writer.clone()
    }

    /// Whether a file in the place of a job's result may be replaced.
    pub(crate) fn replace(&self, decision: &ResumeDecision) -> Replace {
        match decision {
            ResumeDecision::Done(..) | ResumeDecision::Again => Replace::Always,
            // The file may be this job's, and the record of it lost.
            ResumeDecision::New if self.is_cut => Replace::Remains,
            ResumeDecision::New => Replace::Never,
        }
    }

    /// Identifies a job. Must be called once for each job, in the order of the run.
    pub(crate) fn enter(
        &mut self,
        spec: &JobSpec,
        output: Option<&Path>,
        id: Option<&Id>,
    ) -> JobIdentity {
        let (digest, before) = self.namer.enter(&self.base, spec, output, id);
        let mut job = JobIdentity { digest, earlier: None };
        if self.earlier.of(digest).is_none() {
            let mut bases = self.earlier_bases.iter().enumerate();
            job.earlier = bases.find_map(|(number, base)| {
                let digest = identity::digest(base, spec, output, id, before);
                self.earlier.of(digest).map(|_| (digest, number))
            });
        }
        job
    }

    /// Forgets which jobs have been entered.
    pub(crate) fn begin_anew(&mut self) {
        self.namer = JobNamer::default();
    }

    /// What earlier runs have made of a job.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn decision(
        &mut self,
        job: JobIdentity,
        with: &With,
    ) -> Result<ResumeDecision, Failure> {
        let (digest, base) = match job.earlier {
            Some((digest, number)) => (digest, &self.earlier_bases[number]),
            None => (job.digest, &self.base),
        };
        let base = base.clone();
        let Some(KnownResult { line, has_failed }) = self.earlier.of(digest) else {
            return Ok(ResumeDecision::New);
        };
        let done = self.recall(line).map_err(|error| self.writer.failed("read", &error))?;
        if done.job != digest {
            return Ok(ResumeDecision::New);
        }
        if has_failed {
            // The files may hold the result of an earlier run with other inputs.
            return Ok(ResumeDecision::Again);
        }
        if done.with != with.now() {
            self.again.changed += 1;
            return Ok(ResumeDecision::Again);
        }
        let paths: Vec<PathBuf> = done.outputs.iter().map(|name| base.path(name)).collect();
        let is_there = paths.is_empty()
            || digest_of_files(&paths).is_ok_and(|digest| digest.to_string() == done.digest);
        if !is_there {
            self.again.gone += 1;
            return Ok(ResumeDecision::Again);
        }
        Ok(ResumeDecision::Done(Box::new(done), paths))
    }

    fn recall(&self, line: u64) -> io::Result<DoneRecord> {
        let mut text = Vec::new();
        BufReader::new(ReadFrom { file: &self.file, at: line }).read_until(b'\n', &mut text)?;
        let json = record::json_of(&text).unwrap_or_default();
        match serde_json::from_slice(json)? {
            JournalRecord::Done(done) => Ok(done),
            _ => Err(io::Error::other("it was changed while it was in use")),
        }
    }

    /// Records that a job is about to be submitted.
    pub(crate) fn accept(&self, job: JobIdentity, output: Option<&Path>) {
        // The temporary file is beside the file itself, so links are followed.
        let output = output
            .map(|path| self.base.name(&write::follow(path).unwrap_or_else(|_| path.to_owned())));
        // Older versions read a digest here and do not use it.
        let with = (!self.writer.tells()).then_some(Digest([0; 16]));
        self.writer.add(&JournalRecord::Accepted { job: job.digest, with, output });
    }

    /// Called before temporary files are made for this output of an accepted job. Writes the
    /// records, so that the journal on file names the output's directory: after a kill, the run
    /// that resumes searches this directory for leftovers.
    ///
    /// # Errors
    /// When the records cannot be written.
    pub(crate) fn expect_drafts(&mut self, output: &Path) -> Result<(), Failure> {
        let mut hasher = DefaultHasher::new();
        let place = write::follow(output).unwrap_or_else(|_| output.to_owned());
        absolute(&place).parent().hash(&mut hasher);
        if self.directories.contains(&hasher.finish()) {
            return Ok(());
        }
        self.writer.write()?;
        if self.directories.len() == MAX_DIRECTORIES {
            self.directories.clear();
        }
        self.directories.insert(hasher.finish());
        Ok(())
    }

    /// The `done` record for a job whose result is complete and will be in `outputs`.
    pub(crate) fn done(
        &self,
        entry: &JournaledJob,
        outputs: &[PathBuf],
        row: &brigade_report::JobRow,
        input_digests: Option<&[[u8; 32]]>,
    ) -> DoneRecord {
        DoneRecord {
            job: entry.job.digest,
            with: entry.with.read(input_digests),
            outputs: outputs.iter().map(|path| self.base.name(path)).collect(),
            digest: row.digest.clone().unwrap_or_default(),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            attempts: row.attempts,
        }
    }

    /// Records that a job ended without a result.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn failed_job(&self, job: JobIdentity, status: Status) -> Result<(), Failure> {
        self.writer.add(&JournalRecord::Failed { job: job.digest, status: status.to_string() });
        self.writer.write().map(drop)
    }

    /// Ends the session, and says which jobs were run again and why.
    ///
    /// # Errors
    /// When the journal cannot be synced.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let Again { changed, gone } = self.again;
        if changed > 0 {
            let changed = units::count(changed, "job");
            say(format_args!("{changed} run again, with other inputs or parameters than before"));
        }
        if gone > 0 {
            let gone = units::count(gone, "job");
            say(format_args!("{gone} run again, whose results were gone or had been changed"));
        }
        self.writer.end()
    }
}

/// Reads a file from this offset on. The file's own offset moves when records are appended.
struct ReadFrom<'a> {
    file: &'a File,
    at: u64,
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(bytes, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

fn is_kept(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
}

fn exists(path: &Path) -> String {
    let show = path.display();
    format!("--journal {show} exists; --resume continues it, or name another file")
}

/// An entry point for fuzzers: reads the bytes of a journal.
pub(crate) fn scan_bytes(bytes: &[u8]) {
    let mut resume_index = ResumeIndex::default();
    if let Ok(end) = scan(bytes, |line, record| resume_index.learn(line, record)) {
        assert!(end.good + end.torn == bytes.len() as u64, "every byte is accounted for");
        // The good part is good without the torn part, too.
        let good = &bytes[..end.good as usize];
        let again = scan(good, |_, _| {}).expect("it was good");
        assert_eq!((again.good, again.torn, again.chain), (end.good, 0, end.chain));
    }
}

#[cfg(test)]
mod tests;
