//! Where a file really goes: links are followed, and what is no file is written as it is.
//!
//! Renaming a file over a link or a device replaces it: the link's target stays as it was, and
//! whatever else uses the device loses it.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What is at a name, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing: a file can be made there.
    Free,
    /// A file.
    Taken,
    /// A device, a pipe or a socket: it is written as it is, and nothing is replaced.
    Special,
}

/// Looks at the place of a file that is to be written.
///
/// # Errors
/// When no file can be there, in words.
pub(crate) fn look(path: &Path) -> io::Result<Place> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::Error::other("it is not a file but a directory")),
        // Overwriting a disk is never what was meant.
        Ok(found) if found.file_type().is_block_device() => {
            Err(io::Error::other("it is not a file but a block device"))
        }
        Ok(found) if !found.is_file() || standard(&found).is_some() => Ok(Place::Special),
        Ok(_) => Ok(Place::Taken),
        Err(error) if error.kind() == ErrorKind::NotFound => follow(path).map(|_| Place::Free),
        Err(error) => Err(error),
    }
}

/// Why a file that is there is not written.
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

/// The file that a name stands for: itself, or the end of its links, which need not exist.
///
/// # Errors
/// When the links have no end, or one must not be followed.
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

/// The kernel's rule (`protected_symlinks`), which following links by hand goes round: where all
/// may write, as in /tmp, a link of another user is not followed.
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

/// Whether this is what standard output or standard error go to. Opened anew, a file would be
/// written from its beginning, over what they have written; and a socket cannot be opened.
/// A device can: each opening of it is as good as the other.
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

/// Whether writing here is writing to standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| standard(&found) == Some(Standard::Output))
}

/// Opens what is no file, or is a standard stream, for writing.
///
/// # Errors
/// When it cannot be opened. A pipe without a reader is waited for.
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

/// Opens a file to be written from its beginning, as `>` of a shell does.
///
/// # Errors
/// When that cannot be.
pub(crate) fn open_in_place(path: &Path) -> io::Result<File> {
    match look(path)? {
        Place::Special => open_special(path),
        Place::Free | Place::Taken => File::create(path),
    }
}
