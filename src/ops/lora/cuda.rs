//! Low-rank pairs on a GPU: the products of linear layers, one after another. Both factors are read in the type of
//! hidden states.

use super::{Gradients, Lora, Op};
use crate::device::{Cuda, Hidden, Tensor};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::Accumulate;
use crate::ops::linear::Weight;
use crate::ops::linear::cuda::{Matrix, Output, Products, Right, Sums, stored, written};

impl Op for Cuda {
    fn lora_forward(
        &self,
        x: &Hidden<Cuda>,
        lora: &Lora<'_, Cuda>,
        down: &mut Hidden<Cuda>,
        y: &mut Hidden<Cuda>,
        first: usize,
    ) -> Result<()> {
        let products = self.products();
        let (rank, outputs) = (lora.a.rows(), lora.b.rows());
        let z = Output { scale: lora.scale, ..Output::of(written(down)) };
        let y = Output { adds: true, ..Output::of(self.columns(written(y), first)) };
        // SAFETY: the wrapper has checked that the pair leads from x to columns of y from `first` on; down and y are
        // borrowed exclusively.
        unsafe {
            products.nt(stored(x), x.shape(), &[self.factor(lora.a)?], z)?;
            products.nt(stored(down), (x.rows(), rank), &[Right { outputs, ..self.factor(lora.b)? }], y)
        }
    }

    fn lora_backward_parameters(
        &self,
        x: &Hidden<Cuda>,
        lora: &Lora<'_, Cuda>,
        down: &Hidden<Cuda>,
        dy: &Hidden<Cuda>,
        first: usize,
        up: &mut Hidden<Cuda>,
        gradients: Gradients<'_, Cuda>,
    ) -> Result<()> {
        let products = self.products();
        let (rows, (rank, depth), outputs) = (x.rows(), lora.a.shape(), lora.b.rows());
        let z = Output { scale: lora.scale, ..Output::of(written(up)) };
        let a = Sums { column: 0, rows: rank, start: gradients.a.0.buffer_mut().pointer_mut() };
        let b = Sums { column: 0, rows: outputs, start: gradients.b.0.buffer_mut().pointer_mut() };
        let dy = self.columns(stored(dy), first);
        // SAFETY: as in `lora_forward`; the gradients have the shapes of the pair, and they and up are borrowed
        // exclusively.
        unsafe {
            products.nn(dy, (rows, rank), &[self.factor(lora.b)?], z)?;
            products.tn(stored(up), stored(x), (rows, depth), &[a])?;
            products.tn(dy, stored(down), (rows, rank), &[b])
        }
    }

    fn lora_backward_input(
        &self,
        up: &Hidden<Cuda>,
        lora: &Lora<'_, Cuda>,
        dx: Accumulate<'_, Cuda, Self::Activation>,
    ) -> Result<()> {
        let dx = dx.0;
        let (shape, output) = (dx.shape(), Output { adds: true, ..Output::of(written(dx)) });
        // SAFETY: up and dx have the rows of the forward pass, and dx, borrowed exclusively, has the columns of A.
        unsafe { self.products().nn(stored(up), shape, &[self.factor(lora.a)?], output) }
    }

    fn lora_merged(&self, weight: &Weight<Cuda>, lora: &Lora<'_, Cuda>, y: &mut Tensor<Cuda>) -> Result<()> {
        let ((rank, depth), outputs) = (lora.a.shape(), lora.b.rows());
        match weight {
            Weight::F32(w) => y.copy_from(self, w)?,
            Weight::F16(w) => self.copy_as(w.buffer(), y.buffer_mut(), outputs * depth)?,
            Weight::Bf16(w) => self.copy_as(w.buffer(), y.buffer_mut(), outputs * depth)?,
            Weight::Int8(never) => match *never {},
        }
        let y = Matrix { start: y.buffer_mut().pointer_mut(), stride: depth };
        let output = Output { scale: lora.scale, adds: true, ..Output::of(y) };
        let a = Right { start: lora.a.buffer().pointer(), bias: 0, narrow_bias: 0, outputs: rank };
        let b = Matrix { start: lora.b.buffer().pointer(), stride: rank };
        let exact = Products { device: self, dtype: DType::F32 };
        // SAFETY: the wrapper has checked that the pair has the shape of the weight, and made y in it.
        unsafe { exact.nn(b, (outputs, depth), &[a], output) }
    }
}

impl Cuda {
    fn products(&self) -> Products<'_> {
        Products { device: self, dtype: self.working() }
    }

    /// The columns of a matrix of hidden states from `first` on.
    fn columns(&self, matrix: Matrix, first: usize) -> Matrix {
        Matrix { start: matrix.start + (first * self.working().size()) as u64, ..matrix }
    }

    /// A or B as a product reads it.
    fn factor(&self, matrix: &Tensor<Cuda>) -> Result<Right> {
        let start = self.reading(matrix.buffer(), self.working())?;
        Ok(Right { start, bias: 0, narrow_bias: 0, outputs: matrix.rows() })
    }
}
