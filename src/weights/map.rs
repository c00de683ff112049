//! A file as bytes, without reading it.

#![allow(unsafe_code)] // one call: the map

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result, Status};

/// Maps `path` for reading. Pages come from the page cache when they are first touched.
///
/// Fails when the path is not a regular file (opening a pipe would wait for its writer).
pub(super) fn map(path: &Path) -> Result<Arc<Mmap>> {
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, &e))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(Error::new(Status::Io, format!("{}: is {what}, expected a safetensors file", path.display())));
    }
    let file = File::open(path).map_err(|e| Error::io(path, &e))?;
    // SAFETY: the map is read-only, so this process cannot write through it. That no other process changes the file in
    // place meanwhile cannot be checked; the documentation of `Weights` makes it the caller's duty.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, &e))?;
    Ok(Arc::new(map))
}
