//! Documents to examples, as places in the corpus: BERT's `create_instances_from_document`.
//!
//! Sentences of a document are taken until they fill the target length, which is the greatest that fits or, for a small
//! share, a random shorter one. Of a pair, the first segment ends after a random sentence; the second is the rest, or
//! sentences of another document from a random one on, and then what was not used is taken again. What is still too long
//! loses tokens of its longer segment, each at a random end.

use super::recipe::{Recipe, Segments};
use super::store::Corpus;
use crate::error::{Error, Result};
use crate::train::random::{Generator, Use};

/// Tokens that follow each other in the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first, of all tokens.
    pub first: u64,
    /// How many; at least one.
    pub count: usize,
}

/// An example as places in the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// First segment.
    pub a: Stretch,
    /// Second segment, of a pair.
    pub b: Option<Stretch>,
    /// Whether the second is what follows the first.
    pub follows: bool,
}

/// How the documents of one corpus are cut.
#[derive(Clone, Copy, Debug)]
pub struct Cutter<'a> {
    corpus: &'a Corpus,
    recipe: Recipe,
    segments: Segments,
    /// Tokens of text that fit an example.
    room: usize,
    seed: u64,
}

impl<'a> Cutter<'a> {
    /// A cutter into examples of at most `max_tokens`.
    ///
    /// Fails with `InvalidArgument` when no example fits, and when pairs are asked for of a corpus of one document.
    pub fn new(corpus: &'a Corpus, recipe: Recipe, segments: Segments, max_tokens: usize, seed: u64) -> Result<Self> {
        recipe.check()?;
        let room = segments.room(max_tokens)?;
        if corpus.longest() > room {
            return Err(Error::argument(format!(
                "a corpus of sentences of up to {} tokens, expected at most {room}: max_tokens {max_tokens} leaves no more",
                corpus.longest()
            )));
        }
        if segments == Segments::Pair && corpus.documents() < 2 {
            return Err(Error::argument(
                "1 document, expected at least 2: the second text of half the pairs is from another document; separate \
                 documents by a blank line, or learn masked words alone",
            ));
        }
        Ok(Self { corpus, recipe, segments, room, seed })
    }

    /// The corpus.
    pub fn corpus(&self) -> &'a Corpus {
        self.corpus
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Appends the examples of a document in an epoch; at least one.
    pub fn cut(&self, document: usize, epoch: u64, out: &mut Vec<Sketch>) {
        let mut generator = Generator::new(self.seed, Use::Pairs, &[self.recipe.drawn(epoch), document as u64]);
        match self.segments {
            Segments::One => self.ones(document, &mut generator, out),
            Segments::Pair => self.pairs(document, &mut generator, out),
        }
    }

    /// Whole sentences as long as they fit the target.
    fn ones(&self, document: usize, generator: &mut Generator, out: &mut Vec<Sketch>) {
        let mut place = self.corpus.first_token(document);
        let (mut count, mut target) = (0, self.target(generator));
        for &length in self.corpus.lengths(document) {
            let length = length as usize;
            if count > 0 && count + length > target {
                out.push(Sketch { a: Stretch { first: place, count }, b: None, follows: true });
                place += count as u64;
                (count, target) = (0, self.target(generator));
            }
            count += length;
        }
        out.push(Sketch { a: Stretch { first: place, count }, b: None, follows: true });
    }

    fn pairs(&self, document: usize, generator: &mut Generator, out: &mut Vec<Sketch>) {
        let lengths = self.corpus.lengths(document);
        let sum = |range: std::ops::Range<usize>| lengths[range].iter().map(|&length| length as usize).sum::<usize>();
        let mut target = self.target(generator);
        let (mut begin, mut end, mut count) = (0, 0, 0);
        let mut first = self.corpus.first_token(document);
        while end < lengths.len() {
            count += lengths[end] as usize;
            end += 1;
            if end < lengths.len() && count < target {
                continue;
            }
            let middle = if end - begin > 1 { begin + 1 + generator.index(end - begin - 1) } else { end };
            let mut a = Stretch { first, count: sum(begin..middle) };
            let random = middle == end || generator.happens(self.recipe.random_next);
            let mut b = match random {
                true => self.elsewhere(document, target.saturating_sub(a.count), generator),
                false => Stretch { first: a.first + a.count as u64, count: sum(middle..end) },
            };
            // sentences that the random segment took the place of are used again
            let used = if random { middle } else { end };
            first += sum(begin..used) as u64;
            (begin, end, count) = (used, used, 0);
            shorten(&mut a, &mut b, self.room, generator);
            out.push(Sketch { a, b: Some(b), follows: !random });
            target = self.target(generator);
        }
    }

    /// At least `wanted` tokens from a random sentence of another document on, or as many as there are.
    fn elsewhere(&self, document: usize, wanted: usize, generator: &mut Generator) -> Stretch {
        let other = generator.index(self.corpus.documents() - 1);
        let other = if other >= document { other + 1 } else { other };
        let lengths = self.corpus.lengths(other);
        let start = generator.index(lengths.len());
        let before: u64 = lengths[..start].iter().map(|&length| u64::from(length)).sum();
        let mut count = 0;
        for &length in &lengths[start..] {
            count += length as usize;
            if count >= wanted {
                break;
            }
        }
        Stretch { first: self.corpus.first_token(other) + before, count }
    }

    /// Tokens of text that the next example is to have.
    fn target(&self, generator: &mut Generator) -> usize {
        let least = 2.min(self.room);
        match generator.happens(self.recipe.short) {
            true => least + generator.index(self.room - least + 1),
            false => self.room,
        }
    }
}

/// Takes tokens from the longer of two, each at a random end, until both fit.
fn shorten(a: &mut Stretch, b: &mut Stretch, room: usize, generator: &mut Generator) {
    while a.count + b.count > room {
        let longer = if a.count > b.count { &mut *a } else { &mut *b };
        longer.count -= 1;
        if generator.happens(0.5) {
            longer.first += 1;
        }
    }
}
