//! Hidden states of chosen layers.

use super::{Progress, finite, in_chunks};
use crate::batch::{Batch, Selection, Tokens};
use crate::bert::Bert;
use crate::error::{Error, Result};
use crate::ops::Ops;

/// For every input and every layer of `layers`, in that order, hidden states `[T, H]` of its T tokens, row-major.
///
/// Layer 0 is the embeddings, layer L the last; layers beyond the largest asked for are not computed.
pub fn hidden_states<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    inputs: &[Tokens],
    layers: &[usize],
    progress: Progress<'_>,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let depth = layers.iter().copied().max().unwrap_or(0);
    if depth > bert.encoder().layers() {
        return Err(Error::argument(format!("layer {depth}, the last is {}", bert.encoder().layers())));
    }
    in_chunks(device, inputs, progress, |inputs| {
        let batch = Batch::of(inputs)?;
        let mut states = vec![vec![Vec::new(); layers.len()]; inputs.len()];
        bert.encoder().run(device, &batch, &Selection::all(&batch), depth, &mut |layer, hidden| {
            if !layers.contains(&layer) {
                return Ok(());
            }
            let values = hidden.to_values(device)?;
            finite("hidden state", &values)?;
            for (sequence, states) in states.iter_mut().enumerate() {
                let rows = batch.rows(sequence);
                for (slot, _) in layers.iter().enumerate().filter(|&(_, &wanted)| wanted == layer) {
                    states[slot] = values[rows.start * hidden.cols()..rows.end * hidden.cols()].to_vec();
                }
            }
            Ok(())
        })?;
        Ok(states)
    })
}
