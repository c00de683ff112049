//! Which device a model runs on: as the options say, or refused with the reason.
//!
//! The driver is a library that is not there, so that these tests have the same outcome on every machine.

#![allow(clippy::unwrap_used)] // a test may panic

mod command;

use std::process::Output;

use cloze::engine::{DeviceChoice, Model, OpenOptions, Precision, device_at, device_count, devices};
use cloze::error::Status;
use command::{cloze, folder, has_keys, objects, printed, refused};
use serde_json::Value;

/// Why there is no CUDA.
const REASON: &str = if cfg!(feature = "cuda") { "no CUDA driver: " } else { "built without CUDA" };

/// A verb where there is no driver.
fn without_driver(arguments: &[&str]) -> Output {
    cloze(arguments).env("CLOZE_CUDA_LIBRARY", "/nowhere/libcuda.so.1").output().unwrap()
}

/// What `cloze info` with `arguments` says of a golden model.
fn info(arguments: &[&str]) -> Output {
    let model = folder("sentence");
    without_driver(&[&["info", "--model", model.to_str().unwrap(), "--json"], arguments].concat())
}

#[test]
fn choices_are_read_and_written() {
    let read = |text: &str| text.parse::<DeviceChoice>().ok();
    for (text, choice) in [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cuda:0", DeviceChoice::Cuda(0)),
        ("cuda:12", DeviceChoice::Cuda(12)),
    ] {
        assert_eq!((read(text), choice.to_string()), (Some(choice), text.to_owned()));
    }
    assert_eq!(read("cuda"), Some(DeviceChoice::Cuda(0)));
    for text in
        ["", "CPU", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:99999999999999999999", "cuda0"]
    {
        let error = text.parse::<DeviceChoice>().unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert_eq!(error.message(), format!("device {text:?}, expected auto, cpu, cuda or cuda:N"));
    }
    let read = |text: &str| text.parse::<Precision>().ok();
    let all = [Precision::Auto, Precision::F32, Precision::Bf16, Precision::F16, Precision::Int8];
    assert_eq!(["auto", "f32", "bf16", "f16", "int8"].map(read), all.map(Some));
    assert!(all.iter().all(|precision| read(&precision.to_string()) == Some(*precision)));
    assert_eq!(["", "float32", "F32"].map(read), [None; 3]);
}

#[test]
fn the_cpu_is_the_default_and_has_three_precisions() {
    let open = |options: &OpenOptions| Model::open(&folder("sentence"), options);
    let own = [
        (Precision::Auto, Precision::F32),
        (Precision::F32, Precision::F32),
        (Precision::Bf16, Precision::Bf16),
        (Precision::Int8, Precision::Int8),
    ];
    for (precision, own) in own {
        let info = open(&OpenOptions { precision, ..OpenOptions::default() }).unwrap().info();
        let seen = (info.device.id.as_str(), info.device.precision, info.device.unusable, info.device_note);
        assert_eq!(seen, ("cpu", own, None, None));
        assert_eq!(info.device.name, info.isa);
    }
    let error = open(&OpenOptions { precision: Precision::F16, ..OpenOptions::default() }).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
    assert_eq!(error.message(), "precision f16 on the CPU, expected auto, f32, bf16 or int8");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_the_reason() {
    for device in ["cuda", "cuda:0", "cuda:3"] {
        let message = refused(info(&["--device", device]), 1);
        let id = if device == "cuda" { "cuda:0" } else { device };
        assert!(message.contains(&format!("{id}: {REASON}")), "{message}");
    }
    assert!(refused(info(&["--device", "cpu", "--precision", "f16"]), 1).contains("precision f16 on the CPU"));
    let message = String::from_utf8(info(&["--device", "gpu"]).stderr).unwrap();
    assert!(message.contains("device \"gpu\", expected auto, cpu, cuda or cuda:N"), "{message}");
}

#[test]
fn auto_falls_back_to_the_cpu_and_says_why() {
    let found = objects(info(&["--device", "auto"])).remove(0);
    assert_eq!((&found["device"], &found["precision"]), (&"cpu".into(), &"f32".into()));
    assert!(found["device_note"].as_str().unwrap().contains(REASON), "{found}");
    let model = folder("sentence");
    let card = printed(without_driver(&["info", "--model", model.to_str().unwrap(), "--device", "auto"]));
    assert!(card.contains(&format!("not on CUDA: {REASON}")), "{card}");
    // What only CUDA has is not silently left out.
    let message = refused(info(&["--device", "auto", "--precision", "f16"]), 1);
    assert!(message.contains("precision f16 on the CPU") && message.contains(REASON), "{message}");
}

#[test]
fn every_verb_that_trains_takes_a_device() {
    let model = folder("bare");
    for verb in ["train", "pretrain", "eval", "bench", "convert"] {
        let help = printed(cloze(&[verb, "--help"]).output().unwrap());
        assert!(help.contains("--device <NAME>") && help.contains("--precision <TYPE>"), "{verb}: {help}");
    }
    let message = refused(
        without_driver(&["bench", "--model", model.to_str().unwrap(), "--device", "cuda", "--seconds", "0"]),
        1,
    );
    assert!(message.contains(REASON), "{message}");
}

#[test]
fn devices_are_listed_with_the_reason_why_not() {
    let lines = objects(without_driver(&["devices", "--json"]));
    lines.iter().for_each(|line| has_keys(line, "device name capability memory free_memory precision unusable"));
    let [cpu, cuda] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&cpu["device"], &cpu["precision"], &cpu["unusable"]), (&"cpu".into(), &"f32".into(), &Value::Null));
    assert_eq!((&cuda["device"], &cuda["memory"]), (&"cuda".into(), &Value::Null));
    assert!(cuda["unusable"].as_str().unwrap().starts_with(REASON), "{cuda}");
    let table = printed(without_driver(&["devices"]));
    assert!(table.starts_with("cpu   ") && table.contains(&format!("\ncuda  cannot be used: {REASON}")), "{table}");
}

/// On whatever this machine has.
#[test]
fn the_list_is_what_its_parts_say() {
    let list = devices();
    assert_eq!((list.len(), list[0].id.as_str()), (device_count(), "cpu"));
    assert!(list.len() >= 2 && list[1..].iter().all(|device| device.id.starts_with("cuda")), "{list:?}");
    for (index, device) in list.iter().enumerate() {
        assert_eq!(device_at(index).unwrap().id, device.id);
        assert!(device.free_memory <= device.memory, "{device:?}");
    }
    assert_eq!(device_at(list.len()), None);
}
