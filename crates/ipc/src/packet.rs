//! ipc-channel's packets, as they are on the socket: two machine words (the length of the packet
//! and the length of the message), then the message, encoded by postcard.
//!
//! ipc-channel trusts these words. A length that does not fit its packet makes it panic, reserve
//! any amount of memory (and abort), or read past its buffer. A descriptor that cannot be mapped
//! makes it panic. So this module reads what a worker sends: it checks bounds, never panics, and
//! allocates nothing for a length that is only claimed.

use brigade_sys::socket::MAX_DESCRIPTORS;

/// Longest greeting that the coordinator accepts. Most of it is the names of the kernels.
pub(crate) const LONGEST_GREETING: usize = 16 << 10;
/// Longest response to a greeting.
pub(crate) const LONGEST_WELCOME: usize = 4 << 10;
/// Longest packet that a receiver accepts: a frame or a head, and what surrounds it.
pub(crate) const LONGEST: usize = 160 << 10;
const WORD: usize = size_of::<usize>();
/// Encoding of an empty region, which has no descriptor.
const EMPTY: u64 = usize::MAX as u64;

/// What is wrong with a packet.
pub(crate) type Malformed = &'static str;

/// An [`Envelope`](crate::envelope::Envelope) that borrows from its packet.
#[derive(Debug)]
pub(crate) struct RawEnvelope<'p> {
    /// The encoded head of a message, or a frame.
    pub(crate) head: &'p [u8],
    /// For each region its index among the descriptors; `None` for an empty region.
    pub(crate) regions: Vec<Option<usize>>,
}

pub(crate) fn envelope(packet: &[u8]) -> Result<RawEnvelope<'_>, Malformed> {
    let mut rest = body(packet)?;
    let head = bytes(&mut rest)?;
    let count = varint(&mut rest)?;
    if count > MAX_DESCRIPTORS as u64 {
        return Err("a message with too many regions");
    }
    let mut regions = Vec::with_capacity(count as usize);
    let mut next = 0;
    for _ in 0..count {
        // The sender numbers the descriptors in order: each index occurs once.
        regions.push(match varint(&mut rest)? {
            EMPTY => None,
            place if place == next => {
                next += 1;
                Some(place as usize)
            }
            _ => return Err("a message with its regions out of order"),
        });
    }
    end(rest)?;
    Ok(RawEnvelope { head, regions })
}

/// Puts an encoded message into a packet.
pub(crate) fn wrap(message: &[u8]) -> Vec<u8> {
    let len = 2 * WORD + message.len();
    [&len.to_ne_bytes(), &message.len().to_ne_bytes(), message].concat()
}

/// Encodes an envelope whose regions have these indices among the descriptors.
pub(crate) fn message(head: &[u8], regions: &[u64]) -> Vec<u8> {
    let mut message = written(head.len() as u64);
    message.extend(head);
    message.extend(written(regions.len() as u64));
    message.extend(regions.iter().flat_map(|&place| written(place)));
    message
}

/// Encodes a number as [`varint`] reads it.
pub(crate) fn written(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// ipc-channel splits a message when the kernel has no memory to take it as a whole. That is not
/// the sender's fault.
pub(crate) const IN_PIECES: Malformed = "a message in pieces";

fn body(packet: &[u8]) -> Result<&[u8], Malformed> {
    let words = packet.split_first_chunk::<WORD>();
    let words = words.and_then(|(len, rest)| Some((len, rest.split_first_chunk::<WORD>()?)));
    let Some((len, (total, body))) = words else {
        return Err("a packet without a header");
    };
    if usize::from_ne_bytes(*len) != packet.len() {
        return Err("a packet that claims another length than it has");
    }
    let total = usize::from_ne_bytes(*total);
    if total > body.len() && total <= LONGEST {
        return Err(IN_PIECES);
    }
    if total != body.len() {
        return Err("a message in pieces, or one that claims another length than it has");
    }
    Ok(body)
}

fn bytes<'p>(rest: &mut &'p [u8]) -> Result<&'p [u8], Malformed> {
    let len = usize::try_from(varint(rest)?).map_err(|_| "bytes without end")?;
    let (bytes, after) = rest.split_at_checked(len).ok_or("fewer bytes than are claimed")?;
    *rest = after;
    Ok(bytes)
}

/// Seven bits per byte, the lowest first; a set high bit says that more bytes follow.
fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("a number that is cut off")?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number that is too large")
}

fn end(rest: &[u8]) -> Result<(), Malformed> {
    if rest.is_empty() { Ok(()) } else { Err("bytes behind the end of a message") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(value in prop_oneof![any::<u64>(), 0..300_u64]) {
            prop_assert_eq!(varint(&mut &written(value)[..]), Ok(value));
        }

        #[test]
        fn whole_envelopes_are_read(head: Vec<u8>, count in 0..10_u64) {
            let packet = wrap(&message(&head, &(0..count).collect::<Vec<_>>()));
            let envelope = envelope(&packet).unwrap();
            prop_assert_eq!(envelope.head, &head[..]);
            prop_assert_eq!(envelope.regions.len() as u64, count);
        }
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        let good = wrap(&message(b"head", &[0, EMPTY, 1]));
        assert_eq!(envelope(&good).unwrap().regions, [Some(0), None, Some(1)]);
        for cut in 0..good.len() {
            assert!(envelope(&good[..cut]).is_err(), "cut at {cut}");
        }
        for word in [0, WORD] {
            for lie in [0, 1, good.len() - 1, good.len() + 1, usize::MAX, usize::MAX / 2] {
                let mut packet = good.clone();
                packet[word..word + WORD].copy_from_slice(&lie.to_ne_bytes());
                assert!(envelope(&packet).is_err(), "{lie} in word {word}");
            }
        }
        for message in [
            message(b"", &[1]),
            message(b"", &[0, 0]),
            message(b"", &[u64::MAX - 1]),
            written(1 << 60),
            [message(b"", &[]), vec![0]].concat(),
            [&[0_u8][..], &written(1 << 40)[..]].concat(),
            vec![0xff; 100],
        ] {
            assert!(envelope(&wrap(&message)).is_err(), "{message:?}");
        }
    }
}
