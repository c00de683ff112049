//! y = f(x Wᵀ + b) with W stored as `[N, K]`, HuggingFace's order, in whatever type the file holds.
//!
//!   dx = dy W        dW = dyᵀ x        db = Σₜ dyₜ        where dy is the gradient before f
//!
//! Several layers that read the same rows (query, key and value) run as one: their outputs lie side by side in y.

mod cpu;
#[cfg(feature = "cuda")]
pub(in crate::ops) mod cuda;
#[cfg(test)]
mod tests;

use super::Accumulate;
use super::activation::Activation;
use crate::device::{Device, Hidden, Integers, Tensor};
use crate::dtype::{DType, Storage, bf16, f16};
use crate::error::{Error, Result};

/// A weight matrix `[N, K]` in its storage type.
pub enum Weight<D: Device> {
    /// 32-bit.
    F32(Tensor<D, f32>),
    /// 16-bit, IEEE.
    F16(Tensor<D, f16>),
    /// 16-bit, upper half of an f32.
    Bf16(Tensor<D, bf16>),
    /// 8-bit integers, and a scale for every output.
    Int8(D::Integers),
}

impl<D: Device> Weight<D> {
    /// `(N, K)`.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Weight::F32(w) => w.shape(),
            Weight::F16(w) => w.shape(),
            Weight::Bf16(w) => w.shape(),
            Weight::Int8(w) => w.quantised().shape(),
        }
    }

    /// Storage type.
    pub fn storage(&self) -> Storage {
        match self {
            Weight::F32(_) => DType::F32.into(),
            Weight::F16(_) => DType::F16.into(),
            Weight::Bf16(_) => DType::Bf16.into(),
            Weight::Int8(_) => Storage::Int8,
        }
    }
}

/// A linear layer K → N.
pub struct Linear<'a, D: Device> {
    /// `[N, K]`
    pub weight: &'a Weight<D>,
    /// `[1, N]`
    pub bias: Option<&'a Tensor<D>>,
    /// The weight once more, as [`pack`] has rearranged it. Answers are computed from it where all layers have it.
    pub packed: Option<&'a D::Packed>,
    /// For products with the weight as it is stored.
    pub factors: Factors,
}

/// What the factors of products are where a device has an arithmetic beside f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    /// As they are stored.
    Exact,
    /// As the device's arithmetic has them, if that is bf16; gradients are made of so rounded ones too. Sums are f32.
    Rounded,
}

/// Gradients of a layer's parameters; `None` is frozen.
pub struct Gradients<'a, D: Device> {
    /// `[N, K]`
    pub weight: Option<Accumulate<'a, D>>,
    /// `[1, N]`
    pub bias: Option<Accumulate<'a, D>>,
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// When weights of the encoder are rearranged.
    fn linear_packing(&self) -> Packing;
    /// Each of the weights, none of which is empty, as this device multiplies it fastest.
    fn linear_pack(&self, weights: &[&Weight<Self>]) -> Result<Vec<Self::Packed>>;
    /// Writes all of `y`.
    fn linear_forward(
        &self,
        x: &Hidden<Self>,
        layers: &[Linear<'_, Self>],
        activation: Activation,
        y: &mut Hidden<Self>,
    ) -> Result<()>;
    /// Writes all of `dx`.
    fn linear_backward_input(
        &self,
        dy: &Hidden<Self>,
        layers: &[Linear<'_, Self>],
        dx: &mut Hidden<Self>,
    ) -> Result<()>;
    /// Adds to the gradients that are there; there is one entry a layer.
    fn linear_backward_parameters(
        &self,
        x: &Hidden<Self>,
        dy: &Hidden<Self>,
        layers: &[Linear<'_, Self>],
        gradients: Vec<Gradients<'_, Self>>,
    ) -> Result<()>;
}

/// Each of the weights rearranged for products, in the device's arithmetic.
pub fn pack<D: Op>(device: &D, weights: &[&Weight<D>]) -> Result<Vec<D::Packed>> {
    for (n, k) in weights.iter().map(|weight| weight.shape()) {
        if n == 0 || k == 0 {
            return Err(Error::internal(format!("linear: a weight [{n}, {k}] to pack")));
        }
    }
    device.linear_pack(weights)
}

/// When weights are rearranged for products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Never.
    #[default]
    Never,
    /// When they are loaded: they become other numbers.
    AtOnce,
    /// When they are used a second time: what is used once is not worth it. Answers are the same.
    UsedAgain,
}

/// y `[T, ΣN]` = f(x Wᵀ + b) for each of `layers`, side by side. `y` takes that shape.
pub fn forward<D: Op>(
    device: &D,
    x: &Hidden<D>,
    layers: &[Linear<'_, D>],
    activation: Activation,
    y: &mut Hidden<D>,
) -> Result<()> {
    for layer in layers {
        let (n, k) = layer.weight.shape();
        if k != x.cols() {
            return Err(Error::internal(format!("linear: weight [{n}, {k}] on rows of {}", x.cols())));
        }
        if let Some(bias) = layer.bias
            && bias.shape() != (1, n)
        {
            return Err(Error::internal(format!("linear: bias {:?} for {n} outputs", bias.shape())));
        }
    }
    y.reshape(device, x.rows(), outputs(layers))?;
    device.linear_forward(x, layers, activation, y)
}

/// dx `[T, K]` = Σᵢ dyᵢ Wᵢ, where dy `[T, ΣN]` has the layers' outputs side by side. `dx` takes that shape.
pub fn backward_input<D: Op>(device: &D, dy: &Hidden<D>, layers: &[Linear<'_, D>], dx: &mut Hidden<D>) -> Result<()> {
    let depth = layers.first().map_or(0, |layer| layer.weight.shape().1);
    if let Some(other) = layers.iter().find(|layer| layer.weight.shape().1 != depth) {
        return Err(Error::internal(format!("linear: weight {:?} beside rows of {depth}", other.weight.shape())));
    }
    if dy.cols() != outputs(layers) {
        return Err(Error::internal(format!("linear: {} gradients for {} outputs", dy.cols(), outputs(layers))));
    }
    dx.reshape(device, dy.rows(), depth)?;
    device.linear_backward_input(dy, layers, dx)
}

/// dWᵢ += dyᵢᵀ x and dbᵢ += Σₜ dyᵢ, for dy `[T, ΣN]` and one of `gradients` a layer, in their order.
pub fn backward_parameters<D: Op>(
    device: &D,
    x: &Hidden<D>,
    dy: &Hidden<D>,
    layers: &[Linear<'_, D>],
    gradients: Vec<Gradients<'_, D>>,
) -> Result<()> {
    if dy.shape() != (x.rows(), outputs(layers)) || gradients.len() != layers.len() {
        return Err(Error::internal(format!(
            "linear: gradients {:?} of {} layers with {} outputs on rows {:?}, {} layers to add to",
            dy.shape(),
            layers.len(),
            outputs(layers),
            x.shape(),
            gradients.len()
        )));
    }
    for (layer, gradient) in layers.iter().zip(&gradients) {
        let (n, k) = layer.weight.shape();
        let weight = gradient.weight.as_ref().map_or((n, k), |weight| weight.0.shape());
        let bias = gradient.bias.as_ref().map_or((1, n), |bias| bias.0.shape());
        if k != x.cols() || weight != (n, k) || bias != (1, n) {
            return Err(Error::internal(format!(
                "linear: gradients {weight:?} and {bias:?} of a weight [{n}, {k}] on rows of {}",
                x.cols()
            )));
        }
    }
    device.linear_backward_parameters(x, dy, layers, gradients)
}

/// ΣN
fn outputs<D: Device>(layers: &[Linear<'_, D>]) -> usize {
    layers.iter().map(|layer| layer.weight.shape().0).sum()
}
