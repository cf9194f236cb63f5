//! Median of 3x3 and 5x5 windows of an image whose alpha varies.
//!
//! Where all pixels of a window have the same alpha, the weighed median is the plain one, and
//! networks find it 25 times as fast as histograms. In most pictures that is nearly everywhere:
//! alpha varies along the edge of what was cut out. Only the windows across such an edge are
//! counted one by one.

use super::pixels::Pixels;
use super::{median_histogram, median_network};
use crate::alloc::try_vec;
use crate::simd::vectorised;
use crate::{Control, KernelError};

/// If more than one window in so many is mixed, histograms are faster for the whole image.
const FEW: usize = 8;

/// `R` is 1 or 2; the image has four channels.
pub(super) fn run<const R: usize>(
    pixels: &Pixels<'_>,
    control: &dyn Control,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let (width, height) = (pixels.shape.width, pixels.shape.height);
    let mut windows = Windows::<R>::new(width)?;
    let mut mixed = 0;
    for y in 0..height {
        if control.should_stop() {
            return Err(KernelError::Stopped);
        }
        windows.look_at(pixels, y);
        mixed += windows.each().filter(|&(least, most)| least != most).count();
    }
    if mixed > width * height / FEW {
        return median_histogram::run_weighed(pixels, R, control, out);
    }
    median_network::run::<R>(pixels, control, out)?;
    for (y, row) in out.chunks_exact_mut(pixels.shape.row_bytes()).enumerate() {
        if control.should_stop() {
            return Err(KernelError::Stopped);
        }
        windows.look_at(pixels, y);
        for (x, (to, alphas)) in
            row.as_chunks_mut::<4>().0.iter_mut().zip(windows.each()).enumerate()
        {
            match alphas {
                // Nothing counts.
                (_, 0) => to[..3].fill(0),
                (least, most) if least == most => {}
                _ => count_window::<R>(pixels, x, y, to),
            }
        }
    }
    Ok(())
}

/// Least and greatest alpha of the windows around the pixels of a row.
struct Windows<const R: usize> {
    /// Of each column's part of the windows, with `R` more on either side, which do not count.
    least: Vec<u8>,
    most: Vec<u8>,
}

impl<const R: usize> Windows<R> {
    fn new(width: usize) -> Result<Self, KernelError> {
        Ok(Self { least: try_vec(width + 2 * R)?, most: try_vec(width + 2 * R)? })
    }

    fn look_at(&mut self, pixels: &Pixels<'_>, y: usize) {
        self.least.fill(u8::MAX);
        self.most.fill(0);
        let width = pixels.shape.width;
        for y in y.saturating_sub(R)..=(y + R).min(pixels.shape.height - 1) {
            let (least, most) = (&mut self.least[R..][..width], &mut self.most[R..][..width]);
            widen(pixels.row(y), least, most);
        }
    }

    /// (least, greatest), from left to right.
    fn each(&self) -> impl Iterator<Item = (u8, u8)> {
        let least = self.least.windows(2 * R + 1).map(|part| part.iter().min());
        let most = self.most.windows(2 * R + 1).map(|part| part.iter().max());
        least
            .zip(most)
            .map(|(least, most)| (least.copied().unwrap_or(0), most.copied().unwrap_or(0)))
    }
}

vectorised! {
    fn widen(row: &[u8], least: &mut [u8], most: &mut [u8]) {
        for ((pixel, least), most) in row.as_chunks::<4>().0.iter().zip(least).zip(most) {
            *least = (*least).min(pixel[3]);
            *most = (*most).max(pixel[3]);
        }
    }
}

/// The colours of one pixel: the smallest values that, with all below them, are more than half of
/// what counts.
fn count_window<const R: usize>(pixels: &Pixels<'_>, x: usize, y: usize, to: &mut [u8; 4]) {
    let side = 2 * R + 1;
    let (right, bottom) = (pixels.shape.width - 1, pixels.shape.height - 1);
    let mut window = [[0; 4]; 25];
    let window = &mut window[..side * side];
    for (i, pixel) in window.iter_mut().enumerate() {
        let (x, y) = ((x + i % side).saturating_sub(R), (y + i / side).saturating_sub(R));
        *pixel = pixels.row(y.min(bottom)).as_chunks::<4>().0[x.min(right)];
    }
    let half = window.iter().map(|pixel| u32::from(pixel[3])).sum::<u32>() / 2;
    for channel in 0..3 {
        window.sort_unstable_by_key(|pixel| pixel[channel]);
        let mut below = 0;
        let median = window.iter().find(|pixel| {
            below += u32::from(pixel[3]);
            below > half
        });
        to[channel] = median.map_or(0, |pixel| pixel[channel]);
    }
}
