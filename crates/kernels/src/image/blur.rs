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
             alpha too. Colours are weighed by their alpha, so that those of transparent pixels \
             are not seen. Agrees with OpenCV's GaussianBlur(BORDER_REPLICATE) of that window, \
             of colours that were multiplied by alpha where there is one, within 1 grey level.",
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

    use crate::image::testing::{TestImage, assert_near, run_raw};

    /// The definition, in doubles: of the channels, or of colours times alpha over alpha.
    fn naive(case: &TestImage, sigma: f64) -> Vec<f64> {
        let pixels = case.bytes.chunks(case.channels).map(|p| p.iter().map(|&b| f64::from(b)));
        if case.channels < 4 {
            return weighed(case, sigma, pixels.flatten().collect());
        }
        let multiplied = pixels.flat_map(|p| {
            let p: Vec<f64> = p.collect();
            [p[0] * p[3], p[1] * p[3], p[2] * p[3], p[3]]
        });
        let sums = weighed(case, sigma, multiplied.collect());
        let quotient = |p: &[f64]| {
            let share = if p[3] > 1e-3 { 1.0 / p[3] } else { 0.0 };
            [p[0] * share, p[1] * share, p[2] * share, p[3]]
        };
        sums.chunks(4).flat_map(quotient).collect()
    }

    fn weighed(case: &TestImage, sigma: f64, values: Vec<f64>) -> Vec<f64> {
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
        let rows = pass(&|x, y, c| values[index(x, y, c)], 1, 0);
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
            let case = TestImage::random(width, height, channels, seed);
            let out = run_raw("blur", &[("sigma", sigma.into())], &case);
            assert_near(&out.bytes, &naive(&case, sigma), 0.85);
        }
    }

    #[test]
    fn a_wide_image_agrees_as_well() {
        let case = TestImage::random(700, 5, 3, 3);
        for sigma in [2.0, 20.0] {
            let out = run_raw("blur", &[("sigma", sigma.into())], &case);
            assert_near(&out.bytes, &naive(&case, sigma), 0.85);
        }
    }

    /// A bright square on transparent black, with alpha in between.
    #[test]
    fn colours_beside_transparent_pixels_stay() {
        let mut case =
            TestImage { width: 48, height: 40, channels: 4, bytes: vec![0; 48 * 40 * 4] };
        for (i, pixel) in case.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (x, y) = (i % 48, i / 48);
            if (12..36).contains(&x) && (10..30).contains(&y) {
                *pixel = [255, 200, 3, if x == 12 { 9 } else { 255 }];
            }
        }
        for sigma in [0.5, 3.0, 12.0] {
            let out = run_raw("blur", &[("sigma", sigma.into())], &case);
            let seen = out.bytes.as_chunks::<4>().0.iter().filter(|pixel| pixel[3] > 8);
            let mut count = 0;
            for pixel in seen {
                assert_eq!(pixel[..3], [255, 200, 3], "sigma {sigma}");
                count += 1;
            }
            assert!(count > 400, "sigma {sigma}: {count}");
        }
    }

    /// Where alpha is the same everywhere other arithmetic is used.
    #[test]
    fn the_same_alpha_everywhere_changes_no_colour() {
        let rgb = TestImage::random(50, 30, 3, 6);
        for alpha in [255, 7] {
            let bytes = rgb.bytes.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, alpha]);
            let rgba = TestImage { channels: 4, bytes: bytes.collect(), ..rgb.clone() };
            let colors = run_raw("blur", &[], &rgb).bytes;
            let out = run_raw("blur", &[], &rgba).bytes;
            for (rgba, rgb) in out.as_chunks::<4>().0.iter().zip(colors.as_chunks::<3>().0) {
                assert_eq!((&rgba[..3], rgba[3]), (&rgb[..], alpha));
            }
        }
    }

    #[test]
    fn a_flat_image_stays_as_it_is() {
        for value in [0, 1, 127, 254, 255] {
            for sigma in [0.1, 0.5, 2.0, 10.0, 11.0, 100.0] {
                let case = TestImage { width: 33, height: 3, channels: 1, bytes: vec![value; 99] };
                let out = run_raw("blur", &[("sigma", sigma.into())], &case);
                assert_eq!(out.bytes, case.bytes, "sigma {sigma}");
            }
        }
    }
}
