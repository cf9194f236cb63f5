//! Which outputs of a batch are spoken for.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::compact::Seen;
use crate::missing;
use crate::write::{self, Place, Replace};

/// Two lines may not write the same file.
///
/// A batch may be long. So without `--force` only the outputs of jobs in flight are remembered:
/// that of an earlier one is there, and what is there is not replaced. With it nobody could
/// tell by the file whether an earlier line wrote it, and all of them are remembered.
pub(super) enum Claims {
    InFlight(HashSet<[u8; 16]>),
    All(Seen),
}

impl Claims {
    pub(super) fn new(force: bool) -> Self {
        if force { Self::All(Seen::default()) } else { Self::InFlight(HashSet::new()) }
    }

    /// Whether a line's output can be written, before anything is computed; then it is
    /// the line's, until it is [released](Self::release). `replace`: although something is there.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn claim(&mut self, path: &Path, replace: Replace) -> Result<(), String> {
        let show = path.display();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if path.file_name().is_none() {
            return Err(format!("cannot write `{show}`: it is not the name of a file"));
        }
        if let Some(why) = missing::no_directory(directory) {
            return Err(format!("cannot write {show}: {why}"));
        }
        if write::is_stdout(path) {
            return Err(format!(
                "cannot write {show}: standard output holds the result lines; name a file"
            ));
        }
        let found = write::look(path).map_err(|error| format!("cannot write {show}: {error}"))?;
        if found == Place::Special {
            // Nothing is replaced there, and several may write to it.
            return Ok(());
        }
        let is_first = match self {
            Self::InFlight(outputs) => outputs.insert(fingerprint(path)),
            Self::All(outputs) => outputs.insert(&fingerprint(path)),
        };
        if !is_first {
            return Err(format!("an earlier line has the same output {show}"));
        }
        if found == Place::Taken && replace == Replace::Never {
            self.release(path);
            let exists = write::exists(path);
            return Err(format!("{exists}, unless an earlier line has written it"));
        }
        Ok(())
    }

    /// The line that has claimed it has ended.
    pub(super) fn release(&mut self, path: &Path) {
        if let Self::InFlight(outputs) = self {
            outputs.remove(&fingerprint(path));
        }
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
            let mut claims = Claims::new(force);
            let replace = if force { Replace::Always } else { Replace::Never };
            claims.claim(&path, replace).unwrap();
            assert!(claims.claim(&same, replace).unwrap_err().contains("an earlier line"));
            fs::write(&path, "result").unwrap();
            claims.release(&path);
            let said = claims.claim(&same, replace).unwrap_err();
            assert!(said.contains("an earlier line"), "{said}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_kept_unless_it_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "mine").unwrap();
        let mut claims = Claims::new(false);
        assert!(claims.claim(&path, Replace::Never).unwrap_err().contains("--force"));
        // A result of an earlier run of this job.
        claims.claim(&path, Replace::Remains).unwrap();
        assert!(claims.claim(dir.path(), Replace::Always).unwrap_err().contains("not a file"));
        assert!(
            claims.claim(&path.join("y"), Replace::Always).unwrap_err().contains("not a directory")
        );
    }

    #[test]
    fn without_force_nothing_is_remembered_of_jobs_that_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut claims = Claims::new(false);
        for number in 0..1000 {
            let path = dir.path().join(number.to_string());
            claims.claim(&path, Replace::Never).unwrap();
            claims.release(&path);
        }
        assert!(matches!(claims, Claims::InFlight(outputs) if outputs.is_empty()));
    }
}
