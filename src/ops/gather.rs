//! `y[r] = x[rows r]`

use crate::device::{Cpu, Device, Tensor};
use crate::error::{Error, Result};

/// What a device provides. Shapes and indices are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn gather_forward(&self, x: &Tensor<Self>, rows: &[usize], y: &mut Tensor<Self>) -> Result<()>;
}

/// y `[R, H]` = the named rows of x, in their order. `y` takes that shape.
pub fn forward<D: Op>(device: &D, x: &Tensor<D>, rows: &[usize], y: &mut Tensor<D>) -> Result<()> {
    if let Some(row) = rows.iter().find(|&&row| row >= x.rows()) {
        return Err(Error::internal(format!("gather: row {row} of {}", x.rows())));
    }
    y.reshape(device, rows.len(), x.cols())?;
    device.gather_forward(x, rows, y)
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
}
