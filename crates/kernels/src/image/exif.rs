//! What a block of EXIF data says about the picture: which way up it is, and whether it holds
//! anything else.

use image::metadata::Orientation;

/// What matters of a block of EXIF data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exif {
    /// How the stored picture is turned to be upright.
    pub(super) orientation: Orientation,
    /// Whether the block holds more than the orientation.
    pub(super) more: bool,
}

/// Reads a block, with or without the `Exif\0\0` that JPEG puts before it: some writers of WebP
/// and PNG put it there, too. A damaged block is no reason to refuse the picture: it counts as one
/// without orientation.
pub(super) fn read(block: &[u8]) -> Exif {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    Exif {
        orientation: Orientation::from_exif_chunk(block).unwrap_or(Orientation::NoTransforms),
        more: !block.is_empty() && !is_orientation_alone(block),
    }
}

/// One directory with one entry, the orientation, and none after it.
fn is_orientation_alone(block: &[u8]) -> bool {
    let big = block.starts_with(b"MM");
    let short = |at: usize| {
        let bytes = block.get(at..at + 2)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = block.get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize)
    };
    let Some(first) = long(4) else { return false };
    let (entries, tag) = (short(first), short(first.saturating_add(2)));
    // Writers leave out the offset of the next directory at times.
    let next = long(first.saturating_add(14)).unwrap_or(0);
    entries == Some(1) && tag == Some(0x0112) && next == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with the orientation and, if asked for, the name of a camera.
    fn block(orientation: u8, camera: bool) -> Vec<u8> {
        let mut block = b"II\x2a\0\x08\0\0\0".to_vec();
        block.extend([1 + u8::from(camera), 0]);
        if camera {
            block.extend(b"\x0f\x01\x02\0\x04\0\0\0abc\0");
        }
        block.extend(b"\x12\x01\x03\0\x01\0\0\0");
        block.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        block
    }

    #[test]
    fn a_block_is_read_with_and_without_its_prefix() {
        for camera in [false, true] {
            let plain = block(6, camera);
            let expected = Exif { orientation: Orientation::Rotate90, more: camera };
            assert_eq!(read(&plain), expected);
            assert_eq!(read(&[b"Exif\0\0", &plain[..]].concat()), expected);
        }
    }

    #[test]
    fn a_damaged_block_does_not_turn_the_picture() {
        let whole = block(6, true);
        for keep in 1..whole.len() - 16 {
            let damaged = read(&whole[..keep]);
            assert_eq!(damaged, Exif { orientation: Orientation::NoTransforms, more: true });
        }
        let far = [b"II\x2a\0", &u32::MAX.to_le_bytes()[..]].concat();
        assert_eq!(read(&far), Exif { orientation: Orientation::NoTransforms, more: true });
        assert!(!read(b"").more);
    }
}
