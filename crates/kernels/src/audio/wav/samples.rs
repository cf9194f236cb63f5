//! Samples between the bytes of a file and numbers from -1 to 1.

use super::{SampleEncoding, WavFormat};
use crate::KernelError;

/// Integers are divided by half their range; floats are taken as they are.
pub(super) fn decode(data: &[u8], format: &WavFormat) -> Result<Vec<Vec<f64>>, KernelError> {
    let scale = |bits: u32| f64::from(bits - 1).exp2();
    match format.sample {
        // The only one without sign.
        SampleEncoding::Int { bytes: 1, .. } => {
            channels(data, format, |[a]: [u8; 1]| (f64::from(a) - 128.0) / 128.0)
        }
        SampleEncoding::Int { bytes: 2, .. } => {
            check_aligned(data, format)?;
            channels(data, format, |b: [u8; 2]| f64::from(i16::from_le_bytes(b)) / scale(16))
        }
        SampleEncoding::Int { bytes: 3, .. } => {
            check_aligned(data, format)?;
            channels(data, format, |b: [u8; 3]| f64::from(i24(b)) / scale(24))
        }
        SampleEncoding::Int { .. } => {
            check_aligned(data, format)?;
            channels(data, format, |b: [u8; 4]| f64::from(i32::from_le_bytes(b)) / scale(32))
        }
        SampleEncoding::F32 => {
            finite(channels(data, format, |b: [u8; 4]| f64::from(f32::from_le_bytes(b)))?)
        }
        SampleEncoding::F64 => finite(channels(data, format, |b: [u8; 8]| f64::from_le_bytes(b))?),
    }
}

fn i24([a, b, c]: [u8; 3]) -> i32 {
    i32::from_le_bytes([0, a, b, c]) >> 8
}

fn channels<const N: usize>(
    data: &[u8],
    format: &WavFormat,
    number: impl Fn([u8; N]) -> f64,
) -> Result<Vec<Vec<f64>>, KernelError> {
    let count = usize::from(format.channels);
    let samples = data.as_chunks::<N>().0;
    let len = samples.len() / count;
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        let mut channel: Vec<f64> = Vec::new();
        let memory = |_| KernelError::Memory { bytes: len as u64 * 8 };
        channel.try_reserve_exact(len).map_err(memory)?;
        channels.push(channel);
    }
    for frame in samples.chunks_exact(count) {
        for (channel, sample) in channels.iter_mut().zip(frame) {
            channel.push(number(*sample));
        }
    }
    Ok(channels)
}

/// What follows from a NaN or an infinity is one for a whole frame, or a whole file.
fn finite(channels: Vec<Vec<f64>>) -> Result<Vec<Vec<f64>>, KernelError> {
    for (number, channel) in channels.iter().enumerate() {
        if let Some(place) = channel.iter().position(|sample| !sample.is_finite()) {
            let sample = channel[place];
            return Err(KernelError::Numeric(format!(
                "sample {place} of channel {number} is {sample}"
            )));
        }
    }
    Ok(channels)
}

/// Fewer bits than there is room for lie at the upper end, with zeros below (the extensible
/// format's rule, and RIFF's). Some writers put them at the lower end: such a file would be
/// read as a whisper.
fn check_aligned(data: &[u8], format: &WavFormat) -> Result<(), KernelError> {
    let SampleEncoding::Int { bytes, valid } = format.sample else { return Ok(()) };
    let spare = 8 * u32::from(bytes) - u32::from(valid);
    if spare == 0 {
        return Ok(());
    }
    let number = |sample: &[u8]| match *sample {
        [a, b] => i32::from(i16::from_le_bytes([a, b])),
        [a, b, c] => i24([a, b, c]),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    let half = 1_i64 << (valid - 1);
    let mut samples = data.chunks_exact(bytes.into()).map(number);
    let below = samples.clone().any(|sample| sample.trailing_zeros() < spare);
    if below && samples.all(|sample| (-half..half).contains(&i64::from(sample))) {
        return Err(KernelError::input(format!(
            "unsupported WAV: samples of {valid} bits at the lower end of {bytes} bytes; they belong \
             at the upper end"
        )));
    }
    Ok(())
}

/// Writes frame after frame into `to`, which has room for them. Whether samples were cut to the
/// range of integers.
pub(super) fn encode(
    channels: &[Vec<f64>],
    format: &WavFormat,
    to: &mut [u8],
) -> Result<bool, KernelError> {
    let mut is_clipped = false;
    match format.sample {
        SampleEncoding::Int { bytes, valid } => {
            let shift = 8 * u32::from(bytes) - u32::from(valid);
            let scale = f64::from(valid - 1).exp2();
            let is_out = |sample: &f64| whole(*sample, scale) != (sample * scale).round_ties_even();
            is_clipped = channels.iter().flatten().any(is_out);
            let number = |sample: f64| (whole(sample, scale) as i32) << shift;
            match bytes {
                1 => put(channels, to, |sample| [(number(sample) + 128) as u8]),
                2 => put(channels, to, |sample| (number(sample) as i16).to_le_bytes()),
                3 => put(channels, to, |sample| {
                    let [a, b, c, _] = number(sample).to_le_bytes();
                    [a, b, c]
                }),
                _ => put(channels, to, |sample| number(sample).to_le_bytes()),
            }
        }
        SampleEncoding::F32 => {
            let loud = |sample: &&f64| !(**sample as f32).is_finite();
            if let Some(sample) = channels.iter().flatten().find(loud) {
                return Err(KernelError::Numeric(format!(
                    "a sample of {sample:e} is beyond what 32-bit floats hold"
                )));
            }
            put(channels, to, |sample| (sample as f32).to_le_bytes());
        }
        SampleEncoding::F64 => {
            if channels.iter().flatten().any(|sample| !sample.is_finite()) {
                return Err(KernelError::Numeric("a sample is beyond what floats hold".to_owned()));
            }
            put(channels, to, f64::to_le_bytes);
        }
    }
    Ok(is_clipped)
}

fn put<const N: usize>(channels: &[Vec<f64>], to: &mut [u8], bytes: impl Fn(f64) -> [u8; N]) {
    let frames = to.as_chunks_mut::<N>().0.chunks_exact_mut(channels.len());
    for (place, frame) in frames.enumerate() {
        for (to, channel) in frame.iter_mut().zip(channels) {
            *to = bytes(channel[place]);
        }
    }
}

/// What is louder than the range is clipped.
fn whole(sample: f64, scale: f64) -> f64 {
    (sample * scale).round_ties_even().clamp(-scale, scale - 1.0)
}
