//! Pretraining that ends early and goes on: the same bytes as if it never had.

use std::fs;
use std::path::Path;

use cloze::engine::{Corpus, Every, FitEvent, FitRun, Lines, Model, Objective, TrainOptions, Trainer};
use cloze::error::Status;
use tempfile::tempdir;

use crate::fresh::{SMALL, fresh, text, vocabulary};

/// Ten steps of two batches, with dropout; an epoch is not over with the last of them, and another begins.
fn options(checkpoints: &Path) -> TrainOptions {
    TrainOptions {
        objective: Objective::Pretraining,
        epochs: 9,
        max_steps: 10,
        batch_size: 3,
        accumulation: 2,
        learning_rate: 2e-3,
        dropout: Some(0.1),
        unigram_bias: true,
        evaluate: Every::Never,
        checkpoint: Every::Steps(1),
        checkpoints: Some(checkpoints.to_owned()),
        ..TrainOptions::default()
    }
}

fn begin(place: &Path, seed: u64, threads: usize) -> (Model, Corpus) {
    let file = place.join("text.txt");
    fs::write(&file, text(6, 1)).unwrap();
    let model = fresh(&vocabulary(&file, 90), SMALL, Objective::Pretraining, threads);
    fs::write(&file, text(6, seed)).unwrap();
    let corpus = model.corpus(&file, Lines::Paragraphs, 0).unwrap();
    (model, corpus)
}

/// Bytes of the weights of what was trained.
fn weights(trainer: &Trainer) -> Vec<u8> {
    let place = tempdir().unwrap();
    trainer.save(&place.path().join("out")).unwrap();
    fs::read(place.path().join("out/model.safetensors")).unwrap()
}

fn trainer(model: &Model, options: &TrainOptions) -> Trainer {
    Trainer::new(model, options, None).unwrap()
}

/// Trains until `most` steps are done.
fn stopped(trainer: &mut Trainer, corpus: &Corpus, most: u64) {
    let mut observe = |event: &FitEvent<'_>| !matches!(event, FitEvent::Step { record, .. } if record.step == most);
    let run = FitRun { cancel: None, observe: Some(&mut observe) };
    assert_eq!(trainer.pretrain(corpus, None, run).unwrap_err().status(), Status::Cancelled);
    assert_eq!(trainer.position().step, most);
}

#[test]
fn stopped_after_any_step_it_ends_with_the_same_bytes() {
    let place = tempdir().unwrap();
    let mut of_one_thread = None;
    for threads in [1, 2] {
        let (model, corpus) = begin(place.path(), 1, threads);
        let whole = tempdir().unwrap();
        let mut reference = trainer(&model, &options(whole.path()));
        reference.pretrain(&corpus, None, FitRun::default()).unwrap();
        let (expected, last) = (weights(&reference), reference.position().step);
        assert_eq!((last, reference.position().epoch > 0), (10, true), "an epoch is to end on the way");
        assert!(of_one_thread.get_or_insert_with(|| expected.clone()) == &expected, "{threads} threads give others");
        for step in 1..last {
            let part = tempdir().unwrap();
            let options = options(part.path());
            let mut first = trainer(&model, &options);
            stopped(&mut first, &corpus, step);
            // a later process: the corpus is read again, and the newest checkpoint is that of the step before
            let (model, corpus) = begin(place.path(), 1, threads);
            let mut again = trainer(&model, &options);
            match again.resume(part.path()) {
                Err(error) if step == 1 => assert_eq!(error.status(), Status::Missing),
                resumed => resumed.unwrap(),
            }
            assert_eq!(again.position().step, step - 1);
            for trainer in [&mut first, &mut again] {
                trainer.pretrain(&corpus, None, FitRun::default()).unwrap();
                assert!(weights(trainer) == expected, "stopped after step {step}: other weights, {threads} threads");
                assert_eq!(trainer.position(), reference.position(), "stopped after step {step}");
            }
        }
    }
}

#[test]
fn another_corpus_is_refused_by_its_fingerprint() {
    let place = tempdir().unwrap();
    let (model, corpus) = begin(place.path(), 1, 1);
    let (_, other) = begin(place.path(), 2, 1);
    let options = options(&place.path().join("checkpoints"));
    stopped(&mut trainer(&model, &options), &corpus, 3);
    let mut again = trainer(&model, &options);
    again.resume(&place.path().join("checkpoints")).unwrap();
    let before = weights(&again);
    let error = again.pretrain(&other, None, FitRun::default()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    let [found, expected] = [&other, &corpus].map(|corpus| format!("{:016x}", corpus.fingerprint()));
    let message =
        format!("other examples than those that training began with: fingerprint {found}, expected {expected}");
    assert_eq!(error.message(), message);
    assert!(weights(&again) == before, "a refused corpus changed parameters");
    // it is not spoilt: the right corpus is taken
    again.pretrain(&corpus, None, FitRun::default()).unwrap();
}

#[cfg(all(unix, feature = "cli"))] // SIGKILL
mod killed {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use cloze::engine::OpenOptions;

    use super::*;
    use crate::command::cloze;

    /// Of each number of threads.
    const KILLS: u64 = 6;

    fn program(place: &Path, threads: &str) -> Command {
        let sizes = "--vocab-size 90 --layers 2 --hidden 32 --heads 2 --intermediate 48 --positions 32";
        let course = "--batch 3 --accumulate 2 --steps 24 --lr 2e-3 --dropout 0.1 --checkpoint-every 1 --resume";
        let mut command = cloze(&["pretrain", "--threads", threads]);
        command.args(sizes.split(' ')).args(course.split(' '));
        for (name, value) in [("--corpus", "text.txt"), ("--out", "out"), ("--checkpoints", "checkpoints")] {
            command.arg(name).arg(place.join(value));
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn begun() -> tempfile::TempDir {
        let place = tempdir().unwrap();
        fs::write(place.path().join("text.txt"), text(6, 1)).unwrap();
        place
    }

    fn weights(place: &Path) -> Vec<u8> {
        fs::read(place.join("out/model.safetensors")).unwrap()
    }

    fn newest(place: &Path) -> Option<(u64, PathBuf)> {
        let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
        let entries = fs::read_dir(place.join("checkpoints")).ok()?;
        entries.map(|entry| entry.unwrap().path()).filter_map(|path| Some((step(&path)?, path))).max()
    }

    #[test]
    fn killed_at_any_moment_it_ends_with_the_same_bytes() {
        let mut of_one_thread = None;
        for threads in ["1", "2"] {
            let whole = begun();
            let begin = Instant::now();
            assert!(program(whole.path(), threads).status().unwrap().success());
            let length = begin.elapsed();
            let expected = weights(whole.path());
            assert!(
                of_one_thread.get_or_insert_with(|| expected.clone()) == &expected,
                "{threads} threads give others"
            );

            let (mut killed, mut place, mut steps) = (0, begun(), Vec::new());
            while killed < KILLS {
                let mut child = program(place.path(), threads).spawn().unwrap();
                // from a sixth of a whole run to all of it: some end before they are killed
                std::thread::sleep(length * (killed as u32 % KILLS as u32 + 1) / KILLS as u32);
                child.kill().unwrap();
                if child.wait().unwrap().success() {
                    assert!(weights(place.path()) == expected, "{threads} threads: other weights than without kills");
                    place = begun();
                }
                killed += 1;
                if let Some((step, checkpoint)) = newest(place.path()) {
                    Model::open(&checkpoint, &OpenOptions { threads: 1, ..OpenOptions::default() })
                        .unwrap_or_else(|error| panic!("{error}"));
                    steps.push(step);
                }
            }
            assert!(program(place.path(), threads).status().unwrap().success());
            assert!(weights(place.path()) == expected, "{threads} threads: other weights than without kills");
            eprintln!("{threads} threads: {killed} kills, newest checkpoints at steps {steps:?}");
        }
    }

    #[test]
    fn the_program_names_another_corpus_too() {
        let place = begun();
        let mut child = program(place.path(), "1").spawn().unwrap();
        while newest(place.path()).is_none() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_dir_all(place.path().join("out")).unwrap_or_default(); // where it was faster than the kill
        fs::write(place.path().join("text.txt"), text(6, 2)).unwrap();
        let mut command = program(place.path(), "1");
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let complaint = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(complaint.contains("other examples than those that training began with: fingerprint "), "{complaint}");
        assert!(!place.path().join("out").exists());
    }
}
