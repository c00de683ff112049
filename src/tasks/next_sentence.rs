//! Next sentence: whether the second text of a pair follows the first.

use super::{Progress, finite, in_chunks, softmax};
use crate::batch::{Batch, Tokens};
use crate::bert::Bert;
use crate::error::Result;
use crate::ops::Ops;

/// Probability for each pair that B follows A: softmax over BERT's two next-sentence logits, the first of them.
///
/// Fails with `Missing` when the model has no such head.
pub fn next_sentence<D: Ops>(device: &D, bert: &Bert<D>, pairs: &[Tokens], progress: Progress<'_>) -> Result<Vec<f32>> {
    bert.heads().next_sentence.as_ref().map_err(Clone::clone)?;
    bert.heads().pooler.as_ref().map_err(Clone::clone)?;
    in_chunks(device, pairs, progress, |pairs| {
        let logits = bert.next_sentence(device, &Batch::of(pairs)?)?.to_values(device)?;
        finite("next-sentence output", &logits)?;
        Ok(logits.chunks_exact(2).map(|row| softmax(row)[0]).collect())
    })
}
