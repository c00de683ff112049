//! The left factor of a product with packed weights: rows in bands as high as a tile. A band has what all of its rows hold
//! at the first place of the depth, then at the second, and so on: a tile reads it from end to end.
//!
//! In 8 bits a row's integers go from 0 to 255 and stand for what it spans, widened to hold 0, which is exact.

use std::ops::Range;

use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, CpuBuffer, Device};
use crate::error::Result;
use crate::ops::dot::numbers::{PairRows, Span, Steps, write_bf16};
use crate::ops::dot::tile::{Band, Heights, part};
use crate::ops::dot::turn::interleave;
use crate::ops::product::{Stored, Transposed};
use crate::ops::shared::SharedRows;
use crate::simd::MAX_LANES;
use crate::simd::dot::{Dot, DotKernel};

/// Rows of groups, in bands.
pub struct Bands {
    /// Of each band: its groups, then a scale a row, then a zero point a row.
    buffer: CpuBuffer<f32>,
    /// Between bands.
    stride: usize,
    rows: usize,
    groups: usize,
    count: usize,
}

impl Bands {
    /// A `[rows, depth]`, of which neither is 0, in the arithmetic of `cpu`.
    pub fn of_rows(cpu: &Cpu, a: Stored<'_>, shape: (usize, usize)) -> Result<Self> {
        let (arithmetic, depth) = (cpu.arithmetic(), shape.1);
        let groups = depth.div_ceil(arithmetic.numbers());
        let room = if arithmetic == Arithmetic::F32 { 0 } else { groups };
        Self::build(cpu, (shape.0, groups), |rows, target| {
            let mut room = cpu.alloc::<f32>(room * rows.len())?;
            let a = Stored { values: &a.values[rows.start * a.stride..], ..a };
            cpu.dispatch_dot(FillRows {
                arithmetic,
                a,
                shape: (rows.len(), depth),
                groups,
                room: room.as_mut_slice()?,
                target,
            });
            Ok(())
        })
    }

    /// A `[rows, depth]`, of which neither is 0 and whose transpose is stored, in bf16.
    pub fn of_columns(cpu: &Cpu, a: Transposed<'_>, (rows, depth): (usize, usize)) -> Result<Self> {
        Self::build(cpu, (rows, depth.div_ceil(2)), |rows, target| {
            let Stored { values, stride } = a.0;
            let values = &values[rows.start..];
            // SAFETY: an f32 and a group have one size and alignment, and every bit pattern is either; borrowed exclusively.
            let groups = unsafe { std::slice::from_raw_parts_mut(target.as_mut_ptr().cast::<u32>(), target.len()) };
            cpu.isa().dispatch(PairRows { values, stride, depth, groups, width: rows.len() });
            Ok(())
        })
    }

    /// Bands of nearly equal height, each of which `fill` writes.
    fn build(
        cpu: &Cpu,
        (rows, groups): (usize, usize),
        fill: impl Fn(Range<usize>, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let heights = cpu.dispatch_dot(Heights);
        let count = if rows <= heights.alone { 1 } else { rows.div_ceil(heights.among) };
        // What is turned by whole vectors reaches beyond the last row of its place.
        let stride = ((groups + 2) * rows.div_ceil(count) + MAX_LANES).next_multiple_of(LINE);
        let mut buffer = cpu.alloc::<f32>(count * stride)?;
        let bands = SharedRows::new(buffer.as_mut_slice()?, stride);
        cpu.try_for_each(count, |band| {
            // SAFETY: every work item has its own band.
            let target = unsafe { bands.row(band, 0, stride) };
            fill(part(rows, band, count), target)
        })?;
        Ok(Self { buffer, stride, rows, groups, count })
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Number of bands.
    pub fn count(&self) -> usize {
        self.count
    }

    /// One band.
    #[inline(always)]
    pub fn band(&self, band: usize) -> Band<'_> {
        let rows = part(self.rows, band, self.count);
        let values = &self.buffer.as_slice()[band * self.stride..][..self.stride];
        let (groups, end) = values.split_at(self.groups * rows.len());
        let (scales, zeros) = end[..2 * rows.len()].split_at(rows.len());
        // SAFETY: a group and an f32 have one size and alignment, and every bit pattern is either.
        let groups = unsafe { std::slice::from_raw_parts(groups.as_ptr().cast::<u32>(), groups.len()) };
        Band { rows, groups, scales, zeros }
    }
}

/// f32 in a cache line.
const LINE: usize = 16;

/// Writes one band.
struct FillRows<'a> {
    arithmetic: Arithmetic,
    a: Stored<'a>,
    /// Rows and depth.
    shape: (usize, usize),
    groups: usize,
    /// For the rows made narrow.
    room: &'a mut [f32],
    target: &'a mut [f32],
}

impl DotKernel for FillRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let s = d.simd();
        let Self { arithmetic, a, shape: (rows, depth), groups, room, target } = self;
        if arithmetic == Arithmetic::F32 {
            return interleave(s, a, (rows, depth), target, rows);
        }
        let (mut scales, mut zeros) = ([1.0; MAX_LANES], [0.0; MAX_LANES]);
        for (row, numbers) in room.chunks_exact_mut(groups).enumerate() {
            let x = &a.values[row * a.stride..][..depth];
            // SAFETY: an f32 and a group have one size and alignment, and every bit pattern is either; borrowed exclusively.
            let numbers = unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u32>(), groups) };
            if arithmetic == Arithmetic::Bf16 {
                write_bf16(d, x, numbers);
                continue;
            }
            let Span { low, high, odd } = Span::of(s, x);
            let scale = (high - low) / 255.0;
            let zero = (-low * Steps::inverse(scale)).round_ties_even();
            Steps { scale, zero, range: (0.0, 255.0) }.write(s, x, numbers);
            (scales[row], zeros[row]) = (scale + odd, zero);
        }
        interleave(s, Stored { values: room, stride: groups }, (rows, groups), target, rows);
        let end = &mut target[groups * rows..];
        end[..rows].copy_from_slice(&scales[..rows]);
        end[rows..2 * rows].copy_from_slice(&zeros[..rows]);
    }
}
