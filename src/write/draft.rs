//! A file that is written before it gets its name.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use brigade_sys::limits;
use rustix::io::Errno;

use super::disk::{self, SequentialFile};
use super::temporary::Temporary;
use super::{
    Replace, TargetKind, directory, exists, follow, look, place, remains, reserved, target,
};

/// A file that does not appear before it is published, and that is removed if it is dropped before
/// that. A device or a pipe is different: what is written to it is there at once.
pub(crate) struct Draft {
    file: BufWriter<SequentialFile>,
    /// As the user named it.
    path: PathBuf,
    goes: Goes,
    replace: Replace,
}

/// How the file gets to its place.
enum Goes {
    /// It gets its name there at the end.
    Sibling(Sibling),
    Directly,
}

struct Sibling {
    /// The name of the file until then; `None` if the file system has files without names.
    temporary: Option<Temporary>,
    /// The path of the file itself: `path` may be a link to it.
    place: PathBuf,
    /// The attributes of the file that was there at the beginning.
    old: Option<Attributes>,
}

impl Draft {
    /// # Errors
    /// When no file can be created there.
    pub(crate) fn of(path: &Path, replace: Replace) -> io::Result<Self> {
        if let Some(what) = reserved(path) {
            return Err(io::Error::other(format!("it is {what}")));
        }
        let (file, goes) = match look(path)? {
            TargetKind::Special => {
                (SequentialFile::special(target::open_special(path)?), Goes::Directly)
            }
            TargetKind::Free | TargetKind::Taken => {
                let place = follow(path)?;
                let old = file_at(&place);
                // Until it has the mode of the file that it replaces, only its owner may access it.
                let mode = if old.is_some() { 0o600 } else { 0o666 };
                let (temporary, file) = match disk::make_nameless(directory(&place), mode) {
                    Err(error) if error.kind() == ErrorKind::Unsupported => {
                        let (temporary, file) = Temporary::beside(&place, mode)?;
                        (Some(temporary), file)
                    }
                    made => (None, made?),
                };
                (file, Goes::Sibling(Sibling { temporary, place, old }))
            }
        };
        Ok(Self { file: BufWriter::new(file), path: path.to_owned(), goes, replace })
    }

    /// The path that it will have, as the user named it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the kernel begin to write the file to the disk.
    pub(super) fn start_writeback(&self) {
        // A later sync waits for it and reports an error.
        let _ = brigade_sys::storage::start_writeback(self.file.get_ref().file());
    }

    /// Ends the writing. The file gets the mode and the owner of the file that it replaces.
    ///
    /// # Errors
    /// When it cannot be written, or there is a file in its place that must not be replaced.
    pub(crate) fn finish(self) -> io::Result<Finished> {
        let file = self.file.into_inner()?;
        let mut replaces = false;
        if let Goes::Sibling(Sibling { place, old, .. }) = &self.goes {
            // The kernel does not check this while another thread creates shared memory.
            if let Some(most) = limits::file_size()
                && file.file().metadata()?.len() > most
            {
                return Err(Errno::FBIG.into());
            }
            replaces = is_to_be_replaced(place, &self.path, &file, self.replace)?;
            keep_attributes(file.file(), file_at(place).or(*old));
        }
        Ok(Finished { file, path: self.path, goes: self.goes, replaces })
    }
}

/// Whether a file replaces another when it is published.
fn is_to_be_replaced(
    place: &Path,
    named: &Path,
    file: &SequentialFile,
    replace: Replace,
) -> io::Result<bool> {
    if replace == Replace::Always {
        return Ok(true);
    }
    let Ok(found) = place.symlink_metadata() else { return Ok(false) };
    if replace == Replace::Never {
        return Err(io::Error::new(ErrorKind::AlreadyExists, taken(named)));
    }
    if found.is_file() && remains::is_left_of(&File::open(place)?, file.file())? {
        return Ok(true);
    }
    let what = "it exists, and is not what this job computes; --force replaces it";
    Err(io::Error::new(ErrorKind::AlreadyExists, what))
}

/// Why a file does not get its name.
fn taken(named: &Path) -> String {
    if named.is_symlink() { exists(named) } else { "it exists; --force replaces it".to_owned() }
}

/// A complete file that is not in its place yet.
pub(crate) struct Finished {
    file: SequentialFile,
    /// As the user named it.
    path: PathBuf,
    goes: Goes,
    replaces: bool,
}

impl Finished {
    /// The path, as the user named it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What has to be synced before it is published, if anything.
    pub(crate) fn file(&self) -> Option<&File> {
        match self.goes {
            Goes::Sibling(_) => Some(self.file.file()),
            Goes::Directly => None,
        }
    }

    /// The directory that has to be synced after it is published, if any.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.goes {
            Goes::Sibling(Sibling { place, .. }) => Some(directory(place)),
            Goes::Directly => None,
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When that fails, or a file has appeared there that must not be replaced.
    pub(crate) fn publish(self) -> io::Result<()> {
        let Goes::Sibling(mut beside) = self.goes else { return Ok(()) };
        if !self.replaces {
            return beside.put_new(self.file, &self.path);
        }
        let (temporary, _locked) = beside.name(self.file)?;
        disk::rename(temporary.path(), &beside.place)?;
        temporary.forget();
        Ok(())
    }

    /// Publishes the file. When this returns, it is on the disk.
    ///
    /// # Errors
    /// As for [`Finished::publish`], or when it cannot be synced.
    pub(crate) fn publish_durably(self) -> io::Result<()> {
        self.file().map_or(Ok(()), disk::sync_data)?;
        let directory = self.directory().map(Path::to_owned);
        self.publish()?;
        directory.map_or(Ok(()), |directory| disk::sync_directory(&directory))
    }

    /// Puts the file in its place so that this can be undone. The replaced file is kept until the
    /// returned [`Placed`] is dropped.
    ///
    /// # Errors
    /// As for [`Finished::publish`].
    pub(crate) fn place(self) -> io::Result<Placed> {
        let named = self.path;
        let Goes::Sibling(mut beside) = self.goes else {
            return Ok(Placed { path: named, before: Before::Lost });
        };
        let path = beside.place.clone();
        if !self.replaces || path.symlink_metadata().is_err() {
            beside.put_new(self.file, &named)?;
            return Ok(Placed { path, before: Before::Nothing });
        }
        let (temporary, _locked) = beside.name(self.file)?;
        let before = match disk::exchange(temporary.path(), &path) {
            // The temporary name is now that of the old file.
            Ok(()) if !temporary.path().is_dir() => Before::Kept(temporary),
            Ok(()) => {
                // A file must not replace a directory.
                disk::exchange(temporary.path(), &path)?;
                return Err(ErrorKind::IsADirectory.into());
            }
            Err(error) if disk::is_lacking(&error) || error.kind() == ErrorKind::NotFound => {
                let was_there = path.symlink_metadata().is_ok();
                disk::rename(temporary.path(), &path)?;
                temporary.forget();
                if was_there { Before::Lost } else { Before::Nothing }
            }
            Err(error) => return Err(error),
        };
        Ok(Placed { path, before })
    }
}

impl Sibling {
    /// The temporary name of the file, and the file, locked.
    fn name(&mut self, file: SequentialFile) -> io::Result<(Temporary, SequentialFile)> {
        if let Some(temporary) = self.temporary.take() {
            return Ok((temporary, file));
        }
        match Temporary::of_nameless(&self.place, &file) {
            Err(error) if disk::is_lacking(&error) || error.kind() == ErrorKind::NotFound => {
                self.copy(&file)
            }
            named => Ok((named?, file)),
        }
    }

    /// Gives the file its own name, if nothing is there. An error says the name as the user gave
    /// it.
    fn put_new(&mut self, file: SequentialFile, named: &Path) -> io::Result<()> {
        let put = match &self.temporary {
            None => match disk::give_name(&file, &self.place) {
                Err(error) if disk::is_lacking(&error) || error.kind() == ErrorKind::NotFound => {
                    let (temporary, _locked) = self.copy(&file)?;
                    place::put_new(temporary.path(), &self.place).map(|()| temporary.forget())
                }
                put => put,
            },
            Some(temporary) => place::put_new(temporary.path(), &self.place),
        };
        let put = put.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => io::Error::new(error.kind(), taken(named)),
            _ => error,
        });
        if put.is_ok()
            && let Some(temporary) = self.temporary.take()
        {
            temporary.forget();
        }
        put
    }

    /// Copies the bytes to a file with a name, if the nameless file cannot get one.
    fn copy(&self, from: &SequentialFile) -> io::Result<(Temporary, SequentialFile)> {
        let (temporary, mut to) = Temporary::beside(&self.place, 0o600)?;
        let mut bytes = vec![0; 64 << 10];
        let mut at = 0;
        loop {
            match from.file().read_at(&mut bytes, at)? {
                0 => break,
                len => {
                    to.write_all(&bytes[..len])?;
                    at += len as u64;
                }
            }
        }
        let found = from.file().metadata()?;
        keep_attributes(to.file(), Some(Attributes::of(&found)));
        // The original may be on the disk already, so the copy has to be, too.
        disk::sync_data(to.file())?;
        Ok((temporary, to))
    }
}

/// Owner and permissions of a file.
#[derive(Clone, Copy)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Attributes {
    fn of(found: &Metadata) -> Self {
        Self { mode: found.mode() & 0o777, uid: found.uid(), gid: found.gid() }
    }
}

/// The attributes of the file in a place, if there is one.
fn file_at(place: &Path) -> Option<Attributes> {
    place.symlink_metadata().ok().filter(Metadata::is_file).as_ref().map(Attributes::of)
}

/// Gives a new file the owner and the mode of the file that it replaces, as far as this user may
/// and the file system can. If that fails, the new file is open to fewer users, never to more.
fn keep_attributes(file: &File, old: Option<Attributes>) {
    let (Some(old), Ok(new)) = (old, file.metadata()) else { return };
    let mut mode = old.mode;
    let is_owner_kept = new.uid() == old.uid || fchown(file, Some(old.uid), Some(old.gid)).is_ok();
    let is_group_kept =
        (is_owner_kept && new.gid() == old.gid) || fchown(file, None, Some(old.gid)).is_ok();
    if !is_group_kept {
        // A group other than the old one may do only what all users may.
        mode = (mode & !0o070) | ((mode & 0o007) << 3);
    }
    if new.mode() & 0o777 != mode {
        // If this fails, the mode stays that of a temporary file, which only its owner may access.
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
}

/// A file that was put in its place, which can be undone.
pub(crate) struct Placed {
    path: PathBuf,
    before: Before,
}

/// What was in a file's place before.
enum Before {
    Nothing,
    Kept(Temporary),
    /// The old file is lost: the file system cannot exchange files.
    Lost,
}

impl Placed {
    /// Restores the place as it was. If that is not possible, the new file stays: it is complete,
    /// and an empty place would be no better.
    pub(crate) fn undo(self) {
        match self.before {
            Before::Nothing => drop(disk::remove(&self.path)),
            Before::Kept(old) => {
                if disk::rename(old.path(), &self.path).is_ok() {
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
