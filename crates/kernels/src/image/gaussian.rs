//! A separable Gaussian. Each row is filtered along once and kept in a ring as
//! long as an output row needs it, so that the intermediate image never leaves
//! the cache.
//!
//! Colours are weighed by their alpha. Where alpha is the same everywhere that changes nothing, and
//! the faster arithmetic without it is used.

use super::pixels::{Pixels, pad_row, round};
use crate::alloc::try_vec;
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
    let single = || weights.iter().map(|&w| w as f32).collect::<Vec<_>>();
    if pixels.alpha_varies() {
        separable::<AlphaWeighted>(pixels, &single(), control, out, finish)
    } else if weights.len() - 1 <= MAX_FIXED_RADIUS {
        separable::<Fixed>(pixels, &fixed(&weights), control, out, finish)
    } else {
        separable::<Single>(pixels, &single(), control, out, finish)
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

/// Samples of 16 bits in a vector register, and in the four of them that are summed
/// up before the next row of the window is looked at.
const LANES: usize = 16;
const STRIP: usize = 4 * LANES;

/// The arithmetic of one pass.
trait BlurArithmetic {
    type Sample: Copy + Default;
    /// A weight as the arithmetic wants it.
    type Weight;
    /// Prepares a weight.
    fn weight(weight: Self::Sample) -> Self::Weight;
    /// Samples from bytes.
    fn widen(from: &[u8], to: &mut [Self::Sample]);
    /// `to` = the weighted sum of `centre` and pairs of rows at equal distance.
    fn weigh(
        weights: &[Self::Weight],
        centre: &[Self::Sample],
        pairs: &[[&[Self::Sample]; 2]],
        to: &mut [Self::Sample],
    );
    /// Rounds to bytes.
    fn narrow(from: &[Self::Sample], to: &mut [u8]);
}

fn separable<A: BlurArithmetic>(
    pixels: &Pixels<'_>,
    weights: &[A::Sample],
    control: &dyn Control,
    out: &mut [u8],
    mut finish: impl FnMut(usize, &mut [u8]),
) -> Result<(), KernelError> {
    let radius = weights.len() - 1;
    let weights: Vec<A::Weight> = weights.iter().map(|&weight| A::weight(weight)).collect();
    let channels = pixels.shape.channels;
    let (row, height) = (pixels.shape.row_bytes(), pixels.shape.height);
    let kept = (2 * radius + 1).min(height);
    let mut padded: Vec<u8> = try_vec(row + 2 * radius * channels)?;
    let mut wide: Vec<A::Sample> = try_vec(padded.len())?;
    let mut ring: Vec<A::Sample> = try_vec(kept * row)?;
    let mut sum: Vec<A::Sample> = try_vec(row)?;
    let mut filtered = 0;

    for (y, to) in out.chunks_exact_mut(row).enumerate() {
        if control.should_stop() {
            return Err(KernelError::Stopped);
        }
        while filtered <= (y + radius).min(height - 1) {
            pad_row(pixels.row(filtered), channels, radius, &mut padded);
            A::widen(&padded, &mut wide);
            let at = |place: usize| &wide[place * channels..][..row];
            let pairs: Vec<[&[A::Sample]; 2]> =
                (1..=radius).map(|k| [at(radius - k), at(radius + k)]).collect();
            let slot = (filtered % kept) * row;
            A::weigh(&weights, at(radius), &pairs, &mut ring[slot..slot + row]);
            filtered += 1;
        }
        let at = |line: usize| &ring[(line.min(height - 1) % kept) * row..][..row];
        let pairs: Vec<[&[A::Sample]; 2]> =
            (1..=radius).map(|k| [at(y.saturating_sub(k)), at(y + k)]).collect();
        A::weigh(&weights, at(y), &pairs, &mut sum);
        A::narrow(&sum, to);
        finish(y, to);
    }
    Ok(())
}

/// Bytes as multiples of 1/128: the sum of two still fits into 16 bits.
struct Fixed;

impl BlurArithmetic for Fixed {
    type Sample = u16;
    /// Once for each lane: a weight that is loaded with the samples lets the compiler
    /// see 16 bits times 16 bits, of which the upper half is one instruction. A single
    /// one it widens outside the loop, and does not see that any more.
    type Weight = [u16; LANES];

    fn weight(weight: u16) -> [u16; LANES] {
        [weight; LANES]
    }

    fn widen(from: &[u8], to: &mut [u16]) {
        widen_u16(from, to);
    }

    fn weigh(weights: &[[u16; LANES]], centre: &[u16], pairs: &[[&[u16]; 2]], to: &mut [u16]) {
        // Each product is cut, which takes half a unit on average.
        let bias = (weights.len() / 2) as u16;
        weigh_u16(weights, bias, centre, pairs, to);
    }

    fn narrow(from: &[u16], to: &mut [u8]) {
        narrow_u16(from, to);
    }
}

/// Floats: for windows that are too wide for [`Fixed`].
struct Single;

impl BlurArithmetic for Single {
    type Sample = f32;
    type Weight = f32;

    fn weight(weight: f32) -> f32 {
        weight
    }

    fn widen(from: &[u8], to: &mut [f32]) {
        widen_f32(from, to);
    }

    fn weigh(weights: &[f32], centre: &[f32], pairs: &[[&[f32]; 2]], to: &mut [f32]) {
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

    fn narrow(from: &[f32], to: &mut [u8]) {
        narrow_f32(from, to);
    }
}

/// Floats; pixels are colours times alpha, and alpha, until they are narrowed. Integers would not
/// do: the quotient of small alphas magnifies what they round.
struct AlphaWeighted;

impl BlurArithmetic for AlphaWeighted {
    type Sample = f32;
    type Weight = f32;

    fn weight(weight: f32) -> f32 {
        weight
    }

    fn widen(from: &[u8], to: &mut [f32]) {
        widen_alpha(from, to);
    }

    fn weigh(weights: &[f32], centre: &[f32], pairs: &[[&[f32]; 2]], to: &mut [f32]) {
        Single::weigh(weights, centre, pairs, to);
    }

    fn narrow(from: &[f32], to: &mut [u8]) {
        narrow_alpha(from, to);
    }
}

/// The upper half of the product.
#[inline(always)]
fn scale(value: u16, weight: u16) -> u16 {
    ((u32::from(value) * u32::from(weight)) >> 16) as u16
}

/// `sum` + (`a` + `b`) times the weight.
#[inline(always)]
fn tap(
    mut sum: [u16; LANES],
    a: &[u16; LANES],
    b: &[u16; LANES],
    w: &[u16; LANES],
) -> [u16; LANES] {
    for i in 0..LANES {
        sum[i] = sum[i].wrapping_add(scale(a[i].wrapping_add(b[i]), w[i]));
    }
    sum
}

/// The strip that begins there.
#[inline(always)]
fn four(row: &[u16], begin: usize) -> Option<[&[u16; LANES]; 4]> {
    match row.get(begin..begin + STRIP)?.as_chunks().0 {
        [a, b, c, d] => Some([a, b, c, d]),
        _ => None,
    }
}

vectorised! {
    fn widen_u16(from: &[u8], to: &mut [u16]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = u16::from(from) << 7;
        }
    }

    fn weigh_u16(
        weights: &[[u16; LANES]],
        bias: u16,
        centre: &[u16],
        pairs: &[[&[u16]; 2]],
        to: &mut [u16],
    ) {
        let Some((middle, sides)) = weights.split_first() else { return };
        let (strips, rest) = to.as_chunks_mut::<STRIP>();
        let whole = strips.len() * STRIP;
        let zero = [0; LANES];
        for (strip, to) in strips.iter_mut().enumerate() {
            let begin = strip * STRIP;
            let Some([c0, c1, c2, c3]) = four(centre, begin) else { return };
            let mut sum0 = tap([bias; LANES], c0, &zero, middle);
            let mut sum1 = tap([bias; LANES], c1, &zero, middle);
            let mut sum2 = tap([bias; LANES], c2, &zero, middle);
            let mut sum3 = tap([bias; LANES], c3, &zero, middle);
            for ([a, b], w) in pairs.iter().zip(sides) {
                let Some([a0, a1, a2, a3]) = four(a, begin) else { return };
                let Some([b0, b1, b2, b3]) = four(b, begin) else { return };
                sum0 = tap(sum0, a0, b0, w);
                sum1 = tap(sum1, a1, b1, w);
                sum2 = tap(sum2, a2, b2, w);
                sum3 = tap(sum3, a3, b3, w);
            }
            for (to, sum) in to.as_chunks_mut().0.iter_mut().zip([sum0, sum1, sum2, sum3]) {
                *to = sum;
            }
        }
        for (i, to) in rest.iter_mut().enumerate() {
            let at = whole + i;
            let mut sum = bias.wrapping_add(scale(centre[at], middle[0]));
            for ([a, b], w) in pairs.iter().zip(sides) {
                sum = sum.wrapping_add(scale(a[at].wrapping_add(b[at]), w[0]));
            }
            *to = sum;
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

    fn widen_alpha(from: &[u8], to: &mut [f32]) {
        for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
            let [r, g, b, alpha] = from.map(f32::from);
            *to = [r * alpha, g * alpha, b * alpha, alpha];
        }
    }

    fn narrow_alpha(from: &[f32], to: &mut [u8]) {
        for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
            let [r, g, b, alpha] = *from;
            // With less the pixel is transparent, and the quotient might be infinite.
            let share = if alpha > 1e-3 { 1.0 / alpha } else { 0.0 };
            *to = [r * share, g * share, b * share, alpha].map(|v| round(v).min(255) as u8);
        }
    }
}
