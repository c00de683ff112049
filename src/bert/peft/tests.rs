use std::fs;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::error::{Error, Result, Status};
use crate::weights::Weights;
use crate::weights::testing::{Builder, bytes};

const QUERY: &str = "encoder.layer.0.attention.self.query";

fn config() -> LoraConfig {
    LoraConfig {
        rank: 2,
        alpha: 3.0,
        modules_to_save: vec!["classifier".into()],
        task: Some(TaskType::SequenceClassification),
        ..LoraConfig::new()
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, status: Status, words: &[&str]) -> Error {
    let error = result.err().expect("an error was expected");
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
    error
}

fn written(prefix: &str) -> TempDir {
    let folder = tempdir().unwrap();
    let pair = Pair { module: QUERY, a: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], b: &[-1.0, -2.0], rank: 2 };
    let saved = Saved { name: "classifier.weight", shape: vec![1, 3], values: &[7.0, 8.0, 9.0] };
    write_adapter(folder.path(), &config(), prefix, &[pair], &[saved]).unwrap();
    folder
}

#[test]
fn what_is_written_reads_back() {
    for (prefix, key) in
        [("bert.", "base_model.model.bert."), ("", "base_model.model."), ("albert.", "base_model.model.albert.")]
    {
        let folder = written(prefix);
        let adapter = StoredAdapter::open(folder.path()).unwrap();
        assert_eq!(adapter.config, LoraConfig { raw: adapter.config.raw.clone(), ..config() });
        let pair = &adapter.pairs[QUERY];
        assert_eq!((pair.a.shape.as_slice(), pair.b.shape.as_slice()), (&[2, 3][..], &[1, 2][..]));
        assert_eq!((pair.a.to_f32(), pair.b.to_f32()), (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![-1.0, -2.0]));
        assert_eq!(pair.scale, 1.5);
        assert_eq!(adapter.pairs.len(), 1);
        let names: Vec<&String> = adapter.saved.keys().collect();
        assert_eq!(names, ["classifier.weight"]);
        assert_eq!(adapter.saved["classifier.weight"].to_f32(), [7.0, 8.0, 9.0]);

        let weights = Weights::open_file(&folder.path().join(TENSORS)).unwrap();
        let keys: Vec<String> = weights.tensors().map(|(_, key, _)| key.to_owned()).collect();
        assert!(keys.contains(&format!("{key}{QUERY}.lora_A.weight")), "{keys:?}");
        assert!(keys.contains(&"base_model.model.classifier.weight".into()), "{keys:?}");
        let readme = fs::read_to_string(folder.path().join("README.md")).unwrap();
        assert!(readme.starts_with("---\nlibrary_name: peft\n"), "{readme}");
    }
}

#[test]
fn a_named_adapter_lies_in_a_folder_of_its_name() {
    let root = tempdir().unwrap();
    refused(StoredAdapter::open(root.path()), Status::Missing, &["adapter_config.json"]);
    fs::rename(written("").keep(), root.path().join("one")).unwrap();
    assert_eq!(StoredAdapter::open(root.path()).unwrap().pairs.len(), 1);
    fs::rename(written("").keep(), root.path().join("two")).unwrap();
    refused(StoredAdapter::open(root.path()), Status::InvalidArgument, &["\"one\"", "\"two\""]);
    assert_eq!(StoredAdapter::open(&root.path().join("two")).unwrap().pairs.len(), 1);
    refused(StoredAdapter::open(&root.path().join("three")), Status::Io, &["three"]);
}

#[test]
fn pickles_and_absent_tensors_are_named() {
    let folder = written("");
    fs::remove_file(folder.path().join(TENSORS)).unwrap();
    refused(StoredAdapter::open(folder.path()), Status::Io, &[TENSORS]);
    fs::write(folder.path().join("adapter_model.bin"), "").unwrap();
    refused(StoredAdapter::open(folder.path()), Status::Unsupported, &["adapter_model.bin", "pickle"]);
}

/// An adapter's tensors of zeros: keys below `base_model.model.`, and shapes.
fn read(tensors: &[(&str, &[usize])]) -> Result<StoredAdapter> {
    let add = |builder: Builder, (key, shape): &(&str, &[usize])| {
        builder.f32(&format!("base_model.model.{key}"), shape, &vec![0.0; shape.iter().product()])
    };
    let buffer = tensors.iter().fold(Builder::default(), add).build();
    StoredAdapter::read(config(), &Weights::from_bytes("buffer", bytes(buffer)).unwrap())
}

#[test]
fn pairs_that_do_not_fit_are_refused() {
    let (a, b) = ("bert.x.lora_A.weight", "bert.x.lora_B.weight");
    read(&[(a, &[2, 5]), (b, &[4, 2])]).unwrap();
    refused(read(&[(a, &[2, 5])]), Status::Missing, &["\"bert.x\"", "lora_A without lora_B"]);
    refused(read(&[(b, &[4, 2])]), Status::Missing, &["\"bert.x\"", "lora_B without lora_A"]);
    for shapes in [[&[3, 5][..], &[4, 3]], [&[2, 5], &[4, 3]], [&[2, 5], &[8]], [&[2, 5, 1], &[4, 2]]] {
        refused(read(&[(a, shapes[0]), (b, shapes[1])]), Status::InvalidFile, &["\"bert.x\"", "[2, in]", "[out, 2]"]);
    }
    refused(read(&[]), Status::InvalidFile, &["no tensor"]);
}

#[test]
fn two_spellings_of_one_tensor_are_refused() {
    let (a, b) = ("bert.x.lora_A.weight", "bert.x.lora_B.weight");
    let again = "bert.x.lora_A.default.weight";
    refused(
        read(&[(a, &[2, 5]), (b, &[4, 2]), (again, &[2, 5])]),
        Status::InvalidFile,
        &["\"base_model.model.bert.x."],
    );
    let bare = "x.lora_B.weight";
    refused(read(&[(a, &[2, 5]), (bare, &[4, 2])]), Status::InvalidFile, &["\"bert.x\"", "\"x\""]);
    let saved = [("classifier.weight", &[1][..]), ("classifier.modules_to_save.default.weight", &[1])];
    refused(read(&saved), Status::InvalidFile, &["classifier"]);
}

#[test]
fn what_peft_would_drop_is_not_written() {
    let folder = tempdir().unwrap();
    let write = |pair: Option<Pair<'_>>, saved: Option<Saved<'_>>| {
        let (pairs, saved): (Vec<_>, Vec<_>) = (pair.into_iter().collect(), saved.into_iter().collect());
        write_adapter(folder.path(), &config(), "bert.", &pairs, &saved)
    };
    let (a, b) = ([0.0; 6], [0.0; 2]);
    let key = Pair { module: "encoder.layer.0.attention.self.key", a: &a, b: &b, rank: 2 };
    refused(write(Some(key), None), Status::InvalidArgument, &["bert.encoder", "no target"]);
    let rank = Pair { module: QUERY, a: &a, b: &b, rank: 1 };
    refused(write(Some(rank), None), Status::InvalidArgument, &["rank 1, expected 2"]);
    let odd = Pair { module: QUERY, a: &a[1..], b: &b, rank: 2 };
    refused(write(Some(odd), None), Status::InvalidArgument, &["A of 5"]);
    let pooler = Saved { name: "pooler.dense.bias", shape: vec![2], values: &b };
    refused(write(None, Some(pooler)), Status::InvalidArgument, &["bert.pooler.dense.bias", "classifier"]);
    let short = Saved { name: "classifier.bias", shape: vec![3], values: &b };
    refused(write(None, Some(short)), Status::InvalidArgument, &["classifier.bias", "[3]"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
