//! The tokenizer: text to token ids and back, as HuggingFace's fast tokenizers do it.
//!
//! The work is done by the `tokenizers` crate; this module decides which tokenizer a folder means, cuts what is too
//! long, and keeps track of where in the text each token came from. Nothing is ever padded, and the crate's batch
//! functions, which run on a thread pool of the whole process, are never called.
//!
//! # Which files count
//!
//! `tokenizer.json` goes before `vocab.txt`. Besides, and in this order:
//!
//! - `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` in `tokenizer_config.json` replace what a
//!   `BertNormalizer` in `tokenizer.json` says, if the folder's class is of the BERT family or unnamed. *Unlike
//!   HuggingFace, a key that is absent replaces nothing*: the default of HuggingFace's class, `do_lower_case=True`, turns
//!   a cased model whose configuration lacks the key into a lower-cased one.
//! - `do_lower_case` in `sentence_bert_config.json` lower-cases on top and strips no accents.
//! - `vocab.txt` alone is WordPiece with the defaults of HuggingFace's `BertTokenizer`, lower-casing among them.
//! - Names of special tokens come from `tokenizer_config.json`, then `special_tokens_map.json`, then BERT's own. *Unlike
//!   HuggingFace, a named token that the vocabulary lacks is not added to it*: no row of the embedding belongs to it.
//! - Truncation and padding stored in `tokenizer.json` are ignored, as HuggingFace resets them.

mod encoding;
mod json;
mod learn;
mod offsets;
mod sentences;
mod settings;
mod template;
mod vocabulary;
mod wordpiece;

#[cfg(test)]
mod tests;

pub use encoding::{Encode, Encoding, Overflow};
pub use learn::{Casing, Feed, VocabularyFiles, VocabularyOptions, learn};
pub use offsets::{OffsetUnit, Span, convert_offsets};
pub use sentences::sentences;
pub use vocabulary::Special;

use crate::error::{Error, Result};
use settings::{Class, Settings};
use std::sync::OnceLock;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    EncodeInput, Encoding as Pieces, ModelWrapper, NormalizerWrapper, PostProcessor, PostProcessorWrapper,
    Tokenizer as Pipeline,
};
use vocabulary::Vocabulary;

/// The files of a model folder that say how it reads text. Any may be absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// `tokenizer.json`: the whole tokenizer.
    pub tokenizer_json: Option<&'a [u8]>,
    /// `tokenizer_config.json`: class, casing, names of special tokens, greatest length.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `vocab.txt`: WordPiece tokens, one a line.
    pub vocab_txt: Option<&'a [u8]>,
    /// `special_tokens_map.json`: names of special tokens.
    pub special_tokens_map: Option<&'a [u8]>,
    /// `added_tokens.json`: tokens beyond `vocab.txt` with their ids.
    pub added_tokens: Option<&'a [u8]>,
    /// `sentence_bert_config.json`: greatest length and casing in sentence-transformers.
    pub sentence_bert_config: Option<&'a [u8]>,
}

/// The architecture that the tokenizer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BERT: a lone `vocab.txt` is WordPiece.
    Bert,
    /// ALBERT: a lone `vocab.txt` can be anything unless the folder names a class of the BERT family.
    Albert,
}

/// A tokenizer. Immutable; every method may run on any number of threads at once.
pub struct Tokenizer {
    /// Without its post-processor: the text is cut between the two.
    pipeline: Pipeline,
    /// The same with special tokens read as plain text; made when first asked for, because it holds a second vocabulary.
    plain: OnceLock<Pipeline>,
    template: PostProcessorWrapper,
    vocabulary: Vocabulary,
    special: Special,
    model_max_length: Option<usize>,
    clean_up: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that `files` describe.
    ///
    /// # Errors
    ///
    /// - `Missing`: neither `tokenizer.json` nor `vocab.txt`.
    /// - `InvalidFile`: a file, named in the message, is malformed, or its tokens and ids contradict each other.
    /// - `Unsupported`: a tokenizer class, a word splitter (MeCab, Sudachi …) or a component of `tokenizer.json` that cloze
    ///   does not implement; an ALBERT folder with `vocab.txt` alone.
    pub fn new(files: &Files<'_>, kind: Kind) -> Result<Self> {
        let settings = Settings::read(files)?;
        let mut pipeline = match (files.tokenizer_json, files.vocab_txt) {
            (Some(json), _) => from_json(json, &settings)?,
            (None, Some(vocab)) => from_vocab(vocab, &settings, kind)?,
            (None, None) => {
                return Err(Error::missing("no tokenizer: neither tokenizer.json nor vocab.txt is in the folder"));
            }
        };
        if settings.lower_on_top {
            lower_on_top(&mut pipeline)?;
        }
        let template = template(&pipeline)?;
        pipeline.with_post_processor(None::<PostProcessorWrapper>);
        let special = Special::find(&settings.names, &pipeline);
        let vocabulary = Vocabulary::new(&pipeline, &special)?;
        check_ids(&template, vocabulary.size())?;
        Ok(Self {
            vocabulary,
            // byte-pair tokens carry their own spaces, and HuggingFace leaves them alone
            clean_up: settings.clean_up && !matches!(pipeline.get_model(), ModelWrapper::BPE(_)),
            model_max_length: settings.model_max_length,
            plain: OnceLock::new(),
            pipeline,
            template,
            special,
        })
    }

    /// The tokens of `text`, or of `text` and `pair`: what a HuggingFace fast tokenizer returns for them.
    ///
    /// Linear in the length of the text. What the text contains is no reason to fail, unless the model is a unigram or
    /// byte-pair one that has no token for unknown words.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: more than [`Encode::max_tokens`] tokens and [`Overflow::Refuse`]; no token for an unknown word.
    /// - `InvalidArgument`: [`Encode::max_tokens`] is less than the template needs.
    pub fn encode(&self, text: &str, pair: Option<&str>, options: &Encode) -> Result<Encoding> {
        let pieces = |text: &str| self.pieces(text, options);
        self.assemble(pieces(text)?, pair.map(pieces).transpose()?, options)
    }

    /// The tokens of a text that is split into words: what a HuggingFace fast tokenizer returns for it with
    /// `is_split_into_words`.
    ///
    /// [`Encoding::words`] counts the words given, and [`Encoding::offsets`] are bytes of the token's own word. A word of
    /// nothing but control characters has no token.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_words(&self, words: &[&str], options: &Encode) -> Result<Encoding> {
        self.assemble(self.pieces(words, options)?, None, options)
    }

    fn pieces<'a>(&self, input: impl Into<EncodeInput<'a>>, options: &Encode) -> Result<Pieces> {
        let pipeline = if options.parse_special { &self.pipeline } else { self.plain() };
        pipeline.encode(input, false).map_err(|error| Error::input(format!("text: {error}")))
    }

    /// Cuts what is too long and puts the template around the rest.
    fn assemble(&self, first: Pieces, second: Option<Pieces>, options: &Encode) -> Result<Encoding> {
        let (a, b) = (first.len(), second.as_ref().map_or(0, |second| second.len()));
        let (keep_a, keep_b) = self.fit(a, b, second.is_some(), options)?;
        let first = encoding::head(first, keep_a);
        let second = second.map(|second| encoding::head(second, keep_b));

        let whole = self.template.process(first, second, options.special_tokens);
        let whole = whole.map_err(|error| Error::internal(format!("template: {error}")))?;
        let mut encoding = Encoding::from_pieces(&whole);
        if !options.parse_special {
            self.hide_special(&mut encoding)?;
        }
        Ok(encoding)
    }

    /// The token with number `id`.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocabulary.token(id)
    }

    /// The number of `token`, spelled as in the vocabulary: `##ing`, `[MASK]`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// One more than the greatest id, added tokens included. Rows of an embedding from here on belong to no token.
    pub fn size(&self) -> usize {
        self.vocabulary.size()
    }

    /// Ids of the tokens that play a part of their own.
    pub fn special(&self) -> &Special {
        &self.special
    }

    /// Whether `id` is a special token: one in [`Tokenizer::special`] or one that the folder added as special.
    pub fn is_special(&self, id: u32) -> bool {
        self.vocabulary.is_special(id)
    }

    /// The text of `ids`, with `skip_special` without special tokens, as `decode` of a HuggingFace fast tokenizer gives it.
    ///
    /// Spaces before punctuation go if the decoder in `tokenizer.json` says so (BERT's does), and once more over the whole
    /// text if `clean_up_tokenization_spaces` is true in `tokenizer_config.json`.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: an id that is not below [`Tokenizer::size`]. (HuggingFace leaves it out.)
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.size()) {
            return Err(Error::input(format!("token id {id}, the vocabulary has {}", self.size())));
        }
        let text = self.pipeline.decode(ids, skip_special).map_err(|error| Error::input(format!("decode: {error}")))?;
        Ok(if self.clean_up { clean_up(&text) } else { text })
    }

    /// Greatest number of tokens that the folder allows: `max_seq_length` of `sentence_bert_config.json`, else
    /// `model_max_length` of `tokenizer_config.json`; `None` where that is HuggingFace's "no limit", 1e30.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// What a token that continues a word begins with: `##` for WordPiece, `None` for models that mark the first.
    pub fn subword_prefix(&self) -> Option<&str> {
        match self.pipeline.get_model() {
            ModelWrapper::WordPiece(model) => Some(&model.continuing_subword_prefix),
            _ => None,
        }
    }

    fn plain(&self) -> &Pipeline {
        self.plain.get_or_init(|| {
            let mut plain = self.pipeline.clone();
            plain.set_encode_special_tokens(true);
            plain
        })
    }

    /// How many of `a` tokens of the text and `b` of its pair stay.
    fn fit(&self, a: usize, b: usize, is_pair: bool, options: &Encode) -> Result<(usize, usize)> {
        let added = if options.special_tokens { self.template.added_tokens(is_pair) } else { 0 };
        let max = options.max_tokens;
        let Some(room) = max.checked_sub(added) else {
            return Err(Error::argument(format!("at most {max} tokens asked for, the template alone has {added}")));
        };
        if a + b > room && options.overflow == Overflow::Refuse {
            return Err(Error::input(format!("text of {} tokens, at most {max} fit", a + b + added)));
        }
        Ok(encoding::longest_first(a, b, room))
    }

    /// Puts the unknown token in the place of a special one that came out of plain text.
    ///
    /// BERT's pre-tokenizer splits `[MASK]` into three words, so that none does; a unigram model holds its special tokens
    /// among its pieces and finds them.
    fn hide_special(&self, encoding: &mut Encoding) -> Result<()> {
        for (id, sequence) in encoding.ids.iter_mut().zip(&encoding.sequence) {
            if sequence.is_some() && self.is_special(*id) && Some(*id) != self.special.unk {
                let unk = self.special.unk.ok_or_else(|| {
                    let token = self.token(*id).unwrap_or_default();
                    Error::input(format!("text: \"{token}\" as plain text, but the vocabulary has no unknown token"))
                })?;
                *id = unk;
            }
        }
        Ok(())
    }
}

fn from_json(bytes: &[u8], settings: &Settings) -> Result<Pipeline> {
    let mut pipeline = json::read(bytes).map_err(|error| error.within("tokenizer.json"))?;
    for added in &settings.added {
        let known = pipeline.get_added_vocabulary().get_vocab().contains_key(&added.token.content);
        if !known {
            let token = vec![(added.id, added.token.clone())];
            json::add(&mut pipeline, token).map_err(|error| error.within(added.file))?;
        }
    }
    if settings.class != Class::Json {
        override_casing(&mut pipeline, settings)?;
    }
    Ok(pipeline)
}

fn from_vocab(bytes: &[u8], settings: &Settings, kind: Kind) -> Result<Pipeline> {
    match (settings.class, kind) {
        (Class::Json, _) => Err(Error::unsupported(
            "vocab.txt: the class in tokenizer_config.json needs tokenizer.json; token ids are still accepted as input",
        )),
        (Class::Unnamed, Kind::Albert) => Err(Error::unsupported(
            "vocab.txt: an ALBERT tokenizer needs tokenizer.json; token ids are still accepted as input",
        )),
        _ => wordpiece::read(bytes, settings).map_err(|error| error.within("vocab.txt")),
    }
}

/// The post-processor; without one HuggingFace lets the tokens of a pair have type 1.
fn template(pipeline: &Pipeline) -> Result<PostProcessorWrapper> {
    match pipeline.get_post_processor() {
        Some(stored) => Ok(stored.clone()),
        // not `default`, whose pair is the first text alone
        None => match TemplateProcessing::builder().build() {
            Ok(bare) => Ok(bare.into()),
            Err(error) => Err(Error::internal(format!("template: {error}"))),
        },
    }
}

/// Applies the template to nothing and compares the ids that come out with the vocabulary.
fn check_ids(template: &PostProcessorWrapper, size: usize) -> Result<()> {
    let bare = template.process(Default::default(), Some(Default::default()), true);
    let bare = bare.map_err(|error| Error::file(format!("tokenizer.json: post_processor: {error}")))?;
    match bare.get_ids().iter().find(|id| **id as usize >= size) {
        Some(id) => Err(Error::file(format!("tokenizer.json: post_processor: id {id}, the vocabulary has {size}"))),
        None => Ok(()),
    }
}

/// Lets explicit keys of `tokenizer_config.json` replace what a [`BertNormalizer`] says.
fn override_casing(pipeline: &mut Pipeline, settings: &Settings) -> Result<()> {
    let Some(NormalizerWrapper::BertNormalizer(stored)) = pipeline.get_normalizer() else { return Ok(()) };
    let mut wanted = *stored;
    wanted.lowercase = settings.do_lower_case.unwrap_or(stored.lowercase);
    wanted.strip_accents = settings.strip_accents.unwrap_or(stored.strip_accents);
    wanted.handle_chinese_chars = settings.tokenize_chinese_chars.unwrap_or(stored.handle_chinese_chars);
    normalize_with(pipeline, wanted)
}

/// Lower-cases whatever the tokenizer itself does, accents untouched: sentence-transformers calls `lower()` on the text.
fn lower_on_top(pipeline: &mut Pipeline) -> Result<()> {
    match pipeline.get_normalizer().cloned() {
        Some(NormalizerWrapper::BertNormalizer(stored)) => {
            let mut wanted: BertNormalizer = stored;
            wanted.strip_accents = Some(stored.strip_accents.unwrap_or(stored.lowercase));
            wanted.lowercase = true;
            normalize_with(pipeline, wanted)
        }
        Some(stored) => normalize_with(pipeline, Sequence::new(vec![Lowercase.into(), stored])),
        None => normalize_with(pipeline, Lowercase),
    }
}

fn normalize_with(pipeline: &mut Pipeline, normalizer: impl Into<NormalizerWrapper>) -> Result<()> {
    let result = pipeline.with_normalizer(Some(normalizer));
    result.map(|_| ()).map_err(|error| Error::file(format!("added tokens: {error}")))
}

/// `clean_up_tokenization` of HuggingFace, replacement by replacement.
fn clean_up(text: &str) -> String {
    [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
