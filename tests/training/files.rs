//! What is saved: folders, adapters, only what changed.

use std::fs;

use cloze::engine::{Dataset, Input, LoraOptions, Model, Objective, Run, Task, TextOptions, TrainOptions, Trainable};
use cloze::error::Status;
use safetensors::Dtype;
use tempfile::tempdir;

use crate::cases::{
    albert, answers, apart, bits, fitted, folder, labelled, open, options, refused, sequence, stored, tagged, tags,
    trainer,
};

const MODEL: &str = "model.safetensors";

fn lora(targets: &[&str], rank_stabilized: bool) -> LoraOptions {
    let targets = targets.iter().map(|target| (*target).to_owned()).collect();
    LoraOptions { rank: 4, alpha: 16.0, dropout: 0.1, targets, rank_stabilized }
}

#[test]
fn a_saved_folder_answers_as_the_model_did() {
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::Layers, Trainable::All] {
        for base in [sequence(2), albert(2), open(&folder("golden_training/f16"), 2)] {
            let trained = fitted(&base, &options(trainable), &labelled(22, 1), None);
            let root = tempdir().unwrap();
            let place = root.path().join("model");
            trained.save(&place).unwrap();
            let (again, snapshot) = (open(&place, 1), trained.snapshot().unwrap());
            assert_eq!(answers(&again), answers(&snapshot), "{trainable:?}");
            assert_eq!(again.labels(), snapshot.labels());
            assert_ne!(answers(&again), answers(&base), "{trainable:?}: nothing was learned");
            let report = again.report();
            assert!(report.unused.is_empty() && report.ignored.is_empty(), "{trainable:?}: {report:?}");
        }
    }
}

#[test]
fn its_tokenizer_comes_along() {
    let base = sequence(1);
    let root = tempdir().unwrap();
    let place = root.path().join("model");
    fitted(&base, &options(Trainable::Head), &labelled(9, 1), None).save(&place).unwrap();
    let ids = |model: &Model| {
        let input = [Input::Text("the bank, or [MASK]")];
        model.encode(&input, Task::Classify, &TextOptions::default()).unwrap().items()[0].tokens.ids.clone()
    };
    assert_eq!(ids(&open(&place, 1)), ids(&base));
    assert!(ids(&base).len() > 4);
}

/// Type and bytes of everything below the layers that train are the folder's; the rest is f32.
#[test]
fn what_does_not_train_keeps_its_bytes() {
    for name in ["golden/sequence", "golden_training/f16"] {
        let source = folder(name);
        let base = open(&source, 2);
        let root = tempdir().unwrap();
        let place = root.path().join("model");
        fitted(&base, &options(Trainable::Top(1)), &labelled(22, 1), None).save(&place).unwrap();
        let (before, after) = (stored(&source.join(MODEL)), stored(&place.join(MODEL)));
        let mut changed = Vec::new();
        for (key, dtype, bytes) in &before {
            let Some((_, now, found)) = after.iter().find(|(other, ..)| other == key) else {
                assert!(key.ends_with("position_ids"), "{name}: {key} is gone");
                continue;
            };
            let above = ["encoder.layer.1.", "pooler.", "classifier."].iter().any(|part| key.contains(part));
            match above {
                true => {
                    assert_eq!(*now, Dtype::F32, "{name}: {key}");
                    changed.push(bytes != found);
                }
                false => assert!((dtype, bytes) == (now, found), "{name}: {key} changed"),
            }
        }
        assert!(changed.len() > 16 && changed.iter().all(|changed| *changed), "{name}: {changed:?}");
    }
}

#[cfg(not(windows))]
#[test]
fn a_folder_may_be_saved_onto_itself() {
    let root = tempdir().unwrap();
    let place = root.path().join("model");
    sequence(1).save(&place).unwrap();
    let base = open(&place, 2);
    let before = answers(&base);
    let trained = fitted(&base, &options(Trainable::Top(1)), &labelled(22, 1), None);
    trained.save(&place).unwrap();
    assert_eq!(answers(&base), before, "the mapped files changed under the model");
    assert_eq!(answers(&open(&place, 1)), answers(&trained.snapshot().unwrap()));
    // the model still has the files that are gone: it can be saved and trained on
    let again = fitted(&base, &options(Trainable::Top(1)), &labelled(22, 1), None);
    assert_eq!(bits(&again), bits(&trained));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "something was left beside the folder");
}

/// Windows moves no folder with mapped files (Wine does): then it stays as it was, and the error names what is beside it.
#[cfg(windows)]
#[test]
fn a_folder_saved_onto_itself_loses_nothing() {
    let root = tempdir().unwrap();
    let place = root.path().join("model");
    sequence(1).save(&place).unwrap();
    let base = open(&place, 2);
    let before = answers(&base);
    let trained = fitted(&base, &options(Trainable::Top(1)), &labelled(22, 1), None);
    let saved = match trained.save(&place) {
        Ok(()) => place,
        Err(error) => {
            assert_eq!(answers(&open(&place, 1)), before);
            assert!(error.message().contains("in use"), "{error}");
            root.path().join(error.message().rsplit(['/', '\\']).next().unwrap())
        }
    };
    assert_eq!(answers(&base), before, "the mapped files changed under the model");
    assert_eq!(answers(&open(&saved, 1)), answers(&trained.snapshot().unwrap()));
}

#[test]
fn an_adapter_answers_on_its_base_as_it_did_while_training() {
    for (base, source) in [(sequence(2), "golden/sequence"), (albert(2), "golden_training/albert_sequence")] {
        for (targets, rslora) in [(&[][..], false), (&["all-linear"][..], false), (&["query", "output.dense"], true)] {
            let what = format!("{source} {targets:?} {rslora}");
            let targets: &[&str] =
                if source.contains("albert") && targets.len() == 2 { &["query", "ffn"] } else { targets };
            let options = TrainOptions { lora: lora(targets, rslora), dropout: Some(0.1), ..options(Trainable::Lora) };
            let trained = fitted(&base, &options, &labelled(22, 1), None);
            let live = answers(&trained.snapshot().unwrap());
            assert_ne!(live, answers(&base), "{what}: nothing was learned");
            let root = tempdir().unwrap();
            let (adapter, merged) = (root.path().join("adapter"), root.path().join("merged"));
            trained.save_adapter(&adapter).unwrap();
            trained.save(&merged).unwrap();
            assert!(!adapter.join(MODEL).exists());
            let reopened = open(&folder(source), 1).with_adapter(&adapter).unwrap();
            assert_eq!(answers(&reopened), live, "{what}");
            // sums of pairs and weights of order 1 are rounded once more, through two layers
            let off = apart(&answers(&open(&merged, 1)), &live);
            assert!(off < 2e-6, "{what}: merged weights are off by {off:e}");
            let off = apart(
                &answers(&{
                    let place = root.path().join("merged again");
                    reopened.save(&place).unwrap();
                    open(&place, 1)
                }),
                &live,
            );
            assert!(off < 2e-6, "{what}: merged weights of a reopened adapter are off by {off:e}");
        }
    }
}

#[test]
fn adapters_are_switched_on_one_base() {
    let base = sequence(2);
    let (root, plain) = (tempdir().unwrap(), answers(&base));
    let adapter = |name: &str, seed| {
        let options = TrainOptions { seed, lora: lora(&[], false), ..options(Trainable::Lora) };
        let trained = fitted(&base, &options, &labelled(22, seed), None);
        let place = root.path().join(name);
        trained.save_adapter(&place).unwrap();
        (place, answers(&trained.snapshot().unwrap()))
    };
    let (one, two) = (adapter("one", 1), adapter("two", 2));
    let first = base.with_adapter(&one.0).unwrap();
    let second = first.with_adapter(&two.0).unwrap();
    let third = second.with_adapter(&one.0).unwrap();
    assert_eq!([answers(&first), answers(&second), answers(&third)], [one.1.clone(), two.1, one.1]);
    assert_eq!(answers(&base), plain);
    // pairs that are there already are neither lost nor trained by accident
    let more = cloze::engine::Trainer::new(&first, &options(Trainable::Lora), None);
    refused(more, Status::Unsupported, &["low-rank pairs", "save"]);
    refused(
        trainer(&base, &options(Trainable::Top(1))).save_adapter(&root.path().join("x")),
        Status::InvalidArgument,
        &["lora"],
    );
    refused(base.with_adapter(&root.path().join("nowhere")), Status::Io, &["nowhere"]);
}

#[test]
fn taggers_and_masked_words_are_saved_too() {
    let base = open(&folder("golden/token"), 2);
    for trainable in [Trainable::Top(1), Trainable::Lora] {
        let options = TrainOptions { objective: Objective::Tag, labels: base.labels().to_vec(), ..options(trainable) };
        let trained = fitted(&base, &options, &tagged(22, 3, 5), None);
        let root = tempdir().unwrap();
        let place = root.path().join("model");
        trained.save(&place).unwrap();
        let off = apart(&tags(&open(&place, 1)), &tags(&trained.snapshot().unwrap()));
        // probabilities; merged pairs as above
        assert!(off <= if trainable == Trainable::Lora { 2e-6 } else { 0.0 }, "{trainable:?}: {off:e}");
    }
    for name in ["golden_training/masked_lm", "golden_training/masked_lm_untied", "golden_training/albert_masked_lm"] {
        let base = open(&folder(name), 2);
        let words: Dataset = tagged(22, 3, 119);
        for trainable in [Trainable::Top(1), Trainable::All] {
            let options = TrainOptions { objective: Objective::MaskedLm, labels: Vec::new(), ..options(trainable) };
            let mut trained = fitted(&base, &options, &words, None);
            let root = tempdir().unwrap();
            let place = root.path().join("model");
            trained.save(&place).unwrap();
            let loss = trained.evaluate(&words, Run::default()).unwrap().get("loss").unwrap();
            let of = |model: &Model| {
                let found = model.evaluate(Objective::MaskedLm, &words, 0, Run::default()).unwrap();
                found.metrics.get("loss").unwrap()
            };
            assert_eq!(of(&open(&place, 1)), of(&trained.snapshot().unwrap()), "{name} {trainable:?}");
            // the two may cut the examples into other passes
            assert!((of(&open(&place, 1)) - loss).abs() < 1e-6, "{name} {trainable:?}");
            assert!(loss < of(&base) - 0.01, "{name} {trainable:?}: {loss} after {}", of(&base));
        }
    }
}
