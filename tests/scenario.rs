//! One scenario over the Rust API and over the C ABI of the built library, both compared with what HuggingFace answers.
//!
//! What only C can do wrong (null pointers, text that is not UTF-8, sizes that lie) is at the end.

#![allow(clippy::unwrap_used)] // a test may panic

mod built;
mod lessons;
mod oracle;
mod ways;

use std::path::Path;

use built::path;
use cloze::engine::{Aggregation, Input, Method, OffsetUnit, Pooling};
use oracle::Expected;
use serde_json::Value;
use ways::training::Learning;
use ways::{Answer, Drawing, Library, Watch};

/// Probabilities, embeddings and logarithms of small random models, against float32 sums in another order.
const TOLERANCE: f64 = 2e-5;

#[test]
fn the_rust_api() {
    scenario(&ways::rust::Rust);
}

#[test]
fn the_c_abi() {
    scenario(&&ways::c::C::load(&built::shared_library()));
}

fn scenario<L>(library: &L)
where
    L: Learning + Sync,
    L::Model: Sync,
{
    pretraining(library);
    causal(library);
    sequence(library);
    token(library);
    sentence(library);
    what_cannot_be_opened(library);
    from_any_path(library);
    from_memory(library);
    lessons::training(library);
}

#[track_caller]
fn close(value: impl Into<f64>, expected: f64) {
    let value = value.into();
    assert!((value - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{value}, expected {expected}");
}

#[track_caller]
fn fails<T: std::fmt::Debug>(answer: Answer<T>, status: i32, message: &str) {
    let (found, text) = answer.expect_err("a failure");
    assert_eq!(found, status, "{text}");
    assert!(text.contains(message), "{text:?}, expected {message:?} in it");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    array(value).iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn open<L: Library>(library: &L, name: &str) -> (L::Model, Value) {
    let folder = path("tests/golden").join(name);
    let expected = Expected::read(&folder).json().clone();
    (library.open(&folder).unwrap(), expected)
}

fn pretraining<L: Library>(library: &L) {
    let (model, expected) = open(library, "pretraining");
    let shape = library.info(&model).unwrap();
    assert_eq!((shape.layers, shape.vocabulary, shape.labels, shape.tasks), (3, 120, 0, 5));
    assert!(shape.reads_text && shape.parameters > 0 && shape.embedding == shape.hidden);
    let report: Value = serde_json::from_str(&library.report(&model).unwrap()).unwrap();
    assert_eq!((report["architecture"].as_str(), report["layers"].as_u64()), (Some("bert"), Some(3)));
    assert!(!library.report(&model).unwrap().contains('\n') && !array(&report["used"]).is_empty());

    // Tokens: known ids, one word for pieces, places in each unit.
    for case in array(&expected["pll"]["sentences"]) {
        let tokens = library.tokenize(&model, &[Input::Text(text(&case["text"]))], OffsetUnit::Bytes).unwrap();
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), ids(&case["ids"]));
        let words: Vec<Option<u32>> = array(&case["word_ids"]).iter().map(|w| w.as_u64().map(|w| w as u32)).collect();
        assert_eq!(tokens.iter().map(|token| token.word).collect::<Vec<_>>(), words);
        for (token, expected) in tokens.iter().zip(array(&case["tokens"])) {
            assert_eq!(library.token_text(&model, token.id).unwrap(), text(expected));
            assert_eq!(library.token_id(&model, text(expected)), Ok(token.id));
        }
    }
    let pair = [Input::Pair("😀 the", "é cat")];
    for (unit, first, second) in [
        (OffsetUnit::Bytes, (0, 5, 8), (1, 3, 6)),
        (OffsetUnit::CodePoints, (0, 2, 5), (1, 2, 5)),
        (OffsetUnit::Utf16, (0, 3, 6), (1, 2, 5)),
    ] {
        let tokens = library.tokenize(&model, &pair, unit).unwrap();
        assert_eq!((tokens[2].place, tokens[5].place, tokens[0].place), (Some(first), Some(second), None));
        assert_eq!((tokens[2].segment, tokens[5].segment), (0, 1));
    }
    assert_eq!(library.decode(&model, &[2, 40, 58, 3]).unwrap(), "the cat");
    assert_eq!(library.decode(&model, &[]).unwrap(), "");
    fails(library.decode(&model, &[120]), 3, "120");
    fails(library.token_text(&model, 120), 3, "");
    fails(library.token_id(&model, "no such token"), 7, "");
    fails(library.label(&model, 0), 7, "");

    // Fill.
    for case in array(&expected["fill_mask"]).iter().filter(|case| case["targets"].is_null()) {
        let top_k = case["top_k"].as_u64().unwrap() as u32;
        let words = library.fill(&model, &[Input::Text(text(&case["text"]))], top_k, &[]).unwrap();
        let best: Vec<&Value> = array(&case["masks"]).iter().flat_map(array).collect();
        assert_eq!(words.len(), best.len());
        for (word, best) in words.iter().zip(best) {
            assert_eq!(u64::from(word.id), best["token"].as_u64().unwrap());
            close(word.probability, number(&best["score"]));
        }
    }
    let mask = [Input::Text("the cat [MASK] the bird.")];
    let all = library.fill(&model, &mask, 120, &[]).unwrap();
    let some = library.fill(&model, &mask, 0, &[58, 46]).unwrap();
    assert_eq!((all.len(), some.len(), some[0].id, some[1].id), (120, 2, 46, 58));
    assert_eq!(some[0], all[0]);
    fails(library.fill(&model, &[Input::Text("no mask")], 5, &[]), 3, "input 0: no mask");
    fails(library.fill(&model, &mask, 5, &[120]), 3, "120");

    // Score.
    let sentences = array(&expected["pll"]["sentences"]);
    let inputs: Vec<Input<'_>> = sentences.iter().map(|case| Input::Text(text(&case["text"]))).collect();
    for (method, name) in [(Method::PseudoLogLikelihood, "pll"), (Method::WordLeftToRight, "pll-word-l2r")] {
        let scores = library.score(&model, &inputs, method).unwrap();
        let tokens = library.score_tokens(&model, &inputs, method).unwrap();
        for (input, case) in sentences.iter().enumerate() {
            close(scores[input].0, number(&case[name]["sum"]));
            let own: Vec<_> = tokens.iter().filter(|token| token.input == input).collect();
            assert_eq!(own.len() as u64, scores[input].1);
            assert!(own.first().is_none_or(|first| first.position == 1));
            for (token, expected) in own.iter().zip(array(&case[name]["per_token"])) {
                close(token.probability, number(expected));
            }
        }
        close(library.perplexity(&scores), number(&expected["pll"]["corpus"][name]["pseudo_perplexity"]));
    }
    close(library.perplexity(&[]), 1.0);

    // Next sentence, from text and from ids.
    for case in array(&expected["nsp"]) {
        let (ids, types) = (ids(&case["ids"]), ids(&case["types"]));
        let inputs =
            [Input::Pair(text(&case["text"]), text(&case["pair"])), Input::Tokens { ids: &ids, types: &types }];
        for value in library.next_sentence(&model, &inputs).unwrap() {
            close(value, number(&case["is_next"]));
        }
    }

    // Hidden states, in the order asked for.
    let golden = Expected::read(&path("tests/golden/pretraining"));
    let (sequence, types) = (golden.integers("ids.3").unwrap(), golden.integers("types.3").unwrap());
    let input = [Input::Tokens { ids: &sequence, types: &types }];
    let states = library.hidden_states(&model, &input, &[3, 0]).unwrap();
    let expected = [golden.floats("hidden.3.3").unwrap(), golden.floats("hidden.3.0").unwrap()].concat();
    assert_eq!(states.len(), expected.len());
    states.iter().zip(&expected).for_each(|(&value, &expected)| close(value, f64::from(expected)));
    assert_eq!(library.hidden_states(&model, &input, &[]), Ok(Vec::new()));
    fails(library.hidden_states(&model, &input, &[0, 4]), 1, "4");

    // Heads that are not there, ids that are not there, too long a text.
    fails(library.classify(&model, &inputs), 7, "classifier");
    fails(library.tag(&model, &inputs, Aggregation::Simple, OffsetUnit::Bytes), 7, "classifier");
    fails(
        library.score(&model, &[Input::Tokens { ids: &[2, 120], types: &[] }], Method::PseudoLogLikelihood),
        3,
        "120",
    );
    fails(library.next_sentence(&model, &[Input::Tokens { ids: &[2, 3], types: &[0, 2] }]), 3, "2");
    let long = "the ".repeat(50);
    fails(library.score(&model, &[Input::Text("the"), Input::Text(&long)], Method::PseudoLogLikelihood), 3, "input 1");
}

fn causal<L: Library>(library: &L) {
    let (model, expected) = open(library, "causal");
    let report: Value = serde_json::from_str(&library.report(&model).unwrap()).unwrap();
    assert_eq!(report["direction"].as_str(), Some("causal"));
    let sentences = array(&expected["causal"]["sentences"]);
    let inputs: Vec<Input<'_>> = sentences.iter().map(|case| Input::Text(text(&case["text"]))).collect();
    let scores = library.score(&model, &inputs, Method::Causal).unwrap();
    let tokens = library.score_tokens(&model, &inputs, Method::Causal).unwrap();
    for (input, case) in sentences.iter().enumerate() {
        close(scores[input].0, number(&case["sum"]));
        let own: Vec<_> = tokens.iter().filter(|token| token.input == input).collect();
        assert_eq!((own.len(), scores[input].1 as usize), (ids(&case["ids"]).len() - 1, own.len()));
        for (token, expected) in own.iter().zip(array(&case["per_token"])) {
            close(token.probability, number(expected));
        }
    }
    close(library.perplexity(&scores), number(&expected["causal"]["corpus"]["perplexity"]));
    for case in array(&expected["greedy"]) {
        let options = Drawing { max_tokens: case["max_tokens"].as_u64().unwrap_or(0) as usize, ..Drawing::default() };
        let new = library.generate(&model, &[Input::Text(text(&case["text"]))], &options, usize::MAX).unwrap();
        assert_eq!(new.iter().map(|token| token.id).collect::<Vec<_>>(), ids(&case["new"]));
        for (token, expected) in new.iter().zip(array(&case["per_token"])) {
            close(token.log_probability, number(expected));
        }
    }
    let drawn = Drawing { max_tokens: 6, count: 2, temperature: 1.3, top_k: 30, top_p: 0.95, seed: 1 << 40 | 9 };
    let prompts = [Input::Tokens { ids: &[2, 40, 58], types: &[] }, Input::Text("Anna walks to the")];
    let new = library.generate(&model, &prompts, &drawn, usize::MAX).unwrap();
    assert_eq!(new, library.generate(&model, &prompts, &drawn, usize::MAX).unwrap());
    assert!(new.is_sorted_by_key(|token| (token.input, token.continuation)) && new.len() > 8);
    assert_eq!(library.generate(&model, &prompts[..1], &Drawing { count: 1, ..drawn }, 2).unwrap(), new[..2]);
    fails(
        library.generate(
            &model,
            &prompts,
            &Drawing { temperature: 0.0, ..Drawing { count: 2, ..Drawing::default() } },
            1,
        ),
        1,
        "2 continuations",
    );
    fails(library.score(&model, &inputs, Method::PseudoLogLikelihood), 6, "this model is causal");
    fails(library.fill(&model, &[Input::Text("the [MASK]")], 5, &[]), 6, "this model is causal");
    let (other, _) = open(library, "pretraining");
    fails(library.score(&other, &inputs, Method::Causal), 6, "this model is bidirectional");
    fails(library.generate(&other, &inputs, &Drawing::default(), 1), 6, "this model is bidirectional");
}

fn sequence<L: Library>(library: &L) {
    let (model, expected) = open(library, "sequence");
    let labels: Vec<String> = (0..3).map(|label| library.label(&model, label).unwrap()).collect();
    assert!(library.label(&model, 3).is_err());
    for case in array(&expected["text_classification"]) {
        let input = match case["pair"].as_str() {
            None => Input::Text(text(&case["text"])),
            Some(pair) => Input::Pair(text(&case["text"]), pair),
        };
        let values = library.classify(&model, &[input]).unwrap();
        assert_eq!(values.len(), labels.len());
        for result in array(&case["result"]) {
            let label = labels.iter().position(|label| label == text(&result["label"])).unwrap();
            close(values[label], number(&result["score"]));
        }
    }
    assert_eq!(library.classify(&model, &[]), Ok(Vec::new()));
    fails(library.fill(&model, &[Input::Text("[MASK]")], 5, &[]), 7, "cls.predictions");
}

fn token<L: Library>(library: &L) {
    let (model, expected) = open(library, "token");
    let strategies = [
        ("none", Aggregation::None),
        ("simple", Aggregation::Simple),
        ("first", Aggregation::First),
        ("average", Aggregation::Average),
        ("max", Aggregation::Max),
    ];
    let cases = array(&expected["token_classification"]);
    for case in cases.iter().filter(|case| case["options"].as_object().unwrap().is_empty()) {
        let input = [Input::Text(text(&case["text"]))];
        for (name, aggregation) in strategies {
            let entities = library.tag(&model, &input, aggregation, OffsetUnit::CodePoints).unwrap();
            let expected = array(&case["result"][name]);
            assert_eq!(entities.len(), expected.len(), "{name} {case}");
            for (entity, expected) in entities.iter().zip(expected) {
                let places = (entity.start as u64, entity.end as u64);
                assert_eq!(places, (expected["start"].as_u64().unwrap(), expected["end"].as_u64().unwrap()));
                let label = library.label(&model, entity.label as u32).unwrap();
                match expected["entity"].as_str() {
                    Some(whole) => assert_eq!(label, whole),
                    None => assert!(label.ends_with(text(&expected["entity_group"])), "{label}"),
                }
                close(entity.probability, number(&expected["score"]));
            }
        }
        let rows = library.tag_tokens(&model, &input).unwrap();
        assert_eq!(rows.len(), array(&case["ids"]).len() * 5);
        rows.chunks(5).for_each(|row| close(row.iter().sum::<f32>(), 1.0));
    }
    let tag = |input| library.tag(&model, &[Input::Text("the"), input], Aggregation::Simple, OffsetUnit::Bytes);
    fails(tag(Input::Pair("the", "cat")), 3, "input 1");
    fails(tag(Input::Tokens { ids: &[2, 3], types: &[] }), 3, "input 1");
}

fn sentence<L: Library>(library: &L) {
    let (model, expected) = open(library, "sentence");
    let golden = Expected::read(&path("tests/golden/sentence"));
    let inputs: Vec<Input<'_>> = array(&expected["texts"]).iter().map(|value| Input::Text(text(value))).collect();
    let width = library.info(&model).unwrap().embedding;
    assert_eq!(
        (width as u64, library.info(&model).unwrap().max_tokens),
        (expected["embedding_size"].as_u64().unwrap(), 20)
    );
    for (prompt, tensor) in [(None, "embeddings"), (Some("query"), "embeddings.query")] {
        let mut watch = Watch::default();
        let vectors = library.embed(&model, &inputs, None, prompt, &mut watch).unwrap();
        let expected = golden.floats(tensor).unwrap();
        assert_eq!(vectors.len(), expected.len());
        vectors.iter().zip(&expected).for_each(|(&value, &expected)| close(value, f64::from(expected)));
        let count = inputs.len() as u64;
        assert_eq!(watch.seen.last(), Some(&(count, count)));
    }
    let hidden = library.info(&model).unwrap().hidden;
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
        let vectors = library.embed(&model, &inputs[..2], Some(pooling), None, &mut Watch::default()).unwrap();
        assert_eq!(vectors.len(), 2 * hidden);
        // Naming a pooling replaces all of the folder's steps: [CLS] is the first row of the last hidden states.
        let states = library.hidden_states(&model, &inputs[..1], &[2]).unwrap();
        if pooling == Pooling::Cls {
            assert_eq!(vectors[..hidden], states[..hidden]);
        }
    }
    fails(library.embed(&model, &inputs, None, Some("nobody"), &mut Watch::default()), 1, "\"nobody\"");
    let mut watch = Watch { cancelled: true, ..Watch::default() };
    fails(library.embed(&model, &inputs, None, None, &mut watch), 9, "cancelled");
    assert!(watch.seen.is_empty());
    let mut watch = Watch { stop: true, ..Watch::default() };
    fails(library.embed(&model, &inputs, None, None, &mut watch), 9, "progress");
    assert_eq!(watch.seen.len(), 1);
}

fn what_cannot_be_opened<L: Library>(library: &L) {
    let refused = |folder: &Path| library.open(folder).err().unwrap();
    let (status, message) = refused(Path::new("no/such/folder"));
    assert_eq!(status, 4);
    assert!(message.starts_with("no/such/folder: "), "{message}");
    let (status, message) = refused(&path("Cargo.toml"));
    assert_eq!(status, 1, "{message}");
    let empty = tempfile::tempdir().unwrap();
    let (status, message) = refused(empty.path());
    assert!(status == 7 && message.contains("config.json"), "{message}");
    std::fs::write(empty.path().join("config.json"), "{").unwrap();
    assert_eq!(refused(empty.path()).0, 5);
}

/// Letters of a path are those of the system, which on Windows has UTF-16.
fn from_any_path<L: Library>(library: &L) {
    let (golden, place) = (path("tests/golden/pretraining"), tempfile::tempdir().unwrap());
    let folder = place.path().join("ångström 模型 \u{1f989}");
    std::fs::create_dir(&folder).unwrap();
    for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"] {
        std::fs::copy(golden.join(name), folder.join(name)).unwrap();
    }
    let (there, here) = (library.open(&golden).unwrap(), library.open(&folder).unwrap());
    let input = [Input::Text("the cat [MASK] the bird.")];
    assert_eq!(library.fill(&here, &input, 5, &[]), library.fill(&there, &input, 5, &[]));
    let (_, message) = library.open(&folder.join("nothing")).err().unwrap();
    assert!(message.contains("ångström 模型 \u{1f989}"), "{message}");
}

fn from_memory<L: Library>(library: &L) {
    let folder = path("tests/golden/pretraining");
    let names = ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"];
    let files = names.map(|name| (name.to_owned(), std::fs::read(folder.join(name)).unwrap()));
    let (mapped, memory) = (library.open(&folder).unwrap(), library.open_memory(&files).unwrap());
    let input = [Input::Text("the cat [MASK] the bird.")];
    assert_eq!(library.fill(&memory, &input, 5, &[]), library.fill(&mapped, &input, 5, &[]));
    // A model without tokenizer answers from ids and says what text lacks.
    let bare = library.open_memory(&files[..2]).unwrap();
    assert!(!library.info(&bare).unwrap().reads_text);
    fails(library.fill(&bare, &input, 5, &[]), 7, "tokenizer");
    let ids = [Input::Tokens { ids: &[2, 40, 58, 3], types: &[] }];
    assert_eq!(
        library.embed(&bare, &ids, None, None, &mut Watch::default()),
        library.embed(&mapped, &ids, None, None, &mut Watch::default())
    );
    let (status, message) = library.open_memory(&files[..1]).err().unwrap();
    assert!(status == 7 && message.contains("model.safetensors"), "{message}");
}
