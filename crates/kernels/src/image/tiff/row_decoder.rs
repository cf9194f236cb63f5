//! The bytes of a strip or a tile, row by row: what is decompressed is never larger than a row.

use std::convert::Infallible;
use std::io::Read;

use fax::decoder::{DecodeStatus, Group4Decoder};
use flate2::bufread::ZlibDecoder;
use weezl::{BitOrder, LzwStatus};

use super::layout::{Compression, Layout};
use crate::KernelError;
use crate::image::format::ImageFormat;
use crate::image::guard::guarded;

type FaxBytes<'a> =
    std::iter::Map<std::iter::Copied<std::slice::Iter<'a, u8>>, fn(u8) -> Result<u8, Infallible>>;

/// Compressed data that is being read.
pub(super) enum RowDecoder<'a> {
    Plain(&'a [u8]),
    Lzw { decoder: Box<weezl::decode::Decoder>, data: &'a [u8] },
    Deflate(Box<ZlibDecoder<&'a [u8]>>),
    PackBits { data: &'a [u8], run: PackBitsRun },
    Group4 { decoder: Box<Group4Decoder<FaxBytes<'a>>>, width: u16 },
}

/// What is left of a run.
pub(super) enum PackBitsRun {
    Copied(usize),
    Repeated(usize, u8),
}

impl Compression {
    /// How many bytes one byte of data stands for at most, about.
    pub(super) fn most(self) -> u64 {
        match self {
            Self::None => 1,
            Self::PackBits => 64,
            // A match of 258 bytes in 2 bits.
            Self::Deflate => 1040,
            // A string of at most 4096 bytes in 12 bits, and somewhat less in 9.
            Self::Lzw => 4096,
            // A row of at most 65,535 pixels in a bit.
            Self::Group4 => 65_536,
        }
    }
}

impl<'a> RowDecoder<'a> {
    pub(super) fn open(layout: &Layout<'_>, data: &'a [u8]) -> Result<Self, KernelError> {
        Ok(match layout.compression {
            Compression::None => Self::Plain(data),
            Compression::Lzw => {
                // Up to 1990 codes were written with their lowest bit first, the first code, too,
                // which clears the table. libtiff finds them in the same way.
                if matches!(data, [0, second, ..] if second & 1 == 1) {
                    return Err(ImageFormat::Tiff.unsupported("LZW compression of the old kind"));
                }
                let decoder = weezl::decode::Configuration::with_tiff_size_switch(BitOrder::Msb, 8)
                    .with_yield_on_full_buffer(true)
                    .build();
                Self::Lzw { decoder: Box::new(decoder), data }
            }
            Compression::Deflate => Self::Deflate(Box::new(ZlibDecoder::new(data))),
            Compression::PackBits => Self::PackBits { data, run: PackBitsRun::Copied(0) },
            Compression::Group4 => {
                let width = u16::try_from(layout.chunk.0).map_err(|_| {
                    ImageFormat::Tiff.unsupported("fax compression of such wide rows")
                })?;
                let order: fn(u8) -> Result<u8, Infallible> =
                    if layout.reversed { |byte| Ok(byte.reverse_bits()) } else { Ok };
                let bytes: FaxBytes<'a> = data.iter().copied().map(order);
                let Ok(decoder) = Group4Decoder::new(bytes, width);
                Self::Group4 { decoder: Box::new(decoder), width }
            }
        })
    }

    /// Reads the next row.
    pub(super) fn read(&mut self, row: &mut [u8]) -> Result<(), KernelError> {
        match self {
            Self::Plain(data) => {
                let (now, later) = data
                    .split_at_checked(row.len())
                    .ok_or_else(|| ImageFormat::Tiff.truncated())?;
                row.copy_from_slice(now);
                *data = later;
            }
            Self::Lzw { decoder, data } => unpack_lzw(decoder, data, row)?,
            Self::Deflate(decoder) => decoder.read_exact(row).map_err(|error| inflating(&error))?,
            Self::PackBits { data, run } => unpack_bits(data, run, row)?,
            Self::Group4 { decoder, width } => guarded(ImageFormat::Tiff, || {
                match decoder.advance() {
                    Ok(DecodeStatus::Incomplete) => paint(decoder.transition(), *width, row),
                    Ok(DecodeStatus::End) => return Err(ImageFormat::Tiff.truncated()),
                    Err(_) => return Err(ImageFormat::Tiff.damaged("its fax data is wrong")),
                }
                Ok(())
            })?,
        }
        Ok(())
    }

    /// After the last row: whether the checksum is right, where there is one.
    pub(super) fn finish(mut self) -> Result<(), KernelError> {
        match &mut self {
            // The stream is checked when its end is read.
            Self::Deflate(decoder) => match decoder.read(&mut [0]) {
                Ok(_) => Ok(()),
                Err(error) => Err(inflating(&error)),
            },
            _ => Ok(()),
        }
    }
}

fn inflating(error: &std::io::Error) -> KernelError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ImageFormat::Tiff.truncated(),
        _ => ImageFormat::Tiff.damaged("its Deflate data is wrong"),
    }
}

fn unpack_lzw(
    decoder: &mut weezl::decode::Decoder,
    data: &mut &[u8],
    mut row: &mut [u8],
) -> Result<(), KernelError> {
    let mut idle = 0;
    while !row.is_empty() {
        let step = decoder.decode_bytes(data, row);
        *data = &data[step.consumed_in..];
        row = &mut row[step.consumed_out..];
        // A step that ends with a code which clears the table, read from bits that were taken
        // before, calls itself no progress; so does one that writes without taking more bytes.
        // Readers that believe it call whole tiles truncated.
        idle = if step.consumed_in + step.consumed_out == 0 { idle + 1 } else { 0 };
        match step.status {
            _ if row.is_empty() => {}
            Ok(LzwStatus::Done) => return Err(ImageFormat::Tiff.truncated()),
            Ok(_) if idle > 2 => return Err(ImageFormat::Tiff.truncated()),
            Ok(_) => {}
            Err(_) => return Err(ImageFormat::Tiff.damaged("its LZW data is wrong")),
        }
    }
    Ok(())
}

/// TIFF 6.0, section 9. Runs may go on in the next row.
fn unpack_bits(
    data: &mut &[u8],
    run: &mut PackBitsRun,
    mut row: &mut [u8],
) -> Result<(), KernelError> {
    while !row.is_empty() {
        let wanted = row.len();
        let done = match run {
            PackBitsRun::Copied(0) | PackBitsRun::Repeated(0, _) => {
                let (&head, rest) =
                    data.split_first().ok_or_else(|| ImageFormat::Tiff.truncated())?;
                *data = rest;
                match head {
                    0..128 => *run = PackBitsRun::Copied(usize::from(head) + 1),
                    128 => {}
                    129.. => {
                        let (&value, rest) =
                            data.split_first().ok_or_else(|| ImageFormat::Tiff.truncated())?;
                        *data = rest;
                        *run = PackBitsRun::Repeated(257 - usize::from(head), value);
                    }
                }
                0
            }
            PackBitsRun::Copied(left) => {
                let done = wanted.min(*left);
                let (now, later) =
                    data.split_at_checked(done).ok_or_else(|| ImageFormat::Tiff.truncated())?;
                row[..done].copy_from_slice(now);
                *data = later;
                *left -= done;
                done
            }
            PackBitsRun::Repeated(left, value) => {
                let done = wanted.min(*left);
                row[..done].fill(*value);
                *left -= done;
                done
            }
        };
        row = &mut row[done..];
    }
    Ok(())
}

/// Bits of black pixels are 1; the photometric interpretation says later what 1 is.
fn paint(changes: &[u16], width: u16, row: &mut [u8]) {
    row.fill(0);
    for pair in changes.chunks(2) {
        let (from, to) = (pair[0], *pair.get(1).unwrap_or(&width));
        for x in from.min(width)..to.min(width) {
            row[usize::from(x / 8)] |= 0x80 >> (x % 8);
        }
    }
}
