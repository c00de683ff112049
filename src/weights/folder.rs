//! Which files of a model folder hold its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::repeated::repeated_key;
use crate::error::{Error, Result, Status};

/// The tensor files of a folder.
pub(super) enum Layout {
    /// Everything in one file.
    Single(PathBuf),
    /// Shards that an index file lists.
    Sharded(Index),
}

/// A read `model.safetensors.index.json`.
pub(super) struct Index {
    /// The index file itself.
    pub path: PathBuf,
    /// File name of the shard that holds each key.
    pub shard_of: BTreeMap<String, String>,
}

impl Index {
    /// Names of the shards, sorted.
    pub fn shards(&self) -> BTreeSet<&str> {
        self.shard_of.values().map(String::as_str).collect()
    }
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Checkpoints of other formats, and how an error calls them.
const FOREIGN: [(&str, &str); 6] = [
    ("pytorch_model.bin", "a pickle"),
    ("pytorch_model.bin.index.json", "an index of pickles"),
    ("tf_model.h5", "a TensorFlow checkpoint"),
    ("model.ckpt.index", "a TensorFlow checkpoint"),
    ("flax_model.msgpack", "a Flax checkpoint"),
    ("model.onnx", "an ONNX graph"),
];

/// An index lists some hundred tensors; nothing honest comes near this.
const LONGEST_INDEX: u64 = 100_000_000;

/// Finds the tensor files. As in HuggingFace, `model.safetensors` wins over the index.
pub(super) fn layout(folder: &Path) -> Result<Layout> {
    let metadata = fs::metadata(folder).map_err(|e| Error::io(folder, &e))?;
    if !metadata.is_dir() {
        return Err(Error::new(Status::Io, format!("{}: is a file, expected a model folder", folder.display())));
    }
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    if single.exists() {
        return Ok(Layout::Single(single));
    }
    if index.exists() {
        return Ok(Layout::Sharded(read_index(index)?));
    }
    Err(match FOREIGN.iter().find(|(name, _)| folder.join(name).exists()) {
        Some((name, what)) => Error::unsupported(format!(
            "{}: {name} is {what}; convert the folder to safetensors (transformers: save_pretrained writes it)",
            folder.display()
        )),
        None => Error::missing(format!("{}: holds neither {SINGLE} nor {INDEX}", folder.display())),
    })
}

fn read_index(path: PathBuf) -> Result<Index> {
    let length = fs::metadata(&path).map_err(|e| Error::io(&path, &e))?.len();
    if length > LONGEST_INDEX {
        return Err(Error::file(format!("{}: {length} bytes, expected at most {LONGEST_INDEX}", path.display())));
    }
    let bytes = fs::read(&path).map_err(|e| Error::io(&path, &e))?;
    let shard_of = parse_index(&bytes).map_err(|e| e.within(path.display()))?;
    Ok(Index { path, shard_of })
}

/// Reads `{"weight_map": {key: file}}`; everything else in the index is ignored, as HuggingFace does.
fn parse_index(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let json = std::str::from_utf8(bytes).map_err(|e| Error::file(format!("not UTF-8: {e}")))?;
    let index: Map<String, Value> =
        serde_json::from_str(json).map_err(|e| Error::file(format!("not a JSON object: {e}")))?;
    if let Some(key) = repeated_key(json) {
        return Err(Error::file(format!("key {key:?} occurs twice")));
    }
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(Error::file("weight_map: absent or not an object, expected {tensor: file}"));
    };
    if map.is_empty() {
        return Err(Error::file("weight_map: lists no tensor"));
    }
    map.iter().map(|(key, shard)| Ok((key.clone(), shard_name(key, shard)?))).collect()
}

/// A shard lies beside its index: one plain file name.
fn shard_name(key: &str, shard: &Value) -> Result<String> {
    let refused = || Error::file(format!("weight_map: tensor {key:?}: file {shard}, expected a name in this folder"));
    let name = shard.as_str().ok_or_else(refused)?;
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains(['\\', ':', '\0']) => Ok(name.into()),
        _ => Err(refused()),
    }
}
