//! WebP files in (RFC 9649).
//!
//! Their chunks are looked through first: the decoder takes lengths and sizes at their word, and
//! allocates for a chunk or a frame what it claims.

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

use brigade_proto::{Buffer, Note, Notes};
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError};

use super::exif;
use super::format::{ImageFormat, check_size};
use super::pixels::{Pixels, Shape};
use super::upright::turn;
use crate::KernelError;

/// Flags of an extended header.
const ICC: u8 = 0x20;
const ALPHA: u8 = 0x10;
const EXIF: u8 = 0x08;
const XMP: u8 = 0x04;
const ANIMATION: u8 = 0x02;

/// Where the flags of an extended header are in the file.
const FLAGS_AT: usize = 20;

struct Chunk<'a> {
    name: &'a [u8],
    data: &'a [u8],
    /// What follows it.
    next: &'a [u8],
}

/// The chunk that begins there; `None` at the end.
fn chunk(rest: &[u8]) -> Result<Option<Chunk<'_>>, KernelError> {
    let Some((head, body)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let (name, length) = head.split_at(4);
    let length = little_endian(length) as usize;
    let (data, next) = body.split_at_checked(length).ok_or_else(|| {
        ImageFormat::WebP
            .damaged(format_args!("its chunk {} is longer than the file", name.escape_ascii()))
    })?;
    // Chunks have an even length; the last one is left as it is at times.
    let next = next.get(length % 2..).unwrap_or_default();
    Ok(Some(Chunk { name: &rest[..4], data, next }))
}

/// At most 4 bytes.
fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

/// Size of the picture in a chunk of pixels, and whether it may have alpha.
fn frame(name: &[u8], data: &[u8]) -> Option<(u32, u32, bool)> {
    match (name, data) {
        (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, a, b, c, d, ..]) => {
            let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some((side(*a, *b), side(*c, *d), false))
        }
        (b"VP8L", [0x2f, header @ ..]) => {
            let bits = little_endian(header.get(..4)?);
            Some((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff), bits >> 28 & 1 == 1))
        }
        _ => None,
    }
}

/// What the chunks of a file say.
struct WebPChunks {
    width: u32,
    height: u32,
    /// Flags of the extended header, as the chunks are, not as it says.
    flags: Option<u8>,
    orientation: Orientation,
    notes: Notes,
}

impl WebPChunks {
    fn read(bytes: &[u8], max_pixels: u64) -> Result<Self, KernelError> {
        let mut rest = bytes.get(12..).unwrap_or_default();
        let Some(Chunk { name, data, next }) = chunk(rest)? else {
            return Err(ImageFormat::WebP.truncated());
        };
        let mut chunks = Self {
            width: 0,
            height: 0,
            flags: None,
            orientation: Orientation::NoTransforms,
            notes: Notes::default(),
        };
        if name != b"VP8X" {
            let Some((width, height, _)) = frame(name, data) else {
                return Err(ImageFormat::WebP.damaged("it does not begin with a picture"));
            };
            (chunks.width, chunks.height) = (width, height);
            check_size(width.into(), height.into(), max_pixels)?;
            return Ok(chunks);
        }
        let &[flags, _, _, _, ref size @ ..] = data else {
            return Err(ImageFormat::WebP.damaged("its header"));
        };
        let [side_0, side_1] = size.as_chunks::<3>().0 else {
            return Err(ImageFormat::WebP.damaged("its header"));
        };
        (chunks.width, chunks.height) = (little_endian(side_0) + 1, little_endian(side_1) + 1);
        check_size(chunks.width.into(), chunks.height.into(), max_pixels)?;
        let animated = flags & ANIMATION != 0;
        let mut flags = flags & !(ICC | EXIF | XMP) & if animated { 0xff } else { !ALPHA };
        let mut pictures = 0;
        rest = next;
        while let Some(Chunk { name, data, next }) = chunk(rest)? {
            match name {
                b"ANMF" => {
                    pictures += 1;
                    if pictures == 1 {
                        chunks.first_frame(data)?;
                    }
                }
                b"ALPH" => flags |= ALPHA,
                b"VP8 " | b"VP8L" if !animated => {
                    let (width, height, alpha) = frame(name, data)
                        .ok_or_else(|| ImageFormat::WebP.damaged("its picture has no header"))?;
                    if (width, height) != (chunks.width, chunks.height) {
                        return Err(ImageFormat::WebP
                            .damaged("its picture is not as large as its header says"));
                    }
                    flags |= if alpha { ALPHA } else { 0 };
                    pictures += 1;
                }
                b"ICCP" => {
                    flags |= ICC;
                    chunks.notes.add(Note::IccDropped);
                }
                b"XMP " => {
                    flags |= XMP;
                    chunks.notes.add(Note::MetadataDropped);
                }
                b"EXIF" => {
                    flags |= EXIF;
                    let exif = exif::read(data);
                    chunks.orientation = exif.orientation;
                    if exif.more {
                        chunks.notes.add(Note::MetadataDropped);
                    }
                }
                _ => {}
            }
            rest = next;
        }
        match (pictures, animated) {
            (0, _) => return Err(ImageFormat::WebP.damaged("it has no picture")),
            (1, _) => {}
            (_, true) => chunks.notes.add(Note::MoreFrames),
            (_, false) => return Err(ImageFormat::WebP.damaged("it has two pictures")),
        }
        chunks.flags = Some(flags);
        Ok(chunks)
    }

    /// Whether the pictures in a frame are as large as it says.
    fn first_frame(&self, data: &[u8]) -> Result<(), KernelError> {
        let Some((head, mut rest)) = data.split_first_chunk::<16>() else {
            return Err(ImageFormat::WebP.damaged("its first frame"));
        };
        let (numbers, _) = head.as_chunks::<3>();
        let [x, y, width, height] =
            [0, 1, 2, 3].map(|place| numbers.get(place).map_or(0, |bytes| little_endian(bytes)));
        let (width, height) = (width + 1, height + 1);
        if x * 2 + width > self.width || y * 2 + height > self.height {
            return Err(ImageFormat::WebP.damaged("its first frame is outside the picture"));
        }
        while let Some(Chunk { name, data, next }) = chunk(rest)? {
            if matches!(name, b"VP8 " | b"VP8L") {
                let size = frame(name, data).map(|(width, height, _)| (width, height));
                if size != Some((width, height)) {
                    return Err(
                        ImageFormat::WebP.damaged("its first frame is not as large as it says")
                    );
                }
            }
            rest = next;
        }
        Ok(())
    }
}

/// Reads the picture, or the first one of an animation.
pub(super) fn read(bytes: &[u8], max_pixels: u64) -> Result<(Pixels<'static>, Notes), KernelError> {
    // The container says how long it is; what follows is not its own.
    let length = bytes.get(4..8).map_or(0, little_endian) as usize;
    let end = length.checked_add(8).ok_or_else(|| ImageFormat::WebP.truncated())?;
    let bytes = bytes.get(..end).ok_or_else(|| ImageFormat::WebP.truncated())?;
    let chunks = WebPChunks::read(bytes, max_pixels)?;
    // The decoder believes flags of chunks that were stripped, and leaves out alpha without one.
    let bytes = match chunks.flags {
        Some(flags) if bytes[FLAGS_AT] != flags => {
            let mut own = bytes.to_vec();
            own[FLAGS_AT] = flags;
            Cow::Owned(own)
        }
        _ => Cow::Borrowed(bytes),
    };
    let decoder = WebPDecoder::new(Cursor::new(&bytes[..])).map_err(failed)?;
    let channels = if decoder.color_type().has_alpha() { 4 } else { 3 };
    let shape = Shape::new(chunks.width as usize, chunks.height as usize, channels)?;
    if decoder.total_bytes() != shape.bytes() as u64 {
        return Err(ImageFormat::WebP.damaged("its picture is not as large as its header says"));
    }
    let len = shape.bytes();
    let mut buffer = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    decoder.read_image(&mut buffer).map_err(failed)?;
    Ok((turn(shape, buffer, chunks.orientation)?, chunks.notes))
}

fn failed(error: ImageError) -> KernelError {
    match &error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageFormat::WebP.truncated()
        }
        error => ImageFormat::WebP.damaged(error),
    }
}
