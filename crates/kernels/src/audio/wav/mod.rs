//! WAV files: RIFF and RF64 or BW64, integers of 8 to 32 bits and floats of 32 and 64, any
//! number of channels.
//!
//! The reader is our own, because no library that was found reads all of these rightly or refuses
//! them: hound 3.5 takes 24 valid bits in 4 bytes for the lower ones, refuses lengths that a
//! stream does not know and floats of 64 bits, and does not know RF64; symphonia 0.5 does not
//! know RF64 either (its pull request 447), refuses formats with more bytes than it expects
//! (issue 247), and gives what is left of a truncated file without an error. What is read here is
//! a page of the standard, and each rule has a test.

mod header;
mod samples;
#[cfg(test)]
mod tests;

use brigade_proto::Buffer;

use crate::synth::SynthRng;
use crate::{KernelError, Size};

/// Sound as numbers from -1 to 1 (integers divided by 2^(bits-1)), channel by
/// channel; all are equally long.
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) format: WavFormat,
    pub(super) channels: Vec<Vec<f64>>,
}

/// How samples lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WavFormat {
    pub(super) channels: u16,
    /// Frames a second.
    pub(super) rate: u32,
    pub(super) sample: SampleEncoding,
    /// Which loudspeakers the channels are for, if the file is of the extensible format.
    pub(super) mask: Option<u32>,
}

/// How one sample lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleEncoding {
    /// An integer of 1 to 4 bytes, its `valid` bits at the upper end.
    Int {
        bytes: u8,
        valid: u8,
    },
    F32,
    F64,
}

impl WavFormat {
    fn sample_bytes(&self) -> usize {
        match self.sample {
            SampleEncoding::Int { bytes, .. } => bytes.into(),
            SampleEncoding::F32 => 4,
            SampleEncoding::F64 => 8,
        }
    }

    pub(super) fn frame_bytes(&self) -> usize {
        usize::from(self.channels) * self.sample_bytes()
    }
}

/// Reads a file. Memory is bounded by what is there, not by what the header says.
pub(super) fn read(bytes: &[u8]) -> Result<Sound, KernelError> {
    let encoded = header::read(bytes)?;
    if encoded.data.is_empty() {
        return Err(KernelError::input("the WAV file holds no samples"));
    }
    let channels = samples::decode(encoded.data, &encoded.format)?;
    Ok(Sound { format: encoded.format, channels })
}

impl Sound {
    fn frames(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// Bytes of the file.
    pub(super) fn file_len(&self) -> Result<usize, KernelError> {
        self.format.file_len(self.frames())
    }

    /// Writes the file into `to`, which has its length and is all zero. Whether samples were cut
    /// to the range of integers.
    pub(super) fn write(&self, to: &mut [u8]) -> Result<bool, KernelError> {
        let data = self.format.begin(self.frames(), to)?;
        self.format.encode(&self.channels, data)
    }
}

impl WavFormat {
    fn data_len(&self, frames: usize) -> Result<usize, KernelError> {
        let len = frames.checked_mul(self.frame_bytes());
        len.ok_or(KernelError::Memory { bytes: u64::MAX })
    }

    /// Bytes of a file with so many frames.
    pub(super) fn file_len(&self, frames: usize) -> Result<usize, KernelError> {
        let data = self.data_len(frames)?;
        let head = self.head(data as u64).len();
        let len = data.checked_next_multiple_of(2).and_then(|data| data.checked_add(head));
        len.ok_or(KernelError::Memory { bytes: u64::MAX })
    }

    /// Writes all before the samples of a file into `to`, which has its length and is all zero.
    /// What is left is for the frames.
    pub(super) fn begin<'a>(
        &self,
        frames: usize,
        to: &'a mut [u8],
    ) -> Result<&'a mut [u8], KernelError> {
        let data = self.data_len(frames)?;
        let head = self.head(data as u64);
        let (start, rest) = to.split_at_mut(head.len());
        start.copy_from_slice(&head);
        Ok(&mut rest[..data])
    }

    /// Writes as many frames as the channels have; returns whether samples were cut to the range
    /// of integers.
    pub(super) fn encode(&self, channels: &[Vec<f64>], to: &mut [u8]) -> Result<bool, KernelError> {
        samples::encode(channels, self, to)
    }

    /// All before `data` bytes of samples: RF64 where RIFF cannot say the length.
    fn head(&self, data: u64) -> Vec<u8> {
        let (tag, bits) = match self.sample {
            SampleEncoding::Int { bytes, .. } => (1_u16, u16::from(bytes) * 8),
            SampleEncoding::F32 => (3, 32),
            SampleEncoding::F64 => (3, 64),
        };
        let frame = self.frame_bytes() as u16;
        let valid = match self.sample {
            SampleEncoding::Int { valid, .. } => valid.into(),
            _ => bits,
        };
        let mut format = Vec::new();
        format.extend(if self.mask.is_some() { 0xfffe_u16 } else { tag }.to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.rate.to_le_bytes());
        format.extend(self.rate.saturating_mul(frame.into()).to_le_bytes());
        format.extend(frame.to_le_bytes());
        // The ordinary format says here how many bits are valid.
        format.extend(if self.mask.is_some() { bits } else { valid }.to_le_bytes());
        if let Some(mask) = self.mask {
            format.extend(22_u16.to_le_bytes());
            format.extend(valid.to_le_bytes());
            format.extend(mask.to_le_bytes());
            format.extend(tag.to_le_bytes());
            format.extend(header::TAGGED);
        } else if tag == 3 {
            format.extend(0_u16.to_le_bytes());
        }
        let frames = data / u64::from(frame.max(1));
        let fact = u32::try_from(frames).unwrap_or(u32::MAX).to_le_bytes();
        let mut chunks = Vec::new();
        for (name, body) in
            [(b"fmt ", Some(&format[..])), (b"fact", (tag == 3).then_some(&fact[..]))]
        {
            if let Some(body) = body {
                chunks.extend(name);
                chunks.extend((body.len() as u32).to_le_bytes());
                chunks.extend(body);
            }
        }
        let riff = 4 + chunks.len() as u64 + 8 + data.next_multiple_of(2);
        let mut head = Vec::new();
        match u32::try_from(riff) {
            Ok(riff) => {
                head.extend(b"RIFF");
                head.extend(riff.to_le_bytes());
                head.extend(b"WAVE");
            }
            Err(_) => {
                head.extend(b"RF64\xff\xff\xff\xffWAVEds64");
                head.extend(28_u32.to_le_bytes());
                for size in [riff + 36, data, frames] {
                    head.extend(size.to_le_bytes());
                }
                head.extend(0_u32.to_le_bytes());
            }
        }
        head.extend(chunks);
        head.extend(b"data");
        let said = if riff > u64::from(u32::MAX) { u32::MAX } else { data as u32 };
        head.extend(said.to_le_bytes());
        head
    }
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
    let format = WavFormat {
        channels: 1,
        rate: 48_000,
        sample: SampleEncoding::Int { bytes: 2, valid: 16 },
        mask: None,
    };
    let mut rng = SynthRng::new(seed);
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
    let sound = Sound { format, channels: vec![channel] };
    let len = sound.file_len()?;
    let mut file = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    sound.write(&mut file)?;
    Ok(file)
}
