//! Whether a file goes on to its own end mark. Decoders forgive a JPEG whose
//! second half is missing and fill it with grey; here that is an error.

use super::codec::Format;

pub(super) fn is_complete(format: Format, bytes: &[u8]) -> bool {
    match format {
        Format::Png => png_ends(bytes),
        Format::Jpeg => jpeg_ends(bytes),
        Format::WebP => webp_ends(bytes),
        // Their decoders report it: offsets and sizes are in the header.
        Format::Tiff | Format::Npy => true,
    }
}

/// Width and height from the first chunk.
pub(super) fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.get(8..24)?;
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    (header[4..8] == *b"IHDR").then_some((number(8)?, number(12)?))
}

/// Chunks of length, type, data and checksum, up to `IEND`.
fn png_ends(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(next) = length.checked_add(4).and_then(|skip| body.get(skip..)) else {
            return false;
        };
        if head[4..] == *b"IEND" {
            return true;
        }
        rest = next;
    }
    false
}

/// The container says how long it is.
fn webp_ends(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    length.is_some_and(|length| bytes.len() as u64 >= u64::from(length) + 8)
}

/// Segments, and entropy-coded data in which `FF` is followed by `00` or a
/// restart mark, up to the end mark `FF D9` (ITU-T T.81, annex B). Segments are
/// stepped over: a thumbnail in one has an end mark of its own.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // To the next mark; what lies before it is entropy-coded data.
        let Some(at) = rest.iter().position(|&byte| byte == 0xff) else {
            return false;
        };
        rest = &rest[at + 1..];
        match rest.first() {
            None => return false,
            Some(0xd9) => return true,
            // A stuffed byte, a restart mark, a start mark, a mark without content.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => rest = &rest[1..],
            // Fill bytes: the next look finds this one again.
            Some(0xff) => {}
            Some(_) => {
                let length = rest.get(1..3).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
                match length.and_then(|length| rest.get(1 + length.max(2)..)) {
                    Some(next) => rest = next,
                    None => return false,
                }
            }
        }
    }
}
