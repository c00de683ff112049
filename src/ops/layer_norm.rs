//! Layer normalisation of the sum of two rows of length H, as it follows every sub-layer of BERT.
//!
//!   z = x + r,  μ = ⟨z⟩,  σ² = ⟨(z − μ)²⟩        y = (z − μ)/√(σ² + ε)·γ + β

use super::shared::SharedRows;
use crate::device::{Cpu, Device, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// γ and β, each `[1, H]`, and ε.
pub struct Affine<'a, D: Device> {
    /// Scale.
    pub gamma: &'a Tensor<D>,
    /// Shift.
    pub beta: &'a Tensor<D>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn layer_norm_forward(
        &self,
        x: &Tensor<Self>,
        residual: Option<&Tensor<Self>>,
        affine: &Affine<'_, Self>,
        y: &mut Tensor<Self>,
    ) -> Result<()>;
}

/// y `[T, H]` = LN(x + residual). `y` takes that shape.
pub fn forward<D: Op>(
    device: &D,
    x: &Tensor<D>,
    residual: Option<&Tensor<D>>,
    affine: &Affine<'_, D>,
    y: &mut Tensor<D>,
) -> Result<()> {
    let width = (1, x.cols());
    if residual.is_some_and(|r| r.shape() != x.shape()) || affine.gamma.shape() != width || affine.beta.shape() != width
    {
        return Err(Error::internal(format!(
            "layer norm of {:?}: residual {:?}, gamma {:?}, beta {:?}",
            x.shape(),
            residual.map(Tensor::shape),
            affine.gamma.shape(),
            affine.beta.shape()
        )));
    }
    y.reshape(device, x.rows(), x.cols())?;
    device.layer_norm_forward(x, residual, affine, y)
}

/// Rows that one work item normalises.
const ROWS: usize = 16;

impl Op for Cpu {
    fn layer_norm_forward(
        &self,
        x: &Tensor<Cpu>,
        residual: Option<&Tensor<Cpu>>,
        affine: &Affine<'_, Cpu>,
        y: &mut Tensor<Cpu>,
    ) -> Result<()> {
        let (rows, width) = x.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let x = x.buffer().as_slice();
        let residual = residual.map(|r| r.buffer().as_slice());
        let (gamma, beta) = (&affine.gamma.buffer().as_slice()[..width], &affine.beta.buffer().as_slice()[..width]);
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * width], width);
        self.for_each(rows.div_ceil(ROWS), |item| {
            for row in item * ROWS..rows.min((item + 1) * ROWS) {
                let values = row * width..(row + 1) * width;
                // SAFETY: every item has its own rows.
                let y = unsafe { y.row(row, 0, width) };
                y.copy_from_slice(&x[values.clone()]);
                let residual = residual.map(|r| &r[values]);
                self.isa().dispatch(Row { residual, gamma, beta, epsilon: affine.epsilon, y });
            }
        })
    }
}

struct Row<'a> {
    residual: Option<&'a [f32]>,
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    /// x on entry.
    y: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.y.len();
        let whole = width - width % S::LANES;
        let (body, tail) = self.y.split_at_mut(whole);
        if let Some(residual) = self.residual {
            for (z, r) in body.chunks_exact_mut(S::LANES).zip(residual.chunks_exact(S::LANES)) {
                let sum = s.add(s.load(z), s.load(r));
                s.store(z, sum);
            }
            for (z, r) in tail.iter_mut().zip(&residual[whole..]) {
                *z += r;
            }
        }
        let mut sum = s.zero();
        for z in body.chunks_exact(S::LANES) {
            sum = s.add(sum, s.load(z));
        }
        let mean = (s.sum(sum) + tail.iter().sum::<f32>()) / width as f32;
        let centre = s.splat(mean);
        let mut squares = s.zero();
        for z in body.chunks_exact(S::LANES) {
            let d = s.sub(s.load(z), centre);
            squares = s.fma(d, d, squares);
        }
        let variance = (s.sum(squares) + tail.iter().map(|z| (z - mean) * (z - mean)).sum::<f32>()) / width as f32;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        let factor = s.splat(scale);
        let parameters = self.gamma.chunks_exact(S::LANES).zip(self.beta.chunks_exact(S::LANES));
        for (z, (gamma, beta)) in body.chunks_exact_mut(S::LANES).zip(parameters) {
            let normal = s.mul(s.sub(s.load(z), centre), factor);
            s.store(z, s.fma(normal, s.load(gamma), s.load(beta)));
        }
        for (z, (gamma, beta)) in tail.iter_mut().zip(self.gamma[whole..].iter().zip(&self.beta[whole..])) {
            *z = (*z - mean) * scale * gamma + beta;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};
    use ndarray::Array1;

    fn reference(z: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
        let z = Array1::from(z.to_vec());
        let mean = z.mean().unwrap();
        let variance = z.mapv(|v| (v - mean).powi(2)).mean().unwrap();
        ((z - mean) / (variance + epsilon).sqrt() * Array1::from(gamma.to_vec()) + Array1::from(beta.to_vec())).to_vec()
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        for cpu in oracle::cpus() {
            for width in [1, 7, 8, 9, 15, 16, 17, 768] {
                for rows in [1, 15, 16, 17, 33] {
                    let (x, r) = (numbers(rows * width, 1), numbers(rows * width, 2));
                    let (gamma, beta) = (numbers(width, 3), numbers(width, 4));
                    let tensor = |v: &[f32], r, c| Tensor::from_host(&cpu, v, r, c).unwrap();
                    let (g, b) = (tensor(&gamma, 1, width), tensor(&beta, 1, width));
                    let affine = Affine { gamma: &g, beta: &b, epsilon: 1e-3 };
                    for residual in [false, true] {
                        let mut y = tensor(&vec![f32::NAN; rows * width], rows, width);
                        let other = residual.then(|| tensor(&r, rows, width));
                        forward(&cpu, &tensor(&x, rows, width), other.as_ref(), &affine, &mut y).unwrap();
                        let y = y.to_host(&cpu).unwrap();
                        for row in 0..rows {
                            let z: Vec<f64> = (0..width)
                                .map(|i| row * width + i)
                                .map(|i| f64::from(x[i]) + if residual { f64::from(r[i]) } else { 0.0 })
                                .collect();
                            let expected = reference(&z, &oracle::wide(&gamma), &oracle::wide(&beta), 1e-3);
                            // values of a few units, each from a handful of roundings; ε = 1e-3 bounds 1/σ by 32
                            oracle::close(&y[row * width..][..width], &expected, 2e-5);
                        }
                    }
                }
            }
        }
    }
}
