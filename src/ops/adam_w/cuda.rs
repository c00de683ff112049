//! AdamW on a GPU.

use super::{Factors, Moments, Op, Step};
use crate::device::Tensor;
use crate::device::cuda::{Args, Cuda, Family, Grid, Kernel, family};
use crate::error::Result;
use crate::ops::kernels::{Parts, numbers};

static OPTIMIZER: Family = family!("optimizer");

/// Numbers whose squares one block adds up.
const BLOCK: usize = 4096;

impl Op for Cuda {
    fn adam_w_step(
        &self,
        step: &Step,
        gradient: &Tensor<Cuda>,
        moments: &mut Moments<Cuda>,
        parameter: &mut Tensor<Cuda>,
    ) -> Result<()> {
        let count = parameter.rows() * parameter.cols();
        let factors = Factors::of(step);
        let args = Args::new()
            .read(gradient.buffer())
            .write(moments.mean.buffer_mut())
            .write(moments.square.buffer_mut())
            .write(parameter.buffer_mut())
            .f32(factors.gradient)
            .f32(factors.mean)
            .f32(factors.keep)
            .f32(factors.square)
            .f32(factors.root)
            .f32(factors.epsilon)
            .f32(factors.decay)
            .f32(factors.step)
            .u64(count as u64);
        // SAFETY: all four hold `count` numbers: `step` compared their shapes.
        unsafe { self.launch(&Kernel::new(&OPTIMIZER, "adam_w_step"), numbers(count, 4), args) }
    }

    fn sum_of_squares(&self, tensors: &[&Tensor<Cuda>]) -> Result<f64> {
        let counts = || tensors.iter().map(|x| x.rows() * x.cols());
        let mut parts = Parts::new(self, 1, counts().map(|count| count.div_ceil(BLOCK)).sum())?;
        let mut first = 0;
        for (x, count) in tensors.iter().zip(counts()) {
            let blocks = count.div_ceil(BLOCK);
            let args = Args::new().read(x.buffer()).pointer(parts.pointer(first)).u64(count as u64);
            let grid = Grid::line(blocks, 256).with_shared(64);
            // SAFETY: x holds `count` numbers, there is a part a block from `first` on, and 256 threads keep an f64 a warp
            // in shared memory.
            unsafe { self.launch(&Kernel::new(&OPTIMIZER, "sum_of_squares"), grid, args)? };
            first += blocks;
        }
        Ok(parts.sum(self, &Kernel::new(&OPTIMIZER, "squares_total"))?[0])
    }
}
