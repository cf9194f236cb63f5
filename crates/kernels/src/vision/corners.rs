use std::fmt::Write;

use brigade_proto::Buffer;

use crate::alloc::try_vec;
use crate::image::{self, BLOCK, block};
use crate::simd::vectorised;
use crate::{Context, Family, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Size, Spec};

pub(super) struct Corners;

impl Kernel for Corners {
    fn spec(&self) -> Spec {
        image::reader("corners", "Finds corners")
            .family(Family::Vision)
            .param(
                ParamSpec::int("threshold", 1..=254, "Least contrast, in grey levels")
                    .default(10_i64),
            )
            .param(
                ParamSpec::flag("suppress", "Keep a corner only if its neighbours score less")
                    .default(true),
            )
            .output(
                OutputFormat::Fixed("json"),
                r#"[{"x", "y", "score"}], row by row; score: the highest threshold that still finds it"#,
            )
            .details(
                "FAST-9: E. Rosten and T. Drummond, \"Machine Learning for High-Speed Corner \
                 Detection\", ECCV 2006, on the luma: nine neighbours in a row on a circle of 16 \
                 are brighter, or darker, than the middle by more than the threshold. Equal to \
                 OpenCV's FastFeatureDetector (TYPE_9_16), scores too.",
            )
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let pixels = image::load_values(job)?;
        let threshold = job.int("threshold") as u8;
        let suppress = job.flag("suppress");
        let (width, height) = (pixels.shape.width, pixels.shape.height);
        let mut json = String::from("[");
        // Whole blocks; what is computed beyond the row is thrown away.
        let inner = width.saturating_sub(6);
        let mut found: Vec<u8> = try_vec(inner.next_multiple_of(BLOCK))?;
        // Seven rows of luma, then the contrasts of three rows: above, here, below.
        let mut luma: Vec<Vec<u8>> =
            (0..7).map(|_| try_vec(found.len().max(inner) + 6)).collect::<Result<_, _>>()?;
        let mut rows: Vec<Vec<u8>> = (0..3).map(|_| try_vec(width)).collect::<Result<_, _>>()?;
        for y in 0..height {
            job.check_stop()?;
            luma.rotate_left(1);
            if inner == 0 {
                break;
            }
            pixels.luma_row(y, &mut luma[6][..width]);
            if y < 6 {
                continue;
            }
            rows.rotate_left(1);
            contrasts(&luma, threshold, &mut found);
            rows[2][3..width - 3].copy_from_slice(&found[..inner]);
            if y > 6 {
                list(&rows, y - 4, suppress, &mut json);
            }
        }
        if height >= 7 && inner > 0 {
            rows.rotate_left(1);
            rows[2].fill(0);
            list(&rows, height - 4, suppress, &mut json);
        }
        json.push_str("]\n");
        job.put(json.as_bytes())?;
        Ok(Progress::Done)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        image::synthesize(size, seed)
    }
}

/// Appends the corners of the middle row.
fn list(rows: &[Vec<u8>], y: usize, suppress: bool, json: &mut String) {
    let [above, here, below] = [&rows[0], &rows[1], &rows[2]];
    for (start, piece) in here.chunks(16).enumerate() {
        if piece.iter().all(|&c| c == 0) {
            continue;
        }
        for (i, &contrast) in piece.iter().enumerate() {
            if contrast == 0 {
                continue;
            }
            // Contrasts at the border are 0: x has neighbours.
            let x = start * 16 + i;
            let beaten = |row: &[u8]| row[x - 1..=x + 1].iter().all(|&other| other < contrast);
            let sides = here[x - 1] < contrast && here[x + 1] < contrast;
            if suppress && !(sides && beaten(above) && beaten(below)) {
                continue;
            }
            let comma = if json.len() > 1 { "," } else { "" };
            let score = contrast - 1;
            // Writing to a string cannot fail.
            let _ = write!(json, r#"{comma}{{"x":{x},"y":{y},"score":{score}}}"#);
        }
    }
}

/// The circle, clockwise: x and y, counted from its top left.
const CIRCLE: [(usize, usize); 16] = [
    (3, 6),
    (4, 6),
    (5, 5),
    (6, 4),
    (6, 3),
    (6, 2),
    (5, 1),
    (4, 0),
    (3, 0),
    (2, 0),
    (1, 1),
    (0, 2),
    (0, 3),
    (0, 4),
    (1, 5),
    (2, 6),
];

/// With `min max`: the largest of the smallest of nine pixels in a row; with `max min`
/// the smallest of the largest. Two arcs of nine share the eight from an odd place
/// on. Written out, and without closures: a loop over places would not be unrolled
/// in time to be vectorised, and a call in it cannot be vectorised at all.
macro_rules! best_arc {
    ($ring:ident[$i:ident], $min:ident $max:ident, $start:literal: $($k:literal)*) => {{
        let mut best: u8 = $start;
        $(
            let one = $ring[$k][$i].$min($ring[($k + 1) % 16][$i]);
            let two = $ring[($k + 2) % 16][$i].$min($ring[($k + 3) % 16][$i]);
            let three = $ring[($k + 4) % 16][$i].$min($ring[($k + 5) % 16][$i]);
            let four = $ring[($k + 6) % 16][$i].$min($ring[($k + 7) % 16][$i]);
            let ninth = $ring[($k + 15) % 16][$i].$max($ring[($k + 8) % 16][$i]);
            best = one.$min(two).$min(three.$min(four)).$min(ninth).$max(best);
        )*
        best
    }};
}

vectorised! {
    /// By how much the best arc around each pixel differs from it, or 0 where that
    /// is not more than the threshold. Pixel 0 is in the middle of the first window.
    fn contrasts(rows: &[Vec<u8>], threshold: u8, to: &mut [u8]) {
        for (i, to) in to.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let ring = CIRCLE.map(|(x, y)| block(&rows[y], i * BLOCK + x));
            let middle = block(&rows[3], i * BLOCK + 3);
            // Nine in a row hold one of each two that lie opposite: where the pixels
            // above, below, left and right rule out a corner, most blocks end.
            let mut bound = [0; BLOCK];
            for i in 0..BLOCK {
                let m = middle[i];
                let (a, b) = (ring[0][i], ring[8][i]);
                let (c, d) = (ring[4][i], ring[12][i]);
                let brighter = a.max(b).min(c.max(d)).saturating_sub(m);
                let darker = m.saturating_sub(a.min(b).max(c.min(d)));
                bound[i] = brighter.max(darker);
            }
            if bound.iter().fold(0, |most, &b| most.max(b)) <= threshold {
                *to = [0; BLOCK];
                continue;
            }
            let mut contrasts = [0; BLOCK];
            for i in 0..BLOCK {
                let m = middle[i];
                // How much the darkest pixel of the brightest arc is above the middle,
                // and the brightest one of the darkest arc below it.
                let bright = best_arc!(ring[i], min max, 0: 1 3 5 7 9 11 13 15);
                let dark = best_arc!(ring[i], max min, 255: 1 3 5 7 9 11 13 15);
                let best = bright.saturating_sub(m).max(m.saturating_sub(dark));
                contrasts[i] = if best > threshold { best } else { 0 };
            }
            *to = contrasts;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CIRCLE;
    use crate::image::testing::{TestImage, run};

    fn corners(case: &TestImage, threshold: i64, suppress: bool) -> String {
        let params = [("threshold", threshold.into()), ("suppress", suppress.into())];
        String::from_utf8(run("corners", &params, &case.npy()).unwrap()).unwrap()
    }

    fn is_corner(case: &TestImage, x: usize, y: usize, threshold: i32) -> bool {
        let value = |x: usize, y: usize| i32::from(case.at(x as isize, y as isize, 0));
        let m = value(x, y);
        (0..16).any(|start| {
            let mut arc = (start..start + 9).map(|k| {
                let (dx, dy) = CIRCLE[k % 16];
                value(x + dx - 3, y + dy - 3) - m
            });
            arc.clone().all(|d| d > threshold) || arc.all(|d| d < -threshold)
        })
    }

    fn naive(case: &TestImage, threshold: i32, suppress: bool) -> String {
        let (w, h) = (case.width, case.height);
        let score = |x: usize, y: usize| {
            let inside = x >= 3 && y >= 3 && x + 3 < w && y + 3 < h;
            (threshold..255).rev().find(|&t| inside && is_corner(case, x, y, t)).unwrap_or(-1)
        };
        let mut found = Vec::new();
        for y in 0..h {
            for x in 0..w {
                let s = score(x, y);
                let near = (0..9).filter(|&k| k != 4).map(|k| (x + k % 3, y + k / 3));
                if s >= 0 && (!suppress || near.into_iter().all(|(x, y)| score(x - 1, y - 1) < s)) {
                    found.push(format!(r#"{{"x":{x},"y":{y},"score":{s}}}"#));
                }
            }
        }
        format!("[{}]\n", found.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn agrees_with_the_definition(
            width in 1_usize..40, height in 1_usize..14, threshold in 1_i32..60, suppress: bool, seed: u64,
        ) {
            let mut case = TestImage::random(width, height, 1, seed);
            // Patches: in plain noise there are hardly any corners.
            let from = case.bytes.clone();
            for (i, to) in case.bytes.iter_mut().enumerate() {
                *to = from[(i / width / 4 * width + i % width / 4) % from.len()] / 2 + (*to & 31);
            }
            prop_assert_eq!(
                corners(&case, threshold.into(), suppress),
                naive(&case, threshold, suppress)
            );
        }
    }

    #[test]
    fn small_images_have_none() {
        for (width, height) in [(1, 1), (6, 40), (40, 6)] {
            assert_eq!(corners(&TestImage::random(width, height, 1, 1), 1, true), "[]\n");
        }
    }
}
