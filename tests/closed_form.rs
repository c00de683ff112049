//! Heads in closed form and whitened embeddings, through the engine. Built with the feature `linalg`.

#![cfg(feature = "linalg")]
#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::path::{Path, PathBuf};

use cloze::engine::{
    ClosedForm, Dataset, EmbedOptions, Example, ExampleInput, Input, Model, Objective, OpenOptions, Run, Target, Task,
    TextOptions, TrainOptions, Trainable, Trainer,
};
use cloze::error::Status;
use oracle::shared;
use tempfile::tempdir;

const RIDGE: ClosedForm = ClosedForm::Ridge { lambda: None };
const DISCRIMINANT: ClosedForm = ClosedForm::Discriminant { shrinkage: None };

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn open(folder: &Path, threads: usize) -> Model {
    Model::open(folder, &OpenOptions { threads, ..OpenOptions::default() }).unwrap()
}

/// Sequences of ids whose first word tells the label; the rest differs.
fn examples(words: usize, labels: u32, each: u32, target: impl Fn(u32) -> Target) -> Dataset {
    let mut data = Dataset::new();
    for index in 0..labels * each {
        let label = index % labels;
        let ids = (0..6).map(|place| match place {
            0 => 2,
            1 => 10 + label,
            place => 20 + (index * 7 + place * 13) % (words as u32 - 20),
        });
        let tokens = cloze::batch::Tokens { ids: ids.collect(), types: vec![0; 6] };
        data.push(Example { input: ExampleInput::Tokens(tokens), target: target(label) }).unwrap();
    }
    data
}

fn classes(words: usize, each: u32) -> Dataset {
    examples(words, 3, each, |label| Target::Label(format!("label {label}")))
}

fn trainer(model: &Model, objective: Objective, data: &Dataset) -> Trainer {
    let options = TrainOptions { objective, trainable: Trainable::Head, fresh_head: true, ..TrainOptions::default() };
    Trainer::new(model, &options, Some(data)).unwrap()
}

#[test]
fn few_examples_give_a_classifier_without_steps() {
    let model = open(&golden("sequence"), 2);
    let data = classes(model.words(), 8);
    for method in [RIDGE, DISCRIMINANT] {
        let mut trainer = trainer(&model, Objective::Classify, &data);
        let before = trainer.evaluate(&data, Run::default()).unwrap().get("accuracy").unwrap();
        let solved = trainer.solve(&data, method, Run::default()).unwrap();
        let metrics = trainer.evaluate(&data, Run::default()).unwrap();
        let (accuracy, loss) = (metrics.get("accuracy").unwrap(), metrics.get("loss").unwrap());
        eprintln!("{solved:?}: accuracy {before} to {accuracy}, loss {loss}");
        assert_eq!((solved.rows, trainer.position().step), (24, 0));
        // chance is 1/3, the loss of saying nothing ln 3
        assert!(accuracy > 0.6 && accuracy > before && loss < 3f64.ln(), "{method:?}: {accuracy} {loss}");
        let folder = tempdir().unwrap();
        trainer.save(&folder.path().join("model")).unwrap();
        let reopened = open(&folder.path().join("model"), 1);
        let again = reopened.evaluate(Objective::Classify, &data, 0, Run::default()).unwrap();
        assert_eq!(again.metrics.get("accuracy"), Some(accuracy));
    }
}

#[test]
fn a_head_is_the_same_bits_on_any_number_of_threads() {
    let of = |threads, method| {
        let model = open(&golden("sequence"), threads);
        let data = classes(model.words(), 100);
        let mut trainer = trainer(&model, Objective::Classify, &data);
        trainer.solve(&data, method, Run::default()).unwrap();
        trainer.parameters().unwrap()
    };
    for method in [RIDGE, DISCRIMINANT] {
        assert!(of(1, method) == of(3, method), "{method:?}");
    }
}

/// With fewer examples than H, least squares without a penalty goes through every one of them.
#[test]
fn a_regression_without_penalty_goes_through_its_examples() {
    let model = open(&golden("regression"), 1);
    let data = examples(model.words(), 5, 1, |label| Target::Number(label as f32 - 1.5));
    let mut trainer = trainer(&model, Objective::Regress, &data);
    trainer.solve(&data, ClosedForm::Ridge { lambda: Some(0.0) }, Run::default()).unwrap();
    let loss = trainer.evaluate(&data, Run::default()).unwrap().get("loss").unwrap();
    // squares of f32 rounding, times what a fit through close points magnifies
    assert!(loss < 1e-6, "{loss}");
}

#[test]
fn labels_of_tokens_and_of_switches_are_found() {
    let model = open(&golden("token"), 1);
    let words = model.words();
    let tags = |label: u32| Target::Ids((0..6).map(|place| if place == 1 { label as i32 } else { -100 }).collect());
    let data = examples(words, 3, 8, tags);
    let labels = ["A", "B", "C"].map(str::to_owned).to_vec();
    let base = TrainOptions { trainable: Trainable::Head, fresh_head: true, labels, ..TrainOptions::default() };
    let mut tagger =
        Trainer::new(&model, &TrainOptions { objective: Objective::Tag, ..base.clone() }, Some(&data)).unwrap();
    for method in [RIDGE, DISCRIMINANT] {
        assert_eq!(tagger.solve(&data, method, Run::default()).unwrap().rows, 24);
        // the word itself tells its label
        let loss = tagger.evaluate(&data, Run::default()).unwrap().get("loss").unwrap();
        assert!(loss < 0.1, "{method:?}: {loss}");
    }

    let model = open(&golden("multilabel"), 1);
    let some = |label: u32| Target::Labels(["A", "B"][..label as usize].iter().map(|s| (*s).to_owned()).collect());
    let data = examples(model.words(), 3, 8, some);
    let options = TrainOptions { objective: Objective::MultiLabel, ..base };
    let mut switches = Trainer::new(&model, &options, Some(&data)).unwrap();
    let before = switches.evaluate(&data, Run::default()).unwrap().get("loss").unwrap();
    switches.solve(&data, RIDGE, Run::default()).unwrap();
    let after = switches.evaluate(&data, Run::default()).unwrap().get("loss").unwrap();
    assert!(after < before, "{before} to {after}");
    let error = switches.solve(&data, DISCRIMINANT, Run::default()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
}

#[test]
fn what_has_no_closed_form_is_refused_and_changes_nothing() {
    let model = open(&golden("sequence"), 1);
    let data = classes(model.words(), 2);
    let labels = ["label 0", "label 1", "label 2", "unseen"].map(str::to_owned).to_vec();
    let options = TrainOptions { labels, trainable: Trainable::Head, fresh_head: true, ..TrainOptions::default() };
    let mut trainer = Trainer::new(&model, &options, None).unwrap();
    let before = trainer.parameters().unwrap();
    let error = trainer.solve(&data, DISCRIMINANT, Run::default()).unwrap_err();
    assert!(error.status() == Status::InvalidInput && error.message().contains("\"unseen\""), "{error}");
    let error = trainer.solve(&Dataset::new(), RIDGE, Run::default()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    let mut stop = |_, _| false;
    let run = Run { progress: Some(&mut stop), ..Run::default() };
    assert_eq!(trainer.solve(&data, RIDGE, run).unwrap_err().status(), Status::Cancelled);
    assert_eq!(trainer.parameters().unwrap(), before);
    trainer.solve(&data, RIDGE, Run::default()).unwrap();
    assert_ne!(trainer.parameters().unwrap(), before);
}

fn embeddings(model: &Model, data: &[Input<'_>]) -> Vec<Vec<f32>> {
    let encoded = model.encode(data, Task::Embed, &TextOptions::default()).unwrap();
    model.embed(&encoded, &EmbedOptions::default(), Run::default()).unwrap()
}

fn sequences(words: usize) -> Vec<Vec<u32>> {
    let word = |index: u32, place: u32| 5 + (index * index * 7 + place * (13 + index)) % (words as u32 - 5);
    (0..60u32).map(|index| (0..3 + index % 9).map(|place| word(index, place)).collect()).collect()
}

#[test]
fn a_whitened_model_is_saved_as_a_pipeline_and_reopens_with_the_same_embeddings() {
    for name in ["sentence", "sentence_old", "bare"] {
        let model = open(&golden(name), 2);
        let ids = sequences(model.words());
        let inputs: Vec<Input<'_>> = ids.iter().map(|ids| Input::Tokens { ids, types: &[] }).collect();
        let white = model.whiten(&inputs, 4, Run::default()).unwrap();
        let vectors = embeddings(&white, &inputs);
        assert_eq!((white.info().embedding, vectors[0].len()), (4, 4), "{name}");
        for i in 0..4 {
            let column = |j: usize| vectors.iter().map(move |vector| f64::from(vector[j]));
            let mean = column(i).sum::<f64>() / 60.0;
            assert!(mean.abs() < 1e-4, "{name}: mean {mean}");
            for j in 0..4 {
                let covariance = column(i).zip(column(j)).map(|(a, b)| a * b).sum::<f64>() / 59.0;
                // f32 embeddings of size 1 that vary by 0.1 and less: ten times their rounding, and a sum of 60
                assert!((covariance - f64::from(u8::from(i == j))).abs() < 1e-3, "{name}: {i} {j} {covariance}");
            }
        }
        let folder = tempdir().unwrap();
        white.save(&folder.path().join("white")).unwrap();
        let reopened = open(&folder.path().join("white"), 1);
        assert!(embeddings(&reopened, &inputs) == vectors, "{name}: other bits");
        assert_eq!(reopened.info().max_tokens, model.info().max_tokens, "{name}");
        let error = model.whiten(&inputs[..3], 4, Run::default()).map(|_| ()).unwrap_err();
        assert!(error.status() == Status::InvalidArgument && error.message().contains("1 to 2"), "{error}");
    }
}

#[test]
fn a_saved_model_keeps_its_pipeline() {
    for name in ["sentence", "sentence_old", "bare"] {
        let model = open(&golden(name), 2);
        let folder = tempdir().unwrap();
        model.save(&folder.path().join("copy")).unwrap();
        let copy = open(&folder.path().join("copy"), 2);
        let ids = sequences(model.words());
        let inputs: Vec<Input<'_>> = ids.iter().map(|ids| Input::Tokens { ids, types: &[] }).collect();
        assert!(embeddings(&model, &inputs) == embeddings(&copy, &inputs), "{name}");
        assert_eq!(model.info().max_tokens, copy.info().max_tokens, "{name}");
        assert_eq!(folder.path().join("copy/modules.json").exists(), name != "bare");
    }
}

/// Heads on the pooled rows of all-MiniLM-L6-v2 with eight examples an intent.
#[test]
fn intents_are_told_apart_after_one_pass() {
    let (Some(folder), Some(train)) = (shared("models/minilm"), shared("data/banking77/train.csv")) else { return };
    let model = open(&folder, 2);
    let all = Dataset::read(&train, None, cloze::engine::Kind::Label).unwrap();
    let (mut few, mut rest) = (Dataset::new(), Dataset::new());
    let mut seen = std::collections::BTreeMap::new();
    for example in all.examples() {
        let Target::Label(label) = &example.target else { panic!("a label") };
        let count = seen.entry(label.clone()).or_insert(0);
        *count += 1;
        match *count {
            1..=8 => few.push(example.clone()).unwrap(),
            9..=10 => rest.push(example.clone()).unwrap(),
            _ => {}
        }
    }
    for method in [RIDGE, DISCRIMINANT] {
        let mut trainer = trainer(&model, Objective::Classify, &few);
        let solved = trainer.solve(&few, method, Run::default()).unwrap();
        let found = trainer.evaluate(&rest, Run::default()).unwrap();
        let (accuracy, loss) = (found.get("accuracy").unwrap(), found.get("loss").unwrap());
        eprintln!("{solved:?}: accuracy {accuracy:.4}, loss {loss:.4}");
        // of 77 intents; chance is 0.013
        assert!(accuracy > 0.5, "{method:?}: {accuracy}");
    }
}
