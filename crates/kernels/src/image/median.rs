use brigade_proto::Buffer;

use super::job::{filter, load, store, synthesize};
use super::{median_histogram, median_network, median_weighed};
use crate::{Context, Kernel, KernelError, ParamSpec, Progress, Size, Spec};

pub(super) struct Median;

impl Kernel for Median {
    fn spec(&self) -> Spec {
        // A window of 255x255 is the largest whose count fits 16 bits.
        let radius = ParamSpec::int("radius", 1..=127, "Pixels to each side of a square window");
        filter("median", "Median of a square window", [radius.default(2_i64)]).details(
            "Edges replicated; each channel by itself, alpha too. Pixels count for the colours by \
             their alpha, so that those of transparent pixels are not seen. Equal to OpenCV's \
             medianBlur and SciPy's median_filter(mode=\"nearest\"), where alpha is the same \
             everywhere.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        let (radius, control) = (job.int("radius") as usize, job.control());
        store(job, pixels.shape, format, |out| match radius {
            1 if pixels.alpha_varies() => median_weighed::run::<1>(&pixels, control, out),
            2 if pixels.alpha_varies() => median_weighed::run::<2>(&pixels, control, out),
            _ if pixels.alpha_varies() => {
                median_histogram::run_weighed(&pixels, radius, control, out)
            }
            1 => median_network::run::<1>(&pixels, control, out),
            2 => median_network::run::<2>(&pixels, control, out),
            _ => median_histogram::run(&pixels, radius, control, out),
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::image::testing::{TestImage, run_raw};

    /// The smallest value that, with all below it, is more than half of what counts.
    fn naive(case: &TestImage, radius: isize) -> Vec<u8> {
        let mut out = Vec::new();
        for y in 0..case.height as isize {
            for x in 0..case.width as isize {
                for c in 0..case.channels {
                    let weight = |x, y| match (case.channels, c) {
                        (4, 0..3) => u32::from(case.at(x, y, 3)),
                        _ => 1,
                    };
                    let mut window: Vec<(u8, u32)> = (-radius..=radius)
                        .flat_map(|dy| (-radius..=radius).map(move |dx| (x + dx, y + dy)))
                        .map(|(x, y)| (case.at(x, y, c), weight(x, y)))
                        .collect();
                    window.sort_unstable();
                    let half = window.iter().map(|(_, weight)| weight).sum::<u32>() / 2;
                    let mut below = 0;
                    let median = window.iter().find(|(_, weight)| {
                        below += weight;
                        below > half
                    });
                    out.push(median.map_or(0, |&(value, _)| value));
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_the_definition(
            width in 1_usize..90, height in 1_usize..9, channels in prop::sample::select(vec![1, 3, 4]),
            radius in 1_i64..6, seed: u64,
        ) {
            let case = TestImage::random(width, height, channels, seed);
            let out = run_raw("median", &[("radius", radius.into())], &case);
            prop_assert_eq!(out.bytes, naive(&case, radius as isize));
        }
    }

    /// A slope that ends at transparent black, whose darkest values no median prefers.
    #[test]
    fn colours_beside_transparent_pixels_stay() {
        let mut case = TestImage { width: 40, height: 40, channels: 4, bytes: vec![0; 6400] };
        for (i, pixel) in case.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (x, y) = (i % 40, i / 40);
            if x < 20 {
                *pixel = [100 + y as u8, 200, 90, 255];
            }
        }
        for radius in [1_i64, 2, 7] {
            let out = run_raw("median", &[("radius", radius.into())], &case);
            assert_eq!(out.bytes, naive(&case, radius as isize));
            // As far from the upper and lower edge as the window reaches.
            let reach = radius as usize;
            for y in reach..40 - reach {
                let pixel = &out.bytes[(y * 40 + 19) * 4..][..4];
                assert_eq!(pixel, [100 + y as u8, 200, 90, 255], "radius {radius}, row {y}");
            }
        }
    }

    /// Uniform almost everywhere, with a slope of alpha and a hole: most windows are plain.
    #[test]
    fn few_mixed_windows_are_counted_one_by_one() {
        for seed in 0..20 {
            let mut case = TestImage::random(120, 30, 4, seed);
            let inside = [255, 128, 1, 0][seed as usize % 4];
            for (i, pixel) in case.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let (x, y) = (i % 120, i / 120);
                pixel[3] = match (x, y) {
                    (0, 0) | (60, 29) => pixel[3],
                    (50..53, 10..13) => pixel[3],
                    (80.., _) => 0,
                    _ => inside,
                };
            }
            for radius in [1_i64, 2] {
                let out = run_raw("median", &[("radius", radius.into())], &case);
                assert_eq!(
                    out.bytes,
                    naive(&case, radius as isize),
                    "seed {seed}, radius {radius}"
                );
            }
        }
    }

    /// A sorting network is right if it is right for zeros and ones.
    #[test]
    fn networks_pass_the_zero_one_test() {
        for seed in 0..20 {
            let mut case = TestImage::random(200, 30, 1, seed);
            case.bytes
                .iter_mut()
                .for_each(|b| *b = if *b < 100 + 5 * seed as u8 { 0 } else { 255 });
            for radius in [1_i64, 2] {
                let out = run_raw("median", &[("radius", radius.into())], &case);
                assert_eq!(out.bytes, naive(&case, radius as isize));
            }
        }
    }

    #[test]
    fn wide_windows_and_more_than_one_strip() {
        let case = TestImage::random(1100, 6, 1, 1);
        let out = run_raw("median", &[("radius", 9_i64.into())], &case);
        assert_eq!(out.bytes, naive(&case, 9));
        let small = TestImage::random(5, 4, 3, 1);
        let out = run_raw("median", &[("radius", 127_i64.into())], &small);
        assert_eq!(out.bytes, naive(&small, 127));
    }
}
