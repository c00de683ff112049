//! Safetensors buffers written by hand, so that tests can write wrong ones too.

use std::fmt::Write;
use std::sync::Arc;

use crate::device::Bytes;

/// A safetensors buffer in the making. Every part may be made to lie.
#[derive(Clone, Default)]
pub(crate) struct Builder {
    entries: Vec<String>,
    data: Vec<u8>,
    padding: usize,
}

impl Builder {
    /// Appends a tensor of f32 that the header describes truthfully.
    pub fn f32(self, key: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw(key, "F32", shape, &bytes)
    }

    /// Appends `bytes` as a tensor, whether or not they fit `dtype` and `shape`.
    pub fn raw(self, key: &str, dtype: &str, shape: &[usize], bytes: &[u8]) -> Self {
        let (start, end) = (self.data.len(), self.data.len() + bytes.len());
        let entry = format!(r#""{key}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#);
        self.entry(&entry).data(bytes)
    }

    /// Appends `"key":value` to the header as it stands.
    pub fn entry(mut self, entry: &str) -> Self {
        self.entries.push(entry.to_owned());
        self
    }

    /// Appends bytes to the data without telling the header.
    pub fn data(mut self, bytes: &[u8]) -> Self {
        self.data.extend_from_slice(bytes);
        self
    }

    /// Ends the header with `count` spaces, which shifts the alignment of the data.
    pub fn padded(mut self, count: usize) -> Self {
        self.padding = count;
        self
    }

    /// The buffer.
    pub fn build(&self) -> Vec<u8> {
        let mut header = String::from("{");
        let _ = write!(header, "{}}}{}", self.entries.join(","), " ".repeat(self.padding));
        around(header.as_bytes(), &self.data)
    }
}

/// A buffer of any header and data.
pub(crate) fn around(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Owned bytes as [`Bytes`].
pub(crate) fn bytes(buffer: impl Into<Vec<u8>>) -> Bytes {
    Arc::new(buffer.into())
}
