//! Fill: the best words for masked places.

use std::cmp::Ordering;

use super::{Progress, chunks, finite, vocabulary};
use crate::batch::{Batch, Selection, Tokens};
use crate::bert::Bert;
use crate::device::Tensor;
use crate::error::{Error, Result};
use crate::ops::{Ops, softmax};

/// A word for a masked place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub id: u32,
    /// Probability over the whole vocabulary, as HuggingFace gives it, also where only some words are asked for.
    pub probability: f32,
}

/// Which words may fill a mask.
#[derive(Clone, Copy, Debug)]
pub enum Words<'a> {
    /// Ids below this number: those the tokenizer knows. Rows of a padded vocabulary beyond it are no words.
    Below(usize),
    /// These ids, each a row of the vocabulary.
    Of(&'a [u32]),
}

/// For each input and each of its `places`, the `top_k` likeliest of `words`, likeliest first; of equals the lower id.
///
/// `places` holds a list of positions an input, each rising strictly. Fails with `Missing` when the model has no
/// masked-LM head.
pub fn fill<D: Ops, P: AsRef<[usize]> + Sync>(
    device: &D,
    bert: &Bert<D>,
    inputs: &[Tokens],
    places: &[P],
    words: Words<'_>,
    top_k: usize,
    progress: Progress<'_>,
) -> Result<Vec<Vec<Vec<Candidate>>>> {
    bert.heads().masked_lm.as_ref().map_err(Clone::clone)?;
    if places.len() != inputs.len() {
        return Err(Error::argument(format!("{} lists of places for {} inputs", places.len(), inputs.len())));
    }
    let vocabulary = bert.config().vocabulary;
    if let Words::Of(ids) = words
        && let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary)
    {
        return Err(Error::input(format!("token id {id} in a vocabulary of {vocabulary}")));
    }
    let mut answers = Vec::with_capacity(inputs.len());
    for run in chunks(inputs.iter().map(|t| t.ids.len()), device.portions().answer_tokens) {
        let places = &places[run.clone()];
        let batch = Batch::of(&inputs[run])?;
        let rows = Selection::positions(&batch, places)?;
        let mut masks = device.enter(|| candidates(device, bert, &batch, &rows, words, top_k))?.into_iter();
        answers.extend(places.iter().map(|p| masks.by_ref().take(p.as_ref().len()).collect::<Vec<_>>()));
        progress(answers.len() as u64, inputs.len() as u64)?;
    }
    Ok(answers)
}

/// The candidates of every row asked for.
fn candidates<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    batch: &Batch,
    rows: &Selection,
    words: Words<'_>,
    top_k: usize,
) -> Result<Vec<Vec<Candidate>>> {
    let mut answers = Vec::with_capacity(rows.len());
    if rows.is_empty() {
        return Ok(answers);
    }
    let hidden = bert.encoder().forward(device, batch, rows)?;
    let mut totals = Tensor::new(device, 0, 0)?;
    vocabulary(device, bert, &hidden, |_, logits| {
        softmax::log_sum_exp(device, logits, &mut totals)?;
        let totals = totals.to_host(device)?;
        finite("masked-LM output", &totals)?;
        let values = logits.to_values(device)?;
        for (row, total) in values.chunks_exact(logits.cols()).zip(totals) {
            answers.push(best(row, total, words, top_k));
        }
        Ok(())
    })?;
    Ok(answers)
}

fn best(logits: &[f32], total: f32, words: Words<'_>, top_k: usize) -> Vec<Candidate> {
    let mut ids: Vec<u32> = match words {
        Words::Below(limit) => (0..logits.len().min(limit) as u32).collect(),
        Words::Of(ids) => ids.to_vec(),
    };
    let order = |a: &u32, b: &u32| -> Ordering { logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)) };
    if top_k < ids.len() {
        ids.select_nth_unstable_by(top_k, order);
        ids.truncate(top_k);
    }
    ids.sort_unstable_by(order);
    ids.into_iter().map(|id| Candidate { id, probability: (logits[id as usize] - total).exp() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_equals_by_id() {
        let logits = [0.5, 2.0, -1.0, 2.0, 9.0];
        let ids = |words, k| best(&logits, 0.0, words, k).iter().map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(ids(Words::Below(4), 2), [1, 3]);
        assert_eq!(ids(Words::Below(99), 9), [4, 1, 3, 0, 2]);
        assert_eq!(ids(Words::Of(&[2, 0]), 5), [0, 2]);
        assert!(ids(Words::Below(4), 0).is_empty());
    }
}
