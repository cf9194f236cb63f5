//! File names in a line: text, or bytes in base64, as results have them for names that are not
//! UTF-8.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use brigade_report::bytes_of_name;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A name: `"a.png"`, or `{"bytes": "YS5wbmc="}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineFileName(PathBuf);

/// The bytes of one name or of several: `"YS5wbmc="`, `[null, "YS5wbmc="]`. `null` means that the
/// text of that name is enough.
#[derive(Debug, Default)]
pub(super) struct NameBytes(Vec<Option<PathBuf>>);

/// Merges the names that a line gives as text with those that it gives as bytes. `what` says whose
/// names they are, for error messages.
///
/// # Errors
/// When texts and bytes do not name the same files.
pub(super) fn merge(
    names: Vec<LineFileName>,
    bytes: Option<NameBytes>,
    what: &str,
) -> Result<Vec<PathBuf>, String> {
    let mut paths: Vec<PathBuf> = names.into_iter().map(|LineFileName(path)| path).collect();
    let Some(NameBytes(bytes)) = bytes else { return Ok(paths) };
    if paths.is_empty() {
        let missing = || format!("not a job: {what}_bytes has null where no text is beside it");
        return bytes.into_iter().map(|path| path.ok_or_else(missing)).collect();
    }
    if bytes.len() != paths.len() {
        let (texts, bytes) = (paths.len(), bytes.len());
        return Err(format!(
            "not a job: {what}_bytes has {bytes} names, and the texts are {texts}"
        ));
    }
    for (place, (path, bytes)) in paths.iter_mut().zip(bytes).enumerate() {
        let Some(bytes) = bytes else { continue };
        if path.to_string_lossy() != bytes.to_string_lossy() {
            return Err(format!(
                "not a job: {what}_bytes says {}, and the text of name {} says {}",
                bytes.display(),
                place + 1,
                path.display()
            ));
        }
        *path = bytes;
    }
    Ok(paths)
}

fn path<E: de::Error>(base64: &str) -> Result<PathBuf, E> {
    let bytes = bytes_of_name(base64).map_err(E::custom)?;
    Ok(OsString::from_vec(bytes).into())
}

impl<'de> Deserialize<'de> for LineFileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LineFileName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file name, or {\"bytes\": BASE64}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LineFileName, E> {
                Ok(LineFileName(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LineFileName, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "bytes" || found.is_some() {
                        return Err(de::Error::custom(format_args!(
                            "`{key}` in a file name, which has \"bytes\" once and nothing else"
                        )));
                    }
                    found = Some(map.next_value::<String>()?);
                }
                let base64 = found.ok_or_else(|| de::Error::missing_field("bytes"))?;
                Ok(LineFileName(path(&base64)?))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for NameBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = NameBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64, or a list of base64 and null")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NameBytes, E> {
                Ok(NameBytes(vec![Some(path(text)?)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NameBytes, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element::<Option<String>>()? {
                    all.push(one.map(|text| path(&text)).transpose()?);
                }
                Ok(NameBytes(all))
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    fn merged(names: &str, bytes: &str) -> Result<Vec<PathBuf>, String> {
        let error = |error: serde_json::Error| error.to_string();
        let names = serde_json::from_str(names).map_err(error)?;
        merge(names, serde_json::from_str(bytes).map_err(error)?, "input")
    }

    #[test]
    fn texts_and_bytes_are_the_same_names() {
        let odd = Path::new(OsStr::from_bytes(b"a\xff.png"));
        for (names, bytes) in [
            (r#"[{"bytes": "Yf8ucG5n"}, "b"]"#, "null"),
            (r#"["a\ufffd.png", "b"]"#, r#"["Yf8ucG5n", null]"#),
            ("[]", r#"["Yf8ucG5n", "Yg=="]"#),
        ] {
            assert_eq!(merged(names, bytes).unwrap(), [odd, Path::new("b")], "{names} {bytes}");
        }
        assert_eq!(merged(r#"["a\ufffd.png"]"#, r#""Yf8ucG5n""#).unwrap(), [odd]);
        assert!(merged("[]", "null").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (names, bytes, said) in [
            ("[7]", "null", "expected a file name"),
            (r#"[{"bytes": "!"}]"#, "null", "not base64"),
            (r#"[{"text": "a"}]"#, "null", "`text` in a file name"),
            (r#"[{"bytes": "", "bytes": ""}]"#, "null", "once"),
            ("[{}]", "null", "missing field `bytes`"),
            ("[]", "[null]", "no text"),
            (r#"["a", "b"]"#, r#""YQ==""#, "has 1 names, and the texts are 2"),
            (r#"["a"]"#, r#""Yg==""#, "input_bytes says b, and the text of name 1 says a"),
            ("[]", "7", "expected base64"),
        ] {
            let error = merged(names, bytes).unwrap_err();
            assert!(error.contains(said), "{names} {bytes}: {error}");
        }
    }
}
