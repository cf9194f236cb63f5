//! The file operations whose order decides what a power failure leaves: see README.md beside this
//! file. Everything that changes or syncs a result or a journal goes through this module. So tests
//! can record the operations, and build from the record what a disk may hold afterwards.

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

/// Passes what has just been done to the recorder of a test.
macro_rules! note {
    ($operation:ident($($what:expr),*)) => {
        #[cfg(test)]
        record::note(|| record::Operation::$operation($($what),*));
    };
}

/// Whether the file system may lack the operation. If the error means something else, the next way
/// fails with it, too.
pub(super) fn is_lacking(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM, Errno::MLINK, Errno::XDEV]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct SequentialFile(File);

impl SequentialFile {
    /// A device, a pipe or a standard stream, which is written directly.
    pub(super) fn special(file: File) -> Self {
        Self(file)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// Truncates the file.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        note!(SetLen(record::id(&self.0), len));
        Ok(())
    }
}

impl Write for SequentialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.write(bytes)?;
        note!(Write(record::id(&self.0), bytes[..len].to_vec()));
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether files without names have turned out to be unusable here.
static NAMES_ARE_NEEDED: AtomicBool = AtomicBool::new(false);

/// Creates a file that has no name yet: nothing of it is left when this process ends.
///
/// # Errors
/// When no file can be created in `directory`. `Unsupported` means that a file with a name can be.
pub(super) fn make_nameless(directory: &Path, mode: u32) -> io::Result<SequentialFile> {
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
        // Without /proc the file could never get a name.
        Ok(file) if !own_path(&file).exists() => {
            NAMES_ARE_NEEDED.store(true, Ordering::Relaxed);
            Err(ErrorKind::Unsupported.into())
        }
        Ok(file) => {
            note!(Make(record::id(&file), directory.to_owned(), None));
            Ok(SequentialFile(file))
        }
        // A kernel that does not know O_TMPFILE tries to open the directory as a file.
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

/// The path by which this process finds one of its open files.
fn own_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Gives a name to a file without one.
///
/// # Errors
/// When the name is taken, or the file cannot get it.
pub(super) fn give_name(stored: &SequentialFile, to: &Path) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_FOLLOW;
    linkat(CWD, own_path(&stored.0), CWD, to, flags).inspect_err(|&errno| {
        if is_lacking(&errno.into()) {
            NAMES_ARE_NEEDED.store(true, Ordering::Relaxed);
        }
    })?;
    note!(Link(record::id(&stored.0), to.to_owned()));
    Ok(())
}

/// Creates a file with this name.
///
/// # Errors
/// When the name is taken, or no file can be created there.
pub(super) fn make(path: &Path, mode: u32) -> io::Result<SequentialFile> {
    let file = File::options().read(true).write(true).create_new(true).mode(mode).open(path)?;
    note!(Make(record::id(&file), path.to_owned(), Some(path.to_owned())));
    Ok(SequentialFile(file))
}

/// Opens a file to be read and appended to, and creates it if it is missing.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_to_append(path: &Path) -> io::Result<SequentialFile> {
    let file = File::options().read(true).append(true).create(true).truncate(false).open(path)?;
    note!(Open(record::id(&file), path.to_owned()));
    Ok(SequentialFile(file))
}

/// Creates a directory and its missing parents. Returns the directories that have a new entry.
///
/// # Errors
/// When one cannot be created.
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
    // The empty path is the last ancestor of every relative path.
    path.as_os_str().is_empty() || path.is_dir()
}

/// Gives a file another name, and replaces what has that name now.
///
/// # Errors
/// When that fails.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    note!(Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Gives a file another name that nothing has.
///
/// # Errors
/// When the name is taken, or the rename fails.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    note!(Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Swaps the names of two files.
///
/// # Errors
/// When one is missing, or the exchange fails.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    note!(Exchange(one.to_owned(), other.to_owned()));
    Ok(())
}

/// Gives a file a second name.
///
/// # Errors
/// When the name is taken, or the link fails.
pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    note!(HardLink(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file.
///
/// # Errors
/// When that fails.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    note!(Remove(path.to_owned()));
    Ok(())
}

/// Unit tests create thousands of files and check only the record of the syncs, so they do not
/// sync.
const SYNCS: bool = !cfg!(test);

/// Waits until the contents of this file are on the disk.
///
/// # Errors
/// When they cannot be synced.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    if SYNCS {
        file.sync_data()?;
    }
    note!(SyncData(record::id(file)));
    Ok(())
}

/// Waits until everything on the file system of this file is on the disk.
///
/// # Errors
/// When something cannot be synced.
pub(crate) fn sync_filesystem(file: &File) -> io::Result<()> {
    if SYNCS {
        syncfs(file)?;
    }
    note!(SyncAll(record::path(file)));
    Ok(())
}

/// Waits until the names in a directory are on the disk.
///
/// # Errors
/// When they cannot be synced.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    match if SYNCS { directory.sync_all() } else { Ok(()) } {
        // Some file systems have nothing to sync there, and report that as an error.
        Err(error) if [Errno::INVAL, Errno::OPNOTSUPP].iter().any(is(&error)) => {}
        done => done?,
    }
    note!(SyncDirectory(path.to_owned()));
    Ok(())
}
