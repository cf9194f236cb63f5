//! Reads saved results, for `compare`, `report` and `history`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::exit::Failure;
use crate::missing;

/// Most bytes of a result: one of a million jobs has half of that. A limit is needed, because
/// `/dev/zero` has no end.
const LONGEST: u64 = 1 << 30;

/// The UTF-8 byte order mark, which some programs put before a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a result. `wrong` makes the failure for a file that is not one.
///
/// # Errors
/// When the file cannot be read, or is not JSON.
pub(crate) fn read(path: &Path, wrong: impl Fn(String) -> Failure) -> Result<Value, Failure> {
    let cannot = |error: io::Error| Failure::usage(missing::cannot_read("result", path, &error));
    let file = File::open(path).map_err(cannot)?;
    let bytes = text(file, LONGEST).map_err(cannot)?;
    json(bytes, LONGEST).map_err(wrong)
}

/// The contents of a file, but at most one byte more than `longest`. Reads only the first bytes if
/// these cannot begin an object.
fn text(mut file: impl Read, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut file).take(64 << 10).read_to_end(&mut bytes)?;
    let begin = bytes.strip_prefix(MARK).unwrap_or(&bytes).trim_ascii_start().first();
    if begin == Some(&b'{') {
        file.take((longest + 1).saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn json(bytes: Vec<u8>, longest: u64) -> Result<Value, String> {
    if bytes.len() as u64 > longest {
        return Err(format!("it has more than {} MiB", longest >> 20));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16, by its byte order mark; JSON is UTF-8".to_owned());
    }
    serde_json::from_slice(bytes.strip_prefix(MARK).unwrap_or(&bytes)).map_err(|error| {
        format!("it is not JSON of Brigade ({error}); was it saved without --format json?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: impl Read) -> Result<Value, String> {
        json(text(bytes, 1 << 20).unwrap(), 1 << 20)
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_it() {
        let value = serde_json::json!({"a": 1});
        assert_eq!(read(&b"\xef\xbb\xbf {\"a\": 1}\r\n"[..]).unwrap(), value);
        for mark in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
            assert!(read(mark).unwrap_err().contains("UTF-16"));
        }
    }

    #[test]
    fn what_has_no_end_is_not_read_until_the_memory_is_gone() {
        assert!(read(io::repeat(0)).unwrap_err().contains("not JSON"));
        let endless = io::repeat(b' ');
        assert!(read(endless).unwrap_err().contains("not JSON"));
        let endless = (&b"{\"a\":\""[..]).chain(io::repeat(b'x'));
        assert!(read(endless).unwrap_err().contains("more than 1 MiB"));
        let mut long = b"{\"a\":\"".to_vec();
        long.resize(100_000, b'x');
        long.extend(b"\"}");
        assert!(read(&long[..]).unwrap()["a"].as_str().unwrap().len() > 90_000);
    }
}
