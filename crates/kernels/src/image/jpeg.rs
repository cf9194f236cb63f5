//! JPEG files out.

use rusty_jpeg::encode::{EncodingError, ImageBuffer};
use rusty_jpeg::{Encoder, JpegColorType, SamplingFactor};

use super::pixels::Shape;
use crate::KernelError;
use crate::simd::vectorised;

/// Writes a baseline JPEG with a fourth of the chroma samples (4:2:0), as OpenCV and
/// Pillow do. Alpha is dropped.
pub(super) fn encode(bytes: &[u8], shape: Shape, quality: u8) -> Result<Vec<u8>, KernelError> {
    // About what a photograph needs at quality 95; it grows if that is too little.
    let mut out = Vec::with_capacity(shape.width * shape.height / 4 + 1024);
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let failed = |error: EncodingError| KernelError::input(format!("cannot write JPEG: {error}"));
    encoder.encode_image(Picture { bytes, shape }).map_err(failed)?;
    Ok(out)
}

/// Pixels as the encoder asks for them: row by row, a plane for each component.
struct Picture<'p> {
    bytes: &'p [u8],
    shape: Shape,
}

impl ImageBuffer for Picture<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        if self.shape.channels == 1 { JpegColorType::Luma } else { JpegColorType::Ycbcr }
    }

    fn width(&self) -> u16 {
        self.shape.width as u16
    }

    fn height(&self) -> u16 {
        self.shape.height as u16
    }

    fn fill_buffers(&self, y: u16, planes: &mut [Vec<u8>; 4]) {
        let len = self.shape.row_bytes();
        let row = &self.bytes[usize::from(y) * len..][..len];
        let [luma, blue, red, _] = planes;
        if self.shape.channels == 1 {
            luma.extend_from_slice(row);
            return;
        }
        let (old, width) = (luma.len(), self.shape.width);
        for plane in [&mut *luma, &mut *blue, &mut *red] {
            plane.resize(old + width, 0);
        }
        let (luma, blue, red) = (&mut luma[old..], &mut blue[old..], &mut red[old..]);
        match self.shape.channels {
            3 => rgb_to_ycbcr(row.as_chunks().0, luma, blue, red),
            _ => rgba_to_ycbcr(row.as_chunks().0, luma, blue, red),
        }
    }
}

/// Pixels that are computed with at once: samples of 16 bits in a vector register.
const LANES: usize = 16;

/// What a component takes of red, green and blue, in 1/65536 (ITU-T T.871, section 7).
/// Once for each lane, so that the compiler sees 16 bits times 16 bits.
struct Shares {
    luma: [[u16; LANES]; 3],
    blue: [[u16; LANES]; 2],
    red: [[u16; LANES]; 2],
    half: [u16; LANES],
}

/// The upper half of the product.
#[inline(always)]
fn scale(value: [u16; LANES], share: &[u16; LANES]) -> [u16; LANES] {
    let mut scaled = [0; LANES];
    for i in 0..LANES {
        scaled[i] = ((u32::from(value[i]) * u32::from(share[i])) >> 16) as u16;
    }
    scaled
}

/// `base` and what is added to it and taken from it, in 1/128, rounded.
#[inline(always)]
fn round(base: u16, more: &[[u16; LANES]], less: &[[u16; LANES]]) -> [u8; LANES] {
    let mut sum = [base; LANES];
    for part in more {
        for i in 0..LANES {
            sum[i] = sum[i].wrapping_add(part[i]);
        }
    }
    for part in less {
        for i in 0..LANES {
            sum[i] = sum[i].wrapping_sub(part[i]);
        }
    }
    let mut rounded = [0; LANES];
    for i in 0..LANES {
        rounded[i] = (sum[i] >> 7).min(255) as u8;
    }
    rounded
}

#[inline(always)]
fn sixteen<const N: usize>(pixels: &[[u8; N]; LANES], shares: &Shares) -> [[u8; LANES]; 3] {
    // Products are cut, by half a unit each on average.
    const HALF: u16 = 64 + 1;
    const MIDDLE: u16 = 128 * 128 + HALF - 1;
    let [mut r, mut g, mut b] = [[0_u8; LANES]; 3];
    for i in 0..LANES {
        r[i] = pixels[i][0];
        g[i] = pixels[i][1];
        b[i] = pixels[i][2];
    }
    let [r, g, b] = [r, g, b].map(|plane| plane.map(|sample| u16::from(sample) << 7));
    let parts = [scale(r, &shares.luma[0]), scale(g, &shares.luma[1]), scale(b, &shares.luma[2])];
    let from_blue = [scale(r, &shares.blue[0]), scale(g, &shares.blue[1])];
    let from_red = [scale(g, &shares.red[0]), scale(b, &shares.red[1])];
    [
        round(HALF, &parts, &[]),
        round(MIDDLE, &[scale(b, &shares.half)], &from_blue),
        round(MIDDLE, &[scale(r, &shares.half)], &from_red),
    ]
}

#[inline(always)]
fn to_ycbcr<const N: usize>(row: &[[u8; N]], luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
    let shares = Shares {
        luma: [[19_595; LANES], [38_470; LANES], [7_471; LANES]],
        blue: [[11_059; LANES], [21_709; LANES]],
        red: [[27_439; LANES], [5_329; LANES]],
        half: [32_768; LANES],
    };
    let planes = luma.chunks_mut(LANES).zip(blue.chunks_mut(LANES)).zip(red.chunks_mut(LANES));
    for (pixels, ((luma, blue), red)) in row.chunks(LANES).zip(planes) {
        // Opaque each time, or the compiler widens them before the loop.
        let shares = std::hint::black_box(&shares);
        let [y, cb, cr] = match pixels.first_chunk() {
            Some(pixels) => sixteen(pixels, shares),
            None => {
                let mut padded = [[0; N]; LANES];
                padded[..pixels.len()].copy_from_slice(pixels);
                sixteen(&padded, shares)
            }
        };
        luma.copy_from_slice(&y[..luma.len()]);
        blue.copy_from_slice(&cb[..blue.len()]);
        red.copy_from_slice(&cr[..red.len()]);
    }
}

vectorised! {
    fn rgb_to_ycbcr(row: &[[u8; 3]], luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
        to_ycbcr(row, luma, blue, red);
    }

    fn rgba_to_ycbcr(row: &[[u8; 4]], luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
        to_ycbcr(row, luma, blue, red);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_the_standard() {
        let shape = Shape::new(300, 1, 3).unwrap();
        let bytes: Vec<u8> = (0..900_u32).map(|i| (i * 7919 % 251) as u8).collect();
        let mut planes: [Vec<u8>; 4] = Default::default();
        Picture { bytes: &bytes, shape }.fill_buffers(0, &mut planes);
        for (i, pixel) in bytes.as_chunks::<3>().0.iter().enumerate() {
            let [r, g, b] = pixel.map(f64::from);
            let expected = [
                0.299 * r + 0.587 * g + 0.114 * b,
                -0.168_736 * r - 0.331_264 * g + 0.5 * b + 128.0,
                0.5 * r - 0.418_688 * g - 0.081_312 * b + 128.0,
            ];
            for (plane, expected) in planes.iter().zip(expected) {
                assert!((f64::from(plane[i]) - expected).abs() <= 0.6, "{pixel:?}");
            }
        }
        assert!(planes[..3].iter().all(|plane| plane.len() == 300));
    }
}
