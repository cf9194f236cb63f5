//! Error messages for paths that lead nowhere.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Why a file that was named cannot be read; `what` says what it should have been.
///
/// A shell passes on a pattern that matches nothing. So if the name of a missing file looks like a
/// pattern, the message says that no file matches.
pub(crate) fn cannot_read(what: &str, path: &Path, error: &io::Error) -> String {
    let show = path.display();
    if error.kind() == ErrorKind::NotFound && is_pattern(path) {
        return format!("cannot read {what}: no file matches {show}");
    }
    format!("cannot read {what} {show}: {error}")
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// Why no file can be created in a directory; `None` if it is a directory.
pub(crate) fn no_directory(directory: &Path) -> Option<String> {
    let show = directory.display();
    match directory.metadata() {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("{show} is not a directory")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some(format!("there is no directory {show}; make it first"))
        }
        Err(error) => Some(format!("{show}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_match_is_told_as_one() {
        let missing = io::Error::from(ErrorKind::NotFound);
        let pattern = cannot_read("input", Path::new("no/*.jpg"), &missing);
        assert_eq!(pattern, "cannot read input: no file matches no/*.jpg");
        let plain = cannot_read("input", Path::new("a.jpg"), &missing);
        assert!(plain.starts_with("cannot read input a.jpg: "), "{plain}");
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert!(cannot_read("input", Path::new("a*"), &denied).contains("input a*: "));
    }

    #[test]
    fn a_missing_directory_is_not_called_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(no_directory(dir.path()), None);
        assert!(no_directory(&file).unwrap().ends_with("is not a directory"));
        let missing = no_directory(&dir.path().join("no")).unwrap();
        assert!(missing.starts_with("there is no directory"), "{missing}");
    }
}
