//! Which files may be read and written for a line that somebody else has written: regular ones
//! only, and none outside one directory.

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
    /// All: pipes and devices, too.
    #[default]
    Any,
    /// Regular files only, and none that the kernel makes up in `/proc`.
    Regular,
    /// The same, and only those under a directory.
    Beneath(Root),
}

impl Readable {
    /// Opens a file for reading without waiting for anything, as [`patient::open`] does.
    ///
    /// # Errors
    /// When it cannot be opened, or is none that may be read: that says what it is.
    /// `WouldBlock` while another program has a lease on it.
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
        // First without opening what is there: some devices do something when they are opened.
        // It may have been replaced when it is opened, so what was opened is looked at as well.
        let look = File::from(open(root, directory, &within, OFlags::PATH)?);
        check_regular(&look, "reads")?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(open(root, directory, &within, flags)?);
        check_regular(&file, "reads")?;
        Ok(file)
    }
}

/// A directory that names must not lead out of.
pub struct Root {
    directory: OwnedFd,
    /// As it was named, and as it is; both absolute.
    names: [PathBuf; 2],
    /// As it was named.
    shown: PathBuf,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.shown.display())
    }
}

impl Root {
    /// A directory that is there.
    ///
    /// # Errors
    /// When it cannot be opened, is no directory, or the kernel cannot confine names
    /// (`openat2`, since Linux 5.6).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let names = [std::path::absolute(path)?, path.canonicalize()?];
        let root = Self { directory, names, shown: path.to_owned() };
        open(Some(&root), root.directory.as_fd(), Path::new("."), OFlags::PATH)?;
        Ok(root)
    }

    /// The rest of a name under the directory. Names are relative to the current directory, as
    /// everywhere.
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

    /// Looks whether a file may be written: its directory is under this one, and so is what is at
    /// its name, which is a regular file, a link to one, or nothing.
    ///
    /// # Errors
    /// When that is not so.
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

/// Opens a name, under `root` if there is one. Never through the links of `/proc` that stand for
/// open files and directories of a process: they would lead to the descriptors of this one, and
/// out of every directory.
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
    // They claim to be empty, and tell about this process.
    if rustix::fs::fstatfs(file)?.f_type == PROC_SUPER_MAGIC {
        return Err(io::Error::other(format!("it is in /proc; a batch {does} regular files only")));
    }
    Ok(())
}

/// What a file is that is not a regular one.
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
