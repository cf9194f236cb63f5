//! A set that forgets nothing and takes little: for what a run of ten million jobs has to
//! remember of each.

/// Into how many parts the digests are put.
const PARTS: usize = 1 << 12;

/// Digests that have been seen: seven bytes of memory for each.
///
/// Sixty bits of each are kept, so of ten million different ones two are taken for the same
/// with a probability of 1 to 23,000.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By the first twelve bits; sorted, the next 48. Empty before the first.
    parts: Vec<Vec<[u8; 6]>>,
}

impl Seen {
    /// Whether it is the first time that this one is seen.
    pub(crate) fn insert(&mut self, digest: &[u8; 16]) -> bool {
        let [a, b, rest @ .., _, _, _, _, _, _, _, _] = digest;
        self.parts.resize(PARTS, Vec::new());
        let part = &mut self.parts[usize::from(u16::from_be_bytes([*a, *b]) >> 4)];
        let Err(place) = part.binary_search(rest) else { return false };
        if part.len() == part.capacity() {
            // Not doubled: that would be half for nothing.
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
