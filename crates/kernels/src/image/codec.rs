//! Image files in and out. What is read is foreign: its size is checked against
//! its own header before anything is allocated for it.

use brigade_proto::Notes;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::format::ImageFormat;
use super::guard::guarded;
use super::pixels::{Pixels, Shape};
use super::upright::turn;
use super::{jpeg, png, raw, tiff, webp};
use crate::KernelError;

/// An image that was read.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) pixels: Pixels<'a>,
    /// The format of the file.
    pub(crate) format: ImageFormat,
    /// What of the file the pixels do not carry.
    pub(crate) notes: Notes,
}

/// Reads an image of any format. `.npy` data in C order is used where it lies.
pub(crate) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded<'_>, KernelError> {
    let format = ImageFormat::detect(bytes)?;
    let (pixels, notes) = match format {
        ImageFormat::Npy => (raw::read(bytes, max_pixels)?, Notes::default()),
        ImageFormat::Png => guarded(format, || png::read(bytes, max_pixels))?,
        ImageFormat::Jpeg => {
            let picture = jpeg::decode(bytes, max_pixels)?;
            (turn(picture.shape, picture.bytes, picture.orientation)?, picture.notes)
        }
        ImageFormat::WebP => guarded(format, || webp::read(bytes, max_pixels))?,
        ImageFormat::Tiff => tiff::read(bytes, max_pixels)?,
    };
    Ok(Decoded { pixels, format, notes })
}

/// Writes an image. `.npy` does not come here: it is computed in place.
pub(crate) fn encode(
    bytes: &[u8],
    shape: Shape,
    format: ImageFormat,
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
        ImageFormat::Png => {
            let (level, filter) = (CompressionType::Fast, FilterType::Sub);
            PngEncoder::new_with_quality(&mut out, level, filter)
                .write_image(bytes, width, height, color)
                .map_err(failed)?;
        }
        ImageFormat::WebP => WebPEncoder::new_lossless(&mut out)
            .write_image(bytes, width, height, color)
            .map_err(failed)?,
        ImageFormat::Tiff => return tiff::write(bytes, shape),
        ImageFormat::Jpeg => return jpeg::encode(bytes, shape, quality),
        ImageFormat::Npy => out.extend_from_slice(bytes),
    }
    Ok(out)
}
