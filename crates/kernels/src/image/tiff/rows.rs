//! Rows of samples as they were before they were predicted and compressed.

use super::directory::Tiff;
use super::layout::{Layout, Predictor, SampleFormat};
use super::row_decoder::RowDecoder;
use crate::KernelError;
use crate::alloc::try_vec;
use crate::image::format::ImageFormat;

/// The rows of one strip or tile, or of one for each plane.
pub(super) struct SampleRows<'a> {
    planes: Vec<RowDecoder<'a>>,
    /// A row as it is in the file.
    packed: Vec<u8>,
    /// A row of all planes; samples of fewer than 8 or 16 bits have 16.
    samples: Vec<u8>,
}

/// Which of a pixel's samples [`SampleRows`] has, in order.
pub(super) fn kept(layout: &Layout<'_>) -> Vec<usize> {
    if layout.planar {
        let alpha = layout.alpha.map(|alpha| alpha.sample);
        (0..layout.colors()).chain(alpha).collect()
    } else {
        (0..layout.samples).collect()
    }
}

/// Bytes of a sample in [`SampleRows`].
pub(super) fn sample_bytes(layout: &Layout<'_>) -> usize {
    match layout.bits {
        8 | 24 | 32 | 64 => layout.bits / 8,
        _ => 2,
    }
}

/// How many rows the strips or tiles of that line have that matter: those of the picture, and all
/// of a tile, whose checksum is for the whole of it.
fn rows_in(layout: &Layout<'_>, line: usize) -> usize {
    if layout.tiled {
        layout.chunk.1
    } else {
        layout.chunk.1.min(layout.height - line * layout.chunk.1)
    }
}

/// Whether the file can have as much data as its picture needs: before anything is allocated.
pub(super) fn check(
    file: &Tiff<'_>,
    layout: &Layout<'_>,
    kept: &[usize],
) -> Result<(), KernelError> {
    let (across, down) = layout.chunks();
    let per_plane = across.checked_mul(down).ok_or_else(|| ImageFormat::Tiff.truncated())?;
    let planes = if layout.planar { layout.samples } else { 1 };
    let chunks = per_plane.checked_mul(planes).ok_or_else(|| ImageFormat::Tiff.truncated())?;
    if layout.offsets.len() < chunks || layout.lengths.len() < chunks {
        return Err(ImageFormat::Tiff
            .damaged(format_args!("it names fewer than its {chunks} strips or tiles")));
    }
    let planes = if layout.planar { kept } else { &[0] };
    for plane in planes {
        for place in 0..per_plane {
            let index = plane * per_plane + place;
            let data = data(file, layout, index);
            let needed = rows_in(layout, place / across) as u128 * u128::from(layout.row_bytes());
            if needed > u128::from(layout.compression.most()) * data.len() as u128 {
                return Err(match layout.lengths.get(index) {
                    Some(0) => ImageFormat::Tiff.unsupported("strips or tiles without data"),
                    _ => ImageFormat::Tiff.truncated(),
                });
            }
        }
    }
    Ok(())
}

fn data<'a>(file: &Tiff<'a>, layout: &Layout<'a>, index: usize) -> &'a [u8] {
    match (layout.offsets.get(index), layout.lengths.get(index)) {
        (Some(at), Some(len)) => file.data(at, len),
        _ => &[],
    }
}

impl<'a> SampleRows<'a> {
    /// Of the strip or tile at `column` and `line`.
    pub(super) fn open(
        file: &Tiff<'a>,
        layout: &Layout<'a>,
        kept: &[usize],
        (column, line): (usize, usize),
    ) -> Result<Self, KernelError> {
        let (across, down) = layout.chunks();
        let planes = if layout.planar { kept } else { &[0] };
        let planes = planes.iter().map(|plane| {
            let index = plane * across * down + line * across + column;
            RowDecoder::open(layout, data(file, layout, index))
        });
        let row = usize::try_from(layout.row_bytes()).map_err(|_| ImageFormat::Tiff.truncated())?;
        let samples = layout.chunk.0 * kept.len() * sample_bytes(layout);
        Ok(Self {
            planes: planes.collect::<Result<_, _>>()?,
            packed: try_vec(row)?,
            samples: try_vec(samples)?,
        })
    }

    /// The next row, in this machine's byte order.
    pub(super) fn next(
        &mut self,
        layout: &Layout<'_>,
        big_endian: bool,
    ) -> Result<&[u8], KernelError> {
        let Self { planes, packed, samples } = self;
        let width = sample_bytes(layout);
        let whole = layout.bits.is_multiple_of(8);
        if let [decoder] = &mut planes[..] {
            if whole {
                decoder.read(samples)?;
                restore(layout, samples, packed, big_endian);
            } else {
                decoder.read(packed)?;
                unpack(packed, layout.bits, samples);
            }
            return Ok(samples);
        }
        let step = planes.len() * width;
        let mut plane_row: Vec<u8> = try_vec(layout.chunk.0 * width)?;
        for (place, decoder) in planes.iter_mut().enumerate() {
            if whole {
                decoder.read(&mut plane_row)?;
                restore(layout, &mut plane_row, packed, big_endian);
            } else {
                decoder.read(packed)?;
                unpack(packed, layout.bits, &mut plane_row);
            }
            let to = samples.chunks_exact_mut(step);
            for (to, from) in to.zip(plane_row.chunks_exact(width)) {
                to[place * width..][..width].copy_from_slice(from);
            }
        }
        Ok(samples)
    }

    /// After all rows that are in the picture: the rest of a tile, and the checksum.
    pub(super) fn finish(self, layout: &Layout<'_>, line: usize) -> Result<(), KernelError> {
        let Self { planes, mut packed, .. } = self;
        let shown = layout.chunk.1.min(layout.height - line * layout.chunk.1);
        for mut decoder in planes {
            for _ in shown..rows_in(layout, line) {
                decoder.read(&mut packed)?;
            }
            decoder.finish()?;
        }
        Ok(())
    }
}

/// Undoes byte order and prediction of a row whose samples are whole bytes.
fn restore(layout: &Layout<'_>, row: &mut [u8], spare: &mut [u8], big_endian: bool) {
    let width = sample_bytes(layout);
    let step = layout.interleaved();
    if layout.predictor == Predictor::Float {
        // Adobe Photoshop TIFF Technical Note 3: differences of bytes, of which all highest ones
        // come first, in any file.
        for i in step..row.len() {
            row[i] = row[i].wrapping_add(row[i - step]);
        }
        spare.copy_from_slice(row);
        let samples = row.len() / width;
        for (i, sample) in row.chunks_exact_mut(width).enumerate() {
            for (place, byte) in sample.iter_mut().enumerate() {
                *byte = spare[place * samples + i];
            }
            if cfg!(target_endian = "little") {
                sample.reverse();
            }
        }
        return;
    }
    if width > 1 && big_endian != cfg!(target_endian = "big") {
        row.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    if layout.predictor == Predictor::Horizontal {
        match width {
            1 => accumulate(row, step, u8::from_ne_bytes, u8::wrapping_add, u8::to_ne_bytes),
            2 => accumulate(row, step, u16::from_ne_bytes, u16::wrapping_add, u16::to_ne_bytes),
            4 => accumulate(row, step, u32::from_ne_bytes, u32::wrapping_add, u32::to_ne_bytes),
            _ => accumulate(row, step, u64::from_ne_bytes, u64::wrapping_add, u64::to_ne_bytes),
        }
    }
}

/// Each sample is the difference from that of the pixel before.
fn accumulate<T, const N: usize>(
    row: &mut [u8],
    step: usize,
    read: impl Fn([u8; N]) -> T,
    add: impl Fn(T, T) -> T,
    write: impl Fn(T) -> [u8; N],
) {
    let (samples, _) = row.as_chunks_mut::<N>();
    for i in step..samples.len() {
        samples[i] = write(add(read(samples[i]), read(samples[i - step])));
    }
}

/// Samples of any number of bits up to 16, the highest first, become 16 bits each.
fn unpack(packed: &[u8], bits: usize, samples: &mut [u8]) {
    let (mut have, mut held, mut bytes) = (0, 0_u32, packed.iter());
    for sample in samples.as_chunks_mut::<2>().0 {
        while have < bits {
            held = held << 8 | u32::from(bytes.next().copied().unwrap_or(0));
            have += 8;
        }
        have -= bits;
        let value = (held >> have) & ((1 << bits) - 1);
        *sample = (value as u16).to_ne_bytes();
    }
}

/// The largest value of a whole number.
pub(super) fn largest(layout: &Layout<'_>) -> u64 {
    match layout.sample {
        SampleFormat::Unsigned => u64::MAX >> (64 - layout.bits),
        SampleFormat::Float => 1,
    }
}
