//! What a block of EXIF data says about the picture: which way up it is, and whether it holds
//! anything else.

use image::metadata::Orientation;

use super::tiff::Tiff;
use super::tiff::tag::ORIENTATION;

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
    // A block of EXIF data is a TIFF file without a picture.
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let directory = Tiff::open(block).and_then(|(file, first)| file.directory(first));
    let Ok(directory) = directory else {
        return Exif { orientation: Orientation::NoTransforms, more: !block.is_empty() };
    };
    let number = directory.number(ORIENTATION).ok().flatten().unwrap_or(1);
    let orientation = u8::try_from(number).ok().and_then(Orientation::from_exif);
    Exif {
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        more: directory.next != 0 || directory.tags().any(|(tag, _)| tag != ORIENTATION),
    }
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
