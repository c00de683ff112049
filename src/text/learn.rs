//! A WordPiece vocabulary from text, by the `tokenizers` crate's trainer.
//!
//! The trainer numbers the characters that continue words in the order of a hash map, and drops rare characters in that
//! order too. So that the same text gives the same vocabulary, both are counted here and handed to it in their order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::json;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer as Pipeline, Trainer,
};

use super::settings::Settings;
use super::{Files, wordpiece};
use crate::error::{Error, Result};

/// Tokens that every vocabulary begins with, in the order of BERT's own.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const PREFIX: &str = "##";

/// Texts that wait for the trainer.
const WAITING: usize = 256;

/// What a vocabulary is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VocabularyOptions {
    /// Most tokens, special ones among them.
    pub size: usize,
    /// Whether capital letters and accents count.
    pub casing: Casing,
    /// How often two pieces have to follow each other to be joined.
    pub min_frequency: u64,
    /// Most characters; words with rarer ones become `[UNK]`.
    pub limit_alphabet: usize,
    /// `model_max_length`: most tokens of a text.
    pub max_length: usize,
}

/// Whether a vocabulary tells capital letters and accents apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Casing {
    /// It does.
    Cased,
    /// Text is lower-cased, and accents go.
    Uncased,
}

impl Default for VocabularyOptions {
    /// As of `bert-base-uncased`, whose alphabet HuggingFace's trainer would limit to 1,000.
    fn default() -> Self {
        Self { size: 30_522, casing: Casing::Uncased, min_frequency: 2, limit_alphabet: 1000, max_length: 512 }
    }
}

/// The files of a tokenizer, by name.
pub type VocabularyFiles = Vec<(String, Vec<u8>)>;

/// Takes texts, one after the other.
pub type Feed<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Learns a vocabulary from the texts that `texts` pushes, of which only the words are kept. Words are those of BERT's
/// normalizer and pre-tokenizer. The same texts give the same bytes.
///
/// The files are those of a HuggingFace `BertTokenizer`: `vocab.txt`, `tokenizer.json`, `tokenizer_config.json` and
/// `special_tokens_map.json`.
///
/// Fails with `InvalidArgument`, naming both, when the size leaves no room for the alphabet, `InvalidInput` when there is no
/// word, and as `texts` does.
pub fn learn(
    texts: impl FnOnce(Feed<'_>) -> Result<()> + Send,
    options: &VocabularyOptions,
) -> Result<VocabularyFiles> {
    // the crate would otherwise start a thread pool of the whole process
    tokenizers::utils::parallelism::set_parallelism(false);
    let config = tokenizer_config(options);
    let words = pipeline(SPECIAL.join("\n").as_bytes(), &config)?;
    let alphabet = Mutex::new(Alphabet::default());
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(options.size)
        .min_frequency(options.min_frequency)
        .show_progress(false)
        .build();
    let fed = thread::scope(|scope| {
        let (send, receive) = sync_channel::<String>(WAITING);
        let reader = scope.spawn(move || {
            // a trainer that ended tells why itself
            texts(&mut |text| send.send(text.to_owned()).map_err(|_| Error::internal("the trainer ended early")))
        });
        let fed = trainer.feed(receive.into_iter(), |text| {
            let found = split(&words, text)?;
            alphabet.lock().unwrap_or_else(PoisonError::into_inner).count(&found);
            Ok(found)
        });
        let read = reader.join().unwrap_or_else(|_| Err(Error::internal("the reader of the corpus panicked")));
        fed.map_err(|error| Error::input(format!("text: {error}"))).and(read)
    });
    fed?;

    let alphabet = alphabet.into_inner().unwrap_or_else(PoisonError::into_inner).limited(options.limit_alphabet);
    if alphabet.first.is_empty() {
        return Err(Error::input("no words to learn a vocabulary from"));
    }
    let begin: Vec<String> = SPECIAL.iter().map(|token| (*token).to_owned()).chain(alphabet.tokens()).collect();
    if options.size < begin.len() {
        let (size, least, letters) = (options.size, begin.len(), begin.len() - SPECIAL.len());
        return Err(Error::argument(format!(
            "a vocabulary of {size} tokens, expected at least {least}: {} special tokens and {letters} characters",
            SPECIAL.len()
        )));
    }
    trainer.set_special_tokens(begin.into_iter().map(|token| AddedToken::from(token, true)).collect());
    trainer.set_limit_alphabet(Some(alphabet.first.len()));
    trainer.set_initial_alphabet(alphabet.first);
    let mut model = WordPiece::default();
    trainer.train(&mut model).map_err(|error| Error::input(format!("vocabulary: {error}")))?;
    files(&model, &config)
}

/// How often characters occur, and which continue a word.
#[derive(Default)]
struct Alphabet {
    counts: BTreeMap<char, u64>,
    continuing: BTreeSet<char>,
}

impl Alphabet {
    fn count(&mut self, words: &[String]) {
        for (place, c) in words.iter().flat_map(|word| word.chars().enumerate()) {
            *self.counts.entry(c).or_default() += 1;
            if place > 0 {
                self.continuing.insert(c);
            }
        }
    }

    /// The most frequent `limit` characters; of equals, those with smaller numbers.
    fn limited(self, limit: usize) -> Letters {
        let mut all: Vec<(char, u64)> = self.counts.into_iter().collect();
        all.sort_by_key(|&(c, count)| (std::cmp::Reverse(count), c));
        let first: HashSet<char> = all.into_iter().take(limit).map(|(c, _)| c).collect();
        let continuing = self.continuing.into_iter().filter(|c| first.contains(c)).collect();
        Letters { first, continuing }
    }
}

/// The characters of a vocabulary.
struct Letters {
    first: HashSet<char>,
    /// Those of them that continue a word somewhere.
    continuing: BTreeSet<char>,
}

impl Letters {
    fn tokens(&self) -> Vec<String> {
        let first: BTreeSet<&char> = self.first.iter().collect();
        let continuing = self.continuing.iter().map(|c| format!("{PREFIX}{c}"));
        first.into_iter().map(char::to_string).chain(continuing).collect()
    }
}

/// The words of a text.
fn split(pipeline: &Pipeline, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut normal = NormalizedString::from(text);
    if let Some(normalizer) = pipeline.get_normalizer() {
        normalizer.normalize(&mut normal)?;
    }
    let mut pieces = PreTokenizedString::from(normal);
    if let Some(splitter) = pipeline.get_pre_tokenizer() {
        splitter.pre_tokenize(&mut pieces)?;
    }
    let found = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    Ok(found.into_iter().map(|(word, ..)| word.to_owned()).collect())
}

fn tokenizer_config(options: &VocabularyOptions) -> Vec<u8> {
    let config = json!({
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": options.casing == Casing::Uncased,
        "strip_accents": null,
        "tokenize_chinese_chars": true,
        "model_max_length": options.max_length,
        "clean_up_tokenization_spaces": false,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    });
    format!("{config:#}\n").into_bytes()
}

/// The tokenizer of a `vocab.txt`.
fn pipeline(vocab: &[u8], config: &[u8]) -> Result<Pipeline> {
    let settings = Settings::read(&Files { tokenizer_config: Some(config), ..Files::default() })?;
    wordpiece::read(vocab, &settings)
}

fn files(model: &WordPiece, config: &[u8]) -> Result<VocabularyFiles> {
    let mut tokens: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
    tokens.sort_by_key(|(_, id)| *id);
    let vocab: String = tokens.iter().map(|(token, _)| format!("{token}\n")).collect();
    let json = pipeline(vocab.as_bytes(), config)?.to_string(true);
    let json = json.map_err(|error| Error::internal(format!("tokenizer.json: {error}")))?;
    let special = json!({
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    });
    Ok(vec![
        ("vocab.txt".to_owned(), vocab.into_bytes()),
        ("tokenizer.json".to_owned(), json.into_bytes()),
        ("tokenizer_config.json".to_owned(), config.to_vec()),
        ("special_tokens_map.json".to_owned(), format!("{special:#}\n").into_bytes()),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::{Encode, Kind, Tokenizer};
    use super::*;
    use crate::error::Status;

    const TEXTS: [&str; 3] = [
        "The lower the newer, the wider the lowest. Müller's NEWEST low-wider widest!",
        "lower lowest newer newest wider widest lower newest",
        "Émile wrote 1234 times; it was the 5th. 東京",
    ];

    fn learned(options: &VocabularyOptions) -> Result<VocabularyFiles> {
        learn(|feed| TEXTS.iter().try_for_each(|text| feed(text)), options)
    }

    fn file<'a>(files: &'a VocabularyFiles, name: &str) -> &'a [u8] {
        &files.iter().find(|(other, _)| other == name).unwrap().1
    }

    fn opened(files: &VocabularyFiles, from: &[&str]) -> Tokenizer {
        let get = |name: &str| from.contains(&name).then(|| file(files, name));
        let files = Files {
            tokenizer_json: get("tokenizer.json"),
            tokenizer_config: get("tokenizer_config.json"),
            vocab_txt: get("vocab.txt"),
            ..Files::default()
        };
        Tokenizer::new(&files, Kind::Bert).unwrap()
    }

    #[test]
    fn a_vocabulary_begins_with_special_tokens_and_letters_and_holds_frequent_pieces() {
        let options = VocabularyOptions { size: 120, ..VocabularyOptions::default() };
        let files = learned(&options).unwrap();
        let vocab = std::str::from_utf8(file(&files, "vocab.txt")).unwrap();
        let tokens: Vec<&str> = vocab.lines().collect();
        assert_eq!(tokens[..5], SPECIAL);
        assert!(tokens.len() <= 120);
        let distinct: BTreeSet<&&str> = tokens.iter().collect();
        assert_eq!(distinct.len(), tokens.len());
        for token in ["e", "##e", "東", "5", "!", "##west", "the", "lower"] {
            assert!(tokens.contains(&token), "{token} in {tokens:?}");
        }
        assert!(!tokens.contains(&"T") && !tokens.contains(&"é"));
        // every word is made of its letters
        let tokenizer = opened(&files, &["vocab.txt", "tokenizer_config.json"]);
        for text in TEXTS {
            let ids = tokenizer.encode(text, None, &Encode::default()).unwrap().ids;
            assert!(!ids.contains(&1), "[UNK] in {text:?}");
        }
    }

    #[test]
    fn both_forms_of_the_tokenizer_read_alike_cased_and_uncased() {
        for casing in [Casing::Cased, Casing::Uncased] {
            let files = learned(&VocabularyOptions { size: 150, casing, ..VocabularyOptions::default() }).unwrap();
            let ways = [
                opened(&files, &["vocab.txt", "tokenizer_config.json"]),
                opened(&files, &["tokenizer.json"]),
                opened(&files, &["tokenizer.json", "tokenizer_config.json", "vocab.txt"]),
            ];
            for text in TEXTS.iter().chain(&["Émile THE [MASK] of lowér"]) {
                let ids = ways.each_ref().map(|way| way.encode(text, Some("wider"), &Encode::default()).unwrap());
                assert_eq!(ids[0], ids[1]);
                assert_eq!(ids[0], ids[2]);
            }
            let has_capitals = ways[0].id("T").is_some();
            assert_eq!(has_capitals, casing == Casing::Cased);
            assert_eq!(ways[0].model_max_length(), Some(512));
        }
    }

    #[test]
    fn the_same_text_gives_the_same_bytes() {
        // hash maps are seeded anew each time: an order of theirs would show
        let options = VocabularyOptions { size: 100, limit_alphabet: 20, ..VocabularyOptions::default() };
        let first = learned(&options).unwrap();
        for _ in 0..20 {
            assert_eq!(learned(&options).unwrap(), first);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let small = VocabularyOptions { size: 10, ..VocabularyOptions::default() };
        let error = learned(&small).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().starts_with("a vocabulary of 10 tokens, expected at least "), "{error}");
        let error = learn(|feed| feed(" \n"), &VocabularyOptions::default()).unwrap_err();
        assert_eq!((error.status(), error.message()), (Status::InvalidInput, "no words to learn a vocabulary from"));
        let error = learn(|_| Err(Error::missing("gone")), &VocabularyOptions::default()).unwrap_err();
        assert_eq!(error.message(), "gone");
    }
}
