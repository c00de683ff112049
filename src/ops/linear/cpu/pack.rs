//! Weights as panels of groups. In 8 bits an output's integers go from −127 to 127, without a zero point: the weight
//! furthest from 0 is exact.

use std::sync::{Arc, Mutex, PoisonError};

use super::numbers::{Span, Steps, write_bf16};
use crate::device::cpu::{Arithmetic, Groups, Packed};
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::gemm::{self, Source};
use crate::ops::linear::Weight;
use crate::simd::dot::{Dot, DotKernel};
use crate::simd::{Kernel, Simd};

/// Rearranges `weights` for products in the arithmetic of `cpu`.
pub fn pack(cpu: &Cpu, weights: &[&Weight<Cpu>]) -> Result<Vec<Packed>> {
    let arithmetic = cpu.arithmetic();
    let width = cpu.dispatch_dot(Width);
    let columns = |weight: &Weight<Cpu>| weight.shape().0.next_multiple_of(width);
    let count = |weight: &Weight<Cpu>| columns(weight) * weight.shape().1.div_ceil(arithmetic.numbers());
    let mut groups = Groups::new(weights.iter().map(|weight| count(weight)).sum())?;
    let (mut rest, mut numbers) = (groups.as_mut_slice(), Vec::with_capacity(weights.len()));
    for weight in weights {
        let (scales, sums) = (vec![0.0; columns(weight)], vec![0; columns(weight)]);
        let (groups, others) = rest.split_at_mut(count(weight));
        let mut panels = Panels { width, groups, scales, sums };
        match weight {
            Weight::F32(tensor) => panels.fill(cpu, tensor)?,
            Weight::F16(tensor) => panels.fill(cpu, tensor)?,
            Weight::Bf16(tensor) => panels.fill(cpu, tensor)?,
        }
        numbers.push((panels.scales, panels.sums));
        rest = others;
    }
    // All of them at the end: reading one brings back pages of its neighbours in the file, up to 2 MiB where the system
    // keeps the file in large pages.
    for weight in weights {
        match weight {
            Weight::F32(tensor) => tensor.buffer().release(),
            Weight::F16(tensor) => tensor.buffer().release(),
            Weight::Bf16(tensor) => tensor.buffer().release(),
        }
    }
    let (groups, mut first) = (Arc::new(groups), 0);
    let packed = weights.iter().zip(numbers).map(|(weight, (scales, sums))| {
        let groups = Arc::clone(&groups);
        let packed = Packed { arithmetic, shape: weight.shape(), width, groups, first, scales, sums };
        first += count(weight);
        packed
    });
    Ok(packed.collect())
}

/// The parts of [`Packed`] that are computed.
struct Panels<'a> {
    width: usize,
    groups: &'a mut [u32],
    scales: Vec<f32>,
    sums: Vec<i32>,
}

/// The part of [`Packed`] that has one panel's outputs.
struct Panel<'a> {
    groups: &'a mut [u32],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Panels<'_> {
    fn fill<E: Source>(&mut self, cpu: &Cpu, weight: &Tensor<Cpu, E>) -> Result<()> {
        let (width, (outputs, depth), arithmetic) = (self.width, weight.shape(), cpu.arithmetic());
        let values = &weight.buffer().as_slice()[..outputs * depth];
        let parts = self.groups.chunks_exact_mut(depth.div_ceil(arithmetic.numbers()) * width);
        let numbers = self.scales.chunks_exact_mut(width).zip(self.sums.chunks_exact_mut(width));
        let parts = parts.zip(numbers).map(|(groups, (scales, sums))| Mutex::new(Panel { groups, scales, sums }));
        let parts: Vec<_> = parts.collect();
        cpu.for_each(parts.len(), |index| {
            let rows = &values[index * width * depth..outputs.min((index + 1) * width) * depth];
            let panel = &mut *parts[index].lock().unwrap_or_else(PoisonError::into_inner);
            match arithmetic {
                Arithmetic::F32 => cpu.isa().dispatch(PackF32 { rows, depth, panel }),
                _ => cpu.dispatch_dot(PackNarrow { arithmetic, rows, depth, panel }),
            }
        })
    }
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

/// Columns of a panel.
pub const fn width<D: Dot>() -> usize {
    <D::Simd as Simd>::LANES * D::TILE_VECTORS
}

struct PackF32<'a, 'b, E> {
    /// `[outputs of the panel, depth]`
    rows: &'a [E],
    depth: usize,
    panel: &'a mut Panel<'b>,
}

impl<E: Source> Kernel for PackF32<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.rows.len() / self.depth;
        // SAFETY: groups are aligned as f32 and every bit pattern is one; the slice is borrowed exclusively.
        let panel = unsafe {
            std::slice::from_raw_parts_mut(self.panel.groups.as_mut_ptr().cast::<f32>(), self.panel.groups.len())
        };
        gemm::pack_rows(s, self.rows, self.depth, count, self.depth, panel);
    }
}

struct PackNarrow<'a, 'b, E> {
    arithmetic: Arithmetic,
    /// `[outputs of the panel, depth]`
    rows: &'a [E],
    depth: usize,
    panel: &'a mut Panel<'b>,
}

impl<E: Source> DotKernel for PackNarrow<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let (s, width, panel) = (d.simd(), width::<D>(), self.panel);
        let (mut wide, mut narrow) = (vec![0.0; self.depth], vec![0u32; panel.groups.len() / width]);
        for (output, row) in self.rows.chunks_exact(self.depth).enumerate() {
            for (wide, value) in wide.iter_mut().zip(row) {
                *wide = value.to_f32();
            }
            if self.arithmetic == Arithmetic::Int8 {
                let Span { low, high, odd } = Span::of(s, &wide);
                let scale = high.max(-low) / 127.0;
                Steps { scale, zero: 0.0, range: (-127.0, 127.0) }.write(s, &wide, &mut narrow);
                let bytes = narrow.iter().flat_map(|group| group.to_ne_bytes());
                panel.scales[output] = scale + odd;
                panel.sums[output] = bytes.map(|byte| i32::from(byte.cast_signed())).sum();
            } else {
                write_bf16(s, &wide, &mut narrow);
            }
            for (k, &group) in narrow.iter().enumerate() {
                panel.groups[k * width + output] = group;
            }
        }
    }
}
