//! The model that comes with the source tree: it opens, and knows what its card claims of it. Lower bounds, with room for
//! another instruction set; `tests/shipped/measure.py` measures in full.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::fs;
use std::path::{Path, PathBuf};

use cloze::engine::{FillOptions, Input, Lines, Model, Objective, OpenOptions, Run, ScoreOptions, TrainOptions};
use cloze::engine::{Task, TextOptions};
use oracle::shared;
use serde_json::Value;

/// One of so many novels in sorted order is held out of training.
const HELD_OUT: usize = 25;
/// Held-out examples that are judged. Of 400, an accuracy has a standard error of 2 points.
const EXAMPLES: usize = 400;
/// Pairs of each BLiMP file that are judged, unless kernels are built for tests: those are slow.
const PAIRS: usize = if cfg!(debug_assertions) { 15 } else { 25 };
/// Bytes that the folder may have in the repository.
const LARGEST: u64 = 15_000_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model")
}

fn model() -> Model {
    Model::open(&folder(), &OpenOptions::default()).unwrap()
}

#[test]
fn the_folder_is_whole_and_small() {
    let (folder, model) = (folder(), model());
    let info = model.info();
    assert!(info.missing.is_empty(), "{:?}", info.missing);
    assert!(info.dtype == "f16" || info.dtype == "bf16", "{}", info.dtype);
    assert_eq!((info.hidden, info.layers, info.max_tokens), (256, 4, 128));
    for task in [Task::Fill, Task::Score, Task::NextSentence, Task::Embed] {
        assert!(info.tasks.contains(&task), "{task:?}");
    }
    let sizes = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= LARGEST);
    let card = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    assert!(card.starts_with("---\n"), "model/README.md: no model card");
    assert!(!card.contains("FILL"), "model/README.md: not filled in");
}

/// What is common in the prose that it has read, and cannot be told from the commonest words alone.
#[test]
fn blanks_are_filled_with_sense() {
    let model = model();
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("She opened the [MASK] and looked out.", &["window", "door"][..]),
        ("He knocked at the [MASK].", &["door", "window", "gate"]),
        ("He shook his [MASK] and said nothing.", &["head"]),
        ("She burst into [MASK].", &["tears"]),
        ("The [MASK] was shining in the sky.", &["sun", "moon"]),
        ("She wrote a [MASK] to her mother.", &["letter"]),
        ("He sat down on a [MASK].", &["chair", "bench", "sofa"]),
        ("He went up the [MASK] to his room.", &["stairs"]),
        ("The old [MASK] and his wife lived alone.", &["man", "gentleman"]),
        ("They have been married for twenty [MASK].", &["years"]),
        ("\"I do not [MASK] what you mean,\" she said.", &["know", "understand", "see"]),
        ("She [MASK] not know what to say.", &["did", "could", "does"]),
        ("He was one of [MASK] best men in the world.", &["the", "my", "our"]),
        ("They [MASK] going to London.", &["were", "are"]),
    ] {
        let encoded = model.encode(&[Input::Text(text)], Task::Fill, &TextOptions::default()).unwrap();
        let mask = model.fill(&encoded, &FillOptions::default(), Run::default()).unwrap().remove(0).remove(0);
        let found: Vec<&str> = mask.candidates.iter().map(|word| model.token(word.id).unwrap()).collect();
        eprintln!("{text}  {}", found.join(" "));
        if !expected.iter().any(|word| found.contains(word)) {
            wrong.push(format!("{text}  {found:?}, expected one of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn held_out_novels_are_read() {
    let Some(novels) = shared("data/novels") else { return };
    let model = model();
    let mut files: Vec<PathBuf> = fs::read_dir(novels).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let place = tempfile::tempdir().unwrap();
    for file in files.iter().step_by(HELD_OUT) {
        // the first examples are those that are judged: of each novel as much as they need and more
        let text = fs::read_to_string(file).unwrap();
        let mut end = text.len().min(200_000);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // without blank lines a novel is a document: what does not follow is from another one, as in training
        let lines: Vec<&str> = text[..end].lines().filter(|line| !line.is_empty()).collect();
        fs::write(place.path().join(file.file_name().unwrap()), lines.join("\n")).unwrap();
    }
    let corpus = model.corpus(place.path(), Lines::Paragraphs, 0).unwrap();
    let options = TrainOptions { dev_examples: EXAMPLES, ..TrainOptions::default() };
    let metrics = model.evaluate_corpus(Objective::Pretraining, &corpus, &options, Run::default()).unwrap().metrics;
    for (name, value) in metrics.iter() {
        eprintln!("{name} {value:.4}");
    }
    assert!(metrics.get("nsp_accuracy").unwrap() > 0.75);
}

/// Chance is 0.5; of 850 pairs, 0.55 is three standard errors above it, of 510 two.
#[test]
fn acceptable_sentences_are_likelier() {
    let Some(pairs) = shared("data/blimp") else { return };
    let model = model();
    let mut files: Vec<PathBuf> = fs::read_dir(pairs).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    let (mut right, mut all) = (0, 0);
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let pairs: Vec<Value> = text.lines().take(PAIRS).map(|line| serde_json::from_str(line).unwrap()).collect();
        let sentences = pairs.iter().flat_map(|pair| [&pair["sentence_good"], &pair["sentence_bad"]]);
        let inputs: Vec<Input<'_>> = sentences.map(|sentence| Input::Text(sentence.as_str().unwrap())).collect();
        let encoded = model.encode(&inputs, Task::Score, &TextOptions::default()).unwrap();
        let scores = model.score(&encoded, &ScoreOptions::default(), Run::default()).unwrap();
        right += scores.chunks(2).filter(|pair| pair[0].total > pair[1].total).count();
        all += pairs.len();
    }
    let accuracy = right as f64 / all as f64;
    eprintln!("BLiMP, first {PAIRS} pairs of each file: {right} of {all}, {accuracy:.3}");
    assert!(accuracy >= 0.55, "{accuracy}");
}
