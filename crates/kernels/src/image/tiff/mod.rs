//! TIFF files in and out (Adobe, "TIFF Revision 6.0", 1992, and its technical notes).
//!
//! Directories, strips, tiles, planes and predictors are read here, since what a reader gets wrong
//! in them is a wrong picture; compressed data is read by the crates weezl, flate2 and fax. What
//! cannot be read rightly is refused by its name.

mod convert;
mod directory;
mod layout;
mod row_decoder;
mod rows;
pub(super) mod tag;
#[cfg(test)]
mod tests;
mod write;

use brigade_proto::{Buffer, Note, Notes};
use image::metadata::Orientation;

use super::pixels::{Pixels, Shape};
use super::upright::turn;
use crate::KernelError;
use convert::Converter;
use layout::Layout;
use rows::SampleRows;

pub(super) use directory::{Directory, Tiff};
pub(super) use write::write;

/// Reads the first page.
pub(super) fn read(bytes: &[u8], max_pixels: u64) -> Result<(Pixels<'static>, Notes), KernelError> {
    let (file, first) = Tiff::open(bytes)?;
    let directory = file.directory(first)?;
    let layout = Layout::read(&directory, max_pixels)?;
    let kept = rows::kept(&layout);
    rows::check(&file, &layout, &kept)?;

    let mut converter = Converter::new(&layout, &kept)?;
    let shape = Shape::new(layout.width, layout.height, converter.channels())?;
    let len = shape.bytes();
    let mut out = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    let (across, _) = layout.chunks();
    let row_bytes = shape.row_bytes();
    for (line, band) in out.chunks_mut(layout.chunk.1 * row_bytes).enumerate() {
        for column in 0..across {
            let mut rows = SampleRows::open(&file, &layout, &kept, (column, line))?;
            let from = column * layout.chunk.0 * shape.channels;
            let to = (from + layout.chunk.0 * shape.channels).min(row_bytes);
            for row in band.chunks_exact_mut(row_bytes) {
                let samples = rows.next(&layout, file.big_endian())?;
                converter.row(samples, &mut row[from..to])?;
            }
            rows.finish(&layout, line)?;
        }
    }

    let mut notes = layout.notes;
    beside(&file, &directory, &mut notes);
    if converter.clipped {
        notes.add(Note::Clipped);
    }
    if converter.deep_palette {
        notes.add(Note::DepthReduced);
    }
    let orientation =
        Orientation::from_exif(layout.orientation).unwrap_or(Orientation::NoTransforms);
    Ok((turn(shape, out, orientation)?, notes))
}

/// Pages that are followed to see whether one is more than a smaller copy of the first.
const MAX_PAGES: usize = 1000;

/// What there is beside the pixels.
fn beside(file: &Tiff<'_>, directory: &Directory<'_>, notes: &mut Notes) {
    if directory.has(tag::ICC_PROFILE) {
        notes.add(Note::IccDropped);
    }
    let kept =
        |(tag, text): (u16, bool)| tag == tag::SOFTWARE || !text && !tag::METADATA.contains(&tag);
    if !directory.tags().all(kept) {
        notes.add(Note::MetadataDropped);
    }
    let mut next = directory.next;
    for _ in 0..MAX_PAGES {
        if next == 0 {
            return;
        }
        // An unreadable page counts as a page that was left out.
        let Ok(page) = file.directory(next) else { break };
        match page.number(tag::SUBFILE_TYPE) {
            Ok(Some(kind)) if kind & 1 == 1 => next = page.next,
            _ => break,
        }
    }
    notes.add(Note::MorePages);
}
