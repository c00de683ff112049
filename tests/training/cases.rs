//! Models, examples and options that the tests share.

use std::path::{Path, PathBuf};

use cloze::batch::Tokens;
use cloze::engine::{
    Dataset, Example, ExampleInput, FitRun, Input, Model, Objective, OpenOptions, Run, Target, Task, TextOptions,
    TrainOptions, Trainable, Trainer,
};
use cloze::error::{Error, Status};

pub const LABELS: [&str; 3] = ["negative", "neutral", "positive"];

/// A folder of `tests`.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

pub fn open(path: &Path, threads: usize) -> Model {
    Model::open(path, &OpenOptions { threads, ..OpenOptions::default() }).unwrap()
}

/// BERT of two layers with the three labels, a tokenizer, 40 positions and dropout 0.1 everywhere.
pub fn sequence(threads: usize) -> Model {
    open(&folder("golden/sequence"), threads)
}

/// Numbers that look random: the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// Below `bound`. Knuth's linear congruential generator, its upper bits.
    pub fn roll(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }
}

/// 3 to 14 token ids below 119, `[CLS]` first: they fit every golden model.
pub fn tokens(dice: &mut Dice) -> Tokens {
    let mut ids = vec![2];
    ids.extend((0..2 + dice.roll(12)).map(|_| 5 + dice.roll(114) as u32));
    Tokens { types: vec![0; ids.len()], ids }
}

/// Examples from tokens and their target.
pub fn dataset(count: usize, seed: u64, target: impl Fn(&Tokens, &mut Dice) -> Target) -> Dataset {
    let (mut dice, mut data) = (Dice(seed), Dataset::new());
    for _ in 0..count {
        let tokens = tokens(&mut dice);
        let target = target(&tokens, &mut dice);
        data.push(Example { input: ExampleInput::Tokens(tokens), target }).unwrap();
    }
    data
}

/// Texts by token ids, labelled by their second token: something that can be learned.
pub fn labelled(count: usize, seed: u64) -> Dataset {
    dataset(count, seed, |tokens, _| Target::Label(LABELS[tokens.ids[1] as usize % 3].to_owned()))
}

/// Token ids, each with a label below `labels`, some without.
pub fn tagged(count: usize, seed: u64, labels: usize) -> Dataset {
    dataset(count, seed, |tokens, dice| {
        let tag = |id: &u32| if dice.roll(4) == 0 { -100 } else { (*id as usize % labels) as i32 };
        Target::Ids(tokens.ids.iter().map(tag).collect())
    })
}

pub fn numbers(count: usize, seed: u64, width: usize) -> Dataset {
    dataset(count, seed, |_, dice| Target::Numbers((0..width).map(|_| dice.roll(200) as f32 / 100.0 - 1.0).collect()))
}

/// Twelve steps in four epochs of 22 examples: six batches to an epoch, the last one smaller, two to a step.
pub fn options(trainable: Trainable) -> TrainOptions {
    TrainOptions {
        objective: Objective::Classify,
        labels: LABELS.map(str::to_owned).to_vec(),
        trainable,
        epochs: 4,
        batch_size: 4,
        group_by_length: true,
        accumulation: 2,
        learning_rate: 2e-3,
        layer_decay: 0.8,
        weight_decay: 0.01,
        warmup: 0.2,
        ..TrainOptions::default()
    }
}

pub fn trainer(model: &Model, options: &TrainOptions) -> Trainer {
    Trainer::new(model, options, None).unwrap()
}

pub fn fitted(model: &Model, options: &TrainOptions, train: &Dataset, dev: Option<&Dataset>) -> Trainer {
    let mut trainer = trainer(model, options);
    trainer.fit(train, dev, FitRun::default()).unwrap();
    trainer
}

/// The parameters that train, to compare bit by bit.
pub fn bits(trainer: &Trainer) -> Vec<u32> {
    trainer.parameters().unwrap().iter().map(|value| value.to_bits()).collect()
}

/// What a model makes of eight texts, each row's logarithm: logits less what a softmax does not see.
pub fn answers(model: &Model) -> Vec<Vec<f32>> {
    let mut dice = Dice(99);
    let sequences: Vec<Tokens> = (0..8).map(|_| tokens(&mut dice)).collect();
    let inputs: Vec<Input<'_>> =
        sequences.iter().map(|tokens| Input::Tokens { ids: &tokens.ids, types: &tokens.types }).collect();
    let inputs = model.encode(&inputs, Task::Classify, &TextOptions::default()).unwrap();
    model.classify(&inputs, Run::default()).unwrap().iter().map(|row| row.iter().map(|p| p.ln()).collect()).collect()
}

/// The same of a tagger, one row a token.
pub fn tags(model: &Model) -> Vec<Vec<f32>> {
    let mut dice = Dice(98);
    let sequences: Vec<Tokens> = (0..8).map(|_| tokens(&mut dice)).collect();
    let inputs: Vec<Input<'_>> =
        sequences.iter().map(|tokens| Input::Tokens { ids: &tokens.ids, types: &tokens.types }).collect();
    let inputs = model.encode(&inputs, Task::Tag, &TextOptions::default()).unwrap();
    model.tag(&inputs, Run::default()).unwrap().into_iter().flatten().map(|tagged| tagged.probabilities).collect()
}

/// The largest difference between two answers.
pub fn apart(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    assert_eq!(a.iter().flatten().count(), b.iter().flatten().count());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An error of that status whose message has all `parts`.
#[track_caller]
pub fn refused<T>(result: Result<T, Error>, status: Status, parts: &[&str]) {
    let Err(error) = result else { panic!("an error was expected") };
    assert_eq!(error.status(), status, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "no {part:?} in: {error}");
    }
}

/// Tensors of a safetensors file: key, type, bytes.
pub fn stored(file: &Path) -> Vec<(String, safetensors::Dtype, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> =
        tensors.iter().map(|(key, view)| (key.to_owned(), view.dtype(), view.data().to_vec())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// ALBERT of two layers in one group with the same three labels.
pub fn albert(threads: usize) -> Model {
    open(&folder("golden_training/albert_sequence"), threads)
}
