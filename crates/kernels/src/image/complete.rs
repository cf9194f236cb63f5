//! Whether a file goes on to its own end mark.

use super::codec::Format;

pub(super) fn is_complete(format: Format, bytes: &[u8]) -> bool {
    match format {
        Format::Png => png_ends(bytes),
        Format::WebP => webp_ends(bytes),
        // Their decoders report it.
        Format::Jpeg | Format::Tiff | Format::Npy => true,
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
