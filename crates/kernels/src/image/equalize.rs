use brigade_proto::Buffer;

use super::histogram::count_bytes;
use super::job::{filter, load, store, synthesize};
use super::pixels::{Pixels, luma};
use crate::alloc::try_vec;
use crate::{Context, Kernel, KernelError, Progress, Size, Spec};

pub(super) struct Equalize;

impl Kernel for Equalize {
    fn spec(&self) -> Spec {
        filter("equalize", "Spreads the brightness over the whole range", []).details(
            "Histogram equalisation of the luma: its cumulative histogram becomes a straight \
             line. Grey images: equal to OpenCV's equalizeHist. Colour images: each channel moves \
             as the luma does, so that the colour differences (Cb, Cr) stay; alpha is kept, and \
             pixels count in the histogram by their alpha.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = load(job)?;
        let table = table(&luma_counts(&pixels)?);
        store(job, pixels.shape, format, |out| {
            match pixels.shape.channels {
                1 => {
                    for (to, &from) in out.iter_mut().zip(pixels.bytes()) {
                        *to = table[usize::from(from)];
                    }
                }
                3 => shift::<3>(pixels.bytes(), out, &table),
                _ => shift::<4>(pixels.bytes(), out, &table),
            }
            Ok(())
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

fn luma_counts(pixels: &Pixels<'_>) -> Result<[u64; 256], KernelError> {
    let mut counts = [0; 256];
    if pixels.shape.channels == 1 {
        count_bytes(pixels.bytes(), &mut counts);
        return Ok(counts);
    }
    let mut row: Vec<u8> = try_vec(pixels.shape.width)?;
    let weighed = pixels.alpha_varies();
    for y in 0..pixels.shape.height {
        pixels.luma_row(y, &mut row);
        if weighed {
            for (&grey, pixel) in row.iter().zip(pixels.row(y).as_chunks::<4>().0) {
                counts[usize::from(grey)] += u64::from(pixel[3]);
            }
        } else {
            count_bytes(&row, &mut counts);
        }
    }
    Ok(counts)
}

/// Where each grey level goes: as `cv::equalizeHist`, in its own arithmetic
/// (single precision, halves to even).
fn table(counts: &[u64; 256]) -> [u8; 256] {
    let total: u64 = counts.iter().sum();
    let darkest = counts.iter().position(|&n| n > 0).unwrap_or(0);
    if counts[darkest] == total {
        return [darkest as u8; 256];
    }
    let scale = 255.0_f32 / (total - counts[darkest]) as f32;
    let mut table = [0; 256];
    let mut sum = 0;
    for level in darkest + 1..256 {
        sum += counts[level];
        table[level] = (sum as f32 * scale).round_ties_even() as u8;
    }
    table
}

fn shift<const C: usize>(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    for (from, to) in from.as_chunks::<C>().0.iter().zip(to.as_chunks_mut::<C>().0) {
        let grey = luma(from[0], from[1], from[2]);
        let by = i16::from(table[usize::from(grey)]) - i16::from(grey);
        *to = *from;
        for channel in &mut to[..3] {
            *channel = (i16::from(*channel) + by).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::image::testing::{TestImage, run_raw};

    #[test]
    fn two_levels_go_to_both_ends() {
        let case = TestImage { width: 4, height: 1, channels: 1, bytes: vec![100, 101, 100, 101] };
        assert_eq!(run_raw("equalize", &[], &case).bytes, [0, 255, 0, 255]);
    }

    #[test]
    fn a_flat_image_stays_as_it_is() {
        let case = TestImage { width: 3, height: 2, channels: 3, bytes: vec![77; 18] };
        assert_eq!(run_raw("equalize", &[], &case).bytes, case.bytes);
    }

    /// Two levels, and as many transparent pixels of a third, which is not seen.
    #[test]
    fn transparent_pixels_do_not_count() {
        let bytes = [[100, 100, 100, 255], [101, 101, 101, 255], [0, 0, 0, 0], [0, 0, 0, 0]];
        let case = TestImage { width: 4, height: 1, channels: 4, bytes: bytes.concat() };
        let out = run_raw("equalize", &[], &case).bytes;
        assert_eq!(out[..8], [0, 0, 0, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn colour_of_grey_is_the_grey_result() {
        let grey = TestImage::random(20, 20, 1, 2);
        let bytes =
            grey.bytes.iter().flat_map(|&g| [g / 2 + 60, g / 2 + 60, g / 2 + 60, 9]).collect();
        let color = TestImage { channels: 4, bytes, ..grey };
        let out = run_raw("equalize", &[], &color);
        let plain = run_raw("equalize", &[], &run_raw("grayscale", &[], &color));
        for (p, &g) in out.bytes.chunks(4).zip(&plain.bytes) {
            assert_eq!(p, [g, g, g, 9]);
        }
    }
}
