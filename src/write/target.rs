//! Where a file really goes. Links are followed, and what is not a regular file is written
//! directly.
//!
//! Renaming a file over a link or a device would replace it: the link's target would stay as it
//! was, and other users of the device would lose it.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What a path refers to, with links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// Nothing: a file can be created there.
    Free,
    /// A file.
    Taken,
    /// A device, a pipe, a socket or a standard stream of this process: it is written directly, and
    /// nothing is replaced.
    Special,
}

/// Examines the place of a file that is to be written.
///
/// # Errors
/// Why no file can be there.
pub(crate) fn look(path: &Path) -> io::Result<TargetKind> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::Error::other("it is not a file but a directory")),
        // Overwriting a whole disk is never intended.
        Ok(found) if found.file_type().is_block_device() => {
            Err(io::Error::other("it is not a file but a block device"))
        }
        Ok(found) if !found.is_file() || standard(&found).is_some() => Ok(TargetKind::Special),
        Ok(_) => Ok(TargetKind::Taken),
        Err(error) if error.kind() == ErrorKind::NotFound => follow(path).map(|_| TargetKind::Free),
        Err(error) => Err(error),
    }
}

/// Why a file that exists is not written.
pub(crate) fn exists(path: &Path) -> String {
    let show = path.display();
    match path.is_symlink().then(|| follow(path)) {
        Some(Ok(target)) => {
            let target = target.display();
            format!("{show} is a link to {target}, which exists; --force replaces {target}")
        }
        _ => format!("{show} exists; --force replaces it"),
    }
}

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// The file that a path refers to: the path itself, or the end of its links, which need not exist.
///
/// # Errors
/// When the links have no end, or one of them must not be followed.
pub(crate) fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(found) = place.symlink_metadata() else { return Ok(place) };
        if !found.is_symlink() {
            return Ok(place);
        }
        check_owner(&found, super::directory(&place))?;
        let target = fs::read_link(&place)?;
        place = super::directory(&place).join(target);
        if let Ok(plain) = place.strip_prefix("./") {
            place = plain.to_owned();
        }
    }
    Err(io::Error::other("its links lead to each other"))
}

/// The kernel's rule (`protected_symlinks`), which following links by hand would bypass: in a
/// directory where all users may write, such as /tmp, a link of another user is followed only if
/// that user owns the directory.
fn check_owner(link: &Metadata, directory: &Path) -> io::Result<()> {
    let Ok(found) = directory.metadata() else { return Ok(()) };
    let all_may_write = found.mode() & 0o1002 == 0o1002;
    let own = rustix::process::geteuid().as_raw();
    if all_may_write && link.uid() != own && link.uid() != found.uid() {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "it is a link of another user in a directory where all may write",
        ));
    }
    Ok(())
}

/// A standard stream of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standard {
    Output,
    Error,
}

/// Whether this file is where standard output or standard error goes. If it were opened again, it
/// would be written from its beginning, over what the stream has written; and a socket cannot be
/// opened. A character device can be opened again: one open file is as good as another.
fn standard(found: &Metadata) -> Option<Standard> {
    if found.file_type().is_char_device() {
        return None;
    }
    let place = (found.dev(), found.ino());
    let same = |stream: BorrowedFd<'_>| {
        rustix::fs::fstat(stream).is_ok_and(|stream| (stream.st_dev, stream.st_ino) == place)
    };
    if same(io::stdout().as_fd()) {
        Some(Standard::Output)
    } else if same(io::stderr().as_fd()) {
        Some(Standard::Error)
    } else {
        None
    }
}

/// Whether writing here writes to standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| standard(&found) == Some(Standard::Output))
}

/// Opens for writing what is not a regular file, or is a standard stream.
///
/// # Errors
/// When it cannot be opened. Opening a pipe waits for its reader.
pub(super) fn open_special(path: &Path) -> io::Result<File> {
    let found = path.metadata()?;
    let is_socket = |kind: FileType| kind.is_socket();
    match standard(&found) {
        Some(Standard::Output) => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Some(Standard::Error) => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        None if is_socket(found.file_type()) => {
            Ok(OwnedFd::from(UnixStream::connect(path)?).into())
        }
        None => File::options().write(true).open(path),
    }
}

/// Opens a file to be written from its beginning, as `>` in a shell does.
///
/// # Errors
/// When that fails.
pub(crate) fn open_in_place(path: &Path) -> io::Result<File> {
    match look(path)? {
        TargetKind::Special => open_special(path),
        TargetKind::Free | TargetKind::Taken => File::create(path),
    }
}
