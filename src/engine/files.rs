//! Where a model's files are: a folder, or named buffers in memory.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::device::Bytes;
use crate::error::{Error, Result};
use crate::weights::Weights;

/// The files of a model, by their path within it with `/` between folders.
pub enum Files<'a> {
    /// On disk.
    Folder(&'a Path),
    /// In memory.
    Memory(&'a [(&'a str, Bytes)]),
}

impl<'a> Files<'a> {
    /// A folder, which must be there.
    pub fn folder(path: &'a Path) -> Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Self::Folder(path)),
            Ok(_) => Err(Error::argument(format!("{}: a file, expected a model folder", path.display()))),
            Err(error) => Err(Error::io(path, &error)),
        }
    }

    /// Named buffers.
    pub fn memory(files: &'a [(&'a str, Bytes)]) -> Self {
        Self::Memory(files)
    }

    /// What errors call this place.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Folder(path) => path.to_string_lossy(),
            Self::Memory(_) => Cow::Borrowed("memory"),
        }
    }

    /// The bytes of a small file; `None` when it is not there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
                    Err(e) => Err(Error::io(&path, &e)),
                }
            }
            Self::Memory(_) => Ok(self.buffer(name).map(|bytes| (**bytes).as_ref().to_vec())),
        }
    }

    /// The checkpoint in `folder` within the model.
    pub fn weights(&self, folder: &str) -> Result<Weights> {
        match self {
            Self::Folder(root) => Weights::open(&root.join(folder)),
            Self::Memory(_) => {
                let name = join(folder, "model.safetensors");
                match self.buffer(&name) {
                    Some(bytes) => Weights::from_bytes(&name, bytes.clone()),
                    None if self.buffer(&join(folder, "model.safetensors.index.json")).is_some() => {
                        Err(Error::unsupported("model.safetensors.index.json: shards in memory; give one buffer"))
                    }
                    None => Err(Error::missing(format!("memory: no {name}"))),
                }
            }
        }
    }

    /// The names of what lies in `folder` within the model, sorted.
    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        match self {
            Self::Folder(root) => {
                let path = root.join(folder);
                let entries = match fs::read_dir(&path) {
                    Ok(entries) => entries,
                    Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                        return Ok(Vec::new());
                    }
                    Err(e) => return Err(Error::io(&path, &e)),
                };
                for entry in entries {
                    let entry = entry.map_err(|e| Error::io(&path, &e))?;
                    names.extend(entry.file_name().into_string().ok());
                }
            }
            Self::Memory(files) => {
                let inside =
                    |(name, _): &(&str, Bytes)| name.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
                names.extend(files.iter().filter_map(inside).filter_map(|n| n.split('/').next().map(str::to_owned)));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Where the files of the model in `root` stay.
    pub fn source(&self, root: &str) -> Source {
        match self {
            Self::Folder(folder) => {
                Source::Folder(if root.is_empty() { folder.to_path_buf() } else { folder.join(root) })
            }
            Self::Memory(files) => {
                let inside = |name: &str| match root {
                    "" => Some(name.to_owned()),
                    root => name.strip_prefix(root)?.strip_prefix('/').map(str::to_owned),
                };
                let own = files.iter().filter_map(|(name, bytes)| Some((inside(name)?, bytes.clone())));
                Source::Memory(own.collect())
            }
        }
    }

    fn buffer(&self, name: &str) -> Option<&Bytes> {
        match self {
            Self::Folder(_) => None,
            Self::Memory(files) => files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| bytes),
        }
    }
}

/// The files of an open model, to copy from when it is saved.
pub enum Source {
    /// On disk; the place of the model within it.
    Folder(PathBuf),
    /// In memory, by their path within the model.
    Memory(Vec<(String, Bytes)>),
}

impl Source {
    /// The bytes of a small file; `None` when it is not there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => Files::Folder(folder).read(name),
            Self::Memory(files) => {
                Ok(files.iter().find(|(n, _)| n == name).map(|(_, bytes)| (**bytes).as_ref().to_vec()))
            }
        }
    }

    /// What a saved adapter calls its base model.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Folder(folder) => Some(folder.to_string_lossy().into_owned()),
            Self::Memory(_) => None,
        }
    }
}

/// `name` within `folder`, which may be empty.
pub fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
