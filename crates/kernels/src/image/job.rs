//! What all image kernels have in common: parameters, reading, writing.

use brigade_proto::{Buffer, Note};

use super::codec;
use super::format::ImageFormat;
use super::pixels::{Pixels, Shape, alpha_is_seen};
use super::{pattern, raw};
use crate::{Context, Family, Inputs, KernelError, OutputFormat, ParamSpec, Progress, Size, Spec};

pub(crate) const DEFAULT_SIZE: &str = "1920x1080";

const INPUT: &str = "an image: PNG, JPEG, WebP, TIFF, or .npy of uint8, (H, W), (H, W, 3) or \
                     (H, W, 4); 16-bit and float samples are scaled to 8 bits, EXIF orientation \
                     is applied";

/// A kernel that reads an image and writes something else.
pub(crate) fn reader(name: &'static str, summary: &'static str) -> Spec {
    Spec::new(name, summary)
        .family(Family::Image)
        .inputs(Inputs::exactly(1, INPUT))
        .default_size(DEFAULT_SIZE)
        .param(
            ParamSpec::int("max_pixels", 1..=1 << 40, "Larger images are refused, in pixels")
                .default(200_000_000_i64)
                .bounds_memory(),
        )
}

/// A kernel that reads an image and writes an image. `own` are its own parameters;
/// they come first in the help.
pub(crate) fn filter(
    name: &'static str,
    summary: &'static str,
    own: impl IntoIterator<Item = ParamSpec>,
) -> Spec {
    let mut spec = reader(name, summary);
    let common = std::mem::take(&mut spec.params);
    spec.params(own)
        .param(
            ParamSpec::choice(
                "format",
                &["same", "png", "jpeg", "webp", "tiff", "npy"],
                "Format of the output; WebP is lossless, JPEG drops alpha",
            )
            .default("same"),
        )
        .param(ParamSpec::int("quality", 1..=100, "Quality of a JPEG, 4:2:0").default(95_i64))
        .params(common)
        .output(OutputFormat::LikeInput, "an image of 8 bits a channel, without metadata")
}

/// Reads input 0, and remarks what of it is not read.
pub(crate) fn load<'a>(job: &Context<'a>) -> Result<(Pixels<'a>, ImageFormat), KernelError> {
    let decoded = codec::decode(job.input(0)?, job.int("max_pixels").unsigned_abs())?;
    for note in decoded.notes.iter() {
        job.note(note);
    }
    Ok((decoded.pixels, decoded.format))
}

/// Remarks that a result of one channel has no alpha, where that of the input says something.
pub(crate) fn drop_alpha(job: &Context<'_>, pixels: &Pixels<'_>) {
    if alpha_is_seen(pixels.bytes(), pixels.shape) {
        job.note(Note::AlphaDropped);
    }
}

/// [`load`] for a kernel whose result is not an image, so that nothing is lost with the colour
/// profile and other data beside the pixels.
pub(crate) fn load_values<'a>(job: &Context<'a>) -> Result<Pixels<'a>, KernelError> {
    let decoded = codec::decode(job.input(0)?, job.int("max_pixels").unsigned_abs())?;
    let beside = [Note::IccDropped, Note::MetadataDropped];
    for note in decoded.notes.iter().filter(|note| !beside.contains(note)) {
        job.note(note);
    }
    Ok(decoded.pixels)
}

/// Writes an image of `shape` that `fill` computes, each byte of it. A raw image is computed where
/// the output lies, over whatever was there before.
pub(crate) fn store(
    job: &mut Context<'_>,
    shape: Shape,
    input: ImageFormat,
    fill: impl FnOnce(&mut [u8]) -> Result<(), KernelError>,
) -> Result<Progress, KernelError> {
    let format = ImageFormat::named(job.choice("format")).unwrap_or(input);
    if format == ImageFormat::Npy {
        let header = raw::header(shape);
        let output = job.output_for_overwrite(header.len() + shape.bytes())?;
        let (head, body) = output.split_at_mut(header.len());
        head.copy_from_slice(&header);
        fill(body)?;
    } else {
        let quality = job.int("quality") as u8;
        let len = shape.bytes();
        let mut buffer =
            Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
        fill(&mut buffer)?;
        if format == ImageFormat::Jpeg && alpha_is_seen(&buffer, shape) {
            job.note(Note::AlphaDropped);
        }
        job.put(&codec::encode(&buffer, shape, format, quality)?)?;
    }
    Ok(Progress::Done)
}

/// The synthetic input of every image kernel. A plain number is the side of a
/// square; bytes are those of a square of about that many.
pub(crate) fn synthesize(size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
    let (width, height) = match size {
        Size::Area { width, height } => (width as usize, height as usize),
        Size::Count(side) => (side as usize, side as usize),
        Size::Bytes(bytes) => {
            let side = ((bytes / 3).isqrt() as usize).max(1);
            (side, side)
        }
    };
    let shape = Shape::new(width, height, 3)?;
    let header = raw::header(shape);
    let len = header.len() + shape.bytes();
    let mut buffer = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    let (head, body) = buffer.split_at_mut(header.len());
    head.copy_from_slice(&header);
    pattern::paint(body, shape, seed);
    Ok(vec![buffer])
}
