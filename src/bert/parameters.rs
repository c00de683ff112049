//! Parameters as they come out of a checkpoint: the names that BERT and ALBERT give them, and their shapes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::device::{Device, Integers, Tensor};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::embedding::Tables;
use crate::ops::layer_norm::Affine;
use crate::ops::linear::{self, Factors, Linear, Packing, Weight};
use crate::weights::{Contents, Stored, Weights};

use super::config::{Architecture, Config, Position};
use super::init::Fresh;

/// A linear layer: `weight` `[out, in]`, `bias` `[1, out]`.
pub struct Dense<D: Device> {
    /// Stored in the file's type.
    pub weight: Weight<D>,
    /// Absent only in sentence-transformers' Dense modules.
    pub bias: Option<Tensor<D>>,
    /// The weight once more, rearranged for products, perhaps not yet.
    packed: OnceLock<D::Packed>,
}

impl<D: Device> Dense<D> {
    /// A layer whose weight is multiplied as it is.
    pub fn new(weight: Weight<D>, bias: Option<Tensor<D>>) -> Self {
        Self { weight, bias, packed: OnceLock::new() }
    }

    /// The layer as the linear op takes it.
    pub fn linear(&self) -> Linear<'_, D> {
        Linear { weight: &self.weight, bias: self.bias.as_ref(), packed: self.packed.get(), factors: Factors::Exact }
    }

    /// The same within the encoder while something trains.
    pub fn training(&self) -> Linear<'_, D> {
        Linear { factors: Factors::Rounded, ..self.linear() }
    }
}

/// A layer norm: γ and β `[1, H]`.
pub struct Norm<D: Device> {
    /// Scale.
    pub gamma: Tensor<D>,
    /// Shift.
    pub beta: Tensor<D>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl<D: Device> Norm<D> {
    /// The parameters as the layer-norm op takes them.
    pub fn affine(&self) -> Affine<'_, D> {
        Affine { gamma: &self.gamma, beta: &self.beta, epsilon: self.epsilon }
    }
}

/// The embedding tables, their norm, and ALBERT's projection E → H.
pub struct Embeddings<D: Device> {
    /// `[V, E]`; the masked-LM decoder too, where that is tied.
    pub word: Weight<D>,
    /// `[segments, E]`
    pub token_type: Weight<D>,
    /// `[places, E]`, with absolute positions only.
    pub position: Option<Weight<D>>,
    /// Over E.
    pub norm: Norm<D>,
    /// E → H; ALBERT only.
    pub projection: Option<Dense<D>>,
}

impl<D: Device> Embeddings<D> {
    /// The tables as the embedding op takes them.
    pub fn tables(&self) -> Tables<'_, D> {
        Tables { word: &self.word, token_type: &self.token_type, position: self.position.as_ref() }
    }
}

/// One transformer layer.
pub struct Layer<D: Device> {
    /// H → H
    pub query: Dense<D>,
    /// H → H
    pub key: Dense<D>,
    /// H → H
    pub value: Dense<D>,
    /// `[2P − 1, D]`, with relative positions only.
    pub distance: Option<Tensor<D>>,
    /// H → H
    pub attention_output: Dense<D>,
    /// After attention.
    pub attention_norm: Norm<D>,
    /// H → F
    pub intermediate: Dense<D>,
    /// F → H
    pub output: Dense<D>,
    /// After the feed-forward part.
    pub output_norm: Norm<D>,
    /// Of the linear layers' weights.
    pub repacking: Repacking,
}

/// When the weights of a transformer layer are rearranged for products. By default never, as it has to be where they train.
#[derive(Default)]
pub struct Repacking {
    when: Packing,
    /// How often answers have been computed with them.
    uses: AtomicU32,
}

impl<D: linear::Op> Layer<D> {
    /// Tells that an answer is computed with the weights next; they may be rearranged now.
    pub fn used(&self, device: &D) {
        // One caller gets there and no other waits: it may be on a thread that this one's work needs. Without the memory
        // for it, the layer goes on as it is.
        if self.repacking.when == Packing::UsedAgain && self.repacking.uses.fetch_add(1, Ordering::Relaxed) == 1 {
            let _ = self.pack(device);
        }
    }

    fn pack(&self, device: &D) -> Result<()> {
        let layers = [&self.query, &self.key, &self.value, &self.attention_output, &self.intermediate, &self.output];
        let packed = linear::pack(device, &layers.map(|dense| &dense.weight))?;
        for (dense, packed) in layers.into_iter().zip(packed) {
            dense.packed.set(packed).map_err(|_| Error::internal("a weight was packed twice"))?;
        }
        Ok(())
    }
}

/// Whether a linear layer has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// It is a tensor of the checkpoint.
    Stored,
    /// The layer was made without one.
    None,
}

/// Takes parameters out of a checkpoint by their canonical names.
pub struct Loader<'a, D: Device> {
    /// Where the parameters go.
    pub device: &'a D,
    /// Where they come from.
    pub weights: &'a mut Weights,
    /// What is made where they do not hold it.
    pub fresh: Option<&'a mut Fresh>,
}

impl<D: Device> Loader<'_, D> {
    /// `name` as a matrix in its storage type, in place where the device can.
    pub fn weight(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight<D>> {
        if !self.is_there(name) {
            return Ok(Weight::F32(self.made(name, rows, cols)?));
        }
        let Stored { mapped, dtype, .. } = match self.weights.take_matrix(name, rows, cols)? {
            Contents::Float(stored) => stored,
            Contents::Int8(stored) => {
                return Ok(match D::Integers::keep(stored.quantised()?) {
                    Ok(integers) => Weight::Int8(integers),
                    Err(quantised) => Weight::F32(Tensor::from_host(self.device, &quantised.to_f32(), rows, cols)?),
                });
            }
        };
        Ok(match dtype {
            DType::F32 => Weight::F32(Tensor::from_mapped(self.device, &mapped, rows, cols)?),
            DType::F16 => Weight::F16(Tensor::from_mapped(self.device, &mapped, rows, cols)?),
            DType::Bf16 => Weight::Bf16(Tensor::from_mapped(self.device, &mapped, rows, cols)?),
        })
    }

    /// `name` as one row of f32: in place when it is stored so, converted otherwise.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<D>> {
        self.tensor(name, &[length], 1, length)
    }

    /// `name` as a matrix of f32: in place when it is stored so, converted otherwise.
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Tensor<D>> {
        self.tensor(name, &[rows, cols], rows, cols)
    }

    fn tensor(&mut self, name: &str, shape: &[usize], rows: usize, cols: usize) -> Result<Tensor<D>> {
        if !self.is_there(name) {
            return self.made(name, rows, cols);
        }
        let stored = self.weights.take(name, shape)?;
        match stored.dtype {
            DType::F32 => Tensor::from_mapped(self.device, &stored.mapped, rows, cols),
            _ => Tensor::from_host(self.device, &stored.to_f32(), rows, cols),
        }
    }

    /// Whether the checkpoint has the tensor, or has to: where there is no leave to make any.
    fn is_there(&self, name: &str) -> bool {
        self.weights.contains(name) || self.fresh.is_none()
    }

    /// A new tensor, where there is leave to make this one.
    fn made(&mut self, name: &str, rows: usize, cols: usize) -> Result<Tensor<D>> {
        match self.fresh.as_mut().and_then(|fresh| fresh.make(name, rows, cols)) {
            Some(numbers) => Tensor::from_host(self.device, &numbers, rows, cols),
            None => Err(self.weights.lacks(name)),
        }
    }

    /// `name.weight` and `name.bias` as a linear layer.
    pub fn dense(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Dense<D>> {
        self.dense_with(name, inputs, outputs, Bias::Stored)
    }

    /// `name.weight` and, where there is one, `name.bias` as a linear layer.
    pub fn dense_with(&mut self, name: &str, inputs: usize, outputs: usize, bias: Bias) -> Result<Dense<D>> {
        let weight = self.weight(&format!("{name}.weight"), outputs, inputs)?;
        let bias = match bias {
            Bias::Stored => Some(self.vector(&format!("{name}.bias"), outputs)?),
            Bias::None => None,
        };
        Ok(Dense::new(weight, bias))
    }

    /// `name.weight` and `name.bias` as a layer norm.
    pub fn norm(&mut self, name: &str, width: usize, epsilon: f32) -> Result<Norm<D>> {
        Ok(Norm {
            gamma: self.vector(&format!("{name}.weight"), width)?,
            beta: self.vector(&format!("{name}.bias"), width)?,
            epsilon,
        })
    }

    /// The embeddings of `config`'s model.
    pub fn embeddings(&mut self, config: &Config) -> Result<Embeddings<D>> {
        let width = config.embedding;
        Ok(Embeddings {
            word: self.weight("embeddings.word_embeddings.weight", config.vocabulary, width)?,
            token_type: self.weight("embeddings.token_type_embeddings.weight", config.token_types, width)?,
            position: match config.position {
                Position::Absolute => {
                    Some(self.weight("embeddings.position_embeddings.weight", config.max_positions, width)?)
                }
                Position::RelativeKey | Position::RelativeKeyQuery => None,
            },
            norm: self.norm("embeddings.LayerNorm", width, config.norm_eps)?,
            projection: match config.architecture {
                Architecture::Bert => None,
                Architecture::Albert => {
                    Some(self.dense("encoder.embedding_hidden_mapping_in", width, config.hidden)?)
                }
            },
        })
    }
}

impl<D: linear::Op> Loader<'_, D> {
    /// Layer `inner` of group `group`; BERT's groups are its layers and have one each.
    pub fn layer(&mut self, config: &Config, group: usize, inner: usize) -> Result<Layer<D>> {
        let names = LayerNames::of(config.architecture, group, inner);
        let (hidden, wide, eps) = (config.hidden, config.intermediate, config.norm_eps);
        let when = self.device.linear_packing();
        let layer = Layer {
            query: self.dense(&names.query, hidden, hidden)?,
            key: self.dense(&names.key, hidden, hidden)?,
            value: self.dense(&names.value, hidden, hidden)?,
            distance: match config.position {
                Position::Absolute => None,
                Position::RelativeKey | Position::RelativeKeyQuery => {
                    Some(self.matrix(&names.distance, 2 * config.max_positions - 1, config.head_size())?)
                }
            },
            attention_output: self.dense(&names.attention_output, hidden, hidden)?,
            attention_norm: self.norm(&names.attention_norm, hidden, eps)?,
            intermediate: self.dense(&names.intermediate, hidden, wide)?,
            output: self.dense(&names.output, wide, hidden)?,
            output_norm: self.norm(&names.output_norm, hidden, eps)?,
            repacking: Repacking { when, uses: AtomicU32::new(0) },
        };
        if when == Packing::AtOnce {
            layer.pack(self.device)?;
        }
        Ok(layer)
    }
}

/// Canonical names of a layer's modules; of `distance`, of the tensor.
pub(super) struct LayerNames {
    pub query: String,
    pub key: String,
    pub value: String,
    pub distance: String,
    pub attention_output: String,
    pub attention_norm: String,
    pub intermediate: String,
    pub output: String,
    pub output_norm: String,
}

impl LayerNames {
    pub fn of(architecture: Architecture, group: usize, inner: usize) -> Self {
        match architecture {
            Architecture::Bert => {
                let name = |part: &str| format!("encoder.layer.{group}.{part}");
                Self {
                    query: name("attention.self.query"),
                    key: name("attention.self.key"),
                    value: name("attention.self.value"),
                    distance: name("attention.self.distance_embedding.weight"),
                    attention_output: name("attention.output.dense"),
                    attention_norm: name("attention.output.LayerNorm"),
                    intermediate: name("intermediate.dense"),
                    output: name("output.dense"),
                    output_norm: name("output.LayerNorm"),
                }
            }
            Architecture::Albert => {
                let name = |part: &str| format!("encoder.albert_layer_groups.{group}.albert_layers.{inner}.{part}");
                Self {
                    query: name("attention.query"),
                    key: name("attention.key"),
                    value: name("attention.value"),
                    distance: name("attention.distance_embedding.weight"),
                    attention_output: name("attention.dense"),
                    attention_norm: name("attention.LayerNorm"),
                    intermediate: name("ffn"),
                    output: name("ffn_output"),
                    output_norm: name("full_layer_layer_norm"),
                }
            }
        }
    }
}
