//! One operation a file: what it computes, the trait a device implements, the wrapper that checks shapes, the CPU.

#![allow(unsafe_code)]

pub mod activation;
pub mod adam_w;
pub mod add;
pub mod assign;
pub mod attention;
pub mod binary_cross_entropy;
pub mod cross_entropy;
mod dot;
pub mod dropout;
pub mod embedding;
pub mod gather;
mod gemm;
#[cfg(feature = "cuda")]
mod kernels;
pub mod layer_norm;
pub mod linear;
pub mod lora;
#[cfg(test)]
pub(crate) mod oracle;
mod packed;
mod pointwise;
pub mod pooling;
pub mod position_wise;
mod product;
mod scaled;
mod scatter;
mod shared;
pub mod softmax;
pub mod squared_error;
mod total;

use crate::device::{Cpu, Device, Tensor};
use crate::dtype::Scalar;

/// Where a gradient is added to what is there already: the gradient of a parameter, over the parts of a batch. A gradient
/// that overwrites is a plain `&mut Tensor`. The tensor keeps its shape.
pub struct Accumulate<'a, D: Device, E: Scalar = f32>(pub &'a mut Tensor<D, E>);

/// Whether a device has computed in one go what several operations would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fused {
    /// It has.
    Yes,
    /// Nothing has been done: the operations are to be computed one after the other.
    No,
}

/// A device that provides every operation: what the model is generic over.
pub trait Ops:
    activation::Op
    + adam_w::Op
    + add::Op
    + assign::Op
    + attention::Op
    + binary_cross_entropy::Op
    + cross_entropy::Op
    + dropout::Op
    + embedding::Op
    + gather::Op
    + layer_norm::Op
    + linear::Op
    + lora::Op
    + pooling::Op
    + position_wise::Op
    + softmax::Op
    + squared_error::Op
{
}

impl Ops for Cpu {}

#[cfg(feature = "cuda")]
impl Ops for crate::device::Cuda {}
