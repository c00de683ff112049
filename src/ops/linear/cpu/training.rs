//! Products of training in bf16: all factors are rounded anew in every step, sums and what they are added to are f32.
//!
//! Each sum is made in one order, which depends on shapes alone.

use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::gemm::Start;
use crate::ops::linear::{Factors, Linear};
use crate::ops::packed::bands::Bands;
use crate::ops::packed::pack;
use crate::ops::packed::panels::{self, Part, Target};
use crate::ops::product::{Stored, Transposed};
use crate::ops::scaled::{Scaled, with_scaled};
use crate::ops::shared::SharedRows;

/// Whether products with weights as they are stored round their factors here.
pub fn takes(cpu: &Cpu, layers: &[Linear<'_, Cpu>]) -> bool {
    cpu.arithmetic() == Arithmetic::Bf16 && layers.iter().all(|layer| layer.factors == Factors::Rounded)
}

/// y = f(x Wᵀ + b) of each of `layers`, side by side in y, which has as many rows as x.
pub fn forward(
    cpu: &Cpu,
    x: &Tensor<Cpu>,
    layers: &[Linear<'_, Cpu>],
    activation: Activation,
    y: &mut Tensor<Cpu>,
) -> Result<()> {
    let (shape, stride) = (x.shape(), y.cols());
    let left = Bands::of_rows(cpu, Stored { values: x.buffer().as_slice(), stride: shape.1 }, shape)?;
    let weights: Vec<_> = layers.iter().map(|layer| pack::of_weight(cpu, layer.weight)).collect::<Result<_>>()?;
    let (mut parts, mut column) = (Vec::with_capacity(layers.len()), 0);
    for (layer, packed) in layers.iter().zip(&weights) {
        parts.push(Part { packed, start: layer.start(), column });
        column += packed.shape.0;
    }
    let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..shape.0 * stride], stride);
    // SAFETY: each layer has its own columns of y, which is borrowed exclusively.
    unsafe { panels::run(cpu, &left, &parts, activation, Target::Rows(&y)) }
}

/// dx = Σᵢ dyᵢ Wᵢ
pub fn backward_input(cpu: &Cpu, dy: &Tensor<Cpu>, layers: &[Linear<'_, Cpu>], dx: &mut Tensor<Cpu>) -> Result<()> {
    let ((rows, stride), columns) = (dy.shape(), dx.cols());
    let dx = SharedRows::new(&mut dx.buffer_mut().as_mut_slice()?[..rows * columns], columns);
    let (mut column, mut start) = (0, Start::Zero);
    for layer in layers {
        let outputs = layer.weight.shape().0;
        if outputs == 0 {
            continue;
        }
        let left = Stored { values: &dy.buffer().as_slice()[column..], stride };
        let left = Bands::of_rows(cpu, left, (rows, outputs))?;
        let packed = with_scaled!(layer.weight, rows => pack::of_columns(cpu, rows, layer.weight.shape()))?;
        let part = Part { packed: &packed, start, column: 0 };
        // SAFETY: one product, and dx is borrowed exclusively.
        unsafe { panels::run(cpu, &left, &[part], Activation::Identity, Target::Rows(&dx))? };
        (column, start) = (column + outputs, Start::Held);
    }
    Ok(())
}

/// `dw` `[N, K]` += dyᵀ x, for the N columns of dy from `column` on.
pub fn backward_weight(cpu: &Cpu, x: &Right, dy: &Tensor<Cpu>, column: usize, dw: &mut Tensor<Cpu>) -> Result<()> {
    let ((depth, stride), (outputs, columns)) = (dy.shape(), dw.shape());
    if outputs == 0 {
        return Ok(());
    }
    let left = Transposed(Stored { values: &dy.buffer().as_slice()[column..], stride });
    let left = Bands::of_columns(cpu, left, (outputs, depth))?;
    let dw = SharedRows::new(&mut dw.buffer_mut().as_mut_slice()?[..outputs * columns], columns);
    let part = Part { packed: &x.0, start: Start::Held, column: 0 };
    // SAFETY: one product, and dw is borrowed exclusively.
    unsafe { panels::run(cpu, &left, &[part], Activation::Identity, Target::Rows(&dw)) }
}

/// x, as the right factor of gradients of weights.
pub struct Right(crate::device::cpu::Packed);

impl Right {
    /// `x` `[T, K]`, of which neither is 0.
    pub fn new(cpu: &Cpu, x: &Tensor<Cpu>) -> Result<Self> {
        pack::of_columns(cpu, Scaled::of(x), x.shape()).map(Self)
    }
}
