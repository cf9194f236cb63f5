//! Files that a run itself depends on. No result of the run may replace them, with or without
//! `--force`.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::identity;

/// The reserved files of this process. They are global because a result is written through many
/// functions, and none of them must forget to check.
static RESERVED: Mutex<Vec<Reserved>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reserved {
    /// Its path, without links; `None` if no path is known.
    place: Option<PathBuf>,
    /// Its device and inode number, if it exists: it may have other names.
    file: Option<(u64, u64)>,
    what: &'static str,
}

fn all() -> MutexGuard<'static, Vec<Reserved>> {
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a file reserved until it is dropped.
#[derive(Debug)]
pub(crate) struct FileReservation(Reserved);

/// Reserves the file that is or will be at `path`. `what` says what it is, for error messages.
pub(crate) fn reserve(path: &Path, what: &'static str) -> FileReservation {
    let found = path.metadata().ok();
    // A device or a pipe is for all.
    let is_special = found.as_ref().is_some_and(|found| !found.is_file());
    new((!is_special).then(|| identity(path)), found.filter(Metadata::is_file), what)
}

/// Reserves an open file, whatever its name is.
///
/// # Errors
/// When its metadata cannot be read.
pub(crate) fn reserve_open(file: &File, what: &'static str) -> io::Result<FileReservation> {
    Ok(new(None, Some(file.metadata()?).filter(Metadata::is_file), what))
}

fn new(place: Option<PathBuf>, found: Option<Metadata>, what: &'static str) -> FileReservation {
    let file = found.map(|found| (found.dev(), found.ino()));
    let reserved = Reserved { place, file, what };
    all().push(reserved.clone());
    FileReservation(reserved)
}

impl Drop for FileReservation {
    fn drop(&mut self) {
        let mut all = all();
        if let Some(place) = all.iter().position(|reserved| *reserved == self.0) {
            all.swap_remove(place);
        }
    }
}

/// What a file is reserved for, if it is reserved.
pub(crate) fn reserved(path: &Path) -> Option<&'static str> {
    let all = all();
    if all.is_empty() {
        return None;
    }
    let file = path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let place = identity(path);
    let is_it = |reserved: &&Reserved| {
        reserved.place.as_ref() == Some(&place) || (file.is_some() && reserved.file == file)
    };
    all.iter().find(is_it).map(|reserved| reserved.what)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_reserved_file_is_known_by_all_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        fs::create_dir(at("d")).unwrap();
        symlink("file", at("link")).unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        symlink("later", at("to-later")).unwrap();
        let open = File::open(at("file")).unwrap();
        let held = [reserve(&at("file"), "a"), reserve(&at("later"), "b")];
        for name in ["file", "./file", "d/../file", "link", "hard"] {
            assert_eq!(reserved(&at(name)), Some("a"), "{name}");
        }
        for name in ["later", "to-later", "d/../later"] {
            assert_eq!(reserved(&at(name)), Some("b"), "{name}");
        }
        for name in ["other", "d/file", "no/file"] {
            assert_eq!(reserved(&at(name)), None, "{name}");
        }
        let device = Path::new("/dev/null");
        let _for_all = reserve(device, "d");
        assert_eq!(reserved(device), None);
        drop(held);
        assert_eq!(reserved(&at("file")), None);
        let _held = reserve_open(&open, "c").unwrap();
        assert_eq!(reserved(&at("link")), Some("c"));
    }
}
