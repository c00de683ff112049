//! The softmax is taken block by block of keys with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al.
//! 2022), so memory holds one block of scores and never all of them. Blocks are cut from the start of each sequence: a
//! sequence's result does not depend on its company. Causal attention skips the queries that see nothing of a block; in
//! the block that holds a query's own position, later keys have weight 0.

use super::products::{Exact, Products, Rounded};
use super::{Inputs, relative};
use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::shared::SharedRows;
use crate::simd::dot::{Dot, DotKernel};
use crate::simd::{Kernel, Simd, math};

/// Keys whose scores exist at a time.
pub const KEYS: usize = 128;
/// Queries that one work item answers: at most, which bounds its memory, and where there are few items.
const MOST: usize = 1024;
/// See [`MOST`].
const FEW: usize = 128;

/// Writes all of `y`, and of `log_sum_exp` where it is given. Where the encoder's weights are rounded, so are the factors of
/// both products of an answer, to bf16, if the processor multiplies those; a gradient's scores are exact.
pub fn run(
    cpu: &Cpu,
    inputs: &Inputs<'_, Cpu>,
    y: &mut Tensor<Cpu>,
    log_sum_exp: Option<&mut Tensor<Cpu>>,
) -> Result<()> {
    let rounds = cpu.arithmetic() != Arithmetic::F32 && cpu.isa().multiplies_bf16();
    let rounds = rounds && log_sum_exp.is_none() && !inputs.drops();
    compute(cpu, inputs, y, log_sum_exp, rounds)
}

/// [`run`], with the factors of its products rounded to bf16 or not.
pub fn compute(
    cpu: &Cpu,
    inputs: &Inputs<'_, Cpu>,
    y: &mut Tensor<Cpu>,
    log_sum_exp: Option<&mut Tensor<Cpu>>,
    rounds: bool,
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
    // Keys and values are put in panels once an item: as many queries share them as leave every thread some items.
    let pairs = (groups.len() - 1) * inputs.heads;
    let most = if pairs >= 4 * cpu.threads() { MOST } else { FEW };
    let items: Vec<(usize, usize, usize)> = (0..groups.len() - 1)
        .flat_map(|sequence| (0..inputs.heads).map(move |head| (sequence, head)))
        .flat_map(|(sequence, head)| {
            (groups[sequence]..groups[sequence + 1]).step_by(most).map(move |first| (sequence, head, first))
        })
        .collect();
    cpu.for_each(items.len(), |item| {
        let (sequence, head, first) = items[item];
        let count = most.min(groups[sequence + 1] - first);
        let block = Block { inputs, y: &y, log_sum_exp: log_sum_exp.as_ref(), sequence, head, first, count };
        match rounds {
            true => cpu.isa().dispatch_bf16(block),
            false => cpu.isa().dispatch(block),
        }
    })
}

/// Some queries of one head in one sequence.
pub struct Block<'a> {
    pub inputs: &'a Inputs<'a, Cpu>,
    y: &'a SharedRows<'a>,
    log_sum_exp: Option<&'a SharedRows<'a>>,
    sequence: usize,
    pub head: usize,
    /// First row of the queries, and their number.
    pub first: usize,
    pub count: usize,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.answer(s, Exact::new::<S>(&self));
    }
}

impl DotKernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        self.answer(d.simd(), Rounded::new(d, &self));
    }
}

impl Block<'_> {
    #[inline(always)]
    fn answer<S: Simd, P: Products<S>>(&self, s: S, mut products: P) {
        let dim = self.inputs.dim();
        let all = self.inputs.offsets[self.sequence]..self.inputs.offsets[self.sequence + 1];
        let keys = all.start..self.inputs.end_of_keys(self.first + self.count - 1, &all);
        let (span, padded) = (products.padded(KEYS.min(keys.len())), products.padded(dim));
        let scores = P::QUERIES.min(self.count) * span;
        let mut factors = vec![0.0; if self.inputs.drops() { scores } else { 0 }];
        let mut scores = vec![0.0; scores];
        let mut sums = vec![0.0; self.count * padded];
        let mut running = vec![Running::NONE; self.count];
        for from in keys.clone().step_by(KEYS) {
            let block = from..keys.end.min(from + KEYS);
            let blind = self.inputs.blind(self.first..self.first + self.count, from);
            products.hold(s, self, block.clone());
            for first in (0..self.count).step_by(P::QUERIES) {
                let seeing = blind.max(first)..self.count.min(first + P::QUERIES);
                if seeing.is_empty() {
                    continue;
                }
                let held = (seeing.start - first) * span;
                products.score(s, self, first, seeing.clone(), &mut scores, span);
                relative::add_scores(
                    s,
                    self.inputs,
                    self.head,
                    self.first + seeing.start..self.first + seeing.end,
                    block.clone(),
                    &mut scores[held..],
                    span,
                );
                let scale = 1.0 / (dim as f32).sqrt();
                for query in seeing.clone() {
                    let row = &mut scores[(query - first) * span..][..block.len()];
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
                    let (row, count) = (self.first + seeing.start, seeing.len());
                    self.inputs.draw(self.head, row, count, places, &mut factors[held..], span);
                    multiply(s, &mut scores[held..], &factors[held..]);
                }
                products.weigh(s, &scores[held..], span, &mut sums[seeing.start * padded..seeing.end * padded], padded);
            }
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
