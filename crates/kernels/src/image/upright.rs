//! Pictures turned as their files say.

use brigade_proto::Buffer;
use image::metadata::Orientation;

use super::pixels::{Pixels, Shape};
use crate::KernelError;

/// The picture as its orientation says.
pub(super) fn turn<'a>(
    shape: Shape,
    bytes: Buffer,
    orientation: Orientation,
) -> Result<Pixels<'a>, KernelError> {
    if orientation == Orientation::NoTransforms {
        return Ok(Pixels::owned(shape, bytes));
    }
    upright(&bytes, shape, orientation)
}

/// Turns the image as its EXIF orientation says.
fn upright<'a>(
    bytes: &[u8],
    shape: Shape,
    orientation: Orientation,
) -> Result<Pixels<'a>, KernelError> {
    use Orientation::*;
    let Shape { width, height, channels } = shape;
    let across = matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
    let turned = if across { Shape::new(height, width, channels)? } else { shape };
    let mut out = Buffer::try_zeroed(shape.bytes())
        .ok_or(KernelError::Memory { bytes: shape.bytes() as u64 })?;
    for (y, row) in out.chunks_exact_mut(turned.row_bytes()).enumerate() {
        for (x, to) in row.chunks_exact_mut(channels).enumerate() {
            let (from_x, from_y) = match orientation {
                NoTransforms => (x, y),
                FlipHorizontal => (width - 1 - x, y),
                Rotate180 => (width - 1 - x, height - 1 - y),
                FlipVertical => (x, height - 1 - y),
                Rotate90FlipH => (y, x),
                Rotate90 => (y, height - 1 - x),
                Rotate270FlipH => (width - 1 - y, height - 1 - x),
                Rotate270 => (width - 1 - y, x),
            };
            to.copy_from_slice(&bytes[(from_y * width + from_x) * channels..][..channels]);
        }
    }
    Ok(Pixels::owned(turned, out))
}
