//! Entry points for the fuzzers (`fuzz/` in the repository): every reader of a worker's bytes. A
//! reader refuses malformed bytes and never panics. What it accepts is what the writer would have
//! written.

use std::sync::Arc;

use crate::envelope::Head;
use crate::handshake::Hello;
use crate::packet;
use crate::ring::{self, Consumer, Heap, MAX_MESSAGE, WordMemory};
use crate::wire::{self, MessageResponse};

/// Decodes bytes of a ring slot as a response, and encodes an accepted response again.
pub fn answer(bytes: &[u8]) {
    if let Ok(response) = wire::decode_response(bytes) {
        let mut again = vec![0; 2 * bytes.len() + 1024];
        let len = wire::encode_response(&response, &mut again).ok().flatten();
        let len = len.expect("what was read can be written");
        let back = wire::decode_response(&again[..len]).expect("and read again");
        assert_eq!(format!("{back:?}"), format!("{response:?}"));
    }
}

/// Decodes bytes of a ring slot as a request.
pub fn order(bytes: &[u8]) {
    let _ = wire::decode_request(bytes);
}

/// Decodes what a worker reports about the jobs of a batch.
pub fn chunk(bytes: &[u8]) {
    if let Ok(others) = wire::decode_others(bytes, 100) {
        assert!(others.len() <= 100, "{} ends of 100 jobs", others.len());
    }
}

/// Reads a packet of the control channel.
pub fn mail(packet: &[u8]) {
    if let Ok(envelope) = packet::envelope(packet) {
        assert!(envelope.head.len() < packet.len(), "a head is a part of its packet");
        let _ = wire::decode::<Head<MessageResponse>>(envelope.head);
    }
}

/// Reads the packet with which a worker opens the handshake.
pub fn greeting(packet: &[u8]) {
    if let Ok(greeting) = packet::envelope(packet) {
        let _ = wire::decode::<Hello>(greeting.head);
    }
}

/// Reads a ring that a hostile process writes. Each step of the input is the index of a word and
/// its new value; the consumer reads the ring after each step.
pub fn ring(bytes: &[u8]) {
    let memory = Arc::new(Heap::new(ring::WORDS));
    let mut consumer = Consumer::new(Arc::clone(&memory), 0);
    let mut buffer = [0; MAX_MESSAGE];
    for step in bytes.as_chunks::<10>().0 {
        let [low, high, word @ ..] = *step;
        let place = usize::from(u16::from_le_bytes([low, high])) % ring::WORDS;
        memory.store(place, u64::from_le_bytes(word));
        // One round more than there are slots: without further writes the consumer must find the
        // ring empty.
        for round in 0..=ring::SLOTS {
            match consumer.pop(&mut buffer) {
                Ok(Some(message)) => assert!(message.len() <= MAX_MESSAGE),
                Ok(None) => break,
                Err(_) => return,
            }
            assert!(round < ring::SLOTS, "more messages than slots");
        }
    }
}
