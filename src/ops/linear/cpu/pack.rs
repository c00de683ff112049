//! Weights as panels of groups. In 8 bits an output's integers go from −127 to 127, without a zero point: the weight
//! furthest from 0 is exact.

use std::sync::{Mutex, PoisonError};

use super::numbers::{Span, Steps, write_bf16};
use crate::device::cpu::{Arithmetic, Groups, Packed};
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::gemm::{self, Source};
use crate::ops::linear::Weight;
use crate::simd::dot::{Dot, DotKernel};
use crate::simd::{Kernel, Simd};

/// Rearranges `weight` for products in the arithmetic of `cpu`.
pub fn pack(cpu: &Cpu, weight: &Weight<Cpu>) -> Result<Packed> {
    match weight {
        Weight::F32(tensor) => pack_stored(cpu, tensor),
        Weight::F16(tensor) => pack_stored(cpu, tensor),
        Weight::Bf16(tensor) => pack_stored(cpu, tensor),
    }
}

/// The part of [`Packed`] that has one panel's outputs.
struct Panel<'a> {
    groups: &'a mut [u32],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

fn pack_stored<E: Source>(cpu: &Cpu, tensor: &Tensor<Cpu, E>) -> Result<Packed> {
    let (arithmetic, (outputs, depth)) = (cpu.arithmetic(), tensor.shape());
    let width = match arithmetic {
        Arithmetic::F32 => cpu.isa().dispatch(gemm::Width),
        Arithmetic::Bf16 => cpu.isa().dispatch_bf16(Width),
        Arithmetic::Int8 => cpu.isa().dispatch_int8(Width),
    };
    let (panels, groups) = (outputs.div_ceil(width), depth.div_ceil(arithmetic.numbers()));
    let mut packed = Packed {
        arithmetic,
        shape: (outputs, depth),
        width,
        groups: Groups::new(panels * groups * width)?,
        scales: vec![0.0; panels * width],
        sums: vec![0; panels * width],
    };
    let values = &tensor.buffer().as_slice()[..outputs * depth];
    let parts = packed.groups.as_mut_slice().chunks_exact_mut(groups * width);
    let numbers = packed.scales.chunks_exact_mut(width).zip(packed.sums.chunks_exact_mut(width));
    let parts = parts.zip(numbers).map(|(groups, (scales, sums))| Mutex::new(Panel { groups, scales, sums }));
    let parts: Vec<_> = parts.collect();
    cpu.for_each(panels, |index| {
        let rows = &values[index * width * depth..outputs.min((index + 1) * width) * depth];
        let panel = &mut *parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        match arithmetic {
            Arithmetic::F32 => cpu.isa().dispatch(PackF32 { rows, depth, panel }),
            Arithmetic::Bf16 => cpu.isa().dispatch_bf16(PackNarrow { arithmetic, rows, depth, panel }),
            Arithmetic::Int8 => cpu.isa().dispatch_int8(PackNarrow { arithmetic, rows, depth, panel }),
        }
    })?;
    drop(parts);
    tensor.buffer().release();
    Ok(packed)
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
