//! Temporary files: their names, and their removal.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind::AlreadyExists};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::disk::{self, SequentialFile};
use super::sweep;

/// Identifies a run of the program: no two runs have the same number. A process id would not do: in
/// a container it is the same every time, and in two containers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u64);

impl RunId {
    /// The id of this process's run.
    pub(crate) fn own() -> Self {
        static OWN: OnceLock<RunId> = OnceLock::new();
        *OWN.get_or_init(|| {
            // Without randomness, the time and the process id are the best there is.
            let instead = |_| u128::from(brigade_sys::clock::now()) << 22;
            let number = brigade_sys::random::nonce().unwrap_or_else(instead);
            Self(number as u64 ^ u64::from(std::process::id()))
        })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RunId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = u64::from_str_radix(text, 16).map(Self);
        number.ok().filter(|id| id.to_string() == text).ok_or("not 16 digits")
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The run that created a temporary file, by its name; `None` if it is not a temporary file.
pub(crate) fn writer_of(name: &OsStr) -> Option<RunId> {
    let inner = name.to_str()?.strip_prefix(".brigade-")?.strip_suffix(".part")?;
    let (run, number) = inner.split_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| run.parse().ok())?
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// How many taken names are skipped before giving up.
const TRIES: usize = 100;

/// A temporary file of this run. The run keeps it locked while it is open. It is removed when this
/// is dropped.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Creates a file in the directory of `path`, with this mode less the umask.
    pub(super) fn beside(path: &Path, mode: u32) -> io::Result<(Self, SequentialFile)> {
        Self::named(path, |name| {
            let file = disk::make(name, mode)?;
            // If the file was removed meanwhile, try another name.
            if sweep::keep(&file, name) { Ok(file) } else { Err(AlreadyExists.into()) }
        })
    }

    /// Gives a temporary name to a file that has none yet.
    pub(super) fn of_nameless(path: &Path, file: &SequentialFile) -> io::Result<Self> {
        // Lock it before another run can find it.
        let _ = file.file().lock();
        Ok(Self::named(path, |name| disk::give_name(file, name))?.0)
    }

    fn named<T>(
        path: &Path,
        mut make: impl FnMut(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        sweep::once(path);
        let mut tries = 0;
        loop {
            // Not made from the file's own name, which may have the maximum length already.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!(".brigade-{}-{number}.part", RunId::own()));
            let path = path.with_file_name(name);
            match make(&path) {
                // Only now does the name belong to this run, which removes it.
                Ok(made) => return Ok((Self(path), made)),
                Err(error) if error.kind() == AlreadyExists && tries < TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file has another name now, so dropping this must remove nothing.
    pub(super) fn forget(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // If it cannot be removed, nothing can be done about it.
            let _ = disk::remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_temporary_file_tells_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, _) = Temporary::beside(&dir.path().join("b.png"), 0o666).unwrap();
        assert_eq!(writer_of(temporary.path().file_name().unwrap()), Some(RunId::own()));
        for other in [
            "b.png",
            ".brigade-7-1.part",
            ".brigade-0123456789abcdef.part",
            ".brigade-0123456789abcdef-.part",
            ".brigade-0123456789abcdef-x.part",
            ".brigade-0123456789ABCDEF-1.part",
            ".brigade-+123456789abcdef-1.part",
        ] {
            assert_eq!(writer_of(OsStr::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("x");
        // Tests run in parallel and share the counter: some of these are among the next names.
        let next = NEXT.load(Ordering::Relaxed);
        let taken: Vec<PathBuf> = (next..next + 50)
            .map(|number| dir.path().join(format!(".brigade-{}-{number}.part", RunId::own())))
            .collect();
        for path in &taken {
            fs::write(path, "another's").unwrap();
        }
        let (temporary, _) = Temporary::beside(&place, 0o666).unwrap();
        assert!(!taken.iter().any(|path| path == temporary.path()));
        drop(temporary);
        for path in &taken {
            assert_eq!(fs::read(path).unwrap(), b"another's");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), taken.len());
    }
}
