//! Folders whose linear layers are in 8 bits: what is in them, what they answer, and what becomes of them in training.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloze::dtype::f16;
use cloze::engine::{
    DType, Dataset, EmbedOptions, Example, ExampleInput, FillOptions, Input, Memory, Model, Objective, OpenOptions,
    Precision, Run, Storage, Target, Task, TextOptions, TrainOptions, Trainable, Trainer,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const TEXTS: [&str; 3] = [
    "She opened the [MASK] and looked out.",
    "[MASK].",
    "\"I am very glad to see you,\" said the old gentleman, and he shook him warmly by the [MASK].",
];

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model")
}

fn open(folder: &Path, precision: Precision, memory: Memory) -> Model {
    Model::open(folder, &OpenOptions { precision, memory, threads: 2, ..OpenOptions::default() }).unwrap()
}

fn exact(folder: &Path) -> Model {
    open(folder, Precision::F32, Memory::Fast)
}

/// Mean embeddings, and logits of the best words for each mask. Asked three times: weights that are used again are
/// rearranged.
fn answers(model: &Model) -> (Vec<Vec<f32>>, Vec<f32>) {
    let ask = || {
        let encode = |task| model.encode(&TEXTS.map(Input::Text), task, &TextOptions::default()).unwrap();
        let embeddings = model.embed(&encode(Task::Embed), &EmbedOptions::default(), Run::default()).unwrap();
        let masks = model.fill(&encode(Task::Fill), &FillOptions::default(), Run::default()).unwrap();
        (embeddings, masks.iter().flatten().flat_map(|mask| &mask.candidates).map(|word| word.probability).collect())
    };
    let first = ask();
    assert_eq!(ask(), first);
    assert_eq!(ask(), first);
    first
}

type File = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(folder: &Path) -> File {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(read).collect()
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|two| f16::from_le_bytes(two.try_into().unwrap()).to_f32()).collect(),
        other => panic!("{other:?}"),
    }
}

fn layers(folder: &Path) -> usize {
    usize::try_from(config(folder)["num_hidden_layers"].as_u64().unwrap()).unwrap()
}

/// Names of the tensors in 8 bits.
fn narrow(folder: &Path) -> Vec<String> {
    tensors(folder).into_iter().filter(|(_, (dtype, ..))| *dtype == Dtype::I8).map(|(name, _)| name).collect()
}

/// The model of the source tree in 8 bits.
fn quantised(place: &Path) -> PathBuf {
    let folder = place.join("int8");
    exact(&source()).save_as(&folder, Storage::Int8).unwrap();
    folder
}

/// Half a step is the most that rounding to the nearest is off.
#[test]
fn the_encoder_s_layers_are_integers_and_all_else_stays() {
    let place = tempfile::tempdir().unwrap();
    let folder = quantised(place.path());
    let (old, new) = (tensors(&source()), tensors(&folder));
    assert_eq!(narrow(&folder).len(), 6 * layers(&source()));
    for (name, (dtype, shape, bytes)) in &old {
        let Some((Dtype::I8, new_shape, integers)) = new.get(name) else {
            assert_eq!(new.get(name), old.get(name), "{name}");
            continue;
        };
        let (scale_type, scale_shape, scales) = &new[&format!("{name}_scale")];
        assert_eq!((new_shape, scale_shape.as_slice()), (shape, &[shape[0], 1][..]), "{name}");
        let (rows, scales) = (floats(bytes, *dtype), floats(scales, *scale_type));
        for ((row, integers), scale) in rows.chunks(shape[1]).zip(integers.chunks(shape[1])).zip(scales) {
            let most = row.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert_eq!(scale, most / 127.0, "{name}");
            for (value, integer) in row.iter().zip(integers) {
                let off = value - f32::from(integer.cast_signed()) * scale;
                assert!(off.abs() <= scale * 0.500_1, "{name}: {value} is off by {off}, a step is {scale}");
            }
        }
    }
    let written = config(&folder);
    assert_eq!(written["quantization_config"]["format"], "int-quantized");
    let bytes = |folder: &Path| fs::metadata(folder.join("model.safetensors")).unwrap().len();
    assert!(bytes(&folder) < bytes(&source()));
}

#[test]
fn integers_answer_as_the_numbers_they_were_made_from() {
    let place = tempfile::tempdir().unwrap();
    let (folder, wide) = (quantised(place.path()), place.path().join("wide"));
    exact(&folder).save_as(&wide, DType::F32).unwrap();
    assert!(narrow(&wide).is_empty() && config(&wide).get("quantization_config").is_none());
    for memory in [Memory::Fast, Memory::Least] {
        for precision in PRECISIONS {
            // rounded to 8 bits, the source gives the same integers and scales as stand in the file
            let same = if precision == Precision::Int8 { source() } else { wide.clone() };
            let (found, expected) = (open(&folder, precision, memory), open(&same, precision, memory));
            assert_eq!(answers(&found), answers(&expected), "{precision}, {memory:?}");
        }
    }
    assert_eq!(exact(&folder).info().dtype, "f16+int8");
}

/// Single, sharded, with holes in the tie of the decoder, ALBERT with one group of layers and with more, in 16 bits, with a
/// Dense module, with relative positions, causal.
#[test]
fn every_kind_of_model_goes_through_8_bits() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let place = tempfile::tempdir().unwrap();
    for name in [
        "pretraining",
        "sharded",
        "untied",
        "albert",
        "albert_groups",
        "f16",
        "bf16",
        "sentence",
        "relative_key",
        "causal",
    ] {
        let (source, folder) = (golden.join(name), place.path().join(name));
        exact(&source).save_as(&folder, Storage::Int8).unwrap();
        let states = |folder: &Path| {
            let model = open(folder, Precision::Int8, Memory::Fast);
            let inputs = [&[2, 7, 9, 11, 3][..], &[2, 3]].map(|ids| Input::Tokens { ids, types: &[] });
            let inputs = model.encode(&inputs, Task::HiddenStates, &TextOptions::default()).unwrap();
            model.hidden_states(&inputs, &[1, model.info().layers], Run::default()).unwrap()
        };
        assert_eq!(states(&folder), states(&source), "{name}");
        assert!(exact(&folder).info().dtype.ends_with("+int8"), "{name}");
        let head = |folder: &Path| exact(folder).info().heads_present;
        assert_eq!(head(&folder), head(&source), "{name}");
    }
}

#[test]
fn a_folder_saved_again_is_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let (folder, again) = (quantised(place.path()), place.path().join("again"));
    for save in [Model::save, |model: &Model, folder: &Path| model.save_as(folder, Storage::Int8)] {
        save(&exact(&folder), &again).unwrap();
        for file in ["model.safetensors", "config.json", "vocab.txt"] {
            assert_eq!(fs::read(folder.join(file)).ok(), fs::read(again.join(file)).ok(), "{file}");
        }
    }
}

/// Short texts and long ones, labelled so.
fn examples() -> Dataset {
    let mut examples = Dataset::new();
    for text in TEXTS {
        let target = Target::Label(["short", "long"][usize::from(text.len() > 40)].to_owned());
        let input = ExampleInput::Text(text.replace("[MASK]", "door"));
        examples.push(Example { input, target }).unwrap();
    }
    examples
}

/// Six steps, and the model saved.
fn learn(folder: &Path, precision: Precision, trainable: Trainable, out: &Path) -> Vec<f64> {
    let options =
        TrainOptions { objective: Objective::Classify, trainable, learning_rate: 3e-3, ..TrainOptions::default() };
    let mut trainer = Trainer::new(&open(folder, precision, Memory::Fast), &options, Some(&examples())).unwrap();
    let step = |_| {
        let loss = trainer.accumulate(&examples(), None).unwrap();
        trainer.apply(None).unwrap();
        loss
    };
    let losses = (0..6).map(step).collect();
    trainer.save(out).unwrap();
    losses
}

/// The same steps from a folder in 8 bits and from one of the same numbers in f32 give the same bits.
#[test]
fn training_starts_from_the_integers_and_keeps_those_that_are_frozen() {
    let place = tempfile::tempdir().unwrap();
    let (folder, wide) = (quantised(place.path()), place.path().join("wide"));
    exact(&folder).save_as(&wide, DType::F32).unwrap();
    let layers = layers(&source());
    for (trainable, left) in [
        (Trainable::Head, 6 * layers),
        (Trainable::Top(1), 6 * (layers - 1)),
        // query and value have pairs, which are merged
        (Trainable::Lora, 4 * layers),
        (Trainable::All, 0),
    ] {
        for precision in PRECISIONS {
            let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
            let losses = learn(&folder, precision, trainable, &ours);
            assert!(losses[5] < losses[0], "{trainable:?}, {precision}: {losses:?}");
            assert_eq!(narrow(&ours).len(), left, "{trainable:?}, {precision}");
            assert_eq!(config(&ours).get("quantization_config").is_some(), left > 0, "{trainable:?}");
            exact(&ours);
            // the f32 folder, rounded to 8 bits once more, has scales of its own
            let same = precision != Precision::Int8;
            if same {
                assert_eq!(losses, learn(&wide, precision, trainable, &theirs), "{trainable:?}, {precision}");
            }
            for (name, found) in tensors(&ours) {
                if found.0 == Dtype::I8 || name.ends_with("_scale") {
                    assert_eq!(tensors(&folder)[&name], found, "{name}");
                } else if same && found.0 == Dtype::F32 {
                    assert!(tensors(&theirs)[&name] == found, "{trainable:?}, {precision}: {name}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("odd");
    exact(&source()).save(&folder).unwrap();
    let file = folder.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let name = "bert.encoder.layer.0.output.dense.weight";
    let entry = &header[name];
    let columns = usize::try_from(entry["shape"][1].as_u64().unwrap()).unwrap();
    let start = 8 + length + usize::try_from(entry["data_offsets"][0].as_u64().unwrap()).unwrap();
    bytes[start + 2 * (columns + 3)..][..2].copy_from_slice(&f16::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let out = place.path().join("out");
    let error = exact(&folder).save_as(&out, Storage::Int8).unwrap_err();
    assert!(error.message().contains(name) && error.message().contains("[1, 3] is NaN"), "{error}");
    assert!(!out.exists());
}
