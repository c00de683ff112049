//! The model as a page: configuration, parameters, encoder, heads.

pub mod adapter;
pub mod carried;
pub mod config;
pub mod config_out;
mod decoder;
mod encoder;
mod head_training;
mod heads;
pub mod init;
mod keys;
mod layer;
mod masked_lm;
mod noise;
mod parameters;
pub mod peft;
pub mod quantisation;
mod scope;
pub mod sentence;
mod trainable;

pub use adapter::{Adapter, pooler_module};
pub use config::{Architecture, Config, Position, Problem};
pub use decoder::{Asked, Cache, Part};
pub use encoder::{Encoder, EncoderGradients, Keep, See, Start, Trace};
pub use head_training::{DenseTrace, PoolerTrace};
pub use heads::{Head, Heads};
pub use init::Fresh;
pub use masked_lm::{MaskedLm, chunk_rows};
pub use noise::{Noise, Site};
pub use parameters::{Bias, Dense, Embeddings, Layer, Loader};
pub use scope::{Gradients, HeadPart, Scope};
pub use sentence::Sentence;
pub use trainable::{Content, Named, of_dense};

use crate::batch::{Batch, Selection};
use crate::device::{Device, Hidden, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
pub use crate::ops::attention::Direction;
use crate::ops::{Ops, linear};
use crate::weights::Weights;

/// A BERT or ALBERT with the heads its checkpoint holds.
pub struct Bert<D: Device> {
    config: Config,
    encoder: Encoder<D>,
    heads: Heads<D>,
}

impl<D: Ops> Bert<D> {
    /// Takes from `weights` the encoder, which must be complete, and every head that is.
    pub fn load(device: &D, config: Config, weights: &mut Weights) -> Result<Self> {
        Self::load_or_make(device, config, weights, None)
    }

    /// The same, making what `fresh` gives leave to where the checkpoint lacks it.
    pub fn load_or_make(device: &D, config: Config, weights: &mut Weights, fresh: Option<&mut Fresh>) -> Result<Self> {
        let mut loader = Loader { device, weights, fresh };
        Ok(Self { encoder: Encoder::load(&mut loader, &config)?, heads: Heads::load(&mut loader, &config)?, config })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder<D> {
        &self.encoder
    }

    /// The heads.
    pub fn heads(&self) -> &Heads<D> {
        &self.heads
    }

    /// Pooler output `[S, H]` = tanh(dense · h) of every sequence's first row.
    pub fn pooled(&self, device: &D, batch: &Batch) -> Result<Hidden<D>> {
        let pooler = self.heads.pooler.as_ref().map_err(Clone::clone)?;
        let first = self.encoder.forward(device, batch, &Selection::first(batch))?;
        match self.encoder.adapter().is_some_and(|adapter| adapter.pooler.is_some()) {
            false => apply(device, pooler, &first, Activation::Tanh),
            true => Ok(self.pool_saving(device, first, &[], None)?.0),
        }
    }

    /// Next-sentence logits `[S, 2]`: column 0 is "follows", column 1 "does not".
    pub fn next_sentence(&self, device: &D, batch: &Batch) -> Result<Hidden<D>> {
        let head = self.heads.next_sentence.as_ref().map_err(Clone::clone)?;
        apply(device, head, &self.pooled(device, batch)?, Activation::Identity)
    }

    /// Sequence-classification logits `[S, labels]`.
    pub fn classify(&self, device: &D, batch: &Batch) -> Result<Hidden<D>> {
        let head = self.heads.sequence.as_ref().map_err(Clone::clone)?;
        apply(device, head, &self.pooled(device, batch)?, Activation::Identity)
    }

    /// Token-classification logits `[T, labels]`.
    pub fn tag(&self, device: &D, batch: &Batch) -> Result<Hidden<D>> {
        let head = self.heads.token.as_ref().map_err(Clone::clone)?;
        let hidden = self.encoder.forward(device, batch, &Selection::all(batch))?;
        apply(device, head, &hidden, Activation::Identity)
    }
}

/// activation(dense · x)
pub fn apply<D: Ops>(device: &D, dense: &Dense<D>, x: &Hidden<D>, activation: Activation) -> Result<Hidden<D>> {
    let mut y = Tensor::new(device, 0, 0)?;
    linear::forward(device, x, &[dense.linear()], activation, &mut y)?;
    Ok(y)
}
