//! NumPy's `.npy` format, versions 1 to 3, of booleans, integers and floats in either order of
//! bytes: read in place where they can be, written so that the data starts at a multiple of 64.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! The reader is our own: the header is one line of Python literals, and the crate
//! that reads it (npyz) brings a parser generator and big integers along, and
//! copies the data element by element.

mod dtype;
mod elements;
mod literals;
#[cfg(test)]
mod tests;

use brigade_proto::count;

use crate::KernelError;

pub(crate) use dtype::Dtype;
pub(crate) use elements::{Float, Word};
use literals::Header;

/// An array in the bytes of its file.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub(crate) dtype: Dtype,
    /// Whether the bytes of an element are in the other order than this machine's.
    pub(crate) is_big_endian: bool,
    pub(crate) shape: Vec<usize>,
    /// The first index runs fastest.
    pub(crate) fortran: bool,
    /// Exactly the elements.
    pub(crate) data: &'a [u8],
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an array. Nothing is allocated by what a header claims.
pub(crate) fn parse(bytes: &[u8]) -> Result<Array<'_>, KernelError> {
    let truncated = || KernelError::input("truncated .npy file");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| not_npy(bytes))?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(truncated)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => {
            return Err(KernelError::input(format!(
                ".npy format version {other} is not known; 1 to 3 are read"
            )));
        }
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(truncated)?;
    // Only the names of a record's fields are not ASCII.
    let header = String::from_utf8_lossy(header);
    let Header { dtype, is_big_endian, shape, fortran } = Header::parse(&header)?;
    let len = shape
        .iter()
        .try_fold(dtype.size(), |len, &side| len.checked_mul(side))
        .ok_or_else(|| KernelError::input(format!(".npy array of impossible shape {shape:?}")))?;
    if data.len() < len {
        return Err(KernelError::input(format!(
            "truncated .npy file: shape {shape:?} needs {len} bytes, {} are there",
            data.len()
        )));
    }
    if data.len() > len {
        return Err(KernelError::input(format!(
            ".npy file with {} behind its array of shape {shape:?}",
            count(data.len() - len, "byte")
        )));
    }
    Ok(Array { dtype, is_big_endian, shape, fortran, data })
}

fn not_npy(bytes: &[u8]) -> KernelError {
    KernelError::input(match bytes {
        [] => "empty file, not a .npy array",
        [b'P', b'K', ..] => {
            "not a .npy file but a .npz archive of several; take them out (unzip) and give one"
        }
        [0x80, ..] => "not a .npy file but a pickle of Python",
        _ if MAGIC.starts_with(bytes) => "truncated .npy file",
        _ => "not a .npy file: it does not begin with \\x93NUMPY",
    })
}

/// A version 1 header for an array in C order, padded so that the data behind it
/// starts at a multiple of 64.
pub(crate) fn header(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let sides = if shape.len() == 1 { sides.trim_end() } else { sides.trim_end_matches(", ") };
    let code = dtype.code();
    let text = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({sides}), }}");
    let prefix = MAGIC.len() + 4;
    // One for the newline at the end.
    let length = (prefix + text.len() + 1).next_multiple_of(64) - prefix;
    let mut header = Vec::with_capacity(prefix + length);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&(length as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header.resize(prefix + length - 1, b' ');
    header.push(b'\n');
    header
}
