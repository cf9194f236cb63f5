//! A picture that has what photographs have: slow gradients, sharp edges, fine
//! texture, noise. Integers only: the same bytes on every machine.

use super::pixels::Shape;
use crate::synth::SynthRng;

const SHAPES: usize = 24;

struct Blob {
    x: i64,
    y: i64,
    radius: i64,
    round: bool,
    color: [u8; 3],
}

/// Up from 0 to 255 and down again in `2 * period`.
fn triangle(at: usize, period: usize) -> i32 {
    let phase = at % (2 * period);
    let up = if phase < period { phase } else { 2 * period - phase };
    (up * 255 / period) as i32
}

pub(super) fn paint(out: &mut [u8], shape: Shape, seed: u64) {
    let Shape { width, height, .. } = shape;
    let mut rng = SynthRng::new(seed);
    let mut below = |n: usize| (rng.next() % n.max(1) as u64) as i64;
    let blobs: Vec<Blob> = (0..SHAPES)
        .map(|_| Blob {
            x: below(width),
            y: below(height),
            radius: 2 + below(width.min(height) / 6),
            round: below(2) == 0,
            color: [below(256) as u8, below(256) as u8, below(256) as u8],
        })
        .collect();
    let mut noise = SynthRng::new(seed ^ 0x6e6f_6973_655f);
    for (y, row) in out.chunks_exact_mut(shape.row_bytes()).enumerate() {
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let texture = triangle(x + 2 * y, 7) / 16;
            let base = [
                triangle(x, width.max(2)),
                triangle(y, height.max(2)),
                triangle(x + y, (width + height).max(2) / 2),
            ];
            *pixel = base.map(|value| (value * 7 / 8 + texture).clamp(0, 255) as u8);
        }
        for blob in &blobs {
            blob.paint_row(y as i64, row, width);
        }
        for bytes in row.chunks_mut(8) {
            let noise = noise.next().to_le_bytes();
            for (to, n) in bytes.iter_mut().zip(noise) {
                // The sum of two dice: nearer to a camera's noise than one.
                let n = i16::from(n & 7) + i16::from(n >> 5) - 7;
                *to = (i16::from(*to) + n).clamp(0, 255) as u8;
            }
        }
    }
}

impl Blob {
    fn paint_row(&self, y: i64, row: &mut [u8], width: usize) {
        let dy = (y - self.y).abs();
        if dy > self.radius {
            return;
        }
        let half = if self.round {
            (self.radius * self.radius - dy * dy).unsigned_abs().isqrt() as i64
        } else {
            self.radius
        };
        let from = (self.x - half).max(0) as usize;
        let to = ((self.x + half + 1).max(0) as usize).min(width);
        for pixel in row[from * 3..to * 3].as_chunks_mut::<3>().0 {
            *pixel = self.color;
        }
    }
}
