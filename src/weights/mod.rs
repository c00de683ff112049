//! The tensors of a HuggingFace checkpoint, read through mmap.
//!
//! [`Weights`] is an index: it knows where each tensor lies and gives out [`Stored`] ranges of the mapped files, by
//! canonical name. Opening reads headers only.

mod convert;
mod folder;
mod header;
mod map;
mod names;
mod quantised;
mod repeated;
mod replace;
mod report;
pub mod save;
mod stored;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use safetensors::Dtype;

pub use names::{canonical, qualified};
pub use quantised::{Contents, StoredIntegers};
pub use replace::{NewFolder, recover, remove_folder, replace_file, sweep};
pub use report::{Report, StoredFile};
pub use stored::{NonFinite, Stored};

use crate::device::{Bytes, Mapped, Owner};
use crate::dtype::{DType, Storage};
use crate::error::{Error, Result};
use folder::{Index, Layout};
use header::Tensor;
use quantised::scale_name;

/// An index over one or more safetensors files, by canonical tensor name.
///
/// The canonical name of a tensor is the one a bare encoder (`BertModel`, `AlbertModel`) or a head gives it:
/// `encoder.layer.0.output.LayerNorm.weight`, `cls.predictions.bias`. The prefixes `module.`, `bert.` and `albert.`
/// are gone, and the old `LayerNorm.gamma` and `LayerNorm.beta` are `weight` and `bias`.
///
/// Mapped files stay mapped as long as the `Weights` or any [`Mapped`] taken from it lives. A file that another
/// process truncates meanwhile ends this process with a bus error: replace model files by renaming, never in place.
pub struct Weights {
    files: Vec<File>,
    tensors: BTreeMap<String, Entry>,
}

struct File {
    name: String,
    bytes: Owner,
}

struct Entry {
    file: usize,
    tensor: Tensor,
    used: bool,
    /// File and place of what integers are multiples of.
    scales: Option<(usize, Tensor)>,
}

impl Weights {
    /// Opens `model.safetensors` of a model folder, else the shards that `model.safetensors.index.json` lists.
    ///
    /// Fails with `Io` when the folder or a shard cannot be opened, `Missing` when the folder holds no checkpoint,
    /// `Unsupported` when it holds one of another format only (`pytorch_model.bin`, `tf_model.h5` …), and
    /// `InvalidFile` when a file breaks its format or two keys have one canonical name.
    pub fn open(folder: &Path) -> Result<Self> {
        match folder::layout(folder)? {
            Layout::Single(path) => Self::open_file(&path),
            Layout::Sharded(index) => Self::open_shards(folder, &index),
        }
    }

    /// Opens one safetensors file.
    ///
    /// Fails with `Io` when it cannot be opened and `InvalidFile` when it breaks the format.
    pub fn open_file(path: &Path) -> Result<Self> {
        let mut weights = Self::empty();
        weights.add_file(path, |_| true)?;
        weights.join_scales().map_err(|e| e.within(path.display()))?;
        Ok(weights)
    }

    /// Reads one safetensors buffer, which is not copied. `name` stands for the file in errors and in the report.
    ///
    /// Fails with `InvalidFile` when the buffer breaks the format.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Self> {
        let mut weights = Self::empty();
        let added = weights.add(name.to_owned(), Owner::Buffer(bytes), |_| true);
        added.and_then(|()| weights.join_scales()).map_err(|e| e.within(name))?;
        Ok(weights)
    }

    /// A tensor that the index places in another shard is left to that shard; one that the index does not list is
    /// read from wherever it lies, as HuggingFace does.
    fn open_shards(folder: &Path, index: &Index) -> Result<Self> {
        let mut weights = Self::empty();
        for shard in index.shards() {
            weights.add_file(&folder.join(shard), |key| index.shard_of.get(key).is_none_or(|file| file == shard))?;
        }
        for (key, shard) in &index.shard_of {
            let found = weights.tensors.get(&names::canonical(key)).is_some_and(|entry| entry.tensor.key == *key);
            if !found {
                let message = format!("weight_map: tensor {key:?} is not in {shard}");
                return Err(Error::file(message).within(index.path.display()));
            }
        }
        weights.join_scales().map_err(|e| e.within(index.path.display()))?;
        Ok(weights)
    }

    /// An index over nothing.
    pub fn empty() -> Self {
        Self { files: Vec::new(), tensors: BTreeMap::new() }
    }

    fn add_file(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let name = path.file_name().map_or(path, Path::new).display().to_string();
        self.add(name, Owner::File(map::map(path)?), wanted).map_err(|e| e.within(path.display()))
    }

    fn add(&mut self, name: String, bytes: Owner, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let file = self.files.len();
        for tensor in header::read(bytes.as_ref())?.into_iter().filter(|tensor| wanted(&tensor.key)) {
            let name = names::canonical(&tensor.key);
            if let Some(other) = self.tensors.get(&name) {
                let (one, two) = (&other.tensor.key, &tensor.key);
                return Err(Error::file(format!(
                    "tensors {one:?} and {two:?} are both {name:?}, expected one of them"
                )));
            }
            self.tensors.insert(name, Entry { file, tensor, used: false, scales: None });
        }
        self.files.push(File { name, bytes });
        Ok(())
    }

    /// Whether there is a tensor of this canonical name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of the tensor of this canonical name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.tensor.shape)
    }

    /// The tensor of this canonical name, which is from now on reported as used. It may be taken again.
    ///
    /// Fails with `Missing` when there is none, `InvalidFile` when its shape is another or holds no element, and
    /// `Unsupported` when it is stored as anything but f32, f16 or bf16.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Stored> {
        self.take_as(name, shape, Contents::float)
    }

    /// As [`take`](Self::take), of a matrix that may be stored as I8 too, with `name_scale` beside it.
    pub fn take_matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Contents> {
        self.take_as(name, &[rows, cols], Ok)
    }

    fn take_as<T>(&mut self, name: &str, shape: &[usize], take: impl Fn(Contents) -> Result<T>) -> Result<T> {
        let Some(entry) = self.tensors.get(name) else {
            return Err(self.lacks(name));
        };
        if entry.tensor.shape != shape {
            let message = format!("tensor {name:?}: shape {:?}, expected {shape:?}", entry.tensor.shape);
            return Err(Error::file(message));
        }
        let taken = take(self.contents(name, entry)?)?;
        if let Some(entry) = self.tensors.get_mut(name) {
            entry.used = true;
        }
        Ok(taken)
    }

    fn contents(&self, name: &str, Entry { file, tensor, scales, .. }: &Entry) -> Result<Contents> {
        let Some((scales_file, scales)) = scales else {
            return match tensor.dtype {
                Dtype::I8 => Err(quantised::without_scales(name)),
                _ => self.files[*file].stored_tensor(name, tensor).map(Contents::Float),
            };
        };
        Ok(Contents::Int8(StoredIntegers {
            name: name.to_owned(),
            integers: self.files[*file].mapped(name, tensor)?,
            shape: tensor.shape.clone(),
            scales: self.files[*scales_file].stored_tensor(&scale_name(name), scales)?,
        }))
    }

    /// Every tensor, by canonical name: that name, the key as stored, and the tensor, which is not reported as used.
    /// Stored constants that no model needs (see [`Report::ignored`]) are left out.
    ///
    /// A tensor fails with `InvalidFile` when it holds no element and with `Unsupported` when it is stored as anything
    /// but f32, f16, bf16, or I8 with its scales.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str, Result<Contents>)> {
        let wanted = self.tensors.iter().filter(|(name, _)| !names::is_buffer(name));
        wanted.map(|(name, entry)| (name.as_str(), entry.tensor.key.as_str(), self.contents(name, entry)))
    }

    /// What taking a tensor that is not there fails with.
    pub fn lacks(&self, name: &str) -> Error {
        let files = match self.files.as_slice() {
            [] => return Error::missing(format!("tensor {name:?} is not there: the model has no files")),
            [only] => only.name.clone(),
            shards => format!("any of {} shards", shards.len()),
        };
        let [bert, albert] = names::PREFIXES;
        Error::missing(format!(
            "tensor {name:?} is not in {files}, neither bare nor with prefix {bert:?} or {albert:?}"
        ))
    }

    /// What has been taken so far, and what has not.
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        for (name, Entry { tensor, used, scales, .. }) in &self.tensors {
            let list = match (used, names::is_buffer(name)) {
                (true, _) => &mut report.used,
                (false, true) => &mut report.ignored,
                (false, false) => &mut report.unused,
            };
            list.push(tensor.key.clone());
            list.extend(scales.as_ref().map(|(_, scales)| scales.key.clone()));
        }
        for list in [&mut report.used, &mut report.unused, &mut report.ignored] {
            list.sort();
        }
        let stored = |storage: &Storage| self.used().any(|tensor| stored_as(tensor.dtype) == Some(*storage));
        let floats = [DType::F32, DType::F16, DType::Bf16].map(Storage::Float);
        report.stored = floats.into_iter().chain([Storage::Int8]).filter(stored).collect();
        report.parameters = self.used().map(|tensor| tensor.shape.iter().map(|d| *d as u64).product::<u64>()).sum();
        report.files = self.files.iter().map(File::stored).collect();
        report
    }

    /// The first element of a used tensor, in the order of canonical names, that is NaN or infinite.
    ///
    /// Reads all used tensors: for naming the culprit once a result is not finite.
    pub fn first_non_finite(&self) -> Option<NonFinite> {
        self.tensors.iter().filter(|(_, entry)| entry.used).find_map(|(name, Entry { file, tensor, scales, .. })| {
            let (name, file, tensor) = match scales {
                Some((file, scales)) => (scale_name(name), file, scales),
                None => (name.clone(), file, tensor),
            };
            let bytes = self.files[*file].bytes.as_ref().get(tensor.range.clone())?;
            let (index, value) = stored::first_non_finite(bytes, float(tensor.dtype)?, &tensor.shape)?;
            Some(NonFinite { tensor: name, index, value })
        })
    }

    fn used(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values().filter(|entry| entry.used).map(|entry| &entry.tensor)
    }
}

impl File {
    /// `tensor`, called `name` in errors.
    fn stored_tensor(&self, name: &str, tensor: &Tensor) -> Result<Stored> {
        let mapped = self.mapped(name, tensor)?;
        match float(tensor.dtype) {
            Some(dtype) => Ok(Stored { mapped, dtype, shape: tensor.shape.clone() }),
            None => Err(quantised::wrong_type(name, tensor.dtype)),
        }
    }

    fn mapped(&self, name: &str, tensor: &Tensor) -> Result<Mapped> {
        if tensor.range.is_empty() {
            return Err(Error::file(format!("tensor {name:?}: shape {:?} holds no element", tensor.shape)));
        }
        Mapped::new(self.bytes.clone(), tensor.range.clone())
    }

    fn stored(&self) -> StoredFile {
        StoredFile { name: self.name.clone(), bytes: self.bytes.as_ref().len() as u64 }
    }
}

/// The storage type as one that a model can compute with.
fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        _ => None,
    }
}

/// The storage type as one that a weight can have.
fn stored_as(dtype: Dtype) -> Option<Storage> {
    match dtype {
        Dtype::I8 => Some(Storage::Int8),
        dtype => float(dtype).map(Storage::Float),
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|file| &file.name).collect();
        f.debug_struct("Weights").field("files", &files).field("tensors", &self.tensors.len()).finish()
    }
}
