//! Gives a finished file its name, in one atomic step if the file system has one.

use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

use super::disk::{self, is_lacking};

/// One way to give a file a name.
type RenameMethod = fn(&Path, &Path) -> io::Result<()>;

/// The best first. The later ones are for file systems that lack the earlier ones.
const WAYS: [RenameMethod; 3] = [disk::rename_new, link_new, look_and_rename];

/// Gives `from` the name `to`, and replaces nothing.
///
/// # Errors
/// When `to` is taken, or the file cannot get it.
pub(super) fn put_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut ways = WAYS.iter().peekable();
    loop {
        let Some(way) = ways.next() else { return Err(Errno::NOSYS.into()) };
        match way(from, to) {
            Err(error) if is_lacking(&error) && ways.peek().is_some() => {}
            done => return done,
        }
    }
}

fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    disk::hard_link(from, to)?;
    disk::remove(from)
}

/// Not atomic: another program may create `to` between the check and the rename.
fn look_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    disk::rename(from, to)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_way_replaces_anything() {
        for way in WAYS.into_iter().chain([put_new as RenameMethod]) {
            let dir = tempfile::tempdir().unwrap();
            let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
            fs::write(&from, "new").unwrap();
            way(&from, &to).unwrap();
            assert!(!from.exists());
            fs::write(&from, "newer").unwrap();
            assert_eq!(way(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(
                (fs::read(&from).unwrap(), fs::read(&to).unwrap()),
                (b"newer".into(), b"new".into())
            );
            // A dangling link counts as taken, too.
            fs::remove_file(&to).unwrap();
            std::os::unix::fs::symlink("nowhere", &to).unwrap();
            assert_eq!(way(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn what_a_file_system_lacks_is_told_from_what_is_wrong() {
        for (errno, expected) in [
            (Errno::INVAL, true),
            (Errno::NOSYS, true),
            (Errno::NOSPC, false),
            (Errno::EXIST, false),
        ] {
            assert_eq!(is_lacking(&errno.into()), expected, "{errno:?}");
        }
    }
}
