use std::fs;
use std::path::{Path, PathBuf};

use brigade_proto::Note;

use super::super::codec::{Decoded, decode};
use super::*;

/// Files made with libjpeg-turbo's `cjpeg`; what its `djpeg` reads from each lies beside it.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/jpeg");

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(FILES).join(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<(Shape, Vec<u8>), String> {
    let picture = super::decode(bytes, 1 << 20).map_err(|error| error.to_string())?;
    Ok((picture.shape, picture.bytes.to_vec()))
}

fn refusal(bytes: &[u8]) -> String {
    let text = read(bytes).unwrap_err();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// The largest difference from the PNG of the same name.
fn difference(path: &Path) -> u8 {
    let (shape, bytes) = read(&fs::read(path).unwrap()).unwrap();
    let png = fs::read(path.with_extension("png")).unwrap();
    let Decoded { pixels: expected, format, .. } = decode(&png, 1 << 20).unwrap();
    assert_eq!(format, ImageFormat::Png);
    assert_eq!((shape.width, shape.height), (expected.shape.width, expected.shape.height));
    // A PNG of a grey picture may hold three equal channels.
    let step = expected.shape.channels / shape.channels;
    let expected = expected.bytes().iter().step_by(step);
    bytes.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_sampling_and_every_script_of_scans_is_read_as_libjpeg_turbo_reads_it() {
    let list = fs::read_dir(Path::new(FILES).join("generated")).unwrap();
    let paths: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    let jpegs = paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "jpg"));
    let worst: Vec<_> = jpegs.map(|path| (difference(path), path)).collect();
    assert_eq!(worst.len(), 25);
    // The same arithmetic, with and without vector code.
    assert!(worst.iter().all(|(difference, _)| *difference == 0), "{worst:?}");
}

#[test]
fn reported_files_have_the_right_pixels() {
    // The expected pictures of these come from another version of the decoder.
    for name in ["scan_per_component_420.jpg", "chroma_finer_than_luma.jpg"] {
        let difference = difference(&Path::new(FILES).join(name));
        assert!(difference <= 8, "{name}: {difference}");
    }
    let whole = read(&file("chroma_finer_than_luma.jpg")).unwrap();
    let (shape, bytes) = read(&file("panics.jpg")).unwrap();
    assert_eq!(shape, whole.0);
    let sum: u32 = bytes.iter().zip(&whole.1).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!(sum < bytes.len() as u32, "the same picture in separate scans: {sum}");
}

#[test]
fn ink_becomes_light() {
    assert!(difference(&Path::new(FILES).join("cmyk.jpg")) <= 1);
    assert_eq!(rgb_of_cmyk([255, 255, 255, 255], true), [255; 3]);
    assert_eq!(rgb_of_cmyk([255, 0, 0, 0], false), [0, 255, 255]);
    assert_eq!(rgb_of_cmyk([0, 0, 0, 255], false), [0; 3]);
}

/// Where the data of the first scan begins.
fn data(bytes: &[u8]) -> usize {
    let mark = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    mark + 2 + usize::from(u16::from_be_bytes([bytes[mark + 2], bytes[mark + 3]]))
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let names = [
        "generated/2x2-1x1-2x1_prog2_r0.jpg",
        "generated/2x1_0_12_r0.jpg",
        "generated/4x1_prog1_r2.jpg",
        "generated/2x2-2x1-2x1_prog1-rgb_r7.jpg",
        "generated/2x2-1x2-1x1_default_r0.jpg",
    ];
    let files = names.iter().map(|name| (name.to_string(), file(name)));
    files.chain([("cmyk.jpg".to_string(), file("cmyk.jpg"))]).collect()
}

#[test]
fn a_file_that_keeps_its_end_mark_and_lacks_data_is_refused() {
    assert_eq!(
        refusal(&file("half_then_eoi.jpg")),
        "truncated JPEG: its data ends before the picture does"
    );
    for (name, whole) in samples() {
        let start = data(&whole);
        // One byte short is no longer certain to be seen: its bits may be padding.
        for keep in (start..whole.len() - 4).step_by(5) {
            let cut = [&whole[..keep], &END_MARK].concat();
            let text = refusal(&cut);
            assert!(text.contains("JPEG"), "{name} {keep}: {text}");
            let second = [&whole[..keep], &whole[..]].concat();
            assert!(read(&second).is_err(), "{name}: a second file behind {keep} bytes");
        }
    }
}

/// A JPEG has no checksum. A hole of zeros is seen because the blocks that it decodes to are more
/// or fewer than those that were there. For any decoder a hole passes if their numbers happen to
/// agree: small holes often, those of a disk's sector in one case of a hundred.
#[test]
fn sectors_of_zeros_inside_are_refused_but_for_coincidences() {
    let shape = Shape::new(320, 240, 3).unwrap();
    let texture = |x: u32, y: u32, c: u32| (x * 3 + y * 2 + c * 40 + (x * x + y * 7) % 23) as u8;
    let bytes: Vec<u8> = (0..240 * 320 * 3).map(|i| texture(i / 3 % 320, i / 960, i % 3)).collect();
    let whole = encode(&bytes, shape, 90).unwrap();
    let (start, end) = (data(&whole), whole.len() - 2);
    assert!(end - start > 10 * 512);
    let (mut tried, mut taken) = (0, 0);
    for at in (start..end - 512).step_by(97) {
        let mut hole = whole.clone();
        hole[at..at + 512].fill(0);
        tried += 1;
        taken += usize::from(read(&hole).is_ok());
    }
    assert!(tried > 100 && taken * 50 < tried, "{taken} of {tried}");
}

/// A table of codes that lost its symbols decodes to something, too.
#[test]
fn zeros_in_a_table_are_refused() {
    let mut bytes = file("generated/2x1_0_12_r0.jpg");
    bytes[507..571].fill(0);
    assert_eq!(refusal(&bytes), "damaged JPEG: a Huffman table is wrong");
}

#[test]
fn padding_is_zeros_that_no_stuffed_byte_needs() {
    let of = |scan: &[u8]| padding(&[scan, &END_MARK].concat());
    assert_eq!(
        [of(&[]), of(&[7]), of(&[7, 0, 0]), of(&[0xff, 0]), of(&[0xff, 0, 0])],
        [0, 0, 2, 0, 1]
    );
    assert_eq!((of(&[7, 0xff]), of(&[0; 65])), (0, 0));
}

#[test]
fn a_restart_mark_that_is_missing_is_refused() {
    let mut bytes = file("generated/4x1_prog1_r2.jpg");
    let at = data(&bytes);
    let mark = at + bytes[at..].windows(2).position(|pair| pair == [0xff, 0xd0]).unwrap();
    bytes.drain(mark..mark + 2);
    refusal(&bytes);
}

#[test]
fn scans_that_are_missing_are_refused() {
    let whole = file("generated/2x2-1x1-2x1_prog2_r0.jpg");
    let scans: Vec<usize> =
        (0..whole.len() - 1).filter(|&at| whole[at..at + 2] == [0xff, 0xda]).collect();
    assert!(scans.len() > 5);
    let text = refusal(&[&whole[..scans[4]], &END_MARK].concat());
    assert_eq!(text, "truncated JPEG: some of its scans are missing");
}

#[test]
fn a_few_zeros_that_pad_the_file_do_no_harm_and_many_do() {
    let whole = file("generated/2x2-1x2-1x1_default_r0.jpg");
    let padded = |zeros: usize| {
        let end = whole.len() - 2;
        [&whole[..end], &vec![0; zeros], &END_MARK, b"behind it"].concat()
    };
    let expected = read(&whole).unwrap();
    for zeros in [0, 1, 4, 64] {
        assert_eq!(read(&padded(zeros)), Ok(expected.clone()), "{zeros}");
    }
    assert_eq!(
        refusal(&padded(500)),
        "damaged JPEG: data is left over when the picture is complete"
    );
}

#[test]
fn kinds_that_are_not_read_are_named() {
    assert_eq!(refusal(&file("arithmetic.jpg")), "unsupported JPEG: arithmetic coding");
    let whole = file("chroma_finer_than_luma.jpg");
    let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[frame + at] = value;
        refusal(&bytes)
    };
    assert_eq!(with(4, 12), "unsupported JPEG: 12 bits a sample");
    assert_eq!(with(1, 0xc3), "unsupported JPEG: lossless coding");
    assert_eq!(with(1, 0xc6), "unsupported JPEG: hierarchical coding");
    let mut flat = whole.clone();
    flat[frame + 5..frame + 7].fill(0);
    assert_eq!(refusal(&flat), "unsupported JPEG: a height that is told after the picture (DNL)");
    assert_eq!(with(9, 2), "unsupported JPEG: 2 components");
}

#[test]
fn what_is_dropped_is_noted() {
    let plain = file("generated/2x2-1x2-1x1_default_r0.jpg");
    let notes = |segment: &[u8], behind: &[u8]| {
        let bytes = [&plain[..2], segment, &plain[2..], behind].concat();
        super::decode(&bytes, 1 << 20).unwrap().notes.iter().collect::<Vec<_>>()
    };
    assert_eq!(notes(b"", b"anything"), []);
    assert_eq!(notes(b"\xff\xe2\0\x0eICC_PROFILE\0", b""), [Note::IccDropped]);
    assert_eq!(notes(b"\xff\xfe\0\x04hi", b""), [Note::MetadataDropped]);
    assert_eq!(notes(b"", &plain), [Note::MoreFrames]);
    let orientation =
        b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    assert_eq!(notes(orientation, b""), []);
}

#[test]
fn every_quality_gives_a_baseline_file_and_a_larger_one_than_the_quality_below() {
    let shape = Shape::new(64, 64, 3).unwrap();
    let bytes: Vec<u8> = (0..64 * 64 * 3_u32).map(|i| (i * i % 253) as u8).collect();
    let files: Vec<_> = (1..=100).map(|q| encode(&bytes, shape, q).unwrap()).collect();
    for (file, quality) in files.iter().zip(1..) {
        // The frame header of baseline files, tables of 8 bits.
        let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]);
        assert!(frame.is_some(), "{quality}");
        assert!(read(file).is_ok());
    }
    assert!(files.is_sorted_by_key(|file| file.len()));
}

#[test]
fn colours_survive_a_smooth_picture() {
    let shape = Shape::new(64, 48, 3).unwrap();
    let bytes: Vec<u8> = (0..48)
        .flat_map(|y| (0..64).flat_map(move |x| [x * 2 + 60, 200 - y * 2, x + y + 40]))
        .map(|sample: i32| sample as u8)
        .collect();
    let grey: Vec<u8> = bytes.iter().step_by(3).copied().collect();
    let pixels = bytes.as_chunks::<3>().0;
    let clear: Vec<u8> = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, 7]).collect();
    for (channels, from, back) in [(1, &grey, &grey), (3, &bytes, &bytes), (4, &clear, &bytes)] {
        let shape = Shape::new(shape.width, shape.height, channels).unwrap();
        let (found, decoded) = read(&encode(from, shape, 95).unwrap()).unwrap();
        assert_eq!(found.channels, channels.min(3));
        let worst = decoded.iter().zip(back).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 6, "{channels}: {worst}");
    }
}
