//! The losses of PyTorch on the same batches from the same weights, and whether a language is learned at all.
//! `tests/golden_pretraining/README.md` tells how the values were made.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cloze::engine::{Corpus, Every, FitRun, Lines, Model, Objective, Record, StepRecord, TrainOptions, Trainer};
use cloze::train::corpus::{Cutter, Lesson, Segments, Shuffling, Stream};
use cloze::train::encode::{Item, ItemTarget};
use cloze::train::feed::{Feed, Fingerprint};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::fresh::{Sizes, fresh, unigram_entropy, vocabulary};
use crate::oracle::shared;

/// Of each loss. The differences found are 1.2e-6, most of it the six decimals of the file; weights that do not decay make
/// 2.6e-5, one step of warmup less 1e-3.
const RELATIVE: f64 = 1e-5;
const STEPS: u64 = 50;
const SIZES: Sizes = Sizes { hidden: 64, intermediate: 128, positions: 64 };
const VOCABULARY: usize = 2000;
const NOVELS: [&str; 2] = ["ENG18652_Carroll.txt", "ENG18900_Doyle.txt"];

fn options(steps: u64) -> TrainOptions {
    TrainOptions {
        objective: Objective::Pretraining,
        epochs: 20,
        max_steps: steps,
        batch_size: 8,
        max_tokens: SIZES.positions,
        learning_rate: 1e-3,
        warmup: 5.0,
        weight_decay: 0.01,
        dropout: Some(0.0),
        seed: 42,
        evaluate: Every::Never,
        ..TrainOptions::default()
    }
}

/// A folder with two novels, where they are.
fn novels() -> Option<TempDir> {
    let place = tempdir().unwrap();
    for name in NOVELS {
        fs::copy(shared(&format!("data/novels/{name}"))?, place.path().join(name)).unwrap();
    }
    Some(place)
}

fn begin(text: &Path) -> (Model, Corpus) {
    let model = fresh(&vocabulary(text, VOCABULARY), SIZES, Objective::Pretraining, 2);
    let corpus = model.corpus(text, Lines::Paragraphs, SIZES.positions).unwrap();
    (model, corpus)
}

fn trained(model: &Model, corpus: &Corpus, options: &TrainOptions) -> Vec<StepRecord> {
    let mut trainer = Trainer::new(model, options, None).unwrap();
    trainer.pretrain(corpus, None, FitRun::default()).unwrap();
    let step = |record: &Record| match record {
        Record::Step(step) => Some(*step),
        Record::Evaluation(_) => None,
    };
    trainer.position().history.iter().filter_map(step).collect()
}

/// The batches that training takes, one for each step.
fn batches(corpus: &Corpus, options: &TrainOptions) -> Vec<Vec<Item>> {
    let cutter = Cutter::new(corpus, options.pretraining, Segments::Pair, options.max_tokens, options.seed).unwrap();
    let mut stream = Stream::new(cutter, Lesson::WordsAndNext, Shuffling::On, options.batch_size);
    assert!(stream.count(0).unwrap() >= STEPS as usize, "more than an epoch");
    (0..STEPS as usize).map(|step| stream.batch(0, step).unwrap().items.into_iter().cloned().collect()).collect()
}

fn parts(item: &Item) -> (&[i32], usize) {
    match &item.target {
        ItemTarget::Pretraining { words, next } => (words, *next),
        other => panic!("{other:?}"),
    }
}

fn fingerprint(batches: &[Vec<Item>]) -> String {
    let mut sum = Fingerprint::default();
    for item in batches.iter().flatten() {
        let (words, next) = parts(item);
        item.tokens.ids.iter().chain(&item.tokens.types).for_each(|&id| sum.add(id.into()));
        words.iter().for_each(|&word| sum.add(word as u64));
        sum.add(next as u64);
    }
    format!("{:016x}", sum.get())
}

/// What `make.py` trains on: the model as a folder, and a batch a line.
fn export(folder: &Path, model: &Model, batches: &[Vec<Item>], fingerprint: &str) {
    fs::create_dir_all(folder).unwrap();
    model.save(&folder.join("initial")).unwrap();
    let mut out = fs::File::create(folder.join("batches.jsonl")).unwrap();
    for batch in batches {
        let list = |of: &dyn Fn(&Item) -> Value| batch.iter().map(of).collect::<Vec<_>>();
        let line = json!({
            "ids": list(&|item| json!(item.tokens.ids)),
            "types": list(&|item| json!(item.tokens.types)),
            "words": list(&|item| json!(parts(item).0)),
            "next": list(&|item| json!(parts(item).1)),
        });
        writeln!(out, "{line}").unwrap();
    }
    fs::write(folder.join("fingerprint"), fingerprint).unwrap();
}

fn curve(name: &str, text: &Path) {
    let (model, corpus) = begin(text);
    let options = options(STEPS);
    let batches = batches(&corpus, &options);
    let taken = fingerprint(&batches);
    if let Some(folder) = std::env::var_os("CLOZE_GOLDEN") {
        export(&PathBuf::from(folder).join(name), &model, &batches, &taken);
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden_pretraining/expected.json");
    let expected: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let expected = &expected[name];
    assert_eq!(json!(taken), expected["fingerprint"], "{name}: other batches than those PyTorch had; see README.md");

    let found = trained(&model, &corpus, &options);
    assert_eq!(found.len(), STEPS as usize);
    let mut worst = 0.0f64;
    for (index, step) in found.iter().enumerate() {
        let (words, next) = (step.words.unwrap().loss, step.next.unwrap().loss);
        for (key, loss) in [("loss", step.loss), ("mlm_loss", words), ("nsp_loss", next)] {
            let golden = expected[key][index].as_f64().unwrap();
            let off = (loss / golden - 1.0).abs();
            assert!(off <= RELATIVE, "{name} step {}: {key} {loss}, expected {golden}, off by {off:.1e}", step.step);
            worst = worst.max(off);
        }
    }
    eprintln!("{name}: losses of {STEPS} steps off by at most {worst:.1e}");
}

#[test]
fn wikipedia_has_the_losses_of_pytorch() {
    let Some(text) = shared("data/wikitext2/valid.txt") else { return };
    curve("wikitext2", &text);
}

#[test]
fn novels_have_the_losses_of_pytorch() {
    let Some(place) = novels() else { return };
    curve("novels", place.path());
}

/// Masks are drawn anew, so that there is no example to be learned by heart.
#[test]
fn words_are_learned_beyond_their_frequencies() {
    let Some(place) = novels() else { return };
    let (model, corpus) = begin(place.path());
    let entropy = unigram_entropy(&corpus);
    let steps = 900;
    let options = TrainOptions { learning_rate: 3e-3, warmup: 0.1, ..options(steps) };
    let losses: Vec<f64> = trained(&model, &corpus, &options).iter().map(|step| step.words.unwrap().loss).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (losses[0], mean(&losses[losses.len() - 100..]));
    eprintln!("words: {first:.3} at first, {last:.3} after {steps} steps; unigram entropy {entropy:.3}");
    // nothing is known at first: ln V, and a little for the weights' chance
    assert!((first - (model.info().vocabulary as f64).ln()).abs() < 0.2, "{first}");
    assert!(last < entropy - 0.1, "{last}, unigram entropy {entropy}");
}
