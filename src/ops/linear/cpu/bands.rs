//! The left factor of a product with packed weights: rows in bands as high as a tile. A band has what all of its rows hold
//! at the first place of the depth, then at the second, and so on: a tile reads it from end to end.
//!
//! In 8 bits a row's integers go from 0 to 255 and stand for what it spans, widened to hold 0, which is exact.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::numbers::{Span, Steps, write_bf16};
use super::tile::Heights;
use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, CpuBuffer, Device};
use crate::error::Result;
use crate::ops::shared::SharedRows;
use crate::simd::{Kernel, MAX_LANES, Simd};

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

/// Some rows of [`Bands`].
pub struct Band<'a> {
    /// Which rows.
    pub rows: Range<usize>,
    /// `[groups of the depth, rows]`
    pub groups: &'a [u32],
    /// Of every row: what its integers are multiples of.
    pub scales: &'a [f32],
    /// Of every row: the integer that stands for 0.
    pub zeros: &'a [f32],
}

impl Bands {
    /// `x` `[rows, depth]`, of which neither is 0, in the arithmetic of `cpu`.
    pub fn new(cpu: &Cpu, x: &[f32], (rows, depth): (usize, usize)) -> Result<Self> {
        let arithmetic = cpu.arithmetic();
        let groups = depth.div_ceil(arithmetic.numbers());
        let heights = cpu.dispatch_dot(Heights);
        // Bands of nearly equal height: a tile of one or two rows would wait on the latency of its few sums.
        let count = if rows <= heights.alone { 1 } else { rows.div_ceil(heights.among) };
        let high = rows.div_ceil(count);
        // What is turned by whole vectors reaches beyond the last row of its place.
        let stride = ((groups + 2) * high + MAX_LANES).next_multiple_of(LINE);
        let mut buffer = cpu.alloc::<f32>(count * stride)?;
        let bands = Self { buffer: cpu.alloc::<f32>(0)?, stride, rows, groups, count };
        let target = SharedRows::new(buffer.as_mut_slice()?, stride);
        let room = if arithmetic == Arithmetic::F32 { 0 } else { high * groups };
        let failure = Mutex::new(Ok(()));
        cpu.for_each(count, |band| {
            let rows = bands.rows_of(band);
            let x = &x[rows.start * depth..rows.end * depth];
            // SAFETY: every work item has its own band.
            let target = unsafe { target.row(band, 0, stride) };
            let filled = cpu.alloc::<f32>(room).and_then(|mut room| {
                cpu.isa().dispatch(Fill { arithmetic, x, depth, groups, room: room.as_mut_slice()?, target });
                Ok(())
            });
            if let Err(error) = filled {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        })?;
        failure.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(Self { buffer, ..bands })
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Number of bands.
    pub fn count(&self) -> usize {
        self.count
    }

    fn rows_of(&self, band: usize) -> Range<usize> {
        band * self.rows / self.count..(band + 1) * self.rows / self.count
    }

    /// One band.
    #[inline(always)]
    pub fn band(&self, band: usize) -> Band<'_> {
        let rows = self.rows_of(band);
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
struct Fill<'a> {
    arithmetic: Arithmetic,
    /// `[rows, depth]`
    x: &'a [f32],
    depth: usize,
    groups: usize,
    /// For the rows made narrow.
    room: &'a mut [f32],
    target: &'a mut [f32],
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { arithmetic, x, depth, groups, room, target } = self;
        let rows = x.len() / depth;
        if arithmetic == Arithmetic::F32 {
            return interleave(s, x, depth, rows, target);
        }
        let (mut scales, mut zeros) = ([1.0; MAX_LANES], [0.0; MAX_LANES]);
        for (row, (x, numbers)) in x.chunks_exact(depth).zip(room.chunks_exact_mut(groups)).enumerate() {
            // SAFETY: an f32 and a group have one size and alignment, and every bit pattern is either; borrowed exclusively.
            let numbers = unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u32>(), groups) };
            if arithmetic == Arithmetic::Bf16 {
                write_bf16(s, x, numbers);
                continue;
            }
            let Span { low, high, odd } = Span::of(s, x);
            let scale = (high - low) / 255.0;
            let zero = (-low * Steps::inverse(scale)).round_ties_even();
            Steps { scale, zero, range: (0.0, 255.0) }.write(s, x, numbers);
            (scales[row], zeros[row]) = (scale + odd, zero);
        }
        interleave(s, room, groups, rows, target);
        let end = &mut target[groups * rows..];
        end[..rows].copy_from_slice(&scales[..rows]);
        end[rows..2 * rows].copy_from_slice(&zeros[..rows]);
    }
}

/// `target[k · rows + row] = source[row · depth + k]`. `rows` is at most `S::LANES`; `target` has room for so many values more.
#[inline(always)]
fn interleave<S: Simd>(s: S, source: &[f32], depth: usize, rows: usize, target: &mut [f32]) {
    assert!(rows >= 1 && rows <= S::LANES && rows * depth <= source.len() && rows * depth + S::LANES <= target.len());
    let (source, target) = (source.as_ptr(), target.as_mut_ptr());
    let whole = depth - depth % S::LANES;
    let mut turned = [0.0; MAX_LANES * MAX_LANES];
    for k in (0..whole).step_by(S::LANES) {
        // SAFETY: places k..k + LANES of rows below `rows` are within the source, and LANES² values are within `turned`. The
        // place k + j of the target begins at most LANES values before the end of what the assertion above grants. It is
        // written before those after it, which lie where its last lanes went.
        unsafe {
            s.transpose_ptr(|row| s.load_ptr(source.add(row.min(rows - 1) * depth + k)), turned.as_mut_ptr(), S::LANES);
            for j in 0..S::LANES {
                s.store_ptr(target.add((k + j) * rows), s.load_ptr(turned.as_ptr().add(j * S::LANES)));
            }
        }
    }
    for k in whole..depth {
        for row in 0..rows {
            // SAFETY: within both by the assertion above.
            unsafe { target.add(k * rows + row).write(*source.add(row * depth + k)) };
        }
    }
}
