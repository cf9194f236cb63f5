//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

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
        let temporary = Temporary::beside(path);
        let file = BufWriter::new(File::create_new(&temporary.0)?);
        Ok(Self { file, temporary, path: path.to_owned() })
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
        if !replace && self.path.symlink_metadata().is_ok() {
            return Err(io::Error::other("it exists; --force replaces it"));
        }
        fs::rename(&self.temporary.0, &self.path)
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
    let temporary = Temporary::beside(&directory.join("probe"));
    File::create_new(&temporary.0).map(drop)
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
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => File::options().write(true).open(path).map(drop),
        // The other end of a pipe would notice.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => probe(directory(path)),
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

/// A name that is removed when it goes out of scope, unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        // Not made from the file's own name, which may be as long as names can be.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".brigade-{}-{number}.part", std::process::id()));
        Self(path.with_file_name(name))
    }
}

/// Which process has made a temporary file, by its name; `None` if it is none.
pub(crate) fn writer_of(name: &OsStr) -> Option<u32> {
    let inner = name.to_str()?.strip_prefix(".brigade-")?.strip_suffix(".part")?;
    let (pid, number) = inner.split_once('-')?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then(|| pid.parse().ok())?
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Not there any more after the rename; nothing to be done if it cannot be
        // removed.
        let _ = fs::remove_file(&self.0);
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
    fn a_temporary_file_tells_whose_it_is() {
        let temporary = Temporary::beside(Path::new("a/b.png"));
        let name = temporary.0.file_name().unwrap();
        assert_eq!(writer_of(name), Some(std::process::id()));
        for other in ["b.png", ".brigade-7.part", ".brigade-x-1.part", ".brigade-7-x.part"] {
            assert_eq!(writer_of(OsStr::new(other)), None, "{other}");
        }
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
