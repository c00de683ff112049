//! Answers in bf16 and in 8 bits on the CPU, and how weights are kept.

#![allow(clippy::unwrap_used)] // a test may panic

use std::path::{Path, PathBuf};

use cloze::engine::{
    Dataset, EmbedOptions, Encoded, FillOptions, Input, Memory, Model, Objective, OpenOptions, Precision, Run,
    ScoreOptions, Task, TextOptions, TrainOptions, Trainable, Trainer,
};

const TEXTS: [&str; 6] = [
    "She opened the door and looked out.",
    "It was a dark and stormy night; the rain fell in torrents, and the wind rattled along the housetops.",
    "No.",
    "\"I am very glad to see you,\" said the old gentleman, and he shook him warmly by the hand.",
    "The carriage stopped before a large house.",
    "He did not answer her letter for a week, and when he did it was in so few words that she cried over them.",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model")
}

fn open(precision: Precision, memory: Memory) -> Model {
    Model::open(&folder(), &OpenOptions { precision, memory, threads: 2, ..OpenOptions::default() }).unwrap()
}

fn encode(model: &Model, task: Task) -> Encoded {
    model.encode(&TEXTS.map(Input::Text), task, &TextOptions::default()).unwrap()
}

/// Mean embeddings of the texts.
fn embed(model: &Model) -> Vec<Vec<f32>> {
    model.embed(&encode(model, Task::Embed), &EmbedOptions::default(), Run::default()).unwrap()
}

/// |a − b| / |b|
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let norm = |values: Vec<f32>| values.iter().map(|x| x * x).sum::<f32>().sqrt();
    norm(a.iter().zip(b).map(|(a, b)| a - b).collect()) / norm(b.to_vec())
}

#[test]
fn embeddings_and_scores_are_close_to_those_in_f32() {
    let exact = open(Precision::F32, Memory::Fast);
    // Four layers of rounding to 2⁻⁸, and to steps of 1/255 of what a row spans: some of it cancels in the mean of tokens.
    for (precision, near, per_token) in [(Precision::Bf16, 0.01, 0.02), (Precision::Int8, 0.05, 0.1)] {
        let model = open(precision, Memory::Fast);
        for (narrow, wide) in embed(&model).iter().zip(embed(&exact)) {
            let off = distance(narrow, &wide);
            assert!(off < near, "{precision}: embedding off by {off}");
            assert!(off > 1e-5, "{precision}: embedding as in f32");
        }
        let score =
            |model: &Model| model.score(&encode(model, Task::Score), &ScoreOptions::default(), Run::default()).unwrap();
        for (narrow, wide) in score(&model).iter().zip(score(&exact)) {
            let off = (narrow.total - wide.total).abs() / wide.tokens.len() as f64;
            assert!(off < per_token, "{precision}: {off} nats a token");
        }
    }
}

#[test]
fn the_word_that_fits_is_the_same() {
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let model = open(precision, Memory::Fast);
        let text = [Input::Text("She opened the [MASK] and looked out.")];
        let text = model.encode(&text, Task::Fill, &TextOptions::default()).unwrap();
        let masks = model.fill(&text, &FillOptions::default(), Run::default()).unwrap();
        assert_eq!(model.token(masks[0][0].candidates[0].id), Some("door"), "{precision}");
    }
}

#[test]
fn how_weights_are_kept_changes_no_bit() {
    let least = open(Precision::F32, Memory::Least);
    let expected = embed(&least);
    // used once, while they are packed, and after
    let fast = open(Precision::F32, Memory::Fast);
    for _ in 0..4 {
        assert!(embed(&fast) == expected);
    }
    let fast = open(Precision::F32, Memory::Fast);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..4).for_each(|_| assert!(embed(&fast) == expected)));
        }
    });
}

/// Short texts and long ones, labelled so.
fn examples() -> Dataset {
    let mut examples = Dataset::new();
    for (index, text) in TEXTS.iter().enumerate() {
        examples
            .push(cloze::engine::Example {
                input: cloze::engine::ExampleInput::Text((*text).to_owned()),
                target: cloze::engine::Target::Label(["short", "long"][usize::from(index % 2 == 1)].to_owned()),
            })
            .unwrap();
    }
    examples
}

#[test]
fn a_model_in_8_bits_learns_and_is_saved_in_full() {
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::Lora] {
        let base = open(Precision::Int8, Memory::Fast);
        let options =
            TrainOptions { objective: Objective::Classify, trainable, learning_rate: 3e-3, ..TrainOptions::default() };
        let mut trainer = Trainer::new(&base, &options, Some(&examples())).unwrap();
        let mut losses = Vec::new();
        for _ in 0..12 {
            losses.push(trainer.accumulate(&examples(), None).unwrap());
            trainer.apply(None).unwrap();
        }
        assert!(losses[11] < 0.7 * losses[0], "{trainable:?}: {losses:?}");
        let place = tempfile::tempdir().unwrap();
        let learned = trainer.snapshot().unwrap();
        assert_eq!(learned.info().device.precision, Precision::Int8);
        if matches!(trainable, Trainable::Lora) {
            continue; // merged on the way: other weights by design
        }
        let saved = place.path().join("learned");
        learned.save(&saved).unwrap();
        // What did not train is saved as the folder held it, not as it was rounded.
        let key = "bert.encoder.layer.0.intermediate.dense.weight";
        assert!(tensor(&saved, key) == tensor(&folder(), key));
    }
}

#[test]
fn what_trains_in_bf16_learns_as_in_f32() {
    for trainable in [Trainable::All, Trainable::Top(2), Trainable::Lora] {
        let learn = |precision| {
            let base = open(precision, Memory::Fast);
            let options = TrainOptions {
                objective: Objective::Classify,
                trainable,
                learning_rate: 1e-3,
                ..TrainOptions::default()
            };
            let mut trainer = Trainer::new(&base, &options, Some(&examples())).unwrap();
            let step = |_| {
                let loss = trainer.accumulate(&examples(), None).unwrap();
                trainer.apply(None).unwrap();
                loss
            };
            (0..6).map(step).collect::<Vec<_>>()
        };
        let (narrow, wide) = (learn(Precision::Bf16), learn(Precision::F32));
        // Rounding to 2⁻⁸ moves a loss by about a hundredth of that in these few steps, in which it halves.
        for (narrow, wide) in narrow.iter().zip(&wide) {
            assert!((narrow - wide).abs() < 0.02 * wide.max(0.1), "{trainable:?}: {narrow} for {wide}");
        }
        assert!(narrow != wide, "{trainable:?}: as in f32");
    }
}

/// The bytes of a tensor of a folder.
fn tensor(folder: &Path, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let found = tensors.names().into_iter().find(|key| key.ends_with(name.trim_start_matches("bert."))).unwrap();
    tensors.tensor(found).unwrap().data().to_vec()
}
