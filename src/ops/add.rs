//! `y += x`: where two paths of the forward pass end, two gradients meet.

#[cfg(feature = "cuda")]
mod cuda;

use super::Accumulate;
use super::scatter::add_to;
use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Adds to all of `y`.
    fn add(&self, x: &Hidden<Self>, y: Accumulate<'_, Self, Self::Activation>) -> Result<()>;
}

/// y += x, both of one shape.
pub fn add<D: Op>(device: &D, x: &Hidden<D>, y: Accumulate<'_, D, D::Activation>) -> Result<()> {
    if x.shape() != y.0.shape() {
        return Err(Error::internal(format!("add: {:?} to {:?}", x.shape(), y.0.shape())));
    }
    device.add(x, y)
}

/// Elements of one work item.
const BLOCK: usize = 16 * 1024;

impl Op for Cpu {
    fn add(&self, x: &Tensor<Cpu>, y: Accumulate<'_, Cpu>) -> Result<()> {
        let count = x.rows() * x.cols();
        let x = &x.buffer().as_slice()[..count];
        let y = SharedRows::new(&mut y.0.buffer_mut().as_mut_slice()?[..count], count);
        self.for_each(count.div_ceil(BLOCK), |block| {
            let first = block * BLOCK;
            let x = &x[first..count.min(first + BLOCK)];
            // SAFETY: every item has its own block.
            self.isa().dispatch(Block { x, y: unsafe { y.row(0, first, x.len()) } });
        })
    }
}

struct Block<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        add_to(s, self.x, self.y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};

    #[test]
    fn every_value_is_added_once() {
        for (rows, cols) in [(0, 3), (1, 1), (1, 7), (8, 1), (3, 3), (1, 16), (1, 17), (5, BLOCK / 2)] {
            let (a, b) = (numbers(rows * cols, 1), numbers(rows * cols, 2));
            let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            for cpu in oracle::cpus() {
                let x = Tensor::from_host(&cpu, &a, rows, cols).unwrap();
                let mut y = Tensor::from_host(&cpu, &b, rows, cols).unwrap();
                add(&cpu, &x, Accumulate(&mut y)).unwrap();
                assert_eq!(y.to_host(&cpu).unwrap(), expected);
                let mut other = Tensor::zeros(&cpu, cols, rows + 1).unwrap();
                assert!(add(&cpu, &x, Accumulate(&mut other)).is_err());
            }
        }
    }
}
