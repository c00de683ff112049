//! Everything that can go wrong: a clear error, parameters of the last whole step, and checkpoints that are still there.

use std::fs;
use std::path::Path;

use cloze::engine::{
    Dataset, Every, Example, ExampleInput, FitRun, Input, Model, Objective, Run, Schedule, Target, Task, TextOptions,
    TrainOptions, Trainable, Trainer,
};
use cloze::error::Status;
use tempfile::tempdir;

use crate::cases::{
    answers, bits, dataset, fitted, folder, labelled, numbers, open, options, refused, sequence, tagged, trainer,
};

fn text(text: &str, label: &str) -> Example {
    Example { input: ExampleInput::Text(text.into()), target: Target::Label(label.into()) }
}

fn ids(ids: &[u32], target: Target) -> Example {
    let tokens = cloze::batch::Tokens { ids: ids.to_vec(), types: vec![0; ids.len()] };
    Example { input: ExampleInput::Tokens(tokens), target }
}

fn data(examples: Vec<Example>) -> Dataset {
    let mut data = Dataset::new();
    examples.into_iter().for_each(|example| data.push(example).unwrap());
    data
}

/// Fitting is refused before anything changes.
#[track_caller]
fn not_fitted(options: &TrainOptions, train: &Dataset, dev: Option<&Dataset>, status: Status, parts: &[&str]) {
    let mut trainer = trainer(&sequence(2), options);
    let before = bits(&trainer);
    refused(trainer.fit(train, dev, FitRun::default()), status, parts);
    assert_eq!((bits(&trainer), trainer.position().step), (before, 0));
    trainer.fit(&labelled(9, 1), None, FitRun::default()).unwrap();
}

#[test]
fn a_loss_that_is_no_number_names_the_step_and_leaves_the_last_whole_one() {
    let (model, train, root) = (sequence(2), labelled(22, 1), tempdir().unwrap());
    let diverging = TrainOptions {
        learning_rate: 1e30,
        warmup: 0.0,
        schedule: Schedule::Constant,
        checkpoint: Every::Steps(1),
        checkpoints: Some(root.path().to_owned()),
        ..options(Trainable::Top(1))
    };
    let mut failed = trainer(&model, &diverging);
    let error = failed.fit(&train, None, FitRun::default()).unwrap_err();
    assert_eq!(error.status(), Status::NotFinite, "{error}");
    let step = failed.position().step;
    assert!(error.message().contains(&format!("step {}", step + 1)), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count() as u64, step, "checkpoints of whole steps");
    let mut again = trainer(&model, &diverging);
    again.resume(root.path()).unwrap();
    assert_eq!((bits(&again), again.position()), (bits(&failed), failed.position()));
    // and the same error again, at the same step
    let second = again.fit(&train, None, FitRun::default()).unwrap_err();
    assert_eq!(second, error);
    // better parameters make it well again
    let good = trainer(&model, &options(Trainable::Top(1))).parameters().unwrap();
    failed.set_parameters(&good).unwrap();
    failed.accumulate(&train, None).unwrap();
    failed.apply(Some(1e-4)).unwrap();
    assert!(failed.parameters().unwrap().iter().all(|value| value.is_finite()));
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let root = tempdir().unwrap();
    let place = root.path().join("model");
    sequence(1).save(&place).unwrap();
    let file = place.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let start = {
        let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let name = "bert.encoder.layer.0.output.dense.weight";
        8 + header + metadata.info(name).unwrap().data_offsets.0
    };
    bytes[start + 40..start + 44].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::All] {
        let mut failed = trainer(&open(&place, 2), &options(trainable));
        let before = bits(&failed);
        let result = failed.fit(&labelled(22, 1), None, FitRun::default());
        refused(result, Status::NotFinite, &["step 1", "layer.0.output.dense.weight", "NaN"]);
        assert_eq!((bits(&failed), failed.position().step), (before, 0));
    }
}

#[test]
fn labels_that_nobody_knows_are_named_with_their_place() {
    let known = options(Trainable::Head);
    let mut train = labelled(9, 1);
    train.push(text("a", "angry")).unwrap();
    not_fitted(&known, &train, None, Status::InvalidInput, &["example 9", "angry", "negative"]);
    let mut dev = labelled(5, 2);
    dev.push(text("a", "angry")).unwrap();
    not_fitted(&known, &labelled(9, 1), Some(&dev), Status::InvalidInput, &["development", "example 5", "angry"]);
    // a label that is only in the development examples, where labels come from the training examples
    let found = TrainOptions { labels: Vec::new(), ..known.clone() };
    let mut trainer = Trainer::new(&sequence(1), &found, Some(&labelled(9, 1))).unwrap();
    let result = trainer.fit(&labelled(9, 1), Some(&dev), FitRun::default());
    refused(result, Status::InvalidInput, &["development", "example 5", "angry"]);

    let tags = TrainOptions { objective: Objective::Tag, ..known };
    let train = data(vec![ids(&[2, 5], Target::Ids(vec![-100, 2])), ids(&[2, 5], Target::Ids(vec![-100, 3]))]);
    not_fitted_by(&sequence(1), &tags, &train, &["example 1", "label id 3", "0 to 2"]);
    let train = data(vec![ids(&[2, 5], Target::Ids(vec![-100, -1]))]);
    not_fitted_by(&sequence(1), &tags, &train, &["example 0", "label id -1"]);
    let words = TrainOptions { objective: Objective::MaskedLm, labels: Vec::new(), ..options(Trainable::All) };
    let train = data(vec![ids(&[2, 5], Target::Ids(vec![-100, 118])), ids(&[2, 5], Target::Ids(vec![-100, 119]))]);
    not_fitted_by(&open(&folder("golden_training/masked_lm"), 1), &words, &train, &["example 1", "word 119", "119"]);
}

#[track_caller]
fn not_fitted_by(model: &Model, options: &TrainOptions, train: &Dataset, parts: &[&str]) {
    let mut trainer = trainer(model, options);
    let before = bits(&trainer);
    refused(trainer.fit(train, None, FitRun::default()), Status::InvalidInput, parts);
    refused(trainer.accumulate(train, None), Status::InvalidInput, parts);
    refused(trainer.evaluate(train, Run::default()), Status::InvalidInput, parts);
    assert_eq!(bits(&trainer), before);
}

#[test]
fn targets_of_another_task_are_named_with_their_place() {
    let model = sequence(1);
    let of = |objective| {
        let labels = if objective == Objective::Span { Vec::new() } else { options(Trainable::Head).labels };
        TrainOptions { objective, labels, ..options(Trainable::Head) }
    };
    let third = |target: Target| {
        let mut examples: Vec<Example> = numbers(3, 1, 3).examples().to_vec();
        examples.iter_mut().for_each(|example| example.target = target.clone());
        data(examples)
    };
    for (objective, target, parts) in [
        (Objective::Classify, Target::None, ["example 0", "no target", "one label"]),
        (Objective::Classify, Target::Number(1.0), ["example 0", "numbers", "one label"]),
        (Objective::Classify, Target::Labels(vec![]), ["example 0", "any number of labels", "one label"]),
        (Objective::MultiLabel, Target::Label("neutral".into()), ["example 0", "one label", "any number of labels"]),
        (Objective::Regress, Target::Label("neutral".into()), ["example 0", "one label", "numbers"]),
        (Objective::Regress, Target::Numbers(vec![1.0; 2]), ["example 0", "2 numbers", "expected 3"]),
        (Objective::Tag, Target::None, ["example 0", "no target", "tags"]),
        (Objective::Span, Target::None, ["example 0", "no target", "an answer"]),
    ] {
        not_fitted_by(&model, &of(objective), &third(target), &parts);
    }
    let mixed = data([numbers(2, 1, 3).examples(), numbers(1, 2, 2).examples()].concat());
    not_fitted_by(&model, &of(Objective::Regress), &mixed, &["example 2", "2 numbers", "expected 3"]);
    let trained = fitted(&model, &options(Trainable::Head), &labelled(9, 1), None).snapshot().unwrap();
    let result = trained.evaluate(Objective::Classify, &third(Target::None), 0, Run::default());
    refused(result, Status::InvalidInput, &["example 0", "no target"]);
    // words without a mask are nothing to learn from
    let words = TrainOptions { objective: Objective::MaskedLm, labels: Vec::new(), ..options(Trainable::All) };
    let plain = third(Target::None);
    not_fitted_by(
        &open(&folder("golden_training/masked_lm"), 1),
        &words,
        &plain,
        &["example 0", "no target", "masked"],
    );
}

#[test]
fn no_examples_are_refused() {
    let options = options(Trainable::Head);
    not_fitted(&options, &Dataset::new(), None, Status::InvalidArgument, &["no examples to learn from"]);
    let none = Dataset::new();
    not_fitted(&options, &labelled(5, 1), Some(&none), Status::InvalidArgument, &["no examples to evaluate on"]);
    let mut trainer = trainer(&sequence(1), &options);
    refused(trainer.evaluate(&none, Run::default()), Status::InvalidArgument, &["no examples"]);
    for nothing in ["", " \n\t", "\u{3000}"] {
        let error = Dataset::new().push(text(nothing, "neutral")).unwrap_err();
        assert_eq!((error.status(), error.message()), (Status::InvalidInput, "example 0: the text is empty"));
    }
}

#[test]
fn token_ids_that_do_not_fit_are_named() {
    let (options, label) = (options(Trainable::Top(1)), || Target::Label("neutral".into()));
    let with = |bad: Vec<u32>| data(vec![ids(&[2, 5], label()), ids(&bad, label())]);
    for (bad, parts) in [
        (vec![2; 41], ["example 1", "41 tokens", "40"]),
        (vec![2, 120], ["example 1", "token id 120", "120"]),
        (vec![u32::MAX], ["example 1", "token id 4294967295", "120"]),
    ] {
        not_fitted(&options, &with(bad), None, Status::InvalidInput, &parts);
    }
    let mut typed = with(vec![2, 7]);
    let tokens = cloze::batch::Tokens { ids: vec![2, 7], types: vec![0, 2] };
    typed.push(Example { input: ExampleInput::Tokens(tokens), target: label() }).unwrap();
    not_fitted(&options, &typed, None, Status::InvalidInput, &["example 2", "token type 2", "2"]);
    // the longest that fits, alone among short ones
    fitted(&sequence(1), &options, &with(vec![7; 40]), None);
    let text = data(vec![text("a", "neutral")]);
    let untold = open(&folder("golden_training/sequence"), 1);
    let mut trainer = Trainer::new(&untold, &options, None).unwrap();
    refused(trainer.fit(&text, None, FitRun::default()), Status::Missing, &["example 0", "tokenizer"]);
}

#[test]
fn texts_of_unknown_words_and_of_any_length_are_learned_from() {
    let model = sequence(2);
    let unknown = "漢字 漢字 漢字";
    let input = [Input::Text(unknown)];
    let found = model.encode(&input, Task::Classify, &TextOptions::default()).unwrap();
    let plain = &found.items()[0].tokens.ids;
    assert!(plain[1..plain.len() - 1].iter().all(|id| *id == 1), "{plain:?}");
    let long = "bank ".repeat(5000);
    let train = data(vec![
        text(unknown, "neutral"),
        text(&long, "positive"),
        text("a", "negative"),
        text("\u{200b}", "neutral"),
        text("\u{1}", "neutral"),
    ]);
    for trainable in [Trainable::Head, Trainable::All] {
        let trained = fitted(&model, &options(trainable), &train, Some(&train));
        assert!(trained.parameters().unwrap().iter().all(|value| value.is_finite()));
        let tight = TrainOptions { batch_tokens: 5, ..options(trainable) };
        fitted(&model, &tight, &train, None);
    }
    let least = TrainOptions { max_tokens: 2, ..options(Trainable::Head) };
    fitted(&model, &least, &train, None);
    let less = TrainOptions { max_tokens: 1, ..options(Trainable::Head) };
    not_fitted_at(&model, &less, &train, &["example 0", "1 token"]);
}

#[track_caller]
fn not_fitted_at(model: &Model, options: &TrainOptions, train: &Dataset, parts: &[&str]) {
    refused(trainer(model, options).fit(train, None, FitRun::default()), Status::InvalidArgument, parts);
}

#[test]
fn one_example_one_label_and_batches_larger_than_the_data() {
    let model = sequence(2);
    for (train, batch_size) in [(labelled(1, 1), 1), (labelled(1, 1), 1000), (labelled(3, 1), usize::MAX)] {
        for group_by_length in [false, true] {
            let options = TrainOptions { batch_size, group_by_length, ..options(Trainable::Top(1)) };
            let mut trainer = trainer(&model, &options);
            let done = trainer.fit(&train, Some(&train), FitRun::default()).unwrap();
            assert_eq!(done.steps, 4, "one step an epoch");
        }
    }
    let one = dataset(6, 1, |_, _| Target::Label("only".into()));
    let options = TrainOptions { labels: Vec::new(), ..options(Trainable::Top(1)) };
    let mut trainer = Trainer::new(&model, &options, Some(&one)).unwrap();
    let done = trainer.fit(&one, Some(&one), FitRun::default()).unwrap();
    assert_eq!((trainer.labels(), done.metrics.unwrap().get("accuracy")), (&["only".to_owned()][..], Some(1.0)));
    let root = tempdir().unwrap();
    let place = root.path().join("model");
    trainer.save(&place).unwrap();
    assert_eq!(answers(&open(&place, 1)), vec![vec![0.0]; 8], "the logarithm of certainty");
    // a correlation of one number with itself is no number; training goes on without a best
    let regress = TrainOptions { objective: Objective::Regress, labels: vec!["x".into()], ..options };
    let train = numbers(5, 1, 1);
    let mut trainer = crate::cases::trainer(&model, &regress);
    let done = trainer.fit(&train, Some(&numbers(1, 2, 1)), FitRun::default()).unwrap();
    assert_eq!((done.steps, done.best), (4, None));
}

#[test]
fn examples_without_a_single_label_have_no_loss() {
    let options = TrainOptions { objective: Objective::Tag, ..options(Trainable::Top(1)) };
    let unlabelled = dataset(6, 1, |tokens, _| Target::Ids(vec![-100; tokens.ids.len()]));
    let mut trainer = trainer(&sequence(1), &options);
    assert_eq!(trainer.accumulate(&unlabelled, None).unwrap(), 0.0);
    assert!(trainer.gradients().unwrap().iter().all(|g| *g == 0.0));
    trainer.apply(None).unwrap();
    let mut some = tagged(6, 2, 3);
    unlabelled.examples().iter().for_each(|example| some.push(example.clone()).unwrap());
    trainer.fit(&some, Some(&some), FitRun::default()).unwrap();
    assert!(trainer.parameters().unwrap().iter().all(|value| value.is_finite()));
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let (model, train, root) = (sequence(1), labelled(9, 1), tempdir().unwrap());
    let file = root.path().join("notes.txt");
    fs::write(&file, "mine").unwrap();
    let into = |place: &Path| TrainOptions {
        checkpoint: Every::Steps(1),
        checkpoints: Some(place.to_owned()),
        ..options(Trainable::Head)
    };
    for place in [file.clone(), file.join("below")] {
        let mut failed = trainer(&model, &into(&place));
        let result = failed.fit(&train, None, FitRun::default());
        refused(result, Status::Io, &["notes.txt"]);
        assert_eq!(failed.position().step, 1, "the step before the checkpoint is whole");
        let reference = TrainOptions { max_steps: 1, schedule: Schedule::Constant, ..options(Trainable::Head) };
        let constant = TrainOptions { schedule: Schedule::Constant, ..into(&place) };
        let mut failed = trainer(&model, &constant);
        failed.fit(&train, None, FitRun::default()).unwrap_err();
        assert_eq!(bits(&failed), bits(&fitted(&model, &reference, &train, None)));
    }
    // folders of others are left alone: where a model is to go, and where a checkpoint is to go
    let foreign = root.path().join("checkpoint-1");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "mine").unwrap();
    let mut failed = trainer(&model, &into(root.path()));
    refused(failed.fit(&train, None, FitRun::default()), Status::InvalidArgument, &["checkpoint-1", "no model"]);
    for place in [foreign.as_path(), file.as_path(), root.path(), Path::new(""), Path::new("/")] {
        refused(failed.save(place), Status::InvalidArgument, &[]);
    }
    refused(failed.save(&file.join("below")), Status::Io, &["notes.txt"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(fs::read_to_string(foreign.join("thesis.txt")).unwrap(), "mine");
    let mut left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["checkpoint-1", "notes.txt"], "something was left behind");
}
