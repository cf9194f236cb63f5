//! The file operations whose order decides what a loss of power leaves: see README.md beside this
//! file. Everything that changes or syncs a result or a journal goes through here, so that tests
//! can record it and build from the record what a disk may hold afterwards.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with, syncfs};
use rustix::io::Errno;

#[cfg(test)]
pub(crate) mod record;

/// Tells the recorder of a test what has just been done.
macro_rules! note {
    ($operation:ident($($what:expr),*)) => {
        #[cfg(test)]
        record::note(|| record::Operation::$operation($($what),*));
    };
}

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Stored(File);

impl Stored {
    /// A device, a pipe or a standard stream, which is written as it is.
    pub(super) fn special(file: File) -> Self {
        Self(file)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// Cuts the file off.
    ///
    /// # Errors
    /// When it cannot be.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        note!(SetLen(record::id(&self.0), len));
        Ok(())
    }
}

impl Write for Stored {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.write(bytes)?;
        note!(Write(record::id(&self.0), bytes[..len].to_vec()));
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether files without a name have turned out to be of no use here.
static NAMES_ARE_NEEDED: AtomicBool = AtomicBool::new(false);

/// A new file that has no name yet: nothing of it is left when this process ends.
///
/// # Errors
/// When no file can be made in `directory`. `Unsupported` when one can be made with a name alone.
pub(super) fn make_nameless(directory: &Path, mode: u32) -> io::Result<Stored> {
    #[cfg(test)]
    if record::wants_names() {
        return Err(ErrorKind::Unsupported.into());
    }
    if NAMES_ARE_NEEDED.load(Ordering::Relaxed) {
        return Err(ErrorKind::Unsupported.into());
    }
    let nameless = OFlags::TMPFILE.bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(nameless).mode(mode);
    match options.open(directory) {
        // Without /proc it could never be given a name.
        Ok(file) if !own_path(&file).exists() => {
            NAMES_ARE_NEEDED.store(true, Ordering::Relaxed);
            Err(ErrorKind::Unsupported.into())
        }
        Ok(file) => {
            note!(Make(record::id(&file), directory.to_owned(), None));
            Ok(Stored(file))
        }
        // A kernel that does not know such files takes the directory for the file.
        Err(error) if [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL].iter().any(is(&error)) => {
            Err(ErrorKind::Unsupported.into())
        }
        Err(error) => Err(error),
    }
}

fn is(error: &io::Error) -> impl Fn(&Errno) -> bool {
    let number = error.raw_os_error();
    move |errno| number == Some(errno.raw_os_error())
}

/// The name under which this process finds one of its open files.
fn own_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Gives a file without a name this one.
///
/// # Errors
/// When that is taken, or it cannot be done.
pub(super) fn give_name(stored: &Stored, to: &Path) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_FOLLOW;
    linkat(CWD, own_path(&stored.0), CWD, to, flags).inspect_err(|&errno| {
        if super::place::is_lacking(&errno.into()) {
            NAMES_ARE_NEEDED.store(true, Ordering::Relaxed);
        }
    })?;
    note!(Link(record::id(&stored.0), to.to_owned()));
    Ok(())
}

/// A new file of this name.
///
/// # Errors
/// When the name is taken, or no file can be made there.
pub(super) fn make(path: &Path, mode: u32) -> io::Result<Stored> {
    let file = File::options().read(true).write(true).create_new(true).mode(mode).open(path)?;
    note!(Make(record::id(&file), path.to_owned(), Some(path.to_owned())));
    Ok(Stored(file))
}

/// The file of this name, made if it is missing, to be read, and written at its end.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_to_append(path: &Path) -> io::Result<Stored> {
    let file = File::options().read(true).append(true).create(true).truncate(false).open(path)?;
    note!(Open(record::id(&file), path.to_owned()));
    Ok(Stored(file))
}

/// Makes a directory and those above it that are missing. Returns the directories that have a new
/// entry.
///
/// # Errors
/// When one cannot be made.
pub(crate) fn make_directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !is_directory(path)).collect();
    fs::create_dir_all(path)?;
    #[cfg(test)]
    for made in missing.iter().rev() {
        note!(MakeDirectory(made.to_path_buf()));
    }
    Ok(missing.into_iter().map(|made| super::directory(made).to_owned()).collect())
}

fn is_directory(path: &Path) -> bool {
    // The empty path is above every relative one.
    path.as_os_str().is_empty() || path.is_dir()
}

/// Gives a file another name, whatever has that now.
///
/// # Errors
/// When that cannot be.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    note!(Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// The same where nothing has that name.
///
/// # Errors
/// When it is taken, or that cannot be.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    note!(Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Two files swap their names.
///
/// # Errors
/// When one is missing, or it cannot be done.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    note!(Exchange(one.to_owned(), other.to_owned()));
    Ok(())
}

/// Gives a file a second name.
///
/// # Errors
/// When that is taken, or it cannot be done.
pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    note!(HardLink(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file.
///
/// # Errors
/// When that cannot be.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    note!(Remove(path.to_owned()));
    Ok(())
}

/// Unit tests make thousands of files, and look at the record of the syncs alone.
const SYNCS: bool = !cfg!(test);

/// Waits until what was written to this file is on its disk.
///
/// # Errors
/// When it cannot be brought there.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    if SYNCS {
        file.sync_data()?;
    }
    note!(SyncData(record::id(file)));
    Ok(())
}

/// The same for everything that is on the file system of this file.
///
/// # Errors
/// When something cannot be brought there.
pub(crate) fn sync_filesystem(file: &File) -> io::Result<()> {
    if SYNCS {
        syncfs(file)?;
    }
    note!(SyncAll(record::path(file)));
    Ok(())
}

/// Waits until the names in a directory are on its disk.
///
/// # Errors
/// When they cannot be brought there.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    match if SYNCS { directory.sync_all() } else { Ok(()) } {
        // Some file systems have nothing to do there, and say so.
        Err(error) if [Errno::INVAL, Errno::OPNOTSUPP].iter().any(is(&error)) => {}
        done => done?,
    }
    note!(SyncDirectory(path.to_owned()));
    Ok(())
}
