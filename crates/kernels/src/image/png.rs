//! PNG files in (W3C, "Portable Network Graphics Specification, third edition").
//!
//! Their chunks are looked through first: whether all are there and whole, what lies beside the
//! picture, and whether there is enough data for as many pixels as the header claims. So the
//! decoder need not unpack profiles and texts, of which a small file can hold gigabytes.

use std::io::{Cursor, ErrorKind};

use brigade_proto::{Buffer, Note, Notes};
use image::metadata::Orientation;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use super::exif;
use super::format::{ImageFormat, check_size};
use super::pixels::{Pixels, Shape};
use super::upright::turn;
use crate::KernelError;

/// Bytes that a byte of Deflate data stands for at most, about: 258 in 2 bits.
const MOST_DEFLATED: u64 = 1040;

/// What a decoder may allocate beside a few rows.
const ROOM: usize = 16 << 20;

/// What the chunks of a file say.
struct PngChunks {
    width: u32,
    height: u32,
    /// Bits of a pixel.
    depth: u64,
    /// Bytes of compressed pixels.
    data: u64,
    orientation: Orientation,
    notes: Notes,
}

impl PngChunks {
    fn read(bytes: &[u8], max_pixels: u64) -> Result<Self, KernelError> {
        let mut found: Option<Self> = None;
        let mut rest = bytes.get(8..).unwrap_or_default();
        loop {
            let Some((head, body)) = rest.split_first_chunk::<8>() else {
                return Err(ImageFormat::Png.truncated());
            };
            let (length, kind) = head.split_at(4);
            let length = big_endian(length) as usize;
            if found.is_none() {
                // Before it is known whether the rest is there.
                if kind != b"IHDR" {
                    return Err(ImageFormat::Png.damaged("it does not begin with IHDR"));
                }
                found = Some(Self::header(body, max_pixels)?);
            }
            let whole = body.split_at_checked(length);
            let (data, next) = whole.ok_or_else(|| ImageFormat::Png.truncated())?;
            let (checksum, next) =
                next.split_at_checked(4).ok_or_else(|| ImageFormat::Png.truncated())?;
            let mut crc = flate2::Crc::new();
            crc.update(kind);
            crc.update(data);
            let name = || kind.escape_ascii();
            if crc.sum() != big_endian(checksum) {
                return Err(ImageFormat::Png
                    .damaged(format_args!("the checksum of its chunk {} is wrong", name())));
            }
            let Some(chunks) = &mut found else { return Err(ImageFormat::Png.truncated()) };
            match kind {
                b"IEND" => break,
                b"IHDR" | b"PLTE" => {}
                b"IDAT" => chunks.data += data.len() as u64,
                b"iCCP" | b"cICP" => chunks.notes.add(Note::IccDropped),
                b"tEXt" | b"zTXt" | b"iTXt" => chunks.notes.add(Note::MetadataDropped),
                b"fdAT" => chunks.notes.add(Note::MoreFrames),
                b"eXIf" => {
                    let exif = exif::read(data);
                    chunks.orientation = exif.orientation;
                    if exif.more {
                        chunks.notes.add(Note::MetadataDropped);
                    }
                }
                // A capital letter: who does not know it cannot read the picture.
                [b'A'..=b'Z', ..] => {
                    return Err(ImageFormat::Png.unsupported(format_args!("the chunk {}", name())));
                }
                _ => {}
            }
            rest = next;
        }
        let chunks = found.ok_or_else(|| ImageFormat::Png.truncated())?;
        let pixels = u128::from(chunks.width) * u128::from(chunks.height);
        if pixels * u128::from(chunks.depth) / 8 > u128::from(chunks.data * MOST_DEFLATED) {
            return Err(ImageFormat::Png.damaged("it has too little data for its size"));
        }
        Ok(chunks)
    }

    fn header(body: &[u8], max_pixels: u64) -> Result<Self, KernelError> {
        let Some(&[ref size @ .., depth, color]) = body.first_chunk::<10>() else {
            return Err(ImageFormat::Png.truncated());
        };
        let (width, height) = size.split_at(4);
        let (width, height) = (big_endian(width), big_endian(height));
        check_size(width.into(), height.into(), max_pixels)?;
        let samples = match color {
            0 | 3 => 1,
            4 => 2,
            2 => 3,
            6 => 4,
            _ => return Err(ImageFormat::Png.damaged("there is no such colour type")),
        };
        if depth > 8 && color == 3 {
            return Err(ImageFormat::Png.damaged("there is no such depth of palette colours"));
        }
        let mut notes = Notes::default();
        if depth > 8 {
            notes.add(Note::DepthReduced);
        }
        let (depth, orientation) = (samples * u64::from(depth), Orientation::NoTransforms);
        Ok(Self { width, height, depth, data: 0, orientation, notes })
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |&bytes| u32::from_be_bytes(bytes))
}

/// Reads the picture; of an animation, the one that readers without animation show.
pub(super) fn read(bytes: &[u8], max_pixels: u64) -> Result<(Pixels<'static>, Notes), KernelError> {
    let chunks = PngChunks::read(bytes, max_pixels)?;
    let (width, height) = (chunks.width as usize, chunks.height as usize);
    // A few rows of at most 8 bytes a pixel, and chunks as they are.
    let limit = width.saturating_mul(64).saturating_add(bytes.len()).saturating_add(ROOM);
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: limit });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // They were compared above.
    decoder.ignore_checksums(true);
    // Palettes become colours, and samples of fewer bits 8.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| failed(&error))?;
    let (color, depth) = reader.output_color_type();
    let (samples, channels) = match color {
        ColorType::Grayscale => (1, 1),
        ColorType::GrayscaleAlpha => (2, 4),
        ColorType::Rgb => (3, 3),
        ColorType::Rgba => (4, 4),
        ColorType::Indexed => return Err(ImageFormat::Png.damaged("its palette is missing")),
    };
    let shape = Shape::new(width, height, channels)?;
    let sample_bytes = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let len = width * height * samples * sample_bytes;
    let new = |len: usize| Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 });
    let mut buffer = new(len)?;
    let frame = reader.next_frame(&mut buffer).map_err(|error| failed(&error))?;
    if (frame.width, frame.height) != (chunks.width, chunks.height) {
        return Err(ImageFormat::Png.damaged("its first frame is not as large as its header says"));
    }

    let pixels = if samples == channels && sample_bytes == 1 {
        buffer
    } else {
        let sample = |at: usize| match buffer.get(at * sample_bytes..) {
            Some([high, low, ..]) if sample_bytes == 2 => {
                ((u32::from(u16::from_be_bytes([*high, *low])) + 128) / 257) as u8
            }
            Some([value, ..]) => *value,
            _ => 0,
        };
        let mut out = new(shape.bytes())?;
        if samples == 2 {
            for (i, pixel) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let grey = sample(2 * i);
                *pixel = [grey, grey, grey, sample(2 * i + 1)];
            }
        } else {
            out.iter_mut().enumerate().for_each(|(i, to)| *to = sample(i));
        }
        out
    };
    Ok((turn(shape, pixels, chunks.orientation)?, chunks.notes))
}

fn failed(error: &DecodingError) -> KernelError {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageFormat::Png.truncated()
        }
        DecodingError::LimitsExceeded => KernelError::Memory { bytes: ROOM as u64 },
        error => ImageFormat::Png.damaged(error),
    }
}
