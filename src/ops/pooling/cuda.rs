//! Pooling on a GPU.

use super::{Op, Pooling};
use crate::device::cuda::{Args, Cuda, Family, Grid, Kernel, family};
use crate::device::{Device, Hidden};
use crate::error::Result;

static POOLING: Family = family!("pooling");

impl Pooling {
    /// Its number in `kernels/pooling.cu`.
    fn code(self) -> u32 {
        self as u32
    }
}

/// Rows of a sequence that blocks of four warps walk over in steps of.
const STEP: usize = 64;

impl Op for Cuda {
    fn pooling_forward(
        &self,
        x: &Hidden<Cuda>,
        offsets: &[usize],
        pooling: Pooling,
        y: &mut Hidden<Cuda>,
        column: usize,
    ) -> Result<()> {
        let (width, (sequences, stride)) = (x.cols(), y.shape());
        let offsets = self.indices(offsets)?;
        let kernel = Kernel::of(&POOLING, "pooling_forward", x.buffer().dtype());
        let args = Args::new()
            .read(x.buffer())
            .indices(&offsets)
            .u32(pooling.code())
            .size(width)
            .write(y.buffer_mut())
            .size(stride)
            .size(column);
        // two columns a thread where rows start at multiples of two, else one
        let pairs = width.is_multiple_of(2) && stride.is_multiple_of(2);
        let columns = if pairs { width.div_ceil(64) } else { width.div_ceil(32) };
        let grid = Grid { blocks: [sequences, columns, 1], threads: 256, shared: 2048 };
        // SAFETY: `forward` checked that offsets rise to the rows of x, and gave y a row a sequence with `width` columns
        // from `column` on; threads keep up to two f32 each in shared memory.
        unsafe { self.launch(&kernel, grid, args) }
    }

    fn normalize_forward(&self, x: &mut Hidden<Cuda>) -> Result<()> {
        let (rows, width) = x.shape();
        let kernel = Kernel::of(&POOLING, "normalize_forward", x.buffer().dtype());
        let args = Args::new().write(x.buffer_mut()).size(width);
        // SAFETY: a block a row of x works within it; 256 threads keep an f64 a warp in shared memory.
        unsafe { self.launch(&kernel, Grid::line(rows, 256).with_shared(128), args) }
    }

    fn pooling_backward(
        &self,
        x: &Hidden<Cuda>,
        offsets: &[usize],
        modes: &[Pooling],
        dy: &Hidden<Cuda>,
        dx: &mut Hidden<Cuda>,
    ) -> Result<()> {
        let (width, dtype, sequences) = (x.cols(), x.buffer().dtype(), dy.rows());
        let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let offsets = self.indices(offsets)?;
        let codes: Vec<usize> = modes.iter().map(|mode| mode.code() as usize).collect();
        let codes = self.indices(&codes)?;
        let maxima = modes.contains(&Pooling::Max);
        // row numbers, which are as large as an f32
        let mut largest = self.alloc::<f32>(if maxima { sequences * width } else { 0 })?;
        if maxima {
            let args = Args::new().read(x.buffer()).indices(&offsets).size(width).write(&mut largest);
            let grid = Grid { blocks: [sequences, width.div_ceil(32), 1], threads: 256, shared: 2048 };
            // SAFETY: `backward` checked that offsets rise to the rows of x; there is a number a sequence and column, and
            // 256 threads keep two numbers each in shared memory.
            unsafe { self.launch(&Kernel::of(&POOLING, "pooling_first_largest", dtype), grid, args)? };
        }
        let args = Args::new()
            .indices(&offsets)
            .indices(&codes)
            .size(modes.len())
            .read_or_null(maxima.then_some(&largest))
            .read(dy.buffer())
            .size(width)
            .write(dx.buffer_mut());
        let grid = Grid { blocks: [sequences, longest.min(STEP).div_ceil(4), 1], threads: 128, shared: 0 };
        // SAFETY: as above; dy has a row a sequence with `width` columns a mode, and dx is of x's shape.
        unsafe { self.launch(&Kernel::of(&POOLING, "pooling_backward", dtype), grid, args) }
    }

    fn normalize_backward(&self, x: &Hidden<Cuda>, dy: &mut Hidden<Cuda>) -> Result<()> {
        let (rows, width) = x.shape();
        let kernel = Kernel::of(&POOLING, "normalize_backward", x.buffer().dtype());
        let args = Args::new().read(x.buffer()).write(dy.buffer_mut()).size(width);
        // SAFETY: both are of one shape, which `normalize_backward` checked; a block a row works within it, and 256 threads
        // keep two f64 a warp in shared memory.
        unsafe { self.launch(&kernel, Grid::line(rows, 256).with_shared(128), args) }
    }
}
