//! Sums of two matrices on a GPU.

use super::Op;
use crate::device::Hidden;
use crate::device::cuda::{Args, Cuda, Kernel};
use crate::dtype::Working;
use crate::error::Result;
use crate::ops::Accumulate;
use crate::ops::kernels::{POINTWISE, lanes, numbers};

impl Op for Cuda {
    fn add(&self, x: &Hidden<Cuda>, y: Accumulate<'_, Cuda, Working>) -> Result<()> {
        let count = x.rows() * x.cols();
        let kernel = Kernel::of(&POINTWISE, "add", x.buffer().dtype());
        let args = Args::new().read(x.buffer()).write(y.0.buffer_mut()).u64(count as u64);
        // SAFETY: both matrices hold `count` numbers: `add` compared their shapes.
        unsafe { self.launch(&kernel, numbers(count, lanes(x.buffer())), args) }
    }
}
