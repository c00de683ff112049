//! Hidden states of chosen layers.

use super::{Progress, finite, in_chunks};
use crate::batch::{Batch, Tokens};
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
        bert.encoder().show(device, &batch, depth, &mut |layer, sequences, hidden| {
            if !layers.contains(&layer) {
                return Ok(());
            }
            let values = hidden.to_values(device)?;
            finite("hidden state", &values)?;
            let (width, first) = (hidden.cols(), batch.rows(sequences.start).start);
            for (sequence, states) in sequences.clone().zip(&mut states[sequences]) {
                let rows = batch.rows(sequence);
                let values = &values[(rows.start - first) * width..(rows.end - first) * width];
                for (slot, _) in layers.iter().enumerate().filter(|&(_, &wanted)| wanted == layer) {
                    states[slot] = values.to_vec();
                }
            }
            Ok(())
        })?;
        Ok(states)
    })
}
