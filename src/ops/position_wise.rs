//! What a transformer layer does at each position by itself, once attention has mixed them (Vaswani et al. 2017, §3.3), for
//! what attention gave, c, and what went into the layer, x:
//!
//!   n = LN(c Wo + bo + x)        y = LN(f(n Wi + bi) Wf + bf + n)
//!
//! It is what the operations it consists of give one after the other, to the bit; in one go, what is between them need not
//! take the form of hidden states.

use super::Fused;
use super::activation::Activation;
use super::dot::tile::Parts;
use super::layer_norm::{self, Affine};
use super::linear::{self, Linear};
use super::packed::bands::Bands;
use super::packed::panels::{self, Part, Target};
use super::product::Stored;
use super::shared::SharedRows;
use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};

/// The parameters.
pub struct PositionWise<'a, D: Device> {
    /// Wo `[H, H]`, bo
    pub attention_output: Linear<'a, D>,
    /// The first norm, over H.
    pub attention_norm: Affine<'a, D>,
    /// Wi `[F, H]`, bi
    pub intermediate: Linear<'a, D>,
    /// f
    pub activation: Activation,
    /// Wf `[H, F]`, bf
    pub output: Linear<'a, D>,
    /// The second norm, over H.
    pub output_norm: Affine<'a, D>,
}

/// What a device may provide. Shapes are already checked.
pub trait Op: linear::Op + layer_norm::Op {
    /// x = y, if the device does so.
    fn position_wise_forward(
        &self,
        _context: &Hidden<Self>,
        _layer: &PositionWise<'_, Self>,
        _x: &mut Hidden<Self>,
    ) -> Result<Fused> {
        Ok(Fused::No)
    }
}

/// x `[R, H]` = y, of c `[R, H]`, `context`, and x, if the device does so.
pub fn forward<D: Op>(
    device: &D,
    context: &Hidden<D>,
    layer: &PositionWise<'_, D>,
    x: &mut Hidden<D>,
) -> Result<Fused> {
    let (hidden, wide) = (x.cols(), layer.intermediate.weight.shape().0);
    let denses =
        [(&layer.attention_output, hidden, hidden), (&layer.intermediate, wide, hidden), (&layer.output, hidden, wide)];
    for (dense, outputs, inputs) in denses {
        let bias = dense.bias.map_or((1, outputs), Tensor::shape);
        if dense.weight.shape() != (outputs, inputs) || bias != (1, outputs) {
            return Err(Error::internal(format!(
                "position-wise: weight {:?} and bias {bias:?} where {inputs} become {outputs}",
                dense.weight.shape()
            )));
        }
    }
    for norm in [&layer.attention_norm, &layer.output_norm] {
        if norm.gamma.shape() != (1, hidden) || norm.beta.shape() != (1, hidden) {
            let (gamma, beta) = (norm.gamma.shape(), norm.beta.shape());
            return Err(Error::internal(format!("position-wise: gamma {gamma:?} and beta {beta:?} of {hidden}")));
        }
    }
    if context.shape() != x.shape() {
        return Err(Error::internal(format!("position-wise: {:?} from attention on {:?}", context.shape(), x.shape())));
    }
    device.position_wise_forward(context, layer, x)
}

#[cfg(feature = "cuda")]
impl Op for crate::device::Cuda {}

impl Op for Cpu {
    fn position_wise_forward(
        &self,
        context: &Tensor<Cpu>,
        layer: &PositionWise<'_, Cpu>,
        x: &mut Tensor<Cpu>,
    ) -> Result<Fused> {
        let (rows, hidden) = x.shape();
        let (Some(attention_output), Some(intermediate), Some(output)) =
            (packed(&layer.attention_output), packed(&layer.intermediate), packed(&layer.output))
        else {
            return Ok(Fused::No);
        };
        if rows == 0 {
            return Ok(Fused::No);
        }
        let parameters = Parameters { layer, attention_output, intermediate, output };
        let context = &context.buffer().as_slice()[..rows * hidden];
        let x = &mut x.buffer_mut().as_mut_slice()?[..rows * hidden];
        if rows < FEWEST * self.threads() {
            parameters.replace(self, context, x)?;
            return Ok(Fused::Yes);
        }
        let parts = Parts::new(rows, rows.div_ceil(ROWS).next_multiple_of(self.threads()));
        let (x, alone) = (SharedRows::new(x, hidden), self.alone());
        self.try_for_each(parts.count(), |part| {
            let rows = parts.rows(part);
            // SAFETY: every part has its own rows.
            let x = unsafe { x.rows_from_mut(rows.start, rows.len()) };
            parameters.replace(&alone, &context[rows.start * hidden..rows.end * hidden], x)
        })?;
        Ok(Fused::Yes)
    }
}

/// Rows, about, that a thread takes from one end to the other by itself: what they become on the way stays in its
/// second-level cache.
const ROWS: usize = 64;
/// Rows for each thread at least. Fewer would not be worth the weights, all of which every thread reads; with those, the
/// threads share out each product.
const FEWEST: usize = 32;

/// The parameters, packed.
struct Parameters<'a> {
    layer: &'a PositionWise<'a, Cpu>,
    attention_output: Part<'a>,
    intermediate: Part<'a>,
    output: Part<'a>,
}

impl Parameters<'_> {
    /// x `[rows, H]` = y
    fn replace(&self, cpu: &Cpu, context: &[f32], x: &mut [f32]) -> Result<()> {
        let Self { layer, attention_output, intermediate, output } = self;
        let (wide, hidden) = intermediate.packed.shape;
        let rows = x.len() / hidden;
        let (mut sum, mut normal) = (cpu.alloc(rows * hidden)?, cpu.alloc(rows * hidden)?);
        let (sum, normal) = (&mut sum.as_mut_slice()?[..], &mut normal.as_mut_slice()?[..]);

        let context = Bands::of_rows(cpu, Stored { values: context, stride: hidden }, (rows, hidden))?;
        multiply(cpu, &context, attention_output, Activation::Identity, sum)?;
        let norm = layer_norm::Forward::new(sum, Some(x), &layer.attention_norm, normal);
        let bands = Bands::of_made_rows(cpu, (rows, hidden), |rows| {
            // SAFETY: every band has its own rows.
            Stored { values: unsafe { norm.run_rows(cpu, rows) }, stride: hidden }
        })?;
        let wide = if cpu.arithmetic() == Arithmetic::Int8 {
            let mut values = cpu.alloc(rows * wide)?;
            let values = values.as_mut_slice()?;
            multiply(cpu, &bands, intermediate, layer.activation, values)?;
            Bands::of_rows(cpu, Stored { values, stride: wide }, (rows, wide))?
        } else {
            Bands::filled(cpu, (rows, wide), |filling| {
                // SAFETY: one product, and the bands are filled by it alone.
                unsafe { panels::run(cpu, &bands, &[*intermediate], layer.activation, Target::Bands(filling)) }
            })?
        };
        multiply(cpu, &wide, output, Activation::Identity, sum)?;
        layer_norm::Forward::new(sum, Some(normal), &layer.output_norm, x).run(cpu)
    }
}

/// The layer's packed weight with its bias, if it is packed.
fn packed<'a>(layer: &Linear<'a, Cpu>) -> Option<Part<'a>> {
    layer.packed.map(|packed| Part { packed, start: layer.start(), column: 0 })
}

/// y = f(x W + b) of one layer, for x in bands.
fn multiply(cpu: &Cpu, x: &Bands, layer: &Part<'_>, activation: Activation, y: &mut [f32]) -> Result<()> {
    let y = SharedRows::new(y, layer.packed.shape.0);
    // SAFETY: one product, and y is borrowed exclusively.
    unsafe { panels::run(cpu, x, &[*layer], activation, Target::Rows(&y)) }
}

#[cfg(test)]
mod tests;
