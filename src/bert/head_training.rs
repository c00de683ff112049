//! Heads in training: forward with what backward needs, and backward.

use crate::device::{Device, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::linear::{Linear, Weight};
use crate::ops::{Accumulate, Ops, activation, dropout, layer_norm, linear, lora};

use super::Bert;
use super::heads::MaskedLm;
use super::noise::{Noise, Site};
use super::parameters::Dense;
use super::scope::{Gradients, HeadPart};
use super::trainable::{of_dense, of_norm, of_weight};

/// What pooling leaves for its backward.
pub struct PoolerTrace<D: Device> {
    /// `[S, H]`: rows of `[CLS]`.
    rows: Tensor<D>,
    /// `[S, H]`: before tanh.
    before: Tensor<D>,
    pair: Option<lora::Saved<D>>,
}

/// What a dense head leaves for its backward.
pub struct DenseTrace<D: Device> {
    /// `[R, H]`: what the head read, after dropout.
    x: Tensor<D>,
}

/// What the masked-LM head leaves for its backward.
pub struct MaskedLmTrace<D: Device> {
    /// `[R, H]`
    hidden: Tensor<D>,
    /// `[R, E]`: before the activation.
    before: Tensor<D>,
    norm: layer_norm::Saved<D>,
    /// `[R, E]`: what the decoder read.
    normal: Tensor<D>,
}

impl<D: Ops> Bert<D> {
    /// tanh(dense · rows), the rows being those of `[CLS]`.
    pub fn pool_saving(
        &self,
        device: &D,
        rows: Tensor<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
    ) -> Result<(Tensor<D>, PoolerTrace<D>)> {
        let pooler = self.heads.pooler.as_ref().map_err(Clone::clone)?;
        let (mut before, mut pooled) = (Tensor::new(device, 0, 0)?, Tensor::new(device, 0, 0)?);
        linear::forward(device, &rows, &[pooler.linear()], Activation::Identity, &mut before)?;
        let pair = match self.encoder.adapter().and_then(|adapter| adapter.pooler.as_ref()) {
            None => None,
            Some(pair) => {
                let mask = noise.and_then(|noise| noise.mask(noise.lora, Site::PoolerPair, numbers));
                Some(lora::forward(device, &rows, &pair.lora(), mask.as_ref(), &mut before, 0)?)
            }
        };
        activation::forward(device, &before, Activation::Tanh, &mut pooled)?;
        Ok((pooled, PoolerTrace { rows, before, pair }))
    }

    /// From the gradient of the pooled rows to that of the rows.
    pub fn pool_backward(
        &self,
        device: &D,
        trace: &PoolerTrace<D>,
        mut d: Tensor<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
        gradients: &mut Gradients<D>,
    ) -> Result<Tensor<D>> {
        let pooler = self.heads.pooler.as_ref().map_err(Clone::clone)?;
        activation::backward(device, &trace.before, Activation::Tanh, &mut d)?;
        let into = vec![of_dense(gradients.pooler.as_mut())?];
        linear::backward_parameters(device, &trace.rows, &d, &[pooler.linear()], into)?;
        let mut dx = Tensor::new(device, 0, 0)?;
        linear::backward_input(device, &d, &[pooler.linear()], &mut dx)?;
        let pair = self.encoder.adapter().and_then(|adapter| adapter.pooler.as_ref());
        let into = gradients.encoder.adapter.as_mut().and_then(|adapter| adapter.pooler.as_mut());
        if let (Some(pair), Some(saved), Some(into)) = (pair, &trace.pair, into) {
            let mask = noise.and_then(|noise| noise.mask(noise.lora, Site::PoolerPair, numbers));
            let (into, dx) = (into.gradients(), Some(Accumulate(&mut dx)));
            lora::backward(device, &trace.rows, &pair.lora(), mask.as_ref(), saved, &d, 0, into, dx)?;
        }
        Ok(dx)
    }

    /// Logits of a dense head over rows `[R, H]`, after dropout where the head has some.
    pub fn head_saving(
        &self,
        device: &D,
        part: HeadPart,
        mut x: Tensor<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
    ) -> Result<(Tensor<D>, DenseTrace<D>)> {
        let dense = self.heads.dense(part)?;
        if let Some(mask) = head_mask(part, numbers, noise) {
            dropout::apply(device, &mask, &mut x)?;
        }
        let mut logits = Tensor::new(device, 0, 0)?;
        linear::forward(device, &x, &[dense.linear()], Activation::Identity, &mut logits)?;
        Ok((logits, DenseTrace { x }))
    }

    /// From the gradient of the logits to that of the rows.
    #[allow(clippy::too_many_arguments)] // what forward had, what it left, and the two ends of a derivative
    pub fn head_backward(
        &self,
        device: &D,
        part: HeadPart,
        trace: &DenseTrace<D>,
        dlogits: &Tensor<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
        gradients: &mut Gradients<D>,
    ) -> Result<Tensor<D>> {
        let dense = self.heads.dense(part)?;
        let into: Option<&mut Dense<D>> = match part {
            HeadPart::NextSentence => gradients.next_sentence.as_mut(),
            HeadPart::Sequence => gradients.sequence.as_mut(),
            HeadPart::Token => gradients.token.as_mut(),
            HeadPart::Span => gradients.span.as_mut(),
            HeadPart::MaskedLm => None,
        };
        linear::backward_parameters(device, &trace.x, dlogits, &[dense.linear()], vec![of_dense(into)?])?;
        let mut dx = Tensor::new(device, 0, 0)?;
        linear::backward_input(device, dlogits, &[dense.linear()], &mut dx)?;
        if let Some(mask) = head_mask(part, numbers, noise) {
            dropout::apply(device, &mask, &mut dx)?;
        }
        Ok(dx)
    }

    /// Logits `[R, V]` of masked rows `[R, H]`.
    pub fn masked_lm_saving(&self, device: &D, hidden: Tensor<D>) -> Result<(Tensor<D>, MaskedLmTrace<D>)> {
        let head = self.heads.masked_lm.as_ref().map_err(Clone::clone)?;
        let new = || Tensor::new(device, 0, 0);
        let (mut before, mut activated, mut normal, mut logits) = (new()?, new()?, new()?, new()?);
        linear::forward(device, &hidden, &[head.transform.linear()], Activation::Identity, &mut before)?;
        activation::forward(device, &before, head.activation, &mut activated)?;
        let norm = layer_norm::forward_saving(device, &activated, None, &head.norm.affine(), &mut normal)?;
        linear::forward(device, &normal, &[self.decoder(head)], Activation::Identity, &mut logits)?;
        Ok((logits, MaskedLmTrace { hidden, before, norm, normal }))
    }

    /// From the gradient of the logits to that of the rows. A tied decoder's gradient goes to the word embeddings, where
    /// those train.
    pub fn masked_lm_backward(
        &self,
        device: &D,
        trace: &MaskedLmTrace<D>,
        dlogits: &Tensor<D>,
        gradients: &mut Gradients<D>,
    ) -> Result<Tensor<D>> {
        let head = self.heads.masked_lm.as_ref().map_err(Clone::clone)?;
        let Gradients { masked_lm, encoder, .. } = gradients;
        let (weight, bias, transform, norm) = match masked_lm {
            None => (None, None, None, None),
            Some(into) => {
                let own = into.decoder.as_mut().map(of_weight).transpose()?;
                (own, Some(Accumulate(&mut into.bias)), Some(&mut into.transform), Some(&mut into.norm))
            }
        };
        let tied = head.decoder.is_none();
        let weight = match (tied, &mut encoder.embeddings) {
            (true, Some(embeddings)) => Some(of_weight(&mut embeddings.word)?),
            (true, None) => None,
            (false, _) => weight,
        };
        let decoder = [self.decoder(head)];
        let into = vec![linear::Gradients { weight, bias }];
        linear::backward_parameters(device, &trace.normal, dlogits, &decoder, into)?;
        let (mut d, mut dx) = (Tensor::new(device, 0, 0)?, Tensor::new(device, 0, 0)?);
        linear::backward_input(device, dlogits, &decoder, &mut d)?;
        layer_norm::backward(device, &trace.norm, &head.norm.affine(), &d, of_norm(norm), &mut dx)?;
        activation::backward(device, &trace.before, head.activation, &mut dx)?;
        let layers = [head.transform.linear()];
        linear::backward_parameters(device, &trace.hidden, &dx, &layers, vec![of_dense(transform)?])?;
        linear::backward_input(device, &dx, &layers, &mut d)?;
        Ok(d)
    }

    fn decoder<'a>(&'a self, head: &'a MaskedLm<D>) -> Linear<'a, D> {
        let words: &Weight<D> = &self.encoder.embeddings().word;
        Linear { weight: head.decoder.as_ref().unwrap_or(words), bias: Some(&head.bias) }
    }
}

/// HuggingFace drops what classifiers read, not what the next-sentence and span heads do.
fn head_mask<'a>(part: HeadPart, numbers: &'a [usize], noise: Option<&Noise>) -> Option<dropout::Mask<'a>> {
    match part {
        HeadPart::Sequence | HeadPart::Token => noise.and_then(|noise| noise.mask(noise.head, Site::Head, numbers)),
        HeadPart::NextSentence | HeadPart::Span | HeadPart::MaskedLm => None,
    }
}
