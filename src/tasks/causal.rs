//! The probability of a text to a causal model, by the chain rule.
//!
//!   ln P(x₁ … xₙ | x₀) = Σₜ ln P(xₜ | x₀ … xₜ₋₁)
//!
//! One pass gives all: the row of each token predicts the next.

use super::{Progress, finite, in_chunks, vocabulary};
use crate::batch::{Batch, Selection, Tokens};
use crate::bert::Bert;
use crate::device::Tensor;
use crate::error::{Error, Result};
use crate::ops::{Ops, softmax};

/// ln P of every token but the first of every input, in order.
///
/// Fails with `Missing` when the model has no language-model head.
pub fn score<D: Ops>(device: &D, bert: &Bert<D>, inputs: &[Tokens], progress: Progress<'_>) -> Result<Vec<Vec<f32>>> {
    bert.heads().masked_lm.as_ref().map_err(Clone::clone)?;
    in_chunks(device, inputs, progress, |inputs| {
        let batch = Batch::of(inputs)?;
        let places: Vec<Vec<usize>> = inputs.iter().map(|tokens| (0..tokens.ids.len() - 1).collect()).collect();
        let truth: Vec<usize> = inputs.iter().flat_map(|tokens| &tokens.ids[1..]).map(|&id| id as usize).collect();
        if let Some(id) = truth.iter().find(|&&id| id >= bert.config().vocabulary) {
            return Err(Error::input(format!("token id {id} in a vocabulary of {}", bert.config().vocabulary)));
        }
        let mut values = Vec::with_capacity(truth.len());
        if !truth.is_empty() {
            let hidden = bert.encoder().forward(device, &batch, &Selection::positions(&batch, &places)?)?;
            let mut part = Tensor::new(device, 0, 0)?;
            vocabulary(device, bert, &hidden, |first, logits| {
                softmax::log_softmax(device, logits, &truth[first..first + logits.rows()], &mut part)?;
                values.extend(part.to_host(device)?);
                Ok(())
            })?;
        }
        finite("language-model output", &values)?;
        let mut values = values.into_iter();
        Ok(inputs.iter().map(|tokens| values.by_ref().take(tokens.ids.len() - 1).collect()).collect())
    })
}
