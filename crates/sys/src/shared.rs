//! Memory that two processes see.
//!
//! What the other side may be writing is never looked at through a reference:
//! words are atomics ([`Words`]), bulk bytes are copied out once through a raw
//! pointer ([`copy_out`]) or belong to one side alone until they are sent
//! ([`Exclusive`]).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use brigade_proto::Buffer;

/// How the mapping's owner gives its bytes for writing.
///
/// An `unsafe fn`, so that a crate without unsafe code can pass, but not call,
/// `IpcSharedMemory::deref_mut`. The function may ask for nothing but that the
/// bytes are not used by anybody else for the life of the reference.
pub type BytesMut<T> = unsafe fn(&mut T) -> &mut [u8];

/// 64-bit words in shared memory, read and written by both sides.
pub struct Words<T> {
    /// Keeps the memory mapped.
    _region: T,
    base: ptr::NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are atomics, which any thread may use; the region is only kept.
unsafe impl<T: Send> Send for Words<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Words<T> {}

impl<T> fmt::Debug for Words<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.count)
    }
}

impl<T> Words<T> {
    /// Takes a freshly mapped region. Its mapping must stay where it is until it
    /// is dropped, as that of an `IpcSharedMemory` does. Bytes behind the last
    /// whole word are not used. `None` if the region is not aligned for words.
    pub fn new(mut region: T, bytes: BytesMut<T>) -> Option<Self> {
        // SAFETY: no other reference to the bytes exists in this process: the
        // region was just moved in. The reference ends in this statement.
        let (base, len) = unsafe {
            let bytes = bytes(&mut region);
            (bytes.as_mut_ptr(), bytes.len())
        };
        let base = ptr::NonNull::new(base.cast::<AtomicU64>())?;
        base.is_aligned().then_some(Self {
            _region: region,
            base,
            count: len / size_of::<AtomicU64>(),
        })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "word {index} of {}", self.count);
        // SAFETY: the index is in the mapping, which `_region` keeps; the memory
        // is aligned and only ever accessed atomically, by either process.
        unsafe { self.base.add(index).as_ref() }
    }

    /// Reads a word and everything that the other side wrote before it.
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Writes a word; who reads it sees everything that was written before it.
    pub fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }
}

/// A shared region that this process alone uses: it was just made and has not
/// been sent yet.
pub struct Exclusive<T> {
    region: T,
    bytes_mut: BytesMut<T>,
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exclusive")
    }
}

impl<T: Deref<Target = [u8]>> Exclusive<T> {
    /// Takes a region that nobody else has.
    pub fn new(region: T, bytes_mut: BytesMut<T>) -> Self {
        Self { region, bytes_mut }
    }

    /// Gives the region away, to be sent. It is not written after that.
    pub fn into_inner(self) -> T {
        self.region
    }
}

impl<T: Deref<Target = [u8]>> Deref for Exclusive<T> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.region
    }
}

impl<T: Deref<Target = [u8]>> DerefMut for Exclusive<T> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the region was not sent or cloned, so its bytes belong to this
        // value, and `&mut self` lends them once.
        unsafe { (self.bytes_mut)(&mut self.region) }
    }
}

/// Copies the first `len` bytes out of a region that another process may still
/// be writing: what is checked afterwards cannot change under the check.
///
/// `None` when the region is shorter or the memory cannot be had.
pub fn copy_out(region: &impl Deref<Target = [u8]>, len: usize) -> Option<Buffer> {
    let (from, available) = {
        let bytes: &[u8] = region;
        (bytes.as_ptr(), bytes.len())
    };
    if len > available {
        return None;
    }
    let mut to = Buffer::try_zeroed(len)?;
    // SAFETY: `from` is mapped for `len` bytes as long as `region` is borrowed, and
    // `to` is other memory of that length. A hostile writer on the other side can
    // make the copied bytes anything, which is what bytes may be.
    unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len) };
    Some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_mut(region: &mut Vec<u8>) -> &mut [u8] {
        region
    }

    #[test]
    fn words_are_read_as_written_and_bounded() {
        let mut region = vec![0_u8; 24];
        let skew = region.as_ptr().align_offset(8);
        region.drain(..skew);
        if let Some(words) = Words::new(region, bytes_mut) {
            words.store(1, 42);
            assert_eq!(words.load(1), 42);
            assert!(std::panic::catch_unwind(|| words.load(3)).is_err());
        }
    }

    #[test]
    fn copies_no_more_than_there_is() {
        let region = vec![1_u8, 2, 3];
        assert_eq!(&copy_out(&region, 2).unwrap()[..], [1, 2]);
        assert!(copy_out(&region, 4).is_none());
    }
}
