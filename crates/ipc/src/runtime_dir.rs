//! The private directory that holds the bootstrap sockets.
//!
//! ipc-channel creates its sockets in directories below the temporary directory, which others may
//! read. Brigade points it to a directory of mode 0700 that belongs to the user alone:
//! `$XDG_RUNTIME_DIR/brigade`. That can be unusable: `sudo` and `su` leave the variable as it was,
//! containers have no such directory, or the path is too long. Then Brigade uses `brigade-UID` in
//! `/tmp`, in the temporary directory, or in `/dev/shm`. It tests each candidate by creating a
//! socket there. The directory stays from run to run. A pool removes its socket when it ends, and
//! the next start removes what a killed process has left there.
//!
//! ipc-channel takes the directory from the `tempfile` crate, which accepts one directory per
//! process, for good. So a program that uses `tempfile` itself finds its own temporary files there
//! too, once it has created a pool of worker processes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use brigade_sys::{process, socket};

/// Longest path of a socket, in bytes; longer ones are truncated silently.
const MAX_SOCKET_PATH: usize = 107;
/// What ipc-channel appends: `/.tmpXXXXXX/socket`.
const SOCKET_SUFFIX: usize = 18;
/// The name of ipc-channel's sockets in their directories.
const SOCKET: &str = "socket";

/// The directory of this user's sockets, or the preferred one if none is usable.
pub fn path() -> PathBuf {
    chosen().map_or_else(|_| candidates().remove(0), |(path, _)| path)
}

/// The directory in use, and why better ones are not.
///
/// # Errors
/// When no directory is usable; the message names each one that was tried.
pub fn chosen() -> io::Result<(PathBuf, Vec<String>)> {
    static CHOSEN: Mutex<Option<(PathBuf, Vec<String>)>> = Mutex::new(None);
    let mut chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Another program may have removed it since.
    if let Some((path, refused)) = chosen.take_if(|(path, _)| ensure(path).is_ok()) {
        *chosen = Some((path.clone(), refused.clone()));
        return Ok((path, refused));
    }
    let found = first_usable(candidates())?;
    Ok(chosen.insert(found).clone())
}

/// The best candidate comes first.
fn candidates() -> Vec<PathBuf> {
    let own = format!("brigade-{}", process::uid());
    let runtime = user_home();
    let mut paths: Vec<PathBuf> =
        runtime.map(|path| Path::new(&path).join("brigade")).into_iter().collect();
    let bases = [PathBuf::from("/tmp"), std::env::temp_dir(), PathBuf::from("/dev/shm")];
    for path in bases.map(|base| base.join(&own)) {
        // Skips an empty or relative TMPDIR.
        if path.is_absolute() && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

#[cfg(not(test))]
fn user_home() -> Option<std::ffi::OsString> {
    std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty())
}

// Keeps tests apart from another Brigade of this user.
#[cfg(test)]
use tests::user_home;

fn first_usable(candidates: Vec<PathBuf>) -> io::Result<(PathBuf, Vec<String>)> {
    let mut refused = Vec::new();
    for path in candidates {
        match ensure(&path).and_then(|()| probe(&path)) {
            Ok(()) => return Ok((path, refused)),
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    let tried = refused.join("; ");
    Err(io::Error::other(format!(
        "no directory for a socket ({tried}); set XDG_RUNTIME_DIR to a directory of yours that can \
         be written and has a short name"
    )))
}

/// Creates a socket as a pool does, and removes it.
fn probe(directory: &Path) -> io::Result<()> {
    let probe = tempfile::Builder::new()
        .prefix("probe-")
        .make_in(directory, |path| socket::listen(path))?;
    probe.close()
}

/// By how many bytes the path of a directory is too long for sockets in it; 0 if it is not.
pub fn excess(path: &Path) -> usize {
    (path.as_os_str().len() + SOCKET_SUFFIX).saturating_sub(MAX_SOCKET_PATH)
}

/// Creates the directory if it does not exist, and makes ipc-channel use it.
///
/// # Errors
/// When no directory is usable; the message names each one that was tried.
pub fn prepare() -> io::Result<PathBuf> {
    let (path, _) = chosen()?;
    static ANNOUNCED: Once = Once::new();
    ANNOUNCED.call_once(|| {
        remove_stale(&path);
        // Refused only if the program has set tempfile's directory itself; then ipc-channel's
        // sockets lie there.
        let _ = tempfile::env::override_temp_dir(&path);
    });
    Ok(path)
}

fn ensure(path: &Path) -> io::Result<()> {
    let excess = excess(path);
    if excess > 0 {
        return Err(io::Error::other(format!(
            "the path is too long for a socket by {excess} bytes"
        )));
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    // Does not follow a link that another user has put there.
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != process::uid() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "it is there, and is not a directory that is yours alone (mode 0700)",
        ));
    }
    Ok(())
}

/// Removes the sockets of killed processes: no process listens there.
fn remove_stale(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    // A stream socket does not match a living server's socket type, so the kernel reports that
    // instead of connecting; only a dead socket refuses. A file of another kind is not ours to
    // remove.
    let is_dead = |socket: &Path| {
        socket.symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
            && UnixStream::connect(socket)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let socket = path.join(SOCKET);
        if is_dead(&path) {
            let _ = fs::remove_file(path);
        } else if is_dead(&socket) {
            let _ = fs::remove_file(socket);
            // The directory stays if it has anything else in it.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::sync::OnceLock;

    /// A directory of this process alone. Removes first what earlier runs have left.
    pub(super) fn user_home() -> Option<PathBuf> {
        const NAME: &str = "brigade-ipc-test-";
        static HOME: OnceLock<PathBuf> = OnceLock::new();
        let home = HOME.get_or_init(|| {
            for entry in fs::read_dir("/tmp").unwrap().flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|name| name.strip_prefix(NAME));
                if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
            let home = Path::new("/tmp").join(format!("{NAME}{}", process::pid()));
            let _ = fs::remove_dir_all(&home);
            DirBuilder::new().mode(0o700).create(&home).unwrap();
            home
        });
        Some(home.clone())
    }

    #[test]
    fn tests_have_a_directory_of_their_own() {
        let (path, refused) = chosen().unwrap();
        assert!(path.starts_with(user_home().unwrap()), "{path:?}");
        assert_eq!(refused, [""; 0]);
    }

    #[test]
    fn only_a_private_directory_will_do() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let path = base.path().join("brigade");
        ensure(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        ensure(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(ensure(&path).unwrap_err().to_string().contains("yours alone"));
        let link = base.path().join("link");
        symlink(base.path(), &link).unwrap();
        assert!(ensure(&link).unwrap_err().to_string().contains("yours alone"));
        let deep = base.path().join("x".repeat(80));
        assert!(ensure(&deep).unwrap_err().to_string().contains("too long"));
        assert!(!deep.exists());
    }

    #[test]
    fn the_first_that_can_be_used_is_and_the_others_are_named() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let (missing, long) = (base.path().join("no/brigade"), base.path().join("x".repeat(90)));
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let good = base.path().join("good");
        let bad = vec![missing.clone(), long.clone(), file.clone()];
        let (used, refused) = first_usable([bad.clone(), vec![good.clone()]].concat()).unwrap();
        assert_eq!((used, refused.len()), (good.clone(), 3), "{refused:?}");
        assert_eq!(fs::read_dir(&good).unwrap().count(), 0, "the probe is removed");
        let error = first_usable(bad).unwrap_err().to_string();
        for path in [missing, long, file] {
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        assert!(error.contains("XDG_RUNTIME_DIR"), "{error}");
    }

    #[test]
    fn only_sockets_of_the_dead_are_removed() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let make = |name: &str| {
            let directory = base.path().join(name);
            fs::create_dir(&directory).unwrap();
            directory
        };
        let (dead, alive, other) = (make("dead"), make("alive"), make("other"));
        drop(UnixListener::bind(dead.join(SOCKET)).unwrap());
        let listener = UnixListener::bind(alive.join(SOCKET)).unwrap();
        fs::write(other.join(SOCKET), "a file").unwrap();
        let bare = base.path().join("worker");
        let worker = UnixListener::bind(&bare).unwrap();
        remove_stale(base.path());
        assert!(!dead.exists());
        assert!(alive.join(SOCKET).exists() && bare.exists());
        drop((listener, worker));
        remove_stale(base.path());
        assert!(!alive.exists() && !bare.exists());
        assert!(other.join(SOCKET).exists());
    }
}
