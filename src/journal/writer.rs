//! Appends records to a journal: for the run that keeps it, and for the committer thread.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{Chain, DoneRecord, JournalRecord, TAKEN};
use super::{Digest, scan::Version};
use crate::exit::{Exit, Failure};
use crate::write::disk::{self, SequentialFile};

/// Appends records. The records of one job keep their order. There is no promised order between the
/// records of different jobs.
#[derive(Clone, Debug)]
pub(crate) struct JournalWriter {
    path: Arc<Path>,
    /// The file itself, which can be synced while other threads append to it.
    file: Arc<File>,
    tail: Arc<Mutex<Tail>>,
}

#[derive(Debug)]
struct Tail {
    file: SequentialFile,
    chain: Chain,
    /// Bytes of whole records.
    good: u64,
    /// How many of these are known to be on the disk.
    synced: u64,
    /// How many of these the journal itself says to be on the disk.
    told: u64,
    /// Records that are not written yet: the next record that has to be written takes them along.
    pending: Vec<u8>,
    /// Whether this version of the journal can say what is on the disk.
    tells: bool,
}

impl Tail {
    fn add(&mut self, record: &JournalRecord) {
        let line = self.chain.line(record);
        self.pending.extend(line);
    }

    /// Adds a record of what is on the disk, if the journal does not say it yet.
    fn tell(&mut self, ended: bool) {
        if self.tells && (ended || self.synced > self.told) {
            self.told = self.synced;
            self.add(&JournalRecord::Synced { bytes: self.synced, after: self.chain, ended });
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&self.pending) {
            // Leave only whole records, if possible.
            let _ = self.file.set_len(self.good);
            return Err(error);
        }
        self.good += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl JournalWriter {
    /// Appends to `file` after this many bytes of whole records.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub(super) fn new(
        path: &Path,
        file: SequentialFile,
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
        // A thread that panicked while it held the lock has left only whole records.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this version of the journal says what is on the disk.
    pub(super) fn tells(&self) -> bool {
        self.tail().tells
    }

    /// The file itself, to be synced or read.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Adds a record. The next record that has to be written takes it along.
    pub(super) fn add(&self, record: &JournalRecord) {
        self.tail().add(record);
    }

    /// Adds the `done` records of jobs and writes them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn done(&self, done: impl IntoIterator<Item = DoneRecord>) -> Result<(), Failure> {
        self.check_place()?;
        let mut tail = self.tail();
        tail.tell(false);
        for done in done {
            tail.add(&JournalRecord::Done(done));
        }
        tail.write().map_err(|error| self.failed("write", &error))
    }

    /// Fails if the journal has lost its name: no other run could find it. So the run ends before
    /// it publishes results that no resumed run would know of.
    fn check_place(&self) -> Result<(), Failure> {
        let id = |found: Metadata| (found.dev(), found.ino());
        let here = self.file.metadata().map(id).map_err(|error| self.failed("write", &error))?;
        match self.path.metadata().map(id) {
            Ok(there) if there == here => Ok(()),
            // Another error is about the path. The file itself is as it was.
            Err(error) if error.kind() != ErrorKind::NotFound => Ok(()),
            _ => {
                let show = self.path.display();
                let message = format!("the journal {show} was removed while it was in use");
                Err(Failure { exit: Exit::JobFailed, message })
            }
        }
    }

    /// Adds that a job has no result although its `done` was added: the result could not be put in
    /// place.
    pub(crate) fn undone(&self, job: Digest, is_taken: bool) {
        let status = if is_taken { TAKEN } else { "failed" }.to_owned();
        self.add(&JournalRecord::Failed { job, status });
    }

    /// Hands all records to the operating system. Returns how many bytes the file has now.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self) -> Result<u64, Failure> {
        let mut tail = self.tail();
        tail.write().map_err(|error| self.failed("write", &error))?;
        Ok(tail.good)
    }

    /// Writes all records and waits until they are on the disk.
    ///
    /// # Errors
    /// When they cannot be synced.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        // Other threads may append meanwhile, so only these bytes are known to be synced.
        let good = self.write()?;
        disk::sync_data(&self.file).map_err(|error| self.failed("write", &error))?;
        self.is_synced(good);
        Ok(())
    }

    /// Notes that this many bytes are on the disk.
    pub(crate) fn is_synced(&self, good: u64) {
        let mut tail = self.tail();
        tail.synced = tail.synced.max(good);
    }

    /// Ends the session: syncs everything and adds a record that says so.
    ///
    /// # Errors
    /// When the records cannot be synced.
    pub(super) fn end(&self) -> Result<(), Failure> {
        self.check_place()?;
        self.sync()?;
        let mut tail = self.tail();
        tail.tell(true);
        // If this record is lost, the next run assumes that records may be missing, which is safe.
        tail.write().map_err(|error| self.failed("write", &error))
    }

    /// The failure that ends the run.
    pub(crate) fn failed(&self, what: &str, error: &io::Error) -> Failure {
        let message = format!("cannot {what} the journal {}: {error}", self.path.display());
        Failure { exit: Exit::JobFailed, message }
    }

    /// The directory that the journal is in.
    pub(crate) fn directory(&self) -> PathBuf {
        crate::write::directory(&self.path).to_owned()
    }
}
