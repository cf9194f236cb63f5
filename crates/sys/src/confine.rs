//! Restricts the files that may be read and written for a line of input that another party wrote:
//! regular files only, and none outside one directory.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

/// Which files may be read.
#[derive(Debug, Default)]
pub enum Readable {
    /// All files, pipes and devices included.
    #[default]
    Any,
    /// Regular files only, and none that the kernel generates in `/proc`.
    Regular,
    /// Regular files as above, and only those under a directory.
    Beneath(Root),
}

impl Readable {
    /// Opens a file for reading without waiting for anything, as [`patient::open`] does.
    ///
    /// # Errors
    /// When the file cannot be opened or may not be read; the error says what the file is.
    /// `WouldBlock` while another program has a lease on the file.
    ///
    /// [`patient::open`]: crate::patient::open
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let root = match self {
            Self::Any => return crate::patient::open(path),
            Self::Regular => None,
            Self::Beneath(root) => Some(root),
        };
        let (directory, within) = match root {
            Some(root) => (root.directory.as_fd(), root.within(path)?),
            None => (CWD, path.to_owned()),
        };
        // Check the file first without opening it, because some devices act when they are opened.
        // It may be replaced before it is opened, so check the opened file as well.
        let look = File::from(open(root, directory, &within, OFlags::PATH)?);
        check_regular(&look, "reads")?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(open(root, directory, &within, flags)?);
        check_regular(&file, "reads")?;
        Ok(file)
    }
}

/// A directory that paths must not lead out of.
pub struct Root {
    directory: OwnedFd,
    /// The directory's path as given, and its canonical path; both absolute.
    names: [PathBuf; 2],
    /// The path as given, for messages.
    shown: PathBuf,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.shown.display())
    }
}

impl Root {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// When the path cannot be opened or is not a directory, or the kernel cannot confine paths
    /// (`openat2`, since Linux 5.6).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let names = [std::path::absolute(path)?, path.canonicalize()?];
        let root = Self { directory, names, shown: path.to_owned() };
        open(Some(&root), root.directory.as_fd(), Path::new("."), OFlags::PATH)?;
        Ok(root)
    }

    /// The part of a path below the directory. A relative path is relative to the current
    /// directory, as everywhere.
    fn within(&self, path: &Path) -> io::Result<PathBuf> {
        let absolute = std::path::absolute(path)?;
        let rest = self.names.iter().find_map(|name| absolute.strip_prefix(name).ok());
        match rest {
            Some(rest) if rest.as_os_str().is_empty() => Ok(".".into()),
            Some(rest) => Ok(rest.to_owned()),
            None => Err(self.outside()),
        }
    }

    fn outside(&self) -> io::Error {
        let message = format!("it is not under {}, the --root of this batch", self.shown.display());
        io::Error::new(ErrorKind::PermissionDenied, message)
    }

    /// Checks that a file may be written. Its parent directory must be under this directory.
    /// Whatever exists at its path must be under this directory too, and must be a regular file or
    /// a link to one. The path may also be free.
    ///
    /// # Errors
    /// When one of these conditions does not hold.
    pub fn check_writable(&self, path: &Path) -> io::Result<()> {
        let within = self.within(path)?;
        let look = |path: &Path, flags| open(Some(self), self.directory.as_fd(), path, flags);
        let parent = match within.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        look(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match look(&within, OFlags::PATH) {
            Ok(found) => check_regular(&File::from(found), "writes"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match look(&within, OFlags::PATH | OFlags::NOFOLLOW) {
                    Ok(_) => Err(io::Error::other("it is a link to nothing that is there")),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Opens a path, under `root` if there is one. Never follows the links in `/proc` that refer to the
/// open files and directories of a process: they lead to the descriptors of this process, and out
/// of any root directory.
fn open(
    root: Option<&Root>,
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let beneath = root.map_or(ResolveFlags::empty(), |_| ResolveFlags::BENEATH);
    let resolve = beneath | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve).map_err(|errno| {
        match (errno, root) {
            (Errno::XDEV, Some(root)) => root.outside(),
            (Errno::LOOP, _) => io::Error::other(
                "its links have no end, or lead to an open file of a process (as /dev/stdin and \
                 /proc/self/fd do), which a batch does not read",
            ),
            (Errno::NOSYS, _) => io::Error::other(
                "this kernel cannot open files safely for a batch: it lacks openat2 (Linux 5.6)",
            ),
            _ => errno.into(),
        }
    })
}

fn check_regular(file: &File, does: &str) -> io::Result<()> {
    let found = file.metadata()?;
    if let Some(kind) = kind(&found) {
        return Err(io::Error::other(format!("it is {kind}; a batch {does} regular files only")));
    }
    // Files in /proc claim to be empty, and reveal data about this process.
    if rustix::fs::fstatfs(file)?.f_type == PROC_SUPER_MAGIC {
        return Err(io::Error::other(format!("it is in /proc; a batch {does} regular files only")));
    }
    Ok(())
}

/// What kind of file this is; `None` for a regular file.
fn kind(found: &Metadata) -> Option<&'static str> {
    let kind = found.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_block_device() => Some("a block device"),
        () if kind.is_char_device() => Some("a device"),
        () => Some("no file"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refusal(readable: &Readable, path: &Path) -> String {
        readable.open(path).map(drop).expect_err(&path.display().to_string()).to_string()
    }

    #[test]
    fn regular_files_alone_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink("file", at("link")).unwrap();
        for name in ["file", "link"] {
            let mut text = String::new();
            Readable::Regular.open(&at(name)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("pipe", at("to pipe")).unwrap();
        let open = File::open(at("file")).unwrap();
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        symlink(&own, at("own")).unwrap();
        for (path, said) in [
            (at("pipe"), "it is a pipe; a batch reads regular files only"),
            (at("to pipe"), "it is a pipe"),
            (at("socket"), "it is a socket"),
            (dir.path().to_owned(), "it is a directory"),
            ("/dev/zero".into(), "it is a device"),
            ("/proc/self/stat".into(), "it is in /proc"),
            ("/dev/stdin".into(), "an open file of a process"),
            (own.into(), "an open file of a process"),
            (at("own"), "an open file of a process"),
            ("/proc/self/root/etc/passwd".into(), "an open file of a process"),
            (at("nothing"), "No such file"),
        ] {
            let refused = refusal(&Readable::Regular, &path);
            assert!(refused.contains(said), "{}: {refused}", path.display());
        }
    }

    #[test]
    fn nothing_outside_a_root_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("root/sub")).unwrap();
        fs::write(at("secret"), "secret").unwrap();
        fs::write(at("root/mine"), "mine").unwrap();
        symlink("../secret", at("root/up")).unwrap();
        symlink(at("secret"), at("root/absolute")).unwrap();
        symlink("..", at("root/parent")).unwrap();
        symlink("../mine", at("root/sub/inside")).unwrap();
        symlink("new", at("root/dangling")).unwrap();
        symlink("root", at("alias")).unwrap();
        for named in ["root", "alias", "root/sub/.."] {
            let readable = Readable::Beneath(Root::open(&at(named)).unwrap());
            let Readable::Beneath(root) = &readable else { unreachable!() };
            for inside in ["root/mine", "root/sub/inside", "root/sub/../mine"] {
                readable.open(&at(inside)).unwrap();
                root.check_writable(&at(inside)).unwrap();
            }
            root.check_writable(&at("root/sub/new")).unwrap();
            for outside in [
                "secret",
                "root/up",
                "root/absolute",
                "root/parent/secret",
                "root/../secret",
                "root/sub/../../secret",
            ] {
                let refused = refusal(&readable, &at(outside));
                assert!(refused.contains("it is not under"), "{outside}: {refused}");
                let refused = root.check_writable(&at(outside)).unwrap_err().to_string();
                assert!(refused.contains("it is not under"), "{outside}: {refused}");
            }
            let refused = root.check_writable(&at("root/parent/new")).unwrap_err().to_string();
            assert!(refused.contains("it is not under"), "{refused}");
            let refused = root.check_writable(&at("root/dangling")).unwrap_err().to_string();
            assert!(refused.contains("a link to nothing"), "{refused}");
        }
        assert!(Root::open(&at("secret")).is_err());
    }
}
