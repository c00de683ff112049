//! Products of whole matrices on the CPU: cut into work items, walked a panel at a time.
//!
//!   C[m, n] = start + Σₖ A[m, k] · B[k, n]
//!
//! Either factor may be stored the other way round: A is then transposed a block at a time, B is packed along the other
//! axis. Depth is cut at multiples of [`DEPTH`], so the order of every sum depends on the depth alone.

use std::ops::Range;

use super::activation::Activation;
use super::gemm::{self, Ahead, DEPTH, MAX_WIDTH, Rows, Source, Start};
use super::shared::SharedRows;
use crate::device::{Cpu, Device};
use crate::error::{Error, Result};
use crate::simd::{Kernel, MAX_LANES, Simd};

/// M[i, j] = `values[i · stride + j]`. As A it is read in place.
#[derive(Clone, Copy)]
pub struct Stored<'a, E = f32> {
    /// From M[0, 0] on.
    pub values: &'a [E],
    /// Elements between rows.
    pub stride: usize,
}

/// M[i, j] = `values[j · stride + i]`: the transpose of what is stored.
#[derive(Clone, Copy)]
pub struct Transposed<'a, E = f32>(pub Stored<'a, E>);

/// What can stand as A.
pub trait Left: Copy + Sync {
    /// Fewest and most panels of one work item.
    const PANELS: (usize, usize);
    /// Room that a block needs to be prepared in.
    fn room(rows: usize, depth: usize) -> usize;
    /// The block A[rows, depth], row-major.
    fn block<'b, S: Simd>(
        &'b self,
        s: S,
        rows: Range<usize>,
        depth: Range<usize>,
        room: &'b mut [f32],
    ) -> Stored<'b, f32>;
}

/// What can stand as B.
pub trait Right: Copy + Sync {
    /// Writes the panel B[depth, columns], zero beyond the last column; see [`gemm::pack_rows`].
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]);
    /// The memory that [`Right::pack`] will read, or the first part of it.
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead;
}

impl Left for Stored<'_> {
    // While so many panels are multiplied, the rows of A stay in the second-level cache.
    const PANELS: (usize, usize) = (1, 12);

    fn room(_: usize, _: usize) -> usize {
        0
    }

    #[inline(always)]
    fn block<'b, S: Simd>(&'b self, _: S, rows: Range<usize>, depth: Range<usize>, _: &'b mut [f32]) -> Stored<'b> {
        let last = (rows.end - 1) * self.stride + depth.end;
        Stored { values: &self.values[rows.start * self.stride + depth.start..last], stride: self.stride }
    }
}

impl Left for Transposed<'_> {
    // A block is transposed once per work item: many panels pay for it.
    const PANELS: (usize, usize) = (4, 48);

    fn room(rows: usize, depth: usize) -> usize {
        rows * apart(depth)
    }

    #[inline(always)]
    fn block<'b, S: Simd>(&'b self, s: S, rows: Range<usize>, depth: Range<usize>, room: &'b mut [f32]) -> Stored<'b> {
        let (source, stride) = (&self.0.values[depth.start * self.0.stride + rows.start..], apart(depth.len()));
        transpose(s, source, self.0.stride, (rows.len(), depth.len()), room, stride);
        Stored { values: room, stride }
    }
}

/// Elements between rows of a transposed block. One vector more than they need: strides of a power of two would send
/// every row to the same few sets of a cache.
fn apart(depth: usize) -> usize {
    depth.next_multiple_of(MAX_LANES) + MAX_LANES
}

/// `target[m, k] = source[k, m]` for `rows` m and `depth` k.
#[inline(always)]
fn transpose<S: Simd>(
    s: S,
    source: &[f32],
    source_stride: usize,
    (rows, depth): (usize, usize),
    target: &mut [f32],
    stride: usize,
) {
    assert!(rows >= 1 && depth >= 1);
    assert!((depth - 1) * source_stride + rows <= source.len() && (rows - 1) * stride + depth <= target.len());
    let (source, target) = (source.as_ptr(), target.as_mut_ptr());
    let whole = |count: usize| count - count % S::LANES;
    for k in (0..whole(depth)).step_by(S::LANES) {
        for m in (0..whole(rows)).step_by(S::LANES) {
            // SAFETY: k + LANES ≤ depth and m + LANES ≤ rows: within both slices by the assertion above.
            unsafe {
                let block = source.add(k * source_stride + m);
                s.transpose_ptr(
                    S::LANES,
                    |i| s.load_ptr(block.add(i * source_stride)),
                    target.add(m * stride + k),
                    stride,
                );
            }
        }
    }
    for m in 0..rows {
        let first = if m < whole(rows) { whole(depth) } else { 0 };
        for k in first..depth {
            // SAFETY: k < depth and m < rows: within both slices by the assertion above.
            unsafe { target.add(m * stride + k).write(*source.add(k * source_stride + m)) };
        }
    }
}

impl<E: Source> Right for Stored<'_, E> {
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let b = &self.values[depth.start * self.stride + columns.start..];
        gemm::pack_columns(s, b, self.stride, columns.len(), depth.len(), panel);
    }

    #[inline(always)]
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead {
        let b = &self.values[depth.start * self.stride + columns.start..];
        Ahead::of(b, self.stride, depth.len(), columns.len())
    }
}

impl<E: Source> Right for Transposed<'_, E> {
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let b = &self.0.values[columns.start * self.0.stride + depth.start..];
        gemm::pack_rows(s, b, self.0.stride, columns.len(), depth.len(), panel);
    }

    #[inline(always)]
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead {
        let b = &self.0.values[columns.start * self.0.stride + depth.start..];
        Ahead::of(b, self.0.stride, columns.len(), depth.len())
    }
}

/// f(start + A · B), and where it goes.
pub struct Product<'a, L, R> {
    /// A `[rows, depth]`
    pub left: L,
    /// B `[depth, columns]`
    pub right: R,
    /// M
    pub rows: usize,
    /// K
    pub depth: usize,
    /// N
    pub columns: usize,
    /// What the sums are added to. A bias has one value for each of `columns`.
    pub start: Start<'a>,
    /// f
    pub activation: Activation,
    /// C, its first `rows` rows.
    pub c: &'a SharedRows<'a>,
    /// Column of C that the first of `columns` goes to.
    pub column: usize,
}

/// Computes all of `products` on the worker threads.
///
/// # Safety
/// No two products write to the same values, and nothing else reaches them meanwhile.
pub unsafe fn run<L: Left, R: Right>(cpu: &Cpu, products: &[Product<'_, L, R>]) -> Result<()> {
    for product in products {
        let (rows, stride) = (product.c.rows(), product.c.stride());
        if product.rows > rows || product.column + product.columns > stride || product.depth == 0 {
            return Err(Error::internal(format!(
                "product {} x {} of depth {} at column {} of a matrix of {rows} x {stride}",
                product.rows, product.columns, product.depth, product.column
            )));
        }
    }
    let items = items(products, cpu.isa().dispatch(gemm::Width), cpu.threads());
    cpu.try_for_each(items.len(), |item| {
        let item = &items[item];
        let product = &products[item.product];
        let (rows, depth) = (item.rows.len(), DEPTH.min(product.depth));
        let mut scratch = cpu.alloc((depth + rows) * MAX_WIDTH + L::room(rows, depth))?;
        cpu.isa().dispatch(Block { product, item, scratch: scratch.as_mut_slice()? });
        Ok(())
    })
}

/// Rows of A in one work item at most: with [`DEPTH`] columns they about fill a second-level cache, and packing a panel
/// of B costs little beside multiplying it by so many rows.
const ROWS: usize = 192;

/// Some rows and neighbouring columns of one product.
struct Item {
    product: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Cuts the work at multiples of [`ROWS`] or fewer rows and of `width` columns. Items of the same rows follow each other,
/// so that a thread finds them in its cache; items shrink towards the end, so that no thread waits long for another.
fn items<L: Left, R>(products: &[Product<'_, L, R>], width: usize, threads: usize) -> Vec<Item> {
    let cut = |rows: usize| rows.div_ceil(rows.div_ceil(ROWS).max(1)).max(1);
    let panels = |p: &Product<'_, L, R>| p.columns.div_ceil(width) * p.rows.div_ceil(cut(p.rows));
    let (mut items, mut left) = (Vec::new(), products.iter().map(panels).sum::<usize>());
    let (fewest, most) = L::PANELS;
    let blocks = products.iter().map(|p| p.rows.div_ceil(cut(p.rows))).max().unwrap_or(0);
    for block in 0..blocks {
        for (index, product) in products.iter().enumerate() {
            let cut = cut(product.rows);
            let rows = (block * cut).min(product.rows)..((block + 1) * cut).min(product.rows);
            let mut first = if rows.is_empty() { product.columns } else { 0 };
            while first < product.columns {
                let share = (left / (2 * threads)).clamp(fewest, most);
                let end = product.columns.min(first + share * width);
                items.push(Item { product: index, rows: rows.clone(), columns: first..end });
                left -= (end - first).div_ceil(width);
                first = end;
            }
        }
    }
    items
}

impl<L, R: Right> Product<'_, L, R> {
    /// What is packed after the panel of `part` and `panel`: the next one of this part of the depth, or the first of the
    /// next part.
    #[inline(always)]
    fn next(&self, columns: &Range<usize>, part: &Range<usize>, panel: &Range<usize>, width: usize) -> Ahead {
        if panel.end < columns.end {
            self.right.ahead(part.clone(), panel.end..columns.end.min(panel.end + width))
        } else if part.end < self.depth {
            let part = part.end..self.depth.min(part.end + DEPTH);
            self.right.ahead(part, columns.start..columns.end.min(columns.start + width))
        } else {
            Ahead::NONE
        }
    }
}

/// One work item.
struct Block<'a, L, R> {
    product: &'a Product<'a, L, R>,
    item: &'a Item,
    /// Room for a panel, for one more of the item's rows, and for what A needs.
    scratch: &'a mut [f32],
}

impl<L: Left, R: Right> Kernel for Block<'_, L, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (product, Item { rows, columns, .. }) = (self.product, self.item);
        let (width, depth) = (gemm::width::<S>(), product.depth);
        let (panel, rest) = self.scratch.split_at_mut(DEPTH.min(depth) * width);
        // Sums of a last panel that has fewer columns than vectors have are held aside: C has no room for them.
        let (aside, room) = rest.split_at_mut(rows.len() * width);
        let odd = columns.len() % width;
        let odd_column = product.column + columns.end - odd;
        if odd > 0 && matches!(product.start, Start::Held) {
            for (row, values) in rows.clone().zip(aside.chunks_exact_mut(width)) {
                // SAFETY: every work item has its own rows and columns of C.
                values[..odd].copy_from_slice(unsafe { product.c.row(row, odd_column, odd) });
            }
        }
        for from in (0..depth).step_by(DEPTH) {
            let part = from..depth.min(from + DEPTH);
            let a = product.left.block(s, rows.clone(), part.clone(), room);
            assert!((rows.len() - 1) * a.stride + part.len() <= a.values.len());
            let activation = if part.end == depth { product.activation } else { Activation::Identity };
            for first in columns.clone().step_by(width) {
                let some = first..columns.end.min(first + width);
                assert!(panel.len() >= part.len() * width);
                product.right.pack(s, part.clone(), some.clone(), panel);
                let mut padded = [0.0; MAX_WIDTH];
                let start = match product.start {
                    _ if from > 0 => Start::Held,
                    Start::Bias(bias) if some.len() == width => Start::Bias(&bias[some.clone()]),
                    Start::Bias(bias) => {
                        padded[..some.len()].copy_from_slice(&bias[some.clone()]);
                        Start::Bias(&padded)
                    }
                    start => start,
                };
                // SAFETY: every work item has its own rows and columns of C, `width` of them here, or of each row aside,
                // and `run` checked that C has them; A holds the rows by the assertion above; the panel has
                // the depth of this part by the one there.
                unsafe {
                    let (c, c_stride) = match some.len() == width {
                        true => (product.c.at(rows.start, product.column + first), product.c.stride()),
                        false => (aside.as_mut_ptr(), width),
                    };
                    let tile = Rows { count: rows.len(), a: a.values.as_ptr(), a_stride: a.stride, c, c_stride };
                    let ahead = product.next(columns, &part, &some, width);
                    gemm::multiply(s, tile, part.len(), panel.as_ptr(), start, activation, ahead);
                }
            }
        }
        if odd > 0 {
            for (row, values) in rows.clone().zip(aside.chunks_exact(width)) {
                // SAFETY: every work item has its own rows and columns of C.
                unsafe { product.c.row(row, odd_column, odd) }.copy_from_slice(&values[..odd]);
            }
        }
    }
}
