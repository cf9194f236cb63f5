//! A separable Gaussian. Each row is filtered along once and kept in a ring as
//! long as an output row needs it, so that the intermediate image never leaves
//! the cache.

use super::pixels::{Pixels, pad_row, round, try_vec};
use crate::simd::vectorised;
use crate::{Control, KernelError};

/// Widest window for 16-bit sums: each product may be half a unit of 1/128 off
/// after the correction, and that must stay far below half a grey level.
const MAX_FIXED_RADIUS: usize = 32;

/// Blurs into `out`; `finish` may change each row when it is done.
pub(super) fn blur(
    pixels: &Pixels<'_>,
    sigma: f64,
    control: &dyn Control,
    out: &mut [u8],
    finish: impl FnMut(usize, &mut [u8]),
) -> Result<(), KernelError> {
    let weights = weights(sigma);
    if weights.len() - 1 <= MAX_FIXED_RADIUS {
        separable::<u16>(pixels, &fixed(&weights), control, out, finish)
    } else {
        let weights: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
        separable::<f32>(pixels, &weights, control, out, finish)
    }
}

/// From the centre to the edge; the sum over the whole window is 1.
fn weights(sigma: f64) -> Vec<f64> {
    let radius = (3.0 * sigma).ceil() as usize;
    let mut weights: Vec<f64> =
        (0..=radius).map(|k| (-((k * k) as f64) / (2.0 * sigma * sigma)).exp()).collect();
    let total = 2.0 * weights.iter().sum::<f64>() - weights[0];
    weights.iter_mut().for_each(|w| *w /= total);
    weights
}

/// In 1/65536, with a sum of exactly that but for a centre of 1.
fn fixed(weights: &[f64]) -> Vec<u16> {
    let mut fixed: Vec<u32> = weights.iter().map(|w| (w * 65536.0).round() as u32).collect();
    let sides: u32 = 2 * fixed[1..].iter().sum::<u32>();
    fixed[0] = 65536_u32.saturating_sub(sides);
    fixed.iter().map(|&w| w.min(65535) as u16).collect()
}

/// The arithmetic of one pass.
trait Lane: Copy + Default {
    /// Samples from bytes.
    fn widen(from: &[u8], to: &mut [Self]);
    /// `to` = the weighted sum of `centre` and pairs of rows at equal distance.
    fn weigh(weights: &[Self], centre: &[Self], pairs: &[[&[Self]; 2]], to: &mut [Self]);
    /// Rounds to bytes.
    fn narrow(from: &[Self], to: &mut [u8]);
}

fn separable<L: Lane>(
    pixels: &Pixels<'_>,
    weights: &[L],
    control: &dyn Control,
    out: &mut [u8],
    mut finish: impl FnMut(usize, &mut [u8]),
) -> Result<(), KernelError> {
    let radius = weights.len() - 1;
    let channels = pixels.shape.channels;
    let (row, height) = (pixels.shape.row_bytes(), pixels.shape.height);
    let kept = (2 * radius + 1).min(height);
    let mut padded: Vec<u8> = try_vec(row + 2 * radius * channels)?;
    let mut wide: Vec<L> = try_vec(padded.len())?;
    let mut ring: Vec<L> = try_vec(kept * row)?;
    let mut sum: Vec<L> = try_vec(row)?;
    let mut filtered = 0;

    for (y, to) in out.chunks_exact_mut(row).enumerate() {
        if control.should_stop() {
            return Err(KernelError::Stopped);
        }
        while filtered <= (y + radius).min(height - 1) {
            pad_row(pixels.row(filtered), channels, radius, &mut padded);
            L::widen(&padded, &mut wide);
            let at = |place: usize| &wide[place * channels..][..row];
            let pairs: Vec<[&[L]; 2]> =
                (1..=radius).map(|k| [at(radius - k), at(radius + k)]).collect();
            let slot = (filtered % kept) * row;
            L::weigh(weights, at(radius), &pairs, &mut ring[slot..slot + row]);
            filtered += 1;
        }
        let at = |line: usize| &ring[(line.min(height - 1) % kept) * row..][..row];
        let pairs: Vec<[&[L]; 2]> =
            (1..=radius).map(|k| [at(y.saturating_sub(k)), at(y + k)]).collect();
        L::weigh(weights, at(y), &pairs, &mut sum);
        L::narrow(&sum, to);
        finish(y, to);
    }
    Ok(())
}

/// Bytes as multiples of 1/128: the sum of two still fits.
impl Lane for u16 {
    fn widen(from: &[u8], to: &mut [Self]) {
        widen_u16(from, to);
    }

    fn weigh(weights: &[Self], centre: &[Self], pairs: &[[&[Self]; 2]], to: &mut [Self]) {
        // Each product is cut, which takes half a unit on average.
        let bias = (weights.len() / 2) as u16;
        start_u16(to, centre, weights[0], bias);
        let (fours, rest) = pairs.as_chunks::<4>();
        let (four_weights, rest_weights) = weights[1..].as_chunks::<4>();
        for (four, w) in fours.iter().zip(four_weights) {
            add_four_u16(to, four, w);
        }
        for (pair, &w) in rest.iter().zip(rest_weights) {
            add_one_u16(to, pair, w);
        }
    }

    fn narrow(from: &[Self], to: &mut [u8]) {
        narrow_u16(from, to);
    }
}

impl Lane for f32 {
    fn widen(from: &[u8], to: &mut [Self]) {
        widen_f32(from, to);
    }

    fn weigh(weights: &[Self], centre: &[Self], pairs: &[[&[Self]; 2]], to: &mut [Self]) {
        start_f32(to, centre, weights[0]);
        let (fours, rest) = pairs.as_chunks::<4>();
        let (four_weights, rest_weights) = weights[1..].as_chunks::<4>();
        for (four, w) in fours.iter().zip(four_weights) {
            add_four_f32(to, four, w);
        }
        for (pair, &w) in rest.iter().zip(rest_weights) {
            add_one_f32(to, pair, w);
        }
    }

    fn narrow(from: &[Self], to: &mut [u8]) {
        narrow_f32(from, to);
    }
}

/// The upper half of the product.
#[inline(always)]
fn scale(value: u16, weight: u16) -> u16 {
    ((u32::from(value) * u32::from(weight)) >> 16) as u16
}

vectorised! {
    fn widen_u16(from: &[u8], to: &mut [u16]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = u16::from(from) << 7;
        }
    }

    fn start_u16(to: &mut [u16], centre: &[u16], weight: u16, bias: u16) {
        for (to, &c) in to.iter_mut().zip(centre) {
            *to = scale(c, weight).wrapping_add(bias);
        }
    }

    fn add_one_u16(to: &mut [u16], pair: &[&[u16]; 2], weight: u16) {
        for ((to, &a), &b) in to.iter_mut().zip(pair[0]).zip(pair[1]) {
            *to = to.wrapping_add(scale(a.wrapping_add(b), weight));
        }
    }

    fn add_four_u16(to: &mut [u16], pairs: &[[&[u16]; 2]; 4], w: &[u16; 4]) {
        let n = to.len();
        let [[a0, b0], [a1, b1], [a2, b2], [a3, b3]] = pairs.map(|pair| pair.map(|s| &s[..n]));
        for i in 0..n {
            let one = scale(a0[i].wrapping_add(b0[i]), w[0]);
            let two = scale(a1[i].wrapping_add(b1[i]), w[1]);
            let three = scale(a2[i].wrapping_add(b2[i]), w[2]);
            let four = scale(a3[i].wrapping_add(b3[i]), w[3]);
            let sum = one.wrapping_add(two).wrapping_add(three).wrapping_add(four);
            to[i] = to[i].wrapping_add(sum);
        }
    }

    fn narrow_u16(from: &[u16], to: &mut [u8]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = ((from + 64) >> 7).min(255) as u8;
        }
    }

    fn widen_f32(from: &[u8], to: &mut [f32]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = f32::from(from);
        }
    }

    fn start_f32(to: &mut [f32], centre: &[f32], weight: f32) {
        for (to, &c) in to.iter_mut().zip(centre) {
            *to = c * weight;
        }
    }

    fn add_one_f32(to: &mut [f32], pair: &[&[f32]; 2], weight: f32) {
        for ((to, &a), &b) in to.iter_mut().zip(pair[0]).zip(pair[1]) {
            *to += (a + b) * weight;
        }
    }

    fn add_four_f32(to: &mut [f32], pairs: &[[&[f32]; 2]; 4], w: &[f32; 4]) {
        let n = to.len();
        let [[a0, b0], [a1, b1], [a2, b2], [a3, b3]] = pairs.map(|pair| pair.map(|s| &s[..n]));
        for i in 0..n {
            let one = (a0[i] + b0[i]) * w[0] + (a1[i] + b1[i]) * w[1];
            let two = (a2[i] + b2[i]) * w[2] + (a3[i] + b3[i]) * w[3];
            to[i] += one + two;
        }
    }

    fn narrow_f32(from: &[f32], to: &mut [u8]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = round(from).min(255) as u8;
        }
    }
}
