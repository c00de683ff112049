//! Embed: one vector a text, pooled as the folder says or as the caller asks.

use super::{Progress, finite, in_chunks};
use crate::batch::{Batch, Selection, Tokens};
use crate::bert::{Bert, Dense, apply};
use crate::device::{Device, Hidden, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::pooling::{self, Pooling};
use crate::ops::{Ops, pooling::normalize};

/// From the final hidden states of a sequence to its embedding.
pub struct Pipeline<D: Device> {
    /// Pooled rows side by side; not empty.
    pub pooling: Vec<Pooling>,
    /// What follows, in order.
    pub stages: Vec<Stage<D>>,
    /// Leading elements that are kept, after all stages.
    pub keep: Option<usize>,
}

/// A step after pooling.
pub enum Stage<D: Device> {
    /// activation(dense · x)
    Dense(Dense<D>, Activation),
    /// x / max(‖x‖, 1e-12)
    Normalize,
}

impl<D: Device> Pipeline<D> {
    /// Length of an embedding from hidden states of H = `hidden`.
    pub fn width(&self, hidden: usize) -> usize {
        let dense = self.stages.iter().rev().find_map(|stage| match stage {
            Stage::Dense(dense, _) => Some(dense.weight.shape().0),
            Stage::Normalize => None,
        });
        let width = dense.unwrap_or(hidden * self.pooling.len());
        self.keep.map_or(width, |keep| keep.min(width))
    }
}

/// One embedding an input.
pub fn embed<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    pipeline: &Pipeline<D>,
    inputs: &[Tokens],
    progress: Progress<'_>,
) -> Result<Vec<Vec<f32>>> {
    let width = pipeline.width(bert.config().hidden);
    in_chunks(device, inputs, progress, |inputs| {
        let batch = Batch::of(inputs)?;
        let mut x = pooled(device, bert, &pipeline.pooling, &batch)?;
        for stage in &pipeline.stages {
            match stage {
                Stage::Dense(dense, activation) => x = apply(device, dense, &x, *activation)?,
                Stage::Normalize => normalize(device, &mut x)?,
            }
        }
        let values = x.to_values(device)?;
        finite("embedding", &values)?;
        Ok(values.chunks_exact(x.cols()).map(|row| row[..width].to_vec()).collect())
    })
}

/// `[S, modes · H]`. Where only `[CLS]` counts, the last layer computes only that row.
fn pooled<D: Ops>(device: &D, bert: &Bert<D>, modes: &[Pooling], batch: &Batch) -> Result<Hidden<D>> {
    if modes == [Pooling::Cls] {
        return bert.encoder().forward(device, batch, &Selection::first(batch));
    }
    let hidden = bert.encoder().forward(device, batch, &Selection::all(batch))?;
    let mut x = Tensor::new(device, 0, 0)?;
    pooling::forward(device, &hidden, batch.offsets(), modes, &mut x)?;
    Ok(x)
}
