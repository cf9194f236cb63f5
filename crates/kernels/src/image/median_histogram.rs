//! Median of a wide window in constant time per pixel: S. Perreault and P. Hébert,
//! "Median Filtering in Constant Time", IEEE Transactions on Image Processing
//! 16(9), 2007. Every column keeps the histogram of its part of the window; the
//! window's own histogram gains a column and loses one with each step. Histograms
//! have a coarse level of 16 bins, and the fine bins below a coarse one are brought
//! up to date only where the median lies.

use super::pixels::{Pixels, try_vec};
use crate::simd::vectorised;
use crate::{Control, KernelError};

/// Columns whose histograms are kept in the cache together.
const STRIP: usize = 512;

#[derive(Clone, Default)]
struct Column {
    coarse: [u16; 16],
    fine: [[u16; 16]; 16],
}

pub(super) fn run(
    pixels: &Pixels<'_>,
    radius: usize,
    control: &dyn Control,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let (width, height) = (pixels.shape.width, pixels.shape.height);
    let (channels, row) = (pixels.shape.channels, pixels.shape.row_bytes());
    let step = STRIP.max(4 * radius);
    for from in (0..width).step_by(step) {
        let to = (from + step).min(width);
        // Columns that the strip's windows touch.
        let (first, last) = (from.saturating_sub(radius), (to + radius).min(width));
        let mut columns: Vec<Column> = try_vec(last - first)?;
        // The column at each place of the padded strip.
        let places: Vec<usize> = (from..to + 2 * radius)
            .map(|place| place.saturating_sub(radius).min(width - 1) - first)
            .collect();
        for channel in 0..channels {
            columns.fill(Column::default());
            let line = |y: isize| {
                let y = y.clamp(0, height as isize - 1) as usize;
                &pixels.row(y)[first * channels + channel..(last - 1) * channels + channel + 1]
            };
            let reach = radius as isize;
            for y in -reach - 1..reach {
                count(&mut columns, line(y), channels, 1);
            }
            for y in 0..height {
                if control.should_stop() {
                    return Err(KernelError::Stopped);
                }
                let here = y as isize;
                // Adding u16::MAX takes one away.
                count(&mut columns, line(here - reach - 1), channels, u16::MAX);
                count(&mut columns, line(here + reach), channels, 1);
                let to = &mut out[y * row + from * channels + channel..]
                    [..(to - from - 1) * channels + 1];
                medians(&columns, &places, radius, channels, to);
            }
        }
    }
    Ok(())
}

fn count(columns: &mut [Column], line: &[u8], channels: usize, by: u16) {
    for (column, &value) in columns.iter_mut().zip(line.iter().step_by(channels)) {
        let (high, low) = (usize::from(value >> 4), usize::from(value & 15));
        column.coarse[high] = column.coarse[high].wrapping_add(by);
        column.fine[high][low] = column.fine[high][low].wrapping_add(by);
    }
}

#[inline(always)]
fn add(to: &mut [u16; 16], from: &[u16; 16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.wrapping_add(*from);
    }
}

#[inline(always)]
fn subtract(to: &mut [u16; 16], from: &[u16; 16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.wrapping_sub(*from);
    }
}

/// The bin that holds the element of this rank, and its rank in the bin.
#[inline(always)]
fn find(bins: &[u16; 16], mut rank: u16) -> (usize, u16) {
    for (i, &count) in bins.iter().enumerate() {
        if rank < count {
            return (i, rank);
        }
        rank -= count;
    }
    (15, 0)
}

vectorised! {
    /// One row of a strip; the window at pixel `i` holds places `i..=i + 2 radius`.
    fn medians(
        columns: &[Column], places: &[usize], radius: usize, channels: usize, out: &mut [u8],
    ) {
        let side = 2 * radius + 1;
        let middle = (side * side / 2) as u16;
        let mut coarse = [0; 16];
        let mut fine = [[0; 16]; 16];
        // The pixel at which each part of `fine` was true; `None`: never yet.
        let mut fresh = [None; 16];
        for &place in &places[..side] {
            add(&mut coarse, &columns[place].coarse);
        }
        for (i, to) in out.iter_mut().step_by(channels).enumerate() {
            if i > 0 {
                add(&mut coarse, &columns[places[i + side - 1]].coarse);
                subtract(&mut coarse, &columns[places[i - 1]].coarse);
            }
            let (high, rank) = find(&coarse, middle);
            let part: &mut [u16; 16] = &mut fine[high];
            match fresh[high] {
                // Cheaper than beginning anew.
                Some(at) if i - at < radius => {
                    for gone in at..i {
                        add(part, &columns[places[gone + side]].fine[high]);
                        subtract(part, &columns[places[gone]].fine[high]);
                    }
                }
                _ => {
                    *part = [0; 16];
                    for &place in &places[i..i + side] {
                        add(part, &columns[place].fine[high]);
                    }
                }
            }
            fresh[high] = Some(i);
            let (low, _) = find(part, rank);
            *to = (high << 4 | low) as u8;
        }
    }
}
