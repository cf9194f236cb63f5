use brigade_proto::Buffer;

use super::job::{drop_alpha, filter, load, store, synthesize};
use super::pixels::round;
use crate::alloc::try_vec;
use crate::simd::vectorised;
use crate::{Context, Kernel, KernelError, Progress, Size, Spec};

pub(super) struct Sobel;

impl Kernel for Sobel {
    fn spec(&self) -> Spec {
        filter("sobel", "Strength of edges", []).details(
            "Gradient magnitude sqrt(gx^2 + gy^2) of the luma with the 3x3 Sobel operator, edges \
             replicated, rounded, cut at 255; one channel out. Equal to OpenCV's two Sobel calls \
             with BORDER_REPLICATE and their magnitude as far as rounding allows.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        drop_alpha(job, &pixels);
        let shape = pixels.shape.with_channels(1)?;
        store(job, shape, format, |out| {
            let (width, height) = (shape.width, shape.height);
            // Three rows of luma: the one above, this one, the one below.
            let mut rows: [Vec<u8>; 3] =
                [try_vec(width + 2)?, try_vec(width + 2)?, try_vec(width + 2)?];
            pixels.padded_luma_row(0, 1, &mut rows[0]);
            pixels.padded_luma_row(0, 1, &mut rows[1]);
            for (y, to) in out.chunks_exact_mut(width).enumerate() {
                pixels.padded_luma_row((y + 1).min(height - 1), 1, &mut rows[2]);
                magnitudes(&rows[0], &rows[1], &rows[2], to);
                rows.rotate_left(1);
            }
            Ok(())
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

#[inline(always)]
fn wide(row: [u8; 3]) -> [i16; 3] {
    [i16::from(row[0]), i16::from(row[1]), i16::from(row[2])]
}

/// Both gradients at the middle of a 3x3 window.
#[inline(always)]
pub(crate) fn gradients(above: [u8; 3], here: [u8; 3], below: [u8; 3]) -> (i16, i16) {
    // No closures: one that is not inlined keeps the caller's loop from being vectorised.
    let (a, h, b) = (wide(above), wide(here), wide(below));
    let gx = (a[2] - a[0]) + 2 * (h[2] - h[0]) + (b[2] - b[0]);
    let gy = (b[0] - a[0]) + 2 * (b[1] - a[1]) + (b[2] - a[2]);
    (gx, gy)
}

vectorised! {
    fn magnitudes(above: &[u8], here: &[u8], below: &[u8], to: &mut [u8]) {
        let n = to.len();
        let (above, here, below) = (&above[..n + 2], &here[..n + 2], &below[..n + 2]);
        for i in 0..n {
            let (gx, gy) = gradients(
                [above[i], above[i + 1], above[i + 2]],
                [here[i], here[i + 1], here[i + 2]],
                [below[i], below[i + 1], below[i + 2]],
            );
            let (gx, gy) = (i32::from(gx), i32::from(gy));
            // Exact: the sum is below 2^24.
            let magnitude = ((gx * gx + gy * gy) as f32).sqrt();
            to[i] = round(magnitude).min(255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::image::testing::{TestImage, assert_near, run_raw};

    fn naive(case: &TestImage) -> Vec<f64> {
        let at = |x: isize, y: isize| f64::from(case.at(x, y, 0));
        let mut out = Vec::new();
        for y in 0..case.height as isize {
            for x in 0..case.width as isize {
                let (mut gx, mut gy) = (0.0, 0.0);
                for (k, weight) in [(-1, 1.0), (0, 2.0), (1, 1.0)] {
                    gx += weight * (at(x + 1, y + k) - at(x - 1, y + k));
                    gy += weight * (at(x + k, y + 1) - at(x + k, y - 1));
                }
                out.push(gx.hypot(gy).min(255.0));
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_the_definition(width in 1_usize..150, height in 1_usize..9, seed: u64) {
            let case = TestImage::random(width, height, 1, seed);
            assert_near(&run_raw("sobel", &[], &case).bytes, &naive(&case), 0.501);
        }
    }

    #[test]
    fn colour_counts_as_its_luma() {
        let case = TestImage::random(40, 20, 3, 8);
        let grey = run_raw("grayscale", &[], &case);
        assert_eq!(run_raw("sobel", &[], &case).bytes, run_raw("sobel", &[], &grey).bytes);
    }
}
