//! Low-rank additions to a model's linear layers (Hu et al. 2021), apart from the model: W x becomes W x + s·B A x.

use crate::device::{Device, Tensor};
use crate::error::{Error, Result};
use crate::ops::Accumulate;
use crate::ops::lora::{self, Lora};

use super::config::{Architecture, Config};
use super::parameters::{Dense, Layer, LayerNames};
use super::trainable::{Content, Named};

/// A linear layer within a transformer layer that can have a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// H → H
    Query,
    /// H → H
    Key,
    /// H → H
    Value,
    /// H → H
    AttentionOutput,
    /// H → F
    Intermediate,
    /// F → H
    Output,
}

impl Target {
    /// All, in the order of [`LayerAdapter`].
    pub const ALL: [Target; 6] =
        [Target::Query, Target::Key, Target::Value, Target::AttentionOutput, Target::Intermediate, Target::Output];

    /// Canonical name of the module, without `.weight`.
    pub fn module(self, architecture: Architecture, group: usize, inner: usize) -> String {
        let names = LayerNames::of(architecture, group, inner);
        match self {
            Target::Query => names.query,
            Target::Key => names.key,
            Target::Value => names.value,
            Target::AttentionOutput => names.attention_output,
            Target::Intermediate => names.intermediate,
            Target::Output => names.output,
        }
    }
}

impl<D: Device> Layer<D> {
    /// The linear layer that a pair is added to.
    pub fn dense(&self, target: Target) -> &Dense<D> {
        match target {
            Target::Query => &self.query,
            Target::Key => &self.key,
            Target::Value => &self.value,
            Target::AttentionOutput => &self.attention_output,
            Target::Intermediate => &self.intermediate,
            Target::Output => &self.output,
        }
    }
}

/// A `[r, K]`, B `[N, r]` and the scale s.
pub struct Pair<D: Device> {
    /// `lora_A`
    pub a: Tensor<D>,
    /// `lora_B`
    pub b: Tensor<D>,
    /// α/r, or α/√r.
    pub scale: f32,
}

impl<D: Device> Pair<D> {
    /// The pair as the op takes it.
    pub fn lora(&self) -> Lora<'_, D> {
        Lora { a: &self.a, b: &self.b, scale: self.scale }
    }

    /// Where the gradient of a pair goes.
    pub fn gradients(&mut self) -> lora::Gradients<'_, D> {
        lora::Gradients { a: Accumulate(&mut self.a), b: Accumulate(&mut self.b) }
    }

    /// The pair with other contents.
    pub fn like(&self, device: &D, content: Content) -> Result<Self> {
        Ok(Self { a: content.of(device, &self.a)?, b: content.of(device, &self.b)?, scale: self.scale })
    }
}

/// The pairs of one transformer layer, by [`Target::ALL`].
pub struct LayerAdapter<D: Device> {
    pairs: [Option<Pair<D>>; 6],
}

impl<D: Device> LayerAdapter<D> {
    /// The pair of `target`.
    pub fn pair(&self, target: Target) -> Option<&Pair<D>> {
        self.pairs[target as usize].as_ref()
    }

    /// The pair of `target`, to write.
    pub fn pair_mut(&mut self, target: Target) -> Option<&mut Pair<D>> {
        self.pairs[target as usize].as_mut()
    }

    /// Whether there is any pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.iter().all(Option::is_none)
    }

    fn like(&self, device: &D, content: Content) -> Result<Self> {
        let mut pairs = [const { None }; 6];
        for (copy, pair) in pairs.iter_mut().zip(&self.pairs) {
            *copy = pair.as_ref().map(|pair| pair.like(device, content)).transpose()?;
        }
        Ok(Self { pairs })
    }
}

/// The pairs of a model.
pub struct Adapter<D: Device> {
    /// By group, then place within it, as the encoder's layers.
    pub groups: Vec<Vec<LayerAdapter<D>>>,
    /// On the pooler.
    pub pooler: Option<Pair<D>>,
}

impl<D: Device> Adapter<D> {
    /// An adapter for the encoder that `config` describes, of pairs with the canonical names of their modules.
    ///
    /// Fails with `Missing` when the encoder has no such linear layer, and `InvalidFile` when a pair does not fit it.
    pub fn assemble(config: &Config, pairs: impl IntoIterator<Item = (String, Pair<D>)>) -> Result<Self> {
        let layer = |_| LayerAdapter { pairs: [const { None }; 6] };
        let group = |_| (0..config.inner_group).map(layer).collect();
        let mut adapter = Self { groups: (0..config.groups).map(group).collect(), pooler: None };
        for (module, pair) in pairs {
            let place = adapter.place(config, &module)?;
            let (inputs, outputs) = (pair.a.cols(), pair.b.rows());
            let expected = shape(config, &module);
            if (inputs, outputs) != expected || pair.a.rows() != pair.b.cols() {
                return Err(Error::file(format!(
                    "low-rank pair of {module:?}: {inputs} -> {} -> {} -> {outputs}, expected {} -> {}",
                    pair.a.rows(),
                    pair.b.cols(),
                    expected.0,
                    expected.1
                )));
            }
            *place = Some(pair);
        }
        Ok(adapter)
    }

    fn place(&mut self, config: &Config, module: &str) -> Result<&mut Option<Pair<D>>> {
        if module == pooler_module(config.architecture) {
            return Ok(&mut self.pooler);
        }
        match modules(config).into_iter().find(|(name, ..)| name == module) {
            Some((_, group, inner, target)) => Ok(&mut self.groups[group][inner].pairs[target as usize]),
            None => Err(Error::missing(format!("low-rank pair of {module:?}: the encoder has no such linear layer"))),
        }
    }

    /// The adapter with other contents.
    pub fn like(&self, device: &D, content: Content) -> Result<Self> {
        let group = |group: &Vec<LayerAdapter<D>>| group.iter().map(|layer| layer.like(device, content)).collect();
        Ok(Self {
            groups: self.groups.iter().map(group).collect::<Result<_>>()?,
            pooler: self.pooler.as_ref().map(|pair| pair.like(device, content)).transpose()?,
        })
    }

    /// Every pair with the canonical name of its module.
    pub fn pairs(&self, architecture: Architecture) -> Vec<(String, &Pair<D>)> {
        let mut list = Vec::new();
        for (group, layers) in self.groups.iter().enumerate() {
            for (inner, layer) in layers.iter().enumerate() {
                let named = |target: Target| Some((target.module(architecture, group, inner), layer.pair(target)?));
                list.extend(Target::ALL.into_iter().filter_map(named));
            }
        }
        list.extend(self.pooler.iter().map(|pair| (pooler_module(architecture).to_owned(), pair)));
        list
    }

    /// Every tensor: `MODULE.lora_A.weight`, `MODULE.lora_B.weight`.
    pub fn tensors(&self, architecture: Architecture) -> Named<'_, D> {
        let mut list = Vec::new();
        for (module, pair) in self.pairs(architecture) {
            list.push((format!("{module}.lora_A.weight"), &pair.a));
            list.push((format!("{module}.lora_B.weight"), &pair.b));
        }
        list
    }

    /// The same tensors, to write.
    pub fn tensors_mut(&mut self) -> Vec<&mut Tensor<D>> {
        let pairs = self.groups.iter_mut().flatten().flat_map(|layer| layer.pairs.iter_mut().flatten());
        pairs.chain(&mut self.pooler).flat_map(|pair| [&mut pair.a, &mut pair.b]).collect()
    }
}

/// Every linear layer within the encoder's transformer layers that can have a pair: its canonical name, group, place
/// within it, and target.
pub fn modules(config: &Config) -> Vec<(String, usize, usize, Target)> {
    let mut list = Vec::new();
    for group in 0..config.groups {
        for inner in 0..config.inner_group {
            let named = |target: Target| (target.module(config.architecture, group, inner), group, inner, target);
            list.extend(Target::ALL.map(named));
        }
    }
    list
}

/// `(inputs, outputs)` of a module that can have a pair.
pub fn shape(config: &Config, module: &str) -> (usize, usize) {
    let (hidden, wide) = (config.hidden, config.intermediate);
    match modules(config).into_iter().find(|(name, ..)| name == module) {
        Some((.., Target::Intermediate)) => (hidden, wide),
        Some((.., Target::Output)) => (wide, hidden),
        _ => (hidden, hidden),
    }
}

/// Canonical name of the pooler's module.
pub fn pooler_module(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Bert => "pooler.dense",
        Architecture::Albert => "pooler",
    }
}
