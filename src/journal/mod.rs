//! What a run has done, on disk, so that another run can go on after it: see README.md
//! beside this file for the format and for what holds at which moment.

mod base;
mod identity;
mod past;
mod record;
mod scan;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use brigade_proto::{JobSpec, Status};
use brigade_report::{Id, units};

use crate::args::JournalArgs;
use crate::console::say;
use crate::exit::{Exit, Failure};
use crate::write::{self, RunId};
use base::Base;
use identity::{Census, absolute, digest_of_files};
pub(crate) use identity::{Entry, Job, with};
use past::{Past, Results};
use record::{Chain, Name, Record, SCHEMA};
pub(crate) use record::{Digest, Done};
use scan::{End, Unreadable, scan};

/// A journal that this process alone writes.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    chain: Chain,
    /// Bytes of whole records.
    good: u64,
    /// Records that are not written yet: they go with the next that has to be.
    pending: Vec<u8>,
    /// What names in it are relative to.
    base: Base,
    /// The same in earlier sessions, where it was another directory, the latest first.
    earlier_bases: Vec<Base>,
    /// Jobs that earlier runs have a result of.
    earlier: Results,
    census: Census,
    /// Directories, by a hash, of which it is on file that outputs of this run are in them.
    directories: HashSet<u64>,
    again: Again,
}

/// How many directories are remembered: one that is forgotten is put on file once more.
const MAX_DIRECTORIES: usize = 4096;

/// Why jobs that have a result are run again: how many.
#[derive(Debug, Default)]
struct Again {
    changed: u64,
    gone: u64,
}

/// What has become of a job in an earlier run.
#[derive(Debug)]
pub(crate) enum Fate {
    /// There is nothing to go by.
    New,
    /// Its result is there, in these files.
    Done(Box<Done>, Vec<PathBuf>),
    /// Its result is not there any more, or is another job's by now: it has to be run
    /// again, and may replace what it wrote.
    Again,
}

impl Journal {
    /// The journal that the arguments ask for, if they do. `used` are files that it cannot be.
    ///
    /// # Errors
    /// When it cannot be written, exists and is not to be gone on with, or is not
    /// a journal that this version can go on with.
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

    /// Refuses a journal that is there and not to be gone on with, before its results are in
    /// the way.
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
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(cannot)?;
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
        let mut past = Past::default();
        let end = scan(BufReader::new(&mut file), |line, record| past.learn(line, record))
            .map_err(|error: Unreadable| format!("--journal {show} {error}"))?;
        let End { good, torn, chain, is_absolute } = end;
        let base = if is_absolute { Base::None } else { Base::of_journal(path) };
        if torn > 0 {
            file.set_len(good).map_err(cannot)?;
            say(format_args!(
                "note: the last {torn} bytes of {show} are an unfinished record, and were dropped"
            ));
        }
        past.clear_up(&base);
        let unfinished = past.unfinished.len();
        let earlier_bases: Vec<Base> = match base {
            Base::None => Vec::new(),
            Base::Directory(_) => {
                let bases = past.bases.iter().rev().cloned().map(Base::Directory);
                bases.filter(|earlier| *earlier != base).collect()
            }
        };
        let earlier = past.results();
        if resume && good > 0 {
            let done = units::count(earlier.len() as u64, "job");
            say(format_args!("resuming {show}: {done} done, {unfinished} unfinished"));
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            chain,
            good,
            pending: Vec::new(),
            base,
            earlier_bases,
            earlier,
            census: Census::default(),
            directories: HashSet::new(),
            again: Again::default(),
        };
        if good == 0 {
            journal.note(&Record::Journal { schema: SCHEMA.to_owned() });
        }
        let base = match &journal.base {
            Base::None => None,
            Base::Directory(directory) => Some(Name::from(&**directory)),
        };
        journal.note(&Record::Session { pid: std::process::id(), run: RunId::own(), base });
        Ok(journal)
    }

    /// Everything else is known to be right: the run begins.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.flush()
    }

    /// Which job it is: asked for once for each, in the order of the run.
    pub(crate) fn enter(&mut self, spec: &JobSpec, output: Option<&Path>, id: Option<&Id>) -> Job {
        let (digest, before) = self.census.enter(&self.base, spec, output, id);
        let mut job = Job { digest, earlier: None };
        if self.earlier.line_of(digest).is_none() {
            let mut bases = self.earlier_bases.iter().enumerate();
            job.earlier = bases.find_map(|(number, base)| {
                let digest = identity::digest(base, spec, output, id, before);
                self.earlier.line_of(digest).map(|_| (digest, number))
            });
        }
        job
    }

    /// No job has been entered yet.
    pub(crate) fn begin_anew(&mut self) {
        self.census = Census::default();
    }

    /// What has become of a job before this run.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn fate(&mut self, entry: &Entry) -> Result<Fate, Failure> {
        let (digest, base) = match entry.job.earlier {
            Some((digest, number)) => (digest, &self.earlier_bases[number]),
            None => (entry.job.digest, &self.base),
        };
        let base = base.clone();
        let Some(line) = self.earlier.line_of(digest) else {
            return Ok(Fate::New);
        };
        let done = self.recall(line).map_err(|error| self.failed("read", &error))?;
        if done.job != digest {
            return Ok(Fate::New);
        }
        let paths: Vec<PathBuf> = done.outputs.iter().map(|name| base.path(name)).collect();
        let is_there = paths.is_empty()
            || digest_of_files(&paths).is_ok_and(|digest| digest.to_string() == done.digest);
        if done.with != entry.with {
            self.again.changed += 1;
            return Ok(if is_there { Fate::Again } else { Fate::New });
        }
        if !is_there {
            self.again.gone += 1;
            return Ok(Fate::New);
        }
        Ok(Fate::Done(Box::new(done), paths))
    }

    fn recall(&mut self, line: u64) -> io::Result<Done> {
        self.file.seek(SeekFrom::Start(line))?;
        let mut text = Vec::new();
        BufReader::new(&mut self.file).read_until(b'\n', &mut text)?;
        let json = record::json_of(&text).unwrap_or_default();
        match serde_json::from_slice(json)? {
            Record::Done(done) => Ok(done),
            _ => Err(io::Error::other("it was changed while it was in use")),
        }
    }

    /// A job is about to be handed out.
    pub(crate) fn accept(&mut self, entry: &Entry, output: Option<&Path>) {
        // Its temporary file is beside the file itself, wherever links to it are.
        let output = output
            .map(|path| self.base.name(&write::follow(path).unwrap_or_else(|_| path.to_owned())));
        self.note(&Record::Accepted { job: entry.job.digest, with: entry.with, output });
    }

    /// Temporary files for this output of a job that was accepted are about to be made. That
    /// there are outputs in its directory has to be on file: who goes on after a kill
    /// looks there for what is left.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn expect_drafts(&mut self, output: &Path) -> Result<(), Failure> {
        let mut hasher = DefaultHasher::new();
        let place = write::follow(output).unwrap_or_else(|_| output.to_owned());
        absolute(&place).parent().hash(&mut hasher);
        if self.directories.contains(&hasher.finish()) {
            return Ok(());
        }
        self.flush()?;
        if self.directories.len() == MAX_DIRECTORIES {
            self.directories.clear();
        }
        self.directories.insert(hasher.finish());
        Ok(())
    }

    /// The result of a job is complete, in temporary files that are about to be given the
    /// names `outputs`.
    ///
    /// # Errors
    /// When that cannot be written: the job is then not done.
    pub(crate) fn done(
        &mut self,
        entry: &Entry,
        outputs: &[PathBuf],
        row: &brigade_report::JobRow,
    ) -> Result<(), Failure> {
        self.note(&Record::Done(Done {
            job: entry.job.digest,
            with: entry.with,
            outputs: outputs.iter().map(|path| self.base.name(path)).collect(),
            digest: row.digest.clone().unwrap_or_default(),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            attempts: row.attempts,
        }));
        self.flush()
    }

    /// A job ended without a result.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn failed_job(&mut self, entry: &Entry, status: Status) -> Result<(), Failure> {
        self.note(&Record::Failed { job: entry.job.digest, status: status.to_string() });
        self.flush()
    }

    fn note(&mut self, record: &Record) {
        let line = self.chain.line(record);
        self.pending.extend(line);
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.file.write_all(&self.pending);
        if let Err(error) = written {
            // Whole records only, as far as it can be had.
            let _ = self.file.set_len(self.good);
            return Err(self.failed("write", &error));
        }
        self.good += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        let message = format!("cannot {what} the journal {}: {error}", self.path.display());
        Failure { exit: Exit::JobFailed, message }
    }

    /// The run is over.
    ///
    /// # Errors
    /// When the journal cannot be brought to the disk.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        let Again { changed, gone } = self.again;
        if changed > 0 {
            let changed = units::count(changed, "job");
            say(format_args!("{changed} run again, with other inputs or parameters than before"));
        }
        if gone > 0 {
            let gone = units::count(gone, "job");
            say(format_args!("{gone} run again, whose results were gone or had been changed"));
        }
        self.flush()?;
        self.file.sync_data().map_err(|error| self.failed("write", &error))
    }
}

fn is_kept(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
}

fn exists(path: &Path) -> String {
    let show = path.display();
    format!("--journal {show} exists; --resume goes on with it, or name another file")
}

/// What fuzzers feed: a journal's bytes.
pub(crate) fn scan_bytes(bytes: &[u8]) {
    let mut past = Past::default();
    if let Ok(end) = scan(bytes, |line, record| past.learn(line, record)) {
        assert!(end.good + end.torn == bytes.len() as u64, "every byte is accounted for");
        // What is good stays good without what is torn.
        let good = &bytes[..end.good as usize];
        let again = scan(good, |_, _| {}).expect("it was good");
        assert_eq!((again.good, again.torn, again.chain), (end.good, 0, end.chain));
    }
}

#[cfg(test)]
mod tests;
