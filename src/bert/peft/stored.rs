//! An adapter as it lies in its folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::config::LoraConfig;
use super::keys::{self, Parsed, Place};
use super::{CONFIG, TENSORS};
use crate::error::{Error, Result};
use crate::weights::{Stored, Weights};

/// An adapter in storage. Pairs fit their configuration; whether they fit a model, the model tells.
#[derive(Clone, Debug)]
pub struct StoredAdapter {
    /// `adapter_config.json`.
    pub config: LoraConfig,
    /// A and B by canonical module name.
    pub pairs: BTreeMap<String, StoredPair>,
    /// Tensors that were trained whole, by canonical name.
    pub saved: BTreeMap<String, Stored>,
}

/// A `[r, in]`, B `[out, r]`.
#[derive(Clone, Debug)]
pub struct StoredPair {
    /// A.
    pub a: Stored,
    /// B.
    pub b: Stored,
    /// What B A x is multiplied with.
    pub scale: f32,
}

/// One half after the other, and the module's path in the task model.
#[derive(Default)]
struct Halves {
    path: String,
    a: Option<Stored>,
    b: Option<Stored>,
}

impl StoredAdapter {
    /// Opens an adapter's folder, or the only adapter in a folder within it: PEFT gives adapters that are not called
    /// `default` a folder of that name.
    ///
    /// Fails with `Missing` when there is none or a half of a pair is missing, `Io` when a file cannot be read,
    /// `Unsupported` as [`LoraConfig::parse`] and [`Place::parse`] do, and `InvalidFile` when a file breaks its format
    /// or shapes and configuration disagree.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = find(folder)?;
        let path = folder.join(CONFIG);
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, &e))?;
        let config = LoraConfig::parse(&bytes).map_err(|e| e.within(folder.display()))?;
        let path = folder.join(TENSORS);
        if !path.exists() && folder.join("adapter_model.bin").exists() {
            return Err(Error::unsupported(format!(
                "{}: adapter_model.bin is a pickle; expected {TENSORS} (peft: save_pretrained writes it)",
                folder.display()
            )));
        }
        Self::read(config, &Weights::open_file(&path)?).map_err(|e| e.within(path.display()))
    }

    /// Sorts the tensors of an adapter's file.
    ///
    /// Fails as [`StoredAdapter::open`] does.
    pub fn read(config: LoraConfig, weights: &Weights) -> Result<Self> {
        let mut halves: BTreeMap<String, Halves> = BTreeMap::new();
        let mut saved = BTreeMap::new();
        for (_, key, tensor) in weights.tensors() {
            let Some(Parsed { place, path }) = keys::parse(key)? else { continue };
            let tensor = tensor?.float()?;
            let other = match place {
                Place::A(module) => half(&mut halves, module, path)?.a.replace(tensor),
                Place::B(module) => half(&mut halves, module, path)?.b.replace(tensor),
                Place::Saved(name) => saved.insert(name, tensor),
            };
            if other.is_some() {
                return Err(Error::file(format!("tensor {key:?} is there under another key too")));
            }
        }
        if halves.is_empty() && saved.is_empty() {
            return Err(Error::file("holds no tensor, expected an adapter's"));
        }
        let pairs = halves.into_iter().map(|(module, halves)| Ok((module, halves.pair(&config)?)));
        Ok(Self { pairs: pairs.collect::<Result<_>>()?, saved, config })
    }
}

fn half(halves: &mut BTreeMap<String, Halves>, module: String, path: String) -> Result<&mut Halves> {
    let halves = halves.entry(module).or_insert_with(|| Halves { path: path.clone(), ..Halves::default() });
    if halves.path == path {
        return Ok(halves);
    }
    Err(Error::file(format!("modules {:?} and {path:?} are the same one, expected one of them", halves.path)))
}

impl Halves {
    fn pair(self, config: &LoraConfig) -> Result<StoredPair> {
        let Self { path, a, b } = self;
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, _) => {
                let (there, missing) = if a.is_some() { ("lora_A", "lora_B") } else { ("lora_B", "lora_A") };
                return Err(Error::missing(format!("module {path:?}: {there} without {missing}, expected both")));
            }
        };
        let rank = config.rank_of(&path);
        match (a.shape.as_slice(), b.shape.as_slice()) {
            ([first, _], [_, second]) if (*first, *second) == (rank, rank) => {}
            (a, b) => {
                return Err(Error::file(format!(
                    "module {path:?}: lora_A {a:?} and lora_B {b:?}, expected [{rank}, in] and [out, {rank}] by {CONFIG}"
                )));
            }
        }
        Ok(StoredPair { a, b, scale: config.scale(&path) })
    }
}

/// The folder that holds the configuration.
fn find(folder: &Path) -> Result<PathBuf> {
    if folder.join(CONFIG).exists() {
        return Ok(folder.to_owned());
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| match e.kind() {
        ErrorKind::NotADirectory => Error::argument(format!("{}: a file, expected a folder", folder.display())),
        _ => Error::io(folder, &e),
    })?;
    let mut found: Vec<PathBuf> =
        entries.iter().map(|entry| entry.path()).filter(|path| path.join(CONFIG).exists()).collect();
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::missing(format!("{}: holds no {CONFIG}", folder.display()))),
        several => {
            let names: Vec<_> = several.iter().filter_map(|path| path.file_name()).collect();
            Err(Error::argument(format!("{}: adapters {names:?}, expected the folder of one", folder.display())))
        }
    }
}
