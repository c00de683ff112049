//! What became of a checkpoint's tensors.

use crate::dtype::Storage;

/// The load report: plain data, complete once a model has taken what it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tensors that were taken, by their names as stored, sorted.
    pub used: Vec<String>,
    /// Tensors that nobody asked for, by their names as stored, sorted: heads that are not wanted, mostly.
    pub unused: Vec<String>,
    /// Stored constants that no model needs (`position_ids`, `token_type_ids`), by their names as stored, sorted.
    pub ignored: Vec<String>,
    /// Storage types among the taken tensors, each once, widest first.
    pub stored: Vec<Storage>,
    /// Elements in the taken tensors.
    pub parameters: u64,
    /// The files, in the order they were opened.
    pub files: Vec<StoredFile>,
}

impl Report {
    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The file's name without its folder, or the name the caller gave to a buffer.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}
