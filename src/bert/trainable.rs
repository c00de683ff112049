//! Parameters as lists of tensors: copies to train, gradients of their shape, and one order for both.
//!
//! Gradients have the types of the parameters they belong to: the gradient of a [`Layer`] is a [`Layer`].

use crate::device::{Device, Integers, Tensor};
use crate::error::{Error, Result};
use crate::ops::linear::{self, Weight};
use crate::ops::{Accumulate, layer_norm};

use super::config::Architecture;
use super::masked_lm::MaskedLm;
use super::parameters::{Dense, Embeddings, Layer, LayerNames, Norm, Repacking};

/// What a copy of parameters holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The same values, in f32 whatever the storage.
    Values,
    /// Zeros: gradients before the first.
    Zeros,
}

/// Named tensors in an order that only depends on the structure.
pub type Named<'a, D> = Vec<(String, &'a Tensor<D>)>;

impl Content {
    /// A copy of `tensor`, or zeros of its shape.
    pub fn of<D: Device>(self, device: &D, tensor: &Tensor<D>) -> Result<Tensor<D>> {
        match self {
            Content::Values => tensor.duplicate(device),
            Content::Zeros => Tensor::zeros(device, tensor.rows(), tensor.cols()),
        }
    }

    fn of_weight<D: Device>(self, device: &D, weight: &Weight<D>) -> Result<Weight<D>> {
        let (rows, cols) = weight.shape();
        let widened = |values: Vec<f32>| Tensor::from_host(device, &values, rows, cols);
        Ok(Weight::F32(match (self, weight) {
            (Content::Zeros, _) => Tensor::zeros(device, rows, cols)?,
            (Content::Values, Weight::F32(w)) => w.duplicate(device)?,
            (Content::Values, Weight::F16(w)) => widened(w.to_host(device)?.iter().map(|v| v.to_f32()).collect())?,
            (Content::Values, Weight::Bf16(w)) => widened(w.to_host(device)?.iter().map(|v| v.to_f32()).collect())?,
            (Content::Values, Weight::Int8(w)) => widened(w.quantised().to_f32())?,
        }))
    }
}

fn plain<D: Device>(weight: &Weight<D>) -> Result<&Tensor<D>> {
    match weight {
        Weight::F32(tensor) => Ok(tensor),
        other => Err(Error::internal(format!("a weight stored as {} does not train", other.storage()))),
    }
}

fn plain_mut<D: Device>(weight: &mut Weight<D>) -> Result<&mut Tensor<D>> {
    match weight {
        Weight::F32(tensor) => Ok(tensor),
        other => Err(Error::internal(format!("a weight stored as {} does not train", other.storage()))),
    }
}

impl<D: Device> Dense<D> {
    /// The layer with other contents.
    pub fn like(&self, device: &D, content: Content) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| content.of(device, bias)).transpose()?;
        Ok(Self::new(content.of_weight(device, &self.weight)?, bias))
    }

    /// `name.weight` and `name.bias`.
    pub fn tensors(&self, name: &str) -> Result<Named<'_, D>> {
        let mut list = vec![(format!("{name}.weight"), plain(&self.weight)?)];
        list.extend(self.bias.iter().map(|bias| (format!("{name}.bias"), bias)));
        Ok(list)
    }

    /// The same tensors, to write.
    pub fn tensors_mut(&mut self) -> Result<Vec<&mut Tensor<D>>> {
        let mut list = vec![plain_mut(&mut self.weight)?];
        list.extend(self.bias.as_mut());
        Ok(list)
    }
}

/// Where the gradient of a dense layer goes: `gradient` has the layer's type, and is absent where the layer is frozen.
pub fn of_dense<D: Device>(gradient: Option<&mut Dense<D>>) -> Result<linear::Gradients<'_, D>> {
    Ok(match gradient {
        None => linear::Gradients { weight: None, bias: None },
        Some(dense) => linear::Gradients {
            weight: Some(Accumulate(plain_mut(&mut dense.weight)?)),
            bias: dense.bias.as_mut().map(Accumulate),
        },
    })
}

/// As [`of_dense`], of a layer norm.
pub fn of_norm<D: Device>(gradient: Option<&mut Norm<D>>) -> layer_norm::Gradients<'_, D> {
    match gradient {
        None => layer_norm::Gradients { gamma: None, beta: None },
        Some(norm) => {
            layer_norm::Gradients { gamma: Some(Accumulate(&mut norm.gamma)), beta: Some(Accumulate(&mut norm.beta)) }
        }
    }
}

/// Where the gradient of a weight alone goes.
pub fn of_weight<D: Device>(gradient: &mut Weight<D>) -> Result<Accumulate<'_, D>> {
    plain_mut(gradient).map(Accumulate)
}

impl<D: Device> Dense<D> {
    /// Numbers in it.
    pub fn numbers(&self) -> usize {
        let (rows, cols) = self.weight.shape();
        rows * cols + self.bias.as_ref().map_or(0, Tensor::cols)
    }
}

impl<D: Device> Layer<D> {
    /// Numbers in it.
    pub fn numbers(&self) -> usize {
        let dense = [&self.query, &self.key, &self.value, &self.attention_output, &self.intermediate, &self.output];
        let table = self.distance.as_ref().map_or(0, |table| table.rows() * table.cols());
        dense.into_iter().map(Dense::numbers).sum::<usize>() + table + 4 * self.output_norm.gamma.cols()
    }
}

impl<D: Device> Embeddings<D> {
    /// Numbers in it.
    pub fn numbers(&self) -> usize {
        let tables = [Some(&self.word), Some(&self.token_type), self.position.as_ref()];
        let table = |weight: &Weight<D>| weight.shape().0 * weight.shape().1;
        tables.into_iter().flatten().map(table).sum::<usize>()
            + 2 * self.norm.gamma.cols()
            + self.projection.as_ref().map_or(0, Dense::numbers)
    }
}

impl<D: Device> MaskedLm<D> {
    /// Numbers in it, a tied decoder left out.
    pub fn numbers(&self) -> usize {
        let decoder = self.decoder.as_ref().map_or(0, |weight| weight.shape().0 * weight.shape().1);
        self.transform.numbers() + 2 * self.norm.gamma.cols() + decoder + self.bias.cols()
    }
}

impl<D: Device> Norm<D> {
    fn like(&self, device: &D, content: Content) -> Result<Self> {
        let (gamma, beta) = (content.of(device, &self.gamma)?, content.of(device, &self.beta)?);
        Ok(Self { gamma, beta, epsilon: self.epsilon })
    }

    fn tensors(&self, name: &str) -> Named<'_, D> {
        vec![(format!("{name}.weight"), &self.gamma), (format!("{name}.bias"), &self.beta)]
    }

    fn tensors_mut(&mut self) -> [&mut Tensor<D>; 2] {
        [&mut self.gamma, &mut self.beta]
    }
}

impl<D: Device> Layer<D> {
    /// The layer with other contents.
    pub fn like(&self, device: &D, content: Content) -> Result<Self> {
        let dense = |dense: &Dense<D>| dense.like(device, content);
        Ok(Self {
            query: dense(&self.query)?,
            key: dense(&self.key)?,
            value: dense(&self.value)?,
            distance: self.distance.as_ref().map(|table| content.of(device, table)).transpose()?,
            attention_output: dense(&self.attention_output)?,
            attention_norm: self.attention_norm.like(device, content)?,
            intermediate: dense(&self.intermediate)?,
            output: dense(&self.output)?,
            output_norm: self.output_norm.like(device, content)?,
            repacking: Repacking::default(),
        })
    }

    /// Every tensor under its canonical name.
    pub fn tensors(&self, architecture: Architecture, group: usize, inner: usize) -> Result<Named<'_, D>> {
        let names = LayerNames::of(architecture, group, inner);
        let mut list = self.query.tensors(&names.query)?;
        list.extend(self.key.tensors(&names.key)?);
        list.extend(self.value.tensors(&names.value)?);
        list.extend(self.distance.iter().map(|table| (names.distance.clone(), table)));
        list.extend(self.attention_output.tensors(&names.attention_output)?);
        list.extend(self.attention_norm.tensors(&names.attention_norm));
        list.extend(self.intermediate.tensors(&names.intermediate)?);
        list.extend(self.output.tensors(&names.output)?);
        list.extend(self.output_norm.tensors(&names.output_norm));
        Ok(list)
    }

    /// The same tensors, to write.
    pub fn tensors_mut(&mut self) -> Result<Vec<&mut Tensor<D>>> {
        let mut list = self.query.tensors_mut()?;
        list.extend(self.key.tensors_mut()?);
        list.extend(self.value.tensors_mut()?);
        list.extend(self.distance.as_mut());
        list.extend(self.attention_output.tensors_mut()?);
        list.extend(self.attention_norm.tensors_mut());
        list.extend(self.intermediate.tensors_mut()?);
        list.extend(self.output.tensors_mut()?);
        list.extend(self.output_norm.tensors_mut());
        Ok(list)
    }
}

impl<D: Device> Embeddings<D> {
    /// The embeddings with other contents.
    pub fn like(&self, device: &D, content: Content) -> Result<Self> {
        Ok(Self {
            word: content.of_weight(device, &self.word)?,
            token_type: content.of_weight(device, &self.token_type)?,
            position: self.position.as_ref().map(|table| content.of_weight(device, table)).transpose()?,
            norm: self.norm.like(device, content)?,
            projection: self.projection.as_ref().map(|dense| dense.like(device, content)).transpose()?,
        })
    }

    /// Every tensor under its canonical name.
    pub fn tensors(&self) -> Result<Named<'_, D>> {
        let mut list = vec![
            ("embeddings.word_embeddings.weight".to_owned(), plain(&self.word)?),
            ("embeddings.token_type_embeddings.weight".to_owned(), plain(&self.token_type)?),
        ];
        if let Some(position) = &self.position {
            list.push(("embeddings.position_embeddings.weight".to_owned(), plain(position)?));
        }
        list.extend(self.norm.tensors("embeddings.LayerNorm"));
        if let Some(projection) = &self.projection {
            list.extend(projection.tensors("encoder.embedding_hidden_mapping_in")?);
        }
        Ok(list)
    }

    /// The same tensors, to write.
    pub fn tensors_mut(&mut self) -> Result<Vec<&mut Tensor<D>>> {
        let mut list = vec![plain_mut(&mut self.word)?, plain_mut(&mut self.token_type)?];
        if let Some(position) = &mut self.position {
            list.push(plain_mut(position)?);
        }
        list.extend(self.norm.tensors_mut());
        if let Some(projection) = &mut self.projection {
            list.extend(projection.tensors_mut()?);
        }
        Ok(list)
    }
}

impl<D: Device> MaskedLm<D> {
    /// The head with other contents.
    pub fn like(&self, device: &D, content: Content) -> Result<Self> {
        Ok(Self {
            transform: self.transform.like(device, content)?,
            norm: self.norm.like(device, content)?,
            decoder: self.decoder.as_ref().map(|decoder| content.of_weight(device, decoder)).transpose()?,
            bias: content.of(device, &self.bias)?,
            activation: self.activation,
            names: self.names.clone(),
        })
    }

    /// Every tensor under its canonical name; a tied decoder belongs to the embeddings.
    pub fn tensors(&self) -> Result<Named<'_, D>> {
        let mut list = self.transform.tensors(self.names.transform)?;
        list.extend(self.norm.tensors(self.names.norm));
        if let Some(decoder) = &self.decoder {
            list.push((self.names.decoder.to_owned(), plain(decoder)?));
        }
        list.push((self.names.bias.clone(), &self.bias));
        Ok(list)
    }

    /// The same tensors, to write.
    pub fn tensors_mut(&mut self) -> Result<Vec<&mut Tensor<D>>> {
        let mut list = self.transform.tensors_mut()?;
        list.extend(self.norm.tensors_mut());
        if let Some(decoder) = &mut self.decoder {
            list.push(plain_mut(decoder)?);
        }
        list.push(&mut self.bias);
        Ok(list)
    }
}
