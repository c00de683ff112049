//! Every task through [`Model`] against HuggingFace's pipelines, and what a model says about itself.
//! `tests/golden/README.md` tells how the values were made.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::collections::BTreeSet;

use cloze::device::Bytes;
use cloze::engine::{
    Aggregation, Cancel, EmbedOptions, Encoded, FillOptions, Input, Method, Model, OffsetUnit, OpenOptions, Overflow,
    Pooling, Run, ScoreOptions, TagOptions, Task, TextOptions, convert_offsets, perplexity,
};
use cloze::error::Status;
use oracle::{Expected, files, golden, largest_difference};
use serde_json::Value;

/// e^Δ − 1 of a probability whose logit and normaliser are off by Δ together; transformers 4 and 5 differ by 7.3e-6 on
/// these logits.
const PROBABILITY: f64 = 1e-5;
/// Log-probabilities are differences of two values of order 10, each off by what logits are, summed over up to 40 tokens.
const LOG_PROBABILITY: f64 = 1e-4;
/// Hidden states are of order 1 to 5, embeddings of order 1; transformers 4 and 5 differ by 2.2e-6.
const HIDDEN: f32 = 1e-5;

fn open(name: &str) -> Model {
    Model::open(&golden(name), &OpenOptions { threads: 2, ..OpenOptions::default() }).unwrap()
}

/// The model of a golden folder with its files changed, opened from memory.
fn open_changed(name: &str, change: impl Fn(&mut Vec<(String, Vec<u8>)>)) -> cloze::error::Result<Model> {
    let mut files = files(&golden(name));
    change(&mut files);
    let files: Vec<(String, Bytes)> =
        files.into_iter().map(|(name, bytes)| (name, std::sync::Arc::new(bytes) as Bytes)).collect();
    let named: Vec<(&str, Bytes)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    Model::from_memory(&named, &OpenOptions { threads: 2, ..OpenOptions::default() })
}

fn set_config(files: &mut [(String, Vec<u8>)], change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let (_, bytes) = files.iter_mut().find(|(name, _)| name == "config.json").unwrap();
    let mut config: Value = serde_json::from_slice(bytes).unwrap();
    change(config.as_object_mut().unwrap());
    *bytes = config.to_string().into_bytes();
}

fn encode(model: &Model, task: Task, inputs: &[Input<'_>]) -> Encoded {
    model.encode(inputs, task, &TextOptions::default()).unwrap()
}

/// What `encoded` holds, given as token ids.
fn as_tokens(model: &Model, task: Task, encoded: &Encoded) -> Encoded {
    let tokens = |item: &cloze::engine::Item| item.tokens.clone();
    let items: Vec<_> = encoded.items().iter().map(tokens).collect();
    let inputs: Vec<_> = items.iter().map(|t| Input::Tokens { ids: &t.ids, types: &t.types }).collect();
    encode(model, task, &inputs)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn integers(value: &Value) -> Vec<u32> {
    list(value).iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn text_or_pair(case: &Value) -> Input<'_> {
    match case["pair"].as_str() {
        Some(pair) => Input::Pair(text(&case["text"]), pair),
        None => Input::Text(text(&case["text"])),
    }
}

/// `|a − b| ≤ tolerance`; the difference goes into `worst`.
#[track_caller]
fn close(what: &str, a: f64, b: f64, tolerance: f64, worst: &mut f64) {
    let off = (a - b).abs();
    assert!(off <= tolerance, "{what}: {a} for {b}, off by {off:e}, at most {tolerance:e}");
    *worst = worst.max(off);
}

#[test]
fn masks_are_filled_as_by_the_pipeline() {
    let mut worst = 0.0;
    for name in ["pretraining", "odd"] {
        let (model, expected) = (open(name), Expected::read(&golden(name)));
        let words = model.info().words as u64;
        for case in list(&expected.json()["fill_mask"]) {
            let inputs = encode(&model, Task::Fill, &[Input::Text(text(&case["text"]))]);
            assert_eq!(inputs.items()[0].tokens.ids, integers(&case["ids"]));
            // A target that is no word of the vocabulary stands for its first piece in HuggingFace, with a warning;
            // here targets are ids, and what a text is cut into is the caller's choice.
            let given: Vec<&str> = match &case["targets"] {
                Value::String(target) => vec![target],
                targets => targets.as_array().map_or(Vec::new(), |t| t.iter().map(text).collect()),
            };
            let targets: BTreeSet<u32> = given.iter().filter_map(|t| model.tokenizer().unwrap().id(t)).collect();
            assert_eq!(given.is_empty(), targets.is_empty());
            let targets = Vec::from_iter(targets);
            let top_k = case["top_k"].as_u64().unwrap() as usize;
            let masks = model.fill(&inputs, &FillOptions { top_k, targets: &targets, mask: None }, Run::default());
            let masks = masks.unwrap().remove(0);
            let wanted: Vec<&Value> = list(&case["masks"]).iter().collect();
            assert_eq!(masks.len(), wanted.len());
            for (mask, wanted) in masks.iter().zip(wanted) {
                assert_eq!(inputs.items()[0].tokens.ids[mask.position], 4);
                // Rows from the tokenizer's size up are padding.
                let wanted: Vec<&Value> = list(wanted)
                    .iter()
                    .filter(|w| w["token"].as_u64().unwrap() < words)
                    .filter(|w| targets.is_empty() || targets.contains(&(w["token"].as_u64().unwrap() as u32)))
                    .collect();
                assert!(mask.candidates.len() >= wanted.len() && !wanted.is_empty());
                for (candidate, wanted) in mask.candidates.iter().zip(wanted) {
                    assert_eq!(u64::from(candidate.id), wanted["token"].as_u64().unwrap());
                    assert_eq!(model.token(candidate.id).unwrap().trim_start_matches("##"), {
                        text(&wanted["token_str"]).trim_start_matches("##")
                    });
                    let relative = f64::from(candidate.probability) / number(&wanted["score"]);
                    close("probability", relative, 1.0, PROBABILITY, &mut worst);
                }
            }
        }
    }
    eprintln!("fill: relative difference at most {worst:e}");
}

#[test]
fn only_real_tokens_fill_a_mask() {
    let model = open("odd");
    let inputs = encode(&model, Task::Fill, &[Input::Text("[MASK]")]);
    let all = FillOptions { top_k: usize::MAX, ..Default::default() };
    let mask = model.fill(&inputs, &all, Run::default()).unwrap().remove(0).remove(0);
    let ids: BTreeSet<u32> = mask.candidates.iter().map(|c| c.id).collect();
    assert_eq!(ids, (0..120).collect());
    assert_eq!(all.candidates(model.info().words), 120);
    // A padding row may be asked for by number; together the probabilities are those of the whole vocabulary.
    let padding: Vec<u32> = (120..128).collect();
    let rest = FillOptions { top_k: 99, targets: &padding, mask: None };
    let rest = model.fill(&inputs, &rest, Run::default()).unwrap().remove(0).remove(0);
    let total: f64 = mask.candidates.iter().chain(&rest.candidates).map(|c| f64::from(c.probability)).sum();
    // 128 probabilities, each rounded to f32 (6e-8 of itself) after an exponent off by at most that of its logit.
    assert!((total - 1.0).abs() < 1e-5, "{total}");
}

#[test]
fn next_sentences_are_judged_as_by_transformers() {
    let (model, expected) = (open("pretraining"), Expected::read(&golden("pretraining")));
    let cases = list(&expected.json()["nsp"]);
    let pairs: Vec<_> = cases.iter().map(text_or_pair).collect();
    let inputs = encode(&model, Task::NextSentence, &pairs);
    let answers = model.next_sentence(&inputs, Run::default()).unwrap();
    assert_eq!(answers.len(), cases.len());
    for ((case, item), answer) in cases.iter().zip(inputs.items()).zip(&answers) {
        assert_eq!(item.tokens.ids, integers(&case["ids"]));
        assert_eq!(item.tokens.types, integers(&case["types"]));
        close("is_next", f64::from(*answer), number(&case["is_next"]), PROBABILITY, &mut 0.0);
    }
    let given = as_tokens(&model, Task::NextSentence, &inputs);
    assert_eq!(model.next_sentence(&given, Run::default()).unwrap(), answers);
}

#[test]
fn pseudo_log_likelihoods_equal_transformers() {
    let (model, expected) = (open("pretraining"), Expected::read(&golden("pretraining")));
    let pll = &expected.json()["pll"];
    let sentences = list(&pll["sentences"]);
    let texts: Vec<_> = sentences.iter().map(|s| Input::Text(text(&s["text"]))).collect();
    let inputs = encode(&model, Task::Score, &texts);
    let mut worst = 0.0;
    for (name, method) in [("pll", Method::PseudoLogLikelihood), ("pll-word-l2r", Method::WordLeftToRight)] {
        let options = ScoreOptions { method, mask: None };
        let scores = model.score(&inputs, &options, Run::default()).unwrap();
        for ((sentence, score), positions) in sentences.iter().zip(&scores).zip(model.scored_positions(&inputs)) {
            let (ids, wanted) = (integers(&sentence["ids"]), list(&sentence[name]["per_token"]));
            assert_eq!(score.tokens.len(), wanted.len());
            assert_eq!(positions, score.tokens.iter().map(|t| t.position).collect::<Vec<_>>());
            for (token, wanted) in score.tokens.iter().zip(wanted) {
                assert_eq!(token.id, ids[token.position]);
                close(name, f64::from(token.log_probability), number(wanted), LOG_PROBABILITY, &mut worst);
            }
            close(name, score.total, number(&sentence[name]["sum"]), LOG_PROBABILITY, &mut worst);
        }
        let corpus = &pll["corpus"][name];
        assert_eq!(scores.iter().map(|s| s.tokens.len() as u64).sum::<u64>(), corpus["tokens"].as_u64().unwrap());
        let relative = perplexity(&scores) / number(&corpus["pseudo_perplexity"]);
        close("perplexity", relative, 1.0, PROBABILITY, &mut 0.0);
        // Words of ids are told by the prefix of continuations.
        let given = as_tokens(&model, Task::Score, &inputs);
        assert_eq!(model.score(&given, &options, Run::default()).unwrap(), scores);
    }
    assert_eq!(perplexity(&[]), 1.0);
    eprintln!("pseudo-log-likelihood: difference at most {worst:e}");
}

/// Text classification of a folder; `key` holds what is expected.
fn classified(model: &Model, name: &str, key: &str) {
    let expected = Expected::read(&golden(name));
    let cases = list(&expected.json()[key]);
    let inputs = encode(model, Task::Classify, &cases.iter().map(text_or_pair).collect::<Vec<_>>());
    let answers = model.classify(&inputs, Run::default()).unwrap();
    assert!(cases.len() > 3 && answers.len() == cases.len());
    for (case, answer) in cases.iter().zip(&answers) {
        let results = list(&case["result"]);
        assert_eq!(results.len(), answer.len());
        for result in results {
            let label = model.labels().iter().position(|l| l == text(&result["label"])).unwrap();
            close(name, f64::from(answer[label]), number(&result["score"]), PROBABILITY, &mut 0.0);
        }
    }
    let given = as_tokens(model, Task::Classify, &inputs);
    assert_eq!(model.classify(&given, Run::default()).unwrap(), answers);
}

#[test]
fn texts_are_classified_as_by_the_pipeline() {
    for name in ["sequence", "multilabel", "regression"] {
        classified(&open(name), name, "text_classification");
    }
    let changed = open_changed("regression", |files| {
        set_config(files, |config| drop(config.remove("problem_type")));
    });
    classified(&changed.unwrap(), "regression", "text_classification_without_problem_type");
}

#[test]
fn entities_are_those_of_the_pipeline() {
    let (model, expected) = (open("token"), Expected::read(&golden("token")));
    let mut compared = 0;
    for case in list(&expected.json()["token_classification"]) {
        // Overlapping windows over long texts and texts given as words are the pipeline's own conveniences; cloze takes
        // one text that fits.
        let options = &case["options"];
        if options.get("stride").is_some() || options.get("is_split_into_words").is_some() {
            continue;
        }
        let ignored: Vec<&str> = options.get("ignore_labels").map_or(vec!["O"], |i| list(i).iter().map(text).collect());
        let source = text(&case["text"]);
        let inputs = encode(&model, Task::Tag, &[Input::Text(source)]);
        for (name, aggregation) in [
            ("none", Aggregation::None),
            ("simple", Aggregation::Simple),
            ("first", Aggregation::First),
            ("average", Aggregation::Average),
            ("max", Aggregation::Max),
        ] {
            let key = if aggregation == Aggregation::None { "entity" } else { "entity_group" };
            let options = TagOptions { aggregation, keep_outside: !ignored.contains(&"O") };
            let mut found = model.entities(&inputs, &[source], &options, Run::default()).unwrap().remove(0);
            let label = |entity: &cloze::engine::Entity| {
                let label = &model.labels()[entity.label];
                let tag = label.strip_prefix("B-").or(label.strip_prefix("I-")).unwrap_or(label);
                if aggregation == Aggregation::None { label.clone() } else { tag.to_owned() }
            };
            found.retain(|entity| !ignored.contains(&label(entity).as_str()));
            let spans: Vec<_> = found.iter().map(|e| e.span).collect();
            let spans = convert_offsets(source, &spans, OffsetUnit::CodePoints);
            let wanted = list(&case["result"][name]);
            assert_eq!(found.len(), wanted.len(), "{name}: {source}");
            for ((entity, span), wanted) in found.iter().zip(spans).zip(wanted) {
                assert_eq!(label(entity), text(&wanted[key]), "{name}: {source}");
                assert_eq!(span.start as u64, wanted["start"].as_u64().unwrap(), "{name}: {source}");
                assert_eq!(span.end as u64, wanted["end"].as_u64().unwrap(), "{name}: {source}");
                close(name, f64::from(entity.probability), number(&wanted["score"]), PROBABILITY, &mut 0.0);
                compared += 1;
            }
        }
    }
    assert!(compared > 150, "{compared} entities");
    let ids = encode(&model, Task::Tag, &[Input::Tokens { ids: &[2, 40, 3], types: &[] }]);
    let pair = encode(&model, Task::Tag, &[Input::Pair("the", "cat")]);
    for inputs in [&ids, &pair] {
        let error = model.entities(inputs, &["the"], &TagOptions::default(), Run::default()).unwrap_err();
        assert_eq!((error.status(), error.message().contains("input 0")), (Status::InvalidInput, true), "{error}");
    }
    let error = model.entities(&ids, &[], &TagOptions::default(), Run::default()).unwrap_err();
    assert_eq!((error.status(), error.message()), (Status::InvalidArgument, "0 texts for 1 inputs"));
}

/// All id sequences of a folder.
fn sequences(expected: &Expected) -> Vec<(Vec<u32>, Vec<u32>)> {
    let get = |key: &str, i: usize| expected.integers(&format!("{key}.{i}"));
    (0..).map_while(|i| Some((get("ids", i)?, get("types", i)?))).collect()
}

#[test]
fn tags_and_hidden_states_of_ids_equal_transformers() {
    for name in ["pretraining", "bare", "odd", "f16", "sharded", "token", "albert", "albert_groups"] {
        let (model, expected) = (open(name), Expected::read(&golden(name)));
        let sequences = sequences(&expected);
        let inputs: Vec<_> = sequences.iter().map(|(ids, types)| Input::Tokens { ids, types }).collect();
        let encoded = encode(&model, Task::HiddenStates, &inputs);
        let last = model.info().layers;
        // Any order, and twice.
        let layers: Vec<usize> = (0..=last).rev().chain([last]).collect();
        let states = model.hidden_states(&encoded, &layers, Run::default()).unwrap();
        assert_eq!(states.len(), sequences.len());
        for (sequence, states) in states.iter().enumerate() {
            for (layer, state) in layers.iter().zip(states) {
                let key = format!("hidden.{sequence}.{layer}");
                let off = largest_difference(state, &expected.floats(&key).unwrap());
                assert!(off <= HIDDEN, "{name} {key}: {off:e}");
            }
            assert_eq!(states[0], states[last + 1]);
        }
        // A layer that is not the last, alone: the layers above it do not run.
        let first = model.hidden_states(&encoded, &[1], Run::default()).unwrap();
        assert!(first.iter().zip(&states).all(|(one, all)| one[0] == all[last - 1]), "{name}");
        if name != "token" {
            continue;
        }
        for (sequence, tokens) in model.tag(&encoded, Run::default()).unwrap().iter().enumerate() {
            let logits = expected.floats(&format!("logits.{sequence}")).unwrap();
            let labels = model.labels().len();
            assert_eq!(tokens.len() * labels, logits.len());
            for (tagged, logits) in tokens.iter().zip(logits.chunks(labels)) {
                let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                for (p, x) in tagged.probabilities.iter().zip(logits) {
                    close("tag", f64::from(*p), f64::from(*x).exp() / total, PROBABILITY, &mut 0.0);
                }
            }
        }
    }
}

#[test]
fn embeddings_equal_sentence_transformers() {
    for name in ["sentence", "sentence_old"] {
        let (model, expected) = (open(name), Expected::read(&golden(name)));
        let json = expected.json();
        let texts: Vec<_> = list(&json["texts"]).iter().map(|t| Input::Text(text(t))).collect();
        let (width, limit) = (json["embedding_size"].as_u64().unwrap(), json["max_seq_length"].as_u64().unwrap());
        let info = model.info();
        assert_eq!((info.embedding as u64, info.max_tokens as u64), (width, limit));
        assert_eq!(model.embedding_width(&EmbedOptions::default()) as u64, width);
        let inputs = encode(&model, Task::Embed, &texts);
        for (item, ids) in inputs.items().iter().zip(list(&json["ids"])) {
            assert_eq!(item.tokens.ids, integers(ids));
        }
        let embeddings = model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap();
        let off = largest_difference(&embeddings.concat(), &expected.floats("embeddings").unwrap());
        assert!(off <= HIDDEN, "{name}: {off:e}");
        let given = as_tokens(&model, Task::Embed, &inputs);
        assert_eq!(model.embed(&given, &EmbedOptions::default(), Run::default()).unwrap(), embeddings);
        let Some(wanted) = expected.floats("embeddings.query") else { continue };
        let prompted = TextOptions { prompt: Some("query"), ..Default::default() };
        let inputs = model.encode(&texts, Task::Embed, &prompted).unwrap();
        let embeddings = model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap();
        let off = largest_difference(&embeddings.concat(), &wanted);
        assert!(off <= HIDDEN, "{name} with prompt: {off:e}");
    }
}

#[test]
fn a_named_pooling_replaces_the_steps_of_the_folder() {
    let model = open("sentence");
    let inputs = encode(&model, Task::Embed, &[Input::Text("the cat sees the bird"), Input::Text("")]);
    let (layers, hidden) = (model.info().layers, model.info().hidden);
    let states = model.hidden_states(&inputs, &[layers], Run::default()).unwrap();
    let embed = |options: EmbedOptions| model.embed(&inputs, &options, Run::default()).unwrap();
    for (index, state) in states.iter().map(|s| &s[0]).enumerate() {
        let rows: Vec<&[f32]> = state.chunks(hidden).collect();
        let cls = embed(EmbedOptions { pooling: Some(Pooling::Cls), normalize: false }).remove(index);
        assert_eq!(cls, rows[0]);
        let mean = embed(EmbedOptions { pooling: Some(Pooling::Mean), normalize: false }).remove(index);
        let sum = |column: usize| rows.iter().map(|r| f64::from(r[column])).sum::<f64>();
        let exact: Vec<f32> = (0..hidden).map(|c| (sum(c) / rows.len() as f64) as f32).collect();
        // A sum of at most 8 values of order 3 in f32.
        assert!(largest_difference(&mean, &exact) < 3e-6);
        let unit = embed(EmbedOptions { pooling: Some(Pooling::Mean), normalize: true }).remove(index);
        let length = unit.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
    // The folder ends with Normalize: asking for it again changes nothing.
    assert_eq!(embed(EmbedOptions { pooling: None, normalize: true }), embed(EmbedOptions::default()));
}

#[test]
fn a_model_in_memory_answers_as_the_folder() {
    let texts = [Input::Text("the cat [MASK] the bird."), Input::Text("[MASK]"), Input::Pair("he", "[MASK] runs")];
    for name in ["pretraining", "f16", "sentence", "sentence_old"] {
        let (folder, memory) = (open(name), open_changed(name, |_| ()).unwrap());
        assert_eq!(folder.info(), memory.info());
        assert_eq!(folder.report(), memory.report());
        let answers = |model: &Model| {
            let inputs = encode(model, Task::Embed, &texts);
            let mut answers = model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap();
            if model.info().tasks.contains(&Task::Fill) {
                answers.push(model.next_sentence(&inputs, Run::default()).unwrap());
                let filled = model.fill(&inputs, &FillOptions::default(), Run::default()).unwrap().concat();
                answers.extend(filled.iter().map(|m| m.candidates.iter().map(|c| c.probability).collect()));
            }
            answers
        };
        assert_eq!(answers(&folder), answers(&memory), "{name}");
    }
    let error = open_changed("sharded", |_| ()).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.message().contains("model.safetensors.index.json"), "{error}");
    let error = open_changed("pretraining", |files| files.retain(|(n, _)| n != "model.safetensors")).err().unwrap();
    assert_eq!((error.status(), error.message()), (Status::Missing, "memory: no model.safetensors"));
    let error = Model::from_memory(&[], &OpenOptions::default()).err().unwrap();
    assert_eq!((error.status(), error.message()), (Status::Missing, "memory: no config.json"));
}

#[test]
fn without_tokenizer_ids_work_and_text_is_an_error() {
    let model = open("albert");
    let why = model.info().text_unavailable.unwrap();
    assert!(why.contains("tokenizer.json"), "{why}");
    let error = model.encode(&[Input::Text("the cat")], Task::Embed, &TextOptions::default()).unwrap_err();
    assert_eq!(error.status(), Status::Missing);
    assert!(error.message().starts_with("input 0: ") && error.message().contains("tokenizer.json"), "{error}");
    assert_eq!(model.token(2), None);

    let inputs = encode(&model, Task::Fill, &[Input::Tokens { ids: &[2, 40, 4, 31, 3], types: &[] }]);
    let error = model.fill(&inputs, &FillOptions::default(), Run::default()).unwrap_err();
    assert_eq!((error.status(), error.message().contains("mask token")), (Status::Missing, true), "{error}");
    let options = FillOptions { mask: Some(4), ..Default::default() };
    let masks = model.fill(&inputs, &options, Run::default()).unwrap().remove(0);
    assert_eq!((masks[0].position, masks[0].candidates.len()), (2, 5));
    // Without a tokenizer nothing is known to be special.
    let options = ScoreOptions { mask: Some(4), ..Default::default() };
    assert_eq!(model.score(&inputs, &options, Run::default()).unwrap()[0].tokens.len(), 5);
    let options = ScoreOptions { mask: Some(4), method: Method::WordLeftToRight };
    let error = model.score(&inputs, &options, Run::default()).unwrap_err();
    assert_eq!((error.status(), error.message().contains("words of token ids")), (Status::Missing, true), "{error}");
}

/// An answer, and the beginning of a tensor's name.
type Wanting = (cloze::error::Result<()>, &'static str);

#[test]
fn an_absent_head_is_an_error_that_names_the_tensor() {
    let model = open("bare");
    let inputs = encode(&model, Task::HiddenStates, &[Input::Text("the [MASK] sleeps")]);
    let answers: [Wanting; 5] = [
        (model.fill(&inputs, &FillOptions::default(), Run::default()).map(drop), "cls.predictions."),
        (model.score(&inputs, &ScoreOptions::default(), Run::default()).map(drop), "cls.predictions."),
        (model.next_sentence(&inputs, Run::default()).map(drop), "cls.seq_relationship."),
        (model.classify(&inputs, Run::default()).map(drop), "classifier."),
        (model.tag(&inputs, Run::default()).map(drop), "classifier."),
    ];
    for (answer, tensor) in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.status(), Status::Missing, "{error}");
        assert!(error.message().contains(tensor), "{error}");
    }
    assert!(model.embed(&inputs, &EmbedOptions::default(), Run::default()).is_ok());
}

#[test]
fn a_model_says_what_it_holds() {
    let of = |name: &str| {
        let model = open(name);
        (model.info(), model.report())
    };
    let (info, report) = of("pretraining");
    assert_eq!((info.architecture, info.layers, info.hidden, info.heads, info.intermediate), ("bert", 3, 32, 4, 64));
    assert_eq!((info.vocabulary, info.words, info.token_types), (120, 120, 2));
    assert_eq!((info.max_tokens, info.max_positions, info.embedding), (40, 40, 32));
    assert_eq!((info.dtype.as_str(), info.threads, info.text_unavailable), ("f32", 2, None));
    assert_eq!(info.heads_present, ["masked_lm", "next_sentence", "pooler"]);
    assert_eq!(info.tasks, [Task::Fill, Task::Score, Task::NextSentence, Task::Embed, Task::HiddenStates]);
    assert!(info.missing.is_empty() && report.unused.is_empty() && report.ignored.is_empty());
    let stored: usize = files(&golden("pretraining")).iter().find(|(n, _)| n == "model.safetensors").unwrap().1.len();
    assert_eq!((report.files.len(), report.bytes()), (1, stored as u64));
    assert_eq!(info.parameters, report.parameters);
    assert!(report.used.iter().any(|key| key == "bert.embeddings.word_embeddings.weight"), "names as stored");

    let (info, report) = of("bare");
    assert_eq!((info.heads_present, info.token_types), (vec!["pooler"], 3));
    assert_eq!(report.ignored, ["embeddings.position_ids"]);
    assert!(report.used.iter().any(|key| key.ends_with("LayerNorm.gamma")), "names as stored");
    assert_eq!(of("untied").1.unused, ["cls.predictions.bias"]);
    assert_eq!((of("odd").0.vocabulary, of("odd").0.words), (128, 120));
    assert_eq!((of("f16").0.dtype, of("bf16").0.dtype), ("f16".to_owned(), "bf16".to_owned()));
    assert_eq!(of("sharded").1.files.len(), 3);
    let (info, _) = of("token");
    assert_eq!((info.labels, info.tasks), (5, vec![Task::Embed, Task::HiddenStates, Task::Tag]));
    let (info, _) = of("sequence");
    assert_eq!((info.labels, info.tasks), (3, vec![Task::Embed, Task::HiddenStates, Task::Classify]));
    assert_eq!(info.problem, Some(cloze::bert::Problem::SingleLabel));
    let (info, _) = of("albert");
    assert_eq!((info.architecture, info.layers, info.words), ("albert", 3, 120));

    let promised = open_changed("bare", |files| {
        set_config(files, |config| drop(config.insert("architectures".into(), vec!["BertForPreTraining"].into())));
    });
    let missing = promised.unwrap().info().missing;
    assert!(missing[0].contains("cls.predictions.") && missing[1].contains("cls.seq_relationship."), "{missing:?}");
}

#[test]
fn texts_are_cut_refused_or_read_plainly_as_asked() {
    let model = open("pretraining");
    let long = "the cat [MASK] ".repeat(20);
    let encode = |text, options: TextOptions<'_>| model.encode(&[Input::Text(text)], Task::Fill, &options);
    let error = encode(&long, TextOptions::default()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidInput);
    assert_eq!(error.message(), "input 0: text of 62 tokens, at most 40 fit");
    let cut = TextOptions { overflow: Some(Overflow::Truncate), ..Default::default() };
    assert_eq!(encode(&long, cut).unwrap().tokens(), 40);
    let cut = TextOptions { max_tokens: 5, ..cut };
    assert_eq!(encode(&long, cut).unwrap().items()[0].tokens.ids, [2, 40, 58, 4, 3]);
    // As many as asked for, but never more than the model has places.
    assert_eq!(encode(&long, TextOptions { max_tokens: 99, ..cut }).unwrap().tokens(), 40);
    let error = encode("the", TextOptions { max_tokens: 1, ..cut }).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");

    let plain = encode("the [MASK]", TextOptions { plain: true, ..Default::default() }).unwrap();
    assert!(!plain.items()[0].tokens.ids.contains(&4));
    let error = model.fill(&plain, &FillOptions::default(), Run::default()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidInput);
    assert_eq!(error.message(), "input 0: no mask, expected \"[MASK]\" in it");
}

#[test]
fn progress_rises_to_the_total_and_can_stop_a_call() {
    let model = open("pretraining");
    // 8,000 tokens: several times what passes the model at once.
    let ids: Vec<u32> = (5..45).collect();
    let inputs = encode(&model, Task::Embed, &[Input::Tokens { ids: &ids, types: &[] }; 200]);
    let few = encode(&model, Task::Score, &[Input::Tokens { ids: &ids, types: &[] }; 3]);
    let calls = |ask: &dyn Fn(Run<'_>)| {
        let mut calls = Vec::new();
        let mut note = |done, total| {
            calls.push((done, total));
            true
        };
        ask(Run { cancel: None, progress: Some(&mut note) });
        assert!(calls.len() > 1 && calls.windows(2).all(|pair| pair[0].0 < pair[1].0), "{calls:?}");
        assert!(calls.iter().all(|&(_, total)| total == calls[0].1));
        calls[calls.len() - 1]
    };
    assert_eq!(calls(&|run| drop(model.embed(&inputs, &EmbedOptions::default(), run).unwrap())), (200, 200));
    // One unit a masked copy.
    assert_eq!(calls(&|run| drop(model.score(&few, &ScoreOptions::default(), run).unwrap())), (120, 120));

    let mut count = 0;
    let mut stop = |_, _| {
        count += 1;
        false
    };
    let run = Run { cancel: None, progress: Some(&mut stop) };
    let error = model.embed(&inputs, &EmbedOptions::default(), run).unwrap_err();
    assert_eq!((error.status(), count), (Status::Cancelled, 1));
}

#[test]
fn a_set_flag_cancels_every_task() {
    let (model, flag) = (open("pretraining"), Cancel::new());
    let inputs = encode(&model, Task::Embed, &[Input::Text("the [MASK] sleeps"); 2]);
    let run = || Run { cancel: Some(&flag), progress: None };
    let answers = || {
        [
            model.fill(&inputs, &FillOptions::default(), run()).map(drop),
            model.score(&inputs, &ScoreOptions::default(), run()).map(drop),
            model.next_sentence(&inputs, run()).map(drop),
            model.embed(&inputs, &EmbedOptions::default(), run()).map(drop),
            model.hidden_states(&inputs, &[0], run()).map(drop),
        ]
    };
    flag.set();
    for answer in answers() {
        assert_eq!(answer.unwrap_err().status(), Status::Cancelled);
    }
    flag.reset();
    assert!(answers().iter().all(Result::is_ok));
    // Set on the way.
    let mut set = |_, _| {
        flag.set();
        true
    };
    let ids: Vec<u32> = (5..45).collect();
    let inputs = encode(&model, Task::Embed, &[Input::Tokens { ids: &ids, types: &[] }; 200]);
    let run = Run { cancel: Some(&flag), progress: Some(&mut set) };
    assert_eq!(model.embed(&inputs, &EmbedOptions::default(), run).unwrap_err().status(), Status::Cancelled);
}
