//! File names in JSON.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// File names: none is `null`, one a string, several a list. What is not UTF-8 in one is replaced
/// by U+FFFD: [`FileBytes`] has the name itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub Vec<String>);

impl Files {
    /// The names of files.
    pub fn of(paths: &[impl AsRef<Path>]) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self(paths.iter().map(|path| text(path.as_ref())).collect())
    }
}

impl Serialize for Files {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_or_several(&self.0, serializer)
    }
}

/// The bytes of file names, in base64, where [`Files`] cannot tell them: in the same places, with
/// `null` for a name that is text. Empty if all are text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileBytes(Vec<Option<String>>);

impl FileBytes {
    /// Of the names of files.
    pub fn of(paths: &[impl AsRef<Path>]) -> Self {
        let all: Vec<_> = paths.iter().map(|path| name_bytes(path.as_ref())).collect();
        Self(if all.iter().any(Option::is_some) { all } else { Vec::new() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for FileBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_or_several(&self.0, serializer)
    }
}

fn one_or_several<S: Serializer>(
    names: &[impl Serialize],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match names {
        [] => serializer.serialize_none(),
        [one] => one.serialize(serializer),
        several => several.serialize(serializer),
    }
}

/// The bytes of a file name in base64, if it is not UTF-8.
pub fn name_bytes(path: &Path) -> Option<String> {
    match path.to_str() {
        Some(_) => None,
        None => Some(STANDARD.encode(path.as_os_str().as_bytes())),
    }
}

/// The bytes of a file name from base64.
///
/// # Errors
/// When it is not base64 (RFC 4648, section 4, with padding).
pub fn bytes_of_name(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("not base64: {error}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn files_are_null_one_or_a_list() {
        let json = |files: &[&str]| {
            (serde_json::to_string(&Files::of(files)).unwrap(), FileBytes::of(files).is_empty())
        };
        assert_eq!(json(&[]), ("null".into(), true));
        assert_eq!(json(&["a"]), (r#""a""#.into(), true));
        assert_eq!(json(&["a", "é"]), (r#"["a","é"]"#.into(), true));
    }

    #[test]
    fn a_name_that_is_not_utf_8_has_its_bytes_beside_it() {
        let odd = Path::new(OsStr::from_bytes(b"a\xff.png"));
        let json = |paths: &[&Path]| {
            let (files, bytes) = (Files::of(paths), FileBytes::of(paths));
            [serde_json::to_string(&files).unwrap(), serde_json::to_string(&bytes).unwrap()]
        };
        assert_eq!(json(&[odd]), ["\"a\u{fffd}.png\"", "\"Yf8ucG5n\""]);
        assert_eq!(
            json(&[Path::new("b"), odd]),
            ["[\"b\",\"a\u{fffd}.png\"]", "[null,\"Yf8ucG5n\"]"]
        );
        assert_eq!(bytes_of_name("Yf8ucG5n").unwrap(), b"a\xff.png");
        assert!(bytes_of_name("Yf8ucG5").unwrap_err().contains("not base64"));
    }
}
