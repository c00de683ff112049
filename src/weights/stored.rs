//! One tensor as it lies in its file.

use std::borrow::Cow;
use std::fmt;

use super::save::Output;
use crate::device::Mapped;
use crate::dtype::{DType, bf16, f16};

/// A tensor in storage: its bytes, in row-major order and little-endian, at any alignment.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The bytes; `shape` times `dtype.size()` of them.
    pub mapped: Mapped,
    /// The element type.
    pub dtype: DType,
    /// The shape; no dimension is zero.
    pub shape: Vec<usize>,
}

impl Stored {
    /// The tensor, to write under `key` as it is.
    pub fn output(&self, key: String) -> Output<'_> {
        let bytes = Cow::Borrowed(self.mapped.bytes());
        Output { key, storage: self.dtype.into(), shape: self.shape.clone(), bytes }
    }

    /// The elements as f32, which is exact for every storage type.
    pub fn to_f32(&self) -> Vec<f32> {
        values(self.mapped.bytes(), self.dtype).collect()
    }
}

/// An element that is NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// The tensor's canonical name.
    pub tensor: String,
    /// The element's coordinates, one per dimension.
    pub index: Vec<usize>,
    /// NaN or an infinity.
    pub value: f32,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {:?}: element {:?} is {}, expected a finite number", self.tensor, self.index, self.value)
    }
}

/// Coordinates and value of the first element of `bytes` that is NaN or infinite.
pub(super) fn first_non_finite(bytes: &[u8], dtype: DType, shape: &[usize]) -> Option<(Vec<usize>, f32)> {
    let (flat, value) = values(bytes, dtype).enumerate().find(|(_, value)| !value.is_finite())?;
    Some((coordinates(flat, shape), value))
}

/// The elements as f32.
pub(super) fn values(bytes: &[u8], dtype: DType) -> Box<dyn Iterator<Item = f32> + '_> {
    match dtype {
        DType::F32 => Box::new(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        DType::F16 => Box::new(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())),
        DType::Bf16 => Box::new(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
    }
}

/// Row-major: the last coordinate runs fastest.
pub(super) fn coordinates(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, dimension) in index.iter_mut().zip(shape).rev() {
        (*i, flat) = (flat % dimension, flat / dimension);
    }
    index
}
