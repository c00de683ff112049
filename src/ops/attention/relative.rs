//! What relative positions add to scores, and the gradients that flow back through it.
//!
//!   score[l, r] += q_l · e  (+ k_r · e),  e = table[l − r + P − 1]
//!   dq_l += Σᵣ dscore[l, r] e,  dk_r += Σ_l dscore[l, r] e,  de += dscore[l, r] (q_l + k_r)
//!
//! Every head of every sequence adds to the table's gradient. Each sums into rows of its own, one for every distance
//! within its sequence, and these are added up in the order of sequences and heads.

use std::ops::Range;

use super::{Inputs, Relative, dot};
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::Accumulate;
use crate::ops::shared::SharedRows;
use crate::simd::Simd;

/// Adds to `scores[query, key]` of some rows of the queries and some token rows; rows of scores are `stride` apart.
#[inline(always)]
pub fn add_scores<S: Simd>(
    s: S,
    inputs: &Inputs<'_, Cpu>,
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
    scores: &mut [f32],
    stride: usize,
) {
    let Some(relative) = &inputs.relative else { return };
    let dim = inputs.dim();
    let (query, query_stride) = inputs.head(&inputs.query, head, queries.start);
    let (key, key_stride) = inputs.head(&inputs.key, head, keys.start);
    for (index, row) in queries.enumerate() {
        let q = &query[index * query_stride..][..dim];
        for (offset, score) in scores[index * stride..][..keys.len()].iter_mut().enumerate() {
            let e = relative.between(inputs.rows.rows()[row], keys.start + offset);
            *score += dot(s, q, e);
            if relative.with_keys {
                *score += dot(s, &key[offset * key_stride..][..dim], e);
            }
        }
    }
}

/// Gradients of scores: `slopes[query, key]` of some rows of the queries and some token rows, rows `stride` apart.
#[derive(Clone)]
pub struct Slopes<'a> {
    /// Rows of the queries.
    pub queries: Range<usize>,
    /// Token rows.
    pub keys: Range<usize>,
    /// The gradients.
    pub values: &'a [f32],
    /// Values between rows.
    pub stride: usize,
}

/// Adds to the rows of dk, one a key of `slopes`, `stride` apart.
#[inline(always)]
pub fn add_to_keys<S: Simd>(s: S, inputs: &Inputs<'_, Cpu>, slopes: &Slopes<'_>, dk: &mut [f32], stride: usize) {
    let Some(relative) = inputs.relative.as_ref().filter(|r| r.with_keys) else { return };
    for (index, row) in slopes.queries.clone().enumerate() {
        for (offset, key) in slopes.keys.clone().enumerate() {
            let e = relative.between(inputs.rows.rows()[row], key);
            add_scaled(s, slopes.values[index * slopes.stride + offset], e, &mut dk[offset * stride..][..e.len()]);
        }
    }
}

/// Adds to the rows of dq, one a query of `slopes`, `stride` apart.
#[inline(always)]
pub fn add_to_queries<S: Simd>(s: S, inputs: &Inputs<'_, Cpu>, slopes: &Slopes<'_>, dq: &mut [f32], stride: usize) {
    let Some(relative) = &inputs.relative else { return };
    for (index, row) in slopes.queries.clone().enumerate() {
        for (offset, key) in slopes.keys.clone().enumerate() {
            let e = relative.between(inputs.rows.rows()[row], key);
            add_scaled(s, slopes.values[index * slopes.stride + offset], e, &mut dq[index * stride..][..e.len()]);
        }
    }
}

impl<'a> Relative<'a, Cpu> {
    /// The table's row for a query and a key, both token rows of one sequence.
    #[inline(always)]
    fn between(&self, query: usize, key: usize) -> &'a [f32] {
        let dim = self.table.cols();
        &self.table.buffer().as_slice()[(query + self.table.rows() / 2 - key) * dim..][..dim]
    }
}

/// The table's gradient, apart for every sequence and head.
pub struct TableSums {
    sums: Tensor<Cpu>,
    /// First row of every sequence: its heads follow each other, 2n − 1 rows each.
    starts: Vec<usize>,
}

impl TableSums {
    /// All zero.
    pub fn new(cpu: &Cpu, inputs: &Inputs<'_, Cpu>) -> Result<Self> {
        let mut starts = vec![0];
        for pair in inputs.offsets.windows(2) {
            starts.push(starts[starts.len() - 1] + inputs.heads * distances(pair[1] - pair[0]));
        }
        Ok(Self { sums: Tensor::zeros(cpu, starts[starts.len() - 1], inputs.dim())?, starts })
    }

    /// The sums, to write from many threads.
    pub fn shared(&mut self) -> Result<SharedTableSums<'_>> {
        let dim = self.sums.cols();
        Ok(SharedTableSums { sums: SharedRows::new(self.sums.buffer_mut().as_mut_slice()?, dim), starts: &self.starts })
    }

    /// Adds everything to the table's gradient, distance by distance.
    pub fn add_up(&self, cpu: &Cpu, inputs: &Inputs<'_, Cpu>, gradient: Accumulate<'_, Cpu>) -> Result<()> {
        let Accumulate(gradient) = gradient;
        let (rows, dim) = gradient.shape();
        let gradient = SharedRows::new(&mut gradient.buffer_mut().as_mut_slice()?[..rows * dim], dim);
        let sums = self.sums.buffer().as_slice();
        cpu.for_each(rows, |row| {
            // SAFETY: every item has its own row.
            let gradient = unsafe { gradient.row(row, 0, dim) };
            for (pair, start) in inputs.offsets.windows(2).zip(&self.starts) {
                let length = pair[1] - pair[0];
                // Row P − 1 of the table is distance 0, as is row n − 1 of the sums.
                let Some(at) = (row + length).checked_sub(rows / 2 + 1).filter(|&at| at < distances(length)) else {
                    continue;
                };
                for head in 0..inputs.heads {
                    let sum = &sums[(start + head * distances(length) + at) * dim..][..dim];
                    for (gradient, sum) in gradient.iter_mut().zip(sum) {
                        *gradient += sum;
                    }
                }
            }
        })
    }
}

/// Distances between two places of a sequence.
fn distances(length: usize) -> usize {
    (2 * length).saturating_sub(1)
}

/// [`TableSums`] that many threads write at once.
pub struct SharedTableSums<'a> {
    sums: SharedRows<'a>,
    starts: &'a [usize],
}

impl SharedTableSums<'_> {
    /// Adds what one head of one sequence contributes.
    ///
    /// # Safety
    /// No other thread does so for the same sequence and head meanwhile.
    #[inline(always)]
    pub unsafe fn add<S: Simd>(
        &self,
        s: S,
        inputs: &Inputs<'_, Cpu>,
        sequence: usize,
        head: usize,
        slopes: &Slopes<'_>,
    ) {
        let Some(relative) = &inputs.relative else { return };
        let (dim, length) = (inputs.dim(), inputs.offsets[sequence + 1] - inputs.offsets[sequence]);
        let start = self.starts[sequence] + head * distances(length);
        let (query, query_stride) = inputs.head(&inputs.query, head, slopes.queries.start);
        let (key, key_stride) = inputs.head(&inputs.key, head, slopes.keys.start);
        for (index, row) in slopes.queries.clone().enumerate() {
            for offset in 0..slopes.keys.len() {
                let slope = slopes.values[index * slopes.stride + offset];
                let distance = inputs.rows.rows()[row] + length - 1 - (slopes.keys.start + offset);
                // SAFETY: these rows belong to this sequence and head, which are this thread's by the caller's promise.
                let sum = unsafe { self.sums.row(start + distance, 0, dim) };
                add_scaled(s, slope, &query[index * query_stride..][..dim], sum);
                if relative.with_keys {
                    add_scaled(s, slope, &key[offset * key_stride..][..dim], sum);
                }
            }
        }
    }
}

/// y += factor · x
#[inline(always)]
fn add_scaled<S: Simd>(s: S, factor: f32, x: &[f32], y: &mut [f32]) {
    let v = s.splat(factor);
    let xs = x.chunks_exact(S::LANES);
    let end = xs.remainder();
    let mut ys = y.chunks_exact_mut(S::LANES);
    for (y, x) in (&mut ys).zip(xs) {
        let sum = s.fma(s.load(x), v, s.load(y));
        s.store(y, sum);
    }
    for (y, x) in ys.into_remainder().iter_mut().zip(end) {
        *y += factor * x;
    }
}
