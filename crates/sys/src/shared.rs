//! Memory that two processes share.
//!
//! This process never accesses through a reference what the other side may be writing. Words are
//! atomics ([`Words`]). Bulk bytes belong to one side alone until they are sent ([`Exclusive`]).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How to get the bytes of a mapping from its owner, for writing.
///
/// This is an `unsafe fn` so that a crate without unsafe code can pass `IpcSharedMemory::deref_mut`
/// but cannot call it. The function may require only that nobody else uses the bytes for the life
/// of the reference.
pub type BytesMut<T> = unsafe fn(&mut T) -> &mut [u8];

/// 64-bit words in shared memory, which both sides read and write.
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
    /// Takes a freshly mapped region. Its mapping must not move until it is dropped; that of an
    /// `IpcSharedMemory` does not. Bytes behind the last whole word are not used. Returns `None` if
    /// the region is not aligned for words.
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

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "word {index} of {}", self.count);
        // SAFETY: the index is in the mapping, which `_region` keeps; the memory
        // is aligned and only ever accessed atomically, by either process.
        unsafe { self.base.add(index).as_ref() }
    }

    /// Number of words.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Reads a word. The caller then sees everything that the other side wrote before it wrote the
    /// word.
    #[inline]
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Writes a word. A thread that reads the word also sees everything that was written before it.
    #[inline]
    pub fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    /// Writes a word and returns its previous value. All processes see such sequentially consistent
    /// steps in the same order.
    #[inline]
    pub fn swap(&self, index: usize, value: u64) -> u64 {
        self.word(index).swap(value, Ordering::SeqCst)
    }

    /// Copies bytes into the words from `index` on. A later [`Words::store`] publishes them. Fills
    /// the rest of the last word with zeroes.
    #[inline]
    pub fn write(&self, index: usize, bytes: &[u8]) {
        let words = self.words(index, bytes.len().div_ceil(WORD));
        for (word, chunk) in words.iter().zip(bytes.chunks(WORD)) {
            let mut value = [0; WORD];
            value[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
    }

    /// Copies bytes out of the words from `index` on. Reads each word once.
    #[inline]
    pub fn read(&self, index: usize, bytes: &mut [u8]) {
        let words = self.words(index, bytes.len().div_ceil(WORD));
        for (word, chunk) in words.iter().zip(bytes.chunks_mut(WORD)) {
            let value = word.load(Ordering::Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&value[..chunk.len()]);
        }
    }

    #[inline]
    fn words(&self, index: usize, count: usize) -> &[AtomicU64] {
        let end = index.checked_add(count);
        assert!(end.is_some_and(|end| end <= self.count), "{count} words at {index}");
        // SAFETY: the words are in the mapping, which `_region` keeps; the memory
        // is aligned and only ever accessed atomically, by either process.
        unsafe { std::slice::from_raw_parts(self.base.add(index).as_ptr(), count) }
    }

    /// Sleeps while the word is `expected`, until a thread of any process calls [`Words::wake`],
    /// for at most `limit`. May return early.
    ///
    /// The kernel compares `expected` with the lower half of the word only.
    pub fn sleep_on(&self, index: usize, expected: u32, limit: Option<Duration>) {
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the address is that of a live, aligned word; `limit` is null or
        // points to a timespec that outlives the call. The kernel only reads both.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.lower_half(index),
                libc::FUTEX_WAIT,
                expected,
                limit,
            );
        }
    }

    /// Wakes all threads that sleep on a word, in any process.
    pub fn wake(&self, index: usize) {
        // SAFETY: as in `sleep_on`; waking touches no memory.
        unsafe {
            libc::syscall(libc::SYS_futex, self.lower_half(index), libc::FUTEX_WAKE, i32::MAX);
        }
    }

    /// The address by which the kernel identifies a word: that of its lower 32 bits.
    fn lower_half(&self, index: usize) -> *const u32 {
        let address: *const u32 = ptr::from_ref(self.word(index)).cast();
        if cfg!(target_endian = "big") { address.wrapping_add(1) } else { address }
    }
}

/// Size of a word in bytes.
const WORD: usize = size_of::<u64>();

/// A shared region that only this process uses: this process has just created it and not sent it
/// yet.
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
    /// Takes a region that nothing else uses.
    pub fn new(region: T, bytes_mut: BytesMut<T>) -> Self {
        Self { region, bytes_mut }
    }

    /// Returns the region, so that it can be sent. This value can no longer write it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_proto::Buffer;

    fn bytes_mut(region: &mut Buffer) -> &mut [u8] {
        region
    }

    #[test]
    fn words_are_read_as_written_and_bounded() {
        let words = Words::new(Buffer::zeroed(24), bytes_mut).expect("it is aligned");
        words.store(1, 42);
        assert_eq!(words.load(1), 42);
        assert!(std::panic::catch_unwind(|| words.load(3)).is_err());
        words.write(1, b"0123456789abc");
        let mut back = [0; 13];
        words.read(1, &mut back);
        assert_eq!(&back, b"0123456789abc");
        assert!(std::panic::catch_unwind(|| words.write(2, &[0; 9])).is_err());
        words.sleep_on(0, 1, None);
        words.sleep_on(0, 0, Some(Duration::from_millis(1)));
        assert_eq!((words.swap(0, 5), words.load(0)), (0, 5));
    }
}
