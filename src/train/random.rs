//! Random numbers that depend on a seed and on where they are used, on nothing that happened before: what stands behind
//! the order of examples, their pairs and their masks, so that training can go on at any place.

/// What random numbers are for: no two uses see the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The order of examples.
    Examples = 1,
    /// The order of batches.
    Batches = 2,
    /// The order of a corpus's documents.
    Documents = 3,
    /// The order of examples within a window of documents.
    Window = 4,
    /// The pairs that a document is cut into.
    Pairs = 5,
    /// The masks of one example.
    Masks = 6,
}

/// SplitMix64 (Steele, Lea, Flood 2014): a counter with an odd step through a mixing function.
pub struct Generator(u64);

impl Generator {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    /// The numbers of `seed` for one use at one place: an epoch, or an epoch and the number of what is drawn for.
    pub fn new(seed: u64, of: Use, place: &[u64]) -> Self {
        let parts = place.iter().copied().chain([of as u64]);
        Self(parts.fold(mix(seed), |state, part| mix(state ^ mix(part.wrapping_add(1)))))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        mix(self.0)
    }

    /// Uniform in 0..bound: the upper half of a product, which is uneven where the lower half falls below 2⁶⁴ mod bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        let uneven = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= uneven {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in 0..bound, for a place in a list.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// Uniform in [0, 1): the upper 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Fisher–Yates, from the end.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.index(last + 1);
            items.swap(last, other);
        }
    }
}

/// A permutation of 0..count, every one equally likely, that depends on `seed` and `epoch` alone.
pub fn shuffle(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    Generator::new(seed, Use::Examples, &[epoch]).shuffle(&mut order);
    order
}

/// The output function of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_generator_is_splitmix64() {
        // first outputs of the authors' C code for the seed 1234567
        let mut generator = Generator(1_234_567);
        let outputs = [generator.bits(), generator.bits(), generator.bits()];
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn every_permutation_is_equally_likely() {
        let mut counts: HashMap<Vec<usize>, u32> = HashMap::new();
        for epoch in 0..24_000 {
            *counts.entry(shuffle(4, 7, epoch)).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected, standard deviation 31; five of them pass by chance all but once in 10⁵ such tests
        assert!(counts.values().all(|&count| count.abs_diff(1000) < 155), "{counts:?}");
    }

    #[test]
    fn seed_and_epoch_change_the_order_and_nothing_else_does() {
        assert_eq!(shuffle(100, 1, 2), shuffle(100, 1, 2));
        assert_ne!(shuffle(100, 1, 2), shuffle(100, 1, 3));
        assert_ne!(shuffle(100, 1, 2), shuffle(100, 2, 2));
        assert_ne!(shuffle(100, 1, 2), shuffle(100, 2, 1));
        // what a checkpoint relies on: this order is part of the format
        assert_eq!(shuffle(8, 42, 0), [4, 0, 3, 1, 6, 7, 5, 2]);
    }

    #[test]
    fn uses_and_places_have_numbers_of_their_own() {
        let first = |of, place: &[u64]| Generator::new(42, of, place).bits();
        let all = [
            first(Use::Pairs, &[0, 1]),
            first(Use::Pairs, &[1, 0]),
            first(Use::Masks, &[0, 1]),
            first(Use::Masks, &[0]),
            first(Use::Masks, &[]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
        let mean = (0..10_000).map(|place| Generator::new(7, Use::Masks, &[place]).unit()).sum::<f64>() / 10_000.0;
        // the mean of 10⁴ uniform numbers has a deviation of 0.0029; five of those
        assert!((mean - 0.5).abs() < 0.0145, "{mean}");
    }
}
