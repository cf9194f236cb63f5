//! TIFF files in and out (Adobe, "TIFF Revision 6.0", 1992, and its technical notes).
//!
//! Directories, strips, tiles, planes and predictors are read here, since what a reader gets wrong
//! in them is a wrong picture; compressed data is read by the crates weezl, flate2 and fax. What
//! cannot be read rightly is refused by its name.

mod convert;
mod directory;
mod layout;
mod rows;
mod source;
#[cfg(test)]
mod tests;
mod write;

use brigade_proto::{Buffer, Note, Notes};
use image::metadata::Orientation;

use super::codec::turn;
use super::pixels::{Pixels, Shape};
use crate::KernelError;
use convert::Converter;
use layout::Layout;
use rows::Rows;

pub(super) use directory::{Directory, Tiff};
pub(super) use write::write;

/// Tags by their names.
mod tag {
    pub(super) const SUBFILE_TYPE: u16 = 254;
    pub(super) const WIDTH: u16 = 256;
    pub(super) const HEIGHT: u16 = 257;
    pub(super) const BITS: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const ORIENTATION: u16 = 274;
    pub(super) const SAMPLES: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_LENGTHS: u16 = 279;
    pub(super) const X_RESOLUTION: u16 = 282;
    pub(super) const Y_RESOLUTION: u16 = 283;
    pub(super) const PLANAR: u16 = 284;
    pub(super) const RESOLUTION_UNIT: u16 = 296;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const COLOR_MAP: u16 = 320;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_LENGTHS: u16 = 325;
    pub(super) const SUB_DIRECTORIES: u16 = 330;
    pub(super) const INK_SET: u16 = 332;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    pub(super) const SAMPLE_FORMAT: u16 = 339;
    pub(super) const SOFTWARE: u16 = 305;
    pub(super) const ICC_PROFILE: u16 = 34_675;
    pub(super) const DNG_VERSION: u16 = 50_706;
    /// XMP, IPTC, Photoshop's blocks, EXIF, GPS, and where on the ground the picture is.
    pub(super) const METADATA: [u16; 9] =
        [700, 33_550, 33_723, 33_922, 34_264, 34_377, 34_665, 34_735, 34_853];
}

fn damaged(what: &str) -> KernelError {
    KernelError::input(format!("damaged TIFF: {what}"))
}

fn truncated() -> KernelError {
    KernelError::input("truncated TIFF")
}

fn unsupported(what: &str) -> KernelError {
    KernelError::input(format!("unsupported TIFF: {what}"))
}

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
            let mut rows = Rows::open(&file, &layout, &kept, (column, line))?;
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
        // A page that cannot be read is one that was not read.
        let Ok(page) = file.directory(next) else { break };
        match page.number(tag::SUBFILE_TYPE) {
            Ok(Some(kind)) if kind & 1 == 1 => next = page.next,
            _ => break,
        }
    }
    notes.add(Note::MorePages);
}
