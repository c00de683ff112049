//! Which examples make a batch, and in what order: a function of (seed, epoch) alone, so that training can go on in the
//! middle of an epoch.

use crate::error::{Error, Result};

/// Most batches whose examples are sorted by length together when [`Order::ByLength`] groups them.
const GROUPED: usize = 50;
/// Fewest stretches of such batches in an epoch: one alone would make the same batches every time.
const STRETCHES: usize = 4;

/// The order of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they stand.
    Given,
    /// Shuffled anew every epoch.
    Shuffled,
    /// Shuffled, examples of like length in one batch: stretches of fifty batches, or a quarter of the examples if that
    /// is less, are sorted by length, longest first, cut, and the batches shuffled.
    ByLength,
}

/// How examples become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Order of the examples.
    pub order: Order,
    /// Most examples of a batch.
    pub examples: usize,
    /// Most tokens of a batch; an example with more is a batch of its own. `usize::MAX` for no limit.
    pub tokens: usize,
    /// Seed of the order.
    pub seed: u64,
}

impl Plan {
    /// The batches of `epoch` over examples of the given `lengths` in tokens: places in `lengths`, each exactly once.
    ///
    /// No batch is empty, and what is left over is a batch too.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: a batch of no examples or no tokens is asked for.
    pub fn batches(&self, lengths: &[usize], epoch: u64) -> Result<Vec<Vec<usize>>> {
        if self.examples == 0 || self.tokens == 0 {
            let Self { examples, tokens, .. } = self;
            return Err(Error::argument(format!("a batch of {examples} examples and {tokens} tokens at most")));
        }
        Ok(match self.order {
            Order::Given => self.cut(&(0..lengths.len()).collect::<Vec<_>>(), lengths),
            Order::Shuffled => self.cut(&shuffle(lengths.len(), self.seed, epoch), lengths),
            Order::ByLength => self.by_length(lengths, epoch),
        })
    }

    /// The sort is stable, so that equal lengths keep their shuffled order.
    fn by_length(&self, lengths: &[usize], epoch: u64) -> Vec<Vec<usize>> {
        let mut order = shuffle(lengths.len(), self.seed, epoch);
        let typical = self.typical(lengths);
        let stretch = typical.saturating_mul(GROUPED.min(lengths.len() / typical / STRETCHES).max(1));
        let mut batches = Vec::new();
        for stretch in order.chunks_mut(stretch) {
            stretch.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
            batches.extend(self.cut(stretch, lengths));
        }
        let mut generator = Generator::new(self.seed, epoch, Stream::Batches);
        generator.shuffle(&mut batches);
        batches
    }

    /// Examples of a batch of average length.
    fn typical(&self, lengths: &[usize]) -> usize {
        let total: usize = lengths.iter().sum();
        let mean = total.div_ceil(lengths.len().max(1)).max(1);
        self.examples.min((self.tokens / mean).max(1))
    }

    fn cut(&self, order: &[usize], lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut tokens = 0usize;
        for &index in order {
            let with = tokens.saturating_add(lengths[index]);
            match batches.last_mut() {
                Some(last) if last.len() < self.examples && with <= self.tokens => {
                    last.push(index);
                    tokens = with;
                }
                _ => {
                    batches.push(vec![index]);
                    tokens = lengths[index];
                }
            }
        }
        batches
    }
}

/// A permutation of 0..count, every one equally likely, that depends on `seed` and `epoch` alone.
pub fn shuffle(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    Generator::new(seed, epoch, Stream::Examples).shuffle(&mut order);
    order
}

/// What the random numbers of an epoch are for: the two must not be the same numbers.
#[derive(Clone, Copy)]
enum Stream {
    Examples = 1,
    Batches = 2,
}

/// SplitMix64 (Steele, Lea, Flood 2014): a counter with an odd step through a mixing function.
struct Generator(u64);

impl Generator {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    fn new(seed: u64, epoch: u64, stream: Stream) -> Self {
        let start = [epoch, stream as u64].iter().fold(mix(seed), |state, part| mix(state ^ mix(part.wrapping_add(1))));
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        mix(self.0)
    }

    /// Uniform in 0..bound: the upper half of a product, which is uneven where the lower half falls below 2⁶⁴ mod bound.
    fn below(&mut self, bound: u64) -> u64 {
        let uneven = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= uneven {
                return (product >> 64) as u64;
            }
        }
    }

    /// Fisher–Yates, from the end.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
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
    use proptest::prelude::*;
    use std::collections::HashMap;

    const PLAN: Plan = Plan { order: Order::Shuffled, examples: 4, tokens: usize::MAX, seed: 42 };

    #[test]
    fn the_generator_is_splitmix64() {
        // first outputs of the authors' C code for the seed 1234567
        let mut generator = Generator(1_234_567);
        let outputs = [generator.next(), generator.next(), generator.next()];
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
    fn batches_have_the_size_asked_for_and_the_rest_is_one_too() {
        let sizes =
            |plan: Plan, lengths: &[usize]| plan.batches(lengths, 0).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(PLAN, &[9; 10]), [4, 4, 2]);
        assert!(sizes(PLAN, &[]).is_empty());
        let given = Plan { order: Order::Given, tokens: 10, ..PLAN };
        let batches = given.batches(&[4, 6, 1, 20, 3, 3, 3, 1, 0], 0).unwrap();
        assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4, 5, 6, 7], vec![8]]);
        assert!(Plan { examples: 0, ..PLAN }.batches(&[1], 0).is_err());
        assert!(Plan { tokens: 0, ..PLAN }.batches(&[1], 0).is_err());
    }

    #[test]
    fn grouping_brings_like_lengths_together_in_random_order() {
        let lengths: Vec<usize> = shuffle(400, 3, 0);
        let plan = Plan { order: Order::ByLength, ..PLAN };
        let batches = plan.batches(&lengths, 0).unwrap();
        // four stretches of 25 batches: neighbours after sorting are 4 apart on average, the ends of a batch 12
        let range = |batch: &Vec<usize>| lengths[batch[0]] - lengths[batch[batch.len() - 1]];
        assert!(batches.iter().all(|batch| range(batch) < 40));
        assert!(!batches.is_sorted_by_key(|batch| std::cmp::Reverse(lengths[batch[0]])));
        assert_ne!(batches, plan.batches(&lengths, 1).unwrap());
        assert_eq!(batches, plan.batches(&lengths, 0).unwrap());
    }

    proptest! {
        #[test]
        fn every_example_comes_once_and_the_limits_hold(
            lengths in prop::collection::vec(0usize..40, 0..300),
            order in prop::sample::select(vec![Order::Given, Order::Shuffled, Order::ByLength]),
            examples in 1usize..9,
            tokens in prop::sample::select(vec![1, 16, 64, 1000, usize::MAX]),
            seed: u64,
            epoch in 0u64..5,
        ) {
            let batches = Plan { order, examples, tokens, seed }.batches(&lengths, epoch).unwrap();
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(!batch.is_empty() && batch.len() <= examples);
                let total: usize = batch.iter().map(|&index| lengths[index]).sum();
                prop_assert!(batch.len() == 1 || total <= tokens);
            }
        }
    }
}
