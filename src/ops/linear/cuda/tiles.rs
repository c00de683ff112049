//! How a product is cut into blocks of threads: the tiles that kernels are compiled for, and which is fastest.

use crate::dtype::DType;

/// Which of the two operands lies how; see kernels/gemm.cuh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Bᵀ
    Nt,
    /// A B
    Nn,
    /// Aᵀ B
    Tn,
}

/// A tile of a product, which a block of threads computes.
#[derive(Debug, PartialEq, Eq)]
pub struct Tile {
    /// Kernels, in the order of [`Form`].
    names: [&'static str; 3],
    /// Its rows.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// Threads of the block.
    pub threads: u32,
    /// Bytes of shared memory.
    pub shared: u32,
    /// Cycles that a processor takes for 16 steps along the depth while it has one block,
    alone: usize,
    /// and for each block while it has many.
    crowded: usize,
}

/// Parts of the depth are multiples of it, which is one of every tile's depth.
pub const STEP: usize = 128;

/// Of kernels/gemm_f32.cu.
static SIMT: [Tile; 3] = [
    Tile {
        names: ["gemm_nt_l", "gemm_nn_l", "gemm_tn_l"],
        rows: 128,
        columns: 128,
        threads: 256,
        shared: 80 << 10,
        alone: 3000,
        crowded: 2560,
    },
    Tile {
        names: ["gemm_nt_m", "gemm_nn_m", "gemm_tn_m"],
        rows: 64,
        columns: 64,
        threads: 128,
        shared: 32 << 10,
        alone: 960,
        crowded: 784,
    },
    Tile {
        names: ["gemm_nt_s", "gemm_nn_s", "gemm_tn_s"],
        rows: 16,
        columns: 32,
        threads: 256,
        shared: 64 << 10,
        alone: 140,
        crowded: 120,
    },
];

/// Of kernels/gemm_tensor.cuh.
static TENSOR: [Tile; 4] = [
    Tile {
        names: ["gemm_nt_xl", "gemm_nn_xl", "gemm_tn_xl"],
        rows: 256,
        columns: 128,
        threads: 256,
        shared: 96 << 10,
        alone: 420,
        crowded: 420,
    },
    Tile {
        names: ["gemm_nt_l", "gemm_nn_l", "gemm_tn_l"],
        rows: 128,
        columns: 128,
        threads: 128,
        shared: 64 << 10,
        alone: 290,
        crowded: 215,
    },
    Tile {
        names: ["gemm_nt_m", "gemm_nn_m", "gemm_tn_m"],
        rows: 64,
        columns: 64,
        threads: 128,
        shared: 64 << 10,
        alone: 110,
        crowded: 70,
    },
    Tile {
        names: ["gemm_nt_s", "gemm_nn_s", "gemm_tn_s"],
        rows: 32,
        columns: 32,
        threads: 128,
        shared: 64 << 10,
        alone: 50,
        crowded: 34,
    },
];

impl Tile {
    /// The kernel for operands that lie so.
    pub fn kernel(&self, form: Form) -> &'static str {
        self.names[form as usize]
    }

    /// Cycles for `blocks` blocks of the depth `depth` on so many processors.
    fn cycles(&self, blocks: usize, depth: usize, processors: usize) -> usize {
        self.alone.max(blocks.div_ceil(processors) * self.crowded) * depth.div_ceil(16)
    }
}

fn tiles(dtype: DType) -> &'static [Tile] {
    match dtype {
        DType::F32 => &SIMT,
        DType::F16 | DType::Bf16 => &TENSOR,
    }
}

/// The fastest tile, the largest of equals, where `blocks` says how many tiles there are. Results do not depend on it.
pub fn fastest(dtype: DType, depth: usize, processors: usize, blocks: impl Fn(&Tile) -> usize) -> &'static Tile {
    let all = tiles(dtype);
    all.iter().min_by_key(|tile| tile.cycles(blocks(tile), depth, processors)).unwrap_or(&all[0])
}

/// Processors of the GPU that parts of a depth are chosen for, whichever it is: results do depend on those.
const PROCESSORS: usize = 132;

/// Parts that a depth may be cut into.
const PARTS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// Bytes that are written and read again in a cycle, and cycles that it takes to start doing so.
const TRAFFIC: usize = 1800;
const START: usize = 4000;

/// The fastest tile, and how long the parts are that the depth is cut into, for `elements` sums.
pub fn fastest_parts(
    dtype: DType,
    depth: usize,
    elements: usize,
    blocks: impl Fn(&Tile) -> usize,
) -> (&'static Tile, usize) {
    let all = tiles(dtype);
    let mut best = (usize::MAX, &all[0], depth);
    for tile in all {
        for parts in PARTS {
            let part = depth.div_ceil(parts).next_multiple_of(STEP);
            let parts = depth.div_ceil(part);
            let sums = if parts > 1 { 2 * parts * elements * size_of::<f32>() / TRAFFIC + START } else { 0 };
            let cycles = tile.cycles(blocks(tile) * parts, part.min(depth), PROCESSORS) + sums;
            if cycles < best.0 {
                best = (cycles, tile, part);
            }
        }
    }
    (best.1, best.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(rows: usize, columns: usize) -> impl Fn(&Tile) -> usize {
        move |tile| rows.div_ceil(tile.rows) * columns.div_ceil(tile.columns)
    }

    #[test]
    fn large_products_have_large_tiles_and_small_ones_fill_the_processors() {
        let rows = |rows, columns| fastest(DType::Bf16, 768, 132, blocks(rows, columns)).rows;
        assert_eq!(rows(4096, 3072), 256);
        assert_eq!(rows(128, 768), 32);
        assert_eq!(rows(1, 768), 32);
        let rows = |rows, columns| fastest(DType::F32, 768, 132, blocks(rows, columns)).rows;
        assert_eq!(rows(16384, 3072), 128);
        assert_eq!(rows(1, 768), 16);
    }

    #[test]
    fn a_long_depth_of_few_sums_is_cut() {
        for dtype in [DType::F32, DType::Bf16] {
            let (_, part) = fastest_parts(dtype, 32768, 64 * 64, blocks(64, 64));
            assert!(part < 32768 && part.is_multiple_of(STEP), "{part}");
            let (_, part) = fastest_parts(dtype, 100, 768 * 768, blocks(768, 768));
            assert!(part >= 100, "{part}");
            let (_, part) = fastest_parts(dtype, 4096, 30_522 * 768, blocks(30_522, 768));
            assert!(part >= 4096, "{part}");
        }
    }
}
