//! How a corpus becomes examples.

use crate::error::{Error, Result};

/// What examples are made of. Defaults are those of BERT's original pretraining (Devlin et al. 2019), masks being drawn
/// anew every epoch as in RoBERTa (Liu et al. 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Share of the tokens, special ones counted, that is to be predicted; at least one token of an example is.
    pub masked: f64,
    /// What is masked together.
    pub unit: MaskUnit,
    /// Share of the examples that are made shorter, by any number of tokens.
    pub short: f64,
    /// Share of the pairs whose second segment is from another document.
    pub random_next: f64,
    /// Whether pairs and masks are the same in every epoch.
    pub renewal: Renewal,
}

/// What is masked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskUnit {
    /// Every token by itself.
    Token,
    /// A token with the `##` tokens that continue its word.
    WholeWord,
}

/// Whether an epoch has examples of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Pairs and masks are drawn anew every epoch.
    EveryEpoch,
    /// They are the same every epoch; only their order changes.
    Never,
}

/// How the text of an example lies in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// `[CLS] A [SEP]`: sentences of one document that follow each other.
    One,
    /// `[CLS] A [SEP] B [SEP]`: B follows A, or comes from another document.
    Pair,
}

impl Segments {
    /// Special tokens of an example.
    pub fn template(self) -> usize {
        match self {
            Segments::One => 2,
            Segments::Pair => 3,
        }
    }

    /// Tokens of text that fit an example of at most `max_tokens`.
    ///
    /// Fails with `InvalidArgument`, naming both, when there is no room for a token in each segment.
    pub fn room(self, max_tokens: usize) -> Result<usize> {
        let least = match self {
            Segments::One => 1,
            Segments::Pair => 2,
        };
        match max_tokens.checked_sub(self.template()) {
            Some(room) if room >= least => Ok(room),
            _ => Err(Error::argument(format!(
                "max_tokens: {max_tokens}, expected at least {} for an example",
                self.template() + least
            ))),
        }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self { masked: 0.15, unit: MaskUnit::Token, short: 0.1, random_next: 0.5, renewal: Renewal::EveryEpoch }
    }
}

impl Recipe {
    /// Fails with `InvalidArgument`, naming the field, on what is no probability.
    pub fn check(&self) -> Result<()> {
        let shares = [("masked", self.masked), ("short", self.short), ("random_next", self.random_next)];
        match shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((name, share)) => Err(Error::argument(format!("{name}: {share}, expected a share from 0 to 1"))),
            None => Ok(()),
        }
    }

    /// The number that stands for `epoch` where pairs and masks are drawn.
    pub(super) fn drawn(&self, epoch: u64) -> u64 {
        match self.renewal {
            Renewal::EveryEpoch => epoch,
            Renewal::Never => 0,
        }
    }
}
