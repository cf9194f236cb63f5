use brigade_proto::Buffer;

use super::gaussian;
use super::job::{filter, load, store, synthesize};
use crate::simd::vectorised;
use crate::{Context, Kernel, KernelError, ParamSpec, Progress, Size, Spec};

pub(super) struct Sharpen;

impl Kernel for Sharpen {
    fn spec(&self) -> Spec {
        let own = [
            ParamSpec::float("sigma", 0.1..=100.0, "Of the blur that is taken away, in pixels")
                .default(2.0),
            ParamSpec::float("amount", 0.0..=100.0, "How much of the difference is added")
                .default(1.0),
            ParamSpec::int("threshold", 0..=255, "Smaller differences are left, in grey levels")
                .default(0_i64),
        ];
        filter("sharpen", "Unsharp mask", own).details(
            "Adds amount times the difference from the Gaussian blur (as the kernel `blur`) where \
             it is at least the threshold; alpha is kept, and colours of transparent pixels are \
             not seen. As OpenCV's addWeighted of the image and its GaussianBlur, within 1 grey \
             level per unit of amount.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        let (sigma, control) = (job.float("sigma"), job.control());
        // In 1/256: fine enough, and integers are the same everywhere.
        let amount = (job.float("amount") * 256.0).round() as i32;
        let threshold = job.int("threshold") as i32;
        let channels = pixels.shape.channels;
        store(job, pixels.shape, format, |out| {
            gaussian::blur(&pixels, sigma, control, out, |y, row| {
                let from = pixels.row(y);
                unsharp(from, row, amount, threshold);
                if channels == 4 {
                    for (to, from) in row.iter_mut().zip(from).skip(3).step_by(4) {
                        *to = *from;
                    }
                }
            })
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

vectorised! {
    /// `row` is the blurred row at first.
    fn unsharp(from: &[u8], row: &mut [u8], amount: i32, threshold: i32) {
        for (to, &from) in row.iter_mut().zip(from) {
            let from = i32::from(from);
            let difference = from - i32::from(*to);
            let added = if difference.abs() >= threshold { difference * amount } else { 0 };
            *to = (from + ((added + 128) >> 8)).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::image::testing::{TestImage, run_raw};

    #[test]
    fn adds_the_difference_from_the_blur() {
        for channels in [1, 3] {
            let case = TestImage::random(31, 7, channels, 4);
            let blurred = run_raw("blur", &[("sigma", 1.5.into())], &case);
            let sharp = run_raw(
                "sharpen",
                &[("sigma", 1.5.into()), ("amount", 0.5.into()), ("threshold", 10_i64.into())],
                &case,
            );
            for ((&from, &soft), &to) in case.bytes.iter().zip(&blurred.bytes).zip(&sharp.bytes) {
                let difference = f64::from(from) - f64::from(soft);
                let added = if difference.abs() < 10.0 { 0.0 } else { 0.5 * difference };
                let expected = (f64::from(from) + added).clamp(0.0, 255.0);
                assert!((expected - f64::from(to)).abs() <= 0.5);
            }
        }
    }

    /// A flat colour that ends at transparent black has no edge to sharpen.
    #[test]
    fn colours_beside_transparent_pixels_stay() {
        let mut case = TestImage { width: 40, height: 9, channels: 4, bytes: vec![0; 40 * 9 * 4] };
        for (i, pixel) in case.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            if i % 40 < 20 {
                *pixel = [90, 120, 200, 255];
            }
        }
        let out = run_raw("sharpen", &[("amount", 2.0.into())], &case);
        let seen: Vec<_> = out.bytes.as_chunks::<4>().0.iter().filter(|p| p[3] > 0).collect();
        assert_eq!(seen.len(), 180);
        assert!(seen.iter().all(|&&pixel| pixel == [90, 120, 200, 255]));
    }

    #[test]
    fn alpha_and_an_amount_of_0_change_nothing() {
        let case = TestImage::random(16, 16, 4, 4);
        let same = run_raw("sharpen", &[("amount", 0.0.into())], &case);
        assert_eq!(same.bytes, case.bytes);
        let sharp = run_raw("sharpen", &[("amount", 3.0.into())], &case);
        let alpha =
            |case: &TestImage| case.bytes.iter().skip(3).step_by(4).copied().collect::<Vec<_>>();
        assert_eq!(alpha(&sharp), alpha(&case));
    }
}
