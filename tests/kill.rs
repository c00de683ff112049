//! Training that is killed at any moment, again and again, ends with the same bytes as training that never was.
//!
//! This program starts itself as a child that trains and saves, and kills it: 200 times, or as often as `CLOZE_KILLS` says.

#![cfg(unix)] // SIGKILL, and limits on the size of files
#![allow(clippy::unwrap_used)] // a test may panic

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloze::batch::Tokens;
use cloze::engine::{
    Dataset, Every, Example, ExampleInput, FitRun, LoraOptions, Model, OpenOptions, Target, TrainOptions, Trainable,
    Trainer,
};
use cloze::error::Status;
use tempfile::tempdir;

/// Names the folder in which a child works; without it, this is the parent.
const CHILD: &str = "CLOZE_KILL_FOLDER";
/// What the child trains.
const TRAINABLE: &str = "CLOZE_KILL_TRAINABLE";

const LABELS: [&str; 3] = ["negative", "neutral", "positive"];

/// Numbers that look random: the same for the same seed.
struct Dice(u64);

impl Dice {
    /// Below `bound`. Knuth's linear congruential generator, its upper bits.
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn examples(count: usize, seed: u64) -> Dataset {
    let (mut dice, mut data) = (Dice(seed), Dataset::new());
    for _ in 0..count {
        let mut ids = vec![2];
        ids.extend((0..2 + dice.roll(12)).map(|_| 5 + dice.roll(114) as u32));
        let target = Target::Label(LABELS[ids[1] as usize % 3].into());
        let tokens = Tokens { types: vec![0; ids.len()], ids };
        data.push(Example { input: ExampleInput::Tokens(tokens), target }).unwrap();
    }
    data
}

/// Forty steps with dropout; a checkpoint after each, an evaluation after every third.
fn options(trainable: Trainable, checkpoints: PathBuf) -> TrainOptions {
    TrainOptions {
        labels: LABELS.map(str::to_owned).to_vec(),
        trainable,
        lora: LoraOptions { rank: 2, dropout: 0.1, ..LoraOptions::default() },
        epochs: 8,
        batch_size: 2,
        accumulation: 2,
        group_by_length: true,
        learning_rate: 2e-3,
        evaluate: Every::Steps(3),
        metric: "loss".into(),
        checkpoint: Every::Steps(1),
        checkpoints: Some(checkpoints),
        keep_checkpoints: 2,
        ..TrainOptions::default()
    }
}

fn base() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sequence");
    Model::open(&folder, &OpenOptions { threads: 1, ..OpenOptions::default() }).unwrap()
}

fn open(folder: &Path) -> Model {
    Model::open(folder, &OpenOptions { threads: 1, ..OpenOptions::default() }).unwrap_or_else(|error| panic!("{error}"))
}

fn trainer(folder: &Path, trainable: Trainable) -> Trainer {
    Trainer::new(&base(), &options(trainable, folder.join("checkpoints")), None).unwrap()
}

/// Trains in `folder` from the newest checkpoint, if there is one, to the end, and saves the model as `out`.
fn train(folder: &Path, trainable: Trainable) {
    let mut trainer = trainer(folder, trainable);
    match trainer.resume(&folder.join("checkpoints")) {
        Err(error) if error.status() == Status::Missing => {}
        resumed => resumed.unwrap(),
    }
    trainer.fit(&examples(20, 1), Some(&examples(6, 2)), FitRun::default()).unwrap();
    trainer.save(&folder.join("out")).unwrap();
}

/// What the children do; nothing where this is the parent.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let trainable = match std::env::var(TRAINABLE).unwrap().as_str() {
        "lora" => Trainable::Lora,
        "top" => Trainable::Top(1),
        other => panic!("{other}"),
    };
    train(Path::new(&folder), trainable);
}

fn start(folder: &Path, trainable: Trainable) -> Child {
    let name = if trainable == Trainable::Lora { "lora" } else { "top" };
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--test-threads", "1"])
        .envs([(CHILD, folder.as_os_str()), (TRAINABLE, name.as_ref())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("out/model.safetensors")).unwrap()
}

/// The newest checkpoint and its step.
fn newest(folder: &Path) -> Option<(u64, PathBuf)> {
    let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let entries = fs::read_dir(folder.join("checkpoints")).ok()?;
    entries.map(|entry| entry.unwrap().path()).filter_map(|path| Some((step(&path)?, path))).max()
}

/// A folder with the untrained model as `out`, which is replaced in the end.
fn begin(folder: &Path) -> Vec<u8> {
    base().save(&folder.join("out")).unwrap();
    weights(folder)
}

/// After a kill: the newest checkpoint opens, as a model and to go on from, and `out` is the old one or the new one.
fn check(folder: &Path, trainable: Trainable, outs: [&[u8]; 2]) -> u64 {
    let out = weights(folder);
    assert!(outs.contains(&out.as_slice()), "a torn model");
    open(&folder.join("out"));
    let Some((step, checkpoint)) = newest(folder) else { return 0 };
    match trainable {
        Trainable::Lora => drop(base().with_adapter(&checkpoint).unwrap()),
        _ => drop(open(&checkpoint)),
    }
    let mut trainer = trainer(folder, trainable);
    trainer.resume(&folder.join("checkpoints")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(trainer.position().step, step);
    step
}

/// Kills `kills` children; the moments are spread over all that a child does.
fn kills(kills: u64, trainable: Trainable) {
    let whole = tempdir().unwrap();
    let untrained = begin(whole.path());
    let begun = Instant::now();
    assert!(start(whole.path(), trainable).wait().unwrap().success());
    let length = begun.elapsed().as_micros() as u64;
    let expected = weights(whole.path());
    assert_ne!(expected, untrained);

    let (mut dice, mut killed, mut runs, mut steps) = (Dice(7), 0, 0, Vec::new());
    while killed < kills {
        let place = tempdir().unwrap();
        begin(place.path());
        let mut dies = true;
        while dies {
            let mut child = start(place.path(), trainable);
            if killed < kills {
                // up to a fifth of a whole run: short enough for several kills a run, long enough to get on
                let delay = Duration::from_micros(dice.roll(length / 5 + 1));
                std::thread::sleep(delay);
                child.kill().unwrap(); // SIGKILL
            }
            let status = child.wait().unwrap();
            dies = !status.success();
            if dies {
                assert_eq!(status.code(), None, "a child failed by itself");
                killed += 1;
                steps.push(check(place.path(), trainable, [&untrained, &expected]));
            }
        }
        assert!(weights(place.path()) == expected, "other weights than without kills");
        // no half of anything is left over; an old checkpoint may be, where a kill came before its removal
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = entries.collect();
            names.sort();
            names
        };
        assert_eq!(names(place.path()), ["checkpoints", "out"]);
        let left = names(&place.path().join("checkpoints"));
        assert!(left.iter().all(|name| name.starts_with("checkpoint-")), "{left:?}");
        assert!(names(&whole.path().join("checkpoints")).iter().all(|name| left.contains(name)), "{left:?}");
        runs += 1;
    }
    steps.sort_unstable();
    steps.dedup();
    println!("{trainable:?}: {killed} kills in {runs} runs, newest checkpoints at steps {steps:?}");
}

fn count() -> u64 {
    std::env::var("CLOZE_KILLS").map_or(200, |count| count.parse().unwrap())
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_bytes() {
    kills(count() / 2, Trainable::Top(1));
}

#[test]
fn so_do_low_rank_pairs() {
    kills(count() - count() / 2, Trainable::Lora);
}

/// A limit on the size of files stands in for a disk that is full: what does not fit is an error that names the file, and
/// what was there goes on.
#[test]
fn a_full_disk_loses_no_checkpoint() {
    let (whole, place) = (tempdir().unwrap(), tempdir().unwrap());
    begin(whole.path());
    train(whole.path(), Trainable::Top(1));
    begin(place.path());
    // three steps, and then no file may grow beyond 45 blocks, whose size is the shell's, 512 or 1024 bytes: room for the
    // parameters that train, which a scratch file holds, but not for the model
    let mut seen = 0;
    let mut observe = |event: &cloze::engine::FitEvent<'_>| {
        seen += u32::from(matches!(event, cloze::engine::FitEvent::Checkpoint { .. }));
        seen < 3
    };
    let run = FitRun { cancel: None, observe: Some(&mut observe) };
    let stopped = trainer(place.path(), Trainable::Top(1)).fit(&examples(20, 1), Some(&examples(6, 2)), run);
    assert_eq!(stopped.unwrap_err().status(), Status::Cancelled);
    let before = newest(place.path()).unwrap();
    assert_eq!(before.0, 3);
    let out = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 45; exec \"$0\" --exact child --test-threads 1 --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .envs([(CHILD, place.path().as_os_str()), (TRAINABLE, "top".as_ref())])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(!out.status.success(), "{said}");
    assert!(said.contains("status: Io") && said.contains("checkpoint-4") && said.contains(".safetensors"), "{said}");
    assert_eq!(newest(place.path()).unwrap(), before, "another checkpoint than before");
    train(place.path(), Trainable::Top(1));
    assert!(weights(place.path()) == weights(whole.path()));
}
