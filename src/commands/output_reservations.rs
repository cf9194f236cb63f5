//! Which outputs of a batch are reserved.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use brigade_exec::{Readable, Root};
use brigade_proto::limits;

use crate::compact::Seen;
use crate::missing;
use crate::write::{self, Replace, TargetKind};

/// Prevents two lines from writing the same file.
///
/// A batch may be long. So without `--force` only the outputs of jobs in flight are remembered: the
/// output of an earlier job exists, and an existing file is not replaced. With `--force` a file
/// does not show whether an earlier line wrote it, so all outputs are remembered.
pub(super) struct OutputReservations {
    claimed: Claimed,
    files: Arc<Readable>,
}

enum Claimed {
    InFlight(HashSet<[u8; 16]>),
    All(Seen),
}

impl OutputReservations {
    /// If `files` has a root, only outputs under it can be claimed.
    pub(super) fn new(force: bool, files: Arc<Readable>) -> Self {
        let claimed = match force {
            true => Claimed::All(Seen::default()),
            false => Claimed::InFlight(HashSet::new()),
        };
        Self { claimed, files }
    }

    /// Checks, before anything is computed, that a line's output can be written. Then reserves it
    /// for the line, until it is [released](Self::release). `replace` says whether an existing file
    /// may be replaced.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub(super) fn claim(&mut self, path: &Path, replace: Replace) -> Result<(), String> {
        let show = path.display();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if path.file_name().is_none() {
            return Err(format!("cannot write `{show}`: it is not the name of a file"));
        }
        if let Readable::Beneath(root) = &*self.files {
            check_root(root, path)?;
        }
        if let Some(why) = missing::no_directory(directory) {
            return Err(format!("cannot write {show}: {why}"));
        }
        if write::is_stdout(path) {
            return Err(format!(
                "cannot write {show}: standard output holds the result lines; name a file"
            ));
        }
        if let Some(what) = write::reserved(path) {
            return Err(format!("cannot write {show}: it is {what}"));
        }
        let found = write::look(path).map_err(|error| format!("cannot write {show}: {error}"))?;
        if found == TargetKind::Special {
            if let Some(kind) = blocking(path) {
                return Err(format!(
                    "cannot write {show}: it is {kind}, whose reader could hold up all lines"
                ));
            }
            // Nothing is replaced there, and several lines may write to it.
            return Ok(());
        }
        let is_first = match &mut self.claimed {
            Claimed::InFlight(outputs) => outputs.insert(fingerprint(path)),
            Claimed::All(outputs) => outputs.insert(&fingerprint(path)),
        };
        if !is_first {
            return Err(format!("an earlier line has the same output {show}"));
        }
        if found == TargetKind::Taken && replace == Replace::Never {
            self.release(path);
            let exists = write::exists(path);
            return Err(format!("{exists}, unless an earlier line has written it"));
        }
        Ok(())
    }

    /// Ends the claim of a line whose job has ended.
    pub(super) fn release(&mut self, path: &Path) {
        if let Claimed::InFlight(outputs) = &mut self.claimed {
            outputs.remove(&fingerprint(path));
        }
    }
}

/// Checks that the result stays under the root, whether it is one file or several.
fn check_root(root: &Root, path: &Path) -> Result<(), String> {
    let several = (0..limits::MAX_OUTPUTS).map(|index| write::numbered(path, index));
    std::iter::once(path.to_owned()).chain(several).try_for_each(|path| {
        match root.check_writable(&path) {
            // A missing directory is reported later, with a better message.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
            Ok(()) => Ok(()),
        }
    })
}

/// The kind of a file whose writer may wait until another process reads.
fn blocking(path: &Path) -> Option<&'static str> {
    let kind = path.metadata().ok()?.file_type();
    match () {
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => None,
    }
}

fn fingerprint(path: &Path) -> [u8; 16] {
    let hash = blake3::hash(write::identity(path).as_os_str().as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_output_has_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let (path, same) = (dir.path().join("x"), dir.path().join("./x"));
        for force in [false, true] {
            let mut output_reservations = OutputReservations::new(force, Arc::default());
            let replace = if force { Replace::Always } else { Replace::Never };
            output_reservations.claim(&path, replace).unwrap();
            assert!(
                output_reservations.claim(&same, replace).unwrap_err().contains("an earlier line")
            );
            fs::write(&path, "result").unwrap();
            output_reservations.release(&path);
            let said = output_reservations.claim(&same, replace).unwrap_err();
            assert!(said.contains("an earlier line"), "{said}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_kept_unless_it_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "mine").unwrap();
        let mut output_reservations = OutputReservations::new(false, Arc::default());
        assert!(output_reservations.claim(&path, Replace::Never).unwrap_err().contains("--force"));
        // The file is the result of an earlier run of this job.
        output_reservations.claim(&path, Replace::Remains).unwrap();
        assert!(
            output_reservations
                .claim(dir.path(), Replace::Always)
                .unwrap_err()
                .contains("not a file")
        );
        assert!(
            output_reservations
                .claim(&path.join("y"), Replace::Always)
                .unwrap_err()
                .contains("not a directory")
        );
    }

    #[test]
    fn without_force_nothing_is_remembered_of_jobs_that_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut output_reservations = OutputReservations::new(false, Arc::default());
        for number in 0..1000 {
            let path = dir.path().join(number.to_string());
            output_reservations.claim(&path, Replace::Never).unwrap();
            output_reservations.release(&path);
        }
        assert!(
            matches!(output_reservations.claimed, Claimed::InFlight(outputs) if outputs.is_empty())
        );
    }
}
