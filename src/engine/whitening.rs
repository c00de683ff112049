//! Embeddings whose directions all vary alike.

use std::sync::Arc;

use super::device::{Place, on};
use super::{Encoded, Inner, Input, Model, Run, Task, TextOptions};
use crate::bert::sentence::{self, DenseConfig};
use crate::bert::{Content, Dense, Sentence};
use crate::device::Tensor;
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::linear::Weight;
use crate::tasks::{self, Pipeline, Stage};
use crate::train::closed_form::{self, Moments};

impl Model {
    /// The same model with embeddings of `width` numbers, whitened (Su et al. 2021): turned, scaled and cut so that over
    /// `texts` they have mean 0 and the identity as covariance. Everything but this last step is shared. A folder's
    /// `truncate_dim` gives way to `width`.
    ///
    /// Several thousand texts of the kind that will be embedded are right. Fails with `Unsupported` in a library built
    /// without `linalg`, `InvalidArgument` when `texts` vary along fewer than `width` directions, and as [`Model::encode`]
    /// and [`Model::embed`] do.
    pub fn whiten(&self, texts: &[Input<'_>], width: usize, run: Run<'_>) -> Result<Model> {
        closed_form::available()?;
        let encoded = self.encode(texts, Task::Embed, &TextOptions::default())?;
        on!(&self.0, |inner| inner.whiten(&encoded, width, run).map(Model::from))
    }
}

impl<D: Place> Inner<D> {
    fn whiten(&self, texts: &Encoded, width: usize, run: Run<'_>) -> Result<Self> {
        let mut pipeline = whole(&self.device, &self.pipeline)?;
        let inputs = pipeline.width(self.bert.config().hidden);
        let mut moments = Moments::new(inputs, 0)?;
        let vectors = self
            .run(run, |device, progress| tasks::embed(device, &self.bert, &pipeline, &texts.sequences(), progress))?;
        vectors.iter().try_for_each(|vector| moments.add(vector, &[]))?;
        let layer = closed_form::whitening(&moments, width)?;

        let weight = Weight::F32(Tensor::from_host(&self.device, &layer.weight, width, inputs)?);
        let bias = Some(Tensor::from_host(&self.device, &layer.bias, 1, width)?);
        pipeline.stages.push(Stage::Dense(Dense::new(weight, bias), Activation::Identity));
        let mut sentence = (*self.sentence).clone().unwrap_or_else(|| self.plain());
        let mut config = DenseConfig {
            folder: String::new(),
            in_features: inputs,
            out_features: width,
            bias: true,
            activation: Activation::Identity,
        };
        config.folder = sentence::Stage::Dense(config.clone()).place(sentence.stages.len());
        sentence.stages.push(sentence::Stage::Dense(config));
        sentence.truncate = None;
        let mut inner = self.with(self.bert.share(), self.changed.clone());
        (inner.pipeline, inner.sentence) = (Arc::new(pipeline), Arc::new(Some(sentence)));
        Ok(inner)
    }

    /// What a folder without `modules.json` amounts to.
    fn plain(&self) -> Sentence {
        Sentence {
            transformer: String::new(),
            max_seq_length: Some(self.shared.max_tokens),
            do_lower_case: false,
            pooling: sentence::Pooling { modes: self.pipeline.pooling.clone(), width: None, include_prompt: true },
            stages: Vec::new(),
            truncate: None,
            prompts: Vec::new(),
            default_prompt: None,
            similarity: None,
        }
    }
}

/// The pipeline without truncation, in tensors of its own.
fn whole<D: Place>(device: &D, pipeline: &Pipeline<D>) -> Result<Pipeline<D>> {
    let stages = pipeline.stages.iter().map(|stage| {
        Ok(match stage {
            Stage::Dense(dense, activation) => Stage::Dense(dense.like(device, Content::Values)?, *activation),
            Stage::Normalize => Stage::Normalize,
        })
    });
    let stages = stages.collect::<Result<_>>()?;
    Ok(Pipeline { pooling: pipeline.pooling.clone(), stages, keep: None })
}
