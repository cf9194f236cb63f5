//! WAV files: 8 to 32 bit integers and 32 bit floats, any number of channels.

use std::io::Cursor;

use brigade_proto::Buffer;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::synth::Rng;
use crate::{KernelError, Size};

/// Sound as numbers from -1 to 1 (integers divided by 2^(bits-1)), channel by
/// channel.
pub(super) struct Sound {
    pub(super) spec: WavSpec,
    pub(super) channels: Vec<Vec<f64>>,
}

fn not_wav(error: &hound::Error) -> KernelError {
    let reason = match error {
        hound::Error::IoError(_) => "it is truncated".to_owned(),
        other => other.to_string(),
    };
    KernelError::input(format!("cannot read the WAV file: {reason}"))
}

pub(super) fn read(bytes: &[u8]) -> Result<Sound, KernelError> {
    if bytes.is_empty() {
        return Err(KernelError::input("empty file, not a WAV file"));
    }
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(|error| not_wav(&error))?;
    let spec = reader.spec();
    let count = usize::from(spec.channels);
    if count == 0 || spec.sample_rate == 0 {
        return Err(KernelError::input("the WAV file has no channels or no sample rate"));
    }
    // Grows with what is there, not with what the header claims.
    let mut channels = vec![Vec::new(); count];
    if let Some(samples) = packed_16_bit(bytes, spec) {
        for channel in &mut channels {
            channel.reserve_exact(samples.len() / count + 1);
        }
        for frame in samples.chunks(count) {
            for (channel, sample) in channels.iter_mut().zip(frame) {
                channel.push(f64::from(i16::from_le_bytes(*sample)) / 32768.0);
            }
        }
        return not_empty(Sound { spec, channels });
    }
    let mut push = |place: usize, sample: f64| channels[place % count].push(sample);
    match spec.sample_format {
        SampleFormat::Int => {
            let scale = f64::from(spec.bits_per_sample - 1).exp2();
            for (place, sample) in reader.samples::<i32>().enumerate() {
                push(place, f64::from(sample.map_err(|error| not_wav(&error))?) / scale);
            }
        }
        SampleFormat::Float => {
            for (place, sample) in reader.samples::<f32>().enumerate() {
                let sample = sample.map_err(|error| not_wav(&error))?;
                if !sample.is_finite() {
                    return Err(KernelError::Numeric(format!("sample {place} is {sample}")));
                }
                push(place, f64::from(sample));
            }
        }
    }
    not_empty(Sound { spec, channels })
}

fn not_empty(sound: Sound) -> Result<Sound, KernelError> {
    if sound.channels[0].is_empty() {
        return Err(KernelError::input("the WAV file holds no samples"));
    }
    Ok(sound)
}

/// The samples as they lie, if they are the common kind, of 16 bits in two bytes, and
/// all there: hound reads each through several calls.
fn packed_16_bit(bytes: &[u8], spec: WavSpec) -> Option<&[[u8; 2]]> {
    // hound does not tell the bytes of a frame; an ordinary header has them here.
    let frame = bytes.get(32..34).filter(|_| bytes.get(12..16) == Some(b"fmt "))?;
    let packed =
        u32::from(u16::from_le_bytes([frame[0], frame[1]])) == 2 * u32::from(spec.channels);
    if !packed || spec.bits_per_sample != 16 || spec.sample_format != SampleFormat::Int {
        return None;
    }
    let reader = WavReader::new(Cursor::new(bytes)).ok()?;
    let len = usize::try_from(reader.len()).ok()?.checked_mul(2)?;
    let start = usize::try_from(reader.into_inner().position()).ok()?;
    Some(bytes.get(start..start.checked_add(len)?)?.as_chunks().0)
}

pub(super) fn write(sound: &Sound) -> Result<Vec<u8>, KernelError> {
    let failed = |error: hound::Error| {
        KernelError::input(format!("cannot write a WAV file of this format: {error}"))
    };
    let mut bytes = Vec::new();
    let mut writer = WavWriter::new(Cursor::new(&mut bytes), sound.spec).map_err(failed)?;
    let scale = f64::from(sound.spec.bits_per_sample - 1).exp2();
    let len = sound.channels[0].len();
    if sound.spec.sample_format == SampleFormat::Int && sound.spec.bits_per_sample == 16 {
        // Pieces whose samples `u32` can count. hound's own buffer, much faster.
        for from in (0..len).step_by(1 << 12) {
            let to = (from + (1 << 12)).min(len);
            let mut piece = writer.get_i16_writer(((to - from) * sound.channels.len()) as u32);
            for place in from..to {
                for channel in &sound.channels {
                    piece.write_sample(whole(channel[place], scale) as i16);
                }
            }
            piece.flush().map_err(failed)?;
        }
        writer.finalize().map_err(failed)?;
        return Ok(bytes);
    }
    for place in 0..len {
        for channel in &sound.channels {
            let sample = channel[place];
            match sound.spec.sample_format {
                SampleFormat::Int => writer.write_sample(whole(sample, scale) as i32),
                SampleFormat::Float => writer.write_sample(sample as f32),
            }
            .map_err(failed)?;
        }
    }
    writer.finalize().map_err(failed)?;
    Ok(bytes)
}

fn whole(sample: f64, scale: f64) -> f64 {
    (sample * scale).round_ties_even().clamp(-scale, scale - 1.0)
}

/// A second of sound at 48 kHz, or so many samples: two triangle waves and noise,
/// 16 bit, one channel. Integers only, so the bytes are the same everywhere.
pub(super) fn synthetic(size: Size, seed: u64) -> Result<Buffer, KernelError> {
    let samples = match size {
        Size::Count(n) if (1..=1 << 32).contains(&n) => n,
        other => {
            return Err(KernelError::input(format!(
                "`{other}` is no length of a sound; write a number of samples at 48 kHz, 480000"
            )));
        }
    };
    let spec = WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut rng = Rng::new(seed);
    let triangle = |at: u64, period: u64| {
        let phase = (at % period) as i64 * 4 - period as i64 * 2;
        (phase.abs() - period as i64) * 8000 / period as i64
    };
    let channel = (0..samples)
        .map(|at| {
            let noise = (rng.next() >> 52) as i64 - 2048;
            let sample = triangle(at, 109) + triangle(at, 48 + at / 4800 % 40) / 2 + noise / 4;
            sample as f64 / 32768.0
        })
        .collect();
    Ok(Buffer::from(&write(&Sound { spec, channels: vec![channel] })?[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_reads_back() {
        for (bits, sample_format) in [
            (8, SampleFormat::Int),
            (16, SampleFormat::Int),
            (24, SampleFormat::Int),
            (32, SampleFormat::Int),
            (32, SampleFormat::Float),
        ] {
            let spec =
                WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: bits, sample_format };
            let channels = vec![vec![0.0, 0.5, -1.0], vec![0.25, -0.25, 0.75]];
            let sound = read(&write(&Sound { spec, channels: channels.clone() }).unwrap()).unwrap();
            assert_eq!(sound.channels, channels, "{bits} {sample_format:?}");
            assert_eq!(sound.spec, spec);
        }
    }

    #[test]
    fn loud_samples_are_clipped() {
        let spec = WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let sound = Sound { spec, channels: vec![vec![2.0, -2.0]] };
        let back = read(&write(&sound).unwrap()).unwrap();
        assert_eq!(back.channels, [[32767.0 / 32768.0, -1.0]]);
    }

    #[test]
    fn damage_is_told() {
        let good = synthetic(Size::Count(100), 1).unwrap();
        let mut huge = good.to_vec();
        huge[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        for bytes in [&b""[..], b"RIFF", b"not a sound at all", &good[..good.len() - 7], &huge] {
            let error = read(bytes).err().unwrap().to_string();
            assert!(error.contains("WAV"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0..60_usize, byte: u8) {
            let mut bytes = synthetic(Size::Count(8), 1).unwrap();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = read(&bytes);
        }
    }
}
