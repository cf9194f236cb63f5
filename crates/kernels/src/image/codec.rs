//! Image files in and out. What is read is foreign: its size is checked against
//! its own header before anything is allocated for it.

use std::fmt;
use std::io::Cursor;

use brigade_proto::Buffer;
use image::codecs::{png, tiff, webp};
use image::metadata::Orientation;
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, Limits};

use super::pixels::{Pixels, Shape};
use super::raw;
use super::{complete, jpeg};
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

/// Reads an image of any format. `.npy` data in C order is used where it lies.
pub(crate) fn decode(bytes: &[u8], max_pixels: u64) -> Result<(Pixels<'_>, Format), KernelError> {
    let format = Format::detect(bytes)?;
    let cursor = Cursor::new(bytes);
    let failed = |error: ImageError| read_error(format, bytes, &error);
    let pixels = match format {
        Format::Npy => raw::read(bytes, max_pixels)?,
        Format::Png => {
            // Before the decoder allocates its rows.
            if let Some((width, height)) = complete::png_size(bytes) {
                check_size(width.into(), height.into(), max_pixels)?;
            }
            let limits = memory_limits(max_pixels);
            let decoder = png::PngDecoder::with_limits(cursor, limits).map_err(failed)?;
            read(decoder, format, bytes, max_pixels)?
        }
        Format::Jpeg => {
            let picture = jpeg::decode(bytes, max_pixels)?;
            turn(picture.shape, picture.bytes, picture.orientation)?
        }
        Format::WebP => {
            let decoder = webp::WebPDecoder::new(cursor).map_err(failed)?;
            read(decoder, format, bytes, max_pixels)?
        }
        Format::Tiff => {
            let decoder = tiff::TiffDecoder::new(cursor).map_err(failed)?;
            read(decoder, format, bytes, max_pixels)?
        }
    };
    Ok((pixels, format))
}

/// What a decoder may allocate: the widest pixels that there are (4 floats),
/// twice, and room for metadata.
fn memory_limits(pixels: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(pixels.saturating_mul(32).saturating_add(64 << 20));
    limits
}

fn read<'a>(
    mut decoder: impl ImageDecoder,
    format: Format,
    bytes: &[u8],
    max_pixels: u64,
) -> Result<Pixels<'a>, KernelError> {
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), max_pixels)?;
    if !complete::is_complete(format, bytes) {
        return Err(KernelError::input(format!("truncated {format}")));
    }
    let failed = |error: ImageError| read_error(format, bytes, &error);
    let limits = memory_limits(u64::from(width) * u64::from(height));
    decoder.set_limits(limits).map_err(failed)?;
    // A wrong EXIF block is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let color = decoder.color_type();
    let channels = if color.has_alpha() { 4 } else { usize::from(color.channel_count()) };
    let shape = Shape::new(width as usize, height as usize, channels)?;

    let len = decoder.total_bytes();
    let no_memory = KernelError::Memory { bytes: len };
    let mut buffer = usize::try_from(len).ok().and_then(Buffer::try_zeroed).ok_or(no_memory)?;
    decoder.read_image(&mut buffer).map_err(failed)?;
    turn(shape, to_8_bits(buffer, color, shape)?, orientation)
}

fn turn<'a>(
    shape: Shape,
    bytes: Buffer,
    orientation: Orientation,
) -> Result<Pixels<'a>, KernelError> {
    if orientation == Orientation::NoTransforms {
        return Ok(Pixels::owned(shape, bytes));
    }
    upright(&bytes, shape, orientation)
}

/// One line that says what is wrong with the file.
fn read_error(format: Format, bytes: &[u8], error: &ImageError) -> KernelError {
    let ended = matches!(error, ImageError::IoError(e)
        if e.kind() == std::io::ErrorKind::UnexpectedEof);
    if ended || !complete::is_complete(format, bytes) {
        return KernelError::input(format!("truncated {format}"));
    }
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    if text.contains("unexpected end of file") || text.contains("failed to fill whole buffer") {
        return KernelError::input(format!("truncated {format}"));
    }
    match error {
        ImageError::Unsupported(_) => KernelError::input(format!("unsupported {format}: {text}")),
        _ => KernelError::input(format!("damaged {format}: {text}")),
    }
}

/// Deeper samples are scaled to 8 bits: 16 bits by 1/257, floats from 0..=1,
/// both rounded. Grey with alpha becomes RGB with alpha.
fn to_8_bits(buffer: Buffer, color: ColorType, shape: Shape) -> Result<Buffer, KernelError> {
    let len = shape.bytes();
    if buffer.len() == len && matches!(color, ColorType::L8 | ColorType::Rgb8 | ColorType::Rgba8) {
        return Ok(buffer);
    }
    let deep = |at: usize, width: usize| &buffer[at * width..][..width];
    let sample: &dyn Fn(usize) -> u8 = match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => &|at| buffer[at],
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => &|at| {
            let value = deep(at, 2).try_into().map_or(0, u16::from_ne_bytes);
            ((u32::from(value) + 128) / 257) as u8
        },
        ColorType::Rgb32F | ColorType::Rgba32F => &|at| {
            let value = deep(at, 4).try_into().map_or(0.0, f32::from_ne_bytes);
            (value * 255.0 + 0.5) as u8
        },
        other => {
            return Err(KernelError::input(format!("unsupported pixel type {other:?}")));
        }
    };
    let mut out = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    if color.channel_count() == 2 {
        for (i, pixel) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let grey = sample(2 * i);
            *pixel = [grey, grey, grey, sample(2 * i + 1)];
        }
    } else {
        for (i, to) in out.iter_mut().enumerate() {
            *to = sample(i);
        }
    }
    Ok(out)
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
            let (level, filter) = (png::CompressionType::Fast, png::FilterType::Sub);
            png::PngEncoder::new_with_quality(&mut out, level, filter)
                .write_image(bytes, width, height, color)
                .map_err(failed)?;
        }
        Format::WebP => webp::WebPEncoder::new_lossless(&mut out)
            .write_image(bytes, width, height, color)
            .map_err(failed)?,
        Format::Tiff => tiff::TiffEncoder::new(Cursor::new(&mut out))
            .write_image(bytes, width, height, color)
            .map_err(failed)?,
        Format::Jpeg => return jpeg::encode(bytes, shape, quality),
        Format::Npy => out.extend_from_slice(bytes),
    }
    Ok(out)
}
