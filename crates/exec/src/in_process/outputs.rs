//! Keeps the memory of results that callers have dropped and uses it for new results, as a worker
//! process does with its slabs.
//!
//! Without this each result is fresh memory. The operating system or the allocator fills it with
//! zeros; the operating system does so page by page at the first write. That takes up to two thirds
//! of the time of a job that does little more than write its output. Worker processes do not pay
//! it, so without this the in-process backends would be no fair baseline for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use brigade_kernels::{KernelError, OutputSink};
use brigade_proto::{Buffer, BufferOwner, Bytes};

/// Smallest result whose memory is kept, in bytes. For smaller ones the allocator is as fast.
const LEAST: usize = 64 << 10;
/// Most memory that is kept, in bytes.
const MOST: usize = 256 << 20;

/// The memory that the slots of one pool keep for results.
#[derive(Debug)]
pub(super) struct OutputBufferPool {
    free: Mutex<Vec<Buffer>>,
    /// Most buffers that are kept.
    count: usize,
}

impl OutputBufferPool {
    /// Keeps one buffer more than there are slots: the caller holds one result while each slot
    /// makes another.
    pub(super) fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), count: slots + 1 })
    }

    /// Collects the outputs of one job.
    pub(super) fn sink(self: &Arc<Self>) -> BufferSink {
        BufferSink { home: Arc::clone(self), outputs: Vec::new() }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept buffer of length `len` with its old contents: the smallest one that is large enough
    /// and at most twice as large.
    fn take(&self, len: usize) -> Option<Buffer> {
        let mut free = self.free();
        let fits = |buffer: &Buffer| (len..=len.saturating_mul(2)).contains(&buffer.capacity());
        let places = free.iter().enumerate().filter(|(_, buffer)| fits(buffer));
        let (place, _) = places.min_by_key(|(_, buffer)| buffer.capacity())?;
        let mut buffer = free.swap_remove(place);
        buffer.set_len(len);
        Some(buffer)
    }

    /// Keeps the buffer. Drops the oldest ones if there are too many, or too many bytes.
    fn put(&self, buffer: Buffer) {
        let mut free = self.free();
        free.push(buffer);
        let mut bytes: usize = free.iter().map(Buffer::capacity).sum();
        let mut dropped = Vec::new();
        while free.len() > self.count || bytes > MOST {
            let oldest = free.remove(0);
            bytes -= oldest.capacity();
            dropped.push(oldest);
        }
        // Release the lock before `dropped` is dropped: returning large buffers to the operating
        // system takes a while.
        drop(free);
    }
}

/// The outputs of one job.
#[derive(Debug)]
pub(super) struct BufferSink {
    home: Arc<OutputBufferPool>,
    outputs: Vec<Buffer>,
}

impl BufferSink {
    /// The outputs. The memory of large ones comes back to `home` when they are dropped.
    pub(super) fn into_outputs(self) -> Vec<Bytes> {
        let home = Arc::downgrade(&self.home);
        let lent = |buffer: Buffer| match buffer.capacity() {
            0..LEAST => Bytes::from(buffer),
            _ => Bytes::from_owner(Arc::new(Lent { buffer, home: Weak::clone(&home) })),
        };
        self.outputs.into_iter().map(lent).collect()
    }

    /// Adds an output. Also returns whether its memory is fresh, and so all zero.
    fn push(&mut self, len: usize) -> Result<(&mut [u8], bool), KernelError> {
        let kept = if len < LEAST { None } else { self.home.take(len) };
        let is_fresh = kept.is_none();
        let buffer = kept.or_else(|| Buffer::try_zeroed(len));
        let buffer = buffer.ok_or(KernelError::Memory { bytes: len as u64 })?;
        Ok((self.outputs.push_mut(buffer), is_fresh))
    }
}

impl OutputSink for BufferSink {
    fn add(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        let (output, is_fresh) = self.push(len)?;
        if !is_fresh {
            output.fill(0);
        }
        Ok(output)
    }

    fn add_for_overwrite(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        Ok(self.push(len)?.0)
    }

    fn truncate_last(&mut self, len: usize) {
        if let Some(last) = self.outputs.last_mut() {
            last.truncate(len);
        }
    }

    fn count(&self) -> usize {
        self.outputs.len()
    }
}

/// A result that a caller holds.
struct Lent {
    buffer: Buffer,
    /// Receives the memory. The pool may be gone by then.
    home: Weak<OutputBufferPool>,
}

impl BufferOwner for Lent {
    fn bytes(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.put(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(outputs: &Arc<OutputBufferPool>, len: usize) -> (Vec<Bytes>, *const u8) {
        let mut sink = outputs.sink();
        let place = sink.add_for_overwrite(len).unwrap().as_ptr();
        (sink.into_outputs(), place)
    }

    #[test]
    fn the_memory_of_a_dropped_result_is_that_of_the_next() {
        let outputs = OutputBufferPool::new(1);
        let (first, place) = result(&outputs, 1 << 20);
        let (second, other) = result(&outputs, 1 << 20);
        assert_ne!(place, other, "the first is in use");
        drop(first);
        let (third, again) = result(&outputs, (1 << 20) - 100);
        assert_eq!((again, third[0].len()), (place, (1 << 20) - 100));
        // The kept buffer is more than twice as large.
        drop(third);
        assert_ne!(result(&outputs, 1 << 18).1, place);
        drop(outputs);
        drop(second);
    }

    #[test]
    fn what_is_to_be_zero_is_whatever_was_there() {
        let outputs = OutputBufferPool::new(1);
        let mut sink = outputs.sink();
        sink.add(100_000).unwrap().fill(7);
        drop(sink.into_outputs());
        let mut sink = outputs.sink();
        assert!(sink.add(100_000).unwrap().iter().all(|&byte| byte == 0));
        assert_eq!(outputs.free().len(), 0, "it was that memory");
        sink.truncate_last(10);
        assert_eq!((sink.count(), sink.into_outputs()[0].len()), (1, 10));
    }

    #[test]
    fn no_more_is_kept_than_slots_can_use() {
        let outputs = OutputBufferPool::new(2);
        let results: Vec<_> = (0..9).map(|_| result(&outputs, LEAST).0).collect();
        drop(results);
        assert_eq!(outputs.free().len(), 3);
        outputs.put(Buffer::zeroed(MOST + 1));
        assert_eq!(outputs.free().len(), 0, "it was too large, and the others older");
        drop(result(&outputs, LEAST - 64).0);
        assert_eq!(outputs.free().len(), 0, "small ones are not worth it");
    }
}
