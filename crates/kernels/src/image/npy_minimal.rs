//! `.npy` arrays of unsigned bytes, version 1 headers: stands in for
//! `crate::npy`, which has this interface and reads every type. Once that is
//! there, `raw` uses it and this file goes.

use crate::KernelError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    U8,
    Other,
}

#[derive(Debug)]
pub(super) struct Array<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) fortran: bool,
    pub(super) data: &'a [u8],
}

pub(super) fn parse(bytes: &[u8]) -> Result<Array<'_>, KernelError> {
    let cut = || KernelError::input("truncated .npy");
    let odd = || KernelError::input("damaged .npy: the header is not understood");
    let length = bytes.get(8..10).ok_or_else(cut)?;
    let start = 10 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    let header = std::str::from_utf8(bytes.get(10..start).ok_or_else(cut)?).map_err(|_| odd())?;
    let (_, list) = header.split_once('(').ok_or_else(odd)?;
    let (list, _) = list.split_once(')').ok_or_else(odd)?;
    let numbers = list
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty());
    let shape: Vec<usize> = numbers
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| odd())?;
    let unsigned_bytes = header.contains("'|u1'") || header.contains("'u1'");
    let dtype = if unsigned_bytes {
        Dtype::U8
    } else {
        Dtype::Other
    };
    let data = &bytes[start..];
    let len = shape
        .iter()
        .try_fold(1, |len: usize, &side| len.checked_mul(side));
    if dtype == Dtype::U8 && len != Some(data.len()) {
        return Err(cut());
    }
    Ok(Array {
        dtype,
        shape,
        fortran: header.contains("'fortran_order': True"),
        data,
    })
}

/// The data after it starts at a multiple of 64.
pub(super) fn header(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    debug_assert_eq!(dtype, Dtype::U8);
    let sides = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({sides}), }}");
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(10 + length - 1, b' ');
    header.push(b'\n');
    header
}
