use brigade_proto::{Buffer, Note};

use super::wav::{self, WavFormat};
use crate::alloc::try_vec;
use crate::{
    Context, Family, Inputs, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Size, Spec,
};

/// Another sample rate.
pub(super) struct Resample;

/// Shape of the Kaiser window, and half its length in periods of the lower rate:
/// those of scipy.signal.resample_poly.
const BETA: f64 = 5.0;
const PERIODS: usize = 10;

impl Kernel for Resample {
    fn spec(&self) -> Spec {
        Spec::new("resample", "Converts a sound to another sample rate")
            .family(Family::Audio)
            .details(
                "Polyphase filtering with a Kaiser-windowed sinc (Crochiere and Rabiner, Multirate \
                 Digital Signal Processing, 1983). Agrees with scipy.signal.resample_poly(x, up, \
                 down) with its default window. Channels and sample format are kept; what the \
                 filter drives beyond the format's range is clipped, with a remark.",
            )
            .param(ParamSpec::int("rate", 1000..=384_000, "samples a second").default(16_000))
            .param(ParamSpec::max_bytes())
            .inputs(Inputs::exactly(1, "a WAV file, integers of 8 to 32 bits or floats"))
            .output(OutputFormat::Fixed("wav"), "a WAV file of the same format at the new rate")
            .default_size("480000")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let sound = wav::read(job.input(0)?)?;
        let rate = job.int("rate") as usize;
        let from = sound.format.rate as usize;
        if from > 384_000 {
            return Err(KernelError::input(format!(
                "the sound has {from} samples a second; up to 384000 are converted"
            )));
        }
        let shared = gcd(rate, from);
        let (up, down) = (rate / shared, from / shared);
        let format = WavFormat { rate: rate as u32, ..sound.format };
        let frames = resampled(sound.channels.first().map_or(0, Vec::len), up, down)?;
        let len = format.file_len(frames)?;
        // A second of sound may be of one sample, and become hundreds of thousands.
        job.check_growth(len as u64)?;
        let filter = Filter::new(up, down)?;
        let control = job.control();
        let data = format.begin(frames, job.output(len)?)?;
        let mut block: Vec<Vec<f64>> = sound.channels.iter().map(|_| Vec::new()).collect();
        let mut is_clipped = false;
        for (number, to) in data.chunks_mut(FRAMES * format.frame_bytes()).enumerate() {
            if control.should_stop() {
                return Err(KernelError::Stopped);
            }
            let first = number * FRAMES;
            for (resampled, channel) in block.iter_mut().zip(&sound.channels) {
                resampled.clear();
                let places = first..(first + FRAMES).min(frames);
                resampled.extend(places.map(|place| filter.at(channel, place)));
            }
            is_clipped |= format.encode(&block, to)?;
        }
        if is_clipped {
            job.note(Note::Clipped);
        }
        Ok(Progress::Done)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        Ok(vec![wav::synthetic(size, seed)?])
    }
}

/// Frames that are computed and written at a time.
const FRAMES: usize = 1024;

/// How many frames become of so many.
fn resampled(frames: usize, up: usize, down: usize) -> Result<usize, KernelError> {
    let finer = frames.checked_mul(up).ok_or(KernelError::Memory { bytes: u64::MAX })?;
    Ok(finer.div_ceil(down))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Between two samples of the input lie `up - 1` more; every `down`-th of all is
/// kept.
struct Filter {
    up: usize,
    down: usize,
    /// Half the length in the finer grid.
    half: usize,
    /// One filter for each place between two input samples, its weights in the
    /// order of the samples, so that each output is one dot product. One filter after another.
    weights: Vec<f64>,
}

impl Filter {
    /// Up to 20 weights for each step of the finer grid of a period of the lower rate, twice: 123
    /// MiB at most, as rates are up to 384000.
    fn new(up: usize, down: usize) -> Result<Self, KernelError> {
        let longer = up.max(down);
        let half = PERIODS * longer;
        let cutoff = 1.0 / longer as f64;
        let mut taps: Vec<f64> = try_vec(2 * half + 1)?;
        for (i, tap) in taps.iter_mut().enumerate() {
            let at = i as f64 - half as f64;
            let edge = at / half as f64;
            let window = bessel_i0(BETA * (1.0 - edge * edge).max(0.0).sqrt());
            *tap = sinc(cutoff * at) * window;
        }
        let scale = up as f64 / taps.iter().sum::<f64>();
        taps.iter_mut().for_each(|tap| *tap *= scale);
        let mut weights = try_vec(taps.len())?;
        let phases = (0..up).flat_map(|phase| taps.iter().skip(phase).step_by(up).rev());
        weights.iter_mut().zip(phases).for_each(|(weight, tap)| *weight = *tap);
        Ok(Self { up, down, half, weights })
    }

    /// The weights of a place between two input samples.
    fn phase(&self, phase: usize) -> &[f64] {
        // The first filters have one more.
        let (each, more) = (self.weights.len() / self.up, self.weights.len() % self.up);
        let from = phase * each + phase.min(more);
        &self.weights[from..from + each + usize::from(phase < more)]
    }

    /// Output `m` of a channel.
    fn at(&self, x: &[f64], m: usize) -> f64 {
        // It lies at m * down in the finer grid, and input k at k * up; the filter reaches
        // `half` to either side.
        let end = m * self.down + self.half;
        let weights = self.phase(end % self.up);
        // The last input in reach; weights end with it.
        let last = end / self.up;
        let first = (last + 1).saturating_sub(weights.len());
        let skipped = weights.len() - (last + 1 - first);
        let stop = (last + 1).min(x.len());
        if first >= stop {
            return 0.0;
        }
        dot(&x[first..stop], &weights[skipped..])
    }
}

/// Sum of the products of what both have. Eight sums side by side, in an order that
/// does not depend on the machine.
fn dot(x: &[f64], weights: &[f64]) -> f64 {
    let n = x.len().min(weights.len());
    let (x, x_rest) = x[..n].as_chunks::<8>();
    let (w, w_rest) = weights[..n].as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (x, w) in x.iter().zip(w) {
        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
            *sum += x * w;
        }
    }
    let rest: f64 = x_rest.iter().zip(w_rest).map(|(x, w)| x * w).sum();
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h)) + rest
}

fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// Modified Bessel function of the first kind and order 0, by its power series
/// (Abramowitz and Stegun, 9.6.12); for small arguments.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..60 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Filter {
        fn apply(&self, x: &[f64]) -> Vec<f64> {
            let count = resampled(x.len(), self.up, self.down).unwrap();
            (0..count).map(|place| self.at(x, place)).collect()
        }
    }

    #[test]
    fn filters_follow_the_definition() {
        let x: Vec<f64> = (0..50).map(|i| ((i * 37 % 19) as f64) / 19.0 - 0.5).collect();
        for (up, down) in [(1, 1), (2, 1), (1, 2), (3, 2), (147, 160), (7, 11)] {
            let filter = Filter::new(up, down).unwrap();
            let mut taps = vec![0.0; 2 * filter.half + 1];
            for phase in 0..up {
                for (i, weight) in filter.phase(phase).iter().rev().enumerate() {
                    taps[phase + i * up] = *weight;
                }
            }
            let y = filter.apply(&x);
            assert_eq!(y.len(), (50 * up).div_ceil(down));
            for (m, y) in y.iter().enumerate() {
                let expected: f64 = x
                    .iter()
                    .enumerate()
                    .filter_map(|(k, x)| {
                        (m * down + filter.half)
                            .checked_sub(k * up)
                            .and_then(|i| taps.get(i))
                            .map(|tap| tap * x)
                    })
                    .sum();
                assert!((y - expected).abs() < 1e-12, "{up}/{down} at {m}");
            }
        }
    }

    #[test]
    fn a_constant_stays_as_it_is() {
        let y = Filter::new(3, 5).unwrap().apply(&[0.5; 1000]);
        assert!(y[100..500].iter().all(|y| (y - 0.5).abs() < 2e-3), "{:?}", &y[300..310]);
    }

    /// `scipy.signal.resample_poly(x, 1, 3)` of the same file.
    #[test]
    fn a_file_with_an_odd_chunk_becomes_what_scipy_makes_of_it() {
        let bytes = include_bytes!("../../tests/files/wav/wav_odd_chunk.wav");
        let y = Filter::new(1, 3).unwrap().apply(&wav::read(bytes).unwrap().channels[0]);
        assert_eq!(y.len(), 1000);
        for (at, expected) in [
            (0, 0.030_891_533_747_881_83),
            (1, 0.266_179_915_726_492_9),
            (499, -0.569_410_085_622_547_5),
            (998, 0.312_507_962_217_704_94),
            (999, 0.266_179_915_726_492_86),
        ] {
            assert!((y[at] - expected).abs() < 1e-9, "{at}: {} instead of {expected}", y[at]);
        }
    }

    #[test]
    fn bessel_agrees_with_the_table() {
        // Abramowitz and Stegun, table 9.8: e^-x I0(x) at 5 is 0.1835408126.
        assert!((bessel_i0(5.0) * (-5.0_f64).exp() - 0.183_540_812_6).abs() < 1e-10);
    }
}
