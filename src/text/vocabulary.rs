//! Ids and the tokens they stand for.

use super::settings::Names;
use crate::error::{Error, Result};
use tokenizers::{AddedToken, Tokenizer};

/// Ids of the tokens that play a part of their own; `None` where the vocabulary has no such token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// Begins a sequence.
    pub cls: Option<u32>,
    /// Ends a sequence and parts a pair.
    pub sep: Option<u32>,
    /// The blank.
    pub mask: Option<u32>,
    /// Fills batches in other libraries; cloze only recognises it.
    pub pad: Option<u32>,
    /// What an unknown word becomes.
    pub unk: Option<u32>,
}

impl Special {
    /// Ids by the names in the folder; without one, `[CLS]` and so on, or what sentencepiece models call the same part.
    pub(super) fn find(names: &Names, tokenizer: &Tokenizer) -> Self {
        let id = |named: &Option<AddedToken>, defaults: &[&str]| match named {
            Some(token) => tokenizer.token_to_id(&token.content),
            None => defaults.iter().find_map(|name| tokenizer.token_to_id(name)),
        };
        Self {
            cls: id(&names.cls, &["[CLS]", "<s>"]),
            sep: id(&names.sep, &["[SEP]", "</s>"]),
            mask: id(&names.mask, &["[MASK]", "<mask>"]),
            pad: id(&names.pad, &["[PAD]", "<pad>"]),
            unk: id(&names.unk, &["[UNK]", "<unk>"]),
        }
    }
}

/// Ids from here on are refused: the largest vocabularies have a million tokens, and a lying id must not cost memory.
const MAX_SIZE: usize = 1 << 24;

/// The tokens by id, end to end in one string.
pub(super) struct Vocabulary {
    text: String,
    /// `ends[id]` is where the token ends in `text`, which is where the next begins.
    ends: Vec<usize>,
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No token has this id.
    Hole,
    Plain,
    Special,
}

impl Vocabulary {
    /// Every token of the model and every added one. Special are those added as such and those in `special`.
    ///
    /// # Errors
    ///
    /// An id that no vocabulary reaches.
    pub(super) fn new(tokenizer: &Tokenizer, special: &Special) -> Result<Self> {
        let mut tokens: Vec<(u32, String, bool)> = Vec::new();
        let Special { cls, sep, mask, pad, unk } = *special;
        let named = [cls, sep, mask, pad, unk];
        for (token, id) in tokenizer.get_vocab(false) {
            tokens.push((id, token, named.contains(&Some(id))));
        }
        for (id, added) in tokenizer.get_added_tokens_decoder() {
            tokens.push((id, added.content, added.special || named.contains(&Some(id))));
        }
        // an added token is after the one of the model with the same id and takes its place
        tokens.sort_by_key(|(id, _, _)| *id);

        let size = tokens.last().map_or(0, |(id, _, _)| *id as usize + 1);
        if size > MAX_SIZE {
            return Err(Error::file(format!("vocabulary: id {}, expected at most {}", size - 1, MAX_SIZE - 1)));
        }
        let mut vocabulary = Self { text: String::new(), ends: vec![], kinds: vec![Kind::Hole; size] };
        vocabulary.ends.reserve(size);
        for (index, (id, token, special)) in tokens.iter().enumerate() {
            if tokens.get(index + 1).is_some_and(|(next, _, _)| next == id) {
                continue;
            }
            vocabulary.ends.resize(*id as usize, vocabulary.text.len());
            vocabulary.text.push_str(token);
            vocabulary.ends.push(vocabulary.text.len());
            vocabulary.kinds[*id as usize] = if *special { Kind::Special } else { Kind::Plain };
        }
        Ok(vocabulary)
    }

    pub(super) fn size(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        let id = id as usize;
        if *self.kinds.get(id)? == Kind::Hole {
            return None;
        }
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.text[start..self.ends[id]])
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.kinds.get(id as usize) == Some(&Kind::Special)
    }
}
