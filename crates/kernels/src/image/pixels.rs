use brigade_proto::{Buffer, limits};

use crate::KernelError;
use crate::simd::vectorised;

/// An 8-bit image: rows from top to bottom, channels interleaved.
#[derive(Debug)]
pub(crate) struct Pixels<'a> {
    pub(crate) shape: Shape,
    data: Data<'a>,
}

#[derive(Debug)]
enum Data<'a> {
    /// A raw input, used where it lies.
    Borrowed(&'a [u8]),
    Owned(Buffer),
}

/// How large an image is. Made by [`Shape::new`] alone, so that its products
/// cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 1 grey, 3 RGB, 4 RGB and straight alpha.
    pub(crate) channels: usize,
}

impl Shape {
    /// Each side at least 1 and at most `u32::MAX`, all bytes within
    /// [`limits::MAX_BUFFER_BYTES`].
    pub(crate) fn new(width: usize, height: usize, channels: usize) -> Result<Self, KernelError> {
        debug_assert!(matches!(channels, 1 | 3 | 4));
        if width == 0 || height == 0 {
            return Err(KernelError::input(format!("the image is empty: {width}x{height} pixels")));
        }
        if u32::try_from(width).is_err() || u32::try_from(height).is_err() {
            return Err(KernelError::input(format!(
                "the image is {width}x{height} pixels; no side may be over {}",
                u32::MAX
            )));
        }
        let bytes = width as u128 * height as u128 * channels as u128;
        if bytes > u128::from(limits::MAX_BUFFER_BYTES) {
            return Err(KernelError::Memory { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) });
        }
        Ok(Self { width, height, channels })
    }

    /// The same size with another number of channels.
    pub(crate) fn with_channels(self, channels: usize) -> Result<Self, KernelError> {
        Self::new(self.width, self.height, channels)
    }

    pub(crate) fn bytes(self) -> usize {
        self.width * self.height * self.channels
    }

    pub(crate) fn row_bytes(self) -> usize {
        self.width * self.channels
    }
}

impl<'a> Pixels<'a> {
    pub(crate) fn borrowed(shape: Shape, data: &'a [u8]) -> Self {
        debug_assert_eq!(data.len(), shape.bytes());
        Self { shape, data: Data::Borrowed(data) }
    }

    pub(crate) fn owned(shape: Shape, data: Buffer) -> Self {
        debug_assert_eq!(data.len(), shape.bytes());
        Self { shape, data: Data::Owned(data) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Borrowed(bytes) => bytes,
            Data::Owned(buffer) => buffer,
        }
    }

    /// Whether some pixels are more transparent than others.
    pub(crate) fn alpha_varies(&self) -> bool {
        let first = self.bytes().get(3).copied().unwrap_or(255);
        alpha_is_other(self.bytes(), self.shape, first)
    }

    pub(crate) fn row(&self, y: usize) -> &[u8] {
        let row = self.shape.row_bytes();
        &self.bytes()[y * row..][..row]
    }

    /// Row `y` as luma; alpha does not count.
    pub(crate) fn luma_row(&self, y: usize, to: &mut [u8]) {
        let row = self.row(y);
        match self.shape.channels {
            1 => to.copy_from_slice(row),
            3 => luma_of_rgb(row, to),
            _ => luma_of_rgba(row, to),
        }
    }

    /// Row `y` as luma with `margin` pixels more on either side, which repeat the
    /// edge.
    pub(crate) fn padded_luma_row(&self, y: usize, margin: usize, to: &mut [u8]) {
        let width = self.shape.width;
        self.luma_row(y, &mut to[margin..margin + width]);
        let (first, last) = (to[margin], to[margin + width - 1]);
        to[..margin].fill(first);
        to[margin + width..].fill(last);
    }
}

/// Whether a pixel is transparent, at least in part.
pub(crate) fn alpha_is_seen(bytes: &[u8], shape: Shape) -> bool {
    alpha_is_other(bytes, shape, 255)
}

fn alpha_is_other(bytes: &[u8], shape: Shape, alpha: u8) -> bool {
    let mut rows = bytes.chunks_exact(shape.row_bytes());
    shape.channels == 4 && rows.any(|row| alpha_differs(row, alpha))
}

/// Rec. 601 luma in 15-bit fixed point with OpenCV's own constants
/// (`cv::cvtColor`, `COLOR_RGB2GRAY`), so that the results are equal.
#[inline(always)]
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 9798 + u32::from(g) * 19235 + u32::from(b) * 3735 + (1 << 14)) >> 15) as u8
}

vectorised! {
    fn alpha_differs(row: &[u8], alpha: u8) -> bool {
        row.as_chunks::<4>().0.iter().fold(0, |differs, pixel| differs | (pixel[3] ^ alpha)) != 0
    }

    fn luma_of_rgb(row: &[u8], to: &mut [u8]) {
        for (to, p) in to.iter_mut().zip(row.as_chunks::<3>().0) {
            *to = luma(p[0], p[1], p[2]);
        }
    }

    fn luma_of_rgba(row: &[u8], to: &mut [u8]) {
        for (to, p) in to.iter_mut().zip(row.as_chunks::<4>().0) {
            *to = luma(p[0], p[1], p[2]);
        }
    }
}

/// The nearest whole number to one from 0 to 2^22: adding 2^23 leaves it in the
/// lowest bits. `as` would look for NaN and range first, which is not vectorised.
#[inline(always)]
pub(crate) fn round(value: f32) -> u32 {
    const BIAS: f32 = 8_388_608.0;
    (value + BIAS).to_bits() - BIAS.to_bits()
}

/// Pixels that go through a long computation at a time. A constant number of them
/// leaves no rest that would have to go one by one.
pub(crate) const BLOCK: usize = 64;

/// A block of a row that is long enough; zeros otherwise.
#[inline(always)]
pub(crate) fn block(row: &[u8], at: usize) -> &[u8; BLOCK] {
    row.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; BLOCK])
}

/// A row with `margin` pixels of `channels` bytes more on either side, which
/// repeat the edge.
pub(crate) fn pad_row(row: &[u8], channels: usize, margin: usize, to: &mut [u8]) {
    let side = margin * channels;
    to[side..side + row.len()].copy_from_slice(row);
    for pixel in to[..side].chunks_exact_mut(channels) {
        pixel.copy_from_slice(&row[..channels]);
    }
    for pixel in to[side + row.len()..].chunks_exact_mut(channels) {
        pixel.copy_from_slice(&row[row.len() - channels..]);
    }
}
