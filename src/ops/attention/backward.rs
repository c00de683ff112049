//! The gradient recomputes the weights from the scores and ln Σ e^score instead of keeping them (Dao et al. 2022).
//!
//!   P[l, r] = e^(score[l, r] − lse_l),  O = y,  d_l = dO_l · O_l
//!   dv_r = Σ_l P m dO_l,  dscore[l, r] = P (m dO_l · v_r − d_l)/√D,  dq_l = Σᵣ dscore k_r,  dk_r = Σ_l dscore q_l
//!
//! One head of one sequence is one piece of work: all its sums stay on one thread. Scores exist for a panel of keys at a
//! time, laid out as the multiplication wants its panels, so that those of dv and dk read them where they are; both come
//! out transposed. dq is summed over blocks of keys. Causal attention skips, panel by panel, the queries that see nothing
//! of it; P is 0 for the later keys of the panel that holds a query's own position.

use std::ops::Range;

use super::relative::{self, SharedTableSums, Slopes, TableSums};
use super::{Gradients, Inputs, Saved, dot};
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::Accumulate;
use crate::ops::activation::Activation;
use crate::ops::gemm::{self, Ahead, Rows, Start};
use crate::ops::shared::SharedRows;
use crate::simd::{Isa, Kernel, MAX_LANES, Simd, math};

/// Keys whose gradients of scores exist at a time; a multiple of every panel's width.
const KEYS: usize = 128;
/// Scores that one work item should have at least: heads of short sequences share an item, and its memory.
const SCORES: usize = 4096;

/// Writes all of `gradients` and adds to `table`.
pub fn run(
    cpu: &Cpu,
    inputs: &Inputs<'_, Cpu>,
    saved: &Saved<Cpu>,
    y: &Tensor<Cpu>,
    dy: &Tensor<Cpu>,
    gradients: Gradients<'_, Cpu>,
    table: Option<Accumulate<'_, Cpu>>,
) -> Result<()> {
    let (tokens, hidden) = (inputs.tokens(), inputs.hidden);
    if tokens == 0 || hidden == 0 {
        return Ok(());
    }
    let mut sums = table.as_ref().map(|_| TableSums::new(cpu, inputs)).transpose()?;
    {
        let targets = Targets::new(gradients, hidden)?;
        let work = Work {
            isa: cpu.isa(),
            inputs,
            log_sum_exp: saved.log_sum_exp.buffer().as_slice(),
            y: y.buffer().as_slice(),
            dy: dy.buffer().as_slice(),
            targets: &targets,
            table: sums.as_mut().map(TableSums::shared).transpose()?,
        };
        let items: Vec<(usize, Range<usize>)> = (0..inputs.offsets.len() - 1)
            .flat_map(|sequence| {
                let scores = work.queries(sequence).len() * work.keys(sequence).len();
                let heads = (SCORES / scores.max(1)).clamp(1, inputs.heads);
                let firsts = (0..inputs.heads).step_by(heads);
                firsts.map(move |first| (sequence, first..inputs.heads.min(first + heads)))
            })
            .collect();
        cpu.for_each(items.len(), |item| {
            let (sequence, heads) = items[item].clone();
            cpu.isa().dispatch(Item { work: &work, sequence, heads });
        })?;
    }
    match (sums, table) {
        (Some(sums), Some(table)) => sums.add_up(cpu, inputs, table),
        _ => Ok(()),
    }
}

/// The gradients as rows that threads share, and where in them the columns of query, key and value begin.
struct Targets<'a> {
    /// `None` where the queries' gradient lies beside that of the keys.
    query: Option<SharedRows<'a>>,
    key_value: SharedRows<'a>,
    first_key: usize,
}

impl<'a> Targets<'a> {
    fn new(gradients: Gradients<'a, Cpu>, hidden: usize) -> Result<Self> {
        let rows = |tensor: &'a mut Tensor<Cpu>| -> Result<SharedRows<'a>> {
            let (rows, cols) = tensor.shape();
            Ok(SharedRows::new(&mut tensor.buffer_mut().as_mut_slice()?[..rows * cols], cols))
        };
        Ok(match gradients {
            Gradients::Joined(all) => Self { query: None, key_value: rows(all)?, first_key: hidden },
            Gradients::Apart { query, key_value } => {
                Self { query: Some(rows(query)?), key_value: rows(key_value)?, first_key: 0 }
            }
        })
    }
}

struct Work<'a> {
    isa: Isa,
    inputs: &'a Inputs<'a, Cpu>,
    log_sum_exp: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    targets: &'a Targets<'a>,
    table: Option<SharedTableSums<'a>>,
}

impl Work<'_> {
    /// Token rows of a sequence.
    fn keys(&self, sequence: usize) -> Range<usize> {
        self.inputs.offsets[sequence]..self.inputs.offsets[sequence + 1]
    }

    /// Rows of the queries of a sequence.
    fn queries(&self, sequence: usize) -> Range<usize> {
        self.inputs.rows.offsets()[sequence]..self.inputs.rows.offsets()[sequence + 1]
    }
}

/// Some heads of one sequence.
struct Item<'a> {
    work: &'a Work<'a>,
    sequence: usize,
    heads: Range<usize>,
}

impl Kernel for Item<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (keys, queries) = (self.work.keys(self.sequence), self.work.queries(self.sequence));
        let inputs = self.work.inputs;
        let mut scratch = Scratch::new::<S>(queries.len(), keys.len(), inputs.dim(), inputs.drops());
        for head in self.heads {
            let head =
                Head { work: self.work, sequence: self.sequence, head, queries: queries.clone(), keys: keys.clone() };
            head.run(s, &mut scratch);
        }
    }
}

/// Memory of one item. M queries; lengths are rounded up to whole vectors or panels, W columns each.
struct Scratch {
    /// qᵀ and dOᵀ, `[D, M]`.
    query: Vec<f32>,
    dy: Vec<f32>,
    /// lse and d of every query.
    log_sum_exp: Vec<f32>,
    along: Vec<f32>,
    /// A panel of k, v or kᵀ.
    panel: Vec<f32>,
    /// Scores, then P m, of a panel of keys: `[M, W]`.
    weights: Vec<f32>,
    /// dO · v, then dscore, of a panel of keys: `[M, W]`.
    slopes: Vec<f32>,
    /// dscore and m of a block of keys: `[M, span]`.
    block: Vec<f32>,
    factors: Vec<f32>,
    span: usize,
    /// dvᵀ or dkᵀ of a panel of keys, `[D, W]`, and its transpose, `[W, D]`.
    columns: Vec<f32>,
    turned: Vec<f32>,
    /// `[M, D]`
    dq: Vec<f32>,
    /// M and D rounded up to whole vectors, D to whole panels.
    padded_queries: usize,
    padded_dim: usize,
    panelled_dim: usize,
}

impl Scratch {
    fn new<S: Simd>(queries: usize, keys: usize, dim: usize, drops: bool) -> Self {
        let width = gemm::width::<S>();
        let span = KEYS.min(keys).next_multiple_of(width);
        let (padded_queries, padded_dim) = (queries.next_multiple_of(S::LANES), dim.next_multiple_of(S::LANES));
        let panelled_dim = dim.next_multiple_of(width);
        Self {
            query: vec![0.0; padded_dim * padded_queries],
            dy: vec![0.0; padded_dim * padded_queries],
            log_sum_exp: vec![0.0; queries],
            along: vec![0.0; queries],
            panel: vec![0.0; padded_dim.max(span) * width],
            weights: vec![0.0; queries * width],
            slopes: vec![0.0; queries * width],
            block: vec![0.0; queries * span],
            factors: vec![0.0; if drops { queries * span } else { 0 }],
            span,
            columns: vec![0.0; dim * width],
            turned: vec![0.0; width * padded_dim],
            dq: vec![0.0; queries * panelled_dim],
            padded_queries,
            padded_dim,
            panelled_dim,
        }
    }

    /// No slopes of some queries in `count` columns of the block from `offset` on.
    fn clear_block(&mut self, queries: Range<usize>, offset: usize, count: usize) {
        for query in queries {
            self.block[query * self.span + offset..][..count].fill(0.0);
        }
    }
}

/// One head of one sequence.
struct Head<'a> {
    work: &'a Work<'a>,
    sequence: usize,
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
}

impl Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, scratch: &mut Scratch) {
        let inputs = self.work.inputs;
        if self.queries.is_empty() {
            self.clear_keys(self.keys.clone());
            return;
        }
        self.gather_queries(s, scratch);
        scratch.dq.fill(0.0);
        let seen = self.keys.start..inputs.end_of_keys(self.queries.end - 1, &self.keys);
        for from in seen.clone().step_by(KEYS) {
            let block = from..seen.end.min(from + KEYS);
            let blind = inputs.blind(self.queries.clone(), from);
            if !scratch.factors.is_empty() {
                let places = block.start - self.keys.start..block.end - self.keys.start;
                let (first, count) = (self.queries.start + blind, self.queries.len() - blind);
                inputs.draw(
                    self.head,
                    first,
                    count,
                    places,
                    &mut scratch.factors[blind * scratch.span..],
                    scratch.span,
                );
            }
            for first in block.clone().step_by(gemm::width::<S>()) {
                let panel = first..block.end.min(first + gemm::width::<S>());
                let seeing = inputs.blind(self.queries.clone(), first);
                scratch.clear_block(blind..seeing, first - from, gemm::width::<S>());
                self.differentiate(s, seeing, panel.clone(), first - from, scratch);
                self.write_keys(s, seeing, panel, first - from, scratch);
            }
            self.sum_queries(s, blind, block, scratch);
        }
        self.clear_keys(seen.end..self.keys.end);
        for (row, dq) in self.queries.clone().zip(scratch.dq.chunks_exact(scratch.panelled_dim)) {
            let target = self.work.targets.query.as_ref().unwrap_or(&self.work.targets.key_value);
            // SAFETY: every head of every sequence is one item's, and has its own rows and columns.
            unsafe { target.row(row, self.head * inputs.dim(), inputs.dim()) }.copy_from_slice(&dq[..inputs.dim()]);
        }
    }

    /// A key that no query meets has no gradient.
    fn clear_keys(&self, keys: Range<usize>) {
        for row in keys {
            for part in [0, 1] {
                // SAFETY: see `target`.
                unsafe { self.target(row, part) }.fill(0.0);
            }
        }
    }

    /// The gradient of this head's key (part 0) or value (part 1) of a token row.
    ///
    /// # Safety
    /// No other reference to it exists: every head of every sequence is one item's, which asks for it once at a time.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    unsafe fn target(&self, row: usize, part: usize) -> &mut [f32] {
        let (inputs, targets) = (self.work.inputs, self.work.targets);
        let column = targets.first_key + part * inputs.hidden + self.head * inputs.dim();
        // SAFETY: the caller's promise.
        unsafe { targets.key_value.row(row, column, inputs.dim()) }
    }

    /// This head's columns of y or dy from the first query on, `hidden` apart.
    fn answers<'a>(&self, values: &'a [f32]) -> &'a [f32] {
        &values[self.queries.start * self.work.inputs.hidden + self.head * self.work.inputs.dim()..]
    }

    /// What depends on the queries alone.
    #[inline(always)]
    fn gather_queries<S: Simd>(&self, s: S, scratch: &mut Scratch) {
        let inputs = self.work.inputs;
        let (count, dim, hidden) = (self.queries.len(), inputs.dim(), inputs.hidden);
        let (query, stride) = inputs.head(&inputs.query, self.head, self.queries.start);
        let (y, dy) = (self.answers(self.work.y), self.answers(self.work.dy));
        transpose(s, query, stride, count, dim, &mut scratch.query, scratch.padded_queries);
        transpose(s, dy, hidden, count, dim, &mut scratch.dy, scratch.padded_queries);
        for (index, row) in self.queries.clone().enumerate() {
            scratch.log_sum_exp[index] = self.work.log_sum_exp[row * inputs.heads + self.head];
            scratch.along[index] = dot(s, &y[index * hidden..][..dim], &dy[index * hidden..][..dim]);
        }
    }

    /// `weights` = P m and `slopes` = dscore of a panel of keys and the queries from the `from`th on, the latter also in
    /// `block` from column `offset` on.
    #[inline(always)]
    fn differentiate<S: Simd>(&self, s: S, from: usize, keys: Range<usize>, offset: usize, scratch: &mut Scratch) {
        let inputs = self.work.inputs;
        let (count, dim, width) = (self.queries.len() - from, inputs.dim(), gemm::width::<S>());
        let queries = self.queries.start + from..self.queries.end;
        let (query, query_stride) = inputs.head(&inputs.query, self.head, queries.start);
        let (key, key_stride) = inputs.head(&inputs.key, self.head, keys.start);
        let (value, value_stride) = inputs.head(&inputs.value, self.head, keys.start);

        transpose(s, key, key_stride, keys.len(), dim, &mut scratch.panel, width);
        let a = Left { values: query, stride: query_stride, rows: count, depth: dim };
        self.work.isa.dispatch(Product {
            a,
            panel: &scratch.panel,
            start: Start::Zero,
            c: &mut scratch.weights[from * width..],
            c_stride: width,
        });
        let weights = &mut scratch.weights[from * width..];
        relative::add_scores(s, inputs, self.head, queries.clone(), keys.clone(), weights, width);
        transpose(s, value, value_stride, keys.len(), dim, &mut scratch.panel, width);
        let dy = &self.answers(self.work.dy)[from * inputs.hidden..];
        let a = Left { values: dy, stride: inputs.hidden, rows: count, depth: dim };
        self.work.isa.dispatch(Product {
            a,
            panel: &scratch.panel,
            start: Start::Zero,
            c: &mut scratch.slopes[from * width..],
            c_stride: width,
        });

        let scale = s.splat(1.0 / (dim as f32).sqrt());
        for index in from..self.queries.len() {
            let (shift, along) = (s.splat(-scratch.log_sum_exp[index]), s.splat(scratch.along[index]));
            for column in (0..width).step_by(S::LANES) {
                let at = index * width + column;
                let in_block = index * scratch.span + offset + column;
                let weight = math::exp(s, s.fma(s.load(&scratch.weights[at..]), scale, shift));
                let mut slope = s.load(&scratch.slopes[at..]);
                if scratch.factors.is_empty() {
                    s.store(&mut scratch.weights[at..], weight);
                } else {
                    let factor = s.load(&scratch.factors[in_block..]);
                    slope = s.mul(slope, factor);
                    s.store(&mut scratch.weights[at..], s.mul(weight, factor));
                }
                let slope = s.mul(s.mul(weight, scale), s.sub(slope, along));
                s.store(&mut scratch.slopes[at..], slope);
                s.store(&mut scratch.block[in_block..], slope);
            }
            let masked = inputs.end_of_keys(self.queries.start + index, &keys) - keys.start..keys.len();
            if !masked.is_empty() {
                let (at, in_block) = (index * width, index * scratch.span + offset);
                scratch.weights[at..][masked.clone()].fill(0.0);
                scratch.slopes[at..][masked.clone()].fill(0.0);
                scratch.block[in_block..][masked].fill(0.0);
            }
        }
    }

    /// dv and dk of a panel of keys, from the queries from the `from`th on.
    #[inline(always)]
    fn write_keys<S: Simd>(&self, s: S, from: usize, keys: Range<usize>, offset: usize, scratch: &mut Scratch) {
        let inputs = self.work.inputs;
        let (count, dim, width) = (self.queries.len() - from, inputs.dim(), gemm::width::<S>());
        let (stride, padded) = (scratch.padded_queries, scratch.padded_dim);
        for part in [0, 1] {
            let (values, panel) =
                if part == 0 { (&scratch.query, &scratch.slopes) } else { (&scratch.dy, &scratch.weights) };
            let a = Left { values: &values[from..], stride, rows: dim, depth: count };
            let (panel, c) = (&panel[from * width..], &mut scratch.columns);
            self.work.isa.dispatch(Product { a, panel, start: Start::Zero, c, c_stride: width });
            transpose(s, &scratch.columns, width, dim, width, &mut scratch.turned, padded);
            if part == 0 {
                let slopes = self.slopes(from, keys.clone(), &scratch.block[offset..], scratch.span);
                relative::add_to_keys(s, inputs, &slopes, &mut scratch.turned, padded);
            }
            for (row, turned) in keys.clone().zip(scratch.turned.chunks_exact(padded)) {
                // SAFETY: see `target`.
                unsafe { self.target(row, part) }.copy_from_slice(&turned[..dim]);
            }
        }
    }

    /// Adds a block of keys to dq of the queries from the `from`th on, and what it means for the table of relative
    /// positions.
    #[inline(always)]
    fn sum_queries<S: Simd>(&self, s: S, from: usize, keys: Range<usize>, scratch: &mut Scratch) {
        let (inputs, count) = (self.work.inputs, self.queries.len() - from);
        let (dim, width, padded) = (inputs.dim(), gemm::width::<S>(), scratch.panelled_dim);
        let (key, stride) = inputs.head(&inputs.key, self.head, keys.start);
        for column in (0..dim).step_by(width) {
            let columns = width.min(dim - column);
            gemm::pack_columns(s, &key[column..], stride, columns, keys.len(), &mut scratch.panel);
            let block = &scratch.block[from * scratch.span..];
            let a = Left { values: block, stride: scratch.span, rows: count, depth: keys.len() };
            self.work.isa.dispatch(Product {
                a,
                panel: &scratch.panel,
                start: Start::Held,
                c: &mut scratch.dq[from * padded + column..],
                c_stride: padded,
            });
        }
        let slopes = self.slopes(from, keys, &scratch.block, scratch.span);
        relative::add_to_queries(s, inputs, &slopes, &mut scratch.dq[from * padded..], padded);
        if let Some(table) = &self.work.table {
            // SAFETY: every head of every sequence is one item's.
            unsafe { table.add(s, inputs, self.sequence, self.head, &slopes) };
        }
    }

    /// Of the queries from the `from`th on; `values` are those of all queries.
    fn slopes<'a>(&self, from: usize, keys: Range<usize>, values: &'a [f32], stride: usize) -> Slopes<'a> {
        let queries = self.queries.start + from..self.queries.end;
        Slopes { queries, keys, values: &values[from * stride..], stride }
    }
}

/// The left side of a product: `rows` ≥ 1 rows of `depth` values.
struct Left<'a> {
    values: &'a [f32],
    stride: usize,
    rows: usize,
    depth: usize,
}

/// c = start + a · panel: a panel's width of columns, rows `c_stride` apart. Entered as a kernel of its own: its tiles
/// take a lot of code, which is then there once.
struct Product<'a> {
    a: Left<'a>,
    panel: &'a [f32],
    start: Start<'a>,
    c: &'a mut [f32],
    c_stride: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, panel, start, c, c_stride } = self;
        let (last, width) = (a.rows - 1, gemm::width::<S>());
        assert!(last * a.stride + a.depth <= a.values.len());
        assert!(last * c_stride + width <= c.len() && a.depth * width <= panel.len());
        let rows = Rows { count: a.rows, a: a.values.as_ptr(), a_stride: a.stride, c: c.as_mut_ptr(), c_stride };
        // SAFETY: the assertions above; `c` is borrowed exclusively.
        unsafe { gemm::multiply(s, rows, a.depth, panel.as_ptr(), start, Activation::Identity, Ahead::NONE) };
    }
}

/// `target[j, i] = source[i, j]` for `rows` rows and `cols` columns of the source, both at least 1. Of the target whole
/// vectors of rows and columns are written: zeros beyond the source.
#[inline(always)]
fn transpose<S: Simd>(
    s: S,
    source: &[f32],
    stride: usize,
    rows: usize,
    cols: usize,
    target: &mut [f32],
    target_stride: usize,
) {
    assert!((rows - 1) * stride + cols <= source.len() && rows.next_multiple_of(S::LANES) <= target_stride);
    assert!(cols.next_multiple_of(S::LANES) * target_stride <= target.len());
    for first in (0..rows).step_by(S::LANES) {
        for column in (0..cols).step_by(S::LANES) {
            let target = &mut target[column * target_stride + first..];
            if first + S::LANES <= rows && column + S::LANES <= cols {
                let block = &source[first * stride + column..];
                // SAFETY: LANES rows and columns from here on lie within the source, and the target has room for whole
                // vectors of either, by the assertions above.
                unsafe {
                    let block = block.as_ptr();
                    s.transpose_ptr(
                        S::LANES,
                        |row| s.load_ptr(block.add(row * stride)),
                        target.as_mut_ptr(),
                        target_stride,
                    );
                }
                continue;
            }
            let columns = S::LANES.min(cols - column);
            let mut lines = [[0.0; MAX_LANES]; MAX_LANES];
            for (line, row) in lines.iter_mut().zip(first..rows.min(first + S::LANES)) {
                line[..columns].copy_from_slice(&source[row * stride + column..][..columns]);
            }
            // SAFETY: as above; `lines` has as many rows and columns as any vector has lanes.
            unsafe {
                let block = lines.as_ptr();
                s.transpose_ptr(S::LANES, |row| s.load_ptr(block.add(row).cast()), target.as_mut_ptr(), target_stride);
            }
        }
    }
}
