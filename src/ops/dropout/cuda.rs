//! Dropout on a GPU.

use super::{Draw, Mask, Op};
use crate::device::Hidden;
use crate::device::cuda::{Args, Cuda, Grid, Kernel};
use crate::error::Result;
use crate::ops::kernels::POINTWISE;

impl Draw {
    /// What `kernels/philox.cuh` needs of it: the key, site, step, threshold and scale.
    pub(in crate::ops) fn push(&self, args: Args) -> Args {
        let key = u64::from(self.key[0]) | u64::from(self.key[1]) << 32;
        args.u64(key).u32(self.site).u32(self.step).u32(self.threshold).f32(self.scale)
    }
}

impl Op for Cuda {
    fn dropout_apply(&self, mask: &Mask<'_>, x: &mut Hidden<Cuda>) -> Result<()> {
        let (rows, width) = x.shape();
        if rows == 0 || width == 0 || mask.dropout.probability == 0.0 {
            return Ok(());
        }
        let kernel = Kernel::of(&POINTWISE, "dropout_apply", x.buffer().dtype());
        let numbers = self.indices(mask.rows)?;
        let args = Args::new().write(x.buffer_mut()).indices(&numbers).size(mask.first_row).size(width);
        let args = Draw::new(&mask.dropout, 0).push(args);
        // a thread a counter, which decides on four columns
        let threads = width.div_ceil(4).next_multiple_of(32).min(256) as u32;
        // SAFETY: a block a row writes within it; `apply` checked that there is a number for each.
        unsafe { self.launch(&kernel, Grid::line(rows, threads), args) }
    }
}
