//! Layer normalisation on a GPU.

use super::{Affine, Gradients, Op, Saved};
use crate::device::cuda::{Args, Cuda, CudaBuffer, Family, Grid, Kernel, family};
use crate::device::{Device, Hidden};
use crate::dtype::Scalar;
use crate::error::Result;
use crate::ops::kernels::lanes;

static LAYER_NORM: Family = family!("layer_norm");

/// Who works on a row; chosen by its width alone, so that a row's numbers do not depend on its company.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Team {
    /// A warp, which holds it in registers.
    Warp,
    /// A block, which does the same.
    Block,
    /// A block, which reads it again.
    Any,
}

impl Team {
    fn of<E: Scalar>(width: usize, buffer: &CudaBuffer<E>) -> Self {
        match width {
            _ if !width.is_multiple_of(lanes(buffer)) => Team::Any,
            0..=1024 => Team::Warp,
            1025..=8192 => Team::Block,
            _ => Team::Any,
        }
    }

    /// Blocks for `teams` teams; those of a block keep two f32 a warp in shared memory.
    fn grid(self, teams: usize) -> Grid {
        match self {
            Team::Warp => Grid::line(teams.div_ceil(4), 128),
            Team::Block | Team::Any => Grid::line(teams, 256).with_shared(64),
        }
    }
}

/// Teams that walk over the rows of a gradient together: as many as a large GPU has at work at once.
const WARPS: usize = 1584;
const BLOCKS: usize = 264;
/// Rows whose sums one thread a column makes, where rows are of any width.
const ROWS: usize = 64;
/// Most such sums of a column.
const SUMS: usize = 1024;

impl Op for Cuda {
    fn layer_norm_forward(
        &self,
        x: &Hidden<Cuda>,
        residual: Option<&Hidden<Cuda>>,
        affine: &Affine<'_, Cuda>,
        y: &mut Hidden<Cuda>,
        saved: Option<&mut Saved<Cuda>>,
    ) -> Result<()> {
        let (rows, width) = x.shape();
        if width == 0 {
            return Ok(());
        }
        let team = Team::of(width, x.buffer());
        let name = match team {
            Team::Warp => "layer_norm_forward",
            Team::Block => "layer_norm_forward_wide",
            Team::Any => "layer_norm_forward_any",
        };
        let (normal, scale) = match saved {
            None => (None, None),
            Some(Saved { normal, scale }) => (Some(normal.buffer_mut()), Some(scale.buffer_mut())),
        };
        let args = Args::new()
            .read(x.buffer())
            .read_or_null(residual.map(Hidden::<Cuda>::buffer))
            .read(affine.gamma.buffer())
            .read(affine.beta.buffer())
            .f32(affine.epsilon)
            .write(y.buffer_mut())
            .write_or_null(normal)
            .write_or_null(scale)
            .size(rows)
            .size(width);
        // SAFETY: `forward` and `forward_saving` checked or made the shapes: [rows, width], γ and β [1, width], scale
        // [rows, 1]. Where a team holds its row, rows are multiples of 16 bytes and fit its registers.
        unsafe { self.launch(&Kernel::of(&LAYER_NORM, name, x.buffer().dtype()), team.grid(rows), args) }
    }

    fn layer_norm_backward(
        &self,
        saved: &Saved<Cuda>,
        affine: &Affine<'_, Cuda>,
        dy: &Hidden<Cuda>,
        gradients: Gradients<'_, Cuda>,
        dx: &mut Hidden<Cuda>,
    ) -> Result<()> {
        let (rows, width) = dy.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let (team, dtype) = (Team::of(width, dy.buffer()), dy.buffer().dtype());
        let wanted = gradients.gamma.is_some() || gradients.beta.is_some();
        let (teams, a_part) = match team {
            Team::Warp => (WARPS, 4),
            Team::Block => (BLOCKS, 1),
            Team::Any => (rows.div_ceil(ROWS).min(SUMS), 1),
        };
        // Rows of a team, and blocks of as many teams as that takes: a function of the shape.
        let each = rows.div_ceil(teams);
        let teams = rows.div_ceil(each);
        let count = teams.div_ceil(a_part);
        let mut parts = self.alloc::<f32>(if wanted { count * 2 * width } else { 0 })?;
        let rows_in = Args::new()
            .read(saved.normal.buffer())
            .read(saved.scale.buffer())
            .read(affine.gamma.buffer())
            .read(dy.buffer())
            .write(dx.buffer_mut());
        if team == Team::Any {
            let kernel = Kernel::of(&LAYER_NORM, "layer_norm_backward_any", dtype);
            // SAFETY: a block a row; shapes as below.
            unsafe { self.launch(&kernel, team.grid(rows), rows_in.size(width))? };
            let args = Args::new()
                .read(saved.normal.buffer())
                .read(dy.buffer())
                .write(&mut parts)
                .size(rows)
                .size(width)
                .size(each);
            let blocks = if wanted { count } else { 0 };
            let grid = Grid { blocks: [width.div_ceil(256), blocks, 1], threads: 256, shared: 0 };
            // SAFETY: a block in y sums the rows of one part; shapes as below.
            unsafe { self.launch(&Kernel::of(&LAYER_NORM, "layer_norm_columns_any", dtype), grid, args)? };
        } else {
            let name = if team == Team::Warp { "layer_norm_backward" } else { "layer_norm_backward_wide" };
            let args = rows_in.write_or_null(wanted.then_some(&mut parts)).size(rows).size(width).size(each);
            let shared = if team == Team::Warp { (2 * width * size_of::<f32>()) as u32 } else { 64 };
            let grid = team.grid(teams).with_shared(shared);
            // SAFETY: `backward` checked the shapes: [rows, width], scale [rows, 1], γ [1, width]; there is a part a block,
            // and shared memory for the sums of one.
            unsafe { self.launch(&Kernel::of(&LAYER_NORM, name, dtype), grid, args)? };
        }
        if !wanted {
            return Ok(());
        }
        let args = Args::new()
            .read(&parts)
            .write_or_null(gradients.gamma.map(|gamma| gamma.0.buffer_mut()))
            .write_or_null(gradients.beta.map(|beta| beta.0.buffer_mut()))
            .size(count)
            .size(width);
        let grid = Grid::line((2 * width).div_ceil(32), 256).with_shared(1024);
        // SAFETY: `parts` is [count, 2·width], and the gradients are [1, width], which `backward` checked; 256 threads keep
        // an f32 each in shared memory.
        unsafe { self.launch(&Kernel::new(&LAYER_NORM, "layer_norm_parts"), grid, args) }
    }
}
