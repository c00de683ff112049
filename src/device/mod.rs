//! Where numbers live: a device's buffers, and matrices in them.

#![allow(unsafe_code)]

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use cpu::{Cpu, CpuBuffer};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;

use crate::dtype::{Element, Scalar};
use crate::error::{Error, Result};

/// Bytes that something keeps alive: a mapped file, or a buffer of the caller.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A byte range of [`Bytes`]: the stored form of one tensor.
#[derive(Clone)]
pub struct Mapped {
    owner: Bytes,
    range: Range<usize>,
}

impl Mapped {
    /// The bytes of `owner` in `range`. Fails when the range does not lie within them.
    pub fn new(owner: Bytes, range: Range<usize>) -> Result<Self> {
        let length = (*owner).as_ref().len();
        if range.start > range.end || range.end > length {
            return Err(Error::file(format!("bytes {}..{} of {length}", range.start, range.end)));
        }
        Ok(Self { owner, range })
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({:?})", self.range)
    }
}

/// How much work a device is given at a time: enough to be fast, and no more memory than that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portions {
    /// How much work it is given at a time.
    fn portions(&self) -> Portions;

    /// Number of elements in `buffer`.
    fn len<E: Scalar>(buffer: &Self::Buffer<E>) -> usize;
}

/// A row-major matrix in device memory. The buffer may be larger than the matrix: workspaces are reused.
pub struct Tensor<D: Device, E: Scalar = f32> {
    buffer: D::Buffer<E>,
    rows: usize,
    cols: usize,
}

/// A matrix of hidden states, or of their gradient.
pub type Hidden<D> = Tensor<D, <D as Device>::Activation>;

impl<D: Device, E: Scalar> Tensor<D, E> {
    /// New memory for `rows × cols` with unspecified contents.
    pub fn new(device: &D, rows: usize, cols: usize) -> Result<Self> {
        Ok(Self { buffer: device.alloc(area(rows, cols)?)?, rows, cols })
    }

    /// New memory for `rows × cols`, all zero.
    pub fn zeros(device: &D, rows: usize, cols: usize) -> Result<Self> {
        let mut tensor = Self::new(device, rows, cols)?;
        tensor.clear(device)?;
        Ok(tensor)
    }

    fn from_buffer(buffer: D::Buffer<E>, rows: usize, cols: usize) -> Result<Self> {
        let (length, needed) = (D::len(&buffer), area(rows, cols)?);
        if length != needed {
            return Err(Error::internal(format!("{length} elements for a matrix of {rows} x {cols}")));
        }
        Ok(Self { buffer, rows, cols })
    }

    /// Gives the matrix another shape, growing its memory only when it is too small. Contents become unspecified.
    pub fn reshape(&mut self, device: &D, rows: usize, cols: usize) -> Result<()> {
        let needed = area(rows, cols)?;
        if D::len(&self.buffer) < needed {
            self.buffer = device.alloc(needed)?;
        }
        (self.rows, self.cols) = (rows, cols);
        Ok(())
    }

    /// Sets every element to zero.
    pub fn clear(&mut self, device: &D) -> Result<()> {
        device.clear(&mut self.buffer)
    }

    /// Takes the shape and the values of `other`.
    pub fn copy_from(&mut self, device: &D, other: &Self) -> Result<()> {
        self.reshape(device, other.rows, other.cols)?;
        device.copy(&other.buffer, &mut self.buffer, other.rows * other.cols)
    }

    /// A copy in memory of its own.
    pub fn duplicate(&self, device: &D) -> Result<Self> {
        let mut copy = Self::new(device, self.rows, self.cols)?;
        device.copy(&self.buffer, &mut copy.buffer, self.rows * self.cols)?;
        Ok(copy)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `(rows, columns)`.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The memory; at least `rows · cols` elements.
    pub fn buffer(&self) -> &D::Buffer<E> {
        &self.buffer
    }

    /// The memory, to write.
    pub fn buffer_mut(&mut self) -> &mut D::Buffer<E> {
        &mut self.buffer
    }
}

impl<D: Device, E: Element> Tensor<D, E> {
    /// A copy of host values.
    pub fn from_host(device: &D, values: &[E], rows: usize, cols: usize) -> Result<Self> {
        Self::from_buffer(device.upload(values)?, rows, cols)
    }

    /// A stored tensor, in place where the device can.
    pub fn from_mapped(device: &D, stored: &Mapped, rows: usize, cols: usize) -> Result<Self> {
        Self::from_buffer(device.adopt(stored)?, rows, cols)
    }

    /// Copies the matrix to the host.
    pub fn to_host(&self, device: &D) -> Result<Vec<E>> {
        let mut out = vec![E::default(); self.rows * self.cols];
        device.download(&self.buffer, &mut out)?;
        Ok(out)
    }
}

impl<D: Device> Hidden<D> {
    /// Hidden states from host values.
    pub fn from_values(device: &D, values: &[f32], rows: usize, cols: usize) -> Result<Self> {
        Self::from_buffer(device.upload_activations(values)?, rows, cols)
    }

    /// Copies hidden states to the host.
    pub fn to_values(&self, device: &D) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.rows * self.cols];
        device.download_activations(&self.buffer, &mut out)?;
        Ok(out)
    }
}

fn area(rows: usize, cols: usize) -> Result<usize> {
    rows.checked_mul(cols)
        .filter(|n| n.checked_mul(8).is_some_and(|bytes| isize::try_from(bytes).is_ok()))
        .ok_or_else(|| Error::new(crate::error::Status::OutOfMemory, format!("matrix of {rows} x {cols} is too large")))
}
