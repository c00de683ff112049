//! Heads in training: forward with what backward needs, and backward.

use crate::device::{Device, Hidden, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::{Accumulate, Ops, activation, dropout, linear, lora};

use super::Bert;
use super::noise::{Noise, Site};
use super::parameters::Dense;
use super::scope::{Gradients, HeadPart};
use super::trainable::of_dense;

/// What pooling leaves for its backward.
pub struct PoolerTrace<D: Device> {
    /// `[S, H]`: rows of `[CLS]`.
    rows: Hidden<D>,
    /// `[S, H]`: before tanh.
    before: Hidden<D>,
    pair: Option<lora::Saved<D>>,
}

/// What a dense head leaves for its backward.
pub struct DenseTrace<D: Device> {
    /// `[R, H]`: what the head read, after dropout.
    x: Hidden<D>,
}

impl<D: Ops> Bert<D> {
    /// tanh(dense · rows), the rows being those of `[CLS]`.
    pub fn pool_saving(
        &self,
        device: &D,
        rows: Hidden<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
    ) -> Result<(Hidden<D>, PoolerTrace<D>)> {
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
        mut d: Hidden<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
        gradients: &mut Gradients<D>,
    ) -> Result<Hidden<D>> {
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
        mut x: Hidden<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
    ) -> Result<(Hidden<D>, DenseTrace<D>)> {
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
        dlogits: &Hidden<D>,
        numbers: &[usize],
        noise: Option<&Noise>,
        gradients: &mut Gradients<D>,
    ) -> Result<Hidden<D>> {
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
}

/// HuggingFace drops what classifiers read, not what the next-sentence and span heads do.
fn head_mask<'a>(part: HeadPart, numbers: &'a [usize], noise: Option<&Noise>) -> Option<dropout::Mask<'a>> {
    match part {
        HeadPart::Sequence | HeadPart::Token => noise.and_then(|noise| noise.mask(noise.head, Site::Head, numbers)),
        HeadPart::NextSentence | HeadPart::Span | HeadPart::MaskedLm => None,
    }
}
