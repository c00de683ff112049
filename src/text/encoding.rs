//! What a text becomes, and how the caller wants it cut.

use super::Span;
use tokenizers::Encoding as Pieces;

/// How [`Tokenizer::encode`](super::Tokenizer::encode) treats a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encode {
    /// Puts the template of the model around the text: `[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]`.
    pub special_tokens: bool,
    /// Whether `[MASK]` and its like inside the text are the token, as in HuggingFace, or plain text.
    ///
    /// Plain is for text that others wrote: no special token but the one for unknown words then comes out of it.
    pub parse_special: bool,
    /// Most tokens that may come out, template included; `usize::MAX` for no limit.
    pub max_tokens: usize,
    /// What happens to a text with more.
    pub overflow: Overflow,
}

impl Default for Encode {
    /// The template, special tokens inside the text, no limit: a call of a HuggingFace tokenizer without arguments.
    fn default() -> Self {
        Self { special_tokens: true, parse_special: true, max_tokens: usize::MAX, overflow: Overflow::Truncate }
    }
}

/// What happens to a text of more than [`Encode::max_tokens`] tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Cut at the end; of a pair, the longer text first (`longest_first` of HuggingFace).
    Truncate,
    /// An error that names both numbers.
    Refuse,
}

/// The tokens of a text or a pair; all fields have length T.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment of each token, from the template.
    pub types: Vec<u32>,
    /// Whether the template added the token: `special_tokens_mask` of HuggingFace, false for a `[MASK]` in the text.
    pub special: Vec<bool>,
    /// Bytes of the token in its own text; 0..0 for a token of the template.
    ///
    /// Within a text starts and ends never fall. Spans of two tokens overlap where one character becomes several.
    pub offsets: Vec<Span>,
    /// 0 for a token of the text, 1 for one of its pair, `None` for one of the template.
    pub sequence: Vec<Option<u8>>,
    /// Word of the token, counted within its own text: `word_ids` of HuggingFace. Punctuation is a word of its own.
    pub words: Vec<Option<u32>>,
}

impl Encoding {
    /// Number of tokens T.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn from_pieces(pieces: &Pieces) -> Self {
        let flags = pieces.get_special_tokens_mask();
        let sequences = pieces.get_sequence_ids();
        let offsets = pieces.get_offsets();
        Self {
            ids: pieces.get_ids().to_vec(),
            types: pieces.get_type_ids().to_vec(),
            special: flags.iter().map(|&flag| flag != 0).collect(),
            offsets: offsets.iter().map(|&(start, end)| Span { start, end }).collect(),
            sequence: sequences.iter().map(|s| s.map(|s| u8::from(s != 0))).collect(),
            words: pieces.get_word_ids().to_vec(),
        }
    }
}

/// How many of `a` and `b` tokens stay when `room` tokens may: `longest_first` of HuggingFace.
///
/// Taking the tokens away one by one, always from the longer, ends with the shorter whole and the longer filling the
/// rest, or with two halves, the odd token going to the longer (to `b` when both are equal).
pub(super) fn longest_first(a: usize, b: usize, room: usize) -> (usize, usize) {
    if a.saturating_add(b) <= room {
        return (a, b);
    }
    let short = a.min(b).min(room / 2);
    let long = room - short;
    if a > b { (long, short) } else { (short, long) }
}

/// The first `count` tokens.
pub(super) fn head(pieces: Pieces, count: usize) -> Pieces {
    if count >= pieces.len() {
        return pieces;
    }
    // not Pieces::truncate, which keeps every cut part as an encoding of its own
    Pieces::new(
        pieces.get_ids()[..count].to_vec(),
        pieces.get_type_ids()[..count].to_vec(),
        pieces.get_tokens()[..count].to_vec(),
        pieces.get_word_ids()[..count].to_vec(),
        pieces.get_offsets()[..count].to_vec(),
        pieces.get_special_tokens_mask()[..count].to_vec(),
        pieces.get_attention_mask()[..count].to_vec(),
        Vec::new(),
        Default::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::{Token, TruncationParams, truncate_encodings};

    fn pieces(count: usize) -> Pieces {
        Pieces::from_tokens(vec![Token::new(0, String::new(), (0, 0)); count], 0)
    }

    proptest! {
        #[test]
        fn lengths_are_those_of_huggingface(a in 0usize..20, b in 0usize..20, room in 0usize..45) {
            let params = TruncationParams { max_length: room, ..TruncationParams::default() };
            let (x, y) = truncate_encodings(pieces(a), Some(pieces(b)), &params).unwrap();
            prop_assert_eq!(longest_first(a, b, room), (x.len(), y.unwrap().len()));
        }
    }

    #[test]
    fn a_single_text_takes_all_the_room() {
        assert_eq!(longest_first(9, 0, 5), (5, 0));
        assert_eq!(head(pieces(9), 5).len(), 5);
        assert_eq!(head(pieces(3), 5).len(), 3);
    }
}
