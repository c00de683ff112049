//! `y[r] = x[rows r]`, and back: a row that is named more than once collects the gradients of all its copies.

#[cfg(feature = "cuda")]
mod cuda;

use super::{Accumulate, scatter};
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};

/// What a device provides. Shapes and indices are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn gather_forward(&self, x: &Hidden<Self>, rows: &[usize], y: &mut Hidden<Self>) -> Result<()>;
    /// Adds to the named rows of `dx`; the order of the sums depends on `rows` only.
    fn gather_backward(
        &self,
        dy: &Hidden<Self>,
        rows: &[usize],
        dx: Accumulate<'_, Self, Self::Activation>,
    ) -> Result<()>;
}

/// y `[R, H]` = the named rows of x, in their order. `y` takes that shape.
pub fn forward<D: Op>(device: &D, x: &Hidden<D>, rows: &[usize], y: &mut Hidden<D>) -> Result<()> {
    if let Some(row) = rows.iter().find(|&&row| row >= x.rows()) {
        return Err(Error::internal(format!("gather: row {row} of {}", x.rows())));
    }
    y.reshape(device, rows.len(), x.cols())?;
    device.gather_forward(x, rows, y)
}

/// `dx[rows r] += dy[r]`, for dy `[R, H]` and dx `[T, H]`.
pub fn backward<D: Op>(device: &D, dy: &Hidden<D>, rows: &[usize], dx: Accumulate<'_, D, D::Activation>) -> Result<()> {
    if dy.rows() != rows.len() || dy.cols() != dx.0.cols() {
        return Err(Error::internal(format!(
            "gather backward: {:?} of {} rows to {:?}",
            dy.shape(),
            rows.len(),
            dx.0.shape()
        )));
    }
    if let Some(row) = rows.iter().find(|&&row| row >= dx.0.rows()) {
        return Err(Error::internal(format!("gather backward: row {row} of {}", dx.0.rows())));
    }
    device.gather_backward(dy, rows, dx)
}

impl Op for Cpu {
    fn gather_forward(&self, x: &Tensor<Cpu>, rows: &[usize], y: &mut Tensor<Cpu>) -> Result<()> {
        let width = x.cols();
        if width == 0 {
            return Ok(());
        }
        let x = x.buffer().as_slice();
        let y = &mut y.buffer_mut().as_mut_slice()?[..rows.len() * width];
        for (y, &row) in y.chunks_exact_mut(width).zip(rows) {
            y.copy_from_slice(&x[row * width..][..width]);
        }
        Ok(())
    }

    fn gather_backward(&self, dy: &Tensor<Cpu>, rows: &[usize], dx: Accumulate<'_, Cpu>) -> Result<()> {
        let targets = rows.iter().enumerate().map(|(source, &target)| (target, source)).collect();
        scatter::add(self, targets, dy, dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};

    #[test]
    fn rows_are_copied_in_order() {
        for cpu in oracle::cpus() {
            let values = numbers(15, 1);
            let x = Tensor::from_host(&cpu, &values, 5, 3).unwrap();
            let mut y = Tensor::from_host(&cpu, &[f32::NAN; 9], 3, 3).unwrap();
            forward(&cpu, &x, &[4, 0, 4], &mut y).unwrap();
            assert_eq!(y.to_host(&cpu).unwrap(), [&values[12..], &values[..3], &values[12..]].concat());
            assert!(forward(&cpu, &x, &[5], &mut y).is_err());
        }
    }

    #[test]
    fn gradients_return_to_the_rows_that_were_copied() {
        let (rows, named) = (6, [4, 0, 4, 5, 4]);
        for width in [1, 7, 8, 9, 16, 17, 300] {
            let (x, dy, held) = (numbers(rows * width, 1), numbers(5 * width, 2), numbers(rows * width, 3));
            let weighted = |x: &[f64]| -> f64 {
                let copied = named.iter().flat_map(|&row| &x[row * width..][..width]);
                copied.zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
            };
            let slope = oracle::gradient(&oracle::wide(&x), weighted);
            let expected: Vec<f64> = slope.iter().zip(&held).map(|(d, &h)| d + f64::from(h)).collect();
            for cpu in oracle::cpus() {
                let dy = Tensor::from_host(&cpu, &dy, 5, width).unwrap();
                let mut dx = Tensor::from_host(&cpu, &held, rows, width).unwrap();
                backward(&cpu, &dy, &named, Accumulate(&mut dx)).unwrap();
                oracle::close(&dx.to_host(&cpu).unwrap(), &expected, 5e-7); // three roundings of values below 4
                assert!(backward(&cpu, &dy, &named[1..], Accumulate(&mut dx)).is_err());
                assert!(backward(&cpu, &dy, &[0, 1, 2, 3, 6], Accumulate(&mut dx)).is_err());
            }
        }
    }
}
