//! Tests over small hand-made vocabularies.

use super::*;
use crate::error::Status;
use proptest::prelude::*;
use std::sync::LazyLock;

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\nsat\n##s\n##t\n,\n.\nhe\n[\n]\nmask\nThe\nca\u{301}t\ncát\n漢\n\
    '\ns\na\n##a\nb\n##b\né\n##e\ne\n";

fn vocab(config: &str) -> Tokenizer {
    let files =
        Files { vocab_txt: Some(WORDS.as_bytes()), tokenizer_config: Some(config.as_bytes()), ..Files::default() };
    Tokenizer::new(&files, Kind::Bert).unwrap()
}

/// A `tokenizer.json` over [`WORDS`], with `extra` keys last, which in JSON go before equal ones.
fn json(lowercase: bool, extra: &str) -> String {
    let words: Vec<String> =
        WORDS.lines().enumerate().map(|(id, w)| format!("{}:{id}", serde_json::Value::from(w))).collect();
    let added: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .iter()
        .enumerate()
        .map(|(id, w)| {
            format!(r#"{{"id":{id},"content":"{w}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#)
        })
        .collect();
    format!(
        r###"{{"version":"1.0","truncation":{{"max_length":3,"strategy":"LongestFirst","stride":0}},
        "padding":{{"strategy":{{"Fixed":128}},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"}},
        "added_tokens":[{}],
        "normalizer":{{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":{lowercase}}},
        "pre_tokenizer":{{"type":"BertPreTokenizer"}},
        "post_processor":{{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]}},
        "decoder":{{"type":"WordPiece","prefix":"##","cleanup":true}},
        "model":{{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{{{}}}}}{extra}}}"###,
        added.join(","),
        words.join(",")
    )
}

fn from_json(json: &str, config: &str) -> Result<Tokenizer> {
    let files =
        Files { tokenizer_json: Some(json.as_bytes()), tokenizer_config: Some(config.as_bytes()), ..Files::default() };
    Tokenizer::new(&files, Kind::Bert)
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, None, &Encode::default()).unwrap().ids
}

/// A unigram model over "▁ab…" with its special tokens among the pieces, as ALBERT has them.
const UNIGRAM: &str = r#"{"version":"1.0","added_tokens":[
    {"id":0,"content":"<pad>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
    {"id":1,"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
    {"id":2,"content":"[CLS]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
    {"id":3,"content":"[SEP]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
    {"id":4,"content":"[MASK]","single_word":false,"lstrip":true,"rstrip":false,"normalized":false,"special":true}],
    "normalizer":{"type":"Sequence","normalizers":[{"type":"NFKD"},{"type":"StripAccents"}]},
    "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},
    "post_processor":{"type":"TemplateProcessing",
      "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
      "pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}},{"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"[SEP]","type_id":1}}],
      "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}},
    "decoder":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},
    "model":{"type":"Unigram","unk_id":1,"byte_fallback":false,"vocab":[["<pad>",0.0],["<unk>",0.0],["[CLS]",0.0],["[SEP]",0.0],["[MASK]",0.0],
      ["▁",-2.0],["a",-3.0],["b",-3.5],["▁ab",-1.0]]}}"#;

#[test]
fn a_text_gets_the_template_and_its_places() {
    let encoding = vocab("{}").encode("The cats,", None, &Encode::default()).unwrap();
    assert_eq!(encoding.ids, [2, 5, 6, 8, 10, 3]);
    assert_eq!(encoding.types, [0; 6]);
    assert_eq!(encoding.special, [true, false, false, false, false, true]);
    assert_eq!(encoding.words, [None, Some(0), Some(1), Some(1), Some(2), None]);
    assert_eq!(encoding.sequence, [None, Some(0), Some(0), Some(0), Some(0), None]);
    let spans: Vec<_> = encoding.offsets.iter().map(|s| (s.start, s.end)).collect();
    assert_eq!(spans, [(0, 0), (0, 3), (4, 7), (7, 8), (8, 9), (0, 0)]);
}

#[test]
fn a_pair_counts_places_and_words_of_each_text_from_zero() {
    let encoding = vocab("{}").encode("cat", Some("he sat"), &Encode::default()).unwrap();
    assert_eq!(encoding.ids, [2, 6, 3, 12, 7, 3]);
    assert_eq!(encoding.types, [0, 0, 0, 1, 1, 1]);
    assert_eq!(encoding.sequence, [None, Some(0), None, Some(1), Some(1), None]);
    assert_eq!(encoding.words, [None, Some(0), None, Some(0), Some(1), None]);
    assert_eq!(encoding.offsets[4], Span { start: 3, end: 6 });
}

#[test]
fn words_given_apart_are_counted_as_given() {
    let words = |words: &[&str], max_tokens| {
        let options = Encode { max_tokens, ..Encode::default() };
        vocab("{}").encode_words(words, &options).unwrap()
    };
    let encoding = words(&["he,", "\u{200d}", "cats [MASK]", "."], usize::MAX);
    assert_eq!(encoding.ids, [2, 12, 10, 6, 8, 4, 11, 3]);
    assert_eq!(encoding.words, [None, Some(0), Some(0), Some(2), Some(2), Some(2), Some(3), None]);
    assert_eq!(encoding.sequence[1..7], [Some(0); 6]);
    assert_eq!(encoding.special, [true, false, false, false, false, false, false, true]);
    let spans: Vec<_> = encoding.offsets.iter().map(|s| (s.start, s.end)).collect();
    assert_eq!(spans, [(0, 0), (0, 2), (2, 3), (0, 3), (3, 4), (5, 11), (0, 1), (0, 0)]);

    assert_eq!(words(&["the", "cats", "sat"], 4).words, [None, Some(0), Some(1), None]);
    assert_eq!(words(&[], usize::MAX).ids, [2, 3]);
    let options = Encode { max_tokens: 4, overflow: Overflow::Refuse, parse_special: false, ..Encode::default() };
    let error = vocab("{}").encode_words(&["the", "cats"], &options).unwrap_err();
    assert_eq!(error.message(), "text of 5 tokens, at most 4 fit");
    assert_eq!(vocab("{}").encode_words(&["cat", "sat"], &options).unwrap().ids, [2, 6, 7, 3]);
}

#[test]
fn without_the_template_only_the_texts_remain() {
    let options = Encode { special_tokens: false, ..Encode::default() };
    let encoding = vocab("{}").encode("cat", Some("sat"), &options).unwrap();
    assert_eq!((encoding.ids, encoding.types), (vec![6, 7], vec![0, 1]));
    assert_eq!(encoding.sequence, [Some(0), Some(1)]);
    assert!(vocab("{}").encode("", None, &options).unwrap().is_empty());
}

#[test]
fn an_empty_text_is_the_bare_template() {
    for text in ["", " \n", "\0", "\u{200b}"] {
        assert_eq!(ids(&vocab("{}"), text), [2, 3], "{text:?}");
    }
    let pair = vocab("{}").encode("", Some(""), &Encode::default()).unwrap();
    assert_eq!((pair.ids, pair.types), (vec![2, 3, 3], vec![0, 0, 1]));
}

#[test]
fn too_long_texts_are_cut_or_refused() {
    let tokenizer = vocab("{}");
    let cut = |text, pair, max_tokens| {
        let options = Encode { max_tokens, ..Encode::default() };
        tokenizer.encode(text, pair, &options).unwrap().ids
    };
    assert_eq!(cut("the cat sat", None, 4), [2, 5, 6, 3]);
    assert_eq!(cut("the cat sat", None, 2), [2, 3]);
    assert_eq!(cut("the cat sat", Some("he"), 6), [2, 5, 6, 3, 12, 3]);
    assert_eq!(cut("the cat sat", Some("he sat he"), 6), [2, 5, 3, 12, 7, 3]);

    let options = Encode { max_tokens: 4, overflow: Overflow::Refuse, ..Encode::default() };
    assert_eq!(tokenizer.encode("the cat", None, &options).unwrap().len(), 4);
    let error = tokenizer.encode("the cat sat", None, &options).unwrap_err();
    assert_eq!((error.status(), error.message()), (Status::InvalidInput, "text of 5 tokens, at most 4 fit"));

    let options = Encode { max_tokens: 1, ..Encode::default() };
    let error = tokenizer.encode("the", None, &options).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(error.message(), "at most 1 tokens asked for, the template alone has 2");
}

#[test]
fn special_tokens_in_the_text_are_tokens_only_when_wanted() {
    let tokenizer = vocab("{}");
    let encoding = tokenizer.encode("the [MASK] sat", None, &Encode::default()).unwrap();
    assert_eq!(encoding.ids, [2, 5, 4, 7, 3]);
    assert!(!encoding.special[2], "the mask is of the text, not of the template");
    let plain = Encode { parse_special: false, ..Encode::default() };
    assert_eq!(tokenizer.encode("the [MASK] sat", None, &plain).unwrap().ids, [2, 5, 13, 15, 14, 7, 3]);
    assert_eq!(ids(&tokenizer, "[MASK]"), [2, 4, 3], "the plain reading leaves no trace");
}

#[test]
fn a_sentencepiece_model_keeps_its_own_conventions() {
    let files = Files { tokenizer_json: Some(UNIGRAM.as_bytes()), ..Files::default() };
    let tokenizer = Tokenizer::new(&files, Kind::Albert).unwrap();
    assert_eq!(tokenizer.special(), &Special { cls: Some(2), sep: Some(3), mask: Some(4), pad: Some(0), unk: Some(1) });
    assert_eq!(tokenizer.subword_prefix(), None);
    let encoding = tokenizer.encode("áb [MASK] ab", None, &Encode::default()).unwrap();
    assert_eq!(encoding.ids, [2, 8, 4, 8, 3]);
    assert_eq!(encoding.offsets[1], Span { start: 0, end: 3 });
    assert_eq!(tokenizer.decode(&encoding.ids, true).unwrap(), "ab ab");

    let plain = Encode { parse_special: false, ..Encode::default() };
    let encoding = tokenizer.encode("ab [MASK]", None, &plain).unwrap();
    assert_eq!(encoding.ids, [2, 8, 5, 1, 3], "the piece [MASK] must not come out of plain text");
}

/// A mask with `lstrip` looks back for white space: were it to look through the whole text, this would take minutes.
#[test]
fn many_masks_with_space_before_them_stay_linear() {
    let files = Files { tokenizer_json: Some(UNIGRAM.as_bytes()), ..Files::default() };
    let tokenizer = Tokenizer::new(&files, Kind::Albert).unwrap();
    assert_eq!(ids(&tokenizer, &" [MASK]".repeat(150_000)).len(), 150_002);
}

#[test]
fn casing_defaults_to_lower_and_accents_follow_it() {
    assert_eq!(ids(&vocab("{}"), "The cát"), [2, 5, 6, 3]);
    assert_eq!(ids(&vocab(r#"{"do_lower_case": false}"#), "The cát"), [2, 16, 18, 3]);
    assert_eq!(ids(&vocab(r#"{"do_lower_case": false, "strip_accents": true}"#), "The cát"), [2, 16, 6, 3]);
    assert_eq!(ids(&vocab(r#"{"strip_accents": false}"#), "The cát"), [2, 5, 18, 3]);
    assert_eq!(ids(&vocab(r#"{"strip_accents": null}"#), "The cát"), [2, 5, 6, 3]);
    assert_eq!(ids(&vocab("{}"), "漢漢"), [2, 19, 19, 3]);
    assert_eq!(ids(&vocab(r#"{"tokenize_chinese_chars": false}"#), "漢漢"), [2, 1, 3]);
}

#[test]
fn only_explicit_keys_replace_what_tokenizer_json_says() {
    let cased = json(false, "");
    for (config, expected) in [
        ("{}", [2, 16, 18, 3]),
        (r#"{"do_lower_case": true}"#, [2, 5, 6, 3]),
        (r#"{"do_lower_case": true, "tokenizer_class": "BertTokenizerFast"}"#, [2, 5, 6, 3]),
        (r#"{"do_lower_case": true, "tokenizer_class": "PreTrainedTokenizerFast"}"#, [2, 16, 18, 3]),
        (r#"{"strip_accents": true}"#, [2, 16, 6, 3]),
    ] {
        assert_eq!(ids(&from_json(&cased, config).unwrap(), "The cát"), expected, "{config}");
    }
    let lower = from_json(&json(true, ""), r#"{"do_lower_case": false}"#).unwrap();
    assert_eq!(ids(&lower, "The cát"), [2, 16, 18, 3]);
}

#[test]
fn sentence_bert_lower_cases_on_top_and_keeps_accents() {
    let json = json(false, "");
    let files = Files {
        tokenizer_json: Some(json.as_bytes()),
        sentence_bert_config: Some(br#"{"max_seq_length": 128, "do_lower_case": true}"#),
        ..Files::default()
    };
    let tokenizer = Tokenizer::new(&files, Kind::Bert).unwrap();
    assert_eq!(ids(&tokenizer, "The cát"), [2, 5, 18, 3]);
    assert_eq!(tokenizer.model_max_length(), Some(128));

    let files = Files { tokenizer_json: Some(UNIGRAM.as_bytes()), ..files };
    assert_eq!(ids(&Tokenizer::new(&files, Kind::Albert).unwrap(), "AB"), [2, 8, 3]);
}

#[test]
fn stored_truncation_and_padding_are_ignored() {
    let tokenizer = from_json(&json(true, ""), "{}").unwrap();
    assert_eq!(ids(&tokenizer, "the cat sat the cat sat"), [2, 5, 6, 7, 5, 6, 7, 3]);
}

#[test]
fn without_a_post_processor_the_pair_still_has_its_type() {
    let tokenizer = from_json(&json(true, r#","post_processor":null"#), "{}").unwrap();
    let encoding = tokenizer.encode("cat", Some("the sat"), &Encode::default()).unwrap();
    assert_eq!((encoding.ids, encoding.types), (vec![6, 5, 7], vec![0, 1, 1]));
    assert_eq!(encoding.sequence, [Some(0), Some(1), Some(1)]);
}

#[test]
fn both_sources_agree() {
    let a = vocab("{}");
    let b = from_json(&json(true, ""), "{}").unwrap();
    for text in ["The cats, sat.", "[MASK]cat[SEP]", "cát漢a 'sbaab", "unknown [CLS"] {
        for options in [Encode::default(), Encode { parse_special: false, max_tokens: 5, ..Encode::default() }] {
            assert_eq!(a.encode(text, Some("he"), &options), b.encode(text, Some("he"), &options), "{text}");
        }
    }
    assert_eq!((a.size(), a.special()), (b.size(), b.special()));
}

#[test]
fn tokens_and_ids_are_inverse() {
    let tokenizer = vocab("{}");
    assert_eq!(tokenizer.size(), WORDS.lines().count());
    for (id, word) in WORDS.lines().enumerate() {
        assert_eq!(tokenizer.token(id as u32), Some(word));
        assert_eq!(tokenizer.id(word), Some(id as u32));
        assert_eq!(tokenizer.is_special(id as u32), id < 5, "{word}");
    }
    assert_eq!(tokenizer.token(tokenizer.size() as u32), None);
    assert_eq!(tokenizer.id("zebra"), None);
    assert_eq!(tokenizer.subword_prefix(), Some("##"));
}

#[test]
fn decoding_joins_pieces_and_tidies_as_the_files_say() {
    let tokenizer = vocab("{}");
    assert_eq!(tokenizer.decode(&[2, 5, 6, 8, 10, 7, 11, 3], true).unwrap(), "the cats, sat.");
    assert_eq!(tokenizer.decode(&[2, 6, 11, 3], false).unwrap(), "[CLS] cat. [SEP]");
    assert_eq!(tokenizer.decode(&[6, 20, 21], false).unwrap(), "cat ' s");
    let tidy = vocab(r#"{"clean_up_tokenization_spaces": true}"#);
    assert_eq!(tidy.decode(&[6, 20, 21], false).unwrap(), "cat's");
    let error = tokenizer.decode(&[6, 99], false).unwrap_err();
    assert_eq!((error.status(), error.message()), (Status::InvalidInput, "token id 99, the vocabulary has 29"));
}

#[test]
fn the_last_of_equal_lines_wins_and_added_tokens_keep_their_ids() {
    let files = Files {
        vocab_txt: Some(b"cat\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\ncat\r\n\r\n"),
        tokenizer_config: Some(br#"{"added_tokens_decoder": {"6": {"content": "<e>", "special": true}}}"#),
        added_tokens: Some(br#"{"Zoo": 5}"#),
        ..Files::default()
    };
    let tokenizer = Tokenizer::new(&files, Kind::Bert).unwrap();
    assert_eq!(ids(&tokenizer, "cat<e>zoo [MASK]"), [2, 4, 6, 5, 1, 1, 1, 3]);
    assert_eq!((tokenizer.size(), tokenizer.token(0), tokenizer.token(4)), (7, None, Some("cat")));
    assert_eq!(tokenizer.special().mask, None);
    assert!(tokenizer.is_special(6) && !tokenizer.is_special(5));

    let clash = Files { added_tokens: Some(br#"{"Zoo": 4}"#), ..files };
    let error = Tokenizer::new(&clash, Kind::Bert).err().unwrap();
    assert_eq!(error.message(), "vocab.txt: added_tokens.json: added token \"Zoo\": id 4, which is \"cat\"");
    let clash = Files { added_tokens: Some(br#"{"cat": 9}"#), ..files };
    let error = Tokenizer::new(&clash, Kind::Bert).err().unwrap();
    assert_eq!(error.message(), "vocab.txt: added_tokens.json: added token \"cat\": id 9, its line has 4");
    let clash = Files { added_tokens: Some(br#"{"a": 9, "b": 9}"#), ..files };
    let error = Tokenizer::new(&clash, Kind::Bert).err().unwrap();
    assert_eq!(error.message(), "vocab.txt: added_tokens.json: added token \"b\": id 9, which is \"a\"");
}

#[test]
fn added_tokens_of_the_configuration_join_tokenizer_json() {
    let config = |id| format!(r#"{{"added_tokens_decoder": {{"{id}": {{"content": "<e>", "special": true}}}}}}"#);
    let tokenizer = from_json(&json(true, ""), &config(29)).unwrap();
    assert_eq!(ids(&tokenizer, "cat<e>"), [2, 6, 29, 3]);
    let error = from_json(&json(true, ""), &config(40)).err().unwrap();
    assert_eq!(error.message(), "tokenizer_config.json: added token \"<e>\": id 40, the vocabulary gives it 29");
}

#[test]
fn words_of_more_than_100_characters_are_unknown() {
    let tokenizer = vocab("{}");
    assert_eq!(ids(&tokenizer, &"a".repeat(100)).len(), 102);
    assert_eq!(ids(&tokenizer, &"a".repeat(101)), [2, 1, 3]);
    assert_eq!(ids(&tokenizer, &"é".repeat(100)).len(), 102, "characters count, not bytes");
}

#[test]
fn folders_without_a_usable_tokenizer_say_why() {
    let lone_vocab = |text: &'static [u8]| Files { vocab_txt: Some(text), ..Files::default() };
    let lone_json = |text: &'static [u8]| Files { tokenizer_json: Some(text), ..Files::default() };
    let class = Files { tokenizer_config: Some(br#"{"tokenizer_class": "AlbertTokenizer"}"#), ..lone_vocab(b"a") };
    for (files, kind, status, message) in [
        (
            Files::default(),
            Kind::Bert,
            Status::Missing,
            "no tokenizer: neither tokenizer.json nor vocab.txt is in the folder",
        ),
        (
            lone_vocab(b"C\nN\n"),
            Kind::Bert,
            Status::InvalidFile,
            "vocab.txt: no token \"[UNK]\", \"[CLS]\", \"[SEP]\": not a WordPiece vocabulary",
        ),
        (lone_vocab(b"a\nb\xff"), Kind::Bert, Status::InvalidFile, "vocab.txt: byte 3 is not UTF-8"),
        (
            lone_vocab(b"[UNK]\n[CLS]\n[SEP]"),
            Kind::Albert,
            Status::Unsupported,
            "vocab.txt: an ALBERT tokenizer needs tokenizer.json; token ids are still accepted as input",
        ),
        (
            class,
            Kind::Bert,
            Status::Unsupported,
            "vocab.txt: the class in tokenizer_config.json needs tokenizer.json; token ids are still accepted as input",
        ),
        (lone_json(b"{}"), Kind::Bert, Status::InvalidFile, "tokenizer.json: no model"),
        (lone_json(b"[]"), Kind::Bert, Status::InvalidFile, "tokenizer.json: [], expected an object"),
        (
            lone_json(br#"{"model": {"type": "Mecab"}}"#),
            Kind::Bert,
            Status::Unsupported,
            "tokenizer.json: model \"Mecab\" is not supported",
        ),
        (
            lone_json(br#"{"version": "2.0"}"#),
            Kind::Bert,
            Status::Unsupported,
            "tokenizer.json: version \"2.0\", expected \"1.0\"",
        ),
        (
            lone_json(br###"{"model": {"unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9, "vocab": {"a": 0}}}"###),
            Kind::Bert,
            Status::InvalidFile,
            "tokenizer.json: no token \"?\", which unknown words become",
        ),
        (
            lone_json(br#"{"model": {"type": "WordPiece", "vocab": {"a": -1}}}"#),
            Kind::Bert,
            Status::InvalidFile,
            "tokenizer.json: model: no max_input_chars_per_word",
        ),
    ] {
        let error = Tokenizer::new(&files, kind).err().unwrap();
        assert_eq!((error.status(), error.message()), (status, message));
    }
    let nested = json(true, r#","normalizer":{"type":"Sequence","normalizers":[{"type":"Sudachi"}]}"#);
    let error = from_json(&nested, "{}").err().unwrap();
    assert_eq!(error.message(), "tokenizer.json: normalizer \"Sudachi\" is not supported");
    let broken = json(true, r#","pre_tokenizer":{"type":"Split"}"#);
    let error = from_json(&broken, "{}").err().unwrap();
    assert_eq!(error.status(), Status::InvalidFile);
    assert!(error.message().starts_with("tokenizer.json: pre_tokenizer: "), "{error}");
    let lying = json(true, r#","post_processor":{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",77]}"#);
    let error = from_json(&lying, "{}").err().unwrap();
    assert_eq!(error.message(), "tokenizer.json: post_processor: id 77, the vocabulary has 29");
    let huge = json(true, "").replace(r###""##e":27"###, r###""##e":4294967295"###);
    let error = from_json(&huge, "{}").err().unwrap();
    assert_eq!(error.message(), "vocabulary: id 4294967295, expected at most 16777215");
}

#[test]
fn an_albert_that_names_bert_s_class_reads_vocab_txt() {
    let files = Files {
        vocab_txt: Some(WORDS.as_bytes()),
        tokenizer_config: Some(br#"{"tokenizer_class": "BertTokenizer"}"#),
        ..Files::default()
    };
    assert_eq!(ids(&Tokenizer::new(&files, Kind::Albert).unwrap(), "cat"), [2, 6, 3]);
}

#[test]
fn a_tokenizer_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
}

/// Characters that normalization removes, splits, joins or reorders, beside any others.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_map(String::from),
        4 => prop::sample::select(WORDS.lines().collect::<Vec<_>>()).prop_map(String::from),
        4 => prop::sample::select(vec![
            " ", "\0", "\u{fffd}", "\u{301}", "e\u{301}", "\u{323}\u{307}", "ﬁ", "İ", "ß", "한", "漢字", "😀", "👩‍👩‍👧", "שלום",
            "\u{200f}", "\u{feff}", "\u{2028}", "Ǆ", "ΑΣ", "\u{1d15e}", "\r\n", "[MASK]", "[SEP]", "[", "\u{3000}", "aab",
        ]).prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let unigram = Files { tokenizer_json: Some(UNIGRAM.as_bytes()), ..Files::default() };
    vec![
        vocab("{}"),
        vocab(r#"{"do_lower_case": false}"#),
        vocab(r#"{"do_lower_case": false, "strip_accents": true}"#),
        Tokenizer::new(&unigram, Kind::Albert).unwrap(),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn spans_lie_in_their_text_in_order_and_between_characters(a in text(), b in text(), parse_special: bool, max in 3usize..40) {
        for tokenizer in TOKENIZERS.iter() {
            let options = Encode { parse_special, max_tokens: max, ..Encode::default() };
            let encoding = tokenizer.encode(&a, Some(&b), &options).unwrap();
            prop_assert!(encoding.len() <= max);
            let mut last = [(0, 0, 0); 2];
            for i in 0..encoding.len() {
                let Span { start, end } = encoding.offsets[i];
                prop_assert_eq!(encoding.special[i], encoding.sequence[i].is_none());
                prop_assert!((encoding.ids[i] as usize) < tokenizer.size());
                let Some(sequence) = encoding.sequence[i] else {
                    prop_assert_eq!((start, end, encoding.words[i]), (0, 0, None));
                    continue;
                };
                let text = if sequence == 0 { &a } else { &b };
                prop_assert!(text.get(start..end).is_some(), "{}..{} of {:?}", start, end, text);
                let place = (encoding.words[i].unwrap(), start, end);
                let before = std::mem::replace(&mut last[usize::from(sequence)], place);
                prop_assert!(before.0 <= place.0 && before.1 <= start && before.2 <= end, "{:?} {:?} in {:?}", before, place, text);
                if !parse_special {
                    let id = encoding.ids[i];
                    prop_assert!(!tokenizer.is_special(id) || Some(id) == tokenizer.special().unk);
                }
            }
        }
    }
}
