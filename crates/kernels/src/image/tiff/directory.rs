//! The directories of a TIFF file (Adobe, "TIFF Revision 6.0", 1992, section 2; with offsets of 64
//! bits: BigTIFF). Everything is read where it lies in the file, so that nothing is allocated by
//! what the file claims but the list of entries, which lies in the file itself.

use crate::KernelError;
use crate::image::format::ImageFormat;

/// A file, and how its numbers are written.
#[derive(Clone, Copy, Debug)]
pub(in crate::image) struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// Whether offsets have 64 bits.
    big: bool,
}

#[derive(Debug)]
pub(in crate::image) struct Directory<'a> {
    file: Tiff<'a>,
    entries: Vec<DirectoryEntry>,
    /// Offset of the next directory in the file; 0 in the last one.
    pub(in crate::image) next: u64,
}

#[derive(Clone, Copy, Debug)]
struct DirectoryEntry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where its values are.
    at: u64,
}

/// Values of a tag: unsigned numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'a> {
    bytes: &'a [u8],
    width: usize,
    big_endian: bool,
}

impl Numbers<'_> {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// `None` beyond the last.
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        let at = index.checked_mul(self.width)?;
        Some(number(self.bytes.get(at..at.checked_add(self.width)?)?, self.big_endian))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.bytes.chunks_exact(self.width).map(|bytes| number(bytes, self.big_endian))
    }
}

/// At most 8 bytes.
fn number(bytes: &[u8], big_endian: bool) -> u64 {
    let join = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
    if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}

const ASCII: u16 = 2;

/// Bytes of a value; 0 for a kind that is not known.
fn width(kind: u16) -> usize {
    match kind {
        1 | ASCII | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

impl<'a> Tiff<'a> {
    /// The file and where its first directory is.
    pub(in crate::image) fn open(bytes: &'a [u8]) -> Result<(Self, u64), KernelError> {
        let (big_endian, version) = match bytes.first_chunk::<4>() {
            Some([b'I', b'I', version, 0]) => (false, *version),
            Some([b'M', b'M', 0, version]) => (true, *version),
            Some(_) => return Err(ImageFormat::Tiff.damaged("its header is wrong")),
            None => return Err(ImageFormat::Tiff.truncated()),
        };
        let file = Self { bytes, big_endian, big: version == 43 };
        match version {
            42 => Ok((file, file.number(4, 4)?)),
            43 if file.number(4, 2)? == 8 && file.number(6, 2)? == 0 => {
                Ok((file, file.number(8, 8)?))
            }
            _ => Err(ImageFormat::Tiff.damaged("its header is wrong")),
        }
    }

    fn slice(&self, at: u64, len: u64) -> Result<&'a [u8], KernelError> {
        let end = at.checked_add(len).and_then(|end| usize::try_from(end).ok());
        let range = usize::try_from(at).ok().zip(end);
        range
            .and_then(|(from, to)| self.bytes.get(from..to))
            .ok_or_else(|| ImageFormat::Tiff.truncated())
    }

    fn number(&self, at: u64, width: u64) -> Result<u64, KernelError> {
        Ok(number(self.slice(at, width)?, self.big_endian))
    }

    pub(super) fn big_endian(&self) -> bool {
        self.big_endian
    }

    /// What lies from `at` on, `len` bytes or as many as there are.
    pub(super) fn data(&self, at: u64, len: u64) -> &'a [u8] {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        let rest = &self.bytes[from..];
        &rest[..usize::try_from(len).unwrap_or(usize::MAX).min(rest.len())]
    }

    /// The directory that begins there.
    pub(in crate::image) fn directory(self, at: u64) -> Result<Directory<'a>, KernelError> {
        let (counter, pointer) = if self.big { (8, 8) } else { (2, 4) };
        let entry = 4 + 2 * pointer;
        let count = self.number(at, counter)?;
        // A tag has 16 bits.
        if count > 65_536 {
            return Err(ImageFormat::Tiff.damaged("a directory has too many entries"));
        }
        let table = self.slice(at + counter, count * entry)?;
        let read = |bytes: &[u8]| number(bytes, self.big_endian);
        let entries = table.chunks_exact(entry as usize).enumerate().map(|(index, bytes)| {
            let (head, value) = bytes.split_at(4 + pointer as usize);
            let (kind, count) = (read(&head[2..4]) as u16, read(&head[4..]));
            let len = (width(kind) as u64).saturating_mul(count);
            let inline = at + counter + index as u64 * entry + 4 + pointer;
            let at = if len <= pointer { inline } else { read(value) };
            DirectoryEntry { tag: read(&head[..2]) as u16, kind, count, at }
        });
        let entries = entries.collect();
        // A file may end with its only directory.
        let next = self.number(at + counter + count * entry, pointer).unwrap_or(0);
        Ok(Directory { file: self, entries, next })
    }
}

impl<'a> Directory<'a> {
    fn entry(&self, tag: u16) -> Option<&DirectoryEntry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    pub(in crate::image) fn has(&self, tag: u16) -> bool {
        self.entry(tag).is_some()
    }

    /// The tags, and whether each is a text.
    pub(in crate::image) fn tags(&self) -> impl Iterator<Item = (u16, bool)> + '_ {
        self.entries.iter().map(|entry| (entry.tag, entry.kind == ASCII))
    }

    /// All numbers of a tag, at least one.
    pub(super) fn numbers(&self, tag: u16) -> Result<Option<Numbers<'a>>, KernelError> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        if !matches!(entry.kind, 1 | 3 | 4 | 13 | 16 | 18) || entry.count == 0 {
            return Err(ImageFormat::Tiff.damaged(format_args!("tag {tag} is not a number")));
        }
        let width = width(entry.kind);
        let bytes = self.file.slice(entry.at, entry.count.saturating_mul(width as u64))?;
        Ok(Some(Numbers { bytes, width, big_endian: self.file.big_endian }))
    }

    /// The first number of a tag.
    pub(in crate::image) fn number(&self, tag: u16) -> Result<Option<u64>, KernelError> {
        Ok(self.numbers(tag)?.and_then(|numbers| numbers.get(0)))
    }
}
