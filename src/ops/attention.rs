//! Scaled dot-product attention within every sequence of a ragged batch, for rows that are asked for.
//!
//!   P[l, r] = softmaxᵣ((q_l · k_r + relative[l, r]) / √D)        y_l = Σᵣ P[l, r] m[l, r] v_r
//!
//! m is 1, or in training with dropout 0 or 1/(1 − p): weights are dropped after the softmax, and what is left is not
//! normalised again. Where attention is causal, r runs over the keys up to the query's own position.
//!
//! Relative positions (Shaw et al. 2018; Huang et al. 2020) as HuggingFace BERT has them: with e = table[l − r + P − 1],
//! `relative_key` adds q_l · e, `relative_key_query` adds q_l · e + k_r · e.

mod backward;
#[cfg(feature = "cuda")]
mod cuda;
mod forward;
mod products;
mod relative;
#[cfg(test)]
mod tests;

use super::Accumulate;
use super::dropout::{Draw, Dropout};
use crate::batch::Selection;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::Simd;

/// H columns of a matrix, from `first` on.
pub struct Columns<'a, D: Device> {
    /// The matrix.
    pub tensor: &'a Hidden<D>,
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

/// Dropout of attention's weights: lane `r % 4` of philox(counter = [r / 4, row number, site | head << 16, step]) decides
/// on the key at position `r` of the sequence, for the query whose row number is `first_row` + its row in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDropout {
    /// Where, when and how many. The site is below 2¹⁶.
    pub dropout: Dropout,
    /// Number of the batch's first row.
    pub first_row: usize,
}

/// Which keys of its sequence a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// All of them: an encoder's.
    Bidirectional,
    /// Those at its own position and before it: a decoder's. Rows of keys and values after the last query of their
    /// sequence are not read.
    Causal,
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
    /// Which keys they see.
    pub direction: Direction,
    /// Relative positions, where the model has them.
    pub relative: Option<Relative<'a, D>>,
    /// Dropout, in training.
    pub dropout: Option<AttentionDropout>,
}

/// What the gradient needs of the forward pass.
pub struct Saved<D: Device> {
    /// `[R, A]`: ln Σᵣ e^score of every query and head.
    pub log_sum_exp: Tensor<D>,
}

/// Where the gradients of query, key and value go; all overwritten.
pub enum Gradients<'a, D: Device> {
    /// `[T, 3H]`: query, key and value side by side, where every row is asked for.
    Joined(&'a mut Hidden<D>),
    /// The queries of the rows asked for, and the keys and values of all.
    Apart {
        /// `[R, H]`
        query: &'a mut Hidden<D>,
        /// `[T, 2H]`: key and value side by side.
        key_value: &'a mut Hidden<D>,
    },
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`, and of `log_sum_exp` where it is given.
    fn attention_forward(
        &self,
        inputs: &Inputs<'_, Self>,
        y: &mut Hidden<Self>,
        log_sum_exp: Option<&mut Tensor<Self>>,
    ) -> Result<()>;

    /// Writes all of `gradients` and adds to `table`.
    fn attention_backward(
        &self,
        inputs: &Inputs<'_, Self>,
        saved: &Saved<Self>,
        y: &Hidden<Self>,
        dy: &Hidden<Self>,
        gradients: Gradients<'_, Self>,
        table: Option<Accumulate<'_, Self>>,
    ) -> Result<()>;
}

/// y `[R, H]` = attention of the rows asked for over their sequences. `y` takes that shape.
pub fn forward<D: Op>(device: &D, inputs: &Inputs<'_, D>, y: &mut Hidden<D>) -> Result<()> {
    inputs.check()?;
    y.reshape(device, inputs.rows.len(), inputs.hidden)?;
    device.attention_forward(inputs, y, None)
}

/// [`forward`], and what [`backward`] needs of it: to the bit, but where a device rounds the factors of an answer's products and
/// not those of a gradient's.
pub fn forward_saving<D: Op>(device: &D, inputs: &Inputs<'_, D>, y: &mut Hidden<D>) -> Result<Saved<D>> {
    inputs.check()?;
    y.reshape(device, inputs.rows.len(), inputs.hidden)?;
    let mut log_sum_exp = Tensor::new(device, inputs.rows.len(), inputs.heads)?;
    device.attention_forward(inputs, y, Some(&mut log_sum_exp))?;
    Ok(Saved { log_sum_exp })
}

/// The gradients of query, key and value (overwritten) and of the table of relative positions (added up; `None` where it
/// is frozen or there is none), from `y` and `dy` `[R, H]`.
pub fn backward<D: Op>(
    device: &D,
    inputs: &Inputs<'_, D>,
    saved: &Saved<D>,
    y: &Hidden<D>,
    dy: &Hidden<D>,
    mut gradients: Gradients<'_, D>,
    table: Option<Accumulate<'_, D>>,
) -> Result<()> {
    inputs.check()?;
    let (tokens, asked, hidden) = (inputs.tokens(), inputs.rows.len(), inputs.hidden);
    if y.shape() != (asked, hidden) || dy.shape() != y.shape() || saved.log_sum_exp.shape() != (asked, inputs.heads) {
        return Err(Error::internal(format!(
            "attention backward of {asked} rows of {hidden}: y {:?}, dy {:?}, log-sum-exp {:?}",
            y.shape(),
            dy.shape(),
            saved.log_sum_exp.shape()
        )));
    }
    if let Some(Accumulate(gradient)) = &table {
        let table = inputs.relative.as_ref().map(|r| r.table.shape());
        if table != Some(gradient.shape()) {
            return Err(Error::internal(format!(
                "attention backward: relative positions {table:?}, their gradient {:?}",
                gradient.shape()
            )));
        }
    }
    match &mut gradients {
        Gradients::Joined(all) if asked == tokens => all.reshape(device, tokens, 3 * hidden)?,
        Gradients::Joined(_) => {
            return Err(Error::internal(format!("attention backward: {asked} of {tokens} rows in one gradient")));
        }
        Gradients::Apart { query, key_value } => {
            query.reshape(device, asked, hidden)?;
            key_value.reshape(device, tokens, 2 * hidden)?;
        }
    }
    device.attention_backward(inputs, saved, y, dy, gradients, table)
}

impl<D: Device> Inputs<'_, D> {
    /// Token rows, T.
    fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Columns of a head, D.
    fn dim(&self) -> usize {
        self.hidden / self.heads
    }

    fn check(&self) -> Result<()> {
        let (tokens, asked) = (self.tokens(), self.rows.len());
        let fits = |c: &Columns<'_, D>, rows| c.tensor.rows() == rows && c.first + self.hidden <= c.tensor.cols();
        let longest = self.offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let table_fits = self
            .relative
            .as_ref()
            .is_none_or(|r| r.table.cols() * self.heads == self.hidden && longest <= r.table.rows().div_ceil(2));
        if !(fits(&self.query, asked)
            && fits(&self.key, tokens)
            && fits(&self.value, tokens)
            && self.heads > 0
            && self.hidden.is_multiple_of(self.heads)
            && self.rows.offsets().len() == self.offsets.len()
            && table_fits)
        {
            return Err(Error::internal(format!(
                "attention: {tokens} tokens in sequences of up to {longest}, {asked} rows asked for, hidden {} in {} heads",
                self.hidden, self.heads
            )));
        }
        let Some(AttentionDropout { dropout, first_row }) = &self.dropout else { return Ok(()) };
        dropout.check()?;
        Dropout::row_id(first_row.saturating_add(tokens))?;
        if dropout.site >= 1 << 16 || self.heads > 1 << 16 {
            return Err(Error::internal(format!(
                "attention: dropout at site {} of {} heads, each at most 65536",
                dropout.site, self.heads
            )));
        }
        Ok(())
    }
}

impl<'a> Inputs<'a, Cpu> {
    /// A head's columns from `row` on, and the distance between rows.
    fn head(&self, columns: &Columns<'a, Cpu>, head: usize, row: usize) -> (&'a [f32], usize) {
        let stride = columns.tensor.cols();
        (&columns.tensor.buffer().as_slice()[row * stride + columns.first + head * self.dim()..], stride)
    }

    /// `factors[query, key]` = m of some keys of a sequence, numbered from its start, for `count` queries from row `first`
    /// of the queries on; rows are `stride` apart. Nothing where no dropout is asked for.
    #[inline(always)]
    fn draw(
        &self,
        head: usize,
        first: usize,
        count: usize,
        keys: std::ops::Range<usize>,
        factors: &mut [f32],
        stride: usize,
    ) {
        let Some(AttentionDropout { dropout, first_row }) = &self.dropout else { return };
        let draw = Draw::new(dropout, head as u16);
        draw.fill(&self.rows.rows()[first..first + count], *first_row, keys, factors, stride);
    }

    /// End of the keys, `keys` of one sequence in token rows, that the query with row `query` among the queries sees.
    #[inline(always)]
    fn end_of_keys(&self, query: usize, keys: &std::ops::Range<usize>) -> usize {
        match self.direction {
            Direction::Bidirectional => keys.end,
            Direction::Causal => keys.end.min(self.rows.rows()[query] + 1),
        }
    }

    /// How many of some queries of one sequence, which rise, see no key from token row `key` on.
    #[inline(always)]
    fn blind(&self, queries: std::ops::Range<usize>, key: usize) -> usize {
        match self.direction {
            Direction::Bidirectional => 0,
            Direction::Causal => self.rows.rows()[queries].partition_point(|&row| row < key),
        }
    }

    /// Whether weights are dropped.
    fn drops(&self) -> bool {
        self.dropout.is_some_and(|d| d.dropout.probability > 0.0)
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

impl Op for Cpu {
    fn attention_forward(
        &self,
        inputs: &Inputs<'_, Cpu>,
        y: &mut Tensor<Cpu>,
        log_sum_exp: Option<&mut Tensor<Cpu>>,
    ) -> Result<()> {
        forward::run(self, inputs, y, log_sum_exp)
    }

    fn attention_backward(
        &self,
        inputs: &Inputs<'_, Cpu>,
        saved: &Saved<Cpu>,
        y: &Tensor<Cpu>,
        dy: &Tensor<Cpu>,
        gradients: Gradients<'_, Cpu>,
        table: Option<Accumulate<'_, Cpu>>,
    ) -> Result<()> {
        backward::run(self, inputs, saved, y, dy, gradients, table)
    }
}
