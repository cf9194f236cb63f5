//! How a journal names files. Files below its directory have relative names, so that the directory
//! can be moved. All other names are absolute.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::record::FileName;

/// What the names in a journal are relative to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Base {
    /// Nothing: a journal of the first version has absolute names.
    None,
    /// This directory, an absolute path.
    Directory(PathBuf),
}

impl Base {
    /// The base of a journal that is kept in this file.
    pub(super) fn of_journal(path: &Path) -> Self {
        match absolute(path).parent() {
            Some(directory) => Self::Directory(directory.to_owned()),
            None => Self::None,
        }
    }

    /// The name of a file.
    pub(super) fn name(&self, path: &Path) -> FileName {
        FileName::from(&*self.relative(path))
    }

    /// The bytes of the name, for the digest of a job.
    pub(super) fn key(&self, path: &Path) -> Vec<u8> {
        self.relative(path).into_os_string().as_bytes().to_vec()
    }

    fn relative(&self, path: &Path) -> PathBuf {
        let path = absolute(path);
        let Self::Directory(base) = self else { return path };
        match path.strip_prefix(base) {
            Ok(below) if below.components().all(|part| matches!(part, Component::Normal(_))) => {
                below.to_owned()
            }
            _ => path,
        }
    }

    /// The file that has this name.
    pub(super) fn path(&self, name: &FileName) -> PathBuf {
        self.join(&name.path())
    }

    /// The same for a name that is already parsed.
    pub(super) fn join(&self, name: &Path) -> PathBuf {
        match self {
            Self::None => name.to_owned(),
            // `join` returns an absolute name as it is.
            Self::Directory(base) => base.join(name),
        }
    }
}

/// The path without a working directory in front of it; links are not followed.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_the_journal_is_named_from_there() {
        let base = Base::of_journal(Path::new("/w/p/j"));
        for (path, name) in [
            ("/w/p/out/a.png", "out/a.png"),
            ("/w/p/../q/a.png", "/w/p/../q/a.png"),
            ("/w/pp/a.png", "/w/pp/a.png"),
            ("/w/a.png", "/w/a.png"),
        ] {
            let got = base.name(Path::new(path));
            assert_eq!(got, FileName::Text(name.to_owned()), "{path}");
            assert_eq!(base.path(&got), Path::new(path));
            assert_eq!(Base::None.name(Path::new(path)), FileName::Text(path.to_owned()));
        }
        let moved = Base::of_journal(Path::new("/elsewhere/j"));
        let name = base.name(Path::new("/w/p/out/a.png"));
        assert_eq!(moved.path(&name), Path::new("/elsewhere/out/a.png"));
    }
}
