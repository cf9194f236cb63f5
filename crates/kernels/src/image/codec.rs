//! Image files in and out. What is read is foreign: its size is checked against
//! its own header before anything is allocated for it.

use std::fmt;

use brigade_proto::{Buffer, Notes};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::guard::guarded;
use super::pixels::{Pixels, Shape};
use super::{jpeg, png, raw, tiff, webp};
use crate::KernelError;

/// A file format for images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Jpeg,
    WebP,
    Tiff,
    Npy,
}

impl Format {
    /// What the first bytes say.
    pub(crate) fn detect(bytes: &[u8]) -> Result<Self, KernelError> {
        match bytes {
            [] => Err(KernelError::input("not an image: the file is empty")),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok(Self::Npy),
            _ => Err(KernelError::input(format!(
                "not an image: starts with {:02x?}; PNG, JPEG, WebP, TIFF and .npy are read",
                &bytes[..bytes.len().min(4)]
            ))),
        }
    }

    /// By the value of the parameter `format`; `None` for `same`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "png" => Self::Png,
            "jpeg" => Self::Jpeg,
            "webp" => Self::WebP,
            "tiff" => Self::Tiff,
            "npy" => Self::Npy,
            _ => return None,
        })
    }

    /// Longest side that the format can express.
    fn max_side(self) -> u32 {
        match self {
            Self::Jpeg => 65_535,
            Self::WebP => 16_384,
            Self::Png => i32::MAX as u32,
            Self::Tiff | Self::Npy => u32::MAX,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Tiff => "TIFF",
            Self::Npy => ".npy",
        })
    }
}

/// Refuses an image by what its header claims.
pub(super) fn check_size(width: u64, height: u64, max_pixels: u64) -> Result<(), KernelError> {
    let pixels = u128::from(width) * u128::from(height);
    if pixels > u128::from(max_pixels) {
        return Err(KernelError::TooLarge {
            what: "the image",
            size: format!("{width}x{height} = {pixels} pixels"),
            limit: format!("{max_pixels}"),
            flag: "--max-pixels",
        });
    }
    Ok(())
}

/// An image that was read.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) pixels: Pixels<'a>,
    /// The format of the file.
    pub(crate) format: Format,
    /// What of the file the pixels do not carry.
    pub(crate) notes: Notes,
}

/// Reads an image of any format. `.npy` data in C order is used where it lies.
pub(crate) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded<'_>, KernelError> {
    let format = Format::detect(bytes)?;
    let (pixels, notes) = match format {
        Format::Npy => (raw::read(bytes, max_pixels)?, Notes::default()),
        Format::Png => guarded(format, || png::read(bytes, max_pixels))?,
        Format::Jpeg => {
            let picture = jpeg::decode(bytes, max_pixels)?;
            (turn(picture.shape, picture.bytes, picture.orientation)?, picture.notes)
        }
        Format::WebP => guarded(format, || webp::read(bytes, max_pixels))?,
        Format::Tiff => tiff::read(bytes, max_pixels)?,
    };
    Ok(Decoded { pixels, format, notes })
}

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

/// Writes an image. `.npy` does not come here: it is computed in place.
pub(crate) fn encode(
    bytes: &[u8],
    shape: Shape,
    format: Format,
    quality: u8,
) -> Result<Vec<u8>, KernelError> {
    let (width, height) = (shape.width as u32, shape.height as u32);
    let side = width.max(height);
    if side > format.max_side() {
        return Err(KernelError::input(format!(
            "{width}x{height} pixels do not fit a {format}, whose sides are at most {}; \
             choose another format",
            format.max_side()
        )));
    }
    let color = match shape.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let mut out = Vec::new();
    let failed = |error: ImageError| KernelError::input(format!("cannot write {format}: {error}"));
    match format {
        Format::Png => {
            let (level, filter) = (CompressionType::Fast, FilterType::Sub);
            PngEncoder::new_with_quality(&mut out, level, filter)
                .write_image(bytes, width, height, color)
                .map_err(failed)?;
        }
        Format::WebP => WebPEncoder::new_lossless(&mut out)
            .write_image(bytes, width, height, color)
            .map_err(failed)?,
        Format::Tiff => return tiff::write(bytes, shape),
        Format::Jpeg => return jpeg::encode(bytes, shape, quality),
        Format::Npy => out.extend_from_slice(bytes),
    }
    Ok(out)
}
