//! Slabs: pieces of one shared region. Each slab has one owner at a time.
//!
//! The free list is on this process's heap, not in the region. The process on the other side can
//! write any byte of the region, but it cannot make two slabs overlap.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::shared::BytesMut;

/// Alignment of every slab, in bytes.
const ALIGN: usize = 64;

/// A shared region from which this process allocates slabs.
///
/// The other side reads a slab only after this side has told it of the slab, and only while this
/// side does not write it. The caller must keep that order; breaking it garbles bytes.
pub struct Slabs<T> {
    /// Keeps the memory mapped.
    _region: T,
    base: NonNull<u8>,
    len: usize,
    free: Mutex<Free>,
}

/// The free part of the region.
struct Free {
    /// Length of each free range, keyed by its offset. No two ranges are adjacent.
    ranges: BTreeMap<usize, usize>,
    /// No byte from this offset on was ever part of a slab.
    untouched: usize,
}

// SAFETY: `base` is only used for ranges that one slab owns; the list of those is
// behind a lock; the region itself is only kept.
unsafe impl<T: Send> Send for Slabs<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Slabs<T> {}

impl<T> fmt::Debug for Slabs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slabs({} bytes)", self.len)
    }
}

/// How many bytes of the region a slab of `len` bytes takes. Rounds up to a multiple of a step: an
/// eighth of the next power of two, but at least 64. These steps let a slab take the place of an
/// earlier one of about the same length.
fn size_class(len: usize) -> Option<usize> {
    let step = (len.checked_next_power_of_two()? / 8).max(ALIGN);
    len.max(1).checked_next_multiple_of(step)
}

impl<T> Slabs<T> {
    /// Takes a region that nothing else in this process uses. Its mapping must not move until it is
    /// dropped. Returns `None` if the region does not start at a multiple of 64.
    pub fn new(mut region: T, bytes: BytesMut<T>) -> Option<Self> {
        // SAFETY: no other reference to the bytes exists in this process: the
        // region was just moved in. The reference ends in this statement.
        let (base, len) = unsafe {
            let bytes = bytes(&mut region);
            (bytes.as_mut_ptr(), bytes.len() / ALIGN * ALIGN)
        };
        let base = NonNull::new(base)?;
        (base.align_offset(ALIGN) == 0).then(|| Self {
            _region: region,
            base,
            len,
            free: Mutex::new(Free { ranges: BTreeMap::from([(0, len)]), untouched: 0 }),
        })
    }

    /// Length of the region in bytes, rounded down to a multiple of 64.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no slab of the region is in use.
    pub fn is_unused(&self) -> bool {
        self.free().ranges.first_key_value().is_none_or(|(_, room)| *room == self.len)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the kernel to provide these pages now, in one call, instead of by one page fault each
    /// at their first use. Best effort.
    fn populate(&self, from: usize, to: usize) {
        const PAGE: usize = 4096;
        let from = from / PAGE * PAGE;
        // SAFETY: the range lies in this value's mapping; populating changes no byte.
        let _ = unsafe {
            rustix::mm::madvise(
                self.base.add(from).as_ptr().cast(),
                to - from,
                rustix::mm::Advice::LinuxPopulateWrite,
            )
        };
    }

    /// Gives the memory of free ranges of at least `least` bytes back to the operating system.
    /// Returns the number of bytes given back.
    pub fn trim(&self, least: usize) -> usize {
        const PAGE: usize = 4096;
        let free = self.free();
        let mut trimmed = 0;
        for (&offset, &len) in free.ranges.iter().filter(|(_, len)| **len >= least) {
            let from = offset.next_multiple_of(PAGE);
            let to = (offset + len) / PAGE * PAGE;
            if from >= to {
                continue;
            }
            // SAFETY: the range lies in the mapping and belongs to no slab, and the
            // lock keeps it so; nobody has a reference to its bytes.
            let done = unsafe {
                rustix::mm::madvise(
                    self.base.add(from).as_ptr().cast(),
                    to - from,
                    rustix::mm::Advice::LinuxRemove,
                )
            };
            if done.is_ok() {
                trimmed += to - from;
            }
        }
        trimmed
    }

    /// Takes a slab of `len` bytes; its content is whatever was there before. Returns `None` if no
    /// free range is long enough. Takes the lowest free range that is long enough, because that one
    /// is still in the caches. All pages of the slab are present when this returns. Pages that no
    /// slab has used yet are not populated, so a large region costs only what is used of it.
    pub fn take(self: &Arc<Self>, len: usize) -> Option<Slab<T>> {
        let size = size_class(len)?;
        let mut free = self.free();
        let mut ranges = free.ranges.iter();
        let (offset, room) = ranges.find(|(_, room)| **room >= size).map(|(&o, &r)| (o, r))?;
        free.ranges.remove(&offset);
        if room > size {
            free.ranges.insert(offset + size, room - size);
        }
        let (new, end) = (free.untouched.max(offset), offset + size);
        free.untouched = free.untouched.max(end);
        drop(free);
        if new < end {
            self.populate(new, end);
        }
        Some(Slab { home: Arc::clone(self), offset, size, len })
    }

    fn give_back(&self, mut offset: usize, mut size: usize) {
        let ranges = &mut self.free().ranges;
        if let Some(next) = ranges.remove(&(offset + size)) {
            size += next;
        }
        if let Some((&before, &room)) = ranges.range(..offset).next_back()
            && before + room == offset
        {
            offset = before;
            size += room;
        }
        ranges.insert(offset, size);
    }
}

/// A piece of a shared region that belongs to this value alone. Dropping the value gives the piece
/// back to the region.
pub struct Slab<T> {
    home: Arc<Slabs<T>>,
    offset: usize,
    /// Bytes that the slab takes from the region; at least `len`.
    size: usize,
    len: usize,
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} bytes at {})", self.len, self.offset)
    }
}

impl<T> Slab<T> {
    /// Where the slab starts in its region, in bytes: a multiple of 64.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Shortens the slab to `len` bytes; does nothing if it is already shorter.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl<T> Deref for Slab<T> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `offset..offset + size` lies in the mapping, which `home` keeps;
        // no other slab has it (`Slabs::take` removes it from the free list), so
        // nothing in this process writes it while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.home.base.add(self.offset).as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Slab<T> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` lends the range once.
        unsafe {
            std::slice::from_raw_parts_mut(self.home.base.add(self.offset).as_ptr(), self.len)
        }
    }
}

impl<T> Drop for Slab<T> {
    fn drop(&mut self) {
        self.home.give_back(self.offset, self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_proto::Buffer;

    fn bytes_mut(region: &mut Buffer) -> &mut [u8] {
        region
    }

    fn slabs(len: usize) -> Arc<Slabs<Buffer>> {
        Arc::new(Slabs::new(Buffer::zeroed(len), bytes_mut).unwrap())
    }

    #[test]
    fn what_is_given_back_is_whole_again() {
        let home = slabs(1 << 20);
        let mut held: Vec<_> = (0..50).map(|i| home.take(i * 300 + 1).unwrap()).collect();
        // Drop the slabs in an order that makes holes first.
        while held.len() > 1 {
            held.remove(held.len() / 2);
        }
        held.clear();
        assert_eq!(home.free().ranges, BTreeMap::from([(0, 1 << 20)]));
    }

    #[test]
    fn too_much_is_refused() {
        let home = slabs(4096);
        assert!(home.take(4097).is_none());
        assert!(home.take(usize::MAX).is_none());
        let all = home.take(4096).unwrap();
        assert!(home.take(1).is_none());
        drop(all);
        assert!(home.take(1).is_some());
    }

    proptest::proptest! {
        #[test]
        fn slabs_never_overlap_and_are_aligned(ops: Vec<(bool, u16)>) {
            let home = slabs(1 << 18);
            let mut held: Vec<(Slab<Buffer>, u8)> = Vec::new();
            for (i, (take, n)) in ops.into_iter().enumerate() {
                if take {
                    if let Some(mut slab) = home.take(n.into()) {
                        assert_eq!(slab.offset() % ALIGN, 0);
                        assert_eq!(slab.as_ptr() as usize % ALIGN, 0);
                        assert_eq!(slab.len(), usize::from(n));
                        slab.fill(i as u8);
                        held.push((slab, i as u8));
                    }
                } else if !held.is_empty() {
                    held.swap_remove(usize::from(n) % held.len());
                }
                for (slab, mark) in &held {
                    assert!(slab.iter().all(|byte| byte == mark));
                }
            }
            drop(held);
            assert_eq!(home.free().ranges, BTreeMap::from([(0, 1 << 18)]));
        }
    }
}
