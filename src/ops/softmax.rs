//! ln Σₙ e^x[r, n] for every row, and ln softmax(x)[r, n] at one column of it: what turns logits into
//! (log-)probabilities. The latter is the cross-entropy of that column with its sign turned.

#[cfg(feature = "cuda")]
mod cuda;

use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd, math};

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn log_sum_exp_forward(&self, x: &Hidden<Self>, y: &mut Tensor<Self>) -> Result<()>;
    /// Writes all of `y`.
    fn log_softmax_forward(&self, x: &Hidden<Self>, columns: &[usize], y: &mut Tensor<Self>) -> Result<()>;
}

/// y `[R, 1]` = ln Σₙ e^x[r, n]; −∞ for rows of no columns. `y` takes that shape.
pub fn log_sum_exp<D: Op>(device: &D, x: &Hidden<D>, y: &mut Tensor<D>) -> Result<()> {
    y.reshape(device, x.rows(), 1)?;
    device.log_sum_exp_forward(x, y)
}

/// y `[R, 1]` = x[r, columns r] − ln Σₙ e^x[r, n]. `y` takes that shape.
pub fn log_softmax<D: Op>(device: &D, x: &Hidden<D>, columns: &[usize], y: &mut Tensor<D>) -> Result<()> {
    if columns.len() != x.rows() || columns.iter().any(|&c| c >= x.cols()) {
        return Err(Error::internal(format!("log softmax: {} columns for {:?}", columns.len(), x.shape())));
    }
    y.reshape(device, x.rows(), 1)?;
    device.log_softmax_forward(x, columns, y)
}

impl Op for Cpu {
    fn log_softmax_forward(&self, x: &Tensor<Cpu>, columns: &[usize], y: &mut Tensor<Cpu>) -> Result<()> {
        self.log_sum_exp_forward(x, y)?;
        let (x, width) = (x.buffer().as_slice(), x.cols());
        for (row, (y, &column)) in y.buffer_mut().as_mut_slice()?.iter_mut().zip(columns).enumerate() {
            *y = x[row * width + column] - *y;
        }
        Ok(())
    }

    fn log_sum_exp_forward(&self, x: &Tensor<Cpu>, y: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = x.shape();
        let x = x.buffer().as_slice();
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows], 1);
        self.for_each(rows, |row| {
            // SAFETY: every item has its own row.
            let y = unsafe { y.row(row, 0, 1) };
            y[0] = self.isa().dispatch(Row(&x[row * width..][..width])).value;
        })
    }
}

/// [`LogSumExp`] of one row.
pub(super) struct Row<'a>(pub &'a [f32]);

/// What one walk over a row tells.
pub(super) struct LogSumExp {
    /// ln Σ eˣ; not finite where a value is NaN or +∞.
    pub value: f32,
    /// The largest x; of no meaning where `value` is not finite.
    pub largest: f32,
}

impl Kernel for Row<'_> {
    type Output = LogSumExp;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> LogSumExp {
        let chunks = self.0.chunks_exact(S::LANES);
        let tail = chunks.remainder();
        let mut largest = s.load_tail(tail, f32::NEG_INFINITY);
        for x in chunks.clone() {
            largest = s.max(s.load(x), largest);
        }
        let largest = s.max_lane(largest);
        if !largest.is_finite() {
            // −∞: nothing to add up. NaN or +∞: the row is not a row of logits, and says so.
            return LogSumExp { value: self.0.iter().sum::<f32>() + largest, largest };
        }
        let shift = s.splat(largest);
        // Eight sums at least, for which two vectors of 4 lanes take turns: the longest rows are as long as a vocabulary, and what
        // a sum loses to rounding grows with the number of its values.
        let (mut body, mut next) = (s.zero(), s.zero());
        for x in chunks {
            let sum = s.add(body, math::exp(s, s.sub(s.load(x), shift)));
            (body, next) = if S::LANES < 8 { (next, sum) } else { (sum, next) };
        }
        let body = s.add(body, next);
        let end: f32 = tail.iter().map(|x| (x - largest).exp()).sum();
        LogSumExp { value: largest + (s.sum(body) + end).ln(), largest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};

    #[test]
    fn agrees_with_the_definition() {
        for cpu in oracle::cpus() {
            for width in [1, 7, 8, 9, 16, 17, 30_522] {
                let values: Vec<f32> = numbers(3 * width, 1).iter().map(|v| v * 20.0).collect();
                let x = Tensor::from_host(&cpu, &values, 3, width).unwrap();
                let mut y = Tensor::from_host(&cpu, &[f32::NAN; 3], 3, 1).unwrap();
                log_sum_exp(&cpu, &x, &mut y).unwrap();
                let expected: Vec<f64> =
                    values.chunks(width).map(|r| oracle::wide(r).iter().map(|v| v.exp()).sum::<f64>().ln()).collect();
                // relative error of the sum is a few 1e-7; the result adds one rounding of a value below 30
                oracle::close(&y.to_host(&cpu).unwrap(), &expected, 5e-6);
                let columns = [0, width - 1, width / 2];
                log_softmax(&cpu, &x, &columns, &mut y).unwrap();
                let at: Vec<f64> = (0..3).map(|r| f64::from(values[r * width + columns[r]]) - expected[r]).collect();
                oracle::close(&y.to_host(&cpu).unwrap(), &at, 5e-6);
            }
        }
    }

    #[test]
    fn rows_that_are_not_finite_do_not_look_finite() {
        let cpu = Cpu::new(1).unwrap();
        let mut row = vec![0.5; 40];
        row[11] = f32::NAN;
        let x = Tensor::from_host(&cpu, &row, 1, 40).unwrap();
        let mut y = Tensor::new(&cpu, 0, 0).unwrap();
        log_sum_exp(&cpu, &x, &mut y).unwrap();
        assert!(!y.to_host(&cpu).unwrap()[0].is_finite());
    }
}
