use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes on the heap that start at a multiple of 64. So a kernel can view them as numbers
/// (`&[f64]`), or load whole cache lines and vector registers, without a copy.
///
/// ```
/// let buffer = brigade_proto::Buffer::from(&b"hello"[..]);
/// assert_eq!(&buffer[..], b"hello");
/// assert_eq!(buffer.as_ptr() as usize % 64, 0);
/// ```
#[derive(Clone, Default)]
pub struct Buffer {
    blocks: Vec<Block>,
    len: usize,
}

/// One cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Block([u8; 64]);

impl Buffer {
    /// Alignment of the first byte, in bytes.
    pub const ALIGN: usize = 64;

    /// `len` bytes, all zero. Pages of a large buffer are not touched before they are used.
    ///
    /// # Errors
    /// Returns `None` if there is no memory.
    pub fn try_zeroed(len: usize) -> Option<Self> {
        let blocks = bytemuck::allocation::try_zeroed_vec(len.div_ceil(Self::ALIGN)).ok()?;
        Some(Self { blocks, len })
    }

    /// `len` bytes, all zero.
    ///
    /// # Panics
    /// If there is no memory; [`Buffer::try_zeroed`] returns `None` instead.
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).unwrap_or_else(|| panic!("no memory for a buffer of {len} bytes"))
    }

    /// How many bytes the buffer can hold without another allocation.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * Self::ALIGN
    }

    /// Sets the length to `len` bytes, or to the capacity if that is less. Bytes that this adds
    /// keep their old contents, which are zero if the buffer was never longer.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    /// Shortens the buffer to `len` bytes. Does nothing if it is already shorter.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Buffer {
    /// Copies the bytes.
    ///
    /// # Panics
    /// If there is no memory; see [`Buffer::try_zeroed`].
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

impl Serialize for Buffer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        Ok(Self::from(&bytes[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_around_a_block_are_kept_and_aligned() {
        for len in [0, 1, 63, 64, 65, 4096, 100_001] {
            let mut buffer = Buffer::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % Buffer::ALIGN, 0);
            assert!(buffer.iter().all(|&b| b == 0));
            buffer.fill(7);
            buffer.truncate(len / 2);
            assert_eq!(&buffer[..], vec![7; len / 2]);
            buffer.truncate(len);
            assert_eq!(buffer.len(), len / 2, "truncate never lengthens");
            buffer.set_len(len);
            assert_eq!(&buffer[..], vec![7; len]);
            buffer.set_len(usize::MAX);
            assert_eq!((buffer.len(), buffer.capacity()), (len.next_multiple_of(64), buffer.len()));
        }
    }

    #[test]
    fn impossible_size_is_none() {
        assert!(Buffer::try_zeroed(usize::MAX / 2).is_none());
    }
}
