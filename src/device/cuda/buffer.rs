//! Elements in a GPU's memory.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::CUdeviceptr;

use super::context::{Block, Context};
use super::replay;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};

/// Elements in a GPU's memory.
pub struct CudaBuffer<E: Scalar> {
    pub(super) block: Block,
    pub(super) len: usize,
    context: Arc<Context>,
    dtype: DType,
    /// The same numbers in another type, for kernels that read them in it; gone when they change.
    converted: OnceLock<Converted>,
    element: PhantomData<E>,
}

/// Numbers of a buffer in another type.
struct Converted {
    block: Block,
    dtype: DType,
}

impl<E: Scalar> CudaBuffer<E> {
    pub(super) fn new(context: &Arc<Context>, len: usize, dtype: DType) -> Result<Self> {
        let block = context.alloc(len * dtype.size())?;
        let context = Arc::clone(context);
        Ok(Self { block, len, context, dtype, converted: OnceLock::new(), element: PhantomData })
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they lie, to read.
    pub fn pointer(&self) -> CUdeviceptr {
        self.block.start
    }

    /// Where they lie, to write.
    pub fn pointer_mut(&mut self) -> CUdeviceptr {
        self.forget_converted();
        self.block.start
    }

    /// Where the same numbers lie in the type `dtype`, to read. `convert` fills that memory, at the pointer it is given,
    /// the first time after the numbers changed. All callers of one buffer ask for one type.
    pub fn pointer_as(
        &self,
        dtype: DType,
        convert: impl FnOnce(CUdeviceptr, CUdeviceptr) -> Result<()>,
    ) -> Result<CUdeviceptr> {
        if dtype == self.dtype {
            return Ok(self.block.start);
        }
        if self.converted.get().is_none() {
            if replay::recording() {
                // it would be done again by every replay
                replay::outside("a conversion")?;
            }
            let block = replay::apart(|| -> Result<Block> {
                let block = self.context.alloc(self.len * dtype.size())?;
                convert(self.block.start, block.start)?;
                Ok(block)
            })?;
            // Two callers may have converted the same numbers; one result is kept, and the stream runs both in order.
            if let Err(Converted { block, .. }) = self.converted.set(Converted { block, dtype }) {
                self.context.free(block);
            }
        }
        match self.converted.get() {
            Some(converted) if converted.dtype == dtype => Ok(converted.block.start),
            _ => Err(Error::internal(format!("a buffer of {} is wanted in two other types", self.dtype))),
        }
    }

    pub(super) fn forget_converted(&mut self) {
        if let Some(Converted { block, .. }) = self.converted.take() {
            self.context.free(block);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.len * self.dtype.size()
    }
}

impl<E: Scalar> Drop for CudaBuffer<E> {
    fn drop(&mut self) {
        self.forget_converted();
        self.context.free(std::mem::take(&mut self.block));
    }
}
