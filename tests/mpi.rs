//! `examples/mpi`: any number of processes learn what one learns. Needs `mpicc` and `mpirun`.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // a test may panic

mod built;
mod oracle;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use built::{Programs, path, present};

/// The program, and examples for it.
struct Mpi {
    programs: Programs,
    train: PathBuf,
    examples: PathBuf,
}

/// 98 short texts, so that an epoch of global batches of 12 ends with one of 2 examples: fewer than there are processes.
const EXAMPLES: usize = 98;

impl Mpi {
    /// `None`, and loudly, where MPI is not there.
    fn new() -> Option<Self> {
        if !(present("mpicc") && present("mpirun")) {
            return None;
        }
        let programs = Programs::of("mpicc".to_owned());
        let train = programs.build("train", &[&path("examples/mpi/train.c"), &path("examples/mpi/average_mpi.c")]);
        let (beasts, verbs) = (["the cat", "the dog", "a bird", "Anna"], ["sees", "walks with", "likes"]);
        let text = |i: usize| {
            let more = ["", " and the river", " in the house with John"][i % 5 % 3];
            format!(
                "{} {} {}{more}.\t{}\n",
                beasts[i % 4],
                verbs[i / 4 % 3],
                beasts[i / 12 % 4],
                ["no", "yes"][i % 4 % 2]
            )
        };
        let examples = programs.folder().join("examples.tsv");
        std::fs::write(&examples, (0..EXAMPLES).map(text).collect::<String>()).unwrap();
        Some(Self { programs, train, examples })
    }

    fn command(&self, processes: usize, out: &str, options: &[&str]) -> Command {
        let mut command = Command::new("mpirun");
        // tests may run as root, on fewer processors than processes, and where processes may not read one another's memory
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none").env("OMPI_MCA_mpi_yield_when_idle", "1");
        command.args(["--oversubscribe", "-n", &processes.to_string()]).arg(&self.train);
        command.arg(path("tests/golden/sequence")).arg(&self.examples).arg(self.folder(out));
        command.args(["--batch", "12", "--threads", "1", "--lr", "1e-3"]).args(options);
        command
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.programs.folder().join(name)
    }

    fn run(&self, processes: usize, out: &str, options: &[&str]) -> Curve {
        let output = self.command(processes, out, options).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        Curve::of(&output)
    }
}

fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Number, loss and norm of the gradients of every step.
#[derive(Debug)]
struct Curve(Vec<(u64, [f64; 2])>);

impl Curve {
    fn of(output: &Output) -> Self {
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["step", step, "loss", loss, "norm", norm] => {
                    Some((step.parse().unwrap(), [loss.parse().unwrap(), norm.parse().unwrap()]))
                }
                _ => None,
            }
        };
        Self(String::from_utf8(output.stdout.clone()).unwrap().lines().filter_map(line).collect())
    }

    /// Sums in another order are all that differs: 1e-5 of f32 losses over fifty steps.
    #[track_caller]
    fn assert_like(&self, other: &[(u64, [f64; 2])]) {
        assert_eq!(self.0.len(), other.len());
        for ((step, own), (number, expected)) in self.0.iter().zip(other) {
            assert_eq!(step, number);
            for (own, expected) in own.iter().zip(expected) {
                assert!((own - expected).abs() <= 1e-5 * expected.abs(), "step {step}: {own}, expected {expected}");
            }
        }
    }
}

fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn any_number_of_processes_learns_what_one_learns() {
    let Some(mpi) = Mpi::new() else { return };
    for trainable in ["top:1", "lora:4", "all"] {
        let options = ["--trainable", trainable, "--steps", "50"];
        let one = mpi.run(1, "one", &options);
        assert_eq!(one.0.len(), 50);
        let mean =
            |steps: &[(u64, [f64; 2])]| steps.iter().map(|(_, [loss, _])| loss).sum::<f64>() / steps.len() as f64;
        assert!(mean(&one.0[40..]) < 0.9 * mean(&one.0[..10]), "{trainable}: nothing was learned: {one:?}");
        for processes in [2, 4] {
            mpi.run(processes, "several", &options).assert_like(&one.0);
        }
        let mut again = mpi.command(2, "again", &options);
        assert!(again.output().unwrap().status.success());
        let mut third = mpi.command(2, "third", &options);
        assert!(third.output().unwrap().status.success());
        assert_eq!(weights(&mpi.folder("again")), weights(&mpi.folder("third")), "{trainable}: two runs differ");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let Some(mpi) = Mpi::new() else { return };
    let options = ["--trainable", "top:1", "--steps", "400", "--lr", "1e-4"];
    let whole = mpi.run(1, "whole", &options);
    // ended from outside as soon as there is a checkpoint
    let checkpoints = mpi.folder("checkpoints");
    let mut first = mpi.command(4, "first", &options);
    first.arg("--checkpoints").arg(&checkpoints).args(["--every", "20"]);
    let mut child = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !checkpoints.join("latest").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = mpi.run(2, "rest", &[&options[..], &["--resume", checkpoints.to_str().unwrap()]].concat());
    let done = rest.0[0].0 as usize - 1;
    assert!((20..400).contains(&done) && done.is_multiple_of(20), "goes on after step {done}");
    rest.assert_like(&whole.0[done..]);
}

#[test]
fn what_one_process_cannot_do_ends_all_with_a_message() {
    let Some(mpi) = Mpi::new() else { return };
    let fails = |options: &[&str], status: i32, message: &str| {
        let output = mpi.command(2, "none", options).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(message), "{said}, expected {message:?}");
        assert!(!mpi.folder("none").exists());
    };
    fails(&["--trainable", "bottom"], 2, "--trainable: expected head");
    fails(&["--trainable", "top:9"], 1, "9");
    fails(&["--batch", "1"], 2, "--batch: 1 examples for 2 processes");
    fails(&["--batch", "many"], 2, "--batch: many, expected a number");
    fails(&["--depth", "1"], 2, "--depth: no such option");
    fails(&["--resume", "nowhere"], 1, "nowhere/latest");
    fails(&["--device", "tpu"], 1, "tpu");
    // only the process that writes sees that it cannot
    let file = mpi.examples.to_str().unwrap();
    fails(&["--steps", "2", "--every", "1", "--checkpoints", file], 1, "process 0: ");
}
