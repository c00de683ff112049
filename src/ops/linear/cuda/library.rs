//! Products that cuBLASLt is asked for first: of many rows, in 16 bits.

use super::products::{Matrix, Output, Products, Right, Sums};
use crate::device::cuda::{Args, Call, Kernel, Operand};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::kernels::{POINTWISE, numbers};

/// Fewer rows are not worth a call: own kernels start sooner, and have the activation inside.
const ROWS: usize = 1024;

/// Numbers that a thread of an activation takes.
const EACH: usize = 4;

/// Whether cuBLASLt may be asked for products of so many rows.
pub fn takes(products: &Products<'_>, rows: usize) -> bool {
    products.dtype != DType::F32 && rows >= ROWS && products.device.has_blas()
}

/// [`Products::nt`] by cuBLASLt; `false`, and anything in `output`, where it cannot.
///
/// # Safety
/// As [`Products::nt`].
pub unsafe fn nt(
    products: &Products<'_>,
    a: Matrix,
    (rows, depth): (usize, usize),
    weights: &[Right],
    output: &Output,
) -> Result<bool> {
    let width = weights.iter().map(|weight| weight.outputs).sum::<usize>();
    let dense = output.matrix.stride == width || output.activation == Activation::Identity;
    let biased = weights.iter().all(|weight| (weight.bias == 0) == (weight.narrow_bias == 0));
    if !takes(products, rows) || output.adds || output.scale != 1.0 || !dense || !biased {
        return Ok(false);
    }
    let mut column = 0;
    for weight in weights {
        let call = Call {
            a: (operand(a, (rows, depth)), false),
            b: (operand(Matrix { start: weight.start, stride: depth }, (weight.outputs, depth)), true),
            c: operand(after(output.matrix, column, products.dtype), (rows, weight.outputs)),
            dtype: products.dtype,
            result: products.dtype,
            bias: weight.narrow_bias,
            adds: false,
        };
        // SAFETY: the caller's promise.
        if !unsafe { products.device.multiply(&call) }? {
            return Ok(false);
        }
        column += weight.outputs;
    }
    if output.activation != Activation::Identity {
        let kernel = Kernel::of(&POINTWISE, "activation_forward", products.dtype);
        let (start, count) = (output.matrix.start, rows * width);
        let args = Args::new().pointer(start).u32(output.activation.code()).pointer(start).u64(count as u64);
        // SAFETY: the output is dense, as checked above; each number is read before it is written.
        unsafe { products.device.launch(&kernel, numbers(count, EACH), args) }?;
    }
    Ok(true)
}

/// [`Products::nn`] by cuBLASLt; `false`, and anything in `output`, where it cannot.
///
/// # Safety
/// As [`Products::nn`].
pub unsafe fn nn(
    products: &Products<'_>,
    a: Matrix,
    (rows, columns): (usize, usize),
    weights: &[Right],
    output: &Output,
) -> Result<bool> {
    if !takes(products, rows) || output.adds || output.scale != 1.0 || weights.is_empty() {
        return Ok(false);
    }
    let mut column = 0;
    for weight in weights {
        let call = Call {
            a: (operand(after(a, column, products.dtype), (rows, weight.outputs)), false),
            b: (operand(Matrix { start: weight.start, stride: columns }, (weight.outputs, columns)), false),
            c: operand(output.matrix, (rows, columns)),
            dtype: products.dtype,
            result: products.dtype,
            bias: 0,
            adds: column > 0,
        };
        // SAFETY: the caller's promise.
        if !unsafe { products.device.multiply(&call) }? {
            return Ok(false);
        }
        column += weight.outputs;
    }
    Ok(true)
}

/// [`Products::tn`] by cuBLASLt; those of `sums` that are left to do.
///
/// # Safety
/// As [`Products::tn`].
pub unsafe fn tn<'a>(
    products: &Products<'_>,
    a: Matrix,
    b: Matrix,
    (depth, columns): (usize, usize),
    sums: &'a [Sums],
) -> Result<&'a [Sums]> {
    if !takes(products, depth) {
        return Ok(sums);
    }
    for (done, sum) in sums.iter().enumerate() {
        let call = Call {
            a: (operand(after(a, sum.column, products.dtype), (depth, sum.rows)), true),
            b: (operand(b, (depth, columns)), false),
            c: operand(Matrix { start: sum.start, stride: columns }, (sum.rows, columns)),
            dtype: products.dtype,
            result: DType::F32,
            bias: 0,
            adds: true,
        };
        // SAFETY: the caller's promise.
        if !unsafe { products.device.multiply(&call) }? {
            return Ok(&sums[done..]);
        }
    }
    Ok(&[])
}

fn operand(matrix: Matrix, shape: (usize, usize)) -> Operand {
    Operand { start: matrix.start, shape, stride: matrix.stride }
}

/// The columns of a matrix from `column` on.
fn after(matrix: Matrix, column: usize, dtype: DType) -> Matrix {
    Matrix { start: matrix.start + (column * dtype.size()) as u64, stride: matrix.stride }
}
