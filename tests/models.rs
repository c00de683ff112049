//! Real models beside the checkout against sentence-transformers and transformers. `tests/golden_models/make.py` made
//! the embeddings; the reactions' answers lie with their model.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::path::Path;

use cloze::engine::{EmbedOptions, FillOptions, Input, Model, OpenOptions, Run, Task, TextOptions};
use oracle::{Expected, largest_difference, shared};
use serde_json::Value;

/// Embeddings have unit length, so elements of order 0.05; what f32 kernels that sum in another order differ by is a
/// few 1e-7.
const EMBEDDING: f32 = 1e-5;
/// Logits of order 10 after 12 layers; the file has five decimals.
const LOG_PROBABILITY: f64 = 1e-4;

fn open(path: &str) -> Option<Model> {
    Some(Model::open(&shared(path)?, &OpenOptions::default()).unwrap())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn minilm_embeds_as_sentence_transformers() {
    let Some(model) = open("models/minilm") else { return };
    let expected = Expected::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_models/minilm"));
    let texts: Vec<&str> = expected.json()["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let inputs: Vec<_> = texts.iter().map(|t| Input::Text(t)).collect();
    let encoded = model.encode(&inputs, Task::Embed, &TextOptions::default()).unwrap();
    for (item, tokens) in encoded.items().iter().zip(expected.json()["tokens"].as_array().unwrap()) {
        assert_eq!(item.tokens.ids.len() as u64, tokens.as_u64().unwrap());
    }
    let embeddings = model.embed(&encoded, &EmbedOptions::default(), Run::default()).unwrap();
    let wanted = expected.floats("embeddings").unwrap();
    let mut worst = 0.0f32;
    for ((text, embedding), wanted) in texts.iter().zip(&embeddings).zip(wanted.chunks(model.info().embedding)) {
        let off = largest_difference(embedding, wanted);
        assert!(off <= EMBEDDING, "{text:?}: off by {off:e}");
        worst = worst.max(off);
    }
    assert_eq!(wanted.len(), texts.len() * model.info().embedding);
    eprintln!("all-MiniLM-L6-v2: difference at most {worst:e}");

    // A text alone gives the bits that it gives in a batch. Short ones: kernels built for tests are slow.
    for (text, embedding) in texts.iter().zip(&embeddings).filter(|(text, _)| text.len() < 100) {
        let alone = model.encode(&[Input::Text(text)], Task::Embed, &TextOptions::default()).unwrap();
        assert_eq!(&model.embed(&alone, &EmbedOptions::default(), Run::default()).unwrap()[0], embedding, "{text:?}");
    }

    let of = |text| &embeddings[texts.iter().position(|t| *t == text).unwrap()];
    let similar = cosine(of("Hello world"), of("How are you"));
    // Half a unit of the fourth decimal.
    assert!((similar - 0.3624).abs() < 5e-5, "{similar}");
}

#[test]
fn minilm_says_what_it_is() {
    let Some(model) = open("models/minilm") else { return };
    let info = model.info();
    assert_eq!((info.architecture, info.layers, info.hidden, info.heads), ("bert", 6, 384, 12));
    assert_eq!((info.vocabulary, info.words, info.max_tokens, info.embedding), (30522, 30522, 256, 384));
    assert_eq!((info.dtype.as_str(), &info.heads_present, &info.missing), ("f32", &vec!["pooler"], &vec![]));
    assert_eq!(info.tasks, [Task::Embed, Task::HiddenStates]);
    let report = model.report();
    assert_eq!((report.unused, report.ignored), (vec![], vec!["embeddings.position_ids".to_owned()]));
}

fn integers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

#[test]
fn rxnmapper_restores_reactions_as_transformers() {
    let Some(model) = open("models/rxnmapper-albert") else { return };
    let answers = std::fs::read_to_string(shared("models/rxnmapper-albert/expected.jsonl").unwrap()).unwrap();
    let reactions: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reactions.len(), 60);
    let ids: Vec<Vec<u32>> = reactions.iter().map(|r| integers(&r["ids"])).collect();
    let inputs: Vec<_> = ids.iter().map(|ids| Input::Tokens { ids, types: &[] }).collect();
    let encoded = model.encode(&inputs, Task::Fill, &TextOptions::default()).unwrap();
    let options = FillOptions { top_k: 3, targets: &[], mask: Some(14) };
    let filled = model.fill(&encoded, &options, Run::default()).unwrap();

    let (mut masked, mut restored, mut worst) = (0, 0, 0.0f64);
    for (reaction, masks) in reactions.iter().zip(&filled) {
        let positions: Vec<u32> = masks.iter().map(|m| m.position as u32).collect();
        assert_eq!(positions, integers(&reaction["masked"]));
        for (index, (mask, truth)) in masks.iter().zip(integers(&reaction["truth"])).enumerate() {
            let found: Vec<u32> = mask.candidates.iter().map(|c| c.id).collect();
            assert_eq!(found, integers(&reaction["top3_ids"][index]), "position {}", mask.position);
            let wanted = reaction["top3_log_probability"][index].as_array().unwrap();
            for (candidate, wanted) in mask.candidates.iter().zip(wanted) {
                let off = (f64::from(candidate.probability).ln() - wanted.as_f64().unwrap()).abs();
                assert!(off <= LOG_PROBABILITY, "position {}: off by {off:e}", mask.position);
                worst = worst.max(off);
            }
            masked += 1;
            restored += usize::from(found[0] == truth);
        }
    }
    assert_eq!((restored, masked), (419, 425));
    eprintln!("RXNMapper: log-probabilities differ by at most {worst:e}");
}
