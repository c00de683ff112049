//! The softmax is taken block by block of keys with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al.
//! 2022), so memory holds one block of scores and never all of them. Blocks are cut from the start of each sequence: a
//! sequence's result does not depend on its company. Causal attention skips the queries that see nothing of a block; in
//! the block that holds a query's own position, later keys have weight 0.

use std::ops::Range;

use super::{Inputs, relative};
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::gemm::{self, Ahead, DEPTH, Rows, Start};
use crate::ops::shared::SharedRows;
use crate::simd::{Kernel, Simd, math};

/// Queries that one work item answers; bounds its memory and lets one long sequence feed many threads.
const QUERIES: usize = 128;
/// Keys whose scores exist at a time.
const KEYS: usize = 128;

/// Writes all of `y`, and of `log_sum_exp` where it is given.
pub fn run(
    cpu: &Cpu,
    inputs: &Inputs<'_, Cpu>,
    y: &mut Tensor<Cpu>,
    log_sum_exp: Option<&mut Tensor<Cpu>>,
) -> Result<()> {
    let (asked, hidden) = y.shape();
    if asked == 0 || hidden == 0 {
        return Ok(());
    }
    let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..asked * hidden], hidden);
    let log_sum_exp = match log_sum_exp {
        Some(kept) => {
            Some(SharedRows::new(&mut kept.buffer_mut().as_mut_slice()?[..asked * inputs.heads], inputs.heads))
        }
        None => None,
    };
    let groups = inputs.rows.offsets();
    let items: Vec<(usize, usize, usize)> = (0..groups.len() - 1)
        .flat_map(|sequence| (0..inputs.heads).map(move |head| (sequence, head)))
        .flat_map(|(sequence, head)| {
            (groups[sequence]..groups[sequence + 1]).step_by(QUERIES).map(move |first| (sequence, head, first))
        })
        .collect();
    cpu.for_each(items.len(), |item| {
        let (sequence, head, first) = items[item];
        let count = QUERIES.min(groups[sequence + 1] - first);
        cpu.isa().dispatch(Block { inputs, y: &y, log_sum_exp: log_sum_exp.as_ref(), sequence, head, first, count });
    })
}

/// Some queries of one head in one sequence.
struct Block<'a> {
    inputs: &'a Inputs<'a, Cpu>,
    y: &'a SharedRows<'a>,
    log_sum_exp: Option<&'a SharedRows<'a>>,
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
        let dim = self.inputs.dim();
        let all = self.inputs.offsets[self.sequence]..self.inputs.offsets[self.sequence + 1];
        let keys = all.start..self.inputs.end_of_keys(self.first + self.count - 1, &all);
        let span = KEYS.min(keys.len()).next_multiple_of(gemm::width::<S>());
        let padded = dim.next_multiple_of(gemm::width::<S>());
        let mut scores = vec![0.0; self.count * span];
        let mut sums = vec![0.0; self.count * padded];
        let mut factors = vec![0.0; if self.inputs.drops() { self.count * span } else { 0 }];
        let mut running = [Running::NONE; QUERIES];
        for from in keys.clone().step_by(KEYS) {
            let block = from..keys.end.min(from + KEYS);
            let seeing = self.inputs.blind(self.first..self.first + self.count, from)..self.count;
            let held = seeing.start * span;
            self.score(s, seeing.clone(), block.clone(), &mut scores, span);
            relative::add_scores(
                s,
                self.inputs,
                self.head,
                self.first + seeing.start..self.first + self.count,
                block.clone(),
                &mut scores[held..],
                span,
            );
            let scale = 1.0 / (dim as f32).sqrt();
            for query in seeing.clone() {
                let row = &mut scores[query * span..][..block.len()];
                let seen = self.inputs.end_of_keys(self.first + query, &block) - from;
                let (row, masked) = row.split_at_mut(seen);
                masked.fill(0.0);
                let shrink = running[query].absorb(s, row, scale);
                if from > keys.start {
                    scale_row(s, &mut sums[query * padded..][..padded], shrink);
                }
            }
            if !factors.is_empty() {
                let places = block.start - keys.start..block.end - keys.start;
                let (first, count) = (self.first + seeing.start, seeing.len());
                self.inputs.draw(self.head, first, count, places, &mut factors[held..], span);
                multiply(s, &mut scores[held..], &factors[held..]);
            }
            self.weigh(s, seeing, block, &scores, span, &mut sums, padded);
        }
        for query in 0..self.count {
            let sums = &mut sums[query * padded..][..padded];
            scale_row(s, sums, 1.0 / running[query].total);
            // SAFETY: every item has its own rows and head.
            unsafe { self.y.row(self.first + query, self.head * dim, dim) }.copy_from_slice(&sums[..dim]);
            if let Some(kept) = self.log_sum_exp {
                let Running { largest, total } = running[query];
                // SAFETY: as above.
                let kept = unsafe { kept.row(self.first + query, self.head, 1) };
                kept[0] = largest + total.ln();
            }
        }
    }
}

impl Block<'_> {
    /// `scores[query, key] = q · k` for some of the queries and a block of keys.
    #[inline(always)]
    fn score<S: Simd>(&self, s: S, queries: Range<usize>, keys: Range<usize>, scores: &mut [f32], span: usize) {
        let (query, query_stride) = self.inputs.head(&self.inputs.query, self.head, self.first + queries.start);
        let (key, key_stride) = self.inputs.head(&self.inputs.key, self.head, keys.start);
        let (dim, width) = (self.inputs.dim(), gemm::width::<S>());
        let mut panel = vec![0.0; DEPTH.min(dim) * width];
        for column in (0..keys.len()).step_by(width) {
            let columns = width.min(keys.len() - column);
            for from in (0..dim).step_by(DEPTH) {
                let depth = DEPTH.min(dim - from);
                gemm::pack_rows(s, &key[column * key_stride + from..], key_stride, columns, depth, &mut panel);
                let start = if from == 0 { Start::Zero } else { Start::Held };
                // SAFETY: `forward` checked that the query matrix has `count` rows from `first` on, and `queries` lie
                // below `count`; scores has `count` rows of `span`, a multiple of the panel's width; the panel was just
                // packed to `depth` rows.
                unsafe {
                    let rows = Rows {
                        count: queries.len(),
                        a: query.as_ptr().add(from),
                        a_stride: query_stride,
                        c: scores.as_mut_ptr().add(queries.start * span + column),
                        c_stride: span,
                    };
                    gemm::multiply(s, rows, depth, panel.as_ptr(), start, Activation::Identity, Ahead::NONE);
                }
            }
        }
    }

    /// `sums[query] += Σ weight[query, key] · v` for some of the queries and a block of keys.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // two ranges, and two matrices with the distance between their rows
    fn weigh<S: Simd>(
        &self,
        s: S,
        queries: Range<usize>,
        keys: Range<usize>,
        weights: &[f32],
        span: usize,
        sums: &mut [f32],
        padded: usize,
    ) {
        let (value, stride) = self.inputs.head(&self.inputs.value, self.head, keys.start);
        let (dim, width) = (self.inputs.dim(), gemm::width::<S>());
        let mut panel = vec![0.0; keys.len() * width];
        for column in (0..dim).step_by(width) {
            let columns = width.min(dim - column);
            gemm::pack_columns(s, &value[column..], stride, columns, keys.len(), &mut panel);
            // SAFETY: weights has `count` rows of `span` ≥ keys.len(), and `queries` lie below `count`; sums has `count`
            // rows of `padded`, a multiple of the panel's width; the panel was just packed to `keys.len()` rows.
            unsafe {
                let rows = Rows {
                    count: queries.len(),
                    a: weights.as_ptr().add(queries.start * span),
                    a_stride: span,
                    c: sums.as_mut_ptr().add(queries.start * padded + column),
                    c_stride: padded,
                };
                gemm::multiply(s, rows, keys.len(), panel.as_ptr(), Start::Held, Activation::Identity, Ahead::NONE);
            }
        }
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

/// `values · factors`, both a whole number of vectors.
#[inline(always)]
fn multiply<S: Simd>(s: S, values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.chunks_exact_mut(S::LANES).zip(factors.chunks_exact(S::LANES)) {
        let product = s.mul(s.load(value), s.load(factor));
        s.store(value, product);
    }
}
