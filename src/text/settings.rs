//! What the small JSON files beside a vocabulary say.

use super::Files;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

/// Classes of `transformers` that are BERT's WordPiece with BERT's template, without their suffix `Fast`.
const WORDPIECE_CLASSES: &[&str] = &[
    "BertTokenizer",
    "ConvBertTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DPRReaderTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "RealmTokenizer",
    "RetriBertTokenizer",
    "SplinterTokenizer",
    "SqueezeBertTokenizer",
];

/// Further classes whose fast form is its `tokenizer.json` and nothing else.
const JSON_CLASSES: &[&str] = &[
    "AlbertTokenizer",
    "BartTokenizer",
    "BarthezTokenizer",
    "BigBirdTokenizer",
    "CamembertTokenizer",
    "DebertaTokenizer",
    "DebertaV2Tokenizer",
    "FunnelTokenizer",
    "GPT2Tokenizer",
    "HerbertTokenizer",
    "LongformerTokenizer",
    "MPNetTokenizer",
    "PreTrainedTokenizer",
    "RemBertTokenizer",
    "RobertaTokenizer",
    "T5Tokenizer",
    "TokenizersBackend",
    "XLMRobertaTokenizer",
    "XLNetTokenizer",
];

/// Which tokenizer a folder asks for by `tokenizer_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The folder does not say.
    Unnamed,
    /// BERT's WordPiece.
    WordPiece,
    /// Whatever `tokenizer.json` holds.
    Json,
}

/// The tokens that play a part of their own, as a folder names them.
#[derive(Default)]
pub(super) struct Names {
    pub(super) cls: Option<AddedToken>,
    pub(super) sep: Option<AddedToken>,
    pub(super) mask: Option<AddedToken>,
    pub(super) pad: Option<AddedToken>,
    pub(super) unk: Option<AddedToken>,
    /// `additional_special_tokens`, which newer files call `extra_special_tokens`.
    pub(super) additional: Vec<AddedToken>,
}

/// A token added to the vocabulary, with the id that its file states.
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) token: AddedToken,
    pub(super) file: &'static str,
}

/// Everything the JSON files other than `tokenizer.json` say about the tokenizer.
///
/// A key that is absent stays `None`: the defaults differ between the two sources of a vocabulary.
pub(super) struct Settings {
    pub(super) class: Class,
    pub(super) do_lower_case: Option<bool>,
    /// The outer option says whether the key is there; its value may be `null`, which means "as `do_lower_case`".
    pub(super) strip_accents: Option<Option<bool>>,
    pub(super) tokenize_chinese_chars: Option<bool>,
    /// `do_lower_case` of `sentence_bert_config.json`: lower-cases whatever the tokenizer itself does.
    pub(super) lower_on_top: bool,
    /// `clean_up_tokenization_spaces`: a second clean-up over the whole decoded text.
    pub(super) clean_up: bool,
    pub(super) model_max_length: Option<usize>,
    pub(super) names: Names,
    pub(super) added: Vec<Added>,
}

impl Settings {
    /// Reads `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and `sentence_bert_config.json`.
    ///
    /// # Errors
    ///
    /// A file that is not a JSON object, a key of the wrong type, a tokenizer class that cloze does not implement.
    pub(super) fn read(files: &Files<'_>) -> Result<Self> {
        let config = Object::read("tokenizer_config.json", files.tokenizer_config)?;
        let map = Object::read("special_tokens_map.json", files.special_tokens_map)?;
        let sentence = Object::read("sentence_bert_config.json", files.sentence_bert_config)?;
        let names = Names::read(&config, &map)?;
        Ok(Self {
            class: class(&config)?,
            do_lower_case: config.bool("do_lower_case")?,
            strip_accents: config.get("strip_accents").map(|_| config.bool("strip_accents")).transpose()?,
            tokenize_chinese_chars: config.bool("tokenize_chinese_chars")?,
            lower_on_top: sentence.bool("do_lower_case")?.unwrap_or(false),
            clean_up: config.bool("clean_up_tokenization_spaces")?.unwrap_or(false),
            model_max_length: match sentence.length("max_seq_length")? {
                Some(length) => Some(length),
                None => config.length("model_max_length")?,
            },
            added: added(&config, files.added_tokens, &names)?,
            names,
        })
    }
}

/// The class a folder names, refused when its tokens would not be those of `tokenizer.json` or WordPiece.
fn class(config: &Object) -> Result<Class> {
    for key in ["word_tokenizer_type", "subword_tokenizer_type"] {
        if let Some(kind) = config.string(key)?.filter(|kind| *kind != "basic" && *kind != "wordpiece") {
            return Err(Error::unsupported(format!("{}: {key} \"{kind}\" is not supported", config.file)));
        }
    }
    let Some(name) = config.string("tokenizer_class")? else { return Ok(Class::Unnamed) };
    let stem = name.strip_suffix("Fast").unwrap_or(name);
    if WORDPIECE_CLASSES.contains(&stem) {
        Ok(Class::WordPiece)
    } else if JSON_CLASSES.contains(&stem) {
        Ok(Class::Json)
    } else {
        Err(Error::unsupported(format!("{}: tokenizer_class \"{name}\" is not supported", config.file)))
    }
}

impl Names {
    /// `tokenizer_config.json` goes before `special_tokens_map.json`.
    fn read(config: &Object, map: &Object) -> Result<Self> {
        let named = |key: &str| match config.special(key)? {
            Some(token) => Ok::<_, Error>(Some(token)),
            None => map.special(key),
        };
        let mut additional = Vec::new();
        for object in [config, map] {
            for key in ["additional_special_tokens", "extra_special_tokens"] {
                if let Some(Value::Array(list)) = object.get(key) {
                    for value in list {
                        additional.extend(object.token(key, value)?);
                    }
                }
            }
        }
        Ok(Self {
            cls: named("cls_token")?,
            sep: named("sep_token")?,
            mask: named("mask_token")?,
            pad: named("pad_token")?,
            unk: named("unk_token")?,
            additional,
        })
    }

    /// Every named token, and BERT's own where none is named, in the order in which HuggingFace adds them.
    pub(super) fn or_bert(&self) -> Vec<AddedToken> {
        let named = [&self.unk, &self.sep, &self.pad, &self.cls, &self.mask];
        let own = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
        let or_own = |(named, own): (&Option<AddedToken>, &str)| match named {
            Some(token) => token.clone(),
            None => AddedToken::from(own, true),
        };
        named.into_iter().zip(own).map(or_own).chain(self.additional.iter().cloned()).collect()
    }
}

/// `added_tokens_decoder` of `tokenizer_config.json`, then what `added_tokens.json` has besides, by rising id.
fn added(config: &Object, added_tokens: Option<&[u8]>, names: &Names) -> Result<Vec<Added>> {
    let mut all = Vec::new();
    if let Some(value) = config.get("added_tokens_decoder") {
        let decoder = value.as_object().ok_or_else(|| config.wrong("added_tokens_decoder", "an object", value))?;
        for (id, value) in decoder {
            let number = id.parse().map_err(|_| config.wrong("added_tokens_decoder", "ids for keys", value))?;
            if let Some(mut token) = config.token("added_tokens_decoder", value)? {
                token.special = value.get("special").and_then(Value::as_bool).unwrap_or(false);
                all.push(Added { id: number, token, file: config.file });
            }
        }
    }
    let legacy = Object::read("added_tokens.json", added_tokens)?;
    let specials = names.or_bert();
    for (content, id) in &legacy.map {
        if all.iter().any(|known: &Added| known.token.content == *content) {
            continue;
        }
        let number =
            id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| legacy.wrong(content, "an id", id))?;
        let special = specials.iter().any(|name| name.content == *content);
        all.push(Added { id: number, token: AddedToken::from(content.clone(), special), file: legacy.file });
    }
    all.sort_by_key(|added| added.id);
    Ok(all)
}

/// A JSON object and the file that it came from; empty when the file is absent.
struct Object {
    file: &'static str,
    map: Map<String, Value>,
}

impl Object {
    fn read(file: &'static str, bytes: Option<&[u8]>) -> Result<Self> {
        let Some(bytes) = bytes else { return Ok(Self { file, map: Map::new() }) };
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { file, map }),
            Ok(other) => Err(Error::file(format!("{file}: {}, expected an object", short(&other)))),
            Err(error) => Err(Error::file(format!("{file}: {error}"))),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        Error::file(format!("{}: {key}: {}, expected {expected}", self.file, short(found)))
    }

    /// A Boolean; `null` is as good as absent.
    fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    fn string(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    /// A number of tokens. HuggingFace writes "no limit" as 1e30, which no 64-bit integer holds.
    fn length(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match (value.as_u64(), value.as_f64()) {
                (Some(length @ 1..), _) => Ok(usize::try_from(length).ok()),
                (None, Some(length)) if length >= 1.0 && length.fract() == 0.0 => {
                    Ok((length < f64::from(u32::MAX)).then_some(length as usize))
                }
                _ => Err(self.wrong(key, "a positive integer", value)),
            },
        }
    }

    /// A token that is special by being named in `key`.
    fn special(&self, key: &str) -> Result<Option<AddedToken>> {
        self.get(key).map_or(Ok(None), |value| self.token(key, value))
    }

    /// A token written as a string or as an object with `content` and flags; special unless the caller says otherwise.
    fn token(&self, key: &str, value: &Value) -> Result<Option<AddedToken>> {
        if value.is_null() {
            return Ok(None);
        }
        let content = value.as_str().or_else(|| value.get("content")?.as_str());
        let content = content.ok_or_else(|| self.wrong(key, "a token", value))?;
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
        let token = AddedToken::from(content, true)
            .lstrip(flag("lstrip"))
            .rstrip(flag("rstrip"))
            .single_word(flag("single_word"))
            .normalized(flag("normalized"));
        Ok(Some(token))
    }
}

/// A value for an error message, cut to a readable length.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn settings(config: &str) -> Result<Settings> {
        Settings::read(&Files { tokenizer_config: Some(config.as_bytes()), ..Files::default() })
    }

    #[test]
    fn the_number_that_means_no_limit_is_no_limit() {
        for (text, expected) in [
            (r#"{"model_max_length": 512}"#, Some(512)),
            (r#"{"model_max_length": 512.0}"#, Some(512)),
            (r#"{"model_max_length": 1000000000000000019884624838656}"#, None),
            (r#"{"model_max_length": 1e30}"#, None),
            (r#"{"model_max_length": null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(settings(text).unwrap().model_max_length, expected, "{text}");
        }
        let error = settings(r#"{"model_max_length": 0}"#).err().unwrap();
        assert_eq!(error.message(), "tokenizer_config.json: model_max_length: 0, expected a positive integer");
    }

    #[test]
    fn the_sentence_limit_goes_before_that_of_the_tokenizer() {
        let files = Files {
            tokenizer_config: Some(br#"{"model_max_length": 512}"#),
            sentence_bert_config: Some(br#"{"max_seq_length": 256, "do_lower_case": true}"#),
            ..Files::default()
        };
        let settings = Settings::read(&files).unwrap();
        assert_eq!(settings.model_max_length, Some(256));
        assert!(settings.lower_on_top);
    }

    #[test]
    fn names_come_as_strings_or_objects_from_either_file() {
        let files = Files {
            tokenizer_config: Some(br#"{"mask_token": {"content": "<m>", "lstrip": true}, "cls_token": "<c>"}"#),
            special_tokens_map: Some(
                br#"{"cls_token": "no", "sep_token": "<s>", "additional_special_tokens": ["<x>"]}"#,
            ),
            ..Files::default()
        };
        let names = Settings::read(&files).unwrap().names;
        assert_eq!(names.cls.unwrap().content, "<c>");
        assert_eq!(names.sep.unwrap().content, "<s>");
        assert!(names.mask.unwrap().lstrip);
        assert_eq!(names.additional[0].content, "<x>");
        assert!(names.pad.is_none());
    }

    #[test]
    fn a_class_that_splits_words_otherwise_is_refused_by_name() {
        for (config, named) in [
            (r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#, "BertJapaneseTokenizer"),
            (r#"{"tokenizer_class": "MyTokenizer"}"#, "MyTokenizer"),
            (r#"{"tokenizer_class": "BertTokenizer", "word_tokenizer_type": "mecab"}"#, "mecab"),
            (r#"{"subword_tokenizer_type": "character"}"#, "character"),
        ] {
            let error = settings(config).err().unwrap();
            assert_eq!(error.status(), Status::Unsupported, "{config}");
            assert!(error.message().contains(named), "{error}");
        }
        assert_eq!(settings(r#"{"tokenizer_class": "BertTokenizerFast"}"#).unwrap().class, Class::WordPiece);
        assert_eq!(settings(r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#).unwrap().class, Class::Json);
    }

    #[test]
    fn added_tokens_of_both_files_are_sorted_and_named_once() {
        let files = Files {
            tokenizer_config: Some(
                br#"{"added_tokens_decoder": {"9": {"content": "b", "special": true}, "7": {"content": "a"}}}"#,
            ),
            added_tokens: Some(br#"{"b": 9, "c": 8}"#),
            ..Files::default()
        };
        let added = Settings::read(&files).unwrap().added;
        let seen: Vec<_> = added.iter().map(|a| (a.id, a.token.content.as_str(), a.token.special)).collect();
        assert_eq!(seen, [(7, "a", false), (8, "c", false), (9, "b", true)]);
    }

    #[test]
    fn a_file_of_the_wrong_shape_is_named() {
        for (config, message) in [
            ("[1]", "tokenizer_config.json: [1], expected an object"),
            (r#"{"do_lower_case": "yes"}"#, "tokenizer_config.json: do_lower_case: \"yes\", expected true or false"),
        ] {
            let error = settings(config).err().unwrap();
            assert_eq!((error.status(), error.message()), (Status::InvalidFile, message));
        }
        assert!(settings("{").err().unwrap().message().starts_with("tokenizer_config.json: "));
    }
}
