//! Median of a wide window in constant time per pixel: S. Perreault and P. Hébert,
//! "Median Filtering in Constant Time", IEEE Transactions on Image Processing
//! 16(9), 2007. Every column keeps the histogram of its part of the window; the
//! window's own histogram gains a column and loses one with each step. Histograms
//! have a coarse level of 16 bins, and the fine bins below a coarse one are brought
//! up to date only where the median lies.

use std::num::Wrapping;
use std::ops::{AddAssign, SubAssign};

use super::pixels::Pixels;
use crate::alloc::try_vec;
use crate::simd::vectorised;
use crate::{Control, KernelError};

/// Columns whose histograms are kept in the cache together.
const STRIP: usize = 512;

#[derive(Clone, Copy, Default)]
struct Column<C> {
    coarse: [C; 16],
    fine: [[C; 16]; 16],
}

/// What histograms count with. A window that moves takes away before it adds, so counts wrap.
trait BinCount: Copy + Default + PartialOrd + AddAssign + SubAssign {
    /// Half of what is counted in a window of so many pixels; as much lies below the median.
    fn middle(coarse: &[Self; 16], pixels: usize) -> Self;
    /// Adds a row to the columns, or takes it away. `row` begins at the first column.
    fn count(columns: &mut [Column<Self>], row: &[u8], channels: usize, channel: usize, add: bool);
    /// One row of a strip; the window at pixel `i` holds places `i..=i + 2 radius`.
    fn medians(
        columns: &[Column<Self>],
        places: &[usize],
        radius: usize,
        channels: usize,
        out: &mut [u8],
    );
}

/// Each pixel counts once. A window of 255x255 fits.
impl BinCount for Wrapping<u16> {
    #[inline(always)]
    fn middle(_: &[Self; 16], pixels: usize) -> Self {
        Wrapping((pixels / 2) as u16)
    }

    fn count(columns: &mut [Column<Self>], row: &[u8], channels: usize, channel: usize, add: bool) {
        // Adding u16::MAX takes one away.
        let by = Wrapping(if add { 1 } else { u16::MAX });
        for (column, &value) in columns.iter_mut().zip(row[channel..].iter().step_by(channels)) {
            column.count(value, by);
        }
    }

    fn medians(
        columns: &[Column<Self>],
        places: &[usize],
        radius: usize,
        channels: usize,
        out: &mut [u8],
    ) {
        medians_u16(columns, places, radius, channels, out);
    }
}

/// Each pixel counts as often as its alpha says, the fourth channel.
impl BinCount for Wrapping<u32> {
    #[inline(always)]
    fn middle(coarse: &[Self; 16], _: usize) -> Self {
        coarse.iter().sum::<Self>() / Wrapping(2)
    }

    fn count(columns: &mut [Column<Self>], row: &[u8], _: usize, channel: usize, add: bool) {
        for (column, pixel) in columns.iter_mut().zip(row.as_chunks::<4>().0) {
            let weight = Wrapping(u32::from(pixel[3]));
            column.count(pixel[channel], if add { weight } else { -weight });
        }
    }

    fn medians(
        columns: &[Column<Self>],
        places: &[usize],
        radius: usize,
        channels: usize,
        out: &mut [u8],
    ) {
        medians_u32(columns, places, radius, channels, out);
    }
}

impl<C: BinCount> Column<C> {
    #[inline(always)]
    fn count(&mut self, value: u8, by: C) {
        let (high, low) = (usize::from(value >> 4), usize::from(value & 15));
        self.coarse[high] += by;
        self.fine[high][low] += by;
    }
}

pub(super) fn run(
    pixels: &Pixels<'_>,
    radius: usize,
    control: &dyn Control,
    out: &mut [u8],
) -> Result<(), KernelError> {
    for channel in 0..pixels.shape.channels {
        run_channel::<Wrapping<u16>>(pixels, channel, radius, control, out)?;
    }
    Ok(())
}

/// Colours counted by their alpha, alpha as it is.
pub(super) fn run_weighed(
    pixels: &Pixels<'_>,
    radius: usize,
    control: &dyn Control,
    out: &mut [u8],
) -> Result<(), KernelError> {
    for channel in 0..3 {
        run_channel::<Wrapping<u32>>(pixels, channel, radius, control, out)?;
    }
    run_channel::<Wrapping<u16>>(pixels, 3, radius, control, out)
}

fn run_channel<C: BinCount>(
    pixels: &Pixels<'_>,
    channel: usize,
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
        let mut columns: Vec<Column<C>> = try_vec(last - first)?;
        // The column at each place of the padded strip.
        let places: Vec<usize> = (from..to + 2 * radius)
            .map(|place| place.saturating_sub(radius).min(width - 1) - first)
            .collect();
        let line = |y: isize| {
            let y = y.clamp(0, height as isize - 1) as usize;
            &pixels.row(y)[first * channels..last * channels]
        };
        let reach = radius as isize;
        for y in -reach - 1..reach {
            C::count(&mut columns, line(y), channels, channel, true);
        }
        for y in 0..height {
            if control.should_stop() {
                return Err(KernelError::Stopped);
            }
            let here = y as isize;
            C::count(&mut columns, line(here - reach - 1), channels, channel, false);
            C::count(&mut columns, line(here + reach), channels, channel, true);
            let to =
                &mut out[y * row + from * channels + channel..][..(to - from - 1) * channels + 1];
            C::medians(&columns, &places, radius, channels, to);
        }
    }
    Ok(())
}

#[inline(always)]
fn add<C: BinCount>(to: &mut [C; 16], from: &[C; 16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += *from;
    }
}

#[inline(always)]
fn subtract<C: BinCount>(to: &mut [C; 16], from: &[C; 16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to -= *from;
    }
}

/// The bin that holds the element of this rank, and its rank in the bin.
#[inline(always)]
fn find<C: BinCount>(bins: &[C; 16], mut rank: C) -> (usize, C) {
    for (i, &count) in bins.iter().enumerate() {
        if rank < count {
            return (i, rank);
        }
        rank -= count;
    }
    // Nothing counts in a window of transparent pixels.
    (0, C::default())
}

#[inline(always)]
fn medians<C: BinCount>(
    columns: &[Column<C>],
    places: &[usize],
    radius: usize,
    channels: usize,
    out: &mut [u8],
) {
    let side = 2 * radius + 1;
    let mut coarse = [C::default(); 16];
    let mut fine = [[C::default(); 16]; 16];
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
        let (high, rank) = find(&coarse, C::middle(&coarse, side * side));
        let part: &mut [C; 16] = &mut fine[high];
        match fresh[high] {
            // Cheaper than beginning anew.
            Some(at) if i - at < radius => {
                for gone in at..i {
                    add(part, &columns[places[gone + side]].fine[high]);
                    subtract(part, &columns[places[gone]].fine[high]);
                }
            }
            _ => {
                *part = [C::default(); 16];
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

vectorised! {
    fn medians_u16(
        columns: &[Column<Wrapping<u16>>],
        places: &[usize],
        radius: usize,
        channels: usize,
        out: &mut [u8],
    ) {
        medians(columns, places, radius, channels, out);
    }

    fn medians_u32(
        columns: &[Column<Wrapping<u32>>],
        places: &[usize],
        radius: usize,
        channels: usize,
        out: &mut [u8],
    ) {
        medians(columns, places, radius, channels, out);
    }
}
