//! Synthetic inputs: seeded, deterministic, the same bytes on every machine.

use std::fmt;
use std::str::FromStr;

use brigade_proto::{Buffer, limits};

use crate::KernelError;

/// How large a synthetic input is. Each kernel reads it in its own unit.
///
/// ```
/// use brigade_kernels::Size;
/// assert_eq!("1920x1080".parse(), Ok(Size::Area { width: 1920, height: 1080 }));
/// assert_eq!("512".parse(), Ok(Size::Count(512)));
/// assert_eq!("8MiB".parse(), Ok(Size::Bytes(8 << 20)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// `WIDTHxHEIGHT`, in pixels.
    Area {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A plain number: rows of a square matrix, samples, bytes; the kernel's
    /// help says which.
    Count(u64),
    /// A number with a unit `B`, `KiB`, `MiB` or `GiB`, in bytes.
    Bytes(u64),
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write 1920x1080, 512, or 8MiB");
        if let Some((width, height)) = text.split_once('x') {
            let side = |s: &str| s.parse().ok().filter(|&n: &u32| n > 0).ok_or_else(wrong);
            return Ok(Self::Area { width: side(width)?, height: side(height)? });
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let scale = match unit {
            "" => return Ok(Self::Count(number)),
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(scale).map(Self::Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Area { width, height } => write!(f, "{width}x{height}"),
            Self::Count(n) => write!(f, "{n}"),
            Self::Bytes(n) => write!(f, "{n}B"),
        }
    }
}

/// A small pseudo-random generator: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014). Here because
/// synthetic inputs must be the same bytes in every version of Brigade, which no
/// random-number library promises.
pub(crate) struct SynthRng(u64);

impl SynthRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), with 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Random bytes.
pub(crate) fn bytes(size: Size, seed: u64) -> Result<Buffer, KernelError> {
    let len = match size {
        Size::Count(n) | Size::Bytes(n) => n,
        Size::Area { width, height } => u64::from(width) * u64::from(height),
    };
    if len > limits::MAX_BUFFER_BYTES {
        return Err(KernelError::Memory { bytes: len });
    }
    let mut buffer = Buffer::try_zeroed(len as usize).ok_or(KernelError::Memory { bytes: len })?;
    let mut rng = SynthRng::new(seed);
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_le_bytes()[..chunk.len()]);
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for text in ["1920x1080", "512", "100B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for wrong in ["", "x", "0x5", "5x", "8MB", "-1", "1e3", "99999999999GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn generator_matches_the_published_sequence() {
        // First outputs for seed 1234567, from the reference implementation
        // (https://prng.di.unimi.it/splitmix64.c).
        let mut rng = SynthRng::new(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn bytes_depend_on_the_seed_alone() {
        let one = bytes(Size::Bytes(1001), 1).unwrap();
        assert_eq!(one.len(), 1001);
        assert_eq!(one, bytes(Size::Bytes(1001), 1).unwrap());
        assert_ne!(one, bytes(Size::Bytes(1001), 2).unwrap());
    }
}
