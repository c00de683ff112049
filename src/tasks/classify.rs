//! Classify: labels of a text or a pair.

use super::{Progress, finite, in_chunks, softmax};
use crate::batch::{Batch, Tokens};
use crate::bert::{Bert, Config, Problem};
use crate::error::Result;
use crate::ops::Ops;

/// What turns a row of logits into what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Probabilities that sum to one.
    Softmax,
    /// A probability for each label by itself.
    Sigmoid,
    /// The logits.
    Identity,
}

impl Function {
    /// What HuggingFace's text-classification pipeline applies: nothing for `regression`, the sigmoid for several
    /// labels at once or for a single one, else the softmax.
    pub fn of(config: &Config) -> Self {
        match config.problem {
            Some(Problem::Regression) => Self::Identity,
            Some(Problem::MultiLabel) => Self::Sigmoid,
            Some(Problem::SingleLabel) => Self::Softmax,
            None if config.labels.len() == 1 => Self::Sigmoid,
            None => Self::Softmax,
        }
    }

    fn apply(self, logits: &[f32]) -> Vec<f32> {
        match self {
            Self::Softmax => softmax(logits),
            Self::Sigmoid => logits.iter().map(|&x| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32).collect(),
            Self::Identity => logits.to_vec(),
        }
    }
}

/// One value a label for each input, in the order of the labels.
///
/// Fails with `Missing` when the model has no sequence classifier.
pub fn classify<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    inputs: &[Tokens],
    function: Function,
    progress: Progress<'_>,
) -> Result<Vec<Vec<f32>>> {
    bert.heads().sequence.as_ref().map_err(Clone::clone)?;
    bert.heads().pooler.as_ref().map_err(Clone::clone)?;
    in_chunks(device, inputs, progress, |inputs| {
        let logits = bert.classify(device, &Batch::of(inputs)?)?;
        let values = logits.to_values(device)?;
        finite("classifier output", &values)?;
        Ok(values.chunks_exact(logits.cols()).map(|row| function.apply(row)).collect())
    })
}
