//! Models written with all weights in one type, over the golden models: every tensor, what reads it, and the rest of the
//! folder.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloze::dtype::{bf16, f16};
use cloze::engine::{DType, Model, OpenOptions};
use safetensors::SafeTensors;

/// Single, sharded, with holes in the tie of the decoder, ALBERT, stored in 16 bits, with a Dense module.
const MODELS: [&str; 8] = ["pretraining", "sharded", "untied", "albert", "f16", "bf16", "token", "sentence"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn open(folder: &Path) -> Model {
    Model::open(folder, &OpenOptions::default()).unwrap()
}

/// Names, types and values of a file's tensors.
fn tensors(file: &Path) -> BTreeMap<String, (safetensors::Dtype, Vec<f32>)> {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let halves = || view.data().chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let values = match view.dtype() {
            safetensors::Dtype::F16 => halves().map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
            safetensors::Dtype::BF16 => halves().map(|pair| bf16::from_le_bytes(pair).to_f32()).collect(),
            safetensors::Dtype::F32 => {
                view.data().chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        (name, (view.dtype(), values))
    };
    tensors.tensors().into_iter().map(read).collect()
}

fn rounded(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F32 => value,
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::Bf16 => bf16::from_f32(value).to_f32(),
    }
}

#[test]
fn every_tensor_is_rounded_and_everything_else_stays() {
    let place = tempfile::tempdir().unwrap();
    for name in MODELS {
        let model = open(&golden(name));
        let kept = place.path().join("kept");
        model.save(&kept).unwrap();
        for (dtype, stored) in [
            (DType::F32, safetensors::Dtype::F32),
            (DType::F16, safetensors::Dtype::F16),
            (DType::Bf16, safetensors::Dtype::BF16),
        ] {
            let out = place.path().join("out");
            model.save_as(&out, dtype).unwrap();
            assert_eq!(open(&out).info().dtype, dtype.to_string(), "{name}");
            for file in ["model.safetensors", "2_Dense/model.safetensors"] {
                if !kept.join(file).exists() {
                    assert!(!out.join(file).exists(), "{name}");
                    continue;
                }
                let (old, new) = (tensors(&kept.join(file)), tensors(&out.join(file)));
                assert!(old.keys().eq(new.keys()), "{name}");
                for ((key, (_, old)), (found, new)) in old.iter().zip(new.values()) {
                    let expected: Vec<f32> = old.iter().map(|&value| rounded(value, dtype)).collect();
                    assert_eq!((*found, new), (stored, &expected), "{name}: {key} in {dtype}");
                }
            }
            let config: serde_json::Value =
                serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
            let told = config.get("dtype").or(config.get("torch_dtype"));
            assert_eq!(told.and_then(|told| told.as_str()), Some(dtype.long_name()), "{name}");
            for file in ["vocab.txt", "tokenizer.json", "modules.json", "1_Pooling/config.json"] {
                assert_eq!(fs::read(kept.join(file)).ok(), fs::read(out.join(file)).ok(), "{name}: {file}");
            }
        }
        fs::remove_dir_all(&kept).unwrap();
    }
}
