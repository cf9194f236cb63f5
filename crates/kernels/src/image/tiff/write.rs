//! A TIFF file of 8 bits a sample, uncompressed, in strips.

use super::tag;
use crate::KernelError;
use crate::image::pixels::Shape;

/// Bytes of a strip, about: what readers expect (TIFF 6.0 says 8 KiB, of 1992).
const STRIP: usize = 1 << 18;

/// Bytes that the values of an entry may have without being elsewhere.
const INLINE: usize = 4;

const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;

pub(in crate::image) fn write(pixels: &[u8], shape: Shape) -> Result<Vec<u8>, KernelError> {
    let row = shape.row_bytes();
    let rows_per_strip = (STRIP / row).clamp(1, shape.height);
    let strips: Vec<u32> =
        pixels.chunks(rows_per_strip * row).map(|strip| strip.len() as u32).collect();
    let short = |values: &[u16]| (SHORT, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    let long = |values: &[u32]| (LONG, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    let one = [1_u32, 1];
    let photometric = if shape.channels == 1 { 1 } else { 2 };
    let offsets = vec![0; strips.len()];
    let mut entries: Vec<(u16, (u16, Vec<u8>))> = vec![
        (tag::WIDTH, long(&[shape.width as u32])),
        (tag::HEIGHT, long(&[shape.height as u32])),
        (tag::BITS, short(&vec![8; shape.channels])),
        (tag::COMPRESSION, short(&[1])),
        (tag::PHOTOMETRIC, short(&[photometric])),
        (tag::STRIP_OFFSETS, long(&offsets)),
        (tag::SAMPLES, short(&[shape.channels as u16])),
        (tag::ROWS_PER_STRIP, long(&[rows_per_strip as u32])),
        (tag::STRIP_LENGTHS, long(&strips)),
        (tag::X_RESOLUTION, (RATIONAL, long(&one).1)),
        (tag::Y_RESOLUTION, (RATIONAL, long(&one).1)),
        // No unit: the resolution says that pixels are square, no more.
        (tag::RESOLUTION_UNIT, short(&[1])),
    ];
    if shape.channels == 4 {
        // Straight alpha: without this tag some readers take it for multiplied.
        entries.push((tag::EXTRA_SAMPLES, short(&[2])));
    }
    // Where values lie that do not fit into their entries, and after them the pixels.
    let table = 8 + 2 + 12 * entries.len() + 4;
    let outside = |values: &[u8]| if values.len() > INLINE { values.len() } else { 0 };
    let start = table + entries.iter().map(|(_, (_, values))| outside(values)).sum::<usize>();
    let too_large = || KernelError::input("cannot write TIFF: over 4 GiB; choose another format");
    if u32::try_from(start + pixels.len()).is_err() {
        return Err(too_large());
    }
    let mut offset = start as u32;
    let offsets = strips.iter().flat_map(|len| {
        let here = offset;
        offset += len;
        here.to_le_bytes()
    });
    let offsets = offsets.collect();
    for (tag, (_, values)) in &mut entries {
        if *tag == tag::STRIP_OFFSETS {
            *values = offsets;
            break;
        }
    }

    let mut out = Vec::new();
    let len = start + pixels.len();
    out.try_reserve_exact(len).map_err(|_| KernelError::Memory { bytes: len as u64 })?;
    out.extend(b"II\x2a\0\x08\0\0\0");
    out.extend((entries.len() as u16).to_le_bytes());
    let mut at = table as u32;
    for (tag, (kind, values)) in &entries {
        let width = match *kind {
            SHORT => 2,
            LONG => 4,
            _ => 8,
        };
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(((values.len() / width) as u32).to_le_bytes());
        if values.len() > INLINE {
            out.extend(at.to_le_bytes());
            at += values.len() as u32;
        } else {
            out.extend(values);
            out.resize(out.len() + INLINE - values.len(), 0);
        }
    }
    out.extend([0; 4]);
    for (_, (_, values)) in entries.iter().filter(|(_, (_, values))| values.len() > INLINE) {
        out.extend(values);
    }
    out.extend(pixels);
    Ok(out)
}
