//! Activations on a GPU.

use super::{Activation, Op};
use crate::device::Hidden;
use crate::device::cuda::{Args, Cuda, Kernel};
use crate::error::Result;
use crate::ops::kernels::{POINTWISE, numbers};

impl Activation {
    /// Its number in `kernels/activation.cuh`.
    pub(crate) fn code(self) -> u32 {
        self as u32
    }
}

/// Numbers that a thread takes.
const EACH: usize = 4;

impl Op for Cuda {
    fn activation_forward(&self, x: &Hidden<Cuda>, activation: Activation, y: &mut Hidden<Cuda>) -> Result<()> {
        let count = x.rows() * x.cols();
        let kernel = Kernel::of(&POINTWISE, "activation_forward", x.buffer().dtype());
        let args = Args::new().read(x.buffer()).u32(activation.code()).write(y.buffer_mut()).u64(count as u64);
        // SAFETY: both matrices hold `count` numbers: `forward` gave y the shape of x.
        unsafe { self.launch(&kernel, numbers(count, EACH), args) }
    }

    fn activation_backward(&self, x: &Hidden<Cuda>, activation: Activation, dy: &mut Hidden<Cuda>) -> Result<()> {
        if activation == Activation::Identity {
            return Ok(());
        }
        let count = x.rows() * x.cols();
        let kernel = Kernel::of(&POINTWISE, "activation_backward", x.buffer().dtype());
        let args = Args::new().read(x.buffer()).u32(activation.code()).write(dy.buffer_mut()).u64(count as u64);
        // SAFETY: both matrices hold `count` numbers: `backward` compared their shapes.
        unsafe { self.launch(&kernel, numbers(count, EACH), args) }
    }
}
