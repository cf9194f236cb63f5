//! The end of a journal, where records are added: by the run that keeps it, and by the thread that
//! brings results to the disk.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{Chain, Done, Record, TAKEN};
use super::{Digest, scan::Version};
use crate::exit::{Exit, Failure};
use crate::write::disk::{self, Stored};

/// Adds records. Those of one job come in the order in which they are added; nothing else is
/// promised of those of several.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    path: Arc<Path>,
    /// The file itself, which is synced while others add to it.
    file: Arc<File>,
    tail: Arc<Mutex<Tail>>,
}

#[derive(Debug)]
struct Tail {
    file: Stored,
    chain: Chain,
    /// Bytes of whole records.
    good: u64,
    /// Of these, how many are known to be on the disk.
    synced: u64,
    /// Of these, how many the journal itself says to be there.
    told: u64,
    /// Records that are not written yet: they go with the next that has to be.
    pending: Vec<u8>,
    /// Whether this version of the journal can say what is on the disk.
    tells: bool,
}

impl Tail {
    fn add(&mut self, record: &Record) {
        let line = self.chain.line(record);
        self.pending.extend(line);
    }

    /// Says what is on the disk, if that has not been said.
    fn tell(&mut self, ended: bool) {
        if self.tells && (ended || self.synced > self.told) {
            self.told = self.synced;
            self.add(&Record::Synced { bytes: self.synced, after: self.chain, ended });
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&self.pending) {
            // Whole records only, as far as it can be had.
            let _ = self.file.set_len(self.good);
            return Err(error);
        }
        self.good += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl Writer {
    /// Goes on in `file` after so many bytes of whole records.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn new(
        path: &Path,
        file: Stored,
        good: u64,
        chain: Chain,
        version: Version,
    ) -> io::Result<Self> {
        let synced = Arc::new(file.file().try_clone()?);
        let tells = version == Version::Current;
        let tail = Tail { file, chain, good, synced: 0, told: 0, pending: Vec::new(), tells };
        Ok(Self { path: path.into(), file: synced, tail: Arc::new(Mutex::new(tail)) })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A thread that panicked with the lock left only whole records.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this version of the journal says what is on the disk.
    pub(super) fn tells(&self) -> bool {
        self.tail().tells
    }

    /// The file itself: to be synced, or to be read.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Adds a record. It gets to the file with the next record that is written.
    pub(super) fn add(&self, record: &Record) {
        self.tail().add(record);
    }

    /// Adds the results of jobs.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn done(&self, done: impl IntoIterator<Item = Done>) -> Result<(), Failure> {
        self.check_place()?;
        let mut tail = self.tail();
        tail.tell(false);
        for done in done {
            tail.add(&Record::Done(done));
        }
        tail.write().map_err(|error| self.failed("write", &error))
    }

    /// A journal that nobody finds any more is none: the run ends before it does what it could not
    /// go on after.
    fn check_place(&self) -> Result<(), Failure> {
        let id = |found: Metadata| (found.dev(), found.ino());
        let here = self.file.metadata().map(id).map_err(|error| self.failed("write", &error))?;
        match self.path.metadata().map(id) {
            Ok(there) if there == here => Ok(()),
            // Whatever is in the way: the file itself is as it was.
            Err(error) if error.kind() != ErrorKind::NotFound => Ok(()),
            _ => {
                let show = self.path.display();
                let message = format!("the journal {show} was removed while it was in use");
                Err(Failure { exit: Exit::JobFailed, message })
            }
        }
    }

    /// Adds that a job, whose result was added, has none: it could not be put in its place.
    pub(crate) fn undone(&self, job: Digest, is_taken: bool) {
        let status = if is_taken { TAKEN } else { "failed" }.to_owned();
        self.add(&Record::Failed { job, status });
    }

    /// Hands all records to the operating system. Returns how many bytes are there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self) -> Result<u64, Failure> {
        let mut tail = self.tail();
        tail.write().map_err(|error| self.failed("write", &error))?;
        Ok(tail.good)
    }

    /// Waits until all records that were written are on the disk.
    ///
    /// # Errors
    /// When they cannot be brought there.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        // Others go on to add to it meanwhile.
        let good = self.write()?;
        disk::sync_data(&self.file).map_err(|error| self.failed("write", &error))?;
        self.is_synced(good);
        Ok(())
    }

    /// So many bytes are on the disk.
    pub(crate) fn is_synced(&self, good: u64) {
        let mut tail = self.tail();
        tail.synced = tail.synced.max(good);
    }

    /// The run is over: brings everything to the disk, and says so.
    ///
    /// # Errors
    /// When it cannot be brought there.
    pub(super) fn end(&self) -> Result<(), Failure> {
        self.check_place()?;
        self.sync()?;
        let mut tail = self.tail();
        tail.tell(true);
        // If that is lost, no more is thought to be missing than might be.
        tail.write().map_err(|error| self.failed("write", &error))
    }

    /// Why the run cannot go on.
    pub(crate) fn failed(&self, what: &str, error: &io::Error) -> Failure {
        let message = format!("cannot {what} the journal {}: {error}", self.path.display());
        Failure { exit: Exit::JobFailed, message }
    }

    /// The directory that has its name.
    pub(crate) fn directory(&self) -> PathBuf {
        crate::write::directory(&self.path).to_owned()
    }
}
