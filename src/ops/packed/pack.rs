//! Weights as panels of groups. In 8 bits an output's integers go from −127 to 127, without a zero point: the weight
//! furthest from 0 is exact.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::device::cpu::{Arithmetic, Groups, Packed};
use crate::device::{Cpu, Device, Quantised};
use crate::error::Result;
use crate::ops::dot::numbers::{PairRows, Span, Steps, write_bf16};
use crate::ops::dot::tile::width;
use crate::ops::dot::turn::interleave;
use crate::ops::gemm::Source;
use crate::ops::linear::Weight;
use crate::ops::product::{Right, Stored};
use crate::ops::scaled::{Scaled, ScaledTransposed, with_scaled};
use crate::simd::dot::{Dot, DotKernel, as_f32_mut, as_groups_mut};
use crate::simd::{Kernel, Simd};

/// Rearranges `weights` for many products in the arithmetic of `cpu`.
pub fn pack(cpu: &Cpu, weights: &[&Weight<Cpu>]) -> Result<Vec<Packed>> {
    let width = cpu.dispatch_dot(Width);
    let length = |weight: &Weight<Cpu>| length(weight.shape(), cpu.arithmetic(), width);
    let mut groups = Groups::lasting(weights.iter().map(|weight| length(weight)).sum())?;
    let (mut rest, mut filled) = (groups.as_mut_slice()?, Vec::with_capacity(weights.len()));
    for weight in weights {
        let (groups, others) = rest.split_at_mut(length(weight));
        filled.push(fill_weight(cpu, width, weight, groups)?);
        rest = others;
    }
    // All of them at the end: reading one brings back pages of its neighbours in the file, up to 2 MiB where the system
    // keeps the file in large pages.
    for weight in weights {
        match weight {
            Weight::F32(tensor) => tensor.buffer().release(),
            Weight::F16(tensor) => tensor.buffer().release(),
            Weight::Bf16(tensor) => tensor.buffer().release(),
            Weight::Int8(integers) => integers.release(),
        }
    }
    let (groups, mut first) = (Arc::new(groups), 0);
    let packed = weights.iter().zip(filled).map(|(weight, filled)| {
        let packed = filled.packed(cpu, weight.shape(), width, Arc::clone(&groups), first);
        first += length(weight);
        packed
    });
    Ok(packed.collect())
}

/// The right factor Wᵀ `[K, N]` of one product, in the arithmetic of `cpu`.
pub fn of_weight(cpu: &Cpu, weight: &Weight<Cpu>) -> Result<Packed> {
    let width = cpu.dispatch_dot(Width);
    let mut groups = Groups::passing(cpu, length(weight.shape(), cpu.arithmetic(), width))?;
    let filled = fill_weight(cpu, width, weight, groups.as_mut_slice()?)?;
    Ok(filled.packed(cpu, weight.shape(), width, Arc::new(groups), 0))
}

/// The right factor B `[depth, columns]` of one product, in bf16.
pub fn of_columns<E: Source>(cpu: &Cpu, b: Scaled<'_, E>, (depth, columns): (usize, usize)) -> Result<Packed> {
    let (shape, width) = ((columns, depth), cpu.dispatch_dot(Width));
    let mut groups = Groups::passing(cpu, length(shape, Arithmetic::Bf16, width))?;
    let filled = fill(cpu, shape, width, groups.as_mut_slice()?, |first, _, panel| {
        let Stored { values, stride } = b.stored;
        let stored = Stored { values: &values[first..], stride };
        cpu.isa().dispatch(PairRows { rows: Scaled { stored, ..b }, depth, groups: &mut *panel.groups, width });
        Ok(())
    })?;
    Ok(filled.packed(cpu, shape, width, Arc::new(groups), 0))
}

/// Groups of the panels of a weight `[N, K]`.
fn length((outputs, depth): (usize, usize), arithmetic: Arithmetic, width: usize) -> usize {
    outputs.next_multiple_of(width) * depth.div_ceil(arithmetic.numbers())
}

/// Of every column of all panels: scale, and sum of its integers.
struct Filled {
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Filled {
    fn packed(self, cpu: &Cpu, shape: (usize, usize), width: usize, groups: Arc<Groups>, first: usize) -> Packed {
        let Self { scales, sums } = self;
        Packed { arithmetic: cpu.arithmetic(), shape, width, groups, first, scales, sums }
    }
}

/// The part of [`Packed`] that has one panel's outputs.
struct Panel<'a> {
    groups: &'a mut [u32],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

fn fill_weight(cpu: &Cpu, width: usize, weight: &Weight<Cpu>, groups: &mut [u32]) -> Result<Filled> {
    match weight {
        Weight::Int8(integers) if cpu.arithmetic() == Arithmetic::Int8 => fill_integers(cpu, width, integers, groups),
        weight => with_scaled!(weight, rows => fill_rows(cpu, width, rows, weight.shape(), groups)),
    }
}

fn fill_rows<E: Source>(
    cpu: &Cpu,
    width: usize,
    rows: Scaled<'_, E>,
    shape: (usize, usize),
    groups: &mut [u32],
) -> Result<Filled> {
    let (depth, arithmetic) = (shape.1, cpu.arithmetic());
    // A panel's outputs in f32, and made narrow.
    let room = if arithmetic == Arithmetic::F32 { 0 } else { depth + width * depth.div_ceil(arithmetic.numbers()) };
    fill(cpu, shape, width, groups, |first, count, panel| {
        let outputs = first..first + count;
        let mut room = cpu.alloc::<f32>(room)?;
        let room = room.as_mut_slice()?;
        match arithmetic {
            Arithmetic::F32 => cpu.isa().dispatch(PackF32 { rows, outputs, depth, panel }),
            _ => cpu.dispatch_dot(PackNarrow { arithmetic, rows, outputs, depth, width, room, panel }),
        }
        Ok(())
    })
}

/// Integers as they are.
fn fill_integers(cpu: &Cpu, width: usize, weight: &Quantised, groups: &mut [u32]) -> Result<Filled> {
    let depth = weight.shape().1;
    fill(cpu, weight.shape(), width, groups, |first, count, panel| {
        let rows = &weight.integers()[first * depth..][..count * depth];
        panel.scales[..count].copy_from_slice(&weight.scales()[first..][..count]);
        let mut room = cpu.alloc::<f32>(width * depth.div_ceil(Arithmetic::Int8.numbers()))?;
        cpu.dispatch_dot(PackIntegers { rows, depth, width, room: room.as_mut_slice()?, panel });
        Ok(())
    })
}

/// Has `fill` write each panel: first output, number of outputs, and where to.
fn fill(
    cpu: &Cpu,
    (outputs, depth): (usize, usize),
    width: usize,
    groups: &mut [u32],
    fill: impl Fn(usize, usize, &mut Panel<'_>) -> Result<()> + Sync,
) -> Result<Filled> {
    let columns = outputs.next_multiple_of(width);
    let mut filled = Filled { scales: vec![0.0; columns], sums: vec![0; columns] };
    let parts = groups.chunks_exact_mut(depth.div_ceil(cpu.arithmetic().numbers()) * width);
    let numbers = filled.scales.chunks_exact_mut(width).zip(filled.sums.chunks_exact_mut(width));
    let parts = parts.zip(numbers).map(|(groups, (scales, sums))| Mutex::new(Panel { groups, scales, sums }));
    let parts: Vec<_> = parts.collect();
    cpu.try_for_each(parts.len(), |index| {
        let panel = &mut *parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        fill(index * width, width.min(outputs - index * width), panel)
    })?;
    drop(parts);
    Ok(filled)
}

/// Columns of a panel.
struct Width;

impl DotKernel for Width {
    type Output = usize;
    #[inline(always)]
    fn run<D: Dot>(self, _: D) -> usize {
        width::<D>()
    }
}

struct PackF32<'a, 'b, E> {
    rows: Scaled<'a, E>,
    /// Of the panel.
    outputs: Range<usize>,
    depth: usize,
    panel: &'a mut Panel<'b>,
}

impl<E: Source> Kernel for PackF32<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        ScaledTransposed(self.rows).pack(s, 0..self.depth, self.outputs, as_f32_mut(self.panel.groups));
    }
}

struct PackNarrow<'a, 'b, E> {
    arithmetic: Arithmetic,
    rows: Scaled<'a, E>,
    /// Of the panel.
    outputs: Range<usize>,
    depth: usize,
    width: usize,
    /// An output in f32, then all outputs made narrow.
    room: &'a mut [f32],
    panel: &'a mut Panel<'b>,
}

impl<E: Source> DotKernel for PackNarrow<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let (s, width, panel) = (d.simd(), self.width, self.panel);
        let (wide, narrow) = self.room.split_at_mut(self.depth);
        let groups = narrow.len() / width;
        let numbers = as_groups_mut(narrow);
        numbers[self.outputs.len() * groups..].fill(0);
        for (output, row) in self.outputs.enumerate() {
            let numbers = &mut numbers[output * groups..][..groups];
            let (values, scale) = self.rows.row(row);
            for (wide, value) in wide.iter_mut().zip(values) {
                *wide = value.to_f32() * scale;
            }
            if self.arithmetic == Arithmetic::Int8 {
                let Span { low, high, odd } = Span::of(s, wide);
                let scale = high.max(-low) / 127.0;
                Steps { scale, zero: 0.0, range: (-127.0, 127.0) }.write(s, wide, numbers);
                panel.scales[output] = scale + odd;
                panel.sums[output] = sum(numbers);
            } else {
                write_bf16(d, wide, numbers);
            }
        }
        turn(d, width, narrow, panel.groups);
    }
}

struct PackIntegers<'a, 'b> {
    /// `[outputs of the panel, depth]`
    rows: &'a [i8],
    depth: usize,
    width: usize,
    /// Groups of all outputs.
    room: &'a mut [f32],
    panel: &'a mut Panel<'b>,
}

impl DotKernel for PackIntegers<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let (groups, panel) = (self.room.len() / self.width, self.panel);
        let numbers = as_groups_mut(self.room);
        numbers.fill(0);
        for (output, row) in self.rows.chunks_exact(self.depth).enumerate() {
            let numbers = &mut numbers[output * groups..][..groups];
            let (fours, end) = row.as_chunks::<4>();
            for (group, four) in numbers.iter_mut().zip(fours) {
                *group = u32::from_ne_bytes(four.map(i8::cast_unsigned));
            }
            if let Some(group) = numbers.get_mut(fours.len()) {
                let mut four = [0; 4];
                four[..end.len()].copy_from_slice(end);
                *group = u32::from_ne_bytes(four.map(i8::cast_unsigned));
            }
            panel.sums[output] = row.iter().map(|&q| i32::from(q)).sum();
        }
        turn(d, self.width, self.room, panel.groups);
    }
}

/// Of all integers in the groups.
fn sum(groups: &[u32]) -> i32 {
    let [mut a, mut b, mut c, mut d] = [0; 4];
    for group in groups {
        let four = group.to_ne_bytes().map(|byte| i32::from(byte.cast_signed()));
        (a, b, c, d) = (a + four[0], b + four[1], c + four[2], d + four[3]);
    }
    a + b + c + d
}

/// Writes the panel of `narrow`, which has the groups of one output after the other.
#[inline(always)]
fn turn<D: Dot>(d: D, width: usize, narrow: &[f32], panel: &mut [u32]) {
    let (s, lanes, groups) = (d.simd(), <D::Simd as Simd>::LANES, narrow.len() / width);
    let target = as_f32_mut(panel);
    for first in (0..width).step_by(lanes) {
        let rows = Stored { values: &narrow[first * groups..], stride: groups };
        interleave(s, rows, (lanes.min(width - first), groups), &mut target[first..], width);
    }
}
