//! Folders and adapters for `tests/golden_training/check.py`, which compares them with transformers and PEFT.
//!
//! Every case is a folder in the one that `CLOZE_FOLDERS` names (a temporary one without it): `model` or `adapter` as
//! cloze saved it, and `case.json` with the inputs and what cloze makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use cloze::batch::{Batch, Selection, Tokens};
use cloze::bert::{Bert, Config, HeadPart};
use cloze::device::{Cpu, Tensor};
use cloze::engine::{
    Dataset, Example, ExampleInput, Input, LoraOptions, Model, Objective, Run, Target, Task, TextOptions, TrainOptions,
    Trainable,
};
use cloze::weights::Weights;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::cases::{Dice, dataset, fitted, folder, labelled, numbers, open, options, tagged, tokens};

/// Trained parameters are far enough from those of the base folder to tell them apart.
fn trained(objective: Objective, trainable: Trainable, labels: &[&str]) -> TrainOptions {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    TrainOptions { objective, labels, learning_rate: 5e-3, ..options(trainable) }
}

fn sequences() -> Vec<Tokens> {
    let mut dice = Dice(97);
    (0..6).map(|_| tokens(&mut dice)).collect()
}

/// The logits of a saved folder, row by row, from the parts of the library that know no files but the tensors.
fn logits(place: &Path, objective: Objective) -> Vec<Vec<f32>> {
    let device = Cpu::new(2).unwrap();
    let config = Config::parse(&fs::read(place.join("config.json")).unwrap()).unwrap();
    let bert = Bert::load(&device, config, &mut Weights::open(place).unwrap()).unwrap();
    let batch = Batch::of(sequences().iter()).unwrap();
    let all = |bert: &Bert<Cpu>| bert.encoder().forward(&device, &batch, &Selection::all(&batch)).unwrap();
    let logits = match objective {
        Objective::Tag => bert.tag(&device, &batch).unwrap(),
        Objective::Span => bert.head_saving(&device, HeadPart::Span, all(&bert), &[], None).unwrap().0,
        Objective::MaskedLm => {
            let mut logits = Tensor::new(&device, 0, 0).unwrap();
            bert.masked_lm(&device, &all(&bert), &mut logits).unwrap();
            logits
        }
        _ => bert.classify(&device, &batch).unwrap(),
    };
    logits.to_host(&device).unwrap().chunks_exact(logits.cols()).map(<[f32]>::to_vec).collect()
}

/// Logarithms of probabilities: logits less what a softmax does not see.
fn log_probabilities(model: &Model, objective: Objective) -> Vec<Vec<f32>> {
    let sequences = sequences();
    let inputs: Vec<Input<'_>> =
        sequences.iter().map(|tokens| Input::Tokens { ids: &tokens.ids, types: &tokens.types }).collect();
    let encoded = model.encode(&inputs, Task::Tag, &TextOptions::default()).unwrap();
    let rows: Vec<Vec<f32>> = match objective {
        Objective::Tag => {
            let tagged = model.tag(&encoded, Run::default()).unwrap();
            tagged.into_iter().flatten().map(|token| token.probabilities).collect()
        }
        _ => model.classify(&encoded, Run::default()).unwrap(),
    };
    rows.iter().map(|row| row.iter().map(|p| p.ln()).collect()).collect()
}

fn describe(place: &Path, mut case: Value) {
    let of = |part: fn(&Tokens) -> &Vec<u32>| json!(sequences().iter().map(part).collect::<Vec<_>>());
    case["ids"] = of(|tokens| &tokens.ids);
    case["types"] = of(|tokens| &tokens.types);
    fs::write(place.join("case.json"), format!("{case:#}\n")).unwrap();
}

fn write_model(root: &Path, name: &str, base: &str, options: &TrainOptions, train: &Dataset) {
    let place = root.join(name);
    let model = place.join("model");
    fitted(&open(&folder(base), 2), options, train, None).save(&model).unwrap();
    let (before, after) = (folder(base).join("model.safetensors"), model.join("model.safetensors"));
    assert_ne!(fs::read(before).unwrap(), fs::read(after).unwrap());
    let logits = logits(&model, options.objective);
    assert!(logits.iter().flatten().all(|logit| logit.is_finite()));
    describe(&place, json!({ "logits": logits }));
}

fn write_adapter(root: &Path, name: &str, base: &str, options: &TrainOptions, train: &Dataset) {
    let (place, source) = (root.join(name), folder(base));
    let trained = fitted(&open(&source, 2), options, train, None);
    trained.save_adapter(&place.join("adapter")).unwrap();
    let found = log_probabilities(&trained.snapshot().unwrap(), options.objective);
    let labels = trained.labels().len();
    describe(&place, json!({ "base": source, "labels": labels, "log_probabilities": found }));
}

fn questions() -> Dataset {
    let mut data = Dataset::new();
    let context = "the bank of the river is not a bank for money";
    for (question, answer) in [("what is it", "bank"), ("where", "river"), ("for what", "money"), ("who", "")] {
        let start = context.find(answer).unwrap();
        let input = ExampleInput::Pair(question.into(), context.into());
        data.push(Example { input, target: Target::Span { answer: answer.into(), start } }).unwrap();
    }
    data
}

const LABELS: [&str; 3] = crate::cases::LABELS;
const TAGS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

#[test]
fn folders_are_written_for_transformers_and_peft() {
    let temporary = tempdir().unwrap();
    let root = std::env::var_os("CLOZE_FOLDERS").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    fs::create_dir_all(&root).unwrap();
    let lora = |targets: &[&str], rank_stabilized| LoraOptions {
        rank: 4,
        alpha: 16.0,
        dropout: 0.1,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        rank_stabilized,
    };
    let (sequence, token) = ("golden/sequence", "golden/token");
    let (f16, albert) = ("golden_training/f16", "golden_training/albert_sequence");
    let texts = labelled(22, 1);
    let classify = |trainable| trained(Objective::Classify, trainable, &LABELS);
    for (name, base, trainable) in [
        ("sequence-head", sequence, Trainable::Head),
        ("sequence-top1", sequence, Trainable::Top(1)),
        ("sequence-layers", sequence, Trainable::Layers),
        ("sequence-all", sequence, Trainable::All),
        ("bare-all", "golden/bare", Trainable::All),
        ("f16-top1", f16, Trainable::Top(1)),
        ("albert-top1", albert, Trainable::Top(1)),
        ("albert-all", albert, Trainable::All),
    ] {
        write_model(&root, name, base, &classify(trainable), &texts);
    }
    let moods = ["joy", "anger", "fear", "trust"];
    let any = dataset(22, 2, |tokens, _| {
        let has = |(index, _): &(usize, &&str)| tokens.ids.iter().any(|id| *id as usize % 4 == *index);
        Target::Labels(moods.iter().enumerate().filter(has).map(|(_, mood)| (*mood).to_owned()).collect())
    });
    write_model(
        &root,
        "multilabel-all",
        "golden/multilabel",
        &trained(Objective::MultiLabel, Trainable::All, &moods),
        &any,
    );
    let regress = trained(Objective::Regress, Trainable::Top(1), &LABELS);
    write_model(&root, "regression3-top1", sequence, &regress, &numbers(22, 3, 3));
    let regress = trained(Objective::Regress, Trainable::All, &["score"]);
    write_model(&root, "regression-all", "golden/regression", &regress, &numbers(22, 3, 1));
    for (name, trainable) in [("token-top1", Trainable::Top(1)), ("token-all", Trainable::All)] {
        write_model(&root, name, token, &trained(Objective::Tag, trainable, &TAGS), &tagged(22, 4, 5));
    }
    for (name, trainable) in [("span-top1", Trainable::Top(1)), ("span-all", Trainable::All)] {
        write_model(&root, name, sequence, &trained(Objective::Span, trainable, &[]), &questions());
    }
    for base in ["masked_lm", "masked_lm_untied", "albert_masked_lm"] {
        for (name, trainable) in [("top1", Trainable::Top(1)), ("all", Trainable::All)] {
            let options = trained(Objective::MaskedLm, trainable, &[]);
            write_model(
                &root,
                &format!("{base}-{name}"),
                &format!("golden_training/{base}"),
                &options,
                &tagged(22, 5, 119),
            );
        }
    }
    for (name, targets, rslora) in [
        ("query-value", &[][..], false),
        ("query-value-rslora", &["query", "value"], true),
        ("all-linear", &["all-linear"], false),
        ("all-linear-rslora", &["all-linear"], true),
    ] {
        for (kind, base) in [("sequence", sequence), ("f16", f16), ("albert", albert)] {
            let options = TrainOptions { lora: lora(targets, rslora), ..classify(Trainable::Lora) };
            write_adapter(&root, &format!("{kind}-lora-{name}"), base, &options, &texts);
            write_model(&root, &format!("{kind}-merged-{name}"), base, &options, &texts);
        }
        let options = TrainOptions { lora: lora(targets, rslora), ..trained(Objective::Tag, Trainable::Lora, &TAGS) };
        write_adapter(&root, &format!("token-lora-{name}"), token, &options, &tagged(22, 4, 5));
        write_model(&root, &format!("token-merged-{name}"), token, &options, &tagged(22, 4, 5));
    }
}
