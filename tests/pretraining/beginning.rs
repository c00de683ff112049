//! What training on text begins with: heads that are there or missing, and the first bias of words.

use std::collections::BTreeMap;
use std::fs;

use cloze::engine::{Corpus, Every, FitRun, Lines, Model, Objective, Record, TrainOptions, Trainable, Trainer};
use tempfile::tempdir;

use crate::fresh::{SMALL, fresh, text, unigram_entropy, vocabulary};

/// A model of random weights for `objective`, and text.
fn begin(objective: Objective) -> (Model, Corpus) {
    let place = tempdir().unwrap();
    let file = place.path().join("text.txt");
    fs::write(&file, text(6, 1)).unwrap();
    let model = fresh(&vocabulary(&file, 90), SMALL, objective, 1);
    let corpus = model.corpus(&file, Lines::Paragraphs, 0).unwrap();
    (model, corpus)
}

/// A step so small that parameters keep their first digits.
fn options(objective: Objective) -> TrainOptions {
    TrainOptions {
        objective,
        max_steps: 1,
        batch_size: 16,
        learning_rate: 1e-9,
        dropout: Some(0.0),
        evaluate: Every::Never,
        ..TrainOptions::default()
    }
}

/// The parameters that train, by their names.
fn parameters(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let (flat, mut at) = (trainer.parameters().unwrap(), 0);
    let part = |(name, shape): (String, Vec<usize>)| {
        let size = shape.iter().product::<usize>();
        at += size;
        (name, flat[at - size..at].to_vec())
    };
    trainer.parameter_names().unwrap().into_iter().map(part).collect()
}

#[test]
fn frequencies_are_the_first_bias_when_asked_for() {
    let (model, corpus) = begin(Objective::Pretraining);
    let counts = corpus.counts().unwrap();
    let mut ids = Vec::new();
    corpus.tokens_at(0, corpus.tokens() as usize, &mut ids).unwrap();
    assert!((0u32..).zip(&counts).all(|(id, &count)| count == ids.iter().filter(|&&other| other == id).count() as u64));
    let (total, entropy) = (corpus.tokens() as f64, unigram_entropy(&corpus));

    let learn = |unigram_bias| {
        let options = TrainOptions { unigram_bias, ..options(Objective::Pretraining) };
        let mut trainer = Trainer::new(&model, &options, None).unwrap();
        trainer.pretrain(&corpus, None, FitRun::default()).unwrap();
        let [Record::Step(step)] = &trainer.position().history[..] else { panic!("one step") };
        (step.words.unwrap().loss, parameters(&trainer).remove("cls.predictions.bias").unwrap())
    };
    let (loss, bias) = learn(true);
    let vocabulary = bias.len() as f64;
    for (id, &bias) in bias.iter().enumerate() {
        let count = counts.get(id).copied().unwrap_or(0) as f64;
        let expected = ((count + 1.0) / (total + vocabulary)).ln() as f32;
        assert!((bias - expected).abs() < 1e-5, "token {id}: {bias}, expected {expected}");
    }
    // of some sixty masked tokens; the weights' chance and the one in the counts add a little
    assert!((loss - entropy).abs() < 0.3, "{loss}, entropy {entropy}");
    let (loss, bias) = learn(false);
    assert!((loss - vocabulary.ln()).abs() < 0.3, "{loss}, ln V {}", vocabulary.ln());
    assert!(bias.iter().all(|bias| bias.abs() < 1e-6));
}

#[test]
fn frequencies_are_the_first_bias_beside_low_rank_pairs() {
    let (model, corpus) = begin(Objective::MaskedLm);
    let options = TrainOptions { unigram_bias: true, trainable: Trainable::Lora, ..options(Objective::MaskedLm) };
    let mut trainer = Trainer::new(&model, &options, None).unwrap();
    trainer.pretrain(&corpus, None, FitRun::default()).unwrap();
    let bias = parameters(&trainer).remove("cls.predictions.bias").unwrap();
    assert!(bias.iter().all(|&bias| bias < -1.0), "{bias:?}");
}

/// A head that has learned goes on where another is missing, and is replaced where none is.
#[test]
fn a_fresh_head_is_the_one_that_is_missing() {
    let fresh_of = |has: Objective| {
        let (model, _) = begin(has);
        let options = TrainOptions { fresh_head: true, seed: 7, ..options(Objective::Pretraining) };
        let trainer = Trainer::new(&model, &options, None).unwrap();
        let old = Trainer::new(&model, &TrainOptions { fresh_head: false, ..options }, None);
        let transform = "cls.predictions.transform.dense.weight";
        let kept = old.ok().map(|old| parameters(&old)[transform] == parameters(&trainer)[transform]);
        (trainer.fresh().to_vec(), kept)
    };
    let pair = ["cls.seq_relationship.weight", "cls.seq_relationship.bias"];
    let (fresh, _) = fresh_of(Objective::MaskedLm);
    assert_eq!(fresh, [["pooler.dense.weight", "pooler.dense.bias"], pair].concat());
    let (fresh, _) = fresh_of(Objective::NextSentence);
    assert!(!fresh.is_empty() && fresh.iter().all(|name| name.starts_with("cls.predictions.")), "{fresh:?}");
    let (fresh, kept) = fresh_of(Objective::Pretraining);
    assert!(pair.iter().all(|name| fresh.contains(&(*name).to_owned())), "{fresh:?}");
    assert!(fresh.iter().any(|name| name.starts_with("cls.predictions.")), "{fresh:?}");
    assert_eq!(kept, Some(false));
}
