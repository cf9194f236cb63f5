//! Files that appear whole or not at all.

mod place;
mod temporary;

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use temporary::Temporary;
pub(crate) use temporary::{RunId, writer_of};

/// Writes `bytes` to `path` through a temporary file beside it, which is gone
/// afterwards whatever happens.
///
/// # Errors
/// When it cannot be written, or exists and `replace` is false.
pub(crate) fn atomically(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let mut draft = Draft::of(path)?;
    draft.write_all(bytes)?;
    draft.publish(replace)
}

/// A file that is not there until it is published: a temporary one beside its place,
/// which goes out of the way if it is dropped before that.
pub(crate) struct Draft {
    file: BufWriter<File>,
    temporary: Temporary,
    path: PathBuf,
}

impl Draft {
    /// # Errors
    /// When no file can be made there.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        check_place(path)?;
        let (temporary, file) = Temporary::beside(path)?;
        Ok(Self { file: BufWriter::new(file), temporary, path: path.to_owned() })
    }

    /// What it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// When it cannot be written, or exists and `replace` is false.
    pub(crate) fn publish(self, replace: bool) -> io::Result<()> {
        // Some file systems tell of a full disk only when the file is closed.
        drop(self.file.into_inner()?);
        if replace {
            fs::rename(self.temporary.path(), &self.path)?;
        } else {
            place::put_new(self.temporary.path(), &self.path)?;
        }
        self.temporary.forget();
        Ok(())
    }

    /// The same, so that it can be undone: what is replaced is kept until the answer is
    /// dropped.
    ///
    /// # Errors
    /// As for [`Draft::publish`].
    pub(crate) fn place(self, replace: bool) -> io::Result<Placed> {
        drop(self.file.into_inner()?);
        let (temporary, path) = (self.temporary, self.path);
        let exchanged = if replace {
            place::exchange(temporary.path(), &path)
        } else {
            Err(ErrorKind::NotFound.into())
        };
        let before = match exchanged {
            // The temporary name is that of the old file now.
            Ok(()) if !temporary.path().is_dir() => Before::Kept(temporary),
            Ok(()) => {
                // No file takes the place of a directory.
                place::exchange(temporary.path(), &path)?;
                return Err(ErrorKind::IsADirectory.into());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                place::put_new(temporary.path(), &path)?;
                temporary.forget();
                Before::Nothing
            }
            Err(error) if place::is_lacking(&error) => {
                let was_there = path.symlink_metadata().is_ok();
                fs::rename(temporary.path(), &path)?;
                temporary.forget();
                if was_there { Before::Lost } else { Before::Nothing }
            }
            Err(error) => return Err(error),
        };
        Ok(Placed { path, before })
    }
}

/// A file that has been put in its place, which can be undone.
pub(crate) struct Placed {
    path: PathBuf,
    before: Before,
}

/// What was in a file's place.
enum Before {
    Nothing,
    Kept(Temporary),
    /// The file system cannot exchange files.
    Lost,
}

impl Placed {
    /// Leaves the place as it was. Where that cannot be, the file stays: it is whole, and an
    /// empty place would be no better.
    pub(crate) fn undo(self) {
        match self.before {
            Before::Nothing => drop(fs::remove_file(&self.path)),
            Before::Kept(old) => {
                if fs::rename(old.path(), &self.path).is_ok() {
                    old.forget();
                }
            }
            Before::Lost => {}
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether files can be made in `directory`.
///
/// # Errors
/// When they cannot.
pub(crate) fn probe(directory: &Path) -> io::Result<()> {
    // Without a name, where that is possible: then a kill leaves nothing.
    let nameless = OFlags::TMPFILE.bits().cast_signed();
    match File::options().write(true).custom_flags(nameless).open(directory) {
        Ok(_) => Ok(()),
        Err(_) => Temporary::beside(&directory.join("probe")).map(drop),
    }
}

/// Whether a file can be put in its place here, without a trace.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_to_replace(path: &Path) -> io::Result<()> {
    check_place(path)?;
    probe(directory(path))
}

/// Whether a file can be written here as it is, without a trace.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_in_place(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => File::options().write(true).open(path).map(drop),
        // The other end of a pipe would notice.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => probe(directory(path)),
        Err(error) => Err(error),
    }
}

/// What is renamed over a device, or a link to one, takes its place.
fn check_place(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a file")),
        _ => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What `path` will be once it is written: two names for one file compare equal.
pub(crate) fn identity(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => parent.join(name),
            Err(_) => absolute,
        },
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_unless_it_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        atomically(&path, b"one", false).unwrap();
        assert!(atomically(&path, b"two", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        atomically(&path, b"three", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert!(atomically(&dir.path().join("no/x"), b"", true).is_err());
        let mut dropped = Draft::of(&path).unwrap();
        dropped.write_all(b"four").unwrap();
        drop(dropped);
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_was_replaced_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let draft = |name: &str| {
            let mut draft = Draft::of(&dir.path().join(name)).unwrap();
            draft.write_all(b"new").unwrap();
            draft
        };
        fs::write(dir.path().join("old"), "old").unwrap();
        let placed = [draft("old").place(true).unwrap(), draft("none").place(true).unwrap()];
        for name in ["old", "none"] {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"new");
        }
        assert!(draft("old").place(false).is_err());
        placed.into_iter().for_each(Placed::undo);
        assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        drop(draft("old").place(true).unwrap());
        assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nor what was replaced");
    }

    #[test]
    fn trying_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        fs::write(&old, "kept").unwrap();
        for path in [&new, &old] {
            try_in_place(path).unwrap();
            try_to_replace(path).unwrap();
        }
        assert_eq!(fs::read(&old).unwrap(), b"kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        for wrong in [dir.path(), &dir.path().join("no/x"), &old.join("x")] {
            assert!(try_in_place(wrong).is_err() && try_to_replace(wrong).is_err());
        }
        let device = Path::new("/dev/null");
        assert!(try_in_place(device).is_ok() && try_to_replace(device).is_err());
        assert!(atomically(device, b"x", true).is_err());
    }

    #[test]
    fn one_file_has_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let plain = identity(&dir.path().join("x"));
        assert_eq!(identity(&dir.path().join("sub/../x")), plain);
        assert_eq!(identity(&dir.path().join("./x")), plain);
        assert_ne!(identity(&dir.path().join("sub/x")), plain);
    }
}
