//! The header of a safetensors buffer: which tensor lies where.
//!
//! Layout: `u64` length N of the header · N bytes of JSON `{name: {dtype, shape, data_offsets}}` · the data, which the
//! tensors fill without holes or overlaps.

use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value};

use super::repeated::repeated_key;
use crate::error::{Error, Result};

/// The longest header the format allows.
const LONGEST: usize = 100_000_000;

/// Bytes of the length that precedes the header.
const PREFIX: usize = 8;

/// One entry of the header.
#[derive(Debug)]
pub(super) struct Tensor {
    /// The name as stored.
    pub key: String,
    /// The element type as stored.
    pub dtype: Dtype,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Where the data lies in the whole buffer.
    pub range: Range<usize>,
}

/// Reads the header of `buffer`. No tensor data is touched.
///
/// Fails with `InvalidFile` on anything the format forbids. `__metadata__` is ignored, as HuggingFace's readers do.
pub(super) fn read(buffer: &[u8]) -> Result<Vec<Tensor>> {
    let (json, data) = split(buffer)?;
    let mut header: Map<String, Value> =
        serde_json::from_str(json).map_err(|e| Error::file(format!("header is not a JSON object: {e}")))?;
    if let Some(key) = repeated_key(json) {
        return Err(Error::file(format!("header: key {key:?} occurs twice")));
    }
    header.remove("__metadata__");
    let mut tensors = Vec::with_capacity(header.len());
    for (key, entry) in header {
        let info: TensorInfo =
            serde_json::from_value(entry).map_err(|e| Error::file(format!("tensor {key:?}: header entry: {e}")))?;
        check_length(&info).map_err(|e| e.within(format!("tensor {key:?}")))?;
        tensors.push((key, info));
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    check_cover(&tensors, data.len())?;
    Ok(tensors.into_iter().map(|(key, info)| placed(key, info, data.start)).collect())
}

/// The header's text, and where the data lies.
fn split(buffer: &[u8]) -> Result<(&str, Range<usize>)> {
    let size = buffer.len();
    let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX>() else {
        return Err(Error::file(format!(
            "{size} bytes, expected at least the {PREFIX} of a safetensors header length"
        )));
    };
    let length = u64::from_le_bytes(*prefix);
    let Some(length) = usize::try_from(length).ok().filter(|n| *n <= LONGEST) else {
        return Err(Error::file(format!("header of {length} bytes, expected at most {LONGEST}")));
    };
    let Some(header) = rest.get(..length) else {
        return Err(Error::file(format!("header of {length} bytes, but only {} follow its length", rest.len())));
    };
    let json = std::str::from_utf8(header).map_err(|e| Error::file(format!("header is not UTF-8: {e}")))?;
    Ok((json, PREFIX + length..size))
}

/// Shape times element size is the length that `data_offsets` give.
fn check_length(info: &TensorInfo) -> Result<()> {
    let TensorInfo { dtype, shape, data_offsets: (start, end) } = info;
    let Some(bits) =
        shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).and_then(|n| n.checked_mul(dtype.bitsize()))
    else {
        return Err(Error::file(format!("shape {shape:?} of {dtype}: too large for this machine's addresses")));
    };
    match end.checked_sub(*start) {
        Some(length) if bits % 8 == 0 && length == bits / 8 => Ok(()),
        Some(length) => {
            Err(Error::file(format!("shape {shape:?} of {dtype} takes {bits} bits, data_offsets give {length} bytes")))
        }
        None => Err(Error::file(format!("data_offsets [{start}, {end}] end before they start"))),
    }
}

/// The tensors, sorted by offset, fill `length` bytes: no hole, no overlap, nothing after the last.
fn check_cover(tensors: &[(String, TensorInfo)], length: usize) -> Result<()> {
    let metadata = Metadata::new(None, tensors.to_vec()).map_err(|e| Error::file(format!("{e}: hole or overlap")))?;
    let claimed = metadata.data_len();
    if claimed != length {
        return Err(Error::file(format!("{length} bytes of tensor data, the header claims {claimed}")));
    }
    Ok(())
}

/// `data_offsets` count from the start of the data, which `check_cover` has shown to hold them.
fn placed(key: String, info: TensorInfo, data_start: usize) -> Tensor {
    let (start, end) = info.data_offsets;
    Tensor { key, dtype: info.dtype, shape: info.shape, range: data_start + start..data_start + end }
}
