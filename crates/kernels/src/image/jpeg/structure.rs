//! The segments of a JPEG file (ITU-T T.81, annex B): what it claims to be, and whether its scans
//! hold every coefficient of every component.
//!
//! The decoder reads the same segments again. It does not say what this module is for: which kind
//! of JPEG a file is that it cannot read, and that scans are missing, which it fills with grey.

use brigade_proto::{Note, Notes};
use image::metadata::Orientation;

use crate::KernelError;
use crate::image::exif;
use crate::image::format::ImageFormat;

/// What the segments say.
#[derive(Debug)]
pub(super) struct Structure {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) orientation: Orientation,
    /// What the file holds besides the pixels.
    pub(super) notes: Notes,
    /// An Adobe segment: CMYK samples are inverted.
    pub(super) adobe: bool,
    /// Where the file's end mark ends; what follows is not part of the picture.
    pub(super) end: usize,
}

/// A component of the frame, and which of its 64 coefficients the scans have completed.
struct Component {
    id: u8,
    complete: u64,
}

#[derive(Default)]
struct Reader {
    size: Option<(u16, u16)>,
    progressive: bool,
    components: Vec<Component>,
    orientation: Option<Orientation>,
    notes: Notes,
    adobe: bool,
}

impl Structure {
    /// Steps over the segments up to the end mark.
    ///
    /// # Errors
    /// "truncated JPEG" when the file ends before its end mark or scans are missing, "unsupported
    /// JPEG: …" for a kind that is not read, "damaged JPEG: …" for a segment that makes no sense.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, KernelError> {
        let mut reader = Reader::default();
        let mut at = 2;
        loop {
            // To the next mark: what lies before it is entropy-coded data.
            at += bytes
                .get(at..)
                .and_then(|rest| find(rest, 0xff))
                .ok_or_else(|| ImageFormat::Jpeg.truncated())?
                + 1;
            match *bytes.get(at).ok_or_else(|| ImageFormat::Jpeg.truncated())? {
                // A stuffed byte, a mark without content, a restart mark.
                0x00 | 0x01 | 0xd0..=0xd7 => at += 1,
                // Fill bytes: the next look finds this one again.
                0xff => {}
                0xd8 => return Err(ImageFormat::Jpeg.damaged("a second file begins inside it")),
                0xd9 => return reader.finish(bytes, at + 1),
                mark => {
                    let body = at + 3;
                    let length =
                        bytes.get(at + 1..body).ok_or_else(|| ImageFormat::Jpeg.truncated())?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let end = at + 1 + length.max(2);
                    let content =
                        bytes.get(body..end).ok_or_else(|| ImageFormat::Jpeg.truncated())?;
                    reader.segment(mark, content)?;
                    at = end;
                }
            }
        }
    }
}

impl Reader {
    fn segment(&mut self, mark: u8, content: &[u8]) -> Result<(), KernelError> {
        match mark {
            0xc0..=0xc2 => self.frame(mark, content)?,
            0xc4 => huffman_tables(content)?,
            0xc3 => return Err(ImageFormat::Jpeg.unsupported("lossless coding")),
            0xc5..=0xc7 | 0xcd..=0xcf => {
                return Err(ImageFormat::Jpeg.unsupported("hierarchical coding"));
            }
            0xcb => return Err(ImageFormat::Jpeg.unsupported("lossless arithmetic coding")),
            0xc9 | 0xca => return Err(ImageFormat::Jpeg.unsupported("arithmetic coding")),
            0xda => self.scan(content)?,
            0xdc => {
                return Err(
                    ImageFormat::Jpeg.unsupported("a height that is told after the picture (DNL)")
                );
            }
            0xe1 => match content.strip_prefix(b"Exif\0\0") {
                Some(exif) => self.exif(exif),
                None => self.notes.add(Note::MetadataDropped),
            },
            0xe2 if content.starts_with(b"ICC_PROFILE\0") => self.notes.add(Note::IccDropped),
            // Pictures behind the first, in one file (CIPA DC-007).
            0xe2 if content.starts_with(b"MPF\0") => self.notes.add(Note::MoreFrames),
            // IPTC among Photoshop's resources, and comments.
            0xed | 0xfe => self.notes.add(Note::MetadataDropped),
            0xee if content.starts_with(b"Adobe") => self.adobe = true,
            _ => {}
        }
        Ok(())
    }

    /// B.2.2: precision, height, width, and the components' identifiers.
    fn frame(&mut self, mark: u8, content: &[u8]) -> Result<(), KernelError> {
        let [precision, h0, h1, w0, w1, count, rest @ ..] = content else {
            return Err(ImageFormat::Jpeg.damaged("its frame header is too short"));
        };
        if self.size.is_some() {
            return Err(ImageFormat::Jpeg.damaged("it has two frame headers"));
        }
        if *precision != 8 {
            return Err(ImageFormat::Jpeg.unsupported(format_args!("{precision} bits a sample")));
        }
        let (height, width) = (u16::from_be_bytes([*h0, *h1]), u16::from_be_bytes([*w0, *w1]));
        if height == 0 {
            return Err(
                ImageFormat::Jpeg.unsupported("a height that is told after the picture (DNL)")
            );
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(ImageFormat::Jpeg.unsupported(format_args!("{count} components")));
        }
        let (components, _) = rest.as_chunks::<3>();
        if components.len() != usize::from(*count) {
            return Err(ImageFormat::Jpeg.damaged("its frame header does not list its components"));
        }
        self.size = Some((width, height));
        self.progressive = mark == 0xc2;
        self.components =
            components.iter().map(|&[id, _, _]| Component { id, complete: 0 }).collect();
        Ok(())
    }

    /// B.2.3: which components, which coefficients, and how many bits of them are still to come.
    fn scan(&mut self, content: &[u8]) -> Result<(), KernelError> {
        let short = || ImageFormat::Jpeg.damaged("a scan header is too short");
        let (&count, rest) = content.split_first().ok_or_else(short)?;
        let (ids, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(short)?;
        let [first, last, bits, ..] = *rest else { return Err(short()) };
        // The lower half: the bit that the scan ends with.
        let whole = bits & 0x0f == 0;
        let covered = if !self.progressive {
            u64::MAX
        } else if whole && first <= last && last < 64 {
            (u64::MAX >> (63 - (last - first))) << first
        } else {
            0
        };
        for &[id, _] in ids.as_chunks::<2>().0 {
            let component = self.components.iter_mut().find(|component| component.id == id);
            component
                .ok_or_else(|| {
                    ImageFormat::Jpeg.damaged("a scan of a component that there is not")
                })?
                .complete |= covered;
        }
        Ok(())
    }

    fn exif(&mut self, block: &[u8]) {
        let exif = exif::read(block);
        self.orientation.get_or_insert(exif.orientation);
        if exif.more {
            self.notes.add(Note::MetadataDropped);
        }
    }

    fn finish(self, bytes: &[u8], end: usize) -> Result<Structure, KernelError> {
        let (width, height) =
            self.size.ok_or_else(|| ImageFormat::Jpeg.damaged("it holds no picture"))?;
        if self.components.iter().any(|component| component.complete != u64::MAX) {
            return Err(KernelError::input("truncated JPEG: some of its scans are missing"));
        }
        let mut notes = self.notes;
        if bytes[end..].starts_with(&[0xff, 0xd8, 0xff]) {
            notes.add(Note::MoreFrames);
        }
        let orientation = self.orientation.unwrap_or(Orientation::NoTransforms);
        Ok(Structure { width, height, orientation, notes, adobe: self.adobe, end })
    }
}

/// B.2.4.2: how many codes there are of each of 16 lengths, and their symbols. A symbol that is
/// listed twice is a hole in the file: an encoder needs one code for each.
fn huffman_tables(mut content: &[u8]) -> Result<(), KernelError> {
    while let Some((head, rest)) = content.split_first_chunk::<17>() {
        let count = head[1..].iter().map(|&count| usize::from(count)).sum();
        let Some((symbols, rest)) = rest.split_at_checked(count) else { break };
        let mut seen = [false; 256];
        for &symbol in symbols {
            if std::mem::replace(&mut seen[usize::from(symbol)], true) {
                return Err(ImageFormat::Jpeg.damaged("a Huffman table is wrong"));
            }
        }
        content = rest;
    }
    // What is left over, the decoder refuses.
    Ok(())
}

fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    bytes.iter().position(|&other| other == byte)
}
