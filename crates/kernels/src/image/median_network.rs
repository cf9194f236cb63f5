//! Median of 3x3 and 5x5 windows by sorting networks: the same exchanges for every
//! pixel, so that 64 pixels go through them at a time.

use super::pixels::{BLOCK, Pixels, block, pad_row};
use crate::alloc::try_vec;
use crate::simd::vectorised;
use crate::{Control, KernelError};

/// `R` is 1 or 2.
pub(super) fn run<const R: usize>(
    pixels: &Pixels<'_>,
    control: &dyn Control,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let (channels, height) = (pixels.shape.channels, pixels.shape.height);
    let row = pixels.shape.row_bytes();
    // Whole blocks; what is computed beyond the row is thrown away.
    let mut medians: Vec<u8> = try_vec(row.next_multiple_of(BLOCK))?;
    let margins = 2 * R * channels;
    let side = 2 * R + 1;
    let mut rows: Vec<Vec<u8>> =
        (0..side).map(|_| try_vec(medians.len() + margins)).collect::<Result<_, _>>()?;
    let fetch = |y: usize, to: &mut [u8]| {
        let from = pixels.row(y.saturating_sub(R).min(height - 1));
        pad_row(from, channels, R, &mut to[..row + margins]);
    };
    for (y, row) in rows.iter_mut().enumerate().skip(1) {
        fetch(y - 1, row);
    }
    for (y, to) in out.chunks_exact_mut(row).enumerate() {
        if control.should_stop() {
            return Err(KernelError::Stopped);
        }
        rows.rotate_left(1);
        fetch(y + 2 * R, &mut rows[side - 1]);
        match R {
            1 => medians_of_9(&rows, channels, &mut medians),
            _ => medians_of_25(&rows, channels, &mut medians),
        }
        to.copy_from_slice(&medians[..row]);
    }
    Ok(())
}

/// Orders pairs of `p`, the smaller one first. Written out: a loop over a table
/// would be too long for the compiler to unroll, and could not be vectorised.
macro_rules! exchange {
    ($p:ident: $($a:literal-$b:literal)*) => {
        $(($p[$a], $p[$b]) = ($p[$a].min($p[$b]), $p[$a].max($p[$b]));)*
    };
}

/// Element `i` of each of the rows `k`. Written out as well: `array::map` is not always
/// inlined when there are many, and one call in the loop prevents vectorising it.
macro_rules! column {
    ($rows:ident[$i:ident]: $($k:literal)*) => {
        [$($rows[$k][$i]),*]
    };
}

/// J. L. Smith, "Implementing median filters in XC4000E FPGAs", Xcell 23, 1996.
#[inline(always)]
fn middle_of_9(mut p: [u8; 9]) -> u8 {
    exchange!(p:
        1-2 4-5 7-8 0-1 3-4 6-7 1-2 4-5 7-8 0-3 5-8 4-7 3-6 1-4 2-5 4-7 4-2 6-4 4-2
    );
    p[4]
}

/// N. Devillard, "Fast median search: an ANSI C implementation", 1998, after
/// Graphics Gems. Checked by the zero-one principle over all 2^25 inputs.
#[rustfmt::skip]
#[inline(always)]
fn middle_of_25(mut p: [u8; 25]) -> u8 {
    exchange!(p:
        0-1 3-4 2-4 2-3 6-7 5-7 5-6 9-10 8-10 8-9 12-13 11-13 11-12 15-16 14-16 14-15 18-19 17-19
        17-18 21-22 20-22 20-21 23-24 2-5 3-6 0-6 0-3 4-7 1-7 1-4 11-14 8-14 8-11 12-15 9-15 9-12
        13-16 10-16 10-13 20-23 17-23 17-20 21-24 18-24 18-21 19-22 8-17 9-18 0-18 0-9 10-19 1-19
        1-10 11-20 2-20 2-11 12-21 3-21 3-12 13-22 4-22 4-13 14-23 5-23 5-14 15-24 6-24 6-15 7-16
        7-19 13-21 15-23 7-13 7-15 1-9 3-11 5-17 11-17 9-17 4-10 6-12 7-14 4-6 4-7 12-14 10-14 6-7
        10-12 6-10 6-17 12-17 7-17 7-10 12-18 7-12 10-18 12-20 10-20 10-12
    );
    p[12]
}

vectorised! {
    fn medians_of_9(rows: &[Vec<u8>], channels: usize, to: &mut [u8]) {
        for (i, to) in to.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let window: [&[u8; BLOCK]; 9] =
                std::array::from_fn(|k| block(&rows[k / 3], i * BLOCK + k % 3 * channels));
            let mut medians = [0; BLOCK];
            for (i, median) in medians.iter_mut().enumerate() {
                *median = middle_of_9(column!(window[i]: 0 1 2 3 4 5 6 7 8));
            }
            *to = medians;
        }
    }

    fn medians_of_25(rows: &[Vec<u8>], channels: usize, to: &mut [u8]) {
        for (i, to) in to.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let window: [&[u8; BLOCK]; 25] =
                std::array::from_fn(|k| block(&rows[k / 5], i * BLOCK + k % 5 * channels));
            let mut medians = [0; BLOCK];
            for (i, median) in medians.iter_mut().enumerate() {
                *median = middle_of_25(column!(window[i]:
                    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24
                ));
            }
            *to = medians;
        }
    }
}
