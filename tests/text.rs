//! Token ids, segments, words and places against HuggingFace's fast tokenizers, over real vocabularies and real text.
//!
//! The expected hashes are in `golden_text/lines.tsv`; `golden_text/make.py` says how they come about.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod oracle;

use cloze::error::Status;
use cloze::text::{Encode, Encoding, Files, Kind, OffsetUnit, Span, Tokenizer, convert_offsets};
use oracle::shared;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const GOLDEN: &str = include_str!("golden_text/lines.tsv");
const TOKENIZERS: [(&str, bool); 4] = [
    ("bert-base-uncased", true),
    ("bert-base-cased", false),
    ("bert-base-chinese", false),
    ("bert-base-multilingual-cased", false),
];
const BLOCK: usize = 50;
const LINES: usize = 1000;
const PAIR_MAX: usize = 32;

fn from_json(folder: &Path) -> Tokenizer {
    let json = fs::read(folder.join("tokenizer.json")).unwrap();
    Tokenizer::new(&Files { tokenizer_json: Some(&json), ..Files::default() }, Kind::Bert).unwrap()
}

fn from_vocab(folder: &Path, lower: bool) -> Tokenizer {
    let vocab = fs::read(folder.join("vocab.txt")).unwrap();
    let config = format!(r#"{{"do_lower_case": {lower}}}"#);
    let files = Files { vocab_txt: Some(&vocab), tokenizer_config: Some(config.as_bytes()), ..Files::default() };
    Tokenizer::new(&files, Kind::Bert).unwrap()
}

#[test]
fn ids_of_the_reference_texts() {
    let Some(folder) = shared("tokenizers") else { return };
    let mut compared = 0;
    for entry in fs::read_dir(folder.join("reftests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let reference: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let model = reference["model_name"].as_str().unwrap();
        if !folder.join(model).exists() {
            continue; // gpt2 is no concern of cloze
        }
        let input = Path::new(reference["input_file"].as_str().unwrap()).file_name().unwrap();
        let text = fs::read_to_string(folder.join("reftests").join(input)).unwrap();
        let expected: Vec<u32> =
            reference["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let encoding = from_json(&folder.join(model)).encode(&text, None, &Encode::default()).unwrap();
        assert_eq!(encoding.ids, expected, "{}", path.display());
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn lines_of_the_data_sets() {
    let (Some(tokenizers), Some(data)) = (shared("tokenizers"), shared("data")) else { return };
    let mut golden = BTreeMap::new();
    for row in GOLDEN.lines() {
        let mut columns = row.split('\t');
        let mut next = || columns.next().unwrap();
        let key = (next(), next(), next());
        let blocks: Vec<u64> = columns.map(|hash| u64::from_str_radix(hash, 16).unwrap()).collect();
        assert_eq!(blocks.len(), LINES / BLOCK, "{key:?}");
        golden.insert(key, blocks);
    }
    let sets: std::collections::BTreeSet<&str> = golden.keys().map(|key| key.0).collect();
    assert_eq!(sets.len(), 8);

    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, lower) in TOKENIZERS {
        let json = from_json(&tokenizers.join(name));
        let vocab = from_vocab(&tokenizers.join(name), lower);
        let whole = Encode::default();
        let cut = Encode { max_tokens: PAIR_MAX, ..whole };
        for &set in &sets {
            let lines = lines(&data.join(set));
            assert_eq!(lines.len(), LINES, "{set}");
            for (block, texts) in lines.chunks(BLOCK).enumerate() {
                let mut states = [("json", FNV), ("vocab", FNV), ("pair", FNV)];
                for (index, text) in texts.iter().enumerate() {
                    let follower = &lines[(block * BLOCK + index + 1) % lines.len()];
                    let first = json.encode(text, None, &whole).unwrap();
                    let second = vocab.encode(text, None, &whole).unwrap();
                    let pair = json.encode(text, Some(follower), &cut).unwrap();
                    assert_eq!(first, second, "{name}: tokenizer.json and vocab.txt differ on {text:?}");
                    for ((_, state), encoding) in states.iter_mut().zip([first, second, pair]) {
                        hash(&encoding, text, follower, state);
                    }
                }
                for (source, state) in states {
                    seen += 1;
                    if golden[&(set, name, source)][block] != state {
                        let first = texts[0].chars().take(60).collect::<String>();
                        wrong.push(format!("{set} {name} {source}: a line of block {block}, which begins {first:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} blocks differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(seen, golden.len() * LINES / BLOCK);
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a 64 over count, ids, types, code-point spans and words, as `make.py` does.
fn hash(encoding: &Encoding, text: &str, pair: &str, state: &mut u64) {
    let mut take = |number: usize| {
        for byte in (number as u32).to_le_bytes() {
            *state = (*state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    let spans = |of: u8| {
        let own = |(span, sequence): (&Span, &Option<u8>)| if *sequence == Some(of) { *span } else { Span::default() };
        encoding.offsets.iter().zip(&encoding.sequence).map(own).collect::<Vec<_>>()
    };
    let of_text = convert_offsets(text, &spans(0), OffsetUnit::CodePoints);
    let of_pair = convert_offsets(pair, &spans(1), OffsetUnit::CodePoints);
    take(encoding.len());
    for i in 0..encoding.len() {
        let span = if encoding.sequence[i] == Some(1) { of_pair[i] } else { of_text[i] };
        let word = encoding.words[i].unwrap_or(u32::MAX) as usize;
        for number in [encoding.ids[i] as usize, encoding.types[i] as usize, span.start, span.end, word] {
            take(number);
        }
    }
}

/// The first [`LINES`] lines that are not blank, of the text files in the order of their names.
fn lines(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        file.extension().is_some_and(|e| ["txt", "tsv", "csv", "jsonl", "conll"].iter().any(|kind| e == *kind))
    });
    files.sort();
    let mut kept = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let blank: &[char] = &[' ', '\t', '\r', '\x0b', '\x0c'];
        kept.extend(text.split('\n').map(|line| line.trim_matches(blank)).filter(|l| !l.is_empty()).map(String::from));
        if kept.len() >= LINES {
            kept.truncate(LINES);
            break;
        }
    }
    kept
}

#[test]
fn a_sentence_transformers_folder() {
    let Some(folder) = shared("models/minilm") else { return };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let (json, config, vocab) = (read("tokenizer.json"), read("tokenizer_config.json"), read("vocab.txt"));
    let (map, sentence) = (read("special_tokens_map.json"), read("sentence_bert_config.json"));
    let files = Files {
        tokenizer_json: Some(&json),
        tokenizer_config: Some(&config),
        vocab_txt: Some(&vocab),
        special_tokens_map: Some(&map),
        added_tokens: None,
        sentence_bert_config: Some(&sentence),
    };
    let tokenizer = Tokenizer::new(&files, Kind::Bert).unwrap();
    assert_eq!(tokenizer.model_max_length(), Some(256));
    assert_eq!(tokenizer.size(), 30522);
    let special = tokenizer.special();
    let found = [special.cls, special.sep, special.mask, special.pad, special.unk];
    assert_eq!(found, [101, 102, 103, 0, 100].map(Some));
    let encoding = tokenizer.encode("Hello I'm a [MASK] model.", None, &Encode::default()).unwrap();
    assert_eq!(encoding.ids, [101, 7592, 1045, 1005, 1049, 1037, 103, 2944, 1012, 102]);
    assert_eq!(tokenizer.decode(&encoding.ids, false).unwrap(), "[CLS] hello i ' m a [MASK] model. [SEP]");
    let only_vocab = Files { tokenizer_json: None, ..files };
    let same = Tokenizer::new(&only_vocab, Kind::Bert).unwrap();
    assert_eq!(same.encode("Hello I'm a [MASK] model.", None, &Encode::default()).unwrap(), encoding);
}

#[test]
fn an_albert_folder_without_tokenizer_json_is_refused_with_advice() {
    let Some(folder) = shared("models/rxnmapper-albert") else { return };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let (vocab, config, map) = (read("vocab.txt"), read("tokenizer_config.json"), read("special_tokens_map.json"));
    let files = Files {
        vocab_txt: Some(&vocab),
        tokenizer_config: Some(&config),
        special_tokens_map: Some(&map),
        ..Files::default()
    };
    let error = Tokenizer::new(&files, Kind::Albert).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
    let message = "vocab.txt: an ALBERT tokenizer needs tokenizer.json; token ids are still accepted as input";
    assert_eq!(error.message(), message);
}

/// Ten times the text may take ten times as long, or somewhat more: a quadratic step would take a hundred times.
#[test]
fn long_texts_take_time_in_proportion() {
    let Some(folder) = shared("tokenizers/bert-base-uncased") else { return };
    let tokenizer = from_json(&folder);
    let plain = Encode { parse_special: false, max_tokens: 3, ..Encode::default() };
    tokenizer.encode("", None, &plain).unwrap(); // makes what the plain reading needs
    let time = |text: &str, options: &Encode| {
        (0..3).map(|_| timed(|| tokenizer.encode(text, Some(text), options).unwrap())).min().unwrap()
    };
    for sample in ["The quick brown fox. ", "a", "[MASK]", "漢字", "é\u{301}\u{323}", " ", "!", "😀", "\0"] {
        let count = 5_000 / sample.chars().count();
        let (short, long) = (sample.repeat(count), sample.repeat(count * 10));
        for options in [Encode::default(), plain] {
            let (a, b) = (time(&short, &options), time(&long, &options));
            assert!(b < 50 * a + Duration::from_millis(100), "{sample:?} {options:?}: {a:?}, ten times that {b:?}");
        }
    }
}

#[test]
fn a_text_of_a_million_characters() {
    let Some(folder) = shared("tokenizers/bert-base-uncased") else { return };
    let tokenizer = from_json(&folder);
    let text = "word ".repeat(200_000);
    let encoding = tokenizer.encode(&text, None, &Encode::default()).unwrap();
    assert_eq!(encoding.len(), 200_002);
    assert_eq!(encoding.offsets[200_000], Span { start: 999_995, end: 999_999 });
}

/// Prints how long each way of opening takes. Run with `--release --nocapture` for figures worth quoting.
#[test]
fn opening_is_quick() {
    for (name, lower) in TOKENIZERS {
        let Some(folder) = shared(&format!("tokenizers/{name}")) else { return };
        let json = (0..5).map(|_| timed(|| from_json(&folder))).min().unwrap();
        let vocab = (0..5).map(|_| timed(|| from_vocab(&folder, lower))).min().unwrap();
        let size = from_json(&folder).size();
        println!("{name} ({size} tokens): tokenizer.json {json:?}, vocab.txt {vocab:?}");
        assert!(json.max(vocab) < Duration::from_secs(3), "{name}: {json:?} and {vocab:?}");
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}
