//! Where the examples of a training come from: batches, by epoch and number alone, so that training can go on anywhere.

use super::batches::Plan;
use super::encode::Item;
use super::prefix::PrefixCache;
use crate::error::{Error, Result};

/// A source of batches.
pub trait Feed {
    /// Batches of an epoch.
    fn count(&mut self, epoch: u64) -> Result<usize>;

    /// The batch of that number, which is below [`Feed::count`].
    fn batch(&mut self, epoch: u64, number: usize) -> Result<Lot<'_>>;

    /// Of how many, for messages that name an example.
    fn total(&self) -> String;

    /// A number that other examples hardly have.
    fn fingerprint(&self) -> u64;
}

/// The examples of a batch.
pub struct Lot<'a> {
    /// As training sees them.
    pub items: Vec<&'a Item>,
    /// Their numbers in the source, which are those in the cache.
    pub examples: Vec<usize>,
    /// What the frozen layers gave.
    pub cache: &'a mut PrefixCache,
}

/// Examples that are all in memory.
pub struct Items<'a> {
    items: &'a [Item],
    lengths: Vec<usize>,
    plan: Plan,
    cache: &'a mut PrefixCache,
    /// The batches of one epoch.
    batches: Option<(u64, Vec<Vec<usize>>)>,
}

impl<'a> Items<'a> {
    /// Batches of `items` as `plan` makes them.
    pub fn new(items: &'a [Item], plan: Plan, cache: &'a mut PrefixCache) -> Self {
        let lengths = items.iter().map(|item| item.tokens.ids.len()).collect();
        Self { items, lengths, plan, cache, batches: None }
    }

    fn planned(&mut self, epoch: u64) -> Result<&[Vec<usize>]> {
        if self.batches.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.batches = Some((epoch, self.plan.batches(&self.lengths, epoch)?));
        }
        Ok(self.batches.as_ref().map_or(&[], |(_, batches)| batches))
    }
}

impl Feed for Items<'_> {
    fn count(&mut self, epoch: u64) -> Result<usize> {
        Ok(self.planned(epoch)?.len())
    }

    fn batch(&mut self, epoch: u64, number: usize) -> Result<Lot<'_>> {
        let batches = self.planned(epoch)?;
        let Some(examples) = batches.get(number).cloned() else {
            return Err(Error::internal(format!("batch {number} of {}", batches.len())));
        };
        let items = examples.iter().map(|&index| &self.items[index]).collect();
        Ok(Lot { items, examples, cache: self.cache })
    }

    fn total(&self) -> String {
        self.items.len().to_string()
    }

    /// Of the token ids; targets are not looked at.
    fn fingerprint(&self) -> u64 {
        let mut sum = Fingerprint::default();
        for item in self.items {
            item.tokens.ids.iter().for_each(|&id| sum.add(id.into()));
            sum.add(u64::MAX);
        }
        sum.get()
    }
}

/// FNV-1a over numbers instead of bytes: for telling examples apart, not for keeping anyone from forging them.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fingerprint {
    /// Takes in a number.
    pub fn add(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01B3);
    }

    /// Of everything so far.
    pub fn get(self) -> u64 {
        self.0
    }
}
