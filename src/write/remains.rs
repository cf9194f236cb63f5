//! What a power failure leaves of a file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// Bytes that are compared at a time: they stay in the cache.
const CHUNK: usize = 64 << 10;

/// Whether `found` may be what is left of a file with the contents of `whole`, if the power failed
/// before that file was on the disk. It then has the same bytes up to its end, except for bytes
/// that were not written and are zero.
///
/// So a file of another program passes only if it contains nothing else than `whole` does.
///
/// # Errors
/// When one cannot be read.
pub(super) fn is_left_of(found: &File, whole: &File) -> io::Result<bool> {
    let len = found.metadata()?.len();
    if len > whole.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < len {
        let part = (len - at).min(CHUNK as u64) as usize;
        let (left, right) = (&mut left[..part], &mut right[..part]);
        match found.read_exact_at(left, at) {
            // Another program is shortening the file at this moment.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        whole.read_exact_at(right, at)?;
        if left.iter().zip(&*right).any(|(found, whole)| found != whole && *found != 0) {
            return Ok(false);
        }
        at += part as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_is_left_is_told_from_what_somebody_else_wrote() {
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|at| (at % 251) as u8 + 1).collect();
        let whole = file(&bytes);
        let holes = |from: usize, to: usize| {
            let mut bytes = bytes.clone();
            bytes[from..to].fill(0);
            bytes
        };
        let mut changed = bytes.clone();
        changed[2 * CHUNK] ^= 1;
        let longer = [&bytes[..], &[0]].concat();
        for (found, expected) in [
            (&b""[..], true),
            (&bytes[..1], true),
            (&bytes[..CHUNK + 1], true),
            (&bytes, true),
            (&holes(0, CHUNK), true),
            (&holes(512, 1024), true),
            (&holes(2 * CHUNK, 3 * CHUNK)[..3 * CHUNK - 9], true),
            (&vec![0; 3 * CHUNK], true),
            (b"mine", false),
            (&changed, false),
            (&bytes[1..], false),
            (&longer, false),
        ] {
            assert_eq!(is_left_of(&file(found), &whole).unwrap(), expected, "{}", found.len());
        }
    }
}
