//! Text to learn a language from: files to documents of sentences, those to pairs of segments, those to masked examples.

mod masks;
mod pairs;
pub mod reading;
mod recipe;
mod store;
mod stream;

pub use pairs::{Cutter, Sketch, Stretch};
pub use reading::{Lines, Notice};
pub use recipe::{MaskUnit, Recipe, Renewal, Segments};
pub use store::{Corpus, Vocabulary};
pub use stream::{Lesson, Shuffling, Stream};

#[cfg(test)]
mod tests;
