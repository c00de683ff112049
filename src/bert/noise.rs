//! Where dropout acts in one training step, and with which numbers.

use crate::ops::attention::AttentionDropout;
use crate::ops::dropout::{Dropout, Mask};

/// The dropout of a training step. A mask depends on the seed, the step, the site and the number of a row within the
/// step's batch: not on how the batch is cut into parts, and not on threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Of the whole training.
    pub seed: u64,
    /// Optimizer steps done before this one, counting parts of an accumulated batch by `first_row`.
    pub step: u32,
    /// Number of the batch's first row within the step.
    pub first_row: usize,
    /// After embeddings and sub-layers: `hidden_dropout_prob`.
    pub hidden: f32,
    /// On attention weights: `attention_probs_dropout_prob`.
    pub attention: f32,
    /// Before the head: `classifier_dropout`.
    pub head: f32,
    /// Before the A of a LoRA pair: `lora_dropout`.
    pub lora: f32,
}

/// A place where dropout acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The embeddings.
    Embeddings,
    /// What a head reads.
    Head,
    /// A LoRA pair on the pooler.
    PoolerPair,
    /// Within the n-th application of a layer.
    Layer(usize, Place),
}

/// A place within a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Attention weights.
    Attention,
    /// Output of attention.
    AttentionOutput,
    /// Output of the feed-forward part.
    Output,
    /// What a LoRA pair reads, by the pair's number.
    Pair(usize),
}

impl Site {
    /// Below 2¹⁶ for the first 4,000 applications of a layer, as attention's counters need it.
    fn number(self) -> u32 {
        let place = |place: Place| match place {
            Place::Attention => 0,
            Place::AttentionOutput => 1,
            Place::Output => 2,
            Place::Pair(pair) => 8 + pair as u32,
        };
        match self {
            Site::Embeddings => 0,
            Site::Head => 1,
            Site::PoolerPair => 2,
            Site::Layer(application, at) => 16 + 16 * (application as u32) + place(at),
        }
    }
}

impl Noise {
    /// The mask at `site` with probability `p` for rows of the batch; none where nothing is dropped.
    pub fn mask<'a>(&self, p: f32, site: Site, rows: &'a [usize]) -> Option<Mask<'a>> {
        Some(Mask { dropout: self.dropout(p, site)?, rows, first_row: self.first_row })
    }

    /// The dropout of attention weights in the n-th application of a layer.
    pub fn attention(&self, application: usize) -> Option<AttentionDropout> {
        let dropout = self.dropout(self.attention, Site::Layer(application, Place::Attention))?;
        Some(AttentionDropout { dropout, first_row: self.first_row })
    }

    fn dropout(&self, probability: f32, site: Site) -> Option<Dropout> {
        (probability > 0.0).then_some(Dropout { probability, seed: self.seed, step: self.step, site: site.number() })
    }
}
