//! Training that ends early, by itself or by others, and goes on.

use std::fs;
use std::path::{Path, PathBuf};

use cloze::engine::{
    Cancel, Dataset, Every, FitEvent, FitRun, LoraOptions, Model, Record, Schedule, TrainOptions, Trainable, Trainer,
};
use cloze::error::Status;
use tempfile::tempdir;

use crate::cases::{bits, fitted, folder, labelled, open, options, refused, sequence, trainer};

/// Two batches to a step, three steps to an epoch; evaluated in the middle of epochs too.
fn variant(trainable: Trainable, checkpoints: &Path) -> TrainOptions {
    TrainOptions {
        lora: LoraOptions { rank: 4, dropout: 0.2, ..LoraOptions::default() },
        evaluate: Every::Steps(2),
        metric: "loss".into(),
        checkpoint: Every::Steps(1),
        checkpoints: Some(checkpoints.to_owned()),
        ..options(trainable)
    }
}

fn place(root: &Path, step: u64) -> PathBuf {
    root.join(format!("checkpoint-{step}"))
}

/// The files of a checkpoint; what names its folder is left out.
fn contents(root: &Path, step: u64) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(place(root, step))
        .unwrap()
        .map(|entry| {
            let (name, path) = entry.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).unwrap();
            let bytes = fs::read(path).unwrap();
            match name.as_str() {
                "trainer_state.json" => {
                    let text = String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "ROOT");
                    let kept = text.lines().filter(|line| !line.contains("best_model_checkpoint"));
                    (name, kept.collect::<Vec<_>>().join("\n").into_bytes())
                }
                _ => (name, bytes),
            }
        })
        .collect();
    files.sort();
    files
}

/// From every checkpoint of a training, the rest of it comes to the same: parameters, moments, history, the best.
fn resumes(model: &Model, change: impl Fn(TrainOptions) -> TrainOptions, trainable: Trainable) {
    let (train, dev) = (labelled(22, 1), labelled(7, 2));
    let (whole, part) = (tempdir().unwrap(), tempdir().unwrap());
    let options = change(variant(trainable, whole.path()));
    let reference = fitted(model, &options, &train, Some(&dev));
    let last = reference.position().step;
    for step in 1..=last {
        let root = part.path().join(step.to_string());
        let mut again = trainer(model, &TrainOptions { checkpoints: Some(root.clone()), ..options.clone() });
        again.resume(&place(whole.path(), step)).unwrap();
        assert_eq!(again.position().step, step);
        let done = again.fit(&train, Some(&dev), FitRun::default()).unwrap();
        assert_eq!(bits(&again), bits(&reference), "{trainable:?} from step {step}");
        assert_eq!(again.position(), reference.position(), "{trainable:?} from step {step}");
        assert_eq!(done.steps, last);
        if step < last {
            let (name, expected) = (format!("{trainable:?} from step {step}"), contents(whole.path(), last));
            for (found, expected) in contents(&root, last).into_iter().zip(expected) {
                assert_eq!(found.0, expected.0, "{name}");
                assert!(found.1 == expected.1, "{name}: {} differs", found.0);
            }
        }
    }
}

#[test]
fn every_checkpoint_leads_to_the_same_end() {
    let model = sequence(2);
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::All, Trainable::Lora] {
        resumes(&model, |options| options, trainable);
    }
}

#[test]
fn of_half_precision_too() {
    let model = open(&folder("golden_training/f16"), 2);
    let change = |options| TrainOptions { dropout: Some(0.1), ..options };
    resumes(&model, change, Trainable::Top(1));
    resumes(&model, change, Trainable::Lora);
}

#[test]
fn learning_rates_and_metrics_of_any_digits_come_back() {
    let model = sequence(2);
    // numbers whose shortest decimals a careless reader gets wrong by a bit, among others
    for learning_rate in [5e-5, 3.3e-4, 1.234_567_8e-3, 7.654_321e-5] {
        let change = |options| TrainOptions {
            learning_rate,
            beta2: 0.98,
            epsilon: 1e-6,
            schedule: Schedule::Cosine,
            epochs: 1,
            ..options
        };
        resumes(&model, change, Trainable::Head);
    }
}

#[test]
fn the_newest_checkpoint_of_a_folder_is_taken() {
    let (model, train, root) = (sequence(2), labelled(22, 1), tempdir().unwrap());
    let options = TrainOptions { keep_checkpoints: 2, ..variant(Trainable::Head, root.path()) };
    let done = fitted(&model, &options, &train, None);
    let mut left: Vec<String> =
        fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["checkpoint-11", "checkpoint-12"]);
    // what a run that was killed while it wrote leaves behind does not count
    fs::create_dir(root.path().join(".checkpoint-13.tmp-1-1")).unwrap();
    fs::create_dir(root.path().join("checkpoint-13")).unwrap();
    let mut again = trainer(&model, &options);
    again.resume(root.path()).unwrap();
    assert_eq!((again.position().step, bits(&again)), (12, bits(&done)));
}

#[test]
fn what_is_no_checkpoint_of_this_training_is_refused() {
    let (model, train, root) = (sequence(2), labelled(22, 1), tempdir().unwrap());
    let options = variant(Trainable::Head, root.path());
    fitted(&model, &options, &train, None);
    let resumed = |options: &TrainOptions| {
        let mut trainer = trainer(&model, options);
        let before = bits(&trainer);
        let result = trainer.resume(root.path());
        assert_eq!(bits(&trainer), before, "a refused checkpoint changed parameters");
        result
    };
    let other = TrainOptions { learning_rate: 1e-3, ..options.clone() };
    refused(resumed(&other), Status::InvalidArgument, &["checkpoint-12", "learning_rate", "0.0010"]);
    refused(resumed(&TrainOptions { seed: 1, ..options.clone() }), Status::InvalidArgument, &["seed", "42", "1"]);
    let swapped = ["neutral", "negative", "positive"].map(str::to_owned).to_vec();
    let swapped = TrainOptions { labels: swapped, ..options.clone() };
    refused(resumed(&swapped), Status::InvalidArgument, &["labels", "neutral"]);
    let all = TrainOptions { trainable: Trainable::All, ..options.clone() };
    refused(resumed(&all), Status::InvalidArgument, &["trainable", "Head", "All"]);
    let mut trainer = trainer(&model, &options);
    refused(trainer.resume(&root.path().join("nowhere")), Status::Missing, &["nowhere", "checkpoint"]);
    refused(trainer.resume(&folder("golden/sequence")), Status::Missing, &["sequence", "checkpoint"]);
    // a file of the checkpoint is gone, or of another size
    let newest = place(root.path(), 12);
    let moments = newest.join("optimizer.safetensors");
    fs::copy(newest.join("model.safetensors"), &moments).unwrap();
    refused(resumed(&options), Status::InvalidFile, &["checkpoint-12", "exp_avg"]);
    fs::remove_file(&moments).unwrap();
    assert!(resumed(&options).is_err());
    fs::write(newest.join("trainer_state.json"), "{").unwrap();
    refused(resumed(&options), Status::InvalidFile, &["checkpoint-12", "trainer_state.json"]);
}

#[test]
fn other_examples_than_the_checkpoint_has_seen_are_refused() {
    let (model, root) = (sequence(2), tempdir().unwrap());
    let options = variant(Trainable::Head, root.path());
    fitted(&model, &options, &labelled(22, 1), None);
    for other in [labelled(9, 1), labelled(22, 2)] {
        let mut again = trainer(&model, &options);
        again.resume(&place(root.path(), 5)).unwrap();
        let result = again.fit(&other, None, FitRun::default());
        refused(result, Status::InvalidArgument, &["other examples", "fingerprint", "expected"]);
    }
}

/// A trainer that is stopped by its observer after every event goes on with the next call, to the same end.
#[test]
fn stopped_at_every_event_it_goes_on() {
    let (model, train, dev) = (sequence(2), labelled(22, 1), labelled(7, 2));
    let options = TrainOptions { evaluate: Every::Steps(2), metric: "loss".into(), ..options(Trainable::Top(1)) };
    let reference = fitted(&model, &options, &train, Some(&dev));
    let mut stopped = trainer(&model, &options);
    let mut calls = 0;
    loop {
        let mut events = 0;
        let mut observe = |_: &FitEvent<'_>| {
            events += 1;
            false
        };
        match stopped.fit(&train, Some(&dev), FitRun { cancel: None, observe: Some(&mut observe) }) {
            Ok(_) => break,
            Err(error) => assert_eq!((error.status(), events), (Status::Cancelled, 1)),
        }
        calls += 1;
        assert!(calls < 100, "no end");
    }
    assert_eq!(calls, 12 + 6, "a call for each step and each evaluation");
    assert_eq!(bits(&stopped), bits(&reference));
    assert_eq!(stopped.position(), reference.position());
}

/// Whenever the flag is set, parameters are those after a whole step, and the rest comes to the same.
#[test]
fn cancelled_at_any_moment_it_holds_a_whole_step() {
    let (model, train, dev) = (sequence(2), labelled(22, 1), labelled(7, 2));
    let root = tempdir().unwrap();
    let keeping = variant(Trainable::All, root.path());
    let reference = fitted(&model, &keeping, &train, Some(&dev));
    let options = TrainOptions { checkpoints: None, ..keeping.clone() };
    let whole = |step: u64| match step {
        0 => bits(&trainer(&model, &options)),
        step => {
            let mut trainer = trainer(&model, &keeping);
            trainer.resume(&place(root.path(), step)).unwrap();
            bits(&trainer)
        }
    };
    for delay in 0..12 {
        let mut cancelled = trainer(&model, &options);
        let mut rounds = 0;
        loop {
            let cancel = Cancel::new();
            let setter = cancel.clone();
            let setter = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_micros(400 + 1700 * delay));
                setter.set();
            });
            let result = cancelled.fit(&train, Some(&dev), FitRun { cancel: Some(&cancel), observe: None });
            setter.join().unwrap();
            let Err(error) = result else { break };
            assert_eq!(error.status(), Status::Cancelled);
            assert_eq!(bits(&cancelled), whole(cancelled.position().step));
            rounds += 1;
            if rounds == 3 {
                cancelled.fit(&train, Some(&dev), FitRun::default()).unwrap();
                break;
            }
        }
        assert_eq!(bits(&cancelled), bits(&reference));
        assert_eq!(cancelled.position(), reference.position());
    }
}

/// Development examples with every label wrong: the better the training, the higher their loss.
fn contrary(count: usize) -> Dataset {
    use cloze::engine::{Example, Target};
    let mut data = Dataset::new();
    for example in labelled(count, 1).examples() {
        let Target::Label(label) = &example.target else { unreachable!() };
        let other = if label == "positive" { "negative" } else { "positive" };
        data.push(Example { input: example.input.clone(), target: Target::Label(other.into()) }).unwrap();
    }
    data
}

#[test]
fn patience_ends_it_and_the_best_parameters_come_back() {
    let (model, train, dev) = (sequence(2), labelled(22, 1), contrary(22));
    for trainable in [Trainable::Top(1), Trainable::Lora] {
        let options = TrainOptions {
            epochs: 20,
            evaluate: Every::Steps(1),
            metric: "loss".into(),
            patience: 3,
            schedule: Schedule::Constant,
            learning_rate: 1e-2,
            ..options(trainable)
        };
        let mut early = trainer(&model, &options);
        let done = early.fit(&train, Some(&dev), FitRun::default()).unwrap();
        let losses: Vec<f64> = early
            .position()
            .history
            .iter()
            .filter_map(|record| match record {
                Record::Evaluation(found) => found.metrics.get("loss"),
                Record::Step(_) => None,
            })
            .collect();
        let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let best = losses.iter().position(|loss| *loss == least).unwrap() as u64 + 1;
        assert_eq!((done.stopped_early, done.best), (true, Some((best, least))));
        assert_eq!(done.steps, best + 3);
        assert_eq!(done.metrics.unwrap().get("loss"), Some(least));
        let found = early.evaluate(&dev, cloze::engine::Run::default()).unwrap();
        assert_eq!(found.get("loss"), Some(least), "the parameters are not the best");
        let short = TrainOptions { max_steps: best, patience: 0, ..options.clone() };
        assert_eq!(bits(&early), bits(&fitted(&model, &short, &train, None)));
        let last = TrainOptions { keep_best: false, ..options.clone() };
        let mut last = trainer(&model, &last);
        let done = last.fit(&train, Some(&dev), FitRun::default()).unwrap();
        assert_eq!((done.steps, done.best), (best + 3, Some((best, least))));
        assert_eq!(done.metrics.unwrap().get("loss"), losses.last().copied());
        assert_ne!(bits(&last), bits(&early));
    }
}

/// The best parameters survive in a checkpoint that is not theirs.
#[test]
fn the_best_parameters_survive_an_interruption() {
    let (model, train, dev, root) = (sequence(2), labelled(22, 1), contrary(22), tempdir().unwrap());
    let options = TrainOptions {
        evaluate: Every::Steps(1),
        patience: 4,
        schedule: Schedule::Constant,
        learning_rate: 1e-2,
        keep_checkpoints: 1,
        ..variant(Trainable::Top(1), root.path())
    };
    let reference = {
        let elsewhere = tempdir().unwrap();
        fitted(
            &model,
            &TrainOptions { checkpoints: Some(elsewhere.path().to_owned()), ..options.clone() },
            &train,
            Some(&dev),
        )
    };
    let best = reference.position().best_step.unwrap();
    let mut first: Trainer = trainer(&model, &options);
    let mut observe = |event: &FitEvent<'_>| !matches!(event, FitEvent::Checkpoint { folder } if folder.ends_with(format!("checkpoint-{}", best + 2)));
    let stopped = first.fit(&train, Some(&dev), FitRun { cancel: None, observe: Some(&mut observe) });
    assert_eq!(stopped.unwrap_err().status(), Status::Cancelled);
    // the checkpoint of the best evaluation stays beside the newest
    assert!(place(root.path(), best).exists() && place(root.path(), best + 2).exists());
    fs::remove_dir_all(place(root.path(), best)).unwrap();
    let mut second = trainer(&model, &options);
    second.resume(root.path()).unwrap();
    let done = second.fit(&train, Some(&dev), FitRun::default()).unwrap();
    assert_eq!(done.best.unwrap().0, best);
    assert_eq!((bits(&second), second.position()), (bits(&reference), reference.position()));
}
