use brigade_proto::Buffer;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::wav;
use crate::alloc::try_vec;
use crate::npy::{self, Dtype};
use crate::{
    Context, Family, Inputs, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Size, Spec,
};

/// Which frequencies a sound has, and when.
pub(super) struct Spectrogram;

/// Frames that are written at a time: rows of the output are frequencies, so one
/// frame alone would touch a cache line for each number.
const FRAMES: usize = 16;

impl Kernel for Spectrogram {
    fn spec(&self) -> Spec {
        Spec::new("spectrogram", "Short-time Fourier transform of a sound")
            .family(Family::Audio)
            .details(
                "Several channels are mixed to their mean. Agrees with abs(Z) of \
                 scipy.signal.stft(x, window=taper, nperseg=window, noverlap=window-hop, \
                 boundary=None, padded=False), x being from -1 to 1.",
            )
            .param(ParamSpec::int("window", 2..=1 << 20, "samples in a frame").default(1024))
            .param(ParamSpec::int("hop", 1..=1 << 20, "samples from frame to frame").default(256))
            .param(
                ParamSpec::choice("taper", &["hann", "hamming", "boxcar"], "window function")
                    .default("hann"),
            )
            .param(ParamSpec::max_bytes())
            .inputs(Inputs::exactly(1, "a WAV file, integers of 8 to 32 bits or floats"))
            .output(
                OutputFormat::Fixed("npy"),
                "magnitudes, f32, (window/2 + 1 frequencies, frames)",
            )
            .default_size("480000")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let sound = wav::read(job.input(0)?)?;
        let (window, hop) = (job.int("window") as usize, job.int("hop") as usize);
        let samples = mono(sound.channels)?;
        if samples.len() < window {
            return Err(KernelError::input(format!(
                "the sound has {} samples, fewer than one window of {window}; -p window=N sets it",
                samples.len()
            )));
        }
        let taper = taper(job.choice("taper"), window)?;
        let frames = (samples.len() - window) / hop + 1;
        let bins = window / 2 + 1;
        let header = npy::header(Dtype::F32, &[bins, frames]);
        let bytes = bins.checked_mul(frames).and_then(|count| count.checked_mul(4));
        let bytes = bytes.ok_or(KernelError::Memory { bytes: u64::MAX })?;
        // Windows overlap: each sample may be in as many of them as they are long.
        job.check_growth(bytes as u64)?;
        let control = job.control();
        let out = job.output_for_overwrite(header.len() + bytes)?;
        let (head, data) = out.split_at_mut(header.len());
        head.copy_from_slice(&header);
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(window);
        let mut frame: Vec<f64> = try_vec(window)?;
        let mut spectrum: Vec<Complex<f64>> = try_vec(bins)?;
        let mut scratch: Vec<Complex<f64>> = try_vec(transform.get_scratch_len())?;
        let mut tile: Vec<f32> = try_vec(bins * FRAMES)?;
        for first in (0..frames).step_by(FRAMES) {
            if control.should_stop() {
                return Err(KernelError::Stopped);
            }
            let count = FRAMES.min(frames - first);
            for column in 0..count {
                let from = &samples[(first + column) * hop..][..window];
                for ((to, sample), weight) in frame.iter_mut().zip(from).zip(&taper) {
                    *to = sample * weight;
                }
                transform
                    .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                    .map_err(|error| KernelError::Numeric(error.to_string()))?;
                for (tile, value) in tile.chunks_exact_mut(FRAMES).zip(&spectrum) {
                    // Not `norm`: its care for huge and tiny numbers costs more than
                    // the transform, and squares of sounds are neither in doubles.
                    tile[column] = value.norm_sqr().sqrt() as f32;
                }
            }
            // Sounds of floats may be as loud as they like.
            if tile.iter().any(|magnitude| !magnitude.is_finite()) {
                return Err(KernelError::Numeric(
                    "the sound is so loud that its spectrum is beyond what float32 holds"
                        .to_owned(),
                ));
            }
            for (row, tile) in data.chunks_exact_mut(frames * 4).zip(tile.chunks_exact(FRAMES)) {
                let row = &mut row[first * 4..(first + count) * 4];
                for (to, magnitude) in row.chunks_exact_mut(4).zip(tile) {
                    to.copy_from_slice(&magnitude.to_le_bytes());
                }
            }
        }
        Ok(Progress::Done)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        Ok(vec![wav::synthetic(size, seed)?])
    }
}

fn mono(mut channels: Vec<Vec<f64>>) -> Result<Vec<f64>, KernelError> {
    if channels.len() == 1 {
        return Ok(channels.swap_remove(0));
    }
    let count = channels.len() as f64;
    let mut mean = try_vec(channels.first().map_or(0, Vec::len))?;
    for (i, mean) in mean.iter_mut().enumerate() {
        *mean = channels.iter().map(|channel| channel[i]).sum::<f64>() / count;
    }
    Ok(mean)
}

/// A periodic window function, divided by its sum, so that a tone has its
/// amplitude.
fn taper(name: &str, len: usize) -> Result<Vec<f64>, KernelError> {
    let alpha = match name {
        "hann" => 0.5,
        "hamming" => 0.54,
        _ => 1.0,
    };
    let angle = std::f64::consts::TAU / len as f64;
    let mut weights: Vec<f64> = try_vec(len)?;
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight = alpha - (1.0 - alpha) * (angle * i as f64).cos();
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Always, HeapSink, Registry};
    use brigade_proto::Params;

    fn run(window: i64, hop: i64, samples: u64) -> Result<(Vec<usize>, Vec<f32>), String> {
        let input = wav::synthetic(Size::Count(samples), 3).unwrap();
        let registry = Registry::builtin();
        let entry = registry.find("spectrogram").unwrap();
        let given: Params = [("window", window), ("hop", hop)].into_iter().collect();
        let params = entry.resolve(&given, 1).unwrap();
        let inputs = [&input[..]];
        let mut sink = HeapSink::default();
        let mut context = Context::new(&params, &inputs, &mut sink, &Always);
        entry.kernel.run(&mut context).map_err(|error| error.to_string())?;
        let output = sink.into_outputs().remove(0);
        let array = npy::parse(&output).unwrap();
        let magnitudes = array
            .data
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        Ok((array.shape, magnitudes))
    }

    #[test]
    fn magnitudes_follow_the_definition() {
        for (window, hop, samples) in [(2, 1, 2), (16, 5, 100), (15, 7, 400), (64, 64, 64)] {
            let (shape, magnitudes) = run(window, hop, samples).unwrap();
            let sound = wav::read(&wav::synthetic(Size::Count(samples), 3).unwrap()).unwrap();
            let x = &sound.channels[0];
            let (n, hop) = (window as usize, hop as usize);
            let frames = (x.len() - n) / hop + 1;
            assert_eq!(shape, [n / 2 + 1, frames]);
            let taper = taper("hann", n).unwrap();
            for bin in 0..shape[0] {
                for frame in 0..frames {
                    let (mut re, mut im) = (0.0, 0.0);
                    for i in 0..n {
                        let angle = std::f64::consts::TAU * (bin * i) as f64 / n as f64;
                        re += x[frame * hop + i] * taper[i] * angle.cos();
                        im -= x[frame * hop + i] * taper[i] * angle.sin();
                    }
                    let got = f64::from(magnitudes[bin * frames + frame]);
                    assert!((got - f64::hypot(re, im)).abs() < 1e-7);
                }
            }
        }
    }

    #[test]
    fn too_short_a_sound_is_refused_with_the_parameter() {
        assert!(run(1024, 256, 1000).unwrap_err().contains("-p window=N"));
    }
}
