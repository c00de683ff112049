//! Rows that are copied, and their gradients, on a GPU.

use super::Op;
use crate::device::Hidden;
use crate::device::cuda::{Cuda, Kernel};
use crate::dtype::Working;
use crate::error::Result;
use crate::ops::Accumulate;
use crate::ops::kernels::{POINTWISE, Scatter, copy_rows};

impl Op for Cuda {
    fn gather_forward(&self, x: &Hidden<Cuda>, rows: &[usize], y: &mut Hidden<Cuda>) -> Result<()> {
        // SAFETY: `forward` checked that the rows exist in x and gave y as many of the same width.
        unsafe { copy_rows(self, x, Some(rows), None, rows.len(), y) }
    }

    fn gather_backward(&self, dy: &Hidden<Cuda>, rows: &[usize], dx: Accumulate<'_, Cuda, Working>) -> Result<()> {
        let kernel = |name| Kernel::of(&POINTWISE, name, dy.buffer().dtype());
        let scatter = Scatter {
            runs: kernel("gather_backward"),
            parts: kernel("gather_backward_parts"),
            pairs: rows.iter().enumerate().map(|(source, &target)| (target, source)).collect(),
            x: dy,
        };
        // SAFETY: `backward` checked that there is a row of dy for each of `rows`, that these exist in dx, and widths.
        unsafe { scatter.add(self, dx) }
    }
}
