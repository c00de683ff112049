//! Rows that are overwritten on a GPU.

use super::Op;
use crate::device::Hidden;
use crate::device::cuda::Cuda;
use crate::error::Result;
use crate::ops::kernels::copy_rows;

impl Op for Cuda {
    fn assign_forward(
        &self,
        x: &Hidden<Cuda>,
        from: Option<&[usize]>,
        to: &[usize],
        y: &mut Hidden<Cuda>,
    ) -> Result<()> {
        // SAFETY: `forward` checked that both lists are as long, that their rows exist, and widths; rows of `to` are
        // distinct by its contract.
        unsafe { copy_rows(self, x, from, Some(to), to.len(), y) }
    }
}
