//! The two products of attention's forward, of queries with keys and of weights with values: in f32, or of factors that are
//! rounded to bf16 and summed in f32. Weights are at most 1; what is rounded is at most 2⁻⁹ of each factor.

use std::ops::Range;

use super::forward::{Block, KEYS};
use crate::ops::activation::Activation;
use crate::ops::dot::numbers::PairRows;
use crate::ops::dot::tile::{self, Band, Parts, Tile};
use crate::ops::dot::turn::{self, interleave_bf16};
use crate::ops::gemm::{self, Ahead, DEPTH, Rows, Start};
use crate::ops::product::Stored;
use crate::ops::scaled::Scaled;
use crate::simd::dot::Dot;
use crate::simd::{Kernel, MAX_LANES, Simd};

/// How the products of one work item are made.
pub trait Products<S: Simd> {
    /// Queries whose scores exist at a time.
    const QUERIES: usize;

    /// `columns` rounded up to whole panels.
    fn padded(&self, columns: usize) -> usize;

    /// Puts the keys and values of these token rows where the products read them.
    fn hold(&mut self, s: S, block: &Block<'_>, keys: Range<usize>);

    /// `scores[query − first, key] = q · k` for the queries `seeing` of the item, which are among the `QUERIES` from `first`
    /// on, and the keys held. Other queries of these may be scored too. Rows are `span` apart.
    fn score(&mut self, s: S, block: &Block<'_>, first: usize, seeing: Range<usize>, scores: &mut [f32], span: usize);

    /// `sums[row] += Σ weights[row, key] · v` over the values held, for every row of `sums`; rows are `span` and `padded`
    /// apart.
    fn weigh(&mut self, s: S, weights: &[f32], span: usize, sums: &mut [f32], padded: usize);
}

/// In f32.
pub struct Exact {
    width: usize,
    dim: usize,
    /// Number of keys held.
    held: usize,
    /// Panels of keys, `[D, width]` each.
    keys: Vec<f32>,
    /// Panels of values, `[keys, width]` each.
    values: Vec<f32>,
}

impl Exact {
    #[inline(always)]
    pub fn new<S: Simd>(block: &Block<'_>) -> Self {
        let (dim, width) = (block.inputs.dim(), gemm::width::<S>());
        let (keys, values) = (vec![0.0; KEYS * dim], vec![0.0; KEYS * dim.next_multiple_of(width)]);
        Self { width, dim, held: 0, keys, values }
    }
}

impl<S: Simd> Products<S> for Exact {
    const QUERIES: usize = 128;

    #[inline(always)]
    fn padded(&self, columns: usize) -> usize {
        columns.next_multiple_of(self.width)
    }

    #[inline(always)]
    fn hold(&mut self, s: S, block: &Block<'_>, keys: Range<usize>) {
        let (inputs, width, dim) = (block.inputs, self.width, self.dim);
        let (key, key_stride) = inputs.head(&inputs.key, block.head, keys.start);
        let (value, value_stride) = inputs.head(&inputs.value, block.head, keys.start);
        self.held = keys.len();
        for (column, panel) in (0..keys.len()).step_by(width).zip(self.keys.chunks_exact_mut(dim * width)) {
            let columns = width.min(keys.len() - column);
            gemm::pack_rows(s, &key[column * key_stride..], key_stride, columns, dim, panel);
        }
        for (column, panel) in (0..dim).step_by(width).zip(self.values.chunks_exact_mut(KEYS * width)) {
            let columns = width.min(dim - column);
            gemm::pack_columns(s, &value[column..], value_stride, columns, keys.len(), panel);
        }
    }

    #[inline(always)]
    fn score(&mut self, s: S, block: &Block<'_>, first: usize, seeing: Range<usize>, scores: &mut [f32], span: usize) {
        let (query, stride) = block.inputs.head(&block.inputs.query, block.head, block.first + seeing.start);
        let (dim, width) = (self.dim, self.width);
        assert!(seeing.end <= block.count && scores.len() >= (seeing.end - first) * span && span >= self.held);
        for (column, panel) in (0..self.held).step_by(width).zip(self.keys.chunks_exact(dim * width)) {
            for from in (0..dim).step_by(DEPTH) {
                let start = if from == 0 { Start::Zero } else { Start::Held };
                // SAFETY: `forward` checked that the query matrix has `count` rows from `first` on, and `seeing` lies below
                // `count`; scores has rows of `span`, a multiple of the panel's width, for all of `seeing`, by the assertion
                // above; `hold` filled the panel to `dim` rows.
                unsafe {
                    let rows = Rows {
                        count: seeing.len(),
                        a: query.as_ptr().add(from),
                        a_stride: stride,
                        c: scores.as_mut_ptr().add((seeing.start - first) * span + column),
                        c_stride: span,
                    };
                    let (depth, panel) = (DEPTH.min(dim - from), panel.as_ptr().add(from * width));
                    gemm::multiply(s, rows, depth, panel, start, Activation::Identity, Ahead::NONE);
                }
            }
        }
    }

    #[inline(always)]
    fn weigh(&mut self, s: S, weights: &[f32], span: usize, sums: &mut [f32], padded: usize) {
        let (count, width) = (sums.len() / padded, self.width);
        assert!(weights.len() >= count * span && span >= self.held && padded >= self.dim);
        for (column, panel) in (0..self.dim).step_by(width).zip(self.values.chunks_exact(KEYS * width)) {
            // SAFETY: weights has `count` rows of `span`, no less than the keys held; sums has as many of `padded`, a
            // multiple of the panel's width; `hold` filled the panel to as many rows as there are keys.
            unsafe {
                let rows = Rows {
                    count,
                    a: weights.as_ptr(),
                    a_stride: span,
                    c: sums.as_mut_ptr().add(column),
                    c_stride: padded,
                };
                gemm::multiply(s, rows, self.held, panel.as_ptr(), Start::Held, Activation::Identity, Ahead::NONE);
            }
        }
    }
}

/// Of bf16.
pub struct Rounded<D> {
    d: D,
    dim: usize,
    /// Number of keys held.
    held: usize,
    /// Bands of queries, [`Rounded::BAND`] apart for each place of the depth.
    queries: Vec<u32>,
    /// Panels of keys, `[⌈D / 2⌉, width]` each.
    keys: Vec<u32>,
    /// Panels of values, `[⌈keys / 2⌉, width]` each.
    values: Vec<u32>,
    /// A band of weights.
    weights: Vec<u32>,
}

/// What bf16 has no use for: scales and sums of rows and columns.
const ONES: [f32; gemm::MAX_WIDTH] = [1.0; gemm::MAX_WIDTH];
const ZEROS: [f32; gemm::MAX_WIDTH] = [0.0; gemm::MAX_WIDTH];
const NO_SUMS: [i32; gemm::MAX_WIDTH] = [0; gemm::MAX_WIDTH];

impl<D: Dot> Rounded<D> {
    /// Values of a place of the highest band.
    const BAND: usize = turn::stride(D::TILE_ROWS);
    /// Bands of the queries whose scores exist at a time: two, whose scores stay in the nearest cache.
    const BANDS: usize = 2;

    #[inline(always)]
    pub fn new(d: D, block: &Block<'_>) -> Self {
        let (dim, width) = (block.inputs.dim(), tile::width::<D>());
        let pairs = dim.div_ceil(2);
        let blocks = block.count.div_ceil(Self::BANDS * D::TILE_ROWS);
        let mut own = Self {
            d,
            dim,
            held: 0,
            queries: vec![0; blocks * Self::BANDS * Self::BAND * pairs],
            keys: vec![0; KEYS * pairs],
            values: vec![0; KEYS / 2 * dim.next_multiple_of(width) + MAX_LANES],
            weights: vec![0; KEYS / 2 * Self::BAND],
        };
        let (query, stride) = block.inputs.head(&block.inputs.query, block.head, block.first);
        for first in (0..block.count).step_by(Self::BANDS * D::TILE_ROWS) {
            for (index, rows) in Self::bands(block, first).enumerate() {
                let values = Stored { values: &query[(first + rows.start) * stride..], stride };
                let target = &mut own.queries[Self::place(first, index) * pairs..];
                interleave_bf16(d, values, (rows.len(), dim), target, turn::stride(rows.len()));
            }
        }
        own
    }

    /// Rows of each band of the queries from `first` on, counted from there.
    #[inline(always)]
    fn bands(block: &Block<'_>, first: usize) -> impl Iterator<Item = Range<usize>> {
        let count = (Self::BANDS * D::TILE_ROWS).min(block.count - first);
        Parts::new(count, count.div_ceil(D::TILE_ROWS)).all()
    }

    /// Where the bands of the queries from `first` on begin, and that of `index`, in places of the depth.
    #[inline(always)]
    fn place(first: usize, index: usize) -> usize {
        (first / D::TILE_ROWS + index) * Self::BAND
    }
}

impl<D: Dot> Products<D::Simd> for Rounded<D> {
    const QUERIES: usize = Self::BANDS * D::TILE_ROWS;

    #[inline(always)]
    fn padded(&self, columns: usize) -> usize {
        columns.next_multiple_of(tile::width::<D>())
    }

    #[inline(always)]
    fn hold(&mut self, s: D::Simd, block: &Block<'_>, keys: Range<usize>) {
        let (inputs, width, dim) = (block.inputs, tile::width::<D>(), self.dim);
        let (key, key_stride) = inputs.head(&inputs.key, block.head, keys.start);
        let (value, value_stride) = inputs.head(&inputs.value, block.head, keys.start);
        self.held = keys.len();
        let lanes = <D::Simd as Simd>::LANES;
        for column in (0..keys.len()).step_by(lanes) {
            let values = Stored { values: &key[column * key_stride..], stride: key_stride };
            let panel = &mut self.keys[column / width * width * dim.div_ceil(2) + column % width..];
            let count = lanes.min(keys.len() - column);
            interleave_bf16(self.d, values, (count, dim), panel, width);
        }
        for column in (0..dim).step_by(width) {
            let groups = &mut self.values[column * (KEYS / 2)..];
            let stored = Stored { values: &value[column..], stride: value_stride };
            PairRows { rows: Scaled::plain(stored), depth: keys.len(), groups, width }.run(s);
        }
    }

    #[inline(always)]
    fn score(
        &mut self,
        _: D::Simd,
        block: &Block<'_>,
        first: usize,
        seeing: Range<usize>,
        scores: &mut [f32],
        span: usize,
    ) {
        let (width, pairs) = (tile::width::<D>(), self.dim.div_ceil(2));
        let count = Self::QUERIES.min(block.count - first);
        assert!(scores.len() >= count * span && span >= self.held.next_multiple_of(width));
        for (index, rows) in Self::bands(block, first).enumerate() {
            if first + rows.end <= seeing.start {
                continue;
            }
            let groups = &self.queries[Self::place(first, index) * pairs..][..turn::stride(rows.len()) * pairs];
            for column in (0..self.held).step_by(width) {
                let panel = &self.keys[column * pairs..][..width * pairs];
                // SAFETY: scores has a panel's columns in each of `count` rows by the assertion above.
                unsafe {
                    let c = scores.as_mut_ptr().add(rows.start * span + column);
                    multiply(self.d, rows.clone(), groups, panel, Start::Zero, c, span);
                }
            }
        }
    }

    #[inline(always)]
    fn weigh(&mut self, _: D::Simd, weights: &[f32], span: usize, sums: &mut [f32], padded: usize) {
        let (width, pairs, count) = (tile::width::<D>(), self.held.div_ceil(2), sums.len() / padded);
        assert!(sums.len() == count * padded && padded >= self.dim.next_multiple_of(width));
        for rows in Parts::new(count, count.div_ceil(D::TILE_ROWS)).all() {
            let values = Stored { values: &weights[rows.start * span..], stride: span };
            let stride = turn::stride(rows.len());
            interleave_bf16(self.d, values, (rows.len(), self.held), &mut self.weights, stride);
            for column in (0..self.dim).step_by(width) {
                let panel = &self.values[column * (KEYS / 2)..][..pairs * width];
                let groups = &self.weights[..pairs * stride];
                // SAFETY: sums has a panel's columns in each of `count` rows by the assertion above.
                unsafe {
                    let c = sums.as_mut_ptr().add(rows.start * padded + column);
                    multiply(self.d, rows.clone(), groups, panel, Start::Held, c, padded);
                }
            }
        }
    }
}

/// A tile of bf16.
///
/// # Safety
/// As for [`Tile::multiply`].
#[inline(always)]
unsafe fn multiply<D: Dot>(
    d: D,
    rows: Range<usize>,
    groups: &[u32],
    panel: &[u32],
    start: Start<'_>,
    c: *mut f32,
    c_stride: usize,
) {
    let (count, width) = (rows.len(), tile::width::<D>());
    let band = Band { rows, groups, scales: &ONES[..count], zeros: &ZEROS[..count] };
    let (scales, sums) = (&ONES[..width], &NO_SUMS[..width]);
    // SAFETY: the caller's promise.
    unsafe { Tile { band, panel, scales, sums, start, c, c_stride, stream: None }.multiply(d) }
}
