//! Which examples make a batch, and in what order: a function of (seed, epoch) alone, so that training can go on in the
//! middle of an epoch.

use super::random::{Generator, Use, shuffle};
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
        Generator::new(self.seed, Use::Batches, &[epoch]).shuffle(&mut batches);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: Plan = Plan { order: Order::Shuffled, examples: 4, tokens: usize::MAX, seed: 42 };

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
