//! `tokenizer.json` to a tokenizer, component by component.

use super::settings::short;
use super::{template, wordpiece};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

/// Component names that the `tokenizers` crate reads, to tell "not supported" from "malformed".
const MODELS: &[&str] = &["BPE", "WordPiece", "WordLevel", "Unigram"];
const NORMALIZERS: &[&str] = &[
    "BertNormalizer",
    "ByteLevel",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Replace",
    "Sequence",
    "Strip",
    "StripAccents",
];
const PRE_TOKENIZERS: &[&str] = &[
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "Metaspace",
    "Punctuation",
    "Sequence",
    "Split",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
];
const POST_PROCESSORS: &[&str] =
    &["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"];
const DECODERS: &[&str] = &[
    "BPEDecoder",
    "ByteFallback",
    "ByteLevel",
    "CTC",
    "Fuse",
    "Metaspace",
    "Replace",
    "Sequence",
    "Strip",
    "WordPiece",
];

/// Builds the tokenizer that `bytes` describe, without the truncation and padding stored in them: HuggingFace resets
/// both on every call.
///
/// The file is read as one JSON value and a WordPiece vocabulary is taken out of it by hand. `Tokenizer::from_bytes`
/// gives the same tokenizer but buffers the vocabulary twice more.
///
/// # Errors
///
/// JSON that is none, a component that the `tokenizers` crate does not know, one that it cannot read, an added token
/// whose stated id is not the one that the vocabulary gives it.
pub(super) fn read(bytes: &[u8]) -> Result<Tokenizer> {
    let mut root = match serde_json::from_slice(bytes).map_err(|error| Error::file(error.to_string()))? {
        Value::Object(root) => root,
        other => return Err(Error::file(format!("{}, expected an object", short(&other)))),
    };
    if let Some(version) = root.get("version").filter(|version| *version != "1.0") {
        return Err(Error::unsupported(format!("version {}, expected \"1.0\"", short(version))));
    }
    let mut tokenizer = Tokenizer::new(model(&mut root)?);
    // before the added tokens, which are stored as the normalizer leaves them
    tokenizer
        .with_normalizer(component::<NormalizerWrapper>(&mut root, "normalizer", NORMALIZERS)?)
        .map_err(|error| Error::file(error.to_string()))?;
    tokenizer.with_pre_tokenizer(component::<PreTokenizerWrapper>(&mut root, "pre_tokenizer", PRE_TOKENIZERS)?);
    root.get("post_processor").map_or(Ok(()), template::check)?;
    tokenizer.with_post_processor(component::<PostProcessorWrapper>(&mut root, "post_processor", POST_PROCESSORS)?);
    tokenizer.with_decoder(component::<DecoderWrapper>(&mut root, "decoder", DECODERS)?);
    add(&mut tokenizer, added(&mut root)?)?;
    Ok(tokenizer)
}

/// Adds tokens in the order given and compares the id that each gets with the one that its file states.
///
/// # Errors
///
/// A stated id that differs: rows of the embedding would be taken for those of other tokens.
pub(super) fn add(tokenizer: &mut Tokenizer, tokens: Vec<(u32, AddedToken)>) -> Result<()> {
    let stated: Vec<(u32, String)> = tokens.iter().map(|(id, token)| (*id, token.content.clone())).collect();
    tokenizer
        .add_tokens(tokens.into_iter().map(|(_, token)| token))
        .map_err(|error| Error::file(format!("added tokens: {error}")))?;
    for (id, content) in stated {
        match tokenizer.token_to_id(&content) {
            Some(given) if given == id => {}
            Some(given) => {
                return Err(Error::file(format!(
                    "added token \"{content}\": id {id}, the vocabulary gives it {given}"
                )));
            }
            None => return Err(Error::file(format!("added token \"{content}\" with id {id} cannot be added"))),
        }
    }
    Ok(())
}

fn model(root: &mut Map<String, Value>) -> Result<ModelWrapper> {
    let Some(mut value) = root.remove("model") else { return Err(Error::file("no model")) };
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    // files from before the key "type" tell WordPiece by its prefix and its limit
    let legacy = kind.is_empty() && value.get("max_input_chars_per_word").is_some();
    if kind != "WordPiece" && !legacy {
        return parse(value, "model", MODELS);
    }
    let Some(Value::Object(vocab)) = value.get_mut("vocab").map(Value::take) else {
        return Err(Error::file("model: no vocab, expected an object"));
    };
    let tokens = vocab.into_iter().map(|(token, id)| match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
        Some(id) => Ok((token, id)),
        None => Err(Error::file(format!("model: vocab: \"{token}\": {}, expected an id", short(&id)))),
    });
    let field = |key: &str| value.get(key).ok_or_else(|| Error::file(format!("model: no {key}")));
    let text = |key: &str| match field(key)? {
        Value::String(text) => Ok(text.clone()),
        other => Err(Error::file(format!("model: {key}: {}, expected a string", short(other)))),
    };
    let limit = field("max_input_chars_per_word")?;
    let limit = limit
        .as_u64()
        .and_then(|limit| usize::try_from(limit).ok())
        .ok_or_else(|| Error::file(format!("model: max_input_chars_per_word: {}, expected a length", short(limit))))?;
    let model = wordpiece::model(tokens, text("unk_token")?, text("continuing_subword_prefix")?, limit)?;
    Ok(model.into())
}

fn added(root: &mut Map<String, Value>) -> Result<Vec<(u32, AddedToken)>> {
    let list = match root.remove("added_tokens") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(Error::file(format!("added_tokens: {}, expected a list", short(&other)))),
    };
    let read = |value: Value| {
        let id = value.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| Error::file(format!("added_tokens: {} has no id", short(&value))))?;
        let token = serde_json::from_value(value).map_err(|error| Error::file(format!("added_tokens: {error}")))?;
        Ok((id, token))
    };
    list.into_iter().map(read).collect()
}

fn component<T: ReadComponent>(root: &mut Map<String, Value>, key: &str, known: &[&str]) -> Result<Option<T>> {
    match root.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => parse(value, key, known).map(Some),
    }
}

/// Reads one component; on failure looks for the name, at any depth, of one that is not known.
fn parse<T: ReadComponent>(value: Value, key: &str, known: &[&str]) -> Result<T> {
    let unknown = unknown(&value, known);
    T::read(value).map_err(|error| match unknown {
        Some(name) => Error::unsupported(format!("{key} \"{name}\" is not supported")),
        None => Error::file(format!("{key}: {error}")),
    })
}

/// The first component name in `value` that is not among `known`.
fn unknown(value: &Value, known: &[&str]) -> Option<String> {
    let name = value.get("type").and_then(Value::as_str).filter(|name| !known.contains(name));
    if let Some(name) = name {
        return Some(name.to_owned());
    }
    let nested = ["normalizers", "pretokenizers", "processors", "decoders"];
    nested.iter().filter_map(|key| value.get(key)?.as_array()).flatten().find_map(|part| unknown(part, known))
}

/// A component of `tokenizer.json`. (The bound of `from_value` is serde's, which is not a dependency of cloze.)
trait ReadComponent: Sized {
    fn read(value: Value) -> serde_json::Result<Self>;
}

macro_rules! read_component {
    ($($component:ty)*) => {$(
        impl ReadComponent for $component {
            fn read(value: Value) -> serde_json::Result<Self> {
                serde_json::from_value(value)
            }
        }
    )*};
}

read_component!(ModelWrapper NormalizerWrapper PreTokenizerWrapper PostProcessorWrapper DecoderWrapper);
