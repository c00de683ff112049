//! `cloze train` and `cloze eval` over the golden models: what they print, what they leave behind, what they refuse.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test may panic

mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use command::{ask, cloze, folder, has_keys, objects, printed, refused};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with files of examples.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let rows: Vec<String> = (0..24).map(row).collect();
        place.write("train.tsv", &rows[..18].concat());
        place.write("dev.tsv", &rows[18..].concat());
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Arguments that train a classifier on the files of this place.
    fn arguments(&self, out: &str, more: &[&str]) -> Vec<String> {
        let train = self.path("train.tsv");
        let fixed =
            ["--task", "classify", "--train", &train, "--out", &self.path(out), "--lr", "3e-3"].map(str::to_owned);
        fixed.into_iter().chain(more.iter().map(|more| (*more).to_owned())).collect()
    }

    fn train(&self, out: &str, more: &[&str]) -> std::process::Output {
        let arguments = self.arguments(out, more);
        ask("train", "sequence", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn eval(&self, model: &str, data: &str, more: &[&str]) -> Value {
        let (model, data) = (self.path(model), self.path(data));
        let arguments = [&["eval", "--model", &model, "--data", &data, "--json"], more].concat();
        objects(cloze(&arguments).output().unwrap()).remove(0)
    }
}

/// Examples that a word decides.
fn row(number: usize) -> String {
    let (label, word) = [("negative", "small"), ("neutral", "table"), ("positive", "happy")][number % 3];
    let who = ["the cat", "anna", "a dog", "the bird"][number % 4];
    let verb = ["is", "was", "sees", "runs", "walks"][number % 5];
    format!("{who} {verb} {word}\t{label}\n")
}

/// The same names in the same order, and values that differ by no more than the order of a sum makes of f64.
#[track_caller]
fn same_metrics(found: &Value, expected: &Value) {
    let list = |line: &Value| line["metrics"].as_object().unwrap().clone().into_iter().collect::<Vec<_>>();
    assert_eq!(list(found).len(), list(expected).len());
    for ((name, value), (other, expected)) in list(found).iter().zip(&list(expected)) {
        assert_eq!(name, other);
        let (value, expected) = (value.as_f64(), expected.as_f64());
        let near = value.zip(expected).is_some_and(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near || value == expected, "{name}: {value:?}, expected {expected:?}");
    }
}

fn as_arguments(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn a_model_learns_and_what_it_says_is_what_it_saves() {
    let place = Place::new();
    let dev = place.path("dev.tsv");
    let arguments = ["--dev", &dev, "--epochs", "12", "--batch", "6", "--dropout", "0", "--json", "--log-every", "2"];
    let lines = objects(place.train("out", &arguments));
    let (steps, others): (Vec<&Value>, Vec<&Value>) = lines.iter().partition(|line| line.get("step").is_some());
    // a line every two steps, and one before each of the twelve evaluations, after 3, 6, 9 … steps
    let expected: Vec<u64> = (1..=36).filter(|step| step % 2 == 0 || step % 3 == 0).collect();
    assert_eq!(steps.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), expected);
    for line in &steps {
        has_keys(line, "step epoch loss learning_rate");
    }
    let losses: Vec<f64> = steps.iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    assert!(losses[losses.len() - 1] < 0.1 * losses[0], "{losses:?}");
    assert_eq!(steps[0]["learning_rate"].as_f64().map(|rate| rate as f32), Some(3e-3 * 35.0 / 36.0)); // one step is done

    let (last, evaluations) = others.split_last().unwrap();
    assert_eq!(evaluations.len(), 12);
    for (number, line) in evaluations.iter().enumerate() {
        has_keys(line, "epoch metrics seconds");
        assert_eq!(line["epoch"], (number + 1) as f64);
    }
    has_keys(last, "best out");
    has_keys(&last["best"], "metric value step");
    assert_eq!((&last["best"]["metric"], &last["out"]), (&"accuracy".into(), &place.path("out").into()));
    let kept = last["best"]["step"].as_u64().unwrap() as usize / 3 - 1;
    assert_eq!(evaluations[kept]["metrics"]["accuracy"], last["best"]["value"]);

    let found = place.eval("out", "dev.tsv", &[]);
    has_keys(&found, "metrics");
    same_metrics(&found, evaluations[kept]);
    assert_eq!(place.eval("out", "dev.tsv", &["--task", "classify"]), found);
    let out = place.path("out");
    let answer = objects(cloze(&["classify", "--model", &out, "--json", "anna is happy"]).output().unwrap()).remove(0);
    assert_eq!(answer["labels"][0]["label"], "positive");
    assert_eq!(place.names(), ["dev.tsv", "out", "train.tsv"]);
}

#[test]
fn people_see_a_table() {
    let place = Place::new();
    let dev = place.path("dev.tsv");
    let text = printed(place.train("out", &["--dev", &dev, "--epochs", "2", "--trainable", "top:1"]));
    assert!(text.starts_with("3 labels: negative, neutral, positive\n18 examples to learn from, 6 to evaluate on\n"));
    assert!(text.contains("learns the top layer and the head: "), "{text}");
    let rows: Vec<&str> =
        text.lines().skip_while(|line| !line.contains("epoch")).take_while(|l| !l.is_empty()).collect();
    let cells = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(rows[0]), as_arguments("epoch step loss dev loss accuracy time"));
    assert_eq!(cells(rows[1])[..2], ["1.00", "3"]);
    assert_eq!((rows.len(), cells(rows[2])[0].as_str()), (3, "2.00"));
    assert!(text.contains(&format!("model in {}, as it was at step", place.path("out"))), "{text}");
    assert!(text.contains("  matthews_correlation  "), "{text}");

    let text = printed(place.train("out", &["--steps", "4", "--trainable", "head"]));
    let rows: Vec<&str> =
        text.lines().skip_while(|line| !line.contains("epoch")).take_while(|l| !l.is_empty()).collect();
    assert_eq!(cells(rows[0]), as_arguments("epoch step loss time"));
    assert_eq!((cells(rows[1])[..2].to_vec(), cells(rows[2])[..2].to_vec()), (cells("1.00 3"), cells("1.33 4")));
    let report = printed(cloze(&["eval", "--model", &place.path("out"), "--data", &dev]).output().unwrap());
    assert!(report.starts_with("  loss  ") && report.contains("\n  accuracy  "), "{report}");
}

#[test]
fn every_task_learns_from_its_files() {
    let place = Place::new();
    let tags = "Anna B-PER\nsees O\nParis B-LOC\n\nthe O\ncat O\nwalks O\n\nJohn B-PER\nBerlin I-LOC\n";
    let several: String =
        ["joy\", \"trust", "anger", "fear", "trust"] // two labels in the first
            .map(|labels| format!("{{\"text\": \"the cat walks\", \"labels\": [\"{labels}\"]}}\n"))
            .concat();
    let answers: String = [("Paris", 8), ("Anna", 0)]
        .map(|(answer, start)| {
            format!(
                "{{\"question\": \"where is she\", \"context\": \"Anna in Paris\", \
                 \"answers\": {{\"text\": [\"{answer}\"], \"answer_start\": [{start}]}}}}\n"
            )
        })
        .concat();
    for (task, model, name, text, metric) in [
        ("tag", "token", "tags.conll", tags, "f1"),
        ("multilabel", "multilabel", "several.jsonl", several.as_str(), "micro_f1"),
        (
            "regress",
            "regression",
            "numbers.csv",
            "sentence1,sentence2,score\nthe cat,a dog,0.5\nit is,he was,-1\n",
            "spearman",
        ),
        ("answer", "bare", "answers.jsonl", answers.as_str(), "exact_match"),
        (
            "clm",
            "causal",
            "lines.txt",
            "the cat sees the bird\n\nAnna walks to the river\nhe was not happy\n",
            "perplexity",
        ),
    ] {
        place.write(name, text);
        let (data, out) = (place.path(name), place.path(task));
        let arguments = [
            "--task", task, "--train", &data, "--dev", &data, "--out", &out, "--epochs", "2", "--json", "--batch", "2",
        ];
        let lines = objects(ask("train", model, &arguments));
        let last = lines.last().unwrap();
        let step = last["best"]["step"].as_u64().unwrap();
        let evaluations: Vec<&Value> = lines.iter().filter(|line| line.get("metrics").is_some()).collect();
        assert_eq!(evaluations.len(), 2, "{task}");
        let kept = if step * 2 == lines.iter().filter_map(|l| l["step"].as_u64()).max().unwrap() { 0 } else { 1 };
        let found = place.eval(task, name, &[]);
        assert!(found["metrics"].get(metric).is_some(), "{found}");
        same_metrics(&found, evaluations[kept]);
    }
}

/// Four documents, in which every word tells the next.
fn text(place: &Place) -> String {
    let sentence = ["the cat sees the bird .", "a big dog walks to the river .", "john eats .", "she was old ."];
    let document = |number: usize| (0..12).map(|i| sentence[(i + number) % 4]).collect::<Vec<_>>().join("\n");
    place.write("text.txt", &(0..4).map(document).collect::<Vec<_>>().join("\n\n"));
    place.path("text.txt")
}

/// `cloze train` on text and `cloze pretrain --model` are one training, and `cloze eval` finds what that told last.
#[test]
fn text_is_learned_and_evaluated() {
    let place = Place::new();
    let text = text(&place);
    for (task, keys) in [
        ("mlm", "loss perplexity mlm_loss mlm_accuracy"),
        ("mlm+nsp", "loss perplexity mlm_loss mlm_accuracy nsp_loss nsp_accuracy"),
    ] {
        let learn = |verb: &str, from: &str, out: &str| {
            let fixed = [from, &text, "--dev", &text, "--task", task, "--out", &place.path(out), "--lr", "3e-3"];
            let lines = ["--lines", "sentences", "--max-tokens", "24", "--epochs", "2", "--json"];
            objects(ask(verb, "pretraining", &[&fixed[..], &lines].concat()))
        };
        let (one, two) = (learn("train", "--train", "one"), learn("pretrain", "--corpus", "two"));
        assert_eq!(place.bytes("one/model.safetensors"), place.bytes("two/model.safetensors"), "{task}");
        let (one, two) = (one.last().unwrap(), two.last().unwrap());
        has_keys(one, "best out");
        assert_eq!(one["best"], two["best"]);

        let eval = |more: &[&str]| {
            let fixed = ["--task", task, "--data", &text, "--lines", "sentences", "--max-tokens", "24", "--json"];
            let model = place.path("one");
            objects(cloze(&["eval", "--model", &model]).args(fixed).args(more).output().unwrap()).remove(0)
        };
        let found = eval(&[]);
        has_keys(&found["metrics"], keys);
        let (value, best) = (found["metrics"]["loss"].as_f64().unwrap(), one["best"]["value"].as_f64().unwrap());
        assert!((value - best).abs() <= 1e-9 * best, "{value}, the training said {best}");
        assert_eq!(eval(&["--seed", "42"]), found);
        assert_ne!(eval(&["--seed", "7"]), found);
        assert_ne!(eval(&["--examples", "1"]), found);
        assert_ne!(eval(&["--mask", "0.5"]), found);
    }
    let table = printed(ask("eval", "pretraining", &["--task", "mlm", "--data", &text]));
    assert!(table.starts_with("4 documents of ") && table.contains("perplexity"), "{table}");
}

#[test]
fn text_and_files_of_examples_are_not_mixed_up() {
    let place = Place::new();
    let (data, text, out) = (place.path("train.tsv"), text(&place), place.path("out"));
    let train = |task: &str, data: &str, more: &[&str]| {
        refused(ask("train", "pretraining", &[&["--task", task, "--train", data, "--out", &out], more].concat()), 2)
    };
    for more in [&["--labels", "a,b"][..], &["--format", "tsv"], &["--head", "x"], &["--label-smoothing", "0.1"]] {
        assert!(train("mlm", &text, more).contains(&format!("{} does not go with --task mlm", more[0])));
    }
    let adapter = ["--trainable", "lora:2", "--adapter-out", &place.path("adapter")];
    assert!(train("mlm+nsp", &text, &adapter).contains("--adapter-out"));
    for more in [&["--mask", "0.2"][..], &["--lines", "sentences"], &["--same-masks"], &["--whole-words"]] {
        assert!(train("classify", &data, more).contains(&format!("{} goes with --task mlm", more[0])));
    }
    let eval = |more: &[&str]| refused(ask("eval", "sequence", &[&["--data", &data], more].concat()), 2);
    assert!(eval(&["--examples", "3"]).contains("--examples goes with --task mlm"));
    assert!(eval(&["--task", "mlm", "--columns", "text=1"]).contains("--columns does not go with text"));
    assert_eq!(place.names(), ["dev.tsv", "text.txt", "train.tsv"]);
}

#[test]
fn what_is_not_learned_by_itself_is_refused() {
    let place = Place::new();
    let (data, out) = (place.path("train.tsv"), place.path("out"));
    for (verb, from) in [("train", &["--train", &data, "--out", &out][..]), ("eval", &["--data", &data])] {
        let complaint = refused(ask(verb, "pretraining", &[&["--task", "nsp"], from].concat()), 1);
        assert!(complaint.contains("--task nsp: ") && complaint.contains("expected mlm+nsp"), "{complaint}");
    }
    let text = text(&place);
    let headless = refused(ask("eval", "bare", &["--task", "mlm", "--data", &text]), 1);
    assert!(headless.contains("cls.predictions"), "{headless}");
    let complaint = refused(ask("train", "pretraining", &["--task", "clm", "--train", &data, "--out", &out]), 1);
    assert!(complaint.contains("learning next words: this model is bidirectional"), "{complaint}");
    assert!(refused(ask("eval", "bare", &["--data", &data]), 1).contains("no classifier"));
    assert_eq!(place.names(), ["dev.tsv", "text.txt", "train.tsv"]);
}

#[test]
fn places_are_checked_before_anything_is_read() {
    let place = Place::new();
    fs::create_dir(place.0.path().join("photos")).unwrap();
    place.write("photos/cat.jpg", "mine");
    let nowhere = place.path("nowhere.tsv"); // would be complained of if it were read
    let train = |out: &str, more: &[&str]| {
        let out = place.path(out);
        let fixed = ["--task", "classify", "--train", &nowhere, "--out", &out];
        refused(ask("train", "sequence", &[&fixed[..], more].concat()), 1)
    };
    assert!(train("photos", &[]).contains("photos: holds files, but no model"));
    assert_eq!(place.bytes("photos/cat.jpg"), b"mine");
    assert!(train("train.tsv", &[]).contains("train.tsv"));
    assert!(train("train.tsv/out", &[]).contains("train.tsv"));
    assert!(train("out", &["--report", &place.path("photos")]).contains("photos: is a folder"));
    assert!(train("out", &["--report", &place.path("no/such/r.html")]).contains("no/such"));
    assert!(train("out", &["--trainable", "lora:2", "--adapter-out", &place.path("photos")]).contains("photos"));
    assert!(train("out", &[]).contains("nowhere.tsv"));
    assert_eq!(place.names(), ["dev.tsv", "photos", "train.tsv"]);
}

#[test]
fn arguments_that_make_no_sense_are_wrong_usage() {
    let place = Place::new();
    let dev = place.path("dev.tsv");
    for arguments in [
        "--trainable top:0",
        "--trainable some",
        "--memory much",
        "--schedule never",
        "--eval-every 0",
        "--columns 4",
        "--class-weights positive",
        "--patience 2",
        "--metric f1",
        "--eval-every 5",
        "--resume",
        "--checkpoint-every 5",
        "--lora-alpha 16",
        "--log-every 5",
        "--epochs 0",
        "--task sing",
    ] {
        let output = place.train("out", &as_arguments(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments}");
    }
    assert!(refused(place.train("out", &["--adapter-out", &place.path("a")]), 2).contains("lora:R"));
    for inner in ["out", "out/checkpoints"] {
        let complaint = refused(place.train("out", &["--checkpoints", &place.path(inner)]), 2);
        assert!(complaint.contains("--checkpoints ") && complaint.contains(" lies in --out "), "{complaint}");
    }
    let same = ["--trainable", "lora:2", "--adapter-out", &place.path("out")];
    assert!(refused(place.train("out", &same), 2).contains("lies in --out"));
    let data = place.path("train.tsv");
    let output = ask("train", "sequence", &["--task", "classify", "--train", &data, "--dev", &dev]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--out"));
    assert_eq!(place.names(), ["dev.tsv", "train.tsv"]);
}

#[test]
fn data_that_does_not_fit_is_named_by_its_line() {
    let place = Place::new();
    place.write("other.tsv", "the cat\tpositive\na dog\tangry\n");
    let other = place.path("other.tsv");
    let dev = place.path("dev.tsv");
    for (arguments, expected) in [
        (["--dev", &other], "other.tsv:2: label \"angry\", expected one of \"negative\""),
        (["--class-weights", "angry=2"], "--class-weights: label \"angry\", expected one of"),
        (["--memory", "1kB"], "the budget is 1000"),
        (["--dropout", "1.5"], "dropout: 1.5"),
    ] {
        let complaint = refused(place.train("out", &[&arguments[..], &["--json"]].concat()), 1);
        assert!(complaint.contains(expected), "{complaint}");
    }
    let output = place.train("out", &["--metric", "f7", "--dev", &dev]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("\"f7\": expected one of loss, accuracy"));
    assert_eq!(place.names(), ["dev.tsv", "other.tsv", "train.tsv"]);
}

#[test]
fn columns_are_chosen_by_number() {
    let place = Place::new();
    let cola: String =
        (0..9).map(|n| format!("x{n}\t{}\t*\t{}\n", n % 3, row(n).split('\t').next().unwrap())).collect();
    place.write("cola.tsv", &cola);
    let data = place.path("cola.tsv");
    let out = place.path("out");
    let arguments = ["--task", "classify", "--train", &data, "--out", &out, "--steps", "2"];
    assert!(refused(ask("train", "sequence", &arguments), 1).contains("cola.tsv:1: 4 columns"));
    let text = printed(ask("train", "sequence", &[&arguments[..], &["--columns", "text=4,label=2"]].concat()));
    assert!(text.starts_with("3 labels: 0, 1, 2\n"), "{text}");
    let found = place.eval("out", "cola.tsv", &["--columns", "text=4,label=2"]);
    assert!(found["metrics"]["accuracy"].is_number());
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let place = Place::new();
    for (out, threads, seed) in [("a", "1", "7"), ("b", "3", "7"), ("c", "1", "8")] {
        printed(place.train(out, &["--steps", "5", "--threads", threads, "--seed", seed, "--group-by-length"]));
    }
    let weights = |out: &str| place.bytes(&format!("{out}/model.safetensors"));
    assert!(weights("a") == weights("b") && weights("a") != weights("c"));
}

#[test]
fn a_run_goes_on_from_its_newest_checkpoint() {
    let place = Place::new();
    let (dev, checkpoints) = (place.path("dev.tsv"), place.path("checkpoints"));
    let every = ["--steps", "8", "--batch", "4", "--dev", &dev, "--checkpoint-every", "3", "--checkpoints"];
    let with = |folder: &str, more: &[&str]| {
        [&every[..], &[folder], more].concat().iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()
    };
    let train =
        |out: &str, arguments: Vec<String>| place.train(out, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let text = printed(train("whole", with(&checkpoints, &["--resume"])));
    assert!(text.contains("no checkpoint in ") && text.contains("begins at step 0"), "{text}");
    let complaint = refused(train("again", with(&checkpoints, &[])), 2);
    assert!(complaint.contains("checkpoint-8 is from another run"), "{complaint}");
    for (newer, from) in [("checkpoint-8", "goes on from step 6"), ("checkpoint-6", "goes on from step 3")] {
        fs::remove_dir_all(place.0.path().join("checkpoints/checkpoint-8")).unwrap();
        let _ = fs::remove_dir_all(place.0.path().join("checkpoints").join(newer));
        let text = printed(train("again", with(&checkpoints, &["--resume"])));
        assert!(text.contains(from), "{text}");
        for file in ["model.safetensors", "config.json"] {
            assert!(place.bytes(&format!("whole/{file}")) == place.bytes(&format!("again/{file}")), "{from}: {file}");
        }
    }
    let complaint = refused(train("again", with(&checkpoints, &["--resume", "--weight-decay", "0.5"])), 1);
    assert!(complaint.contains("checkpoint-8"), "{complaint}");
}

#[test]
fn pairs_are_saved_beside_the_merged_model() {
    let place = Place::new();
    let (dev, adapter) = (place.path("dev.tsv"), place.path("adapter"));
    let arguments = [
        "--dev",
        &dev,
        "--epochs",
        "2",
        "--trainable",
        "lora:2",
        "--lora-alpha",
        "4",
        "--adapter-out",
        &adapter,
        "--json",
    ];
    let last = objects(place.train("merged", &arguments)).pop().unwrap();
    has_keys(&last, "best out adapter_out");
    let merged = place.eval("merged", "dev.tsv", &[]);
    let arguments = ["--data", &dev, "--adapter", &adapter, "--json"];
    let beside = objects(ask("eval", "sequence", &arguments)).remove(0);
    let loss = |found: &Value| found["metrics"]["loss"].as_f64().unwrap();
    // the same sum in another order of rounding
    assert!((loss(&merged) - loss(&beside)).abs() < 1e-5, "{merged} {beside}");
    assert!(Path::new(&adapter).join("adapter_config.json").exists());
    let before = objects(ask("eval", "sequence", &["--data", &dev, "--json"])).remove(0);
    assert_ne!(loss(&before), loss(&beside));
}

#[test]
fn a_named_head_stands_beside_the_folder_s_own() {
    let place = Place::new();
    let dev = place.path("dev.tsv");
    printed(place.train("out", &["--steps", "3", "--trainable", "head", "--head", "mood"]));
    let named = place.eval("out", "dev.tsv", &["--head", "mood"]);
    assert_ne!(place.eval("out", "dev.tsv", &[]), named);
    let complaint = refused(ask("eval", "sequence", &["--data", &dev, "--head", "mood"]), 1);
    assert!(complaint.contains("mood"), "{complaint}");
}

#[cfg(unix)] // `kill`
#[test]
fn ctrl_c_stops_and_says_what_is_kept() {
    use std::io::{BufRead, BufReader};
    use std::process::Command;
    let place = Place::new();
    let checkpoints = place.path("checkpoints");
    for (more, kept) in [
        (vec![], "; nothing is saved"),
        (
            vec!["--checkpoints", checkpoints.as_str(), "--checkpoint-every", "1", "--keep-checkpoints", "2"],
            " is kept, --resume goes on from it",
        ),
    ] {
        let long = ["--json", "--log-every", "1", "--epochs", "50000"];
        let arguments = place.arguments("out", &[&long[..], &more].concat());
        let mut command = cloze(&["train", "--model"]);
        command.arg(folder("sequence")).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            lines.next().unwrap().unwrap();
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let steps = 3 + lines.map_while(Result::ok).count();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.starts_with(&format!("cloze: stopped after step {steps} of 150000")), "{complaint}");
        assert!(complaint.contains(kept) && complaint.lines().count() == 1, "{complaint}");
        assert!(!place.names().contains(&"out".to_owned()));
    }
}

#[test]
fn the_report_is_one_page_that_needs_nothing_else() {
    let place = Place::new();
    let rows: String = (0..12).map(|n| row(n).replace("neutral", "<b>neither</b>")).collect();
    place.write("train.tsv", &rows);
    place.write("r.html", "old");
    let (dev, report) = (place.path("train.tsv"), place.path("r.html"));
    let arguments = ["--dev", &dev, "--epochs", "3", "--report", &report];
    refused(place.train("out", &[&arguments[..], &["--memory", "1kB"]].concat()), 1);
    assert_eq!(place.bytes("r.html"), b"old");
    printed(place.train("out", &arguments));
    let page = String::from_utf8(place.bytes("r.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for foreign in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    // the one address is the name of SVG's vocabulary, which nobody loads
    assert_eq!(page.matches("://").count(), page.matches("http://www.w3.org/2000/svg").count());
    assert_eq!(page.matches("<svg ").count(), 3);
    assert!(page.contains("<h1>classify with sequence</h1>") && page.contains("&lt;b&gt;neither&lt;/b&gt;"));
    assert!(!page.contains("<b>neither"));
    let table = page.split("<h2>Evaluations</h2>").nth(1).unwrap().split("</table>").next().unwrap();
    assert_eq!(table.matches("<tr").count(), 1 + 3);
    assert_eq!(table.matches("class=\"best\"").count(), 1);
    let matrix = page.split("<h2>Confusion matrix</h2>").nth(1).unwrap().split("</table>").next().unwrap();
    let counts = matrix.split("<td class=\"").skip(1).filter(|cell| !cell.starts_with("edge"));
    let counts: Vec<u64> = counts.map(|cell| cell.split(['>', '<']).nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (9, 12));
    assert_eq!(place.names(), ["dev.tsv", "out", "r.html", "train.tsv"]);
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_training() {
    let place = Place::new();
    let arguments = place.arguments("out", &["--json", "--log-every", "1", "--epochs", "20"]);
    let mut command = cloze(&["train", "--model"]);
    command.arg(folder("sequence")).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(printed(child.wait_with_output().unwrap()), "");
    assert!(PathBuf::from(place.path("out")).join("model.safetensors").exists());
}
