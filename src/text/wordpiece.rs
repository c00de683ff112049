//! `vocab.txt` to a WordPiece tokenizer, with the defaults of HuggingFace's `BertTokenizer`.

use super::settings::{Added, Names, Settings};
use crate::error::{Error, Result};
use std::collections::HashMap;
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Model, Tokenizer};

/// A longer word becomes one unknown token.
const MAX_CHARS_PER_WORD: usize = 100;
const PREFIX: &str = "##";

/// Builds `[CLS] A [SEP] B [SEP]` over the words of `bytes`, one token a line, its id the number of the line.
///
/// Lines end in LF, CRLF or CR; empty lines at the end are none; of a token that comes twice the last id wins, and no
/// token has the first. Added tokens get the ids that their files state.
///
/// # Errors
///
/// Text that is not UTF-8; no token for unknown words, for the beginning or for the end; an added token whose id is
/// another token's.
pub(super) fn read(bytes: &[u8], settings: &Settings) -> Result<Tokenizer> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::file(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    let lines = lines(text);
    let mut vocab: HashMap<String, u32> = lines.iter().zip(0..).map(|(line, id)| ((*line).to_owned(), id)).collect();
    let Roles { cls, sep, unk } = Roles::find(&settings.names, &vocab)?;
    place(&settings.added, &lines, &mut vocab)?;

    let mut added: Vec<AddedToken> = settings.added.iter().map(|added| added.token.clone()).collect();
    for token in settings.names.or_bert() {
        let known = added.iter().any(|known| known.content == token.content);
        if !known && vocab.contains_key(&token.content) {
            added.push(token);
        }
    }

    let model = model(vocab.into_iter().map(Ok), unk, PREFIX.to_owned(), MAX_CHARS_PER_WORD)?;
    let mut tokenizer = Tokenizer::new(model);
    let normalizer = BertNormalizer::new(
        true,
        settings.tokenize_chinese_chars.unwrap_or(true),
        settings.strip_accents.flatten(),
        settings.do_lower_case.unwrap_or(true),
    );
    tokenizer.with_normalizer(Some(normalizer)).map_err(|error| Error::file(error.to_string()))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
    tokenizer.with_decoder(Some(Decoder::new(PREFIX.to_owned(), true)));
    tokenizer.add_tokens(added).map_err(|error| Error::file(format!("added tokens: {error}")))?;
    Ok(tokenizer)
}

/// Gives added tokens the ids that their files state.
///
/// `add_tokens` keeps the id of a token that is already in the vocabulary. Left to itself it would count on from the
/// number of distinct tokens, which falls short of the number of lines where a token comes twice.
fn place(added: &[Added], lines: &[&str], vocab: &mut HashMap<String, u32>) -> Result<()> {
    let mut before: Option<&Added> = None; // they come by rising id
    for one in added {
        let content = &one.token.content;
        let line = lines.get(one.id as usize).copied().filter(|line| vocab.get(*line) == Some(&one.id));
        let owner = line.or(before.filter(|other| other.id == one.id).map(|other| other.token.content.as_str()));
        let why = match (owner, vocab.get(content)) {
            (Some(owner), _) if owner != content => format!("which is \"{owner}\""),
            (_, Some(id)) if *id != one.id => format!("its line has {id}"),
            _ => {
                vocab.insert(content.clone(), one.id);
                before = Some(one);
                continue;
            }
        };
        return Err(Error::file(format!("added token \"{content}\": id {}, {why}", one.id)).within(one.file));
    }
    Ok(())
}

/// A WordPiece model over `tokens`.
///
/// # Errors
///
/// The first failure among `tokens`; no `unk` among them, without which the first unknown word would fail.
pub(super) fn model(
    tokens: impl Iterator<Item = Result<(String, u32)>>,
    unk: String,
    prefix: String,
    max_chars_per_word: usize,
) -> Result<WordPiece> {
    let vocab: HashMap<String, u32, _> = tokens.collect::<Result<_>>()?;
    let builder = WordPiece::builder().vocab(vocab).continuing_subword_prefix(prefix);
    let builder = builder.unk_token(unk.clone()).max_input_chars_per_word(max_chars_per_word);
    let model = builder.build().map_err(|error| Error::file(error.to_string()))?;
    match model.token_to_id(&unk) {
        Some(_) => Ok(model),
        None => Err(Error::file(format!("no token \"{unk}\", which unknown words become"))),
    }
}

/// The tokens without which there is no BERT input.
struct Roles {
    cls: (String, u32),
    sep: (String, u32),
    unk: String,
}

impl Roles {
    fn find(names: &Names, vocab: &HashMap<String, u32>) -> Result<Self> {
        let mut absent = Vec::new();
        let mut find = |named: &Option<AddedToken>, default: &str| {
            let name = named.as_ref().map_or(default, |token| &token.content).to_owned();
            let id = vocab.get(&name).copied();
            if id.is_none() {
                absent.push(format!("\"{name}\""));
            }
            (name, id.unwrap_or_default())
        };
        let roles =
            Self { unk: find(&names.unk, "[UNK]").0, cls: find(&names.cls, "[CLS]"), sep: find(&names.sep, "[SEP]") };
        match absent.is_empty() {
            true => Ok(roles),
            false => Err(Error::file(format!("no token {}: not a WordPiece vocabulary", absent.join(", ")))),
        }
    }
}

/// Lines as Python reads them: every kind of line end counts, white space stays.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    if lines.iter().any(|line| line.contains('\r')) {
        lines = lines.into_iter().flat_map(|line| line.split('\r')).collect();
    }
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines.truncate(used);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_any_way_and_blank_ones_at_the_end_are_none() {
        assert_eq!(lines("a\nb\n"), ["a", "b"]);
        assert_eq!(lines("a\r\nb\r\n\r\n\n"), ["a", "b"]);
        assert_eq!(lines("a\rb"), ["a", "b"]);
        assert_eq!(lines("a\n\n b \u{3000}"), ["a", "", " b \u{3000}"]);
        assert!(lines("").is_empty());
    }
}
