//! Scaled dot-product attention within every sequence of a ragged batch, for rows that are asked for.
//!
//!   P[l, r] = softmaxᵣ((q_l · k_r + relative[l, r]) / √D)        y_l = Σᵣ P[l, r] v_r
//!
//! The softmax is taken block by block of keys with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al.
//! 2022), so memory holds one block of scores and never all of them. Blocks are cut from the start of each sequence: a
//! sequence's result does not depend on its company.
//!
//! Relative positions (Shaw et al. 2018; Huang et al. 2020) as HuggingFace BERT has them: with e = table[l − r + P − 1],
//! `relative_key` adds q_l · e, `relative_key_query` adds q_l · e + k_r · e.

use super::activation::Activation;
use super::gemm::{self, Ahead, DEPTH, Rows, Start};
use super::shared::SharedRows;
use crate::batch::Selection;
use crate::device::{Cpu, Device, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd, math};

/// H columns of a matrix, from `first` on.
pub struct Columns<'a, D: Device> {
    /// The matrix.
    pub tensor: &'a Tensor<D>,
    /// First of the H columns.
    pub first: usize,
}

/// Relative positions inside attention.
pub struct Relative<'a, D: Device> {
    /// `[2P − 1, D]`
    pub table: &'a Tensor<D>,
    /// Whether keys meet the table too (`relative_key_query`).
    pub with_keys: bool,
}

/// What attention reads. T token rows, R ≤ T asked for.
pub struct Inputs<'a, D: Device> {
    /// `[R, H]`: queries of the rows in `rows`.
    pub query: Columns<'a, D>,
    /// `[T, H]`
    pub key: Columns<'a, D>,
    /// `[T, H]`
    pub value: Columns<'a, D>,
    /// Heads, A.
    pub heads: usize,
    /// Columns of all heads together, H = A·D.
    pub hidden: usize,
    /// First row of every sequence, then T: `[S + 1]`.
    pub offsets: &'a [usize],
    /// Which rows the queries belong to.
    pub rows: &'a Selection,
    /// Relative positions, where the model has them.
    pub relative: Option<Relative<'a, D>>,
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn attention_forward(&self, inputs: &Inputs<'_, Self>, y: &mut Tensor<Self>) -> Result<()>;
}

/// y `[R, H]` = attention of the rows asked for over their sequences. `y` takes that shape.
pub fn forward<D: Op>(device: &D, inputs: &Inputs<'_, D>, y: &mut Tensor<D>) -> Result<()> {
    let (tokens, asked) = (inputs.offsets.last().copied().unwrap_or(0), inputs.rows.len());
    let fits = |c: &Columns<'_, D>, rows| c.tensor.rows() == rows && c.first + inputs.hidden <= c.tensor.cols();
    let longest = inputs.offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    let table_fits = inputs
        .relative
        .as_ref()
        .is_none_or(|r| r.table.cols() * inputs.heads == inputs.hidden && longest <= r.table.rows().div_ceil(2));
    if !(fits(&inputs.query, asked)
        && fits(&inputs.key, tokens)
        && fits(&inputs.value, tokens)
        && inputs.heads > 0
        && inputs.hidden.is_multiple_of(inputs.heads)
        && inputs.rows.offsets().len() == inputs.offsets.len()
        && table_fits)
    {
        return Err(Error::internal(format!(
            "attention: {tokens} tokens in sequences of up to {longest}, {asked} rows asked for, hidden {} in {} heads",
            inputs.hidden, inputs.heads
        )));
    }
    y.reshape(device, asked, inputs.hidden)?;
    device.attention_forward(inputs, y)
}

/// Queries that one work item answers; bounds its memory and lets one long sequence feed many threads.
const QUERIES: usize = 128;
/// Keys whose scores exist at a time.
const KEYS: usize = 128;

impl Op for Cpu {
    fn attention_forward(&self, inputs: &Inputs<'_, Cpu>, y: &mut Tensor<Cpu>) -> Result<()> {
        let (asked, hidden) = y.shape();
        if asked == 0 || hidden == 0 {
            return Ok(());
        }
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..asked * hidden], hidden);
        let groups = inputs.rows.offsets();
        let items: Vec<(usize, usize, usize)> = (0..groups.len() - 1)
            .flat_map(|sequence| (0..inputs.heads).map(move |head| (sequence, head)))
            .flat_map(|(sequence, head)| {
                (groups[sequence]..groups[sequence + 1]).step_by(QUERIES).map(move |first| (sequence, head, first))
            })
            .collect();
        self.for_each(items.len(), |item| {
            let (sequence, head, first) = items[item];
            let count = QUERIES.min(groups[sequence + 1] - first);
            self.isa().dispatch(Block { inputs, y: &y, sequence, head, first, count });
        })
    }
}

/// Some queries of one head in one sequence.
struct Block<'a> {
    inputs: &'a Inputs<'a, Cpu>,
    y: &'a SharedRows<'a>,
    sequence: usize,
    head: usize,
    /// First row of the queries, and their number.
    first: usize,
    count: usize,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let dim = self.inputs.hidden / self.inputs.heads;
        let keys = self.inputs.offsets[self.sequence]..self.inputs.offsets[self.sequence + 1];
        let span = KEYS.min(keys.len()).next_multiple_of(gemm::width::<S>());
        let padded = dim.next_multiple_of(gemm::width::<S>());
        let mut scores = vec![0.0; self.count * span];
        let mut sums = vec![0.0; self.count * padded];
        let mut running = [Running::NONE; QUERIES];
        for from in keys.clone().step_by(KEYS) {
            let block = from..keys.end.min(from + KEYS);
            self.score(s, block.clone(), &mut scores, span);
            self.add_relative(s, block.clone(), &mut scores, span);
            let scale = 1.0 / (dim as f32).sqrt();
            for query in 0..self.count {
                let row = &mut scores[query * span..][..block.len()];
                let shrink = running[query].absorb(s, row, scale);
                if from > keys.start {
                    scale_row(s, &mut sums[query * padded..][..padded], shrink);
                }
            }
            self.weigh(s, block, &scores, span, &mut sums, padded);
        }
        for query in 0..self.count {
            let sums = &mut sums[query * padded..][..padded];
            scale_row(s, sums, 1.0 / running[query].total);
            // SAFETY: every item has its own rows and head.
            unsafe { self.y.row(self.first + query, self.head * dim, dim) }.copy_from_slice(&sums[..dim]);
        }
    }
}

impl Block<'_> {
    /// `scores[query, key] = q · k` for a block of keys.
    #[inline(always)]
    fn score<S: Simd>(&self, s: S, keys: std::ops::Range<usize>, scores: &mut [f32], span: usize) {
        let (query, query_stride) = self.head_of(&self.inputs.query, self.first);
        let (key, key_stride) = self.head_of(&self.inputs.key, keys.start);
        let (dim, width) = (self.inputs.hidden / self.inputs.heads, gemm::width::<S>());
        let mut panel = vec![0.0; DEPTH.min(dim) * width];
        for column in (0..keys.len()).step_by(width) {
            let columns = width.min(keys.len() - column);
            for from in (0..dim).step_by(DEPTH) {
                let depth = DEPTH.min(dim - from);
                gemm::pack_rows(s, &key[column * key_stride + from..], key_stride, columns, depth, &mut panel);
                let start = if from == 0 { Start::Zero } else { Start::Held };
                // SAFETY: `forward` checked that the query matrix has `count` rows from `first` on; scores has `count`
                // rows of `span`, a multiple of the panel's width; the panel was just packed to `depth` rows.
                unsafe {
                    let rows = Rows {
                        count: self.count,
                        a: query.as_ptr().add(from),
                        a_stride: query_stride,
                        c: scores.as_mut_ptr().add(column),
                        c_stride: span,
                    };
                    gemm::multiply(s, rows, depth, panel.as_ptr(), start, Activation::Identity, Ahead::NONE);
                }
            }
        }
    }

    /// `sums[query] += Σ weight[query, key] · v` for a block of keys.
    #[inline(always)]
    fn weigh<S: Simd>(
        &self,
        s: S,
        keys: std::ops::Range<usize>,
        weights: &[f32],
        span: usize,
        sums: &mut [f32],
        padded: usize,
    ) {
        let (value, stride) = self.head_of(&self.inputs.value, keys.start);
        let (dim, width) = (self.inputs.hidden / self.inputs.heads, gemm::width::<S>());
        let mut panel = vec![0.0; keys.len() * width];
        for column in (0..dim).step_by(width) {
            let columns = width.min(dim - column);
            gemm::pack_columns(s, &value[column..], stride, columns, keys.len(), &mut panel);
            // SAFETY: weights has `count` rows of `span` ≥ keys.len(); sums has `count` rows of `padded`, a multiple of
            // the panel's width; the panel was just packed to `keys.len()` rows.
            unsafe {
                let rows = Rows {
                    count: self.count,
                    a: weights.as_ptr(),
                    a_stride: span,
                    c: sums.as_mut_ptr().add(column),
                    c_stride: padded,
                };
                gemm::multiply(s, rows, keys.len(), panel.as_ptr(), Start::Held, Activation::Identity, Ahead::NONE);
            }
        }
    }

    /// Adds what relative positions contribute to a block of scores.
    #[inline(always)]
    fn add_relative<S: Simd>(&self, s: S, keys: std::ops::Range<usize>, scores: &mut [f32], span: usize) {
        let Some(relative) = &self.inputs.relative else { return };
        let dim = self.inputs.hidden / self.inputs.heads;
        let table = relative.table.buffer().as_slice();
        let (query, query_stride) = self.head_of(&self.inputs.query, self.first);
        let (key, key_stride) = self.head_of(&self.inputs.key, keys.start);
        for index in 0..self.count {
            let q = &query[index * query_stride..][..dim];
            // The table's row for a key at the query's own place is P − 1; both rows count from the batch's start.
            let middle = self.inputs.rows.rows()[self.first + index] + relative.table.rows() / 2;
            for (offset, score) in scores[index * span..][..keys.len()].iter_mut().enumerate() {
                let e = &table[(middle - keys.start - offset) * dim..][..dim];
                *score += dot(s, q, e);
                if relative.with_keys {
                    *score += dot(s, &key[offset * key_stride..][..dim], e);
                }
            }
        }
    }

    /// This head's columns from `row` on, and the distance between rows.
    fn head_of<'a>(&self, columns: &Columns<'a, Cpu>, row: usize) -> (&'a [f32], usize) {
        let dim = self.inputs.hidden / self.inputs.heads;
        let stride = columns.tensor.cols();
        (&columns.tensor.buffer().as_slice()[row * stride + columns.first + self.head * dim..], stride)
    }
}

/// Largest score so far and Σ e^(score − largest) of one query.
#[derive(Clone, Copy)]
struct Running {
    largest: f32,
    total: f32,
}

impl Running {
    const NONE: Running = Running { largest: f32::NEG_INFINITY, total: 0.0 };

    /// Turns scores into e^(scale·score − largest) and returns what earlier weights have to be multiplied by.
    #[inline(always)]
    fn absorb<S: Simd>(&mut self, s: S, scores: &mut [f32], scale: f32) -> f32 {
        let factor = s.splat(scale);
        let whole = scores.len() - scores.len() % S::LANES;
        let (body, tail) = scores.split_at_mut(whole);
        let end = s.load_tail(tail, f32::NEG_INFINITY);
        let mut most = end;
        for x in body.chunks_exact(S::LANES) {
            most = s.max(most, s.load(x));
        }
        let largest = s.max_lane(most) * scale;
        let before = self.largest;
        self.largest = if largest > before { largest } else { before };
        let shift = s.splat(-self.largest);
        let mut total = s.zero();
        for chunk in body.chunks_exact_mut(S::LANES) {
            let weight = math::exp(s, s.fma(s.load(chunk), factor, shift));
            s.store(chunk, weight);
            total = s.add(total, weight);
        }
        let mut sum = s.sum(total);
        if !tail.is_empty() {
            s.store_tail(tail, math::exp(s, s.fma(end, factor, shift)));
            sum += tail.iter().sum::<f32>();
        }
        let shrink = if before == f32::NEG_INFINITY { 0.0 } else { (before - self.largest).exp() };
        self.total = self.total * shrink + sum;
        shrink
    }
}

#[inline(always)]
fn scale_row<S: Simd>(s: S, row: &mut [f32], factor: f32) {
    for chunk in row.chunks_exact_mut(S::LANES) {
        let scaled = s.mul(s.load(chunk), s.splat(factor));
        s.store(chunk, scaled);
    }
}

#[inline(always)]
fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, b_chunks) = (a.chunks_exact(S::LANES), b.chunks_exact(S::LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    let mut sum = s.zero();
    for (a, b) in a_chunks.zip(b_chunks) {
        sum = s.fma(s.load(a), s.load(b), sum);
    }
    s.sum(sum) + tail
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s as cut};

    use super::*;
    use crate::batch::Batch;
    use crate::ops::oracle::{self, numbers};

    struct Case<'a> {
        lengths: &'a [usize],
        asked: Option<Vec<Vec<usize>>>,
        heads: usize,
        dim: usize,
        relative: Option<bool>,
    }

    /// The definition, one sequence and head at a time, in f64.
    fn reference(case: &Case<'_>, qkv: &Array2<f64>, table: &Array2<f64>) -> Array2<f64> {
        let (hidden, dim) = (case.heads * case.dim, case.dim);
        let mut y = Array2::zeros((qkv.nrows(), hidden));
        let mut start = 0;
        for &length in case.lengths {
            let rows = start..start + length;
            for head in 0..case.heads {
                let part = |which: usize| {
                    let first = which * hidden + head * dim;
                    qkv.slice(cut![rows.clone(), first..first + dim]).to_owned()
                };
                let (q, k, v) = (part(0), part(1), part(2));
                let mut scores = q.dot(&k.t());
                if let Some(with_keys) = case.relative {
                    for l in 0..length {
                        for r in 0..length {
                            let e = table.row(l + table.nrows() / 2 - r);
                            scores[[l, r]] += q.row(l).dot(&e);
                            if with_keys {
                                scores[[l, r]] += k.row(r).dot(&e);
                            }
                        }
                    }
                }
                scores /= (dim as f64).sqrt();
                for mut row in scores.rows_mut() {
                    row.mapv_inplace(f64::exp);
                    let total = row.sum();
                    row /= total;
                }
                y.slice_mut(cut![rows.clone(), head * dim..(head + 1) * dim]).assign(&scores.dot(&v));
            }
            start += length;
        }
        y
    }

    fn agrees(cpu: &Cpu, case: &Case<'_>) {
        let (hidden, places) = (case.heads * case.dim, *case.lengths.iter().max().unwrap() + 2);
        let mut batch = Batch::new();
        case.lengths.iter().for_each(|&n| batch.push(&vec![0; n], &vec![0; n]).unwrap());
        let tokens = batch.tokens();
        let rows = match &case.asked {
            Some(positions) => Selection::positions(&batch, positions).unwrap(),
            None => Selection::all(&batch),
        };
        let values: Vec<f32> = numbers(tokens * 3 * hidden, 1).iter().map(|v| v * 3.0).collect();
        let table = numbers((2 * places - 1) * case.dim, 2);
        let matrix = |v: &[f32], c: usize| Array2::from_shape_vec((v.len() / c, c), oracle::wide(v)).unwrap();
        let expected = reference(case, &matrix(&values, 3 * hidden), &matrix(&table, case.dim));

        let qkv = Tensor::from_host(cpu, &values, tokens, 3 * hidden).unwrap();
        let mut query = Tensor::new(cpu, 0, 0).unwrap();
        crate::ops::gather::forward(cpu, &qkv, rows.rows(), &mut query).unwrap();
        let table = Tensor::from_host(cpu, &table, 2 * places - 1, case.dim).unwrap();
        let mut y = Tensor::from_host(cpu, &vec![f32::NAN; rows.len() * hidden], rows.len(), hidden).unwrap();
        let inputs = Inputs {
            query: Columns { tensor: &query, first: 0 },
            key: Columns { tensor: &qkv, first: hidden },
            value: Columns { tensor: &qkv, first: 2 * hidden },
            heads: case.heads,
            hidden,
            offsets: batch.offsets(),
            rows: &rows,
            relative: case.relative.map(|with_keys| Relative { table: &table, with_keys }),
        };
        forward(cpu, &inputs, &mut y).unwrap();
        let y = y.to_host(cpu).unwrap();
        for (index, &row) in rows.rows().iter().enumerate() {
            // Scores reach 9·√D and are good to 2⁻²⁴ of that, so are the weights' exponents; values are below 3.
            let tolerance = 2e-6 * (4.0 + (case.dim as f64).sqrt());
            oracle::close(&y[index * hidden..][..hidden], &expected.row(row).to_vec(), tolerance);
        }
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        for cpu in oracle::cpus() {
            for (heads, dim) in [(1, 1), (2, 5), (3, 8), (1, 17), (2, 64), (1, 300)] {
                for relative in [None, Some(false), Some(true)] {
                    agrees(&cpu, &Case { lengths: &[1, 7, 16, 33], asked: None, heads, dim, relative });
                }
            }
        }
    }

    #[test]
    fn long_sequences_cross_blocks_of_keys_and_queries() {
        for cpu in oracle::cpus() {
            for relative in [None, Some(true)] {
                agrees(&cpu, &Case { lengths: &[129, 3, 300], asked: None, heads: 2, dim: 12, relative });
            }
        }
    }

    #[test]
    fn only_the_rows_asked_for_are_answered() {
        for cpu in oracle::cpus() {
            let asked = Some(vec![vec![0, 4], vec![], vec![2], vec![0, 199]]);
            agrees(&cpu, &Case { lengths: &[5, 9, 3, 200], asked, heads: 2, dim: 16, relative: Some(true) });
        }
    }
}
