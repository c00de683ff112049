//! A CUDA GPU: memory in a pool, work in order on one stream, kernels from PTX that the driver compiles.
//!
//! Nothing here waits for the device but [`Device::download`] and its like: every call enqueues and returns. As all work of
//! a device is in one order, memory that is freed may be used again at once.

mod blas;
mod buffer;
mod context;
mod convert;
mod driver;
mod indices;
mod kernels;
mod launch;
mod replay;

use std::sync::Arc;

pub use blas::{Call, Operand};
pub use buffer::CudaBuffer;
pub use driver::{DeviceInfo, devices};
pub use indices::Indices;
pub(crate) use kernels::family;
pub use kernels::{Family, Kernel};
pub use launch::{Args, Grid};

use super::{Device, Mapped, Portions};
use crate::dtype::{DType, Element, Scalar, Working, bf16, f16};
use crate::error::{Error, Result, Status};
use crate::pool::Cancel;
use context::Context;
use indices::Latest;
use replay::Graphs;

/// A CUDA GPU as one model uses it: a stream, kernels, and the type that hidden states have.
#[derive(Clone)]
pub struct Cuda {
    context: Arc<Context>,
    latest: Arc<Latest>,
    graphs: Arc<Graphs>,
    working: DType,
    cancel: Option<Cancel>,
}

impl Cuda {
    /// The device with number `ordinal`, computing hidden states in `working`.
    ///
    /// Fails with `NoDevice`, and the reason, where there is no driver, an old one, or no such device.
    pub fn new(ordinal: usize, working: DType) -> Result<Self> {
        let info = driver::usable(ordinal)?;
        Ok(Self {
            context: Arc::new(Context::new(info)?),
            latest: Arc::default(),
            graphs: Arc::default(),
            working,
            cancel: None,
        })
    }

    /// The same device, for a call that stops once `cancel` is set.
    pub fn cancelled_by(&self, cancel: Option<&Cancel>) -> Self {
        Self { cancel: cancel.cloned(), ..self.clone() }
    }

    /// What the driver says of it.
    pub fn info(&self) -> &DeviceInfo {
        &self.context.info
    }

    /// The type that hidden states have.
    pub fn working(&self) -> DType {
        self.working
    }

    /// Free and total bytes of the device's memory. Blocks that this model keeps for its next call count as used.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.context.memory()
    }

    /// Waits until everything enqueued has run.
    pub fn synchronize(&self) -> Result<()> {
        self.context.synchronize()
    }

    /// An error once the call has been cancelled.
    pub fn check_cancel(&self) -> Result<()> {
        self.cancel.as_ref().map_or(Ok(()), Cancel::check)
    }

    /// Whether there is a cuBLASLt to be asked for products.
    pub fn has_blas(&self) -> bool {
        self.context.blas().is_some()
    }

    /// Enqueues a product by cuBLASLt. `false` where it is not there, or has no way to compute it.
    ///
    /// # Safety
    /// The operands are in this device's memory, in their types, and their shapes fit each other; nothing else refers to
    /// what is written.
    pub unsafe fn multiply(&self, call: &Call) -> Result<bool> {
        self.check_cancel()?;
        match self.context.blas() {
            // SAFETY: the caller's promise.
            Some(blas) => unsafe { blas.multiply(&self.context, call) },
            None => Ok(false),
        }
    }

    /// Row numbers, offsets or ids in the device's memory. The same numbers again are not copied again while they are
    /// among the latest.
    pub fn indices(&self, values: &[usize]) -> Result<Arc<Indices>> {
        self.latest.get(&self.context, values)
    }
}

impl Device for Cuda {
    type Activation = Working;
    type Packed = std::convert::Infallible;
    type Integers = std::convert::Infallible;
    type Buffer<E: Scalar> = CudaBuffer<E>;

    fn alloc<E: Scalar>(&self, len: usize) -> Result<CudaBuffer<E>> {
        let new = || CudaBuffer::new(&self.context, len, E::dtype(self.working));
        new().or_else(|error| {
            if error.status() != Status::OutOfMemory {
                return Err(error);
            }
            self.graphs.clear();
            new()
        })
    }

    fn adopt<E: Element>(&self, stored: &Mapped) -> Result<CudaBuffer<E>> {
        let bytes = stored.bytes();
        if !bytes.len().is_multiple_of(size_of::<E>()) {
            return Err(Error::internal(format!("{} bytes are no whole number of {}", bytes.len(), E::DTYPE)));
        }
        let buffer = self.alloc(bytes.len() / size_of::<E>())?;
        self.context.write(&buffer.block, bytes)?;
        Ok(buffer)
    }

    fn write<E: Element>(&self, values: &[E], buffer: &mut CudaBuffer<E>) -> Result<()> {
        if buffer.len < values.len() {
            return Err(Error::internal(format!("{} elements for a buffer of {}", values.len(), buffer.len)));
        }
        buffer.forget_converted();
        self.context.write(&buffer.block, bytes_of(values))
    }

    fn download<E: Element>(&self, buffer: &CudaBuffer<E>, out: &mut [E]) -> Result<()> {
        if buffer.len < out.len() {
            return Err(Error::internal(format!("{} elements wanted of a buffer of {}", out.len(), buffer.len)));
        }
        self.context.read(&buffer.block, bytes_of_mut(out))
    }

    fn expose<E: Element>(&self, buffer: &mut CudaBuffer<E>) -> Result<*mut E> {
        self.synchronize()?;
        Ok(buffer.pointer_mut() as usize as *mut E)
    }

    fn upload_activations(&self, values: &[f32]) -> Result<CudaBuffer<Working>> {
        let buffer = self.alloc(values.len())?;
        let bytes: Vec<u8> = match self.working {
            DType::F32 => bytes_of(values).to_vec(),
            DType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            DType::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        };
        self.context.write(&buffer.block, &bytes)?;
        Ok(buffer)
    }

    fn download_activations(&self, buffer: &CudaBuffer<Working>, out: &mut [f32]) -> Result<()> {
        if buffer.len < out.len() {
            return Err(Error::internal(format!("{} numbers wanted of a buffer of {}", out.len(), buffer.len)));
        }
        if buffer.dtype() == DType::F32 {
            return self.context.read(&buffer.block, bytes_of_mut(out));
        }
        let mut halves = vec![0u16; out.len()];
        // SAFETY: sixteen bits are two bytes without padding, every pattern of which is a number.
        let bytes = unsafe { std::slice::from_raw_parts_mut(halves.as_mut_ptr().cast::<u8>(), 2 * halves.len()) };
        self.context.read(&buffer.block, bytes)?;
        let widen = |bits: u16| match buffer.dtype() {
            DType::Bf16 => bf16::from_bits(bits).to_f32(),
            _ => f16::from_bits(bits).to_f32(),
        };
        out.iter_mut().zip(halves).for_each(|(out, bits)| *out = widen(bits));
        Ok(())
    }

    fn clear<E: Scalar>(&self, buffer: &mut CudaBuffer<E>) -> Result<()> {
        buffer.forget_converted();
        self.context.zero(&buffer.block, buffer.bytes())
    }

    fn copy<E: Scalar>(&self, from: &CudaBuffer<E>, to: &mut CudaBuffer<E>, len: usize) -> Result<()> {
        if from.len < len || to.len < len || from.dtype() != to.dtype() {
            return Err(Error::internal(format!(
                "{len} elements to copy from {} of {} to {} of {}",
                from.len,
                from.dtype(),
                to.len,
                to.dtype()
            )));
        }
        to.forget_converted();
        self.context.copy(&from.block, &to.block, len * from.dtype().size())
    }

    fn portions(&self) -> Portions {
        // A kernel of fewer rows leaves processors idle; memory is what a desktop card has to spare.
        Portions {
            answer_tokens: 32_768,
            encode_tokens: 32_768,
            answer_logits: 1024,
            pass_bytes: 8 << 30,
            pass_tokens: (4096, 32_768),
            pass_logits: 256 << 20,
        }
    }

    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        // Where that fails, so does the first call of the work, which can tell.
        let _current = self.context.enter();
        work()
    }

    fn repeated<R>(
        &self,
        key: &[usize],
        mut work: impl FnMut() -> Result<R>,
        keep: impl Fn(&R) -> Result<R>,
    ) -> Result<R> {
        self.graphs.run(&self.context, key, &mut work, keep)
    }

    fn len<E: Scalar>(buffer: &CudaBuffer<E>) -> usize {
        buffer.len
    }
}

/// The bytes of plain numbers.
fn bytes_of<E: Element>(values: &[E]) -> &[u8] {
    // SAFETY: an `Element` is plain data without padding, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// The bytes of plain numbers, to write.
fn bytes_of_mut<E: Element>(values: &mut [E]) -> &mut [u8] {
    // SAFETY: an `Element` is plain data without padding, every bit pattern is one, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), size_of_val(values)) }
}
