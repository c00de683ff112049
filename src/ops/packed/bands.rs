//! The left factor of a product with packed weights: rows in bands as high as a tile. A band has what all of its rows hold
//! at the first place of the depth, then at the second, and so on: a tile reads it from end to end.
//!
//! In 8 bits a row's integers go from 0 to 255 and stand for what it spans, widened to hold 0, which is exact.

use std::ops::Range;

use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, CpuBuffer, Device};
use crate::error::{Error, Result};
use crate::ops::dot::numbers::{PairRows, Span, Steps};
use crate::ops::dot::tile::{Band, Heights, Parts};
use crate::ops::dot::turn::{self, interleave, interleave_bf16};
use crate::ops::product::{Stored, Transposed};
use crate::ops::scaled::Scaled;
use crate::ops::shared::SharedRows;
use crate::simd::MAX_LANES;
use crate::simd::dot::{Dot, DotKernel, as_groups, as_groups_mut};

/// Rows of groups, in bands.
pub struct Bands {
    /// Of each band: its groups, then a scale a row, then a zero point a row.
    buffer: CpuBuffer<f32>,
    shape: Shape,
}

/// How rows lie in bands.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    /// Of a row.
    groups: usize,
    bands: Parts,
    /// Between bands.
    stride: usize,
}

impl Shape {
    fn new(cpu: &Cpu, rows: usize, groups: usize) -> Self {
        let heights = cpu.dispatch_dot(Heights);
        let count = if rows <= heights.alone { 1 } else { rows.div_ceil(heights.among) };
        // Groups, scales and zero points. Pairs of rows are turned by whole vectors, which reach beyond the last row.
        let stride = ((groups + 2) * turn::stride(rows.div_ceil(count)) + MAX_LANES).next_multiple_of(LINE);
        Self { rows, groups, bands: Parts::new(rows, count), stride }
    }

    /// Values of all bands.
    fn room(&self) -> usize {
        self.bands.count() * self.stride
    }
}

impl Bands {
    /// A `[rows, depth]`, of which neither is 0, in the arithmetic of `cpu`.
    pub fn of_rows(cpu: &Cpu, a: Stored<'_>, shape: (usize, usize)) -> Result<Self> {
        Self::of_made_rows(cpu, shape, |rows| Stored { values: &a.values[rows.start * a.stride..], ..a })
    }

    /// The same of rows that `make` computes, those of every band once, and tells where they lie.
    pub fn of_made_rows<'a>(
        cpu: &Cpu,
        (rows, depth): (usize, usize),
        make: impl Fn(Range<usize>) -> Stored<'a> + Sync,
    ) -> Result<Self> {
        let arithmetic = cpu.arithmetic();
        let groups = depth.div_ceil(arithmetic.numbers());
        let room = if arithmetic == Arithmetic::Int8 { groups } else { 0 };
        Self::build(cpu, Shape::new(cpu, rows, groups), |rows, target| {
            let mut room = cpu.alloc::<f32>(room * rows.len())?;
            let (shape, room) = ((rows.len(), depth), room.as_mut_slice()?);
            cpu.dispatch_dot(FillRows { arithmetic, a: make(rows), shape, groups, room, target });
            Ok(())
        })
    }

    /// A `[rows, depth]`, of which neither is 0 and whose transpose is stored, in bf16.
    pub fn of_columns(cpu: &Cpu, a: Transposed<'_>, (rows, depth): (usize, usize)) -> Result<Self> {
        Self::build(cpu, Shape::new(cpu, rows, depth.div_ceil(2)), |rows, target| {
            let Stored { values, stride } = a.0;
            let stored = Stored { values: &values[rows.start..], stride };
            let (groups, width) = (as_groups_mut(target), turn::stride(rows.len()));
            cpu.isa().dispatch(PairRows { rows: Scaled::plain(stored), depth, groups, width });
            Ok(())
        })
    }

    /// A `[rows, depth]`, of which neither is 0 and all of which `fill` writes. Not in 8 bits, whose scales take whole rows.
    pub fn filled(
        cpu: &Cpu,
        (rows, depth): (usize, usize),
        fill: impl FnOnce(&Filling<'_>) -> Result<()>,
    ) -> Result<Self> {
        let arithmetic = cpu.arithmetic();
        if arithmetic == Arithmetic::Int8 {
            return Err(Error::internal("bands of 8 bits to fill a part of a row at a time"));
        }
        let shape = Shape::new(cpu, rows, depth.div_ceil(arithmetic.numbers()));
        let mut buffer = cpu.alloc::<f32>(shape.room())?;
        fill(&Filling { arithmetic, shape, bands: SharedRows::new(buffer.as_mut_slice()?, shape.stride) })?;
        Ok(Self { buffer, shape })
    }

    /// Has `fill` write each of the bands.
    fn build(cpu: &Cpu, shape: Shape, fill: impl Fn(Range<usize>, &mut [f32]) -> Result<()> + Sync) -> Result<Self> {
        let mut buffer = cpu.alloc::<f32>(shape.room())?;
        let bands = SharedRows::new(buffer.as_mut_slice()?, shape.stride);
        cpu.try_for_each(shape.bands.count(), |band| {
            // SAFETY: every work item has its own band.
            let target = unsafe { bands.row(band, 0, shape.stride) };
            fill(shape.bands.rows(band), target)
        })?;
        Ok(Self { buffer, shape })
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.shape.groups
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Number of bands.
    pub fn count(&self) -> usize {
        self.shape.bands.count()
    }

    /// The bands to read.
    pub fn as_slices(&self) -> Slices<'_> {
        Slices { values: self.buffer.as_slice(), shape: self.shape }
    }
}

/// [`Bands`] to read.
#[derive(Clone, Copy)]
pub struct Slices<'a> {
    values: &'a [f32],
    shape: Shape,
}

impl<'a> Slices<'a> {
    /// One band.
    #[inline(always)]
    pub fn band(&self, band: usize) -> Band<'a> {
        let (rows, Shape { groups, stride, .. }) = (self.shape.bands.rows(band), self.shape);
        let values = &self.values[band * stride..][..stride];
        let (groups, end) = values.split_at(groups * turn::stride(rows.len()));
        let (scales, zeros) = end[..2 * rows.len()].split_at(rows.len());
        Band { rows, groups: as_groups(groups), scales, zeros }
    }
}

/// f32 in a cache line.
const LINE: usize = 16;

/// Bands that work items write a panel's columns at a time.
pub struct Filling<'a> {
    arithmetic: Arithmetic,
    shape: Shape,
    bands: SharedRows<'a>,
}

impl Filling<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Writes `columns` columns, at most a panel's, of all rows of a band from column `first` on, which begins a group.
    ///
    /// # Safety
    /// Nothing else reaches these columns of the band meanwhile.
    #[inline(always)]
    pub unsafe fn write<D: Dot>(&self, d: D, band: usize, first: usize, columns: usize, values: Stored<'_>) {
        let (rows, numbers) = (self.shape.bands.rows(band).len(), self.arithmetic.numbers());
        let stride = turn::stride(rows);
        // SAFETY: the caller's promise.
        let target = unsafe { self.bands.row(band, first / numbers * stride, columns.div_ceil(numbers) * stride) };
        match self.arithmetic {
            Arithmetic::F32 => interleave(d.simd(), values, (rows, columns), target, stride),
            _ => interleave_bf16(d, values, (rows, columns), as_groups_mut(target), stride),
        }
    }
}

/// Writes one band.
struct FillRows<'a> {
    arithmetic: Arithmetic,
    a: Stored<'a>,
    /// Rows and depth.
    shape: (usize, usize),
    groups: usize,
    /// For the rows in 8 bits.
    room: &'a mut [f32],
    target: &'a mut [f32],
}

impl DotKernel for FillRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let s = d.simd();
        let Self { arithmetic, a, shape: (rows, depth), groups, room, target } = self;
        let stride = turn::stride(rows);
        match arithmetic {
            Arithmetic::F32 => return interleave(s, a, (rows, depth), target, stride),
            Arithmetic::Bf16 => return interleave_bf16(d, a, (rows, depth), as_groups_mut(target), stride),
            Arithmetic::Int8 => {}
        }
        let (mut scales, mut zeros) = ([1.0; MAX_LANES], [0.0; MAX_LANES]);
        for (row, numbers) in room.chunks_exact_mut(groups).enumerate() {
            let x = &a.values[row * a.stride..][..depth];
            let numbers = as_groups_mut(numbers);
            let Span { low, high, odd } = Span::of(s, x);
            let scale = (high - low) / 255.0;
            let zero = (-low * Steps::inverse(scale)).round_ties_even();
            Steps { scale, zero, range: (0.0, 255.0) }.write(s, x, numbers);
            (scales[row], zeros[row]) = (scale + odd, zero);
        }
        interleave(s, Stored { values: room, stride: groups }, (rows, groups), target, stride);
        let end = &mut target[groups * stride..];
        end[..rows].copy_from_slice(&scales[..rows]);
        end[rows..2 * rows].copy_from_slice(&zeros[..rows]);
    }
}
