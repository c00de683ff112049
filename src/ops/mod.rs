//! One operation a file: what it computes, the trait a device implements, the wrapper that checks shapes, the CPU.

#![allow(unsafe_code)]

pub mod activation;
pub mod attention;
pub mod dropout;
pub mod embedding;
pub mod gather;
mod gemm;
pub mod layer_norm;
pub mod linear;
pub mod lora;
#[cfg(test)]
mod oracle;
pub mod pooling;
mod product;
mod shared;
pub mod softmax;

use crate::device::{Cpu, Device, Tensor};

/// Where a gradient is added to what is there already: the gradient of a parameter, over the parts of a batch. A gradient
/// that overwrites is a plain `&mut Tensor`. The tensor keeps its shape.
pub struct Accumulate<'a, D: Device>(pub &'a mut Tensor<D>);

/// A device that provides every operation: what the model is generic over.
pub trait Ops:
    attention::Op
    + dropout::Op
    + embedding::Op
    + gather::Op
    + layer_norm::Op
    + linear::Op
    + lora::Op
    + pooling::Op
    + softmax::Op
{
}

impl Ops for Cpu {}
