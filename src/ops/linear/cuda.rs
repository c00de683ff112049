//! Linear layers on a GPU. Weights are read in the type of hidden states, gradients of parameters are summed in f32.
//!
//! In f32 a row's outputs have the same bits whatever other rows there are, see kernels/gemm_f32.cu; in 16 bits as long as
//! cuBLASLt takes none of them, see kernels/gemm_tensor.cuh and `library`.

mod library;
mod products;
mod tiles;

pub(in crate::ops) use products::{Matrix, Output, Products, Right, Sums};

use super::{Gradients, Linear, Op, Packing, Weight};
use crate::device::{Cuda, Hidden};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::activation::Activation;

/// Where a weight lies in the type `dtype`, to read.
fn reading(device: &Cuda, weight: &Weight<Cuda>, dtype: DType) -> Result<u64> {
    match weight {
        Weight::F32(w) => device.reading(w.buffer(), dtype),
        Weight::F16(w) => device.reading(w.buffer(), dtype),
        Weight::Bf16(w) => device.reading(w.buffer(), dtype),
        Weight::Int8(never) => match *never {},
    }
}

/// Hidden states as a product reads them.
pub(in crate::ops) fn stored(hidden: &Hidden<Cuda>) -> Matrix {
    Matrix { start: hidden.buffer().pointer(), stride: hidden.cols() }
}

/// Hidden states as a product writes them.
pub(in crate::ops) fn written(hidden: &mut Hidden<Cuda>) -> Matrix {
    Matrix { start: hidden.buffer_mut().pointer_mut(), stride: hidden.cols() }
}

fn weights(products: &Products<'_>, layers: &[Linear<'_, Cuda>], rows: usize) -> Result<Vec<Right>> {
    let Products { device, dtype } = *products;
    let library = library::takes(products, rows);
    let right = |layer: &Linear<'_, Cuda>| {
        let narrow = layer.bias.filter(|_| library).map(|bias| device.reading(bias.buffer(), dtype));
        Ok(Right {
            start: reading(device, layer.weight, dtype)?,
            bias: layer.bias.map_or(0, |bias| bias.buffer().pointer()),
            narrow_bias: narrow.transpose()?.unwrap_or(0),
            outputs: layer.weight.shape().0,
        })
    };
    layers.iter().map(right).collect()
}

impl Op for Cuda {
    fn linear_packing(&self) -> Packing {
        Packing::Never
    }

    fn linear_pack(&self, _: &[&Weight<Cuda>]) -> Result<Vec<std::convert::Infallible>> {
        Err(Error::internal("CUDA has no other form of weights"))
    }

    fn linear_forward(
        &self,
        x: &Hidden<Cuda>,
        layers: &[Linear<'_, Cuda>],
        activation: Activation,
        y: &mut Hidden<Cuda>,
    ) -> Result<()> {
        let products = Products { device: self, dtype: self.working() };
        let output = Output { activation, ..Output::of(written(y)) };
        // SAFETY: the wrapper has checked that the layers lead from x to y, and y is borrowed exclusively.
        unsafe { products.nt(stored(x), x.shape(), &weights(&products, layers, x.rows())?, output) }
    }

    fn linear_backward_input(
        &self,
        dy: &Hidden<Cuda>,
        layers: &[Linear<'_, Cuda>],
        dx: &mut Hidden<Cuda>,
    ) -> Result<()> {
        let products = Products { device: self, dtype: self.working() };
        let output = Output::of(written(dx));
        // SAFETY: the wrapper has checked that the layers lead from dx to dy, and dx is borrowed exclusively.
        unsafe { products.nn(stored(dy), dx.shape(), &weights(&products, layers, dy.rows())?, output) }
    }

    fn linear_backward_parameters(
        &self,
        x: &Hidden<Cuda>,
        dy: &Hidden<Cuda>,
        layers: &[Linear<'_, Cuda>],
        gradients: Vec<Gradients<'_, Cuda>>,
    ) -> Result<()> {
        let products = Products { device: self, dtype: self.working() };
        let (mut sums, mut biases, mut column) = (Vec::new(), Vec::new(), 0);
        for (layer, gradients) in layers.iter().zip(gradients) {
            let rows = layer.weight.shape().0;
            if let Some(weight) = gradients.weight {
                sums.push(Sums { column, rows, start: weight.0.buffer_mut().pointer_mut() });
            }
            biases.push((rows, gradients.bias.map(|bias| bias.0.buffer_mut().pointer_mut())));
            column += rows;
        }
        // SAFETY: the wrapper has checked that the layers lead from x to dy, and that gradients have the shapes of their
        // parameters; they are borrowed exclusively.
        unsafe {
            products.tn(stored(dy), stored(x), x.shape(), &sums)?;
            products.add_column_sums(dy.buffer().pointer(), dy.shape(), &biases)
        }
    }
}
