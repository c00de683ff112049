//! The same numbers in another type, and in rows of another length.

use cudarc::driver::sys::CUdeviceptr;

use super::Cuda;
use super::buffer::CudaBuffer;
use super::kernels::{Family, Kernel, family};
use super::launch::{Args, Grid};
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};

static CONVERT: Family = family!("convert");

const THREADS: u32 = 256;

impl Cuda {
    /// Where the numbers of a buffer lie in the type `dtype`, to read. They are converted once, until they change.
    pub fn reading<E: Scalar>(&self, buffer: &CudaBuffer<E>, dtype: DType) -> Result<CUdeviceptr> {
        buffer.pointer_as(dtype, |from, to| self.convert((from, buffer.dtype()), (to, dtype), buffer.len()))
    }

    /// `to` ← the first `len` numbers of `from`, each the nearest of its type.
    pub fn copy_as<E: Scalar, F: Scalar>(
        &self,
        from: &CudaBuffer<E>,
        to: &mut CudaBuffer<F>,
        len: usize,
    ) -> Result<()> {
        if from.len() < len || to.len() < len {
            return Err(Error::internal(format!("{len} numbers to convert from {} to {}", from.len(), to.len())));
        }
        let to = (to.pointer_mut(), to.dtype());
        if to.1 == from.dtype() {
            return Err(Error::internal(format!("a conversion from {} to itself", to.1)));
        }
        self.convert((from.pointer(), from.dtype()), to, len)
    }

    /// Writes `count` numbers at `to` that are those at `from`, in their types.
    fn convert(&self, from: (CUdeviceptr, DType), to: (CUdeviceptr, DType), count: usize) -> Result<()> {
        let name = match to.1 {
            DType::F32 => "convert_f32",
            DType::F16 => "convert_f16",
            DType::Bf16 => "convert_bf16",
        };
        let args = Args::new().pointer(from.0).pointer(to.0).u64(count as u64);
        let grid = Grid::covering(count.div_ceil(4), THREADS);
        // SAFETY: both pointers are of memory for `count` numbers of their types, as both callers see to.
        unsafe { self.launch(&Kernel::of(&CONVERT, name, from.1), grid, args) }
    }

    /// Enqueues a copy of `columns` 16-bit numbers of each of `rows` rows, followed by zeros up to a multiple of 8.
    /// Rows are apart by the second number of `from` and `to`; the latter is a multiple of 8.
    ///
    /// # Safety
    /// The pointers are to that many rows; `to` is aligned to 16 bytes, and its rows are apart by no less than is
    /// written.
    pub unsafe fn lengthen(
        &self,
        from: (CUdeviceptr, usize),
        (rows, columns): (usize, usize),
        to: (CUdeviceptr, usize),
    ) -> Result<()> {
        let wide = columns.next_multiple_of(8);
        let args = Args::new().pointer(from.0).u64(from.1 as u64).size(rows).size(columns);
        let args = args.pointer(to.0).u64(to.1 as u64).size(wide);
        // SAFETY: the caller's promise.
        unsafe { self.launch(&Kernel::new(&CONVERT, "lengthen"), Grid::covering(rows * wide / 8, THREADS), args) }
    }
}
