//! Every format in and out, and what is wrong with broken files.

use brigade_proto::{Note, Value};
use image::{ExtendedColorType, ImageEncoder};

use super::codec::{Decoded, decode, encode};
use super::format::ImageFormat;
use super::pixels::Shape;
use super::testing::{TestImage, run, run_raw};
use crate::{KernelError, Registry, Size};

const FORMATS: [ImageFormat; 4] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff];

fn file(case: &TestImage, format: ImageFormat) -> Vec<u8> {
    let shape = Shape::new(case.width, case.height, case.channels).unwrap();
    encode(&case.bytes, shape, format, 95).unwrap()
}

fn smooth(width: usize, height: usize, channels: usize) -> TestImage {
    let at =
        |i: usize| (i / channels % width + i / channels / width * 2 + i % channels * 40) as u8 / 2;
    let bytes = (0..width * height * channels).map(at).collect();
    TestImage { width, height, channels, bytes }
}

fn error(bytes: &[u8]) -> String {
    decode(bytes, 1_000_000).unwrap_err().to_string()
}

#[test]
fn every_format_gives_back_what_was_written() {
    for channels in [1, 3, 4] {
        for (width, height) in [(1, 1), (2, 3), (33, 17)] {
            let case = smooth(width, height, channels);
            for format in FORMATS {
                let bytes = file(&case, format);
                let Decoded { pixels, format: found, notes } = decode(&bytes, 1_000_000).unwrap();
                assert_eq!(found, format);
                assert!(notes.is_empty(), "{format} {notes:?}");
                assert_eq!((pixels.shape.width, pixels.shape.height), (width, height));
                match (format, channels) {
                    (ImageFormat::Jpeg, _) => {
                        let channels = if channels == 4 { 3 } else { channels };
                        assert_eq!(pixels.shape.channels, channels, "alpha is dropped");
                        let center = pixels.bytes()[0].abs_diff(case.bytes[0]);
                        assert!(center < 40, "{center}");
                    }
                    // WebP knows no grey.
                    (ImageFormat::WebP, 1) => {
                        let grey: Vec<u8> = pixels.bytes().iter().step_by(3).copied().collect();
                        assert_eq!(grey, case.bytes);
                    }
                    _ => assert_eq!(pixels.bytes(), case.bytes, "{format} {channels}"),
                }
            }
        }
    }
}

#[test]
fn a_kernel_writes_the_format_that_is_asked_for() {
    let case = smooth(20, 10, 3);
    let names = [
        ("png", ImageFormat::Png),
        ("jpeg", ImageFormat::Jpeg),
        ("webp", ImageFormat::WebP),
        ("tiff", ImageFormat::Tiff),
        ("npy", ImageFormat::Npy),
    ];
    for (name, format) in names {
        let out = run("blur", &[("format", name.into())], &case.npy()).unwrap();
        assert_eq!(ImageFormat::detect(&out).unwrap(), format);
        let again = run("blur", &[], &out).unwrap();
        assert_eq!(ImageFormat::detect(&again).unwrap(), format, "same as the input");
    }
    let small = run("blur", &[("format", "jpeg".into()), ("quality", 5_i64.into())], &case.npy());
    let large = run("blur", &[("format", "jpeg".into()), ("quality", 100_i64.into())], &case.npy());
    assert!(small.unwrap().len() < large.unwrap().len());
}

#[test]
fn truncated_files_are_errors_wherever_they_end() {
    let case = smooth(60, 40, 3);
    for format in FORMATS {
        let bytes = file(&case, format);
        for keep in (16..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            let message = error(&bytes[..keep]);
            assert!(!message.contains('\n'));
            assert!(message.contains(&format.to_string()), "{format} {keep}: {message}");
        }
        assert_eq!(error(&bytes[..bytes.len() - 20]), format!("truncated {format}"));
    }
    let raw = case.npy();
    assert!(matches!(decode(&raw[..raw.len() - 1], 1 << 20), Err(KernelError::Input(_))));
}

#[test]
fn bytes_that_are_no_image_are_told_apart() {
    assert_eq!(error(b""), "not an image: the file is empty");
    let message = error(b"hello");
    assert!(message.starts_with("not an image: starts with [68, 65, 6c, 6c]"), "{message}");
    for magic in [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"RIFF\x08\0\0\0WEBP", b"II*\0"] {
        for tail in [&b""[..], &[0; 40], &[0xff; 400]] {
            assert!(matches!(decode(&[magic, tail].concat(), 1 << 20), Err(KernelError::Input(_))));
        }
    }
}

/// Flipped bytes end in an error or a picture, never in a panic.
#[test]
fn damaged_files_do_not_panic() {
    for format in FORMATS {
        let bytes = file(&smooth(24, 18, 3), format);
        for at in 8..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                if let Err(error) = decode(&damaged, 1 << 20) {
                    assert!(!error.to_string().contains('\n'));
                }
            }
        }
    }
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut png = file(&smooth(4, 4, 3), ImageFormat::Png);
    png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let limit = Registry::builtin();
    let default = limit.find("blur").unwrap().spec.params.iter().find(|p| p.name == "max_pixels");
    assert_eq!(default.unwrap().default, Some(Value::Int(200_000_000)));
    for bytes in [&png[..], &png[..33]] {
        let error = run("blur", &[], bytes).unwrap_err();
        assert!(matches!(error, KernelError::TooLarge { flag: "--max-pixels", .. }));
        assert_eq!(
            error.to_string(),
            "the image is 60000x60000 = 3600000000 pixels, more than the limit of 200000000; \
             --max-pixels raises it"
        );
    }
    for format in FORMATS {
        let bytes = file(&smooth(11, 10, 3), format);
        assert!(decode(&bytes, 110).is_ok());
        assert!(matches!(decode(&bytes, 109), Err(KernelError::TooLarge { .. })), "{format}");
    }
    let raw = smooth(11, 10, 3).npy();
    assert!(matches!(decode(&raw, 109), Err(KernelError::TooLarge { .. })));
    let grown = [("width", 60_000_i64.into()), ("height", 60_000_i64.into())];
    assert!(matches!(run("resize", &grown, &raw), Err(KernelError::TooLarge { .. })));
}

#[test]
fn a_format_that_is_too_small_says_so() {
    let case = TestImage { width: 70_000, height: 1, channels: 1, bytes: vec![9; 70_000] };
    let error = run("grayscale", &[("format", "jpeg".into())], &case.npy()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "70000x1 pixels do not fit a JPEG, whose sides are at most 65535; choose another format"
    );
}

#[test]
fn raw_images_are_used_where_they_lie_and_fortran_order_is_understood() {
    let case = smooth(5, 3, 3);
    let raw = case.npy();
    let pixels = decode(&raw, 100).unwrap().pixels;
    let range = raw.as_ptr_range();
    assert!(range.contains(&pixels.bytes().as_ptr()));

    let text = String::from_utf8_lossy(&raw[10..64 * (raw.len() / 64)]).into_owned();
    assert!(text.contains("'fortran_order': False"), "{text}");
    let header = raw.len() - case.bytes.len();
    let mut fortran = raw[..header].to_vec();
    let at = fortran.windows(5).position(|w| w == b"False").unwrap();
    fortran[at..at + 5].copy_from_slice(b"True ");
    for c in 0..3 {
        for x in 0..5 {
            for y in 0..3 {
                fortran.push(case.bytes[(y * 5 + x) * 3 + c]);
            }
        }
    }
    assert_eq!(decode(&fortran, 100).unwrap().pixels.bytes(), case.bytes);
}

#[test]
fn deep_samples_are_rounded_and_grey_with_alpha_becomes_colour() {
    let mut png = Vec::new();
    let values: [u16; 4] = [0, 128, 129, 65535];
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    encoder.write_image(&bytes, 2, 1, ExtendedColorType::La16).unwrap();
    let Decoded { pixels, notes, .. } = decode(&png, 100).unwrap();
    assert!(notes.contains(Note::DepthReduced));
    assert_eq!(pixels.shape.channels, 4);
    assert_eq!(pixels.bytes(), [0, 0, 0, 0, 1, 1, 1, 255]);
}

/// A JPEG with an EXIF block that holds nothing but the orientation.
fn turned(case: &TestImage, orientation: u8) -> Vec<u8> {
    let bytes = file(case, ImageFormat::Jpeg);
    let mut exif =
        b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&bytes[..2], &exif, &bytes[2..]].concat()
}

#[test]
fn exif_orientation_is_applied() {
    // Bright in the upper left corner, in the stored picture.
    let mut case = TestImage { width: 32, height: 16, channels: 1, bytes: vec![0; 512] };
    for y in 0..8 {
        case.bytes[y * 32..y * 32 + 8].fill(255);
    }
    // Where that corner goes: right, bottom.
    let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    for (i, (right, bottom)) in corners.into_iter().enumerate() {
        let bytes = turned(&case, i as u8 + 1);
        let out = TestImage::from_file(&bytes);
        assert_eq!((out.width, out.height), if i < 4 { (32, 16) } else { (16, 32) });
        let (x, y) = (right * (out.width - 1), bottom * (out.height - 1));
        assert!(out.bytes[y * out.width + x] > 200, "orientation {}", i + 1);
        assert_eq!(out.bytes.iter().filter(|&&b| b > 128).count(), 64);
    }
}

#[test]
fn every_kernel_runs_on_its_own_synthetic_input() {
    let registry = Registry::builtin();
    let kernels = super::kernels().into_iter().chain(crate::vision::kernels());
    for kernel in kernels {
        let name = kernel.spec().name;
        assert!(registry.find(name).is_ok());
        assert!(kernel.spec().default_size.parse::<Size>().is_ok());
        for (size, sides) in [
            (Size::Area { width: 64, height: 40 }, (64, 40)),
            (Size::Count(1), (1, 1)),
            (Size::Bytes(300), (10, 10)),
        ] {
            let inputs = kernel.synthesize(size, 7).unwrap();
            assert_eq!(inputs, kernel.synthesize(size, 7).unwrap());
            let case = TestImage::from_file(&inputs[0]);
            assert_eq!((case.width, case.height), sides);
            run(name, &[], &inputs[0]).unwrap();
        }
        let huge = Size::Area { width: u32::MAX, height: u32::MAX };
        assert!(matches!(kernel.synthesize(huge, 7), Err(KernelError::Memory { .. })));
        assert!(kernel.synthesize(Size::Count(0), 7).is_err());
    }
}

#[test]
fn one_pixel_survives_every_filter() {
    for channels in [1, 3, 4] {
        let case = TestImage { width: 1, height: 1, channels, bytes: vec![200; channels] };
        for kernel in ["blur", "median", "sharpen", "resize"] {
            assert_eq!(run_raw(kernel, &[], &case).bytes, case.bytes, "{kernel}");
        }
        assert_eq!(run_raw("sobel", &[], &case).bytes, [0]);
        assert_eq!(run_raw("canny", &[], &case).bytes, [0]);
    }
}
