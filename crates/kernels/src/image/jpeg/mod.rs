//! JPEG files in and out, by libjpeg-turbo (in mozjpeg's copy).
//!
//! Pure Rust decoders were held against libjpeg-turbo's own `djpeg` with generated files
//! (`scripts/check_files.py jpeg`): zune-jpeg 0.5 was wrong or panicked on half of those whose
//! chroma is subsampled in an unusual way or whose components come in separate scans; jpeg-decoder
//! 0.3 on one in 25; both take a file whose data ends in the middle of a scan for whole.
//! libjpeg-turbo is exact by definition, says when data is missing, decodes as fast as zune-jpeg
//! and encodes in half the time that rusty_jpeg takes. What it costs is C code and, on x86-64, nasm
//! at build time.

mod structure;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use brigade_proto::{Buffer, Notes};
use brigade_sys::libjpeg::{JpegFault, strict_errors};
use image::metadata::Orientation;
use mozjpeg::decompress::DecompressBuilder;
use mozjpeg::qtable::{AnnexK_Chroma, AnnexK_Luma};
use mozjpeg::{ColorSpace, Compress};
use mozjpeg_sys as ffi;

use self::structure::Structure;
use super::format::{ImageFormat, check_size};
use super::pixels::Shape;
use crate::KernelError;

/// A picture as the file has it, before its orientation is applied.
pub(super) struct Picture {
    pub(super) shape: Shape,
    pub(super) bytes: Buffer,
    pub(super) orientation: Orientation,
    pub(super) notes: Notes,
}

/// Decodes baseline and progressive Huffman-coded files of 8 bits: grey, YCbCr, RGB, CMYK and YCCK.
///
/// # Errors
/// [`KernelError::TooLarge`] by the header alone; [`KernelError::Input`] for a file that is
/// damaged, truncated or of another kind. Data that is missing or left over is an error, except for
/// zeros that pad the file.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Picture, KernelError> {
    let structure = Structure::read(bytes)?;
    check_size(structure.width.into(), structure.height.into(), max_pixels)?;
    let file = &bytes[..structure.end];
    let (shape, pixels) = match pixels(file, &structure) {
        Err(DecodeError::Libjpeg(JpegFault(ffi::JWRN_EXTRANEOUS_DATA))) if padding(file) > 0 => {
            let end = file.len() - END_MARK.len();
            pixels(&[&file[..end - padding(file)], &END_MARK].concat(), &structure)
        }
        other => other,
    }?;
    let Structure { orientation, notes, .. } = structure;
    Ok(Picture { shape, bytes: pixels, orientation, notes })
}

const END_MARK: [u8; 2] = [0xff, 0xd9];

/// Zeros right before the end mark. Some cameras pad their files with a few; many are a hole.
fn padding(file: &[u8]) -> usize {
    const MOST: usize = 64;
    let scan = &file[..file.len() - END_MARK.len()];
    let zeros = scan.iter().rev().take_while(|&&byte| byte == 0).count();
    // The last may belong to a stuffed FF.
    let stuffed = scan[..scan.len() - zeros].ends_with(&[0xff]);
    let zeros = zeros.saturating_sub(usize::from(stuffed));
    if zeros <= MOST { zeros } else { 0 }
}

/// Why libjpeg gave no picture.
enum DecodeError {
    Libjpeg(JpegFault),
    Other(KernelError),
}

impl From<KernelError> for DecodeError {
    fn from(error: KernelError) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for DecodeError {
    fn from(_: std::io::Error) -> Self {
        Self::Other(ImageFormat::Jpeg.truncated())
    }
}

impl From<DecodeError> for KernelError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Libjpeg(JpegFault(code)) => told(code),
            DecodeError::Other(error) => error,
        }
    }
}

/// libjpeg's messages in our words. The structure was read before, so few of them can come.
fn told(code: i32) -> KernelError {
    match code {
        ffi::JWRN_HIT_MARKER | ffi::JWRN_JPEG_EOF => {
            KernelError::input("truncated JPEG: its data ends before the picture does")
        }
        ffi::JWRN_EXTRANEOUS_DATA => {
            ImageFormat::Jpeg.damaged("data is left over when the picture is complete")
        }
        ffi::JWRN_HUFF_BAD_CODE => ImageFormat::Jpeg.damaged("it holds a code that is in no table"),
        ffi::JWRN_MUST_RESYNC => {
            ImageFormat::Jpeg.damaged("a restart mark is missing or out of order")
        }
        ffi::JWRN_BOGUS_PROGRESSION | ffi::JERR_BAD_PROGRESSION => {
            ImageFormat::Jpeg.damaged("its scans do not follow one another")
        }
        ffi::JERR_NO_HUFF_TABLE => ImageFormat::Jpeg.damaged("a Huffman table is missing"),
        ffi::JERR_BAD_HUFF_TABLE | ffi::JERR_DHT_INDEX => {
            ImageFormat::Jpeg.damaged("a Huffman table is wrong")
        }
        ffi::JERR_NO_QUANT_TABLE | ffi::JERR_DQT_INDEX => {
            ImageFormat::Jpeg.damaged("a quantisation table is wrong")
        }
        ffi::JERR_BAD_SAMPLING => ImageFormat::Jpeg.damaged("its sampling factors are not 1 to 4"),
        ffi::JERR_BAD_MCU_SIZE => {
            ImageFormat::Jpeg.unsupported("more than 10 blocks in a unit of a scan")
        }
        ffi::JERR_CCIR601_NOTIMPL | ffi::JERR_FRACT_SAMPLE_NOTIMPL => {
            ImageFormat::Jpeg.unsupported("sampling factors that do not divide one another")
        }
        ffi::JERR_CONVERSION_NOTIMPL | ffi::JWRN_ADOBE_XFORM => {
            ImageFormat::Jpeg.unsupported("its colour space")
        }
        ffi::JERR_OUT_OF_MEMORY => KernelError::input("no memory to decode this JPEG"),
        other => ImageFormat::Jpeg.damaged(format_args!("libjpeg's message {other}")),
    }
}

fn pixels(file: &[u8], structure: &Structure) -> Result<(Shape, Buffer), DecodeError> {
    // Nothing of what unwinding leaves half done is used again.
    match catch_unwind(AssertUnwindSafe(|| read(file, structure))) {
        Ok(result) => result,
        Err(payload) => Err(fault(payload.as_ref())),
    }
}

fn fault(payload: &(dyn Any + Send)) -> DecodeError {
    match payload.downcast_ref::<JpegFault>() {
        Some(fault) => DecodeError::Libjpeg(*fault),
        None => DecodeError::Other(ImageFormat::Jpeg.damaged("the decoder gave up on it")),
    }
}

fn read(file: &[u8], structure: &Structure) -> Result<(Shape, Buffer), DecodeError> {
    let file = DecompressBuilder::new().with_err(strict_errors()).from_reader(file)?;
    let from = file.color_space();
    let (mut file, channels) = match from {
        ColorSpace::JCS_GRAYSCALE => (file.grayscale()?, 1),
        ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB => (file.rgb()?, 3),
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => {
            (file.to_colorspace(ColorSpace::JCS_CMYK)?, 3)
        }
        _ => return Err(ImageFormat::Jpeg.unsupported("its colour space").into()),
    };
    let shape = Shape::new(structure.width.into(), structure.height.into(), channels)?;
    if (file.width(), file.height()) != (shape.width, shape.height) {
        return Err(ImageFormat::Jpeg.damaged("its size is told twice").into());
    }
    let len = shape.bytes();
    let mut out = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    if matches!(from, ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
        let mut row = vec![[0_u8; 4]; shape.width];
        for to in out.chunks_exact_mut(shape.row_bytes()) {
            file.read_scanlines_into(&mut row)?;
            for (to, &inks) in to.as_chunks_mut::<3>().0.iter_mut().zip(&row) {
                *to = rgb_of_cmyk(inks, structure.adobe);
            }
        }
    } else {
        file.read_scanlines_into::<u8>(&mut out)?;
    }
    file.finish()?;
    Ok((shape, out))
}

/// What is left of white paper: each ink takes its colour, black takes all three. Adobe's programs
/// store how much light passes instead of how much ink there is.
fn rgb_of_cmyk(inks: [u8; 4], inverted: bool) -> [u8; 3] {
    let [cyan, magenta, yellow, black] =
        inks.map(|ink| u32::from(if inverted { ink } else { 255 - ink }));
    [cyan, magenta, yellow].map(|light| ((light * black + 127) / 255) as u8)
}

/// Below it `set_quality` scales the standard's tables beyond 255, which a baseline file cannot hold.
const BASELINE_QUALITY: u8 = 25;

/// Writes a baseline JPEG with a fourth of the chroma samples (4:2:0), as OpenCV and Pillow do.
/// Alpha is dropped.
pub(super) fn encode(bytes: &[u8], shape: Shape, quality: u8) -> Result<Vec<u8>, KernelError> {
    let write = || {
        let colour = match shape.channels {
            1 => ColorSpace::JCS_GRAYSCALE,
            3 => ColorSpace::JCS_RGB,
            _ => ColorSpace::JCS_EXT_RGBA,
        };
        let mut file = Compress::new(colour);
        // As libjpeg-turbo writes; mozjpeg's own way trades time for size.
        file.set_fastest_defaults();
        file.set_size(shape.width, shape.height);
        file.set_quality(quality.into());
        if quality < BASELINE_QUALITY {
            let quality = quality.into();
            file.set_luma_qtable(&AnnexK_Luma.scaled(quality, quality));
            file.set_chroma_qtable(&AnnexK_Chroma.scaled(quality, quality));
        }
        // About what a photograph needs at quality 95; it grows if that is too little.
        let out = Vec::with_capacity(shape.width * shape.height / 4 + 1024);
        let mut file = file.start_compress(out)?;
        file.write_scanlines(bytes)?;
        file.finish()
    };
    match catch_unwind(AssertUnwindSafe(write)) {
        Ok(Ok(out)) => Ok(out),
        Ok(Err(error)) => Err(KernelError::input(format!("cannot write JPEG: {error}"))),
        Err(_) => Err(KernelError::input("cannot write JPEG: the encoder gave up")),
    }
}
