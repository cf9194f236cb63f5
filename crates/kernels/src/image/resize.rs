use std::error::Error;

use brigade_proto::Buffer;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, MulDiv, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::format::check_size;
use super::job::{filter, load, store, synthesize};
use super::pixels::{Pixels, Shape};
use crate::alloc::try_vec;
use crate::{Context, Kernel, KernelError, ParamSpec, Progress, Size, Spec};

pub(super) struct Resize;

impl Kernel for Resize {
    fn spec(&self) -> Spec {
        let own = [
            ParamSpec::int("width", 0..=65535, "New width in pixels")
                .default(0_i64)
                .default_means("in proportion to the height; half if that is 0 too", 800_i64),
            ParamSpec::int("height", 0..=65535, "New height in pixels")
                .default(0_i64)
                .default_means("in proportion to the width; half if that is 0 too", 600_i64),
            ParamSpec::choice(
                "filter",
                &["nearest", "bilinear", "catmull-rom", "lanczos3"],
                "How pixels are weighed",
            )
            .default("lanczos3"),
        ];
        filter("resize", "Changes the size", own).details(
            "With one side 0 the aspect ratio is kept, with both 0 the image is halved. Filters \
             widen with the reduction, so that nothing aliases; colours are weighed by their \
             alpha. Agrees with Pillow's resize (NEAREST, BILINEAR, BICUBIC, LANCZOS) within 2 \
             grey levels, except where alpha is low enough to magnify rounding.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        let from = pixels.shape;
        let (width, height) = sides(from, job.int("width") as usize, job.int("height") as usize);
        check_size(width as u64, height as u64, job.int("max_pixels").unsigned_abs())?;
        let to = Shape::new(width, height, from.channels)?;
        let algorithm = match job.choice("filter") {
            "nearest" => ResizeAlg::Nearest,
            "bilinear" => ResizeAlg::Convolution(FilterType::Bilinear),
            "catmull-rom" => ResizeAlg::Convolution(FilterType::CatmullRom),
            _ => ResizeAlg::Convolution(FilterType::Lanczos3),
        };
        let failed = |error: &dyn Error| {
            KernelError::input(format!("cannot resize to {width}x{height}: {error}"))
        };
        store(job, to, format, |out| scale(&pixels, to, algorithm, out).map_err(|e| failed(&*e)))
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

/// One direction after the other, with alpha multiplied in before and taken out
/// after: each step rounds and cuts to 8 bits, so that the order shows at sharp
/// edges. This is Pillow's order, which fast_image_resize alone does not keep.
fn scale(
    pixels: &Pixels<'_>,
    to: Shape,
    algorithm: ResizeAlg,
    out: &mut [u8],
) -> Result<(), Box<dyn Error>> {
    let (from, bytes) = (pixels.shape, pixels.bytes());
    match from.channels {
        1 => convolve::<U8>(bytes, from, to, algorithm, out),
        3 => convolve::<U8x3>(bytes, from, to, algorithm, out),
        _ if matches!(algorithm, ResizeAlg::Nearest) => {
            convolve::<U8x4>(bytes, from, to, algorithm, out)
        }
        _ => {
            let alpha = MulDiv::new();
            let mut multiplied: Vec<u8> = try_vec(from.bytes())?;
            let source = view::<U8x4>(bytes, from)?;
            alpha.multiply_alpha_typed(&source, &mut target::<U8x4>(&mut multiplied, from)?)?;
            convolve::<U8x4>(&multiplied, from, to, algorithm, out)?;
            Ok(alpha.divide_alpha_inplace_typed(&mut target::<U8x4>(out, to)?)?)
        }
    }
}

/// With the type of the pixels known: `Resizer::resize` chooses it at run time, for
/// which its code for each of 13 types has to be compiled.
fn convolve<P: PixelTrait>(
    source: &[u8],
    from: Shape,
    to: Shape,
    algorithm: ResizeAlg,
    out: &mut [u8],
) -> Result<(), Box<dyn Error>> {
    let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
    let mut resizer = Resizer::new();
    // Along the rows first, but for an image that becomes wider and lower.
    let between = if to.width > from.width && to.height < from.height {
        Shape::new(from.width, to.height, from.channels)?
    } else {
        Shape::new(to.width, from.height, from.channels)?
    };
    let at_once = matches!(algorithm, ResizeAlg::Nearest) || between == from || between == to;
    let source = view::<P>(source, from)?;
    if at_once {
        return Ok(resizer.resize_typed(&source, &mut target::<P>(out, to)?, &options)?);
    }
    let mut half: Vec<u8> = try_vec(between.bytes())?;
    resizer.resize_typed(&source, &mut target::<P>(&mut half, between)?, &options)?;
    resizer.resize_typed(&view::<P>(&half, between)?, &mut target::<P>(out, to)?, &options)?;
    Ok(())
}

fn view<P: PixelTrait>(bytes: &[u8], shape: Shape) -> Result<TypedImageRef<'_, P>, Box<dyn Error>> {
    Ok(TypedImageRef::from_buffer(shape.width as u32, shape.height as u32, bytes)?)
}

fn target<P: PixelTrait>(
    bytes: &mut [u8],
    shape: Shape,
) -> Result<TypedImage<'_, P>, Box<dyn Error>> {
    Ok(TypedImage::from_buffer(shape.width as u32, shape.height as u32, bytes)?)
}

/// The sides that are meant, none of them 0.
fn sides(from: Shape, width: usize, height: usize) -> (usize, usize) {
    let (w, h) = (from.width as u128, from.height as u128);
    let rounded = |a: u128, b: u128| ((a + b / 2) / b).clamp(1, u128::from(u32::MAX)) as usize;
    match (width, height) {
        (0, 0) => (rounded(w, 2), rounded(h, 2)),
        (0, height) => (rounded(w * height as u128, h), height),
        (width, 0) => (width, rounded(h * width as u128, w)),
        both => both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::{TestImage, run_raw};

    #[test]
    fn a_side_that_is_left_out_follows() {
        let shape = Shape::new(400, 300, 3).unwrap();
        assert_eq!(sides(shape, 0, 0), (200, 150));
        assert_eq!(sides(shape, 100, 0), (100, 75));
        assert_eq!(sides(shape, 0, 100), (133, 100));
        assert_eq!(sides(shape, 7, 9), (7, 9));
        assert_eq!(sides(Shape::new(1, 1, 1).unwrap(), 0, 0), (1, 1));
        assert_eq!(sides(Shape::new(60_000, 1, 1).unwrap(), 1, 0), (1, 1));
    }

    #[test]
    fn flat_stays_flat_at_every_size_and_filter() {
        for filter in ["nearest", "bilinear", "catmull-rom", "lanczos3"] {
            for (from, to) in [((1, 1), (7, 5)), ((9, 2), (1, 1)), ((30, 20), (15, 41))] {
                for channels in [1, 3, 4] {
                    let mut bytes = vec![200; from.0 * from.1 * channels];
                    if channels == 4 {
                        bytes.chunks_mut(4).for_each(|p| p[3] = 255);
                    }
                    let case = TestImage { width: from.0, height: from.1, channels, bytes };
                    let out = run_raw(
                        "resize",
                        &[
                            ("width", (to.0 as i64).into()),
                            ("height", (to.1 as i64).into()),
                            ("filter", filter.into()),
                        ],
                        &case,
                    );
                    assert_eq!((out.width, out.height), to);
                    let flat = |p: &[u8]| p[..channels.min(3)].iter().all(|&b| b == 200);
                    assert!(out.bytes.chunks(channels).all(flat), "{filter} {from:?} {to:?}");
                }
            }
        }
    }

    /// Halving with a triangle filter whose support has doubled: weights 1 3 3 1,
    /// cut off at the edges.
    #[test]
    fn bilinear_halving_agrees_with_the_definition() {
        let case = TestImage::random(16, 1, 1, 9);
        let out = run_raw(
            "resize",
            &[("width", 8_i64.into()), ("height", 1_i64.into()), ("filter", "bilinear".into())],
            &case,
        );
        for (i, &value) in out.bytes.iter().enumerate() {
            let taps = [(-1, 1.0), (0, 3.0), (1, 3.0), (2, 1.0)];
            let (mut sum, mut total) = (0.0, 0.0);
            for (k, weight) in taps {
                if let Some(&v) = (2 * i).checked_add_signed(k).and_then(|at| case.bytes.get(at)) {
                    sum += weight * f64::from(v);
                    total += weight;
                }
            }
            assert!((sum / total - f64::from(value)).abs() <= 1.0, "{i}");
        }
    }
}
