//! An adapter's folder, written.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::config::LoraConfig;
use super::keys::Place;
use super::{CONFIG, TENSORS};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::weights::{qualified, save};

/// One adapted module.
pub struct Pair<'a> {
    /// Canonical name: `encoder.layer.0.attention.self.query`.
    pub module: &'a str,
    /// A `[r, in]`, row-major.
    pub a: &'a [f32],
    /// B `[out, r]`, row-major.
    pub b: &'a [f32],
    /// r, at least 1.
    pub rank: usize,
}

/// A tensor that was trained whole.
pub struct Saved<'a> {
    /// Canonical name: `classifier.weight`.
    pub name: &'a str,
    /// The shape.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: &'a [f32],
}

/// Writes `adapter_config.json`, `adapter_model.safetensors` and `README.md` into `folder`, which holds none of them
/// yet. `prefix` is what the task model calls its base model: `bert.`, `albert.`, or nothing for a bare encoder.
///
/// Fails with `InvalidArgument` when tensors and configuration disagree, so that PEFT would drop or refuse a tensor,
/// and with `Io` when a file cannot be written.
pub fn write_adapter(
    folder: &Path,
    config: &LoraConfig,
    prefix: &str,
    pairs: &[Pair<'_>],
    saved: &[Saved<'_>],
) -> Result<()> {
    let mut tensors = Vec::with_capacity(2 * pairs.len() + saved.len());
    for pair in pairs {
        check(config, prefix, pair)?;
        let module = pair.module.to_owned();
        let (inputs, outputs) = (pair.a.len() / pair.rank, pair.b.len() / pair.rank);
        tensors.push(output(Place::A(module.clone()).key(prefix), vec![pair.rank, inputs], pair.a));
        tensors.push(output(Place::B(module).key(prefix), vec![outputs, pair.rank], pair.b));
    }
    for tensor in saved {
        let path = qualified(prefix, tensor.name);
        if !config.saves(&path) {
            return Err(Error::argument(format!(
                "tensor {path:?}: not of a module that the adapter saves, {:?}",
                config.modules_to_save
            )));
        }
        tensors.push(output(Place::Saved(tensor.name.into()).key(prefix), tensor.shape.clone(), tensor.values));
    }
    save::write(&folder.join(TENSORS), &tensors, &[("format", "pt")])?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| Error::io(&path, &e))
    };
    put(CONFIG, format!("{:#}\n", config.to_json()))?;
    put("README.md", readme(config))
}

fn check(config: &LoraConfig, prefix: &str, pair: &Pair<'_>) -> Result<()> {
    let path = qualified(prefix, pair.module);
    let wrong = |what: String| Err(Error::argument(format!("module {path:?}: {what}")));
    if !config.targets(&path) {
        return wrong(format!("no target of the adapter, {:?}", config.targets));
    }
    let expected = config.rank_of(&path);
    if pair.rank != expected || expected == 0 {
        return wrong(format!("rank {}, expected {expected}", pair.rank));
    }
    let (a, b) = (pair.a.len(), pair.b.len());
    if a == 0 || b == 0 || a % expected != 0 || b % expected != 0 {
        return wrong(format!("A of {a} and B of {b} elements, expected multiples of rank {expected}"));
    }
    Ok(())
}

fn output(key: String, shape: Vec<usize>, values: &[f32]) -> save::Output<'_> {
    save::Output { key, storage: DType::F32.into(), shape, bytes: save::f32_bytes(values) }
}

/// A model card: what the Hub reads of an adapter, and how to load it. A JSON string is a YAML string.
fn readme(config: &LoraConfig) -> String {
    let (base, load) = match &config.base_model {
        Some(name) => (format!("base_model: {}\n", json!(name)), format!(" for `{name}`")),
        None => (String::new(), String::new()),
    };
    format!(
        "---\n{base}library_name: peft\ntags:\n- lora\n---\n\nA LoRA adapter of rank {}{load}, written by cloze. PEFT \
         loads it: `PeftModel.from_pretrained(base, folder)`.\n",
        config.rank
    )
}
