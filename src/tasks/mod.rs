//! What a model answers, from token ids to numbers: one task a file, generic over the device.

mod causal;
mod choice;
mod classify;
mod embed;
mod fill;
mod generate;
mod hidden;
mod next_sentence;
mod score;
mod tag;

pub use causal::score as causal_score;
pub use choice::Sampling;
pub use classify::{Function, classify};
pub use embed::{Pipeline, Stage, embed};
pub use fill::{Candidate, Words, fill};
pub use generate::{Continuation, Ending, Generation, NewToken, generate};
pub use hidden::hidden_states;
pub use next_sentence::next_sentence;
pub use score::{Masking, Scored, score};
pub use tag::{Aggregation, Entity, Labelled, entities, tag};

use std::ops::Range;

use crate::batch::Tokens;
use crate::bert::Bert;
use crate::device::{Device, Hidden, Tensor};
use crate::error::{Error, Result, Status};
use crate::ops::{Ops, gather};

/// Called on the caller's thread after every chunk of work with the units done and the units there are. An error stops
/// the task and becomes its result.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

/// Cuts a list of sequence lengths into runs of at most `most` tokens; a longer sequence is a run of its own.
fn chunks(lengths: impl IntoIterator<Item = usize>, most: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut tokens, mut end) = (Vec::new(), 0, 0, 0);
    for length in lengths {
        if end > start && tokens + length > most {
            runs.push(start..end);
            (start, tokens) = (end, 0);
        }
        tokens += length;
        end += 1;
    }
    if end > start {
        runs.push(start..end);
    }
    runs
}

/// Runs `answer`, which has no head over the vocabulary, or one over every row, on every chunk of `inputs` and collects what
/// it returns.
fn in_chunks<D: Device, R: Send>(
    device: &D,
    inputs: &[Tokens],
    progress: Progress<'_>,
    answer: impl Fn(&[Tokens]) -> Result<Vec<R>> + Sync,
) -> Result<Vec<R>> {
    let mut results = Vec::with_capacity(inputs.len());
    for run in chunks(inputs.iter().map(|t| t.ids.len()), device.portions().encode_tokens) {
        let end = run.end;
        results.extend(device.enter(|| answer(&inputs[run]))?);
        progress(end as u64, inputs.len() as u64)?;
    }
    Ok(results)
}

/// Logits over the vocabulary of every row of `hidden`, shown to `see` a slice at a time with the number of its first
/// row. No more rows of logits exist at once than the device takes.
fn vocabulary<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    hidden: &Hidden<D>,
    mut see: impl FnMut(usize, &Hidden<D>) -> Result<()>,
) -> Result<()> {
    let most = device.portions().answer_logits;
    let mut logits = Tensor::new(device, 0, 0)?;
    if hidden.rows() <= most {
        bert.masked_lm(device, hidden, &mut logits)?;
        return see(0, &logits);
    }
    let mut part = Tensor::new(device, 0, 0)?;
    for first in (0..hidden.rows()).step_by(most) {
        let rows: Vec<usize> = (first..hidden.rows().min(first + most)).collect();
        gather::forward(device, hidden, &rows, &mut part)?;
        bert.masked_lm(device, &part, &mut logits)?;
        see(first, &logits)?;
    }
    Ok(())
}

/// Fails unless every value is finite; `what` names the result.
fn finite(what: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::new(Status::NotFinite, format!("{what} holds {value}, expected finite numbers"))),
    }
}

/// e^xᵢ / Σ e^x
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&x| f64::from(x - largest).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|p| (p / total) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Working;

    /// Compiles only while answering leaves open what hidden states consist of.
    #[allow(dead_code)] // being compiled is the test
    fn answers_with_hidden_states_of_any_type<D: Ops<Activation = Working>>() {
        let _ = fill::<D, Vec<usize>>;
        let _ = score::score::<D>;
        let _ = causal::score::<D>;
        let _ = embed::<D>;
        let _ = hidden_states::<D>;
        let _ = next_sentence::<D>;
        let _ = classify::<D>;
        let _ = tag::<D>;
        let _ = generate::<D>;
    }

    #[test]
    fn chunks_cover_everything_in_order() {
        assert!(chunks([], 8).is_empty());
        assert_eq!(chunks([5], 8), vec![0..1]);
        assert_eq!(chunks([8, 1, 1], 8), [0..1, 1..3]);
        assert_eq!(chunks([1, 9, 1], 8), [0..1, 1..2, 2..3]);
        assert_eq!(chunks(vec![2; 9], 8), [0..4, 4..8, 8..9]);
    }

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let p = softmax(&[1000.0, 999.0, -1000.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((p[0] / p[1] - std::f32::consts::E).abs() < 1e-5);
    }
}
