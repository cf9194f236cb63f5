//! Samples of any type to 8 bits a channel.

use super::layout::{Alpha, Color, Layout, SampleFormat};
use super::rows::{largest, sample_bytes};
use crate::KernelError;
use crate::alloc::try_vec;

/// A sample in 8 bits, given the largest value of its type.
type ToByte = fn(&[u8], u64) -> u8;

/// A sample from 0 to 1, likewise.
type ToUnit = fn(&[u8], u64) -> f64;

/// Turns rows of samples into rows of an image.
pub(super) struct Converter {
    /// Samples of a pixel in a row.
    step: usize,
    /// Where among them alpha is.
    alpha: Option<Alpha>,
    color: Color,
    to_byte: ToByte,
    to_unit: ToUnit,
    width: usize,
    largest: u64,
    float: bool,
    /// Colours by number.
    palette: Vec<[u8; 3]>,
    /// Samples of a row in 8 bits, where they have more.
    bytes: Vec<u8>,
    /// Whether a sample was out of range.
    pub(super) clipped: bool,
    /// Whether colours of the palette have more than 8 bits.
    pub(super) deep_palette: bool,
}

impl Converter {
    pub(super) fn new(layout: &Layout<'_>, kept: &[usize]) -> Result<Self, KernelError> {
        let width = sample_bytes(layout);
        let place = |sample: usize| kept.iter().position(|&kept| kept == sample);
        let alpha =
            layout.alpha.and_then(|alpha| Some(Alpha { sample: place(alpha.sample)?, ..alpha }));
        let (to_byte, to_unit): (ToByte, ToUnit) = match (layout.sample, width) {
            (SampleFormat::Unsigned, 1) => (|s, _| s[0], |s, max| f64::from(s[0]) / max as f64),
            (SampleFormat::Unsigned, 2) if layout.bits == 16 => {
                (|s, _| ((u32::from(short(s)) + 128) / 257) as u8, short_unit)
            }
            (SampleFormat::Unsigned, 2) => (
                |s, max| ((u32::from(short(s)) * 255 + max as u32 / 2) / max as u32) as u8,
                short_unit,
            ),
            (SampleFormat::Unsigned, _) => {
                (|s, max| byte(whole(s) / max as f64), |s, max| whole(s) / max as f64)
            }
            (SampleFormat::Float, _) => (|s, _| byte(float(s)), |s, _| float(s)),
        };
        let (palette, deep_palette) = palette(layout)?;
        Ok(Self {
            step: kept.len(),
            alpha,
            color: layout.color,
            to_byte,
            to_unit,
            width,
            largest: largest(layout),
            float: layout.sample == SampleFormat::Float,
            palette,
            bytes: Vec::new(),
            clipped: false,
            deep_palette,
        })
    }

    /// Channels of the image.
    pub(super) fn channels(&self) -> usize {
        match (self.color, self.alpha) {
            (_, Some(_)) => 4,
            (Color::Grey | Color::Inverted, None) => 1,
            _ => 3,
        }
    }

    /// As many pixels as there is room for in `to`.
    pub(super) fn row(&mut self, from: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        let count = to.len() / self.channels();
        let from = &from[..count * self.step * self.width];
        match (self.color, self.alpha) {
            (Color::Palette, _) => self.look_up(from, to),
            (Color::Cmyk, _) | (_, Some(Alpha { associated: true, .. })) => self.mix(from, to),
            _ if self.width == 1 => self.place(from, to),
            _ => {
                let mut bytes = std::mem::take(&mut self.bytes);
                if bytes.len() != count * self.step {
                    bytes = try_vec(count * self.step)?;
                }
                for (byte, sample) in bytes.iter_mut().zip(from.chunks_exact(self.width)) {
                    *byte = (self.to_byte)(sample, self.largest);
                }
                if self.float {
                    let inside = |sample: &[u8]| (0.0..=1.0).contains(&float(sample));
                    self.clipped |= !from.chunks_exact(self.width).all(inside);
                }
                self.place(&bytes, to);
                self.bytes = bytes;
            }
        }
        Ok(())
    }

    /// Grey, RGB, and alpha that changes nothing.
    fn place(&self, from: &[u8], to: &mut [u8]) {
        let pixels = from.chunks_exact(self.step);
        let (channels, inverted) = (self.channels(), self.color == Color::Inverted);
        let grey = |value: u8| if inverted { 255 - value } else { value };
        let alpha = self.alpha.map(|alpha| alpha.sample);
        match (self.color, alpha) {
            (Color::Rgb, None | Some(3)) if self.step == channels => to.copy_from_slice(from),
            (Color::Grey, None) if self.step == 1 => to.copy_from_slice(from),
            (Color::Rgb, _) => {
                for (to, from) in to.chunks_exact_mut(channels).zip(pixels) {
                    to[..3].copy_from_slice(&from[..3]);
                    if let Some(alpha) = alpha {
                        to[3] = from[alpha];
                    }
                }
            }
            (_, None) => to.iter_mut().zip(pixels).for_each(|(to, from)| *to = grey(from[0])),
            (_, Some(alpha)) => {
                for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(pixels) {
                    let value = grey(from[0]);
                    *to = [value, value, value, from[alpha]];
                }
            }
        }
    }

    fn look_up(&self, from: &[u8], to: &mut [u8]) {
        let pixels = from.chunks_exact(self.step * self.width);
        for (to, from) in to.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            let number = if self.width == 1 { usize::from(from[0]) } else { short(from).into() };
            // The table has a colour for each value of so many bits.
            *to = self.palette.get(number).copied().unwrap_or_default();
        }
    }

    /// What takes several samples together: inks, and colours that are multiplied by alpha.
    fn mix(&mut self, from: &[u8], to: &mut [u8]) {
        let channels = self.channels();
        let mut clipped = false;
        let pixels = from.chunks_exact(self.step * self.width);
        for (to, from) in to.chunks_exact_mut(channels).zip(pixels) {
            let mut undefined = false;
            let mut sample = |index: usize| {
                let value = (self.to_unit)(&from[index * self.width..][..self.width], self.largest);
                undefined |= value.is_nan();
                if value.is_nan() { 0.0 } else { value }
            };
            let associated = self.alpha.filter(|alpha| alpha.associated);
            let divisor = associated.map(|alpha| sample(alpha.sample));
            let alpha = self.alpha.map(|alpha| sample(alpha.sample));
            let mut color = |index: usize| {
                let value = match (sample(index), divisor) {
                    (0.0, Some(0.0)) => 0.0,
                    // Light without cover, which straight alpha cannot say, becomes infinite.
                    (value, Some(alpha)) => value / alpha,
                    (value, None) => value,
                };
                clipped |= !(0.0..=ALMOST_ONE).contains(&value);
                value.clamp(0.0, 1.0)
            };
            match self.color {
                Color::Cmyk => {
                    let light = 1.0 - color(3);
                    (0..3).for_each(|ink| to[ink] = byte((1.0 - color(ink)) * light));
                }
                Color::Rgb => (0..3).for_each(|place| to[place] = byte(color(place))),
                _ => to[..3].fill(byte(color(0))),
            }
            if let Some(alpha) = alpha {
                clipped |= !(0.0..=1.0).contains(&alpha);
                to[3] = byte(alpha);
            }
            clipped |= undefined;
        }
        self.clipped |= clipped;
    }
}

/// A quotient is above 1 by rounding at times.
const ALMOST_ONE: f64 = 1.0 + 1.0 / 1024.0;

/// From 0..=1; what is beyond is cut, and NaN becomes 0.
fn byte(value: f64) -> u8 {
    (value * 255.0 + 0.5) as u8
}

fn short(sample: &[u8]) -> u16 {
    sample.first_chunk().map_or(0, |&bytes| u16::from_ne_bytes(bytes))
}

fn short_unit(sample: &[u8], largest: u64) -> f64 {
    f64::from(short(sample)) / largest as f64
}

/// A whole number of 32 or 64 bits.
fn whole(sample: &[u8]) -> f64 {
    match sample.first_chunk() {
        Some(&bytes) => u64::from_ne_bytes(bytes) as f64,
        None => sample.first_chunk().map_or(0.0, |&bytes| u32::from_ne_bytes(bytes).into()),
    }
}

fn float(sample: &[u8]) -> f64 {
    match *sample {
        [a, b] => small_float(u16::from_ne_bytes([a, b]).into(), 5, 10),
        [a, b, c] if cfg!(target_endian = "little") => {
            small_float(u32::from_le_bytes([a, b, c, 0]), 7, 16)
        }
        [a, b, c] => small_float(u32::from_be_bytes([0, a, b, c]), 7, 16),
        [a, b, c, d] => f32::from_ne_bytes([a, b, c, d]).into(),
        _ => sample.first_chunk().map_or(f64::NAN, |&bytes| f64::from_ne_bytes(bytes)),
    }
}

/// A number with a sign, so many bits of exponent, and so many of fraction.
fn small_float(value: u32, exponent_bits: u32, fraction_bits: u32) -> f64 {
    let sign = if value >> (exponent_bits + fraction_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let largest = (1 << exponent_bits) - 1;
    let exponent = value >> fraction_bits & largest;
    let fraction = f64::from(value & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    let bias = (largest / 2) as i32;
    sign * match exponent {
        0 => fraction * 2.0_f64.powi(1 - bias),
        e if e == largest => {
            if fraction == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => (1.0 + fraction) * 2.0_f64.powi(e as i32 - bias),
    }
}

/// The colours, and whether 8 bits are too few for them.
fn palette(layout: &Layout<'_>) -> Result<(Vec<[u8; 3]>, bool), KernelError> {
    let Some(numbers) = layout.palette else { return Ok((Vec::new(), false)) };
    let len = numbers.len() / 3;
    let mut colors: Vec<[u8; 3]> = try_vec(len)?;
    // 16 bits each; some programs write 8. As libtiff finds them.
    let shift = if numbers.iter().all(|number| number < 256) { 0 } else { 8 };
    let mut deep = false;
    for (place, number) in numbers.iter().enumerate() {
        // Made from 8 bits by 257 or by 256.
        let (high, low) = ((number >> shift) as u8, number as u8);
        deep |= shift == 8 && low != high && low != 0;
        colors[place % len][place / len] = high;
    }
    Ok((colors, deep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_are_those_of_the_standard() {
        let half = |bits: u32| small_float(bits, 5, 10);
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x7bff), 65504.0);
        assert_eq!(half(0x3555), 0.333_251_953_125);
        assert_eq!(half(0x0001), 2.0_f64.powi(-24));
        assert_eq!(half(0x7c00), f64::INFINITY);
        assert!(half(0x7c01).is_nan());
        assert_eq!(small_float(0x3f_0000, 7, 16), 1.0);
        assert_eq!(small_float(0x3e_8000, 7, 16), 0.75);
    }
}
