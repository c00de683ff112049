//! The masked-LM head: words for masked places, and their loss in training.
//!
//! V is large, so a loss walks over the rows in chunks: logits, loss, their gradient, and what follows from it for the
//! decoder and for the rows. At no time is there a matrix `[R, V]` of more than a chunk's rows.

use std::ops::Range;
use std::sync::Arc;

use crate::device::{Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::cross_entropy::{self, Outcome, Targets};
use crate::ops::linear::{Factors, Linear, Weight};
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
    pub fn logits(&self, device: &D, hidden: &Hidden<D>, words: &Weight<D>, logits: &mut Hidden<D>) -> Result<()> {
        let (mut transformed, mut normal) = (Tensor::new(device, 0, 0)?, Tensor::new(device, 0, 0)?);
        linear::forward(device, hidden, &[self.transform.linear()], self.activation, &mut transformed)?;
        layer_norm::forward(device, &transformed, None, &self.norm.affine(), &mut normal)?;
        linear::forward(device, &normal, &[self.decoder(words)], Activation::Identity, logits)
    }

    fn decoder<'a>(&'a self, words: &'a Weight<D>) -> Linear<'a, D> {
        Linear {
            weight: self.decoder.as_ref().unwrap_or(words),
            bias: Some(&self.bias),
            packed: None,
            factors: Factors::Exact,
        }
    }
}

/// Rows of a chunk, however large the vocabulary: with fewer, fetching the decoder costs more than multiplying by it.
const FEWEST: usize = 32;

/// Most rows whose logits exist at once in training, where those take `bytes`.
pub fn chunk_rows(vocabulary: usize, bytes: usize) -> usize {
    (bytes / size_of::<f32>() / vocabulary.max(1)).max(FEWEST)
}

/// `0..rows` in chunks of nearly equal size, of `most` rows at most.
fn chunks(rows: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(most.max(1));
    (0..count).map(move |chunk| rows * chunk / count..rows * (chunk + 1) / count)
}

/// Where the gradients of the head's parameters are added; `None` where they are frozen.
struct Targeted<'a, D: Device> {
    decoder: Option<&'a mut Tensor<D>>,
    bias: Option<&'a mut Tensor<D>>,
    transform: Option<&'a mut Dense<D>>,
    norm: Option<&'a mut Norm<D>>,
}

impl<'a, D: Ops> Targeted<'a, D> {
    fn of(head: &MaskedLm<D>, gradients: &'a mut Gradients<D>) -> Result<Self> {
        let Gradients { masked_lm, encoder, .. } = gradients;
        let (own, bias, transform, norm) = match masked_lm {
            None => (None, None, None, None),
            Some(MaskedLm { decoder, bias, transform, norm, .. }) => {
                (decoder.as_mut(), Some(bias), Some(transform), Some(norm))
            }
        };
        let weight = match &head.decoder {
            Some(_) => own,
            None => encoder.embeddings.as_mut().map(|embeddings| &mut embeddings.word),
        };
        let decoder = weight.map(of_weight).transpose()?.map(|Accumulate(tensor)| tensor);
        Ok(Self { decoder, bias, transform, norm })
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

    /// Canonical name of the bias of the masked-LM logits, where there is such a head.
    pub fn word_bias(&self) -> Option<&str> {
        self.heads.masked_lm.as_ref().ok().map(|head| head.names.bias.as_str())
    }

    /// Masked-LM logits `[R, V]` of final hidden states `[R, H]`. Fails when the checkpoint has no such head.
    pub fn masked_lm(&self, device: &D, hidden: &Hidden<D>, logits: &mut Hidden<D>) -> Result<()> {
        let head = self.heads.masked_lm.as_ref().map_err(Clone::clone)?;
        head.logits(device, hidden, &self.encoder.embeddings().word, logits)
    }

    /// Σ losses of masked rows `[R, H]` against their `words`, and how many are right; a row whose word is
    /// [`cross_entropy::IGNORED`] does not count. With `learn`, a factor and gradients: adds the factor times the
    /// gradient of the head to those, and returns the factor times the gradient of the rows `[R, H]`. A tied decoder's
    /// gradient goes to the word embeddings, where those train.
    ///
    /// Chunks follow from R and V alone and are added in order: the results are the same bits on any number of threads,
    /// and the outcome with `learn` and without.
    ///
    /// Fails when the checkpoint has no such head, or a word is not in the vocabulary; gradients then hold what they may.
    pub fn masked_lm_loss(
        &self,
        device: &D,
        hidden: Hidden<D>,
        words: &[i32],
        learn: Option<(f32, &mut Gradients<D>)>,
    ) -> Result<(Outcome, Option<Hidden<D>>)> {
        let most = chunk_rows(self.config.vocabulary, device.portions().pass_logits);
        self.masked_lm_loss_by(device, hidden, words, learn, most)
    }

    /// [`Bert::masked_lm_loss`] in chunks of `most` rows at most.
    fn masked_lm_loss_by(
        &self,
        device: &D,
        hidden: Hidden<D>,
        words: &[i32],
        learn: Option<(f32, &mut Gradients<D>)>,
        most: usize,
    ) -> Result<(Outcome, Option<Hidden<D>>)> {
        let head = self.heads.masked_lm.as_deref().map_err(Clone::clone)?;
        if hidden.rows() != words.len() {
            return Err(Error::internal(format!("masked LM: {} words for {} rows", words.len(), hidden.rows())));
        }
        let new = || Tensor::new(device, 0, 0);
        let layers = [head.transform.linear()];
        let (mut before, mut activated, mut normal) = (new()?, new()?, new()?);
        linear::forward(device, &hidden, &layers, Activation::Identity, &mut before)?;
        activation::forward(device, &before, head.activation, &mut activated)?;
        let saved = layer_norm::forward_saving(device, &activated, None, &head.norm.affine(), &mut normal)?;
        drop(activated);
        let walk =
            Walk { device, decoder: head.decoder(&self.encoder.embeddings().word), normal: &normal, words, most };
        let Some((scale, gradients)) = learn else { return Ok((walk.outcome()?, None)) };

        let Targeted { decoder, bias, transform, norm } = Targeted::of(head, gradients)?;
        let (outcome, mut d) = walk.learn(scale, decoder, bias)?;
        let mut dx = new()?;
        layer_norm::backward(device, &saved, &head.norm.affine(), &d, of_norm(norm), &mut dx)?;
        activation::backward(device, &before, head.activation, &mut dx)?;
        linear::backward_parameters(device, &hidden, &dx, &layers, vec![of_dense(transform)?])?;
        linear::backward_input(device, &dx, &layers, &mut d)?;
        Ok((outcome, Some(d)))
    }
}

/// What the decoder reads, a chunk at a time.
struct Walk<'a, D: Device> {
    device: &'a D,
    decoder: Linear<'a, D>,
    /// `[R, E]`
    normal: &'a Hidden<D>,
    /// `[R]`
    words: &'a [i32],
    /// Most rows of a chunk.
    most: usize,
}

impl<D: Ops> Walk<'_, D> {
    /// Calls `visit` with the rows of each chunk, what the decoder read `[C, E]`, its logits `[C, V]`, and their words.
    fn chunks(
        &self,
        mut visit: impl FnMut(&[usize], &Hidden<D>, &Hidden<D>, &Targets<'_>) -> Result<()>,
    ) -> Result<()> {
        let (mut x, mut logits) = (Tensor::new(self.device, 0, 0)?, Tensor::new(self.device, 0, 0)?);
        for chunk in chunks(self.normal.rows(), self.most) {
            let rows: Vec<usize> = chunk.clone().collect();
            gather::forward(self.device, self.normal, &rows, &mut x)?;
            linear::forward(self.device, &x, std::slice::from_ref(&self.decoder), Activation::Identity, &mut logits)?;
            let targets = Targets { labels: &self.words[chunk], smoothing: 0.0, class_weights: None };
            visit(&rows, &x, &logits, &targets)?;
        }
        Ok(())
    }

    fn outcome(&self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        self.chunks(|_, _, logits, targets| {
            outcome += cross_entropy::forward(self.device, logits, targets)?;
            Ok(())
        })?;
        Ok(outcome)
    }

    /// The outcome, and `scale` times its gradient: added to `weight` `[V, E]` and `bias` `[1, V]`, returned for `normal`.
    fn learn(
        &self,
        scale: f32,
        mut weight: Option<&mut Tensor<D>>,
        mut bias: Option<&mut Tensor<D>>,
    ) -> Result<(Outcome, Hidden<D>)> {
        let (device, decoder) = (self.device, std::slice::from_ref(&self.decoder));
        let mut outcome = Outcome::default();
        let (mut dlogits, mut dx) = (Tensor::new(device, 0, 0)?, Tensor::new(device, 0, 0)?);
        let mut dnormal = Tensor::zeros(device, self.normal.rows(), self.normal.cols())?;
        self.chunks(|rows, x, logits, targets| {
            outcome += cross_entropy::forward_backward(device, logits, targets, scale, &mut dlogits)?;
            let (weight, bias) = (weight.as_deref_mut().map(Accumulate), bias.as_deref_mut().map(Accumulate));
            linear::backward_parameters(device, x, &dlogits, decoder, vec![linear::Gradients { weight, bias }])?;
            linear::backward_input(device, &dlogits, decoder, &mut dx)?;
            gather::backward(device, &dx, rows, Accumulate(&mut dnormal))
        })?;
        Ok((outcome, dnormal))
    }
}

#[cfg(test)]
mod tests;
