//! ln Σ eˣ on a GPU.

use super::Op;
use crate::device::cuda::{Args, Cuda};
use crate::device::{Hidden, Tensor};
use crate::error::Result;
use crate::ops::kernels::logits;

fn log_sum_exp(device: &Cuda, x: &Hidden<Cuda>, columns: Option<&[usize]>, y: &mut Tensor<Cuda>) -> Result<()> {
    let (kernel, grid) = logits(x, ["log_sum_exp", "log_sum_exp_wide"]);
    let columns = columns.map(|columns| device.indices(columns)).transpose()?;
    let args = Args::new()
        .read(x.buffer())
        .pointer(columns.as_ref().map_or(0, |columns| columns.pointer()))
        .write(y.buffer_mut())
        .size(x.rows())
        .size(x.cols());
    // SAFETY: y has a number for each row of x, and columns lie within rows: both checked or made by `log_sum_exp` and
    // `log_softmax`.
    unsafe { device.launch(&kernel, grid, args) }
}

impl Op for Cuda {
    fn log_sum_exp_forward(&self, x: &Hidden<Cuda>, y: &mut Tensor<Cuda>) -> Result<()> {
        log_sum_exp(self, x, None, y)
    }

    fn log_softmax_forward(&self, x: &Hidden<Cuda>, columns: &[usize], y: &mut Tensor<Cuda>) -> Result<()> {
        log_sum_exp(self, x, Some(columns), y)
    }
}
