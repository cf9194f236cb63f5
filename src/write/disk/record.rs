//! Records the file operations of a test, in their order.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Identifies a file by its device and inode number. Another file may get the same number when this
/// one is gone.
pub(crate) type FileId = (u64, u64);

pub(crate) fn id(file: &File) -> FileId {
    let found = file.metadata().unwrap();
    (found.dev(), found.ino())
}

/// The path of a file that this process has opened.
pub(crate) fn path(file: &File) -> PathBuf {
    std::fs::read_link(super::own_path(file)).unwrap()
}

/// An operation that has been done.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// A new file in this directory, with this name if it has one.
    Make(FileId, PathBuf, Option<PathBuf>),
    /// A file was opened, and created if it was missing.
    Open(FileId, PathBuf),
    Write(FileId, Vec<u8>),
    SetLen(FileId, u64),
    Link(FileId, PathBuf),
    HardLink(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeDirectory(PathBuf),
    SyncData(FileId),
    /// Everything on the file system of this path.
    SyncAll(PathBuf),
    SyncDirectory(PathBuf),
    /// These results were reported.
    Report(Vec<PathBuf>),
}

/// The recorded operations on everything below a directory.
struct RecordedOperations {
    root: PathBuf,
    files: HashSet<FileId>,
    operations: Vec<Operation>,
}

impl RecordedOperations {
    fn add(&mut self, operation: &Operation) {
        use Operation::*;
        let is_ours = match operation {
            Make(id, path, _) | Open(id, path) => {
                let is_ours = path.starts_with(&self.root);
                if is_ours {
                    self.files.insert(*id);
                } else {
                    // Another file has this number now.
                    self.files.remove(id);
                }
                is_ours
            }
            Write(id, _) | SetLen(id, _) | Link(id, _) | SyncData(id) => self.files.contains(id),
            HardLink(path, _)
            | Rename(path, _)
            | Exchange(path, _)
            | Remove(path)
            | MakeDirectory(path)
            | SyncDirectory(path)
            | SyncAll(path) => path.starts_with(&self.root),
            Report(paths) => paths.iter().any(|path| path.starts_with(&self.root)),
        };
        if is_ours {
            self.operations.push(operation.clone());
        }
    }
}

static RECORDS: Mutex<Vec<RecordedOperations>> = Mutex::new(Vec::new());

fn records() -> MutexGuard<'static, Vec<RecordedOperations>> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds an operation that has just been done to each record that covers it.
pub(crate) fn note(operation: impl FnOnce() -> Operation) {
    let mut records = records();
    if !records.is_empty() {
        let operation = operation();
        records.iter_mut().for_each(|record| record.add(&operation));
    }
}

/// Runs `work` and returns what was done below `root` meanwhile.
pub(crate) fn of<T>(root: &Path, work: impl FnOnce() -> T) -> (T, Vec<Operation>) {
    let record =
        RecordedOperations { root: root.to_owned(), files: HashSet::new(), operations: Vec::new() };
    records().push(record);
    let done = work();
    let mut records = records();
    let place = records.iter().position(|record| record.root == root).unwrap();
    (done, records.remove(place).operations)
}

thread_local! {
    static NAMES: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread must do without files that have no name.
pub(crate) fn wants_names() -> bool {
    NAMES.get()
}

/// Runs `work` as on a file system without nameless files.
pub(crate) fn with_names<T>(work: impl FnOnce() -> T) -> T {
    NAMES.set(true);
    let done = work();
    NAMES.set(false);
    done
}
