use brigade_proto::Buffer;

use super::job::{drop_alpha, filter, load, store, synthesize};
use crate::{Context, Kernel, KernelError, Progress, Size, Spec};

pub(super) struct Grayscale;

impl Kernel for Grayscale {
    fn spec(&self) -> Spec {
        filter("grayscale", "Turns colour into grey", []).details(
            "Rec. 601 luma, 0.299 R + 0.587 G + 0.114 B, rounded. Alpha is dropped. Equal to \
             OpenCV's cvtColor(COLOR_RGB2GRAY).",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        drop_alpha(job, &pixels);
        let shape = pixels.shape.with_channels(1)?;
        store(job, shape, format, |out| {
            for (y, row) in out.chunks_exact_mut(shape.width).enumerate() {
                pixels.luma_row(y, row);
            }
            Ok(())
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

#[cfg(test)]
mod tests {
    use crate::image::testing::{TestImage, run_raw};

    #[test]
    fn luma_is_within_rounding_of_the_formula() {
        let case = TestImage::random(37, 11, 3, 5);
        let grey = run_raw("grayscale", &[], &case);
        assert_eq!((grey.width, grey.height, grey.channels), (37, 11, 1));
        for (p, &g) in case.bytes.chunks(3).zip(&grey.bytes) {
            let exact = 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
            assert!((exact - f64::from(g)).abs() < 0.51, "{p:?} {g}");
        }
    }

    #[test]
    fn grey_stays_grey_and_alpha_goes() {
        let case = TestImage::random(9, 4, 1, 5);
        assert_eq!(run_raw("grayscale", &[], &case).bytes, case.bytes);
        let white = TestImage { width: 2, height: 1, channels: 4, bytes: vec![255; 8] };
        assert_eq!(run_raw("grayscale", &[], &white).bytes, [255, 255]);
    }
}
