//! Matrices of f32 in NumPy's `.npy`, version 1.0.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cloze::error::{Error, Result};

/// Bytes before the data: room for any two dimensions, and a multiple of 64 as the format asks.
const HEADER: usize = 128;

/// A file that appears under its name when it is whole. Dropped before, it leaves nothing behind.
pub struct Npy {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    columns: usize,
    rows: usize,
    whole: bool,
}

impl Npy {
    /// Begins a matrix of `columns` columns.
    pub fn create(path: &Path, columns: usize) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(Error::argument(format!("{}: expected the name of a file", path.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = BufWriter::new(file.map_err(|error| Error::io(path, &error))?);
        let mut npy = Self { path: path.to_owned(), temporary, file, columns, rows: 0, whole: false };
        let header = npy.header();
        npy.write(&header)?;
        Ok(npy)
    }

    /// Appends a row of as many values as there are columns.
    pub fn row(&mut self, values: &[f32]) -> Result<()> {
        if values.len() != self.columns {
            return Err(Error::internal(format!("a row of {} values, expected {}", values.len(), self.columns)));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.rows += 1;
        self.write(&bytes)
    }

    /// Gives the file its name and returns the number of rows.
    pub fn finish(mut self) -> Result<usize> {
        let header = self.header();
        let result = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path));
        result.map_err(|error| Error::io(&self.path, &error))?;
        self.whole = true;
        Ok(self.rows)
    }

    fn header(&self) -> Vec<u8> {
        let shape = format!("({}, {})", self.rows, self.columns);
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(((HEADER - 10) as u16).to_le_bytes());
        header.extend(text.as_bytes());
        header.resize(HEADER - 1, b' ');
        header.push(b'\n');
        header
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io(&self.path, &error))
    }
}

impl Drop for Npy {
    fn drop(&mut self) {
        if !self.whole {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
