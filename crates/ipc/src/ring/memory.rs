use std::time::Duration;

use brigade_sys::mapping::Mapping;
use brigade_sys::shared::Words;

/// Words that two sides read and write: shared memory, or a model of it.
pub(crate) trait WordMemory {
    /// Reads a word (acquire).
    fn load(&self, index: usize) -> u64;
    /// Writes a word (release).
    fn store(&self, index: usize, value: u64);
    /// Writes a word and returns its old value (sequentially consistent).
    fn swap(&self, index: usize, value: u64) -> u64;
    /// Orders this side's earlier writes before its later reads (sequentially consistent).
    fn fence(&self);
    /// Writes bytes; the next `store` publishes them.
    fn write(&self, index: usize, bytes: &[u8]);
    /// Reads bytes that the other side has published, as an earlier `load` has shown.
    fn read(&self, index: usize, bytes: &mut [u8]);
    /// Sleeps while the word is `expected`; may return early.
    fn sleep_on(&self, index: usize, expected: u32, limit: Option<Duration>);
    /// Wakes all threads that sleep on the word.
    fn wake(&self, index: usize);
}

impl WordMemory for Words<Mapping> {
    fn load(&self, index: usize) -> u64 {
        self.load(index)
    }
    fn store(&self, index: usize, value: u64) {
        self.store(index, value);
    }
    fn swap(&self, index: usize, value: u64) -> u64 {
        self.swap(index, value)
    }
    fn fence(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
    fn write(&self, index: usize, bytes: &[u8]) {
        self.write(index, bytes);
    }
    fn read(&self, index: usize, bytes: &mut [u8]) {
        self.read(index, bytes);
    }
    fn sleep_on(&self, index: usize, expected: u32, limit: Option<Duration>) {
        self.sleep_on(index, expected, limit);
    }
    fn wake(&self, index: usize) {
        self.wake(index);
    }
}

/// Words on this process's heap, for tests and fuzzers that need no second process.
#[derive(Debug)]
pub(crate) struct Heap(Vec<std::sync::atomic::AtomicU64>);

impl Heap {
    pub(crate) fn new(words: usize) -> Self {
        Self((0..words).map(|_| std::sync::atomic::AtomicU64::new(0)).collect())
    }
}

impl WordMemory for Heap {
    fn load(&self, index: usize) -> u64 {
        self.0[index].load(std::sync::atomic::Ordering::Acquire)
    }
    fn store(&self, index: usize, value: u64) {
        self.0[index].store(value, std::sync::atomic::Ordering::Release);
    }
    fn swap(&self, index: usize, value: u64) -> u64 {
        self.0[index].swap(value, std::sync::atomic::Ordering::SeqCst)
    }
    fn fence(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
    fn write(&self, index: usize, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            self.store(index + i, u64::from_ne_bytes(value));
        }
    }
    fn read(&self, index: usize, bytes: &mut [u8]) {
        for (i, chunk) in bytes.chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&self.load(index + i).to_ne_bytes()[..chunk.len()]);
        }
    }
    fn sleep_on(&self, _: usize, _: u32, _: Option<Duration>) {}
    fn wake(&self, _: usize) {}
}
