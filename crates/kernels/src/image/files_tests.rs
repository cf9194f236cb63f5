//! Files of `tests/files`: each has its right pixels or is refused by its name.

use std::fs;
use std::path::Path;

use brigade_proto::Note;

use super::codec::{Decoded, decode};
use crate::KernelError;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn refusal(bytes: &[u8]) -> String {
    let error = decode(bytes, 200_000_000).unwrap_err();
    assert!(matches!(error, KernelError::Input(_)), "{error:?}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[track_caller]
fn assert_notes(name: &str, expected: &[Note]) {
    let notes = decode(&file(name), 1 << 20).unwrap().notes;
    assert_eq!(notes.iter().collect::<Vec<_>>(), expected, "{name}");
}

/// Colours, rows of them, of a small picture.
fn pixels(name: &str) -> (usize, usize, Vec<Vec<u8>>) {
    let bytes = file(name);
    let pixels = decode(&bytes, 1 << 20).unwrap().pixels;
    let colors = pixels.bytes().chunks(pixels.shape.channels).map(<[u8]>::to_vec).collect();
    (pixels.shape.width, pixels.shape.height, colors)
}

/// What tifffile and Pillow read lies beside each file as `expected_NAME.png`.
#[test]
fn files_have_the_pixels_of_the_reference_readers() {
    // How far a value may be away: exact, rounded quotients, premultiplied by others.
    let files = [
        ("tiff/tiff_associated_alpha", 8),
        ("tiff/tiff_grey_alpha", 0),
        ("tiff/tiff_planar_tiled", 0),
        ("tiff/tiff_tiled_lzw", 0),
        ("tiff/tiff_uint32", 1),
        ("tiff/associated_alpha_second", 1),
        ("tiff/cmyk", 1),
        ("tiff/float16_planar_tiled", 1),
        ("tiff/float24", 1),
        ("tiff/float64_alpha", 1),
        ("tiff/float_beyond", 1),
        ("tiff/grey_2_bits", 0),
        ("tiff/group4", 0),
        ("tiff/orientation_6", 0),
        ("tiff/pages_big", 0),
        ("tiff/palette_16bit_colours", 0),
        ("tiff/rgb_12_bits", 0),
        ("tiff/uint32_planar_predicted", 0),
        ("tiff/uint64_white_is_zero", 0),
        ("webp/webp_exif_prefix", 0),
    ];
    for (path, tolerance) in files {
        let (directory, name) = path.split_once('/').unwrap();
        let extension = if directory == "tiff" { "tif" } else { "webp" };
        let (bytes, png) = (
            file(&format!("{path}.{extension}")),
            file(&format!("{directory}/expected_{name}.png")),
        );
        let found = decode(&bytes, 1 << 20).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (found, expected) = (found.pixels, decode(&png, 1 << 20).unwrap().pixels);
        assert_eq!(found.shape, expected.shape, "{path}");
        let pairs = found.bytes().iter().zip(expected.bytes());
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= tolerance, "{path}: {worst}");
    }
}

#[test]
fn what_is_not_read_rightly_is_refused_by_its_name() {
    let files = [
        ("tiff/tiff_jpeg.tif", "unsupported TIFF: JPEG compression"),
        ("tiff/group3.tif", "unsupported TIFF: CCITT Group 3 (fax) compression"),
        ("tiff/lab.tif", "unsupported TIFF: CIE L*a*b* colours"),
        (
            "tiff/preview.tif",
            "unsupported TIFF: a camera's raw file, whose first page is a preview",
        ),
        ("tiff/signed.tif", "unsupported TIFF: signed samples"),
        ("tiff/sparse.tif", "unsupported TIFF: strips or tiles without data"),
        ("tiff/ycbcr.tif", "unsupported TIFF: YCbCr colours"),
        ("tiff/zstd.tif", "unsupported TIFF: Zstandard compression"),
        ("png/apple.png", "unsupported PNG: the chunk CgBI"),
    ];
    for (name, expected) in files {
        assert_eq!(refusal(&file(name)), expected, "{name}");
    }
}

/// Small files that claim much, and such that were changed.
#[test]
fn damage_and_claims_are_found_before_anything_is_allocated() {
    let files = [
        // 14,000 x 14,000 pixels of 32 bytes, in 162 bytes.
        ("tiff/bomb.tif", "truncated TIFF"),
        ("tiff/checksum.tif", "damaged TIFF: its Deflate data is wrong"),
        ("png/claims_14000.png", "damaged PNG: it has too little data for its size"),
        ("png/checksum.png", "damaged PNG: the checksum of its chunk IDAT is wrong"),
        (
            "webp/webp_exif_claims_2.7GB.webp",
            "damaged WebP: its chunk EXIF is longer than the file",
        ),
        // 6,000 x 5,000 pixels on a canvas of 2 x 2.
        ("webp/frame_larger.webp", "damaged WebP: its picture is not as large as its header says"),
        ("webp/webp_panic_1.webp", "damaged WebP: its first frame is not as large as it says"),
        ("webp/webp_panic_2.webp", "damaged WebP: its first frame is not as large as it says"),
        ("webp/webp_panic_3.webp", "damaged WebP: its first frame is not as large as it says"),
    ];
    for (name, expected) in files {
        assert_eq!(refusal(&file(name)), expected, "{name}");
    }
}

/// Profiles and texts of 15 MiB in 15 KiB are not unpacked; the picture beside them is read.
#[test]
fn what_lies_beside_the_picture_is_noted() {
    use Note::*;
    assert_notes("png/icc_bomb.png", &[IccDropped]);
    assert_notes("png/text_bomb.png", &[MetadataDropped]);
    assert_eq!(pixels("png/icc_bomb.png"), (1, 1, vec![vec![10, 20, 30]]));
    assert_eq!(pixels("png/text_bomb.png"), (1, 1, vec![vec![10, 20, 30]]));
    assert_notes("png/animated.png", &[MoreFrames]);
    assert_notes("png/rgb_16_transparent.png", &[DepthReduced]);
    assert_notes("png/exif_6_behind.png", &[]);
    assert_notes("webp/animated.webp", &[MoreFrames]);
    assert_notes("webp/two_profiles.webp", &[IccDropped, MetadataDropped]);
    assert_notes("webp/webp_exif_prefix.webp", &[]);
    assert_notes("webp/exif_6.webp", &[]);
    assert_notes("webp/stripped.webp", &[]);
    assert_notes("tiff/pages_big.tif", &[MorePages]);
    assert_notes("tiff/float_beyond.tif", &[DepthReduced, Clipped]);
    assert_notes("tiff/float24.tif", &[DepthReduced]);
    assert_notes("tiff/associated_alpha_second.tif", &[DepthReduced, SamplesDropped]);
    assert_notes("tiff/palette_16bit_colours.tif", &[DepthReduced]);
    assert_notes("tiff/orientation_6.tif", &[]);
    assert_notes("tiff/tiff_grey_alpha.tif", &[MetadataDropped]);
}

#[test]
fn orientation_is_applied_wherever_it_is_said() {
    for (name, width, height) in [
        ("webp/webp_exif_prefix.webp", 41, 53),
        ("webp/exif_6.webp", 9, 14),
        ("png/exif_6_behind.png", 3, 5),
        ("tiff/orientation_6.tif", 9, 14),
    ] {
        let bytes = file(name);
        let shape = decode(&bytes, 1 << 20).unwrap().pixels.shape;
        assert_eq!((shape.width, shape.height), (width, height), "{name}");
    }
}

#[test]
fn png_of_every_depth_and_kind_of_transparency() {
    let (width, height, colors) = pixels("png/grey_2_bits_transparent.png");
    assert_eq!((width, height), (5, 4));
    for (i, color) in colors.iter().enumerate() {
        let grey = (i % 4 * 85) as u8;
        assert_eq!(color[..], [grey, grey, grey, if i % 4 == 2 { 0 } else { 255 }]);
    }
    let (_, _, colors) = pixels("png/palette_4_bits_transparent.png");
    let palette = [[255, 0, 0, 255], [0, 255, 0, 7], [1, 2, 3, 255]];
    assert_eq!(colors.len(), 20);
    assert!(colors.iter().enumerate().all(|(i, color)| color[..] == palette[i % 3]));
    // 128 and 129 are on both sides of half a step.
    let expected = [[0, 0, 255, 255], [1, 1, 156, 255], [4, 8, 12, 0], [255; 4]];
    assert_eq!(pixels("png/rgb_16_transparent.png").2, expected.map(|color| color.to_vec()));
}

/// The decoder goes by flags in the header; files are right whose flags are not.
#[test]
fn webp_is_read_by_its_chunks() {
    let same = |a: &str, b: &str| assert_eq!(pixels(a), pixels(b));
    same("webp/stripped.webp", "webp/two_profiles.webp");
    let alpha = pixels("webp/alpha_not_flagged.webp").2;
    assert!(alpha.iter().any(|color| color[3] < 128));
    let lossy = pixels("webp/lossy_alpha.webp");
    assert_eq!((lossy.0, lossy.1), (30, 20));
    assert!(lossy.2.iter().all(|color| color.len() == 4));
}

/// Whatever is changed or cut off ends in an error or in a picture, and never in a panic.
#[test]
fn changed_files_do_not_panic() {
    let names = [
        "png/animated.png",
        "png/palette_4_bits_transparent.png",
        "webp/animated.webp",
        "webp/lossy_alpha.webp",
        "webp/alpha_not_flagged.webp",
        "webp/exif_6.webp",
        "tiff/group4.tif",
        "tiff/grey_2_bits.tif",
        "tiff/float24.tif",
        "tiff/rgb_12_bits.tif",
        "tiff/pages_big.tif",
        "tiff/uint64_white_is_zero.tif",
        "tiff/cmyk.tif",
    ];
    let mut refused = 0;
    for name in names {
        let whole = file(name);
        let mut changed = whole.clone();
        for at in 4..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                changed[at] ^= flip;
                refused += usize::from(outcome(&changed));
                changed[at] = whole[at];
            }
            refused += usize::from(outcome(&whole[..at]));
        }
    }
    assert!(refused > 1000, "{refused}");
}

/// Whether a file is refused.
fn outcome(bytes: &[u8]) -> bool {
    match decode(bytes, 1 << 20) {
        Ok(Decoded { pixels, .. }) => {
            assert_eq!(pixels.bytes().len(), pixels.shape.bytes());
            false
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            true
        }
    }
}
