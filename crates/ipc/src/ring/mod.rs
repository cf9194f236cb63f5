//! Single-producer single-consumer rings of fixed-size slots in memory that two processes share,
//! and the flag on which a consumer sleeps.
//!
//! README.md in this directory has the states, the orderings, and why no wake-up is lost.

mod flag;
mod memory;
#[cfg(test)]
mod models;

use std::sync::Arc;

use thiserror::Error;

pub(crate) use flag::WakeFlag;
pub(crate) use memory::{Heap, WordMemory};

/// Slots of a ring. More than [`limits::MAX_DEPTH`](brigade_proto::limits::MAX_DEPTH) jobs, so a
/// producer that keeps to its credits never finds the ring full.
pub(crate) const SLOTS: u64 = 32;
/// Words of a slot: its seal and its message. The first cache line has the seal and 56 bytes, so a
/// short message crosses with one transfer between cores.
const SLOT_WORDS: usize = 64;
/// Longest message, in bytes.
pub const MAX_MESSAGE: usize = (SLOT_WORDS - 1) * 8;
/// Distance in words between two words that different sides write: a cache line, and the one that
/// the processor fetches along with it.
const APART: usize = 16;

const HEAD: usize = 0;
const BODY: usize = APART;

/// Bits of a seal that hold the length of the message. The other bits hold its position, counted
/// from one, so a slot that was never written has no message.
const LEN_BITS: u32 = 10;

fn seal(position: u64, len: usize) -> u64 {
    (position.wrapping_add(1) << LEN_BITS) | len as u64
}

/// Words of a whole ring.
pub(crate) const WORDS: usize = BODY + SLOTS as usize * SLOT_WORDS;

/// The other side has written something impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its ring is corrupt: {0}")]
pub struct Corrupt(&'static str);

impl Corrupt {
    /// Says what is wrong with the ring.
    pub fn what(&self) -> &'static str {
        self.0
    }
}

fn slot(base: usize, position: u64) -> usize {
    base + BODY + (position % SLOTS) as usize * SLOT_WORDS
}

/// The end of a ring that messages go into. Each ring has one.
#[derive(Debug)]
pub(crate) struct Producer<M> {
    memory: Arc<M>,
    base: usize,
    tail: u64,
    /// The consumer's position when the producer last read it.
    head: u64,
}

impl<M: WordMemory> Producer<M> {
    /// The producer of the ring at `base`, which must be new: all zero.
    pub(crate) fn new(memory: Arc<M>, base: usize) -> Self {
        Self { memory, base, tail: 0, head: 0 }
    }

    /// Publishes a message. False when the ring is full.
    ///
    /// # Panics
    /// When the message is longer than [`MAX_MESSAGE`].
    pub(crate) fn push(&mut self, message: &[u8]) -> bool {
        assert!(message.len() <= MAX_MESSAGE, "a message of {} bytes", message.len());
        if self.tail.wrapping_sub(self.head) >= SLOTS {
            // Acquire: the consumer has read the slots that the producer overwrites from here on.
            self.head = self.memory.load(self.base + HEAD);
            if self.tail.wrapping_sub(self.head) >= SLOTS {
                return false;
            }
        }
        let slot = slot(self.base, self.tail);
        self.memory.write(slot + 1, message);
        // Release: a consumer that sees the seal sees the message.
        self.memory.store(slot, seal(self.tail, message.len()));
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// Whether the consumer has taken every message.
    pub(crate) fn is_drained(&self) -> bool {
        self.memory.load(self.base + HEAD) == self.tail
    }
}

/// The end of a ring that messages come out of. Each ring has one.
#[derive(Debug)]
pub(crate) struct Consumer<M> {
    memory: Arc<M>,
    base: usize,
    head: u64,
}

impl<M: WordMemory> Consumer<M> {
    /// The consumer of the ring at `base`, which must be new: all zero.
    pub(crate) fn new(memory: Arc<M>, base: usize) -> Self {
        Self { memory, base, head: 0 }
    }

    /// Returns three seals of the next slot: the one that is there, the one from the last time
    /// around the ring (nothing new is there), and the one of an empty new message.
    fn look(&self) -> (u64, u64, u64) {
        let found = self.memory.load(slot(self.base, self.head));
        let earlier = match self.head.checked_sub(SLOTS) {
            Some(position) => seal(position, 0),
            None => 0,
        };
        (found, earlier, seal(self.head, 0))
    }

    /// Whether the next slot has a message, or nonsense.
    pub(crate) fn is_ready(&self) -> bool {
        let (found, earlier, _) = self.look();
        found >> LEN_BITS != earlier >> LEN_BITS
    }

    /// Takes a message; `None` if there is none.
    ///
    /// # Errors
    /// When the seal is impossible. The ring is unusable from then on.
    pub(crate) fn pop<'b>(
        &mut self,
        buffer: &'b mut [u8; MAX_MESSAGE],
    ) -> Result<Option<&'b mut [u8]>, Corrupt> {
        let (found, earlier, expected) = self.look();
        if found >> LEN_BITS == earlier >> LEN_BITS {
            return Ok(None);
        }
        if found >> LEN_BITS != expected >> LEN_BITS {
            return Err(Corrupt("a message out of order"));
        }
        let len = (found - expected) as usize;
        if len > MAX_MESSAGE {
            return Err(Corrupt("a message longer than its slot"));
        }
        // Read once, into this process's own memory, before anything in the message is checked.
        let message = &mut buffer[..len];
        self.memory.read(slot(self.base, self.head) + 1, message);
        self.head = self.head.wrapping_add(1);
        // Release: the producer overwrites the slot after this.
        self.memory.store(self.base + HEAD, self.head);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn ring() -> (Producer<Heap>, Consumer<Heap>) {
        let memory = Arc::new(Heap::new(WORDS));
        (Producer::new(Arc::clone(&memory), 0), Consumer::new(memory, 0))
    }

    proptest! {
        /// Compares the ring with a queue, several times around the ring.
        #[test]
        fn messages_come_out_as_they_went_in(
            ops in prop::collection::vec(prop::option::of(0..=MAX_MESSAGE), 0..500),
        ) {
            let (mut producer, mut consumer) = ring();
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            let mut buffer = [0; MAX_MESSAGE];
            for (i, op) in ops.into_iter().enumerate() {
                match op {
                    Some(len) => {
                        let message: Vec<u8> = (0..len).map(|j| (i * 7 + j) as u8).collect();
                        let room = model.len() < SLOTS as usize;
                        prop_assert_eq!(producer.push(&message), room);
                        if room {
                            model.push_back(message);
                        }
                    }
                    None => {
                        prop_assert_eq!(consumer.is_ready(), !model.is_empty());
                        let got = consumer.pop(&mut buffer).unwrap().map(|m| m.to_vec());
                        prop_assert_eq!(got, model.pop_front());
                    }
                }
                prop_assert_eq!(producer.is_drained(), model.is_empty());
            }
        }

        #[test]
        fn whatever_the_other_side_writes_is_an_error_or_a_message(
            taken in 0..100_u64, seal_ in prop_oneof![any::<u64>(), 0..1_u64 << 18], words: Vec<u64>,
        ) {
            let (mut producer, mut consumer) = ring();
            let mut buffer = [0; MAX_MESSAGE];
            for _ in 0..taken {
                prop_assert!(producer.push(b"x"));
                prop_assert!(consumer.pop(&mut buffer).unwrap().is_some());
            }
            let slot = slot(0, taken);
            for (i, word) in words.into_iter().take(SLOT_WORDS - 1).enumerate() {
                producer.memory.store(slot + 1 + i, word);
            }
            let before = producer.memory.load(slot);
            producer.memory.store(slot, seal_);
            let (position, len) = (seal_ >> LEN_BITS, (seal_ % (1 << LEN_BITS)) as usize);
            match consumer.pop(&mut buffer) {
                Ok(None) => prop_assert_eq!(position, before >> LEN_BITS),
                Ok(Some(message)) => {
                    prop_assert_eq!((position, message.len()), (taken + 1, len));
                }
                Err(_) => prop_assert!(position != taken + 1 || len > MAX_MESSAGE),
            }
        }
    }
}
