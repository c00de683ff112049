//! Causal models against transformers: the chain rule, greedy generation, what may be drawn; and what holds of every
//! generated text. `tests/golden/README.md` tells how the values were made.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::collections::BTreeSet;

use cloze::engine::{
    Bytes, Cancel, Continuation, Dataset, Direction, Encoded, Ending, Example, ExampleInput, FillOptions, FitRun,
    FreshOptions, GenerateOptions, Input, LoraOptions, Method, Model, NewToken, Objective, OpenOptions, Run, Sampling,
    ScoreOptions, Target, Task, TextOptions, TrainOptions, Trainable, Trainer, perplexity,
};
use cloze::error::Status;
use oracle::{Expected, golden};
use serde_json::Value;

/// As in `tests/tasks.rs`: differences of two values of order 10, each off by what logits are, summed over 40 tokens.
const LOG_PROBABILITY: f64 = 1e-4;
const CAUSAL: ScoreOptions = ScoreOptions { method: Method::Causal, mask: None };

fn open(name: &str, threads: usize) -> Model {
    Model::open(&golden(name), &OpenOptions { threads, ..OpenOptions::default() }).unwrap()
}

fn expected() -> Value {
    Expected::read(&golden("causal")).json().clone()
}

fn encode(model: &Model, task: Task, texts: &[&str]) -> Encoded {
    let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
    model.encode(&inputs, task, &TextOptions::default()).unwrap()
}

fn of_ids(model: &Model, task: Task, ids: &[u32]) -> Encoded {
    model.encode(&[Input::Tokens { ids, types: &[] }], task, &TextOptions::default()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn integers(value: &Value) -> Vec<u32> {
    list(value).iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(|v| v.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(what: &str, values: impl IntoIterator<Item = f64>, expected: &[f64], tolerance: f64) {
    let values: Vec<f64> = values.into_iter().collect();
    assert_eq!(values.len(), expected.len(), "{what}");
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() <= tolerance, "{what}: {value}, expected {expected}");
    }
}

fn ids(tokens: &[NewToken]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

fn generate(model: &Model, prompts: &Encoded, options: &GenerateOptions) -> Vec<Vec<Continuation>> {
    model.generate(prompts, options, Run::default()).unwrap()
}

fn sampled(count: usize, max_tokens: usize, sampling: Sampling) -> GenerateOptions {
    GenerateOptions { count, max_tokens, sampling: Some(sampling), end: None }
}

#[test]
fn log_likelihoods_by_the_chain_rule_equal_transformers() {
    let (model, expected) = (open("causal", 2), expected());
    let sentences = list(&expected["causal"]["sentences"]);
    let texts: Vec<&str> = sentences.iter().map(|s| s["text"].as_str().unwrap()).collect();
    let inputs = encode(&model, Task::Score, &texts);
    let scores = model.score(&inputs, &CAUSAL, Run::default()).unwrap();
    for ((sentence, score), positions) in sentences.iter().zip(&scores).zip(model.scored_positions(&inputs)) {
        let ids = integers(&sentence["ids"]);
        assert_eq!(positions, (1..ids.len()).collect::<Vec<_>>());
        assert_eq!(positions, score.tokens.iter().map(|token| token.position).collect::<Vec<_>>());
        assert!(score.tokens.iter().all(|token| token.id == ids[token.position]));
        let each = score.tokens.iter().map(|token| f64::from(token.log_probability));
        close("per token", each, &numbers(&sentence["per_token"]), LOG_PROBABILITY);
        close("sum", [score.total], &[sentence["sum"].as_f64().unwrap()], LOG_PROBABILITY);
    }
    let corpus = expected["causal"]["corpus"]["perplexity"].as_f64().unwrap();
    close("perplexity", [perplexity(&scores) / corpus], &[1.0], 1e-5);

    // A token alone has nothing before it, and many texts at once give the bits of each alone.
    assert!(model.score(&of_ids(&model, Task::Score, &[2]), &CAUSAL, Run::default()).unwrap()[0].tokens.is_empty());
    for (text, score) in texts.iter().zip(&scores) {
        assert_eq!(&model.score(&encode(&model, Task::Score, &[text]), &CAUSAL, Run::default()).unwrap()[0], score);
    }
}

#[test]
fn greedy_texts_equal_those_of_transformers() {
    let (model, expected) = (open("causal", 2), expected());
    let cases = list(&expected["greedy"]);
    assert!(cases.len() >= 8);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let max_tokens = case["max_tokens"].as_u64().unwrap_or(0) as usize;
        let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
        let answers = generate(&model, &encode(&model, Task::Generate, &[text]), &options);
        let [[continuation]] = [<[Continuation; 1]>::try_from(answers[0].clone()).unwrap()];
        assert_eq!(ids(&continuation.tokens), integers(&case["new"]), "{text}");
        let each = continuation.tokens.iter().map(|token| f64::from(token.log_probability));
        close(text, each, &numbers(&case["per_token"]), LOG_PROBABILITY);
        let finished = case["finished"].as_bool().unwrap();
        assert_eq!(continuation.ending, if finished { Ending::Finished } else { Ending::Length });
        let prompt = integers(&case["prompt"]);
        let whole = model.tokenizer().unwrap().decode(&prompt, true).unwrap() + &continuation.text.unwrap();
        assert_eq!(whole.trim_start(), case["decoded"].as_str().unwrap().trim_start());
        // Token ids are the prompt as it stands.
        assert_eq!(
            generate(&model, &of_ids(&model, Task::Generate, &prompt), &options)[0][0].tokens,
            continuation.tokens
        );
    }
    // All at once.
    let texts: Vec<&str> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
    let together = generate(&model, &encode(&model, Task::Generate, &texts), &GenerateOptions::default());
    for (case, answer) in cases.iter().zip(together) {
        let new = integers(&case["new"]);
        assert_eq!(ids(&answer[0].tokens)[..new.len()], new);
    }
}

#[test]
fn generated_tokens_have_the_probability_that_scoring_gives_them() {
    let model = open("causal", 2);
    let prompts = encode(&model, Task::Generate, &["the cat", "he was"]);
    let sampling = Sampling { temperature: 1.4, top_k: 20, seed: 3, ..Sampling::default() };
    for (item, continuations) in prompts.items().iter().zip(generate(&model, &prompts, &sampled(3, 12, sampling))) {
        let prompt = &item.tokens.ids[..item.tokens.ids.len() - 1];
        for continuation in continuations {
            let whole = [prompt, &ids(&continuation.tokens)].concat();
            let scores = model.score(&of_ids(&model, Task::Score, &whole), &CAUSAL, Run::default()).unwrap();
            let scores = &scores[0].tokens[prompt.len() - 1..];
            for (token, score) in continuation.tokens.iter().zip(scores) {
                // The same logits; ln Σ e^x is rounded once more on one of the two ways.
                assert!((token.log_probability - score.log_probability).abs() < 2e-6);
            }
        }
    }
}

#[test]
fn what_may_be_drawn_equals_transformers() {
    let (model, expected) = (open("causal", 2), expected());
    for text in list(&expected["warped"]) {
        let prompt = encode(&model, Task::Generate, &[text["text"].as_str().unwrap()]);
        for case in list(&text["cases"]) {
            let number = |key: &str| case[key].as_f64().unwrap() as f32;
            let sampling = Sampling {
                temperature: number("temperature"),
                top_k: case["top_k"].as_u64().unwrap() as usize,
                top_p: number("top_p"),
                seed: 11,
            };
            const DRAWS: usize = 2000;
            let answers = generate(&model, &prompt, &sampled(DRAWS, 1, sampling));
            let mut counts = [0usize; 120];
            answers[0].iter().for_each(|continuation| counts[continuation.tokens[0].id as usize] += 1);
            let (kept, chances) = (integers(&case["ids"]), numbers(&case["probabilities"]));
            let mut left = counts;
            for (&id, &chance) in kept.iter().zip(&chances) {
                left[id as usize] = 0;
                let (drawn, wanted) = (counts[id as usize] as f64, chance * DRAWS as f64);
                // Six deviations of a count of so many draws, and one more where hardly any are expected.
                let bound = 6.0 * (wanted * (1.0 - chance)).sqrt() + 1.0;
                assert!((drawn - wanted).abs() <= bound, "{case}: token {id} drawn {drawn} times, {wanted} expected");
            }
            assert_eq!(left, [0; 120], "{case}");
        }
    }
}

#[test]
fn a_seed_gives_one_text_on_any_threads_and_in_any_company() {
    let sampling = Sampling { temperature: 1.2, seed: 5, ..Sampling::default() };
    let options = sampled(3, 15, sampling);
    let texts = ["the cat", "he was not happy, she", "", "Anna walks to the"];
    let tokens = |answers: &[Continuation]| -> Vec<(Vec<u32>, Vec<u32>)> {
        let bits = |c: &Continuation| c.tokens.iter().map(|t| t.log_probability.to_bits()).collect();
        answers.iter().map(|c| (ids(&c.tokens), bits(c))).collect()
    };
    let one = open("causal", 1);
    let together = generate(&one, &encode(&one, Task::Generate, &texts), &options);
    for threads in [1, 3] {
        let model = open("causal", threads);
        for (text, together) in texts.iter().zip(&together) {
            let alone = generate(&model, &encode(&model, Task::Generate, &[text]), &options);
            assert_eq!(tokens(&alone[0]), tokens(together));
            // Fewer continuations are the first of more.
            let first = generate(&model, &encode(&model, Task::Generate, &[text]), &sampled(1, 15, sampling));
            assert_eq!(tokens(&first[0]), tokens(&together[..1]));
        }
    }
    let distinct: BTreeSet<Vec<u32>> = together[1].iter().map(|continuation| ids(&continuation.tokens)).collect();
    assert_eq!(distinct.len(), 3);
    let other = sampled(3, 15, Sampling { seed: 6, ..sampling });
    assert_ne!(tokens(&generate(&one, &encode(&one, Task::Generate, &texts), &other)[1]), tokens(&together[1]));
    // More texts than pass the model at once.
    let many = generate(&one, &encode(&one, Task::Generate, &["he was not happy, she"; 90]), &options);
    assert!(many.iter().all(|answer| tokens(answer) == tokens(&together[1])));
}

#[test]
fn some_tokens_are_never_generated() {
    let model = open("causal", 2);
    let prompts = encode(&model, Task::Generate, &["the cat", ""]);
    let hot = Sampling { temperature: 50.0, seed: 1, ..Sampling::default() };
    let answers = generate(&model, &prompts, &sampled(40, 0, hot));
    let all: Vec<u32> = answers.iter().flatten().flat_map(|continuation| ids(&continuation.tokens)).collect();
    let distinct: BTreeSet<u32> = all.iter().copied().collect();
    assert!(all.len() > 1000 && distinct.len() == 116, "{} of {}", distinct.len(), all.len());
    assert!([0, 1, 2, 4].iter().all(|id| !distinct.contains(id)) && distinct.contains(&3));
    for continuation in answers.iter().flatten() {
        let separators = continuation.tokens.iter().filter(|token| token.id == 3).count();
        assert_eq!(separators, usize::from(continuation.ending == Ending::Finished));
        assert_eq!(continuation.tokens.last().is_some_and(|token| token.id == 3), separators == 1);
    }
}

#[test]
fn texts_end_where_positions_do() {
    let model = open("causal", 2);
    let whole: Vec<u32> = (5..45).collect();
    for (length, room) in [(40, 0), (39, 1), (30, 10)] {
        let prompt = of_ids(&model, Task::Generate, &whole[..length]);
        let options = GenerateOptions { end: Some(0), max_tokens: 100, ..GenerateOptions::default() };
        assert_eq!(model.generated_tokens(&prompt, &options), room);
        let answer = &generate(&model, &prompt, &options)[0][0];
        // [PAD] ends this text, and is all but impossible after these.
        assert_eq!((answer.tokens.len(), answer.ending), (room, Ending::Length));
    }
    let options = GenerateOptions { max_tokens: 7, ..GenerateOptions::default() };
    let prompts = encode(&model, Task::Generate, &["it is a big old", ""]);
    assert_eq!(model.generated_tokens(&prompts, &options), 14);
    assert!(generate(&model, &encode(&model, Task::Generate, &[]), &options).is_empty());
}

#[test]
fn tokens_are_shown_as_they_come_and_may_be_the_last() {
    let model = open("causal", 2);
    let prompts = encode(&model, Task::Generate, &["it is a big old", "Anna walks to the"]);
    let sampling = Sampling { seed: 2, ..Sampling::default() };
    let options = sampled(2, 9, sampling);
    let caller = std::thread::current().id();
    let mut shown = vec![vec![Vec::new(); 2]; 2];
    let mut each = |token: &NewToken| {
        assert_eq!(std::thread::current().id(), caller);
        shown[token.input][token.continuation].push(*token);
        (token.input, token.continuation, shown[token.input][token.continuation].len()) != (1, 0, 4)
    };
    let answers = model.generate_streaming(&prompts, &options, &mut each, Run::default()).unwrap();
    let whole = generate(&model, &prompts, &options);
    for (input, answers) in answers.iter().enumerate() {
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.tokens, shown[input][number]);
            let whole = &whole[input][number];
            match (input, number) {
                (1, 0) => {
                    assert!(whole.tokens.len() > 4);
                    assert_eq!((&answer.tokens[..], answer.ending), (&whole.tokens[..4], Ending::Stopped));
                }
                _ => assert_eq!(answer, whole),
            }
        }
    }
}

#[test]
fn generating_reports_its_progress_and_can_be_cancelled() {
    let model = open("causal", 2);
    let prompts = encode(&model, Task::Generate, &["it is a big old"; 100]);
    let options = GenerateOptions { max_tokens: 6, ..GenerateOptions::default() };
    let mut calls = Vec::new();
    let mut note = |done, total| {
        calls.push((done, total));
        true
    };
    model.generate(&prompts, &options, Run { cancel: None, progress: Some(&mut note) }).unwrap();
    assert!(calls.len() >= 6 && calls.windows(2).all(|pair| pair[0].0 < pair[1].0), "{calls:?}");
    assert_eq!(calls[calls.len() - 1], (600, 600));
    let mut stop = |done, _| done < 200;
    let error = model.generate(&prompts, &options, Run { cancel: None, progress: Some(&mut stop) }).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
    let flag = Cancel::new();
    let mut each = |_: &NewToken| {
        flag.set();
        true
    };
    let run = Run { cancel: Some(&flag), progress: None };
    let error = model.generate_streaming(&prompts, &options, &mut each, run).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
}

#[test]
fn what_the_direction_does_not_allow_is_refused_by_name() {
    let (causal, other) = (open("causal", 1), open("pretraining", 1));
    assert_eq!((causal.info().direction, other.info().direction), (Direction::Causal, Direction::Bidirectional));
    assert_eq!(causal.info().tasks, [Task::Score, Task::Embed, Task::HiddenStates, Task::Generate]);
    assert!(!other.info().tasks.contains(&Task::Generate));
    assert_eq!(causal.report_json()["direction"], "causal");
    let text = |model: &Model| encode(model, Task::Fill, &["the [MASK] sleeps"]);
    let score = |model: &Model, method| {
        model.score(&text(model), &ScoreOptions { method, mask: None }, Run::default()).map(drop)
    };
    let fill = causal.fill(&text(&causal), &FillOptions::default(), Run::default()).map(drop);
    let generate = other.generate(&text(&other), &GenerateOptions::default(), Run::default()).map(drop);
    for (refused, words) in [
        (score(&causal, Method::PseudoLogLikelihood), ["pseudo-log-likelihood", "this model is causal"]),
        (score(&causal, Method::WordLeftToRight), ["pseudo-log-likelihood", "this model is causal"]),
        (fill, ["filling masks", "this model is causal"]),
        (causal.supports(Task::Fill), ["filling masks", "this model is causal"]),
        (score(&other, Method::Causal), ["the method causal", "this model is bidirectional"]),
        (generate, ["generating", "this model is bidirectional"]),
        (other.supports(Task::Generate), ["generating", "this model is bidirectional"]),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.status(), Status::Unsupported, "{error}");
        assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
    }
}

#[test]
fn options_that_contradict_themselves_are_refused() {
    let model = open("causal", 1);
    let prompt = encode(&model, Task::Generate, &["the"]);
    let good = Sampling::default();
    for options in [
        GenerateOptions { count: 2, ..GenerateOptions::default() },
        sampled(1, 1, Sampling { temperature: 0.0, ..good }),
        sampled(1, 1, Sampling { top_p: 1.5, ..good }),
    ] {
        let error = model.generate(&prompt, &options, Run::default()).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    }
}

#[test]
fn a_saved_model_is_the_same_causal_model() {
    let folder = tempfile::tempdir().unwrap();
    let (model, target) = (open("causal", 2), folder.path().join("saved"));
    model.save(&target).unwrap();
    let config: Value = serde_json::from_slice(&std::fs::read(target.join("config.json")).unwrap()).unwrap();
    assert_eq!((&config["architectures"][0], &config["is_decoder"]), (&"BertLMHeadModel".into(), &true.into()));
    let again = Model::open(&target, &OpenOptions { threads: 2, ..OpenOptions::default() }).unwrap();
    let prompts = ["the cat", "he was"];
    let inputs = |model: &Model| encode(model, Task::Generate, &prompts);
    let answers = |model: &Model| generate(model, &inputs(model), &GenerateOptions::default());
    assert_eq!(answers(&again), answers(&model));
    assert_eq!(again.report().unused, Vec::<String>::new());
}

const LESSONS: [&str; 3] = ["the cat sees the bird", "anna walks to the river", "he was not happy"];

fn lessons() -> Dataset {
    let mut data = Dataset::new();
    for text in LESSONS {
        data.push(Example { input: ExampleInput::Text(text.to_owned()), target: Target::None }).unwrap();
    }
    data
}

fn learned(model: &Model, trainable: Trainable) -> (Model, f64) {
    let options = TrainOptions {
        objective: Objective::CausalLm,
        trainable,
        dropout: Some(0.0),
        epochs: 60,
        batch_size: 3,
        learning_rate: 1e-2,
        lora: LoraOptions { rank: 8, dropout: 0.0, ..LoraOptions::default() },
        ..TrainOptions::default()
    };
    let mut trainer = Trainer::new(model, &options, None).unwrap();
    assert_eq!(trainer.metric(), "loss");
    trainer.fit(&lessons(), None, FitRun::default()).unwrap();
    let metrics = trainer.evaluate(&lessons(), Run::default()).unwrap();
    assert_eq!(metrics.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["loss", "perplexity", "accuracy"]);
    (trainer.snapshot().unwrap(), metrics.get("loss").unwrap())
}

#[test]
fn what_was_learned_is_what_follows() {
    let model = open("causal", 2);
    let before = model.evaluate(Objective::CausalLm, &lessons(), 0, Run::default()).unwrap().metrics;
    for trainable in [Trainable::All, Trainable::Lora] {
        let (taught, loss) = learned(&model, trainable);
        assert!(loss < before.get("loss").unwrap() / 10.0, "{trainable:?}: {loss}");
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taught");
        taught.save(&target).unwrap();
        let taught = Model::open(&target, &OpenOptions { threads: 2, ..OpenOptions::default() }).unwrap();
        assert_eq!(taught.objective().unwrap(), Objective::CausalLm);

        // Evaluation, scoring and generation tell the same.
        let metrics = taught.evaluate(Objective::CausalLm, &lessons(), 0, Run::default()).unwrap().metrics;
        let scores = taught.score(&encode(&taught, Task::Score, &LESSONS), &CAUSAL, Run::default()).unwrap();
        close("perplexity", metrics.get("perplexity"), &[perplexity(&scores)], 1e-5);
        // All but two of the three first words, of which one is the likeliest.
        let words: usize = scores.iter().map(|score| score.tokens.len()).sum();
        assert_eq!(metrics.get("accuracy"), Some((words - 2) as f64 / words as f64), "{trainable:?}");
        let prompts = encode(&taught, Task::Generate, &["the cat", "anna walks", "he was"]);
        let answers = generate(&taught, &prompts, &GenerateOptions::default());
        let texts: Vec<&str> = answers.iter().map(|answer| answer[0].text.as_deref().unwrap()).collect();
        assert_eq!(texts, [" sees the bird", " to the river", " not happy"]);
        assert!(answers.iter().all(|answer| answer[0].ending == Ending::Finished));
        let config = std::fs::read_to_string(target.join("config.json")).unwrap();
        assert!(config.contains("BertLMHeadModel") && config.contains("\"is_decoder\": true"));
    }
}

#[test]
fn a_new_causal_model_has_the_head_of_one() {
    let folder = golden("causal");
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let file = |name: &str| std::sync::Arc::new(std::fs::read(folder.join(name)).unwrap()) as Bytes;
    let files = ["vocab.txt", "tokenizer_config.json"].map(|name| (name, file(name)));
    let fresh = |objective| {
        Model::fresh(
            &config,
            &files,
            &FreshOptions { objective, seed: 1 },
            &OpenOptions { threads: 1, ..OpenOptions::default() },
        )
    };
    let model = fresh(Objective::CausalLm).unwrap();
    assert!(model.supports(Task::Generate).is_ok());
    let target = tempfile::tempdir().unwrap();
    model.save(&target.path().join("new")).unwrap();
    let again = Model::open(&target.path().join("new"), &OpenOptions { threads: 1, ..OpenOptions::default() }).unwrap();
    let config = std::fs::read_to_string(target.path().join("new/config.json")).unwrap();
    assert!(config.contains("BertLMHeadModel"), "{config}");
    assert!(again.info().missing.is_empty() && again.supports(Task::Generate).is_ok());
    let error = fresh(Objective::Pretraining).err().unwrap();
    assert!(error.message().contains("this model is causal"), "{error}");
}
