//! A set that only grows and needs little memory: for what a run of ten million jobs has to
//! remember of each.

/// How many parts the digests are divided into.
const PARTS: usize = 1 << 12;

/// Digests that have been seen, in seven bytes of memory each.
///
/// The set keeps sixty bits of each digest. So among ten million different digests, two are taken
/// for the same with a probability of 1 in 23,000.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The first twelve bits of a digest select the part. A part holds the next 48 bits, sorted.
    /// Empty before the first insertion.
    parts: Vec<Vec<[u8; 6]>>,
}

impl Seen {
    /// Adds a digest. Returns whether it is new.
    pub(crate) fn insert(&mut self, digest: &[u8; 16]) -> bool {
        let [a, b, rest @ .., _, _, _, _, _, _, _, _] = digest;
        self.parts.resize(PARTS, Vec::new());
        let part = &mut self.parts[usize::from(u16::from_be_bytes([*a, *b]) >> 4)];
        let Err(place) = part.binary_search(rest) else { return false };
        if part.len() == part.capacity() {
            // Do not double the capacity: up to half of it would be unused.
            part.reserve_exact(part.len() / 8 + 4);
        }
        part.insert(place, *rest);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn digest(number: u32) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..16]);
        short
    }

    #[test]
    fn it_answers_like_a_set() {
        let (mut seen, mut set) = (Seen::default(), HashSet::new());
        for number in 0..20_000_u32 {
            let digest = digest(number.wrapping_mul(2_654_435_761) % 15_000);
            assert_eq!(seen.insert(&digest), set.insert(digest), "{number}");
        }
    }

    #[test]
    fn it_takes_seven_bytes_for_each() {
        const COUNT: u32 = 400_000;
        let mut seen = Seen::default();
        for number in 0..COUNT {
            assert!(seen.insert(&digest(number)));
        }
        let bytes: usize = seen.parts.iter().map(|part| 6 * part.capacity()).sum();
        assert!(bytes < 7 * COUNT as usize, "{bytes}");
    }
}
