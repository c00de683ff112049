//! The batches of a corpus. An epoch takes its documents in random order, cuts them into examples, shuffles those within a
//! window of some ten thousand, and fills batches from what comes out: a function of the seed and the epoch alone.

use std::collections::VecDeque;

use super::masks::hide;
use super::pairs::{Cutter, Sketch};
use crate::batch::Tokens;
use crate::error::{Error, Result};
use crate::train::encode::{Item, ItemTarget};
use crate::train::feed::{Feed, Lot};
use crate::train::prefix::{CacheLimits, PrefixCache};
use crate::train::random::{Generator, Use};

/// Examples that are shuffled together.
const WINDOW: usize = 1 << 16;

/// What a model learns of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// The words behind masks.
    Words,
    /// The words behind masks, and whether the second segment follows.
    WordsAndNext,
}

/// In what order an epoch takes the documents and their examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffling {
    /// As they stand.
    Off,
    /// Documents at random, and examples within a window.
    On,
}

/// Batches of a corpus.
pub struct Stream<'a> {
    cutter: Cutter<'a>,
    lesson: Lesson,
    shuffling: Shuffling,
    /// Examples of a batch.
    size: usize,
    /// Batches of an epoch, where that has been counted.
    counted: Option<(u64, usize)>,
    course: Course,
    /// The last batch.
    items: Vec<Item>,
    cache: PrefixCache,
}

/// Where in an epoch the stream is.
struct Course {
    epoch: u64,
    order: Vec<usize>,
    /// Documents done, of `order`.
    documents: usize,
    /// Examples that wait, and the number of the first.
    waiting: VecDeque<Sketch>,
    first: usize,
}

impl<'a> Stream<'a> {
    /// Batches of `size` examples, which is at least 1.
    pub fn new(cutter: Cutter<'a>, lesson: Lesson, shuffling: Shuffling, size: usize) -> Self {
        let course = Course::new(&cutter, shuffling, 0);
        let cache = PrefixCache::new(0, CacheLimits { memory: 0, file: 0 });
        Self { cutter, lesson, shuffling, size: size.max(1), counted: None, course, items: Vec::new(), cache }
    }

    /// Examples of an epoch.
    pub fn examples(&self, epoch: u64) -> usize {
        let mut sketches = Vec::new();
        (0..self.cutter.corpus().documents())
            .map(|document| {
                sketches.clear();
                self.cutter.cut(document, epoch, &mut sketches);
                sketches.len()
            })
            .sum()
    }

    /// The first `most` examples of an epoch, in the order of the stream.
    pub fn take(&mut self, epoch: u64, most: usize) -> Result<Vec<Item>> {
        self.seek(epoch, 0);
        let mut items = Vec::new();
        while items.len() < most {
            let Some(sketch) = self.course.next(&self.cutter, self.shuffling) else { break };
            items.push(item(&self.cutter, self.lesson, epoch, &sketch)?);
        }
        Ok(items)
    }

    /// Makes example `number` of `epoch` the next.
    fn seek(&mut self, epoch: u64, number: usize) {
        if self.course.epoch != epoch || self.course.first > number {
            self.course = Course::new(&self.cutter, self.shuffling, epoch);
        }
        while self.course.first < number && self.course.next(&self.cutter, self.shuffling).is_some() {}
    }
}

impl Feed for Stream<'_> {
    fn count(&mut self, epoch: u64) -> Result<usize> {
        let of = self.cutter.recipe().drawn(epoch);
        if let Some((counted, batches)) = self.counted
            && counted == of
        {
            return Ok(batches);
        }
        let batches = self.examples(epoch).div_ceil(self.size);
        self.counted = Some((of, batches));
        Ok(batches)
    }

    fn batch(&mut self, epoch: u64, number: usize) -> Result<Lot<'_>> {
        let first = number * self.size;
        self.seek(epoch, first);
        self.items.clear();
        while self.items.len() < self.size {
            let Some(sketch) = self.course.next(&self.cutter, self.shuffling) else { break };
            self.items.push(item(&self.cutter, self.lesson, epoch, &sketch)?);
        }
        if self.items.is_empty() {
            return Err(Error::internal(format!("batch {number} of epoch {epoch} has no example")));
        }
        let examples = (first..first + self.items.len()).collect();
        Ok(Lot { items: self.items.iter().collect(), examples, cache: &mut self.cache })
    }

    fn total(&self) -> String {
        format!("a corpus of {} documents", self.cutter.corpus().documents())
    }

    fn fingerprint(&self) -> u64 {
        self.cutter.corpus().fingerprint()
    }
}

impl Course {
    fn new(cutter: &Cutter<'_>, shuffling: Shuffling, epoch: u64) -> Self {
        let mut order: Vec<usize> = (0..cutter.corpus().documents()).collect();
        if shuffling == Shuffling::On {
            Generator::new(cutter.seed(), Use::Documents, &[epoch]).shuffle(&mut order);
        }
        Self { epoch, order, documents: 0, waiting: VecDeque::new(), first: 0 }
    }

    fn next(&mut self, cutter: &Cutter<'_>, shuffling: Shuffling) -> Option<Sketch> {
        if self.waiting.is_empty() {
            let (begun, mut window) = (self.documents, Vec::new());
            while window.len() < WINDOW && self.documents < self.order.len() {
                cutter.cut(self.order[self.documents], self.epoch, &mut window);
                self.documents += 1;
            }
            if shuffling == Shuffling::On {
                Generator::new(cutter.seed(), Use::Window, &[self.epoch, begun as u64]).shuffle(&mut window);
            }
            self.waiting = window.into();
        }
        let next = self.waiting.pop_front()?;
        self.first += 1;
        Some(next)
    }
}

/// The example of a sketch, with its masks of `epoch`.
fn item(cutter: &Cutter<'_>, lesson: Lesson, epoch: u64, sketch: &Sketch) -> Result<Item> {
    let (corpus, recipe) = (cutter.corpus(), cutter.recipe());
    let vocabulary = corpus.vocabulary();
    let Sketch { a, b, follows } = *sketch;
    let mut ids = Vec::with_capacity(a.count + b.map_or(0, |b| b.count + 1) + 2);
    ids.push(vocabulary.cls);
    corpus.tokens_at(a.first, a.count, &mut ids)?;
    ids.push(vocabulary.sep);
    let mut types = vec![0; ids.len()];
    if let Some(b) = b {
        corpus.tokens_at(b.first, b.count, &mut ids)?;
        ids.push(vocabulary.sep);
        types.resize(ids.len(), 1);
    }
    // the place in the corpus, not in the order: masks that stay the same do so in any order
    let place = [recipe.drawn(epoch), a.first, a.count as u64, b.map_or(0, |b| b.first)];
    let mut generator = Generator::new(cutter.seed(), Use::Masks, &place);
    let words = hide(&mut ids, recipe.masked, recipe.unit, vocabulary, &mut generator);
    let target = match lesson {
        Lesson::Words => ItemTarget::Tags(words),
        Lesson::WordsAndNext => ItemTarget::Pretraining { words, next: usize::from(!follows) },
    };
    Ok(Item { tokens: Tokens { ids, types }, target, first: Vec::new() })
}
