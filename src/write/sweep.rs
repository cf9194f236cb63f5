//! Removes temporary files of runs that were killed.
//!
//! A run locks each of its temporary files as long as it lives; the kernel releases the lock with
//! the process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::disk::{self, SequentialFile};
use super::{RunId, directory, writer_of};

/// Locks a temporary file, which says that its run is alive. Returns false if another run has taken
/// the file for a leftover and removed it.
pub(super) fn keep(file: &SequentialFile, path: &Path) -> bool {
    // If the file system has no locks, no other run will get one.
    let _ = file.file().lock();
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    let (Ok(own), Ok(there)) = (file.file().metadata(), path.symlink_metadata()) else {
        return false;
    };
    id(own) == id(there)
}

/// Hashes of the directories that this process has swept.
static SWEPT: Mutex<Option<HashSet<u64>>> = Mutex::new(None);

/// How many directories are remembered. After that, all of them are swept once more.
const MOST: usize = 4096;

/// Removes what dead runs have left beside `path`. Does this only the first time for a directory.
pub(super) fn once(path: &Path) {
    let directory = directory(path);
    let mut hasher = DefaultHasher::new();
    directory.hash(&mut hasher);
    let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let swept = swept.get_or_insert_default();
    if swept.len() == MOST {
        swept.clear();
    }
    if swept.insert(hasher.finish()) {
        // A file that cannot be removed does no harm.
        let _ = sweep(directory);
    }
}

fn sweep(directory: &Path) -> io::Result<()> {
    if !has_locks_for_all(directory)? {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let writer = writer_of(&entry.file_name());
        if writer.is_none_or(|run| run == RunId::own()) || !entry.file_type()?.is_file() {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = disk::remove(&entry.path());
        }
    }
    Ok(())
}

/// Whether everyone who can see a file on this file system also sees its locks. A network file
/// system has users on other machines.
fn has_locks_for_all(directory: &Path) -> io::Result<bool> {
    // ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS, tmpfs, overlayfs.
    const LOCAL: [i64; 8] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0xf2f5_2010,
        0xca45_1a4e,
        0x2fc1_2fc1,
        0x0102_1994,
        0x794c_7630,
    ];
    let kind = rustix::fs::statfs(directory)?.f_type & 0xffff_ffff;
    Ok(LOCAL.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_has_left_goes_and_what_a_live_one_writes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let part = |run: u64| dir.path().join(format!(".brigade-{}-0.part", RunId(run)));
        let own = dir.path().join(format!(".brigade-{}-0.part", RunId::own()));
        for path in [&part(1), &part(2), &own, &dir.path().join(".brigade-x.part")] {
            fs::write(path, "half").unwrap();
        }
        let alive = File::open(part(2)).unwrap();
        alive.lock().unwrap();
        once(&dir.path().join("x"));
        assert!(!part(1).exists() && part(2).exists() && own.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        // A directory is swept only once.
        fs::write(part(1), "half").unwrap();
        once(&dir.path().join("y"));
        assert!(part(1).exists());
    }

    #[test]
    fn a_temporary_file_is_kept_by_its_lock_and_made_anew_if_it_was_taken_for_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        let file = disk::make(&path, 0o600).unwrap();
        assert!(keep(&file, &path));
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(file);
        let file = disk::make(&dir.path().join("gone"), 0o600).unwrap();
        fs::remove_file(dir.path().join("gone")).unwrap();
        assert!(!keep(&file, &dir.path().join("gone")));
    }
}
