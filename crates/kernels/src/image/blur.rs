use brigade_proto::Buffer;

use super::gaussian;
use super::job::{filter, load, store, synthesize};
use crate::{Context, Kernel, KernelError, ParamSpec, Progress, Size, Spec};

pub(super) struct Blur;

impl Kernel for Blur {
    fn spec(&self) -> Spec {
        let sigma = ParamSpec::float("sigma", 0.1..=100.0, "Standard deviation, in pixels");
        filter("blur", "Gaussian blur", [sigma.default(2.0)]).details(
            "Window of ceil(3 sigma) pixels to each side, edges replicated; all channels alike, \
             alpha too. Agrees with OpenCV's GaussianBlur(BORDER_REPLICATE) of that window within \
             1 grey level.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        let (sigma, control) = (job.float("sigma"), job.control());
        store(job, pixels.shape, format, |out| {
            gaussian::blur(&pixels, sigma, control, out, |_, _| {})
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::image::testing::{Case, assert_near, run_raw};

    /// The definition, in doubles.
    fn naive(case: &Case, sigma: f64) -> Vec<f64> {
        let radius = (3.0 * sigma).ceil() as isize;
        let weight = |k: isize| (-((k * k) as f64) / (2.0 * sigma * sigma)).exp();
        let total: f64 = (-radius..=radius).map(weight).sum();
        let (w, h) = (case.width as isize, case.height as isize);
        let pass = |at: &dyn Fn(isize, isize, usize) -> f64, dx: isize, dy: isize| {
            let mut out = Vec::new();
            for y in 0..h {
                for x in 0..w {
                    for c in 0..case.channels {
                        let sum: f64 = (-radius..=radius)
                            .map(|k| {
                                let x = (x + k * dx).clamp(0, w - 1);
                                let y = (y + k * dy).clamp(0, h - 1);
                                weight(k) * at(x, y, c)
                            })
                            .sum();
                        out.push(sum / total);
                    }
                }
            }
            out
        };
        let index = |x: isize, y: isize, c: usize| ((y * w + x) as usize) * case.channels + c;
        let rows = pass(&|x, y, c| f64::from(case.bytes[index(x, y, c)]), 1, 0);
        pass(&|x, y, c| rows[index(x, y, c)], 0, 1)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn agrees_with_the_definition(
            width in 1_usize..40, height in 1_usize..12, channels in prop::sample::select(vec![1, 3, 4]),
            sigma in prop::sample::select(vec![0.1, 0.3, 0.7, 1.0, 2.0, 5.0, 10.6, 11.0, 30.0]),
            seed: u64,
        ) {
            let case = Case::random(width, height, channels, seed);
            let out = run_raw("blur", &[("sigma", sigma.into())], &case);
            assert_near(&out.bytes, &naive(&case, sigma), 0.85);
        }
    }

    #[test]
    fn a_wide_image_agrees_as_well() {
        let case = Case::random(700, 5, 3, 3);
        for sigma in [2.0, 20.0] {
            let out = run_raw("blur", &[("sigma", sigma.into())], &case);
            assert_near(&out.bytes, &naive(&case, sigma), 0.85);
        }
    }

    #[test]
    fn a_flat_image_stays_as_it_is() {
        for value in [0, 1, 127, 254, 255] {
            for sigma in [0.1, 0.5, 2.0, 10.0, 11.0, 100.0] {
                let case = Case { width: 33, height: 3, channels: 1, bytes: vec![value; 99] };
                let out = run_raw("blur", &[("sigma", sigma.into())], &case);
                assert_eq!(out.bytes, case.bytes, "sigma {sigma}");
            }
        }
    }
}
