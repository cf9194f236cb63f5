//! Files that appear whole or not at all, and stay so after a power failure: see README.md beside
//! this file.

pub(crate) mod disk;
mod draft;
mod drafts;
mod place;
mod remains;
mod reserved;
mod sweep;
pub(crate) mod sync;
mod target;
mod temporary;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub(crate) use draft::Draft;
use draft::{Finished, Placed};
pub(crate) use drafts::{Drafts, FileError, FinishedDrafts, is_taken, numbered};
pub(crate) use reserved::{FileReservation, reserve, reserve_open, reserved};
pub(crate) use target::{TargetKind, exists, follow, is_stdout, look, open_in_place};
use temporary::Temporary;
pub(crate) use temporary::{RunId, writer_of};

/// Writes `bytes` to `path`, and replaces what is there. When this returns, they are on the disk.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::of(path, Replace::Always)?;
    draft.write_all(bytes)?;
    draft.finish()?.publish_durably()
}

/// What happens to a file in the place of another file that is to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replace {
    /// It stays, and the other file is not published.
    #[default]
    Never,
    /// It stays, unless it is what a power failure has left of the other file.
    Remains,
    /// It is replaced.
    Always,
}

/// Checks that files can be created in `directory`.
///
/// # Errors
/// When they cannot.
pub(crate) fn probe(directory: &Path) -> io::Result<()> {
    // Without a name if possible: then a kill leaves nothing behind.
    let nameless = OFlags::TMPFILE.bits().cast_signed();
    match File::options().write(true).custom_flags(nameless).open(directory) {
        Ok(_) => Ok(()),
        Err(_) => Temporary::beside(&directory.join("probe"), 0o600).map(drop),
    }
}

/// Checks that a file can be put in place here. Leaves no trace.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_to_replace(path: &Path) -> io::Result<()> {
    match look(path)? {
        // The other end of a pipe would notice a check.
        TargetKind::Special => Ok(()),
        TargetKind::Free | TargetKind::Taken => probe(directory(&follow(path)?)),
    }
}

/// Checks that a file can be written here directly. Leaves no trace.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_in_place(path: &Path) -> io::Result<()> {
    match look(path)? {
        TargetKind::Special => Ok(()),
        TargetKind::Taken => File::options().write(true).open(path).map(drop),
        TargetKind::Free => probe(directory(&follow(path)?)),
    }
}

/// Waits until a file that was written directly, and its name, are on the disk.
///
/// # Errors
/// When they cannot be synced.
pub(crate) fn sync_in_place(path: &Path, file: &File) -> io::Result<()> {
    // A device or a pipe cannot be synced.
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    disk::sync_data(file)?;
    disk::sync_directory(directory(&follow(path)?))
}

/// The directory that a file is in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The path at which `path` will be written. Two names of one file give equal paths.
pub(crate) fn identity(path: &Path) -> PathBuf {
    // A link that cannot be followed cannot be written either: the write will report that.
    let path = follow(path).unwrap_or_else(|_| path.to_owned());
    let absolute = std::path::absolute(&path).unwrap_or(path);
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => parent.join(name),
            Err(_) => absolute,
        },
        _ => absolute,
    }
}

#[cfg(test)]
mod tests;
