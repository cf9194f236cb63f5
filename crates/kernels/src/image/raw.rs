//! Raw images: `.npy` arrays of unsigned bytes, `(H, W)`, `(H, W, 3)` or
//! `(H, W, 4)`. The cheapest way to hand an image over: nothing to decode.

use brigade_proto::Buffer;

use super::format::check_size;
use super::pixels::{Pixels, Shape};
use crate::KernelError;
use crate::npy::{self, Dtype};

pub(super) fn read(bytes: &[u8], max_pixels: u64) -> Result<Pixels<'_>, KernelError> {
    let array = npy::parse(bytes)?;
    let (height, width, channels) = match array.shape[..] {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3 | 4)] => (height, width, channels),
        _ => {
            return Err(KernelError::input(format!(
                "not an image: an array of shape {:?}; (H, W), (H, W, 3) and (H, W, 4) are read",
                array.shape
            )));
        }
    };
    if array.dtype != Dtype::U8 {
        return Err(KernelError::input(format!(
            "not an image: an array of type {}; unsigned bytes (uint8) are read",
            array.dtype
        )));
    }
    check_size(width as u64, height as u64, max_pixels)?;
    let shape = Shape::new(width, height, channels)?;
    if !array.fortran {
        return Ok(Pixels::borrowed(shape, array.data));
    }
    let len = shape.bytes();
    let mut out = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    for (y, row) in out.chunks_exact_mut(shape.row_bytes()).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            for (c, to) in pixel.iter_mut().enumerate() {
                *to = array.data[(c * width + x) * height + y];
            }
        }
    }
    Ok(Pixels::owned(shape, out))
}

pub(super) fn header(shape: Shape) -> Vec<u8> {
    let Shape { width, height, channels } = shape;
    if channels == 1 {
        npy::header(Dtype::U8, &[height, width])
    } else {
        npy::header(Dtype::U8, &[height, width, channels])
    }
}
