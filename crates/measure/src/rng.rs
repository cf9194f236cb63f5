//! Random numbers.

/// A seeded random number generator: xorshift64* (Vigna, "An experimental exploration of
/// Marsaglia's xorshift generators, scrambled", 2016). The same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Creates a generator from a seed. Neighbouring seeds give unrelated streams, because a step
    /// of SplitMix64 mixes the seed (Steele, Lea and Flood, "Fast splittable pseudorandom number
    /// generators", 2014).
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 0 is the only state in which xorshift does not work, and exactly one seed leads to it.
        Self(if z == 0 { 1 } else { z })
    }

    /// A random number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.next() >> 33) as usize % sides.max(1)
    }

    /// A random number from 0 (inclusive) to 1 (exclusive), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Shuffles by Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.roll(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_seeds_roll_the_same() {
        let rolls = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.roll(1 << 16)).collect::<Vec<_>>()
        };
        let all: std::collections::BTreeSet<_> = (0..1000).map(rolls).collect();
        assert_eq!(all.len(), 1000);
        assert_eq!(rolls(3), rolls(3));
        // The seed that SplitMix64 maps to 0.
        let seed = 0_u64.wrapping_sub(0x9e37_79b9_7f4a_7c15);
        assert!(rolls(seed).iter().any(|roll| *roll > 0));
    }
}
