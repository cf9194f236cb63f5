//! Files that appear whole or not at all.

mod place;
mod target;
mod temporary;

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub(crate) use target::{Place, exists, follow, is_stdout, look, open_in_place};
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
/// which goes out of the way if it is dropped before that. A device or a pipe has nothing of that:
/// what is written is there.
pub(crate) struct Draft {
    file: BufWriter<File>,
    /// As it was named.
    path: PathBuf,
    goes: Goes,
}

/// How what is written gets where it belongs.
enum Goes {
    /// By a new name.
    Beside {
        temporary: Temporary,
        /// Of the file itself, where `path` is a link to it.
        place: PathBuf,
        /// What was there at first.
        old: Option<Attributes>,
    },
    Directly,
}

impl Draft {
    /// # Errors
    /// When no file can be made there.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let (file, goes) = match look(path)? {
            Place::Special => (target::open_special(path)?, Goes::Directly),
            Place::Free | Place::Taken => {
                let place = follow(path)?;
                let old = file_at(&place);
                // Until it has the mode of what it replaces, it is nobody else's.
                let mode = if old.is_some() { 0o600 } else { 0o666 };
                let (temporary, file) = Temporary::beside(&place, mode)?;
                (file, Goes::Beside { temporary, place, old })
            }
        };
        Ok(Self { file: BufWriter::new(file), path: path.to_owned(), goes })
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
        let file = self.file.into_inner()?;
        let Goes::Beside { temporary, place, old } = self.goes else { return Ok(()) };
        keep_attributes(&file, file_at(&place).or(old));
        // Some file systems tell of a full disk only when the file is closed.
        drop(file);
        if replace {
            fs::rename(temporary.path(), &place)?;
        } else {
            put_new(&temporary, &place, &self.path)?;
        }
        temporary.forget();
        Ok(())
    }

    /// The same, so that it can be undone: what is replaced is kept until the answer is
    /// dropped.
    ///
    /// # Errors
    /// As for [`Draft::publish`].
    pub(crate) fn place(self, replace: bool) -> io::Result<Placed> {
        let file = self.file.into_inner()?;
        let named = self.path;
        let Goes::Beside { temporary, place: path, old } = self.goes else {
            return Ok(Placed { path: named, before: Before::Lost });
        };
        keep_attributes(&file, file_at(&path).or(old));
        drop(file);
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
                put_new(&temporary, &path, &named)?;
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

/// Gives a file its name, where nothing is; what is there is told as it was named.
fn put_new(temporary: &Temporary, place: &Path, named: &Path) -> io::Result<()> {
    place::put_new(temporary.path(), place).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists && named.is_symlink() {
            return io::Error::new(error.kind(), exists(named));
        }
        error
    })
}

/// Who may do what with a file.
#[derive(Clone, Copy)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Those of the file in a place, if one is there.
fn file_at(place: &Path) -> Option<Attributes> {
    let found = place.symlink_metadata().ok().filter(Metadata::is_file)?;
    Some(Attributes { mode: found.mode() & 0o777, uid: found.uid(), gid: found.gid() })
}

/// Gives a new file the owner and the mode of the one that it replaces, as far as this user may
/// and the file system can: where not, it is open to fewer, never to more.
fn keep_attributes(file: &File, old: Option<Attributes>) {
    let (Some(old), Ok(new)) = (old, file.metadata()) else { return };
    let mut mode = old.mode;
    let is_owner_kept = new.uid() == old.uid || fchown(file, Some(old.uid), Some(old.gid)).is_ok();
    let is_group_kept =
        (is_owner_kept && new.gid() == old.gid) || fchown(file, None, Some(old.gid)).is_ok();
    if !is_group_kept {
        // Another group than the old one may do what all may.
        mode = (mode & !0o070) | ((mode & 0o007) << 3);
    }
    if new.mode() & 0o777 != mode {
        // The temporary file is its owner's alone: that is what is left.
        let _ = file.set_permissions(Permissions::from_mode(mode));
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
        Err(_) => Temporary::beside(&directory.join("probe"), 0o600).map(drop),
    }
}

/// Whether a file can be put in its place here, without a trace.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_to_replace(path: &Path) -> io::Result<()> {
    match look(path)? {
        // The other end of a pipe would notice.
        Place::Special => Ok(()),
        Place::Free | Place::Taken => probe(directory(&follow(path)?)),
    }
}

/// Whether a file can be written here as it is, without a trace.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_in_place(path: &Path) -> io::Result<()> {
    match look(path)? {
        Place::Special => Ok(()),
        Place::Taken => File::options().write(true).open(path).map(drop),
        Place::Free => probe(directory(&follow(path)?)),
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
    // What cannot be followed cannot be written either, and is told then.
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
