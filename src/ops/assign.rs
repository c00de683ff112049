//! `y[to r] = x[from r]`: rows that are named are overwritten, all others stay.

#[cfg(feature = "cuda")]
mod cuda;

use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};

/// What a device provides. Shapes and indices are already checked.
pub trait Op: Device {
    /// Writes the rows `to` of `y` and no other. Without `from`, row r of `x` goes to row `to[r]`.
    fn assign_forward(
        &self,
        x: &Hidden<Self>,
        from: Option<&[usize]>,
        to: &[usize],
        y: &mut Hidden<Self>,
    ) -> Result<()>;
}

/// Rows `from` of x `[T, C]`, or where that is absent all of them, become the rows `to` of y `[·, C]`. Rows of `to` are
/// distinct.
pub fn forward<D: Op>(
    device: &D,
    x: &Hidden<D>,
    from: Option<&[usize]>,
    to: &[usize],
    y: &mut Hidden<D>,
) -> Result<()> {
    let count = from.map_or(x.rows(), <[usize]>::len);
    if count != to.len() || x.cols() != y.cols() {
        return Err(Error::internal(format!(
            "assign: {count} rows of {:?} to {} of {:?}",
            x.shape(),
            to.len(),
            y.shape()
        )));
    }
    let outside = |rows: &[usize], most: usize| rows.iter().copied().find(|&row| row >= most);
    if let Some(row) = from.and_then(|from| outside(from, x.rows())) {
        return Err(Error::internal(format!("assign: from row {row} of {}", x.rows())));
    }
    if let Some(row) = outside(to, y.rows()) {
        return Err(Error::internal(format!("assign: to row {row} of {}", y.rows())));
    }
    device.assign_forward(x, from, to, y)
}

impl Op for Cpu {
    fn assign_forward(&self, x: &Tensor<Cpu>, from: Option<&[usize]>, to: &[usize], y: &mut Tensor<Cpu>) -> Result<()> {
        let width = x.cols();
        let (x, y) = (x.buffer().as_slice(), y.buffer_mut().as_mut_slice()?);
        for (index, &target) in to.iter().enumerate() {
            let source = from.map_or(index, |from| from[index]);
            y[target * width..][..width].copy_from_slice(&x[source * width..][..width]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::numbers;

    #[test]
    fn named_rows_are_overwritten_and_others_stay() {
        let cpu = Cpu::new(1).unwrap();
        let (x, held) = (numbers(3 * 5, 1), numbers(4 * 5, 2));
        let source = Tensor::from_host(&cpu, &x, 3, 5).unwrap();
        let mut y = Tensor::from_host(&cpu, &held, 4, 5).unwrap();
        forward(&cpu, &source, None, &[3, 0, 1], &mut y).unwrap();
        let expected = [&x[5..10], &x[10..], &held[10..15], &x[..5]].concat();
        assert_eq!(y.to_host(&cpu).unwrap(), expected);
        forward(&cpu, &source, Some(&[2, 2]), &[2, 3], &mut y).unwrap();
        assert_eq!(y.to_host(&cpu).unwrap(), [&x[5..], &x[10..], &x[10..]].concat());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cpu = Cpu::new(1).unwrap();
        let zeros = |rows, cols| Tensor::<Cpu>::zeros(&cpu, rows, cols).unwrap();
        let (x, mut y) = (zeros(2, 3), zeros(4, 3));
        assert!(forward(&cpu, &x, None, &[0], &mut y).is_err());
        assert!(forward(&cpu, &x, None, &[0, 4], &mut y).is_err());
        assert!(forward(&cpu, &x, Some(&[2]), &[0], &mut y).is_err());
        assert!(forward(&cpu, &x, None, &[0, 1], &mut zeros(4, 2)).is_err());
    }
}
