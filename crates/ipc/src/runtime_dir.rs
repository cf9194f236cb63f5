//! The private directory that the bootstrap sockets lie in.
//!
//! ipc-channel makes its sockets under the temporary directory, where others may
//! look. Brigade points it to a directory of mode 0700 of its own, under
//! `$XDG_RUNTIME_DIR` or the temporary directory. The directory is locked for as
//! long as its process lives, so that one whose process was killed can be told
//! from one in use, and is removed by the next start.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use brigade_sys::{process, random};

/// Longest path of a socket, in bytes; longer ones are cut silently.
const MAX_SOCKET_PATH: usize = 107;
/// What ipc-channel appends: `/.tmpXXXXXX/socket`.
const SOCKET_SUFFIX: usize = 18;
const PREFIX: &str = "brigade-";

/// One directory, made when it is first needed and removed when nobody needs it.
struct Place(Mutex<Option<Current>>);

struct Current {
    path: PathBuf,
    /// While at least one lease is held.
    lock: Option<File>,
    leases: usize,
}

/// That of this process: ipc-channel can be pointed to a directory only once.
static PLACE: Place = Place(Mutex::new(None));

/// Keeps the directory; the last one to be dropped removes it.
#[derive(Debug)]
pub struct Lease(());

impl Lease {
    /// Makes the directory if it is not there, and removes those of dead
    /// processes.
    ///
    /// # Errors
    /// When no such directory can be made, or its path is too long for a socket.
    pub fn take() -> io::Result<Self> {
        PLACE.enter(&base(), |path| {
            // Refused only if somebody in this process has set it before; then the
            // sockets lie there.
            let _ = tempfile::env::override_temp_dir(path);
        })?;
        Ok(Self(()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        PLACE.leave();
    }
}

impl Place {
    fn enter(&self, base: &Path, announce: impl FnOnce(&Path)) -> io::Result<()> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_mut() {
            if current.lock.is_none() {
                current.lock = Some(create(&current.path)?);
            }
            current.leases += 1;
            return Ok(());
        }
        remove_stale(base);
        let path = base.join(format!(
            "{PREFIX}{}-{:08x}",
            process::pid(),
            random::nonce()? as u32
        ));
        let longest = path.as_os_str().len() + SOCKET_SUFFIX;
        if longest > MAX_SOCKET_PATH {
            return Err(io::Error::other(format!(
                "{} is too long for a socket by {} bytes; set TMPDIR to a shorter directory",
                path.display(),
                longest - MAX_SOCKET_PATH
            )));
        }
        let lock = Some(create(&path)?);
        announce(&path);
        *current = Some(Current {
            path,
            lock,
            leases: 1,
        });
        Ok(())
    }

    fn leave(&self) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_mut() {
            current.leases -= 1;
            if current.leases == 0 {
                // Empty by now; what somebody else has put there stays.
                let _ = fs::remove_dir(&current.path);
                current.lock = None;
            }
        }
    }
}

fn base() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(std::env::temp_dir)
}

/// Makes and locks a directory. It gets its name only when it is locked, so that
/// [`remove_stale`] of another process never takes it for a dead one's.
fn create(path: &Path) -> io::Result<File> {
    let mut unlocked = path.as_os_str().to_owned();
    unlocked.push(".new");
    DirBuilder::new().mode(0o700).create(&unlocked)?;
    let made = File::open(&unlocked).and_then(|lock| {
        lock.try_lock().map_err(io::Error::from)?;
        fs::rename(&unlocked, path)?;
        Ok(lock)
    });
    if made.is_err() {
        let _ = fs::remove_dir(&unlocked);
    }
    made
}

/// Removes the directories of processes that were killed. What cannot be removed
/// is somebody else's.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            name.strip_prefix(PREFIX).is_some_and(|rest| {
                rest.split('-').count() == 2
                    && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            })
        });
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn private_while_leased_and_gone_afterwards() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let place = Place(Mutex::new(None));
        let mut path = PathBuf::new();
        place
            .enter(base.path(), |made| path = made.to_owned())
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        place
            .enter(base.path(), |_| panic!("announced twice"))
            .unwrap();
        place.leave();
        assert!(path.exists());
        place.leave();
        assert!(!path.exists());
        place
            .enter(base.path(), |_| panic!("announced twice"))
            .unwrap();
        assert!(path.exists());
        place.leave();
        assert!(!path.exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let deep = base.path().join("x".repeat(80));
        fs::create_dir(&deep).unwrap();
        let place = Place(Mutex::new(None));
        let error = place.enter(&deep, |_| {}).unwrap_err().to_string();
        assert!(error.contains("set TMPDIR"), "{error}");
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[test]
    fn only_directories_of_the_dead_are_removed() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let dead = base.path().join("brigade-12345-0badcafe");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("socket"), "").unwrap();
        let other = base.path().join("brigade-photos");
        fs::create_dir(&other).unwrap();
        let alive = base.path().join("brigade-12346-0badcafe");
        let lock = create(&alive).unwrap();
        remove_stale(base.path());
        assert!(!dead.exists());
        assert!(other.exists());
        assert!(alive.exists());
        drop(lock);
        remove_stale(base.path());
        assert!(!alive.exists());
    }
}
