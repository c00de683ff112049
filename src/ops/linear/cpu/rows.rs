//! Rows made narrow, as the left factor of a product. In 8 bits a row's integers go from 0 to 255 and stand for what it
//! spans, widened to hold 0, which is exact.

use super::numbers::{Span, Steps, write_bf16};
use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, CpuBuffer, Device};
use crate::error::Result;
use crate::ops::shared::SharedRows;
use crate::simd::{Kernel, Simd};

/// Rows that one work item makes narrow.
const ROWS: usize = 8;

/// Rows of groups: each has its groups, then its scale, then its zero point as f32.
pub struct NarrowRows {
    buffer: CpuBuffer<f32>,
    stride: usize,
    groups: usize,
}

/// A row of [`NarrowRows`].
#[derive(Clone, Copy)]
pub struct Scaling {
    /// What its integers are multiples of.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: i32,
}

impl NarrowRows {
    /// `x` `[rows, depth]` in the arithmetic of `cpu`, which is not f32.
    pub fn new(cpu: &Cpu, x: &[f32], rows: usize, depth: usize) -> Result<Self> {
        let groups = depth.div_ceil(cpu.arithmetic().numbers());
        // Odd multiples of a cache line: with a power of two between them, rows would share few sets of a cache.
        let stride = ((groups + 2).div_ceil(LINE) | 1) * LINE;
        let mut buffer = cpu.alloc::<f32>(rows * stride)?;
        let target = SharedRows::new(buffer.as_mut_slice()?, stride);
        cpu.for_each(rows.div_ceil(ROWS), |item| {
            for row in item * ROWS..rows.min((item + 1) * ROWS) {
                let x = &x[row * depth..][..depth];
                // SAFETY: every work item has its own rows.
                let target = unsafe { target.row(row, 0, stride) };
                cpu.isa().dispatch(Narrow { arithmetic: cpu.arithmetic(), x, groups, target });
            }
        })?;
        Ok(Self { buffer, stride, groups })
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Groups between rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The groups from row `first` on, of `count` rows.
    pub fn at(&self, first: usize, count: usize) -> *const u32 {
        self.buffer.as_slice()[first * self.stride..][..count * self.stride].as_ptr().cast()
    }

    /// What the integers of a row stand for.
    #[inline(always)]
    pub fn scaling(&self, row: usize) -> Scaling {
        let end = &self.buffer.as_slice()[row * self.stride + self.groups..][..2];
        Scaling { scale: end[0], zero: end[1] as i32 }
    }
}

/// Groups in a cache line.
const LINE: usize = 16;

struct Narrow<'a> {
    arithmetic: Arithmetic,
    x: &'a [f32],
    groups: usize,
    /// See [`NarrowRows`].
    target: &'a mut [f32],
}

impl Kernel for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { arithmetic, x, groups, target } = self;
        let (numbers, end) = target.split_at_mut(groups);
        // SAFETY: an f32 and a group have one size and alignment, and every bit pattern is either; borrowed exclusively.
        let numbers = unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u32>(), groups) };
        if arithmetic != Arithmetic::Int8 {
            end[..2].copy_from_slice(&[1.0, 0.0]);
            return write_bf16(s, x, numbers);
        }
        let Span { low, high, odd } = Span::of(s, x);
        let scale = (high - low) / 255.0;
        let zero = (-low * Steps::inverse(scale)).round_ties_even();
        end[..2].copy_from_slice(&[scale + odd, zero]);
        Steps { scale, zero, range: (0.0, 255.0) }.write(s, x, numbers);
    }
}
