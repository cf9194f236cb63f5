//! Whether a file goes on to its own end mark. Decoders forgive a JPEG whose
//! second half is missing and fill it with grey; here that is an error.

use super::codec::Format;

pub(super) fn is_complete(format: Format, bytes: &[u8]) -> bool {
    match format {
        Format::Jpeg => jpeg_ends(bytes),
        // Their decoders report it.
        Format::Png | Format::WebP | Format::Tiff | Format::Npy => true,
    }
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
