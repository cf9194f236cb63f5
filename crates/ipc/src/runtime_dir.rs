//! The private directory that the bootstrap sockets lie in.
//!
//! ipc-channel makes its sockets in directories under the temporary directory, where others may
//! look. Brigade points it to a directory of mode 0700 that is the user's own:
//! `$XDG_RUNTIME_DIR/brigade`, or `brigade-UID` in the temporary directory. It is
//! kept from run to run; the socket of a pool is removed with the pool, and what a killed
//! process has left there by the next start.
//!
//! ipc-channel takes the place from the `tempfile` crate, which can be told one
//! place per process, for good: a program that uses `tempfile` itself finds its
//! own temporary files there too once it has made a pool of processes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Once;

use brigade_sys::process;

/// Longest path of a socket, in bytes; longer ones are cut silently.
const MAX_SOCKET_PATH: usize = 107;
/// What ipc-channel appends: `/.tmpXXXXXX/socket`.
const SOCKET_SUFFIX: usize = 18;
/// The name of ipc-channel's sockets in their directories.
const SOCKET: &str = "socket";

/// Where this user's sockets lie.
pub fn path() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir()) {
        Some(runtime) => runtime.join("brigade"),
        None => PathBuf::from("/tmp").join(format!("brigade-{}", process::uid())),
    }
}

/// By how many bytes the path of a directory is too long for sockets in it; 0: it is not.
pub fn excess(path: &Path) -> usize {
    (path.as_os_str().len() + SOCKET_SUFFIX).saturating_sub(MAX_SOCKET_PATH)
}

/// Makes the directory if it is not there, and has ipc-channel use it.
///
/// # Errors
/// When it cannot be made, is somebody else's, or its path is too long.
pub(crate) fn prepare() -> io::Result<()> {
    let path = path();
    ensure(&path)?;
    static ANNOUNCED: Once = Once::new();
    ANNOUNCED.call_once(|| {
        remove_stale(&path);
        // Refused only if the program has told tempfile a place itself; then the
        // sockets lie there.
        let _ = tempfile::env::override_temp_dir(&path);
    });
    Ok(())
}

fn ensure(path: &Path) -> io::Result<()> {
    let excess = excess(path);
    if excess > 0 {
        return Err(io::Error::other(format!(
            "{} is too long for a socket by {excess} bytes; set XDG_RUNTIME_DIR to a shorter directory",
            path.display()
        )));
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    // Not through a link that somebody else has put there.
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != process::uid() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} is not a directory that is yours alone; remove it, or set XDG_RUNTIME_DIR to one \
             that is",
            path.display()
        )));
    }
    Ok(())
}

/// Removes the sockets of processes that were killed: nobody listens there.
fn remove_stale(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    // A stream does not fit a living server's sockets, which says so instead of accepting.
    // Nor does one fit a file of another kind, which is not ours to remove.
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
            // Stays if there is anything else in it.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

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
