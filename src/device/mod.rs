//! Where numbers live: a device's buffers, and matrices in them.

#![allow(unsafe_code)]

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod quantised;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

pub use cpu::{Cpu, CpuBuffer};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use quantised::{Integers, Quantised};

use crate::dtype::{Element, Scalar};
use crate::error::{Error, Result};

/// Bytes that something keeps alive: a mapped file, or a buffer of the caller.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Who keeps the bytes of tensors alive.
#[derive(Clone)]
pub enum Owner {
    /// A mapped file.
    File(Arc<Mmap>),
    /// A buffer of the caller.
    Buffer(Bytes),
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        match self {
            Owner::File(map) => map,
            Owner::Buffer(bytes) => (**bytes).as_ref(),
        }
    }
}

/// A byte range of an [`Owner`]: the stored form of one tensor.
#[derive(Clone)]
pub struct Mapped {
    owner: Owner,
    range: Range<usize>,
}

impl Mapped {
    /// The bytes of `owner` in `range`. Fails when the range does not lie within them.
    pub fn new(owner: Owner, range: Range<usize>) -> Result<Self> {
        let length = owner.as_ref().len();
        if range.start > range.end || range.end > length {
            return Err(Error::file(format!("bytes {}..{} of {length}", range.start, range.end)));
        }
        Ok(Self { owner, range })
    }

    /// Gives the memory of a mapped file back to the system, which reads it again where it is touched again.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Owner::File(map) = &self.owner {
            // SAFETY: the map is of a file and read-only: what is dropped comes back with the same contents.
            // A system that refuses keeps the memory, which changes nothing else.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, self.range.start, self.range.len())
            };
        }
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        &self.owner.as_ref()[self.range.clone()]
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
    /// Most tokens that answering takes at a time.
    pub answer_tokens: usize,
    /// The same where no head over the vocabulary follows, whose weights are worth more rows.
    pub encode_tokens: usize,
    /// Most rows whose logits over a vocabulary answering has at once.
    pub answer_logits: usize,
    /// Bytes of a training pass when no budget is given.
    pub pass_bytes: u64,
    /// Tokens of such a pass at least and at most.
    pub pass_tokens: (usize, usize),
    /// Bytes of the logits over a vocabulary that training has at once; their gradient takes as many again.
    pub pass_logits: usize,
}

/// A compute device. Clones share the device; a call may narrow its clone (see [`Cpu::cancelled_by`]).
pub trait Device: Clone + Send + Sync + 'static {
    /// What hidden states consist of. Parameters, their gradients and statistics are f32 on every device.
    type Activation: Scalar;

    /// Weights rearranged for this device's products.
    type Packed: Send + Sync;

    /// Weights in 8 bits, where products read them.
    type Integers: Integers;

    /// Elements in this device's memory.
    type Buffer<E: Scalar>: Send + Sync;

    /// New memory of `len` elements whose contents are unspecified but initialised.
    fn alloc<E: Scalar>(&self, len: usize) -> Result<Self::Buffer<E>>;

    /// Memory that holds a stored tensor: the mapping itself where the device can read it, else a copy.
    /// `stored` holds a whole number of little-endian `E`.
    fn adopt<E: Element>(&self, stored: &Mapped) -> Result<Self::Buffer<E>>;

    /// Makes `values` the first elements of a buffer that holds at least as many.
    fn write<E: Element>(&self, values: &[E], buffer: &mut Self::Buffer<E>) -> Result<()>;

    /// New memory holding `values`.
    fn upload<E: Element>(&self, values: &[E]) -> Result<Self::Buffer<E>> {
        let mut buffer = self.alloc(values.len())?;
        self.write(values, &mut buffer)?;
        Ok(buffer)
    }

    /// Copies the first `out.len()` elements to the host, after all work that writes them.
    fn download<E: Element>(&self, buffer: &Self::Buffer<E>, out: &mut [E]) -> Result<()>;

    /// The first `len` elements as the host reads them, after all work that writes them: in place where the device shares
    /// its memory, else a copy.
    fn host<'a, E: Element>(&self, buffer: &'a Self::Buffer<E>, len: usize) -> Result<Cow<'a, [E]>> {
        let mut copy = vec![E::default(); len];
        self.download(buffer, &mut copy)?;
        Ok(Cow::Owned(copy))
    }

    /// Where the elements lie in this device's memory, for others to read and write once all work on them has ended, as it
    /// has on return, until the buffer is used again.
    fn expose<E: Element>(&self, buffer: &mut Self::Buffer<E>) -> Result<*mut E>;

    /// New memory of hidden states, from `values` on the host.
    fn upload_activations(&self, values: &[f32]) -> Result<Self::Buffer<Self::Activation>>;

    /// Copies the first `out.len()` numbers of hidden states to the host, after all work that writes them.
    fn download_activations(&self, buffer: &Self::Buffer<Self::Activation>, out: &mut [f32]) -> Result<()>;

    /// Sets every element to zero.
    fn clear<E: Scalar>(&self, buffer: &mut Self::Buffer<E>) -> Result<()>;

    /// Copies the first `len` elements of one buffer to another; both hold as many.
    fn copy<E: Scalar>(&self, from: &Self::Buffer<E>, to: &mut Self::Buffer<E>, len: usize) -> Result<()>;

    /// Runs a piece of work made of many operations where they start fastest: on the CPU, on a worker thread.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// Runs work that comes again and again in the same shapes, `key`. A device may record it and play the record: `work`
    /// has to do the same operations whenever shapes and parameters are the same, and neither brings host values nor waits
    /// for any. `keep` copies the result, which lies in memory of the record, to where it stays.
    fn repeated<R>(
        &self,
        key: &[usize],
        mut work: impl FnMut() -> Result<R>,
        keep: impl Fn(&R) -> Result<R>,
    ) -> Result<R> {
        let _ = (key, keep);
        work()
    }

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

    /// Takes `values`, as many as it has.
    pub fn set(&mut self, device: &D, values: &[E]) -> Result<()> {
        if values.len() != self.rows * self.cols {
            let (given, rows, cols) = (values.len(), self.rows, self.cols);
            return Err(Error::internal(format!("{given} elements for a matrix of {rows} x {cols}")));
        }
        device.write(values, &mut self.buffer)
    }

    /// The matrix as the host reads it: in place where the device shares its memory, else a copy.
    pub fn host(&self, device: &D) -> Result<Cow<'_, [E]>> {
        device.host(&self.buffer, self.rows * self.cols)
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
