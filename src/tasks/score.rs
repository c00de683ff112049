//! Score: pseudo-log-likelihood of sequences (Salazar et al. 2020; within-word masking: Kauf & Ivanova 2023).
//!
//!   PLL(X) = Σₜ ln P(xₜ | X with position t masked)
//!
//! Every scored position is a masked copy of its sequence. Copies of many sequences are packed into full ragged batches
//! and the last layer computes only the masked rows.

use super::{Progress, chunks, finite, vocabulary};
use crate::batch::{Batch, Selection, Tokens};
use crate::bert::Bert;
use crate::device::Tensor;
use crate::error::{Error, Result};
use crate::ops::{Ops, softmax};

/// What is masked together with a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// Nothing else.
    Alone,
    /// The later pieces of the same word too: `PLL-word-l2r`.
    WordLeftToRight,
}

/// A sequence and what of it is scored.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The sequence, special tokens included.
    pub tokens: Tokens,
    /// Positions that are scored, rising strictly: all but special tokens, as a rule.
    pub positions: Vec<usize>,
    /// Word of every token; a token without word is one of its own.
    pub words: Vec<Option<u32>>,
}

impl Scored {
    /// The sequence with the position at `index` of [`Scored::positions`] masked, and what `masking` masks with it.
    fn masked(&self, index: usize, mask: u32, masking: Masking) -> Tokens {
        let (mut tokens, position) = (self.tokens.clone(), self.positions[index]);
        tokens.ids[position] = mask;
        if let (Masking::WordLeftToRight, Some(word)) = (masking, self.words[position]) {
            let later = self.words[position + 1..].iter().take_while(|&&w| w == Some(word)).count();
            tokens.ids[position + 1..][..later].fill(mask);
        }
        tokens
    }
}

/// ln P of every scored position of every input, in order.
///
/// Fails with `Missing` when the model has no masked-LM head.
pub fn score<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    inputs: &[Scored],
    mask: u32,
    masking: Masking,
    progress: Progress<'_>,
) -> Result<Vec<Vec<f32>>> {
    bert.heads().masked_lm.as_ref().map_err(Clone::clone)?;
    if let Some(input) = inputs.iter().find(|i| i.words.len() != i.tokens.ids.len()) {
        return Err(Error::argument(format!("{} words for {} tokens", input.words.len(), input.tokens.ids.len())));
    }
    let copies: Vec<(usize, usize)> = inputs
        .iter()
        .enumerate()
        .flat_map(|(input, scored)| (0..scored.positions.len()).map(move |index| (input, index)))
        .collect();
    let mut scores: Vec<Vec<f32>> = inputs.iter().map(|i| Vec::with_capacity(i.positions.len())).collect();
    let length = |&(input, _): &(usize, usize)| inputs[input].tokens.ids.len();
    for run in chunks(copies.iter().map(length), device.portions().answer_tokens) {
        let (end, part) = (run.end, &copies[run]);
        let values = device.enter(|| masked_log_probabilities(device, bert, inputs, part, mask, masking))?;
        for (&(input, _), value) in part.iter().zip(values) {
            scores[input].push(value);
        }
        progress(end as u64, copies.len() as u64)?;
    }
    Ok(scores)
}

/// ln P of the masked position of each copy.
fn masked_log_probabilities<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    inputs: &[Scored],
    copies: &[(usize, usize)],
    mask: u32,
    masking: Masking,
) -> Result<Vec<f32>> {
    let mut batch = Batch::new();
    let (mut places, mut truth) = (Vec::with_capacity(copies.len()), Vec::with_capacity(copies.len()));
    for &(input, index) in copies {
        let scored = &inputs[input];
        let tokens = scored.masked(index, mask, masking);
        batch.push(&tokens.ids, &tokens.types)?;
        places.push([scored.positions[index]]);
        truth.push(scored.tokens.ids[scored.positions[index]] as usize);
    }
    if let Some(id) = truth.iter().find(|&&id| id >= bert.config().vocabulary) {
        return Err(Error::input(format!("token id {id} in a vocabulary of {}", bert.config().vocabulary)));
    }
    let rows = Selection::positions(&batch, &places)?;
    let hidden = bert.encoder().forward(device, &batch, &rows)?;
    let mut result = Vec::with_capacity(copies.len());
    let mut values = Tensor::new(device, 0, 0)?;
    vocabulary(device, bert, &hidden, |first, logits| {
        softmax::log_softmax(device, logits, &truth[first..first + logits.rows()], &mut values)?;
        result.extend(values.to_host(device)?);
        Ok(())
    })?;
    finite("masked-LM output", &result)?;
    Ok(result)
}
