//! Products of matrices on a GPU: what the kernels of kernels/gemm*.cu are given.

use super::library;
use super::tiles::{self, Form, STEP, Tile};
use crate::device::Device;
use crate::device::cuda::{Args, Cuda, CudaBuffer, Family, Grid, Kernel, family};
use crate::dtype::{DType, f16};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;

static F32: Family = family!("gemm_f32");
static F16: Family = family!("gemm_f16");
static BF16: Family = family!("gemm_bf16");
static SUMS: Family = family!("sums");

/// Matrices that one launch takes.
const MOST: usize = 3;

/// Columns that start at multiples of it, and strides that are one, are aligned for tensor cores.
const ALIGNMENT: usize = 8;

/// A matrix in a GPU's memory whose elements are of the type of the product: where it starts, and how far its rows are
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Address of the first element.
    pub start: u64,
    /// Elements from a row to the next.
    pub stride: usize,
}

/// Where a product goes: c ← f(scale · Σ + bias), or c ← c + scale · Σ.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// c, whose elements are of the type of the product.
    pub matrix: Matrix,
    /// scale
    pub scale: f32,
    /// f
    pub activation: Activation,
    /// Whether to add. Then there is neither f nor bias.
    pub adds: bool,
}

impl Output {
    /// c ← Σ
    pub fn of(matrix: Matrix) -> Self {
        Self { matrix, scale: 1.0, activation: Activation::Identity, adds: false }
    }
}

/// A weight `[N, K]`, dense, of the type of the product.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Address of the first element.
    pub start: u64,
    /// Address of the bias in f32, or 0.
    pub bias: u64,
    /// Address of the bias in the type of the product, where cuBLASLt may be asked and there is one, or 0.
    pub narrow_bias: u64,
    /// N
    pub outputs: usize,
}

/// Sums that products are added to.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// The first column of A that is summed over.
    pub column: usize,
    /// Number of columns of A, which is the number of rows of the sums.
    pub rows: usize,
    /// Address of the first, of f32; dense.
    pub start: u64,
}

/// Products of one type.
#[derive(Clone, Copy)]
pub struct Products<'a> {
    /// Where they are computed.
    pub device: &'a Cuda,
    /// The type of what is multiplied.
    pub dtype: DType,
}

impl Products<'_> {
    fn kernel(&self, tile: &Tile, form: Form) -> Kernel {
        let family = match self.dtype {
            DType::F32 => &F32,
            DType::F16 => &F16,
            DType::Bf16 => &BF16,
        };
        Kernel::of(family, tile.kernel(form), self.dtype)
    }

    fn processors(&self) -> usize {
        self.device.info().multiprocessors.max(1) as usize
    }

    /// `output` `[rows, ΣN]` = a Wᵢᵀ side by side, where a is `[rows, depth]`.
    ///
    /// # Safety
    /// All addresses are of matrices of these shapes in the device's memory; only `output` may be written meanwhile.
    pub unsafe fn nt(&self, a: Matrix, (rows, depth): (usize, usize), weights: &[Right], output: Output) -> Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { library::nt(self, a, (rows, depth), weights, &output) }? {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let a = unsafe { self.aligned(a, rows, &[(0, depth)], true) }?;
        let mut column = 0;
        for weights in weights.chunks(MOST) {
            let mut held = Vec::new();
            for weight in weights {
                let matrix = Matrix { start: weight.start, stride: depth };
                // SAFETY: the caller's promise.
                held.push(unsafe { self.aligned(matrix, weight.outputs, &[(0, depth)], true) }?);
            }
            let b = three(held.iter().map(|b| b.matrix.start));
            let sizes = three_sizes(weights.iter().map(|weight| weight.outputs));
            let bias = three(weights.iter().map(|weight| weight.bias));
            let stride = held.first().map_or(0, |b| b.matrix.stride);
            let across = |tile: &Tile| sizes.iter().map(|size| size.div_ceil(tile.columns)).sum::<usize>();
            let tile =
                tiles::fastest(self.dtype, depth, self.processors(), |tile| rows.div_ceil(tile.rows) * across(tile));
            check(&[rows, depth, sizes.iter().sum()])?;
            let grid = Grid { blocks: [rows.div_ceil(tile.rows), across(tile), 1], ..block(tile) };
            let c = output.matrix.start + (column * self.dtype.size()) as u64;
            let args = Args::new().pointer(a.matrix.start).u64(a.matrix.stride as u64);
            let args = b.iter().fold(args, |args, &b| args.pointer(b)).u64(stride as u64);
            let args = bias.iter().fold(args, |args, &bias| args.pointer(bias));
            let args = args.pointer(c).u64(output.matrix.stride as u64).size(rows);
            let args = sizes.iter().fold(args, |args, &size| args.size(size)).size(depth);
            let args = args.f32(output.scale).u32(output.activation as u32).u32(output.adds.into());
            // SAFETY: the kernel bounds rows, columns and depth by these sizes, which are those of the caller's promise;
            // what tensor cores need of rows, `aligned` has seen to.
            unsafe { self.device.launch(&self.kernel(tile, Form::Nt), grid, args) }?;
            column += sizes.iter().sum::<usize>();
        }
        Ok(())
    }

    /// `output` `[rows, columns]` = Σᵢ aᵢ Wᵢ. The aᵢ lie side by side in a, each Wᵢ has `columns` inputs.
    ///
    /// # Safety
    /// As [`Products::nt`].
    pub unsafe fn nn(
        &self,
        a: Matrix,
        (rows, columns): (usize, usize),
        weights: &[Right],
        output: Output,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { library::nn(self, a, (rows, columns), weights, &output) }? {
            return Ok(());
        }
        let mut column = 0;
        for (chunk, weights) in weights.chunks(MOST).enumerate() {
            let mut parts = Vec::new();
            for weight in weights {
                parts.push((column, weight.outputs));
                column += weight.outputs;
            }
            // SAFETY: the caller's promise.
            let a = unsafe { self.aligned(a, rows, &parts, true) }?;
            let mut held = Vec::new();
            for weight in weights {
                let matrix = Matrix { start: weight.start, stride: columns };
                // SAFETY: the caller's promise.
                held.push(unsafe { self.aligned(matrix, weight.outputs, &[(0, columns)], false) }?);
            }
            let b = three(held.iter().map(|b| b.matrix.start));
            let sizes = three_sizes(weights.iter().map(|weight| weight.outputs));
            let stride = held.first().map_or(0, |b| b.matrix.stride);
            let blocks = |tile: &Tile| [rows.div_ceil(tile.rows), columns.div_ceil(tile.columns), 1];
            let depth = sizes.iter().sum();
            let tile = tiles::fastest(self.dtype, depth, self.processors(), |tile| blocks(tile).iter().product());
            check(&[rows, columns, depth])?;
            let grid = Grid { blocks: blocks(tile), ..block(tile) };
            let args = Args::new().pointer(a.matrix.start).u64(a.matrix.stride as u64);
            let args = b.iter().fold(args, |args, &b| args.pointer(b)).u64(stride as u64);
            let args = args.pointer(output.matrix.start).u64(output.matrix.stride as u64).size(rows).size(columns);
            let args = sizes.iter().fold(args, |args, &size| args.size(size));
            let args = args.size(a.starts[1]).size(a.starts[2]);
            let args = args.f32(output.scale).u32((output.adds || chunk > 0).into());
            // SAFETY: as in `nt`.
            unsafe { self.device.launch(&self.kernel(tile, Form::Nn), grid, args) }?;
        }
        Ok(())
    }

    /// sumsᵢ `[rows, columns]` += aᵢᵀ b, where aᵢ are columns of a, and b is `[depth, columns]` as a has `depth` rows.
    ///
    /// # Safety
    /// As [`Products::nt`], with `sums` for the output.
    pub unsafe fn tn(&self, a: Matrix, b: Matrix, (depth, columns): (usize, usize), sums: &[Sums]) -> Result<()> {
        if depth == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let sums = unsafe { library::tn(self, a, b, (depth, columns), sums) }?;
        if sums.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let b = unsafe { self.aligned(b, depth, &[(0, columns)], false) }?;
        for sums in sums.chunks(MOST) {
            let parts: Vec<_> = sums.iter().map(|sums| (sums.column, sums.rows)).collect();
            // SAFETY: the caller's promise.
            let a = unsafe { self.aligned(a, depth, &parts, false) }?;
            let sizes = three_sizes(sums.iter().map(|sums| sums.rows));
            let c = three(sums.iter().map(|sums| sums.start));
            let rows: usize = sizes.iter().sum();
            let down = |tile: &Tile| sizes.iter().map(|size| size.div_ceil(tile.rows)).sum::<usize>();
            let (tile, part) = tiles::fastest_parts(self.dtype, depth, rows * columns, |tile| {
                down(tile) * columns.div_ceil(tile.columns)
            });
            check(&[rows, columns, depth])?;
            let parts = depth.div_ceil(part);
            let held: Option<CudaBuffer<f32>> =
                if parts > 1 { Some(self.device.alloc(parts * rows * columns)?) } else { None };
            let blocks = [down(tile), columns.div_ceil(tile.columns), parts];
            let grid = Grid { blocks, ..block(tile) };
            let args = Args::new().pointer(a.matrix.start).u64(a.matrix.stride as u64);
            let args = args.pointer(b.matrix.start).u64(b.matrix.stride as u64);
            let args = c.iter().fold(args, |args, &c| args.pointer(c));
            let args = args.pointer(held.as_ref().map_or(0, CudaBuffer::pointer));
            let args = sizes.iter().fold(args, |args, &size| args.size(size));
            let args = args.size(a.starts[1]).size(a.starts[2]);
            let args = args.size(columns).size(depth).size(part);
            // SAFETY: as in `nt`; where there are parts, `held` has room for them.
            unsafe { self.device.launch(&self.kernel(tile, Form::Tn), grid, args) }?;
            if let Some(held) = &held {
                // SAFETY: `held` are `parts` parts of as many sums as `c` have.
                unsafe { self.add_parts(held.pointer(), rows * columns, parts, c, sizes.map(|size| size * columns)) }?;
            }
        }
        Ok(())
    }

    /// sumsᵢ `[1, N]` += the sums of columns of a `[rows, ΣN]`, which is dense; `None` are not wanted.
    ///
    /// # Safety
    /// As [`Products::tn`].
    pub unsafe fn add_column_sums(
        &self,
        a: u64,
        (rows, columns): (usize, usize),
        sums: &[(usize, Option<u64>)],
    ) -> Result<()> {
        if rows == 0 || columns == 0 || sums.iter().all(|(_, start)| start.is_none()) {
            return Ok(());
        }
        const ROWS: usize = 64;
        const PARTS: usize = 64;
        const COLUMNS: usize = 64;
        check(&[rows, columns])?;
        let part = rows.div_ceil(PARTS).max(ROWS);
        let parts = rows.div_ceil(part);
        let held: CudaBuffer<f32> = self.device.alloc(parts * columns)?;
        let grid = Grid { blocks: [columns.div_ceil(COLUMNS), parts, 1], threads: 256, shared: 2048 };
        let args = Args::new().pointer(a).size(rows).size(columns).size(part).pointer(held.pointer());
        // SAFETY: the caller's promise; `held` has a row for each part.
        unsafe { self.device.launch(&Kernel::of(&SUMS, "column_sums", self.dtype), grid, args) }?;
        let mut column = 0;
        for sums in sums.chunks(MOST) {
            let sizes = three_sizes(sums.iter().map(|(size, _)| *size));
            let to = three(sums.iter().map(|(_, start)| start.unwrap_or(0)));
            let from = held.pointer() + (column * size_of::<f32>()) as u64;
            // SAFETY: as above; the columns are those of the parts from `column` on.
            unsafe { self.add_parts(from, columns, parts, to, sizes) }?;
            column += sizes.iter().sum::<usize>();
        }
        Ok(())
    }

    /// Adds `count` parts, `stride` sums apart, to up to three arrays of `sizes` sums.
    ///
    /// # Safety
    /// The addresses are of as many sums, or 0 for arrays that are not wanted.
    unsafe fn add_parts(&self, parts: u64, stride: usize, count: usize, to: [u64; 3], sizes: [usize; 3]) -> Result<()> {
        let args = Args::new().pointer(parts).u64(stride as u64).size(count);
        let args = to.iter().fold(args, |args, &to| args.pointer(to));
        let args = sizes.iter().fold(args, |args, &size| args.u64(size as u64));
        let grid = Grid::covering(sizes.iter().sum(), 256);
        // SAFETY: the caller's promise.
        unsafe { self.device.launch(&Kernel::new(&SUMS, "add_parts"), grid, args) }
    }

    /// Parts of the rows of a matrix, each `(start, columns)`, in order, as tensor cores read them: rows and parts start at
    /// multiples of 16 bytes, and `along` the depth the numbers of columns are multiples of 8, or zeros follow. A copy
    /// where they do not.
    ///
    /// # Safety
    /// `matrix` has `rows` rows with these columns.
    unsafe fn aligned(&self, matrix: Matrix, rows: usize, parts: &[(usize, usize)], along: bool) -> Result<Aligned> {
        let whole = |size: usize| size.is_multiple_of(ALIGNMENT);
        let fits = self.dtype == DType::F32
            || matrix.start.is_multiple_of(16)
                && whole(matrix.stride)
                && parts.iter().all(|&(start, columns)| whole(start) && (!along || whole(columns)));
        if parts.windows(2).any(|pair| pair[0].0 > pair[1].0) {
            return Err(Error::internal("parts of a matrix that are not in order"));
        }
        let size = self.dtype.size();
        let at = |start: u64, column: usize| start + (column * size) as u64;
        if fits {
            let first = parts.first().map_or(0, |part| part.0);
            let starts = three_sizes(parts.iter().map(|part| part.0 - first));
            return Ok(Aligned { matrix: Matrix { start: at(matrix.start, first), ..matrix }, starts, _copy: None });
        }
        let stride = parts.iter().map(|part| part.1.next_multiple_of(ALIGNMENT)).sum();
        let copy: CudaBuffer<f16> = self.device.alloc(rows * stride)?; // or bf16: as many bits
        let (mut starts, mut column) = (Vec::new(), 0);
        for &(start, columns) in parts {
            let (from, to) = ((at(matrix.start, start), matrix.stride), (at(copy.pointer(), column), stride));
            // SAFETY: the caller's promise; the copy has room for each part, up to a multiple of 8 columns.
            unsafe { self.device.lengthen(from, (rows, columns), to) }?;
            starts.push(column);
            column += columns.next_multiple_of(ALIGNMENT);
        }
        let matrix = Matrix { start: copy.pointer(), stride };
        Ok(Aligned { matrix, starts: three_sizes(starts.into_iter()), _copy: Some(copy) })
    }
}

/// A matrix as tensor cores read it, and where its parts start.
struct Aligned {
    /// From the first part on.
    matrix: Matrix,
    /// Columns from the start of the first part to those of all.
    starts: [usize; MOST],
    /// Freed after the launch: memory is used again in the order of the stream.
    _copy: Option<CudaBuffer<f16>>,
}

fn three(values: impl Iterator<Item = u64>) -> [u64; MOST] {
    let mut three = [0; MOST];
    three.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    three
}

fn three_sizes(values: impl Iterator<Item = usize>) -> [usize; MOST] {
    let mut three = [0; MOST];
    three.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    three
}

fn block(tile: &Tile) -> Grid {
    Grid { blocks: [0; 3], threads: tile.threads, shared: tile.shared }
}

/// Kernels count in 31 bits, and somewhat beyond the ends of matrices.
fn check(sizes: &[usize]) -> Result<()> {
    match sizes.iter().find(|&&size| size > i32::MAX as usize - 8 * STEP) {
        Some(size) => Err(Error::input(format!("a matrix with {size} rows or columns on a GPU"))),
        None => Ok(()),
    }
}
