//! The masked-LM head: words for masked rows, and in training its loss and gradients, a chunk of rows at a time.

use std::sync::Arc;

use crate::device::{Device, Tensor};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::cross_entropy::{self, Outcome, Targets};
use crate::ops::linear::{Linear, Weight};
use crate::ops::{Accumulate, Ops, activation, gather, layer_norm, linear};
use crate::weights::Weights;

use super::Bert;
use super::config::{Architecture, Config};
use super::init::Fresh;
use super::parameters::{Dense, Loader, Norm};
use super::scope::Gradients;
use super::trainable::{of_dense, of_norm, of_weight};

/// The masked-LM head: logits = decoder · LN(act(dense · h)) + bias.
pub struct MaskedLm<D: Device> {
    /// H → E
    pub(super) transform: Dense<D>,
    pub(super) norm: Norm<D>,
    /// `[V, E]`, unless it is the word embeddings.
    pub(super) decoder: Option<Weight<D>>,
    /// `[1, V]`
    pub(super) bias: Tensor<D>,
    pub(super) activation: Activation,
    pub(super) names: MaskedLmNames,
}

/// Canonical names of the head's tensors.
#[derive(Clone)]
pub(super) struct MaskedLmNames {
    pub transform: &'static str,
    pub norm: &'static str,
    pub decoder: &'static str,
    pub bias: String,
}

impl<D: Ops> MaskedLm<D> {
    /// Takes the head's parameters; all of them must be there.
    pub(super) fn load(loader: &mut Loader<'_, D>, config: &Config) -> Result<Self> {
        let (transform, norm, root) = match config.architecture {
            Architecture::Bert => {
                ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions")
            }
            Architecture::Albert => ("predictions.dense", "predictions.LayerNorm", "predictions"),
        };
        let (width, tied) = (config.embedding, config.tie_word_embeddings);
        let (own, alias) = (format!("{root}.bias"), format!("{root}.decoder.bias"));
        // Tied models keep the bias under the head's own name; untied ones compute with the decoder's.
        let order = if tied { [own, alias] } else { [alias, own] };
        let decoder = match config.architecture {
            Architecture::Bert => "cls.predictions.decoder.weight",
            Architecture::Albert => "predictions.decoder.weight",
        };
        let bias = order.iter().find(|name| loader.weights.contains(name)).unwrap_or(&order[0]);
        Ok(Self {
            transform: loader.dense(transform, config.hidden, width)?,
            norm: loader.norm(norm, width, config.norm_eps)?,
            bias: loader.vector(bias, config.vocabulary)?,
            decoder: match tied {
                true => None,
                false => Some(loader.weight(decoder, config.vocabulary, width)?),
            },
            activation: config.activation,
            names: MaskedLmNames { transform, norm, decoder, bias: bias.clone() },
        })
    }

    /// Logits `[R, V]` of hidden states `[R, H]`. `words` are the word embeddings.
    pub fn logits(&self, device: &D, hidden: &Tensor<D>, words: &Weight<D>, logits: &mut Tensor<D>) -> Result<()> {
        let (mut transformed, mut normal) = (Tensor::new(device, 0, 0)?, Tensor::new(device, 0, 0)?);
        linear::forward(device, hidden, &[self.transform.linear()], self.activation, &mut transformed)?;
        layer_norm::forward(device, &transformed, None, &self.norm.affine(), &mut normal)?;
        let decoder = Linear { weight: self.decoder.as_ref().unwrap_or(words), bias: Some(&self.bias) };
        linear::forward(device, &normal, &[decoder], Activation::Identity, logits)
    }
}

impl<D: Ops> Bert<D> {
    /// Gives the model a new masked-LM head. Returns the canonical names of its tensors.
    pub fn make_masked_lm(&mut self, device: &D, seed: u64) -> Result<Vec<String>> {
        let mut fresh = Fresh::of(&self.config, seed, vec!["cls.predictions.", "predictions."]);
        let mut nothing = Weights::empty();
        let mut loader = Loader { device, weights: &mut nothing, fresh: Some(&mut fresh) };
        self.heads.masked_lm = Ok(Arc::new(MaskedLm::load(&mut loader, &self.config)?));
        Ok(fresh.made)
    }
}

/// Logits that exist at a time: 8 MiB of them, and as much of their gradient.
const LOGITS: usize = 2 << 20;
/// Rows of a chunk at least, however large the vocabulary: below, every chunk would wait for the decoder's weights.
const ROWS: usize = 32;

/// Rows whose logits exist at a time.
fn chunk_rows(vocabulary: usize) -> usize {
    (LOGITS / vocabulary.max(1)).max(ROWS)
}

/// Where gradients go, and what they are multiplied by.
pub struct Learning<'a, D: Device> {
    /// Factor on the gradient of Σ losses.
    pub scale: f32,
    /// Added to.
    pub gradients: &'a mut Gradients<D>,
}

impl<D: Ops> Bert<D> {
    /// Σ losses of masked rows `[R, H]` against their `words` `[R]`, and how many are right. The projection onto the
    /// vocabulary, its loss and its gradient run a chunk of rows at a time: there is never a matrix `[R, V]`.
    ///
    /// With `learning`, gradients of the head are added, and that of the rows is returned; a tied decoder's gradient goes to
    /// the word embeddings, where those train.
    ///
    /// Fails when a word is not in the vocabulary.
    pub fn masked_lm_loss(
        &self,
        device: &D,
        hidden: &Tensor<D>,
        words: &[i32],
        learning: Option<Learning<'_, D>>,
    ) -> Result<(Outcome, Option<Tensor<D>>)> {
        let head = self.heads.masked_lm.as_ref().map_err(Clone::clone)?;
        if words.len() != hidden.rows() {
            return Err(Error::internal(format!("{} words for {} masked rows", words.len(), hidden.rows())));
        }
        let new = || Tensor::new(device, 0, 0);
        let (mut before, mut activated, mut normal) = (new()?, new()?, new()?);
        linear::forward(device, hidden, &[head.transform.linear()], Activation::Identity, &mut before)?;
        activation::forward(device, &before, head.activation, &mut activated)?;
        let saved = layer_norm::forward_saving(device, &activated, None, &head.norm.affine(), &mut normal)?;
        drop(activated);
        let Some(Learning { scale, gradients }) = learning else {
            return Ok((self.vocabulary(device, head, &normal, words, None)?, None));
        };
        let mut d = Tensor::zeros(device, normal.rows(), normal.cols())?;
        let outcome = self.vocabulary(device, head, &normal, words, Some((scale, &mut d, gradients)))?;
        let (transform, norm) = match &mut gradients.masked_lm {
            None => (None, None),
            Some(into) => (Some(&mut into.transform), Some(&mut into.norm)),
        };
        let mut dx = new()?;
        layer_norm::backward(device, &saved, &head.norm.affine(), &d, of_norm(norm), &mut dx)?;
        activation::backward(device, &before, head.activation, &mut dx)?;
        let layers = [head.transform.linear()];
        linear::backward_parameters(device, hidden, &dx, &layers, vec![of_dense(transform)?])?;
        linear::backward_input(device, &dx, &layers, &mut d)?;
        Ok((outcome, Some(d)))
    }

    /// Losses of the decoder's logits over `normal` `[R, E]`, chunk by chunk; with a scale, gradients too, that of `normal`
    /// added to.
    fn vocabulary(
        &self,
        device: &D,
        head: &MaskedLm<D>,
        normal: &Tensor<D>,
        words: &[i32],
        mut learning: Option<(f32, &mut Tensor<D>, &mut Gradients<D>)>,
    ) -> Result<Outcome> {
        let new = || Tensor::new(device, 0, 0);
        let (mut rows, mut logits, mut dlogits, mut d_rows) = (new()?, new()?, new()?, new()?);
        let decoder = [self.decoder(head)];
        let chunk = chunk_rows(decoder[0].weight.shape().0);
        let mut outcome = Outcome::default();
        for (index, words) in words.chunks(chunk).enumerate() {
            let numbers: Vec<usize> = (index * chunk..index * chunk + words.len()).collect();
            gather::forward(device, normal, &numbers, &mut rows)?;
            linear::forward(device, &rows, &decoder, Activation::Identity, &mut logits)?;
            let targets = Targets { labels: words, smoothing: 0.0, class_weights: None };
            let part = match &mut learning {
                None => cross_entropy::forward(device, &logits, &targets)?,
                Some((scale, d, gradients)) => {
                    let part = cross_entropy::forward_backward(device, &logits, &targets, *scale, &mut dlogits)?;
                    let into = vec![decoder_gradients(gradients, head.decoder.is_none())?];
                    linear::backward_parameters(device, &rows, &dlogits, &decoder, into)?;
                    linear::backward_input(device, &dlogits, &decoder, &mut d_rows)?;
                    gather::backward(device, &d_rows, &numbers, Accumulate(d))?;
                    part
                }
            };
            outcome.loss += part.loss;
            outcome.correct += part.correct;
        }
        Ok(outcome)
    }

    fn decoder<'a>(&'a self, head: &'a MaskedLm<D>) -> Linear<'a, D> {
        let words: &Weight<D> = &self.encoder.embeddings().word;
        Linear { weight: head.decoder.as_ref().unwrap_or(words), bias: Some(&head.bias) }
    }
}

/// Where the gradients of the decoder go: of a tied one, to the word embeddings.
fn decoder_gradients<D: Device>(gradients: &mut Gradients<D>, tied: bool) -> Result<linear::Gradients<'_, D>> {
    let Gradients { masked_lm, encoder, .. } = gradients;
    let (own, bias) = match masked_lm {
        None => (None, None),
        Some(into) => (into.decoder.as_mut().map(of_weight).transpose()?, Some(Accumulate(&mut into.bias))),
    };
    let weight = match (tied, &mut encoder.embeddings) {
        (true, Some(embeddings)) => Some(of_weight(&mut embeddings.word)?),
        (true, None) => None,
        (false, _) => own,
    };
    Ok(linear::Gradients { weight, bias })
}
