use brigade_proto::Buffer;

use crate::alloc::try_vec;
use crate::image::{self, Pixels, gradients};
use crate::simd::vectorised;
use crate::{Context, Control, Family, Kernel, KernelError, ParamSpec, Progress, Size, Spec};

pub(super) struct Canny;

impl Kernel for Canny {
    fn spec(&self) -> Spec {
        let own = [
            ParamSpec::float("low", 0.0..=32767.0, "Weaker gradients are no edge").default(100.0),
            ParamSpec::float("high", 0.0..=32767.0, "Stronger gradients begin an edge")
                .default(200.0),
            ParamSpec::flag("l2", "Gradient as sqrt(gx^2 + gy^2) instead of |gx| + |gy|")
                .default(false),
        ];
        image::filter("canny", "Edges one pixel wide", own).family(Family::Vision).details(
            "J. Canny, \"A Computational Approach to Edge Detection\", IEEE TPAMI 8(6), 1986, on \
             the luma, with the 3x3 Sobel operator and no blur of its own: 255 on an edge, 0 \
             elsewhere, one channel. Equal to OpenCV's Canny of the grey image.",
        )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (pixels, format) = image::load(job)?;
        image::drop_alpha(job, &pixels);
        let l2 = job.flag("l2");
        // As in OpenCV: the magnitude is not rooted, the thresholds are squared.
        let threshold = |name| {
            let value = job.float(name);
            (if l2 { value * value } else { value }).floor() as i32
        };
        let (one, other) = (threshold("low"), threshold("high"));
        let (low, high) = (one.min(other), one.max(other));
        let control = job.control();
        image::store(job, pixels.shape.with_channels(1)?, format, |out| {
            let mut map = classify(&pixels, low, high, l2, control)?;
            grow(&mut map, pixels.shape.width + 2);
            let rows = map.chunks_exact(pixels.shape.width + 2).skip(1);
            for (to, from) in out.chunks_exact_mut(pixels.shape.width).zip(rows) {
                for (to, &from) in to.iter_mut().zip(&from[1..]) {
                    *to = if from == STRONG { 255 } else { 0 };
                }
            }
            Ok(())
        })
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        image::synthesize(size, seed)
    }
}

/// A local maximum between the thresholds: an edge if it touches one.
const WEAK: u8 = 1;
const STRONG: u8 = 2;

/// Weak and strong local maxima, with a border of zeros one pixel wide.
fn classify(
    pixels: &Pixels<'_>,
    low: i32,
    high: i32,
    l2: bool,
    control: &dyn Control,
) -> Result<Vec<u8>, KernelError> {
    let (width, height) = (pixels.shape.width, pixels.shape.height);
    let mut map: Vec<u8> = try_vec((width + 2) * (height + 2))?;
    let mut luma: [Vec<u8>; 3] = [try_vec(width + 2)?, try_vec(width + 2)?, try_vec(width + 2)?];
    // Magnitudes of the row above, this one, the one below; zero outside.
    let mut strength: [Vec<i32>; 3] =
        [try_vec(width + 2)?, try_vec(width + 2)?, try_vec(width + 2)?];
    let mut here: Slopes = (try_vec(width)?, try_vec(width)?);
    let mut below: Slopes = (try_vec(width)?, try_vec(width)?);
    pixels.padded_luma_row(0, 1, &mut luma[0]);
    pixels.padded_luma_row(0, 1, &mut luma[1]);
    for y in 0..=height {
        if control.should_stop() {
            return Err(KernelError::Stopped);
        }
        if y < height {
            pixels.padded_luma_row((y + 1).min(height - 1), 1, &mut luma[2]);
            slopes([&luma[0], &luma[1], &luma[2]], &mut below.0, &mut below.1);
            let to = &mut strength[2][1..=width];
            if l2 { squares(&below.0, &below.1, to) } else { sums(&below.0, &below.1, to) }
        } else {
            strength[2].fill(0);
        }
        if y > 0 {
            let [up, mid, down] = &strength;
            let to = &mut map[y * (width + 2) + 1..][..width];
            maxima(&here.0, &here.1, [up, mid, down], [low, high], to);
        }
        std::mem::swap(&mut here, &mut below);
        luma.rotate_left(1);
        strength.rotate_left(1);
    }
    Ok(map)
}

/// Gradients along x and along y.
type Slopes = (Vec<i16>, Vec<i16>);

vectorised! {
    fn slopes(rows: [&[u8]; 3], gx: &mut [i16], gy: &mut [i16]) {
        let n = gx.len();
        let gy = &mut gy[..n];
        let [a, h, b] = rows.map(|row| &row[..n + 2]);
        for i in 0..n {
            (gx[i], gy[i]) = gradients(
                [a[i], a[i + 1], a[i + 2]],
                [h[i], h[i + 1], h[i + 2]],
                [b[i], b[i + 1], b[i + 2]],
            );
        }
    }

    fn sums(gx: &[i16], gy: &[i16], to: &mut [i32]) {
        for ((to, &gx), &gy) in to.iter_mut().zip(gx).zip(gy) {
            *to = i32::from(gx.abs() + gy.abs());
        }
    }

    fn squares(gx: &[i16], gy: &[i16], to: &mut [i32]) {
        for ((to, &gx), &gy) in to.iter_mut().zip(gx).zip(gy) {
            *to = i32::from(gx) * i32::from(gx) + i32::from(gy) * i32::from(gy);
        }
    }

    /// Marks the pixels that are stronger than both neighbours across the edge. The
    /// direction is one of four, told apart at 22.5 and 67.5 degrees; where
    /// neighbours are equal the first one wins, as in OpenCV.
    fn maxima(
        gx: &[i16], gy: &[i16], strength: [&[i32]; 3], thresholds: [i32; 2], to: &mut [u8],
    ) {
        // tan(22.5 degrees) in 1/32768. tan(67.5 degrees) is 2 more.
        const TAN: i32 = 13573;
        let n = to.len();
        let (gx, gy) = (&gx[..n], &gy[..n]);
        let [up, mid, down] = strength.map(|row| &row[..n + 2]);
        let [low, high] = thresholds;
        for i in 0..n {
            let m = mid[i + 1];
            let x = i32::from(gx[i].abs());
            let y = i32::from(gy[i].abs()) << 15;
            let flat = x * TAN;
            let across = (m > mid[i]) & (m >= mid[i + 2]);
            let along = (m > up[i + 1]) & (m >= down[i + 1]);
            let falling = (m > up[i]) & (m > down[i + 2]);
            let rising = (m > up[i + 2]) & (m > down[i]);
            let diagonal = if (gx[i] ^ gy[i]) < 0 { rising } else { falling };
            let steep = if y > flat + (x << 16) { along } else { diagonal };
            let peak = if y < flat { across } else { steep };
            let mark = if m > high { STRONG } else { WEAK };
            to[i] = if peak & (m > low) { mark } else { 0 };
        }
    }
}

/// Makes weak pixels strong that touch strong ones. `stride` is the width of the map.
fn grow(map: &mut [u8], stride: usize) {
    let mut stack = Vec::new();
    for start in (0..map.len()).step_by(8) {
        let end = (start + 8).min(map.len());
        if map[start..end].iter().all(|&mark| mark == 0) {
            continue;
        }
        for at in start..end {
            if map[at] != STRONG {
                continue;
            }
            stack.push(at);
            while let Some(at) = stack.pop() {
                // Strong pixels never lie on the border of the map.
                for row in [at - stride, at, at + stride] {
                    for (i, mark) in map[row - 1..=row + 1].iter_mut().enumerate() {
                        if *mark == WEAK {
                            *mark = STRONG;
                            stack.push(row - 1 + i);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::image::testing::{TestImage, run_raw};

    /// OpenCV's algorithm pixel by pixel, in doubles.
    fn naive(case: &TestImage, low: f64, high: f64, l2: bool) -> Vec<u8> {
        let (w, h) = (case.width as isize, case.height as isize);
        let at = |x: isize, y: isize| f64::from(case.at(x, y, 0));
        let slope = |x: isize, y: isize| {
            let (mut gx, mut gy) = (0.0, 0.0);
            for (k, weight) in [(-1, 1.0), (0, 2.0), (1, 1.0)] {
                gx += weight * (at(x + 1, y + k) - at(x - 1, y + k));
                gy += weight * (at(x + k, y + 1) - at(x + k, y - 1));
            }
            (gx, gy)
        };
        let inside = |x: isize, y: isize| (0..w).contains(&x) && (0..h).contains(&y);
        let strength = |x: isize, y: isize| {
            let (gx, gy): (f64, f64) = slope(x, y);
            match (inside(x, y), l2) {
                (false, _) => 0.0,
                (true, true) => gx.hypot(gy),
                (true, false) => gx.abs() + gy.abs(),
            }
        };
        let mut marks = vec![0; (w * h) as usize];
        for y in 0..h {
            for x in 0..w {
                let m = strength(x, y);
                let (gx, gy) = slope(x, y);
                let angle = gy.abs().atan2(gx.abs()).to_degrees();
                let peak = if angle < 22.5 {
                    m > strength(x - 1, y) && m >= strength(x + 1, y)
                } else if angle > 67.5 {
                    m > strength(x, y - 1) && m >= strength(x, y + 1)
                } else {
                    let s = if gx * gy < 0.0 { -1 } else { 1 };
                    m > strength(x - s, y - 1) && m > strength(x + s, y + 1)
                };
                if peak && m > low {
                    marks[(y * w + x) as usize] = if m > high { 2 } else { 1 };
                }
            }
        }
        loop {
            let before = marks.clone();
            for y in 0..h {
                for x in 0..w {
                    let near = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (x + dx, y + dy)));
                    let strong = |(x, y)| inside(x, y) && before[(y * w + x) as usize] == 2;
                    if marks[(y * w + x) as usize] == 1 && near.into_iter().any(strong) {
                        marks[(y * w + x) as usize] = 2;
                    }
                }
            }
            if marks == before {
                return marks.iter().map(|&mark| if mark == 2 { 255 } else { 0 }).collect();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_the_definition(
            width in 1_usize..80, height in 1_usize..12, l2: bool, seed: u64,
            low in 0_i32..600, high in 0_i32..900,
        ) {
            let case = TestImage::random(width, height, 1, seed);
            let (low, high) = (f64::from(low.min(high)), f64::from(low.max(high)));
            let params = [("low", high.into()), ("high", low.into()), ("l2", l2.into())];
            let out = run_raw("canny", &params, &case);
            prop_assert_eq!(out.bytes, naive(&case, low, high, l2), "swapped thresholds are put right");
        }
    }

    #[test]
    fn a_step_is_one_line() {
        let bytes = (0..100).map(|i| if i % 10 < 5 { 0 } else { 200 }).collect();
        let case = TestImage { width: 10, height: 10, channels: 1, bytes };
        let out = run_raw("canny", &[], &case);
        for row in out.bytes.chunks(10) {
            assert_eq!(row.iter().filter(|&&b| b == 255).count(), 1, "{row:?}");
        }
    }
}
