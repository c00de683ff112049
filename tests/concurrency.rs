//! One model asked from many threads, and models of any number of threads, give the same bits.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::path::Path;

use cloze::engine::{
    EmbedOptions, FillOptions, Input, Mask, Model, OpenOptions, Run, Score, ScoreOptions, Task, TextOptions,
};
use oracle::{golden, shared};

const TEXTS: [&str; 6] = [
    "the cat [MASK] the bird.",
    "[MASK] [MASK] is not happy, [MASK]!",
    "he said: [MASK]ing the child's dog",
    "Anna walks to the [MASK] in Paris with John, and Maria sleeps in the old house.",
    "[MASK]",
    "Café-London [MASK] 中文 € 3 tables?",
];

fn open(folder: &Path, threads: usize) -> Model {
    Model::open(folder, &OpenOptions { threads, ..OpenOptions::default() }).unwrap()
}

#[derive(Debug, PartialEq)]
struct Answers {
    embeddings: Vec<Vec<f32>>,
    states: Vec<Vec<Vec<f32>>>,
    masks: Vec<Vec<Mask>>,
    scores: Vec<Score>,
    next: Vec<f32>,
}

/// What `model` says of `texts`, each task in its turn from `first` on.
fn ask(model: &Model, texts: &[&str], first: usize) -> Answers {
    let inputs: Vec<_> = texts.iter().map(|t| Input::Text(t)).collect();
    let pairs: Vec<_> = texts.iter().map(|t| Input::Pair(t, "she was")).collect();
    let encode = |inputs: &[Input<'_>], task| model.encode(inputs, task, &TextOptions::default()).unwrap();
    let mut answers = Answers { embeddings: vec![], states: vec![], masks: vec![], scores: vec![], next: vec![] };
    let tasks = model.info().tasks;
    for turn in 0..tasks.len() {
        let task = tasks[(first + turn) % tasks.len()];
        let encoded = encode(if task == Task::NextSentence { &pairs } else { &inputs }, task);
        match task {
            Task::Embed => {
                answers.embeddings = model.embed(&encoded, &EmbedOptions::default(), Run::default()).unwrap();
            }
            Task::HiddenStates => answers.states = model.hidden_states(&encoded, &[1, 0], Run::default()).unwrap(),
            Task::Fill => answers.masks = model.fill(&encoded, &FillOptions::default(), Run::default()).unwrap(),
            Task::Score => answers.scores = model.score(&encoded, &ScoreOptions::default(), Run::default()).unwrap(),
            Task::NextSentence => answers.next = model.next_sentence(&encoded, Run::default()).unwrap(),
            Task::Classify | Task::Tag | Task::Generate => {}
        }
    }
    answers
}

/// Eight threads begin with different tasks and different texts; every answer is that of one thread.
fn from_many_threads(folder: &Path, rounds: usize) {
    let model = open(folder, 2);
    let orders: Vec<Vec<&str>> = (0..8)
        .map(|thread| {
            let mut texts = TEXTS.to_vec();
            texts.rotate_left(thread % TEXTS.len());
            texts.truncate(TEXTS.len() - thread / 3);
            texts
        })
        .collect();
    let alone: Vec<Answers> = orders.iter().map(|texts| ask(&model, texts, 0)).collect();
    std::thread::scope(|scope| {
        for (thread, (texts, alone)) in orders.iter().zip(&alone).enumerate() {
            // Clones share the model.
            let model = model.clone();
            scope.spawn(move || {
                for round in 0..rounds {
                    assert_eq!(&ask(&model, texts, thread + round), alone, "thread {thread}, round {round}");
                }
            });
        }
    });
}

#[test]
fn eight_threads_get_the_answers_of_one() {
    from_many_threads(&golden("pretraining"), 10);
}

#[test]
fn eight_threads_get_the_answers_of_one_from_a_real_model() {
    let Some(folder) = shared("models/minilm") else { return };
    from_many_threads(&folder, 1);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for name in ["pretraining", "odd", "bf16"] {
        let one = open(&golden(name), 1);
        let expected = ask(&one, &TEXTS, 0);
        for threads in [2, 3, 8] {
            let model = open(&golden(name), threads);
            assert_eq!((one.info().threads, model.info().threads), (1, threads));
            assert_eq!(ask(&model, &TEXTS, 0), expected, "{name}, {threads} threads");
        }
    }
    let Some(folder) = shared("models/minilm") else { return };
    let expected = ask(&open(&folder, 1), &TEXTS, 0);
    for threads in [2, 3, 8] {
        assert_eq!(ask(&open(&folder, threads), &TEXTS, 0), expected, "{threads} threads");
    }
}
