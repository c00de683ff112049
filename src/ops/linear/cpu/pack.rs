//! Weights as panels of groups.
//!
//! bf16 is the nearest one. In 8 bits an output's weights are `scale · q` with q in −127..=127: the largest of them is
//! exact.

use std::sync::{Mutex, PoisonError};

use crate::device::cpu::{Arithmetic, Groups, Packed};
use crate::device::{Cpu, Tensor};
use crate::error::{Error, Result};
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
    if outputs == 0 || depth == 0 {
        return Err(Error::internal(format!("a weight [{outputs}, {depth}] to pack")));
    }
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
            Arithmetic::Bf16 => cpu.isa().dispatch_bf16(PackNarrow { rows, depth, panel, narrow: narrow_bf16 }),
            Arithmetic::Int8 => cpu.isa().dispatch_int8(PackNarrow { rows, depth, panel, narrow: narrow_int8 }),
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

/// The weights of one output made narrow.
struct Narrowed {
    /// What the numbers are multiples of.
    scale: f32,
    /// Their sum, where they are integers.
    sum: i32,
}

struct PackNarrow<'a, 'b, E> {
    rows: &'a [E],
    depth: usize,
    panel: &'a mut Panel<'b>,
    /// Writes an output's weights as numbers of groups.
    narrow: fn(&[f32], &mut [u32]) -> Narrowed,
}

impl<E: Source> DotKernel for PackNarrow<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, _: D) {
        let (width, groups) = (width::<D>(), self.panel.groups.len() / width::<D>());
        let (mut wide, mut narrow) = (vec![0.0; self.depth], vec![0u32; groups]);
        for (output, row) in self.rows.chunks_exact(self.depth).enumerate() {
            for (wide, value) in wide.iter_mut().zip(row) {
                *wide = value.to_f32();
            }
            let Narrowed { scale, sum } = (self.narrow)(&wide, &mut narrow);
            self.panel.scales[output] = scale;
            self.panel.sums[output] = sum;
            for (k, &group) in narrow.iter().enumerate() {
                self.panel.groups[k * width + output] = group;
            }
        }
    }
}

fn narrow_bf16(row: &[f32], groups: &mut [u32]) -> Narrowed {
    let half = |value: &f32| u32::from(crate::dtype::bf16::from_f32(*value).to_bits());
    for (group, pair) in groups.iter_mut().zip(row.chunks(2)) {
        *group = half(&pair[0]) | pair.get(1).map_or(0, half) << 16;
    }
    Narrowed { scale: 1.0, sum: 0 }
}

fn narrow_int8(row: &[f32], groups: &mut [u32]) -> Narrowed {
    // NaN and infinities make the scale NaN or infinite, and so every answer of this output. `max` passes over NaN.
    let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let largest = if row.iter().any(|value| value.is_nan()) { f32::NAN } else { largest };
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 && scale.is_finite() { 1.0 / scale } else { 0.0 };
    let mut sum = 0;
    for (group, four) in groups.iter_mut().zip(row.chunks(4)) {
        let mut bytes = [0u8; 4];
        for (byte, value) in bytes.iter_mut().zip(four) {
            let q = (value * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
            sum += i32::from(q);
            *byte = q.cast_unsigned();
        }
        *group = u32::from_le_bytes(bytes);
    }
    Narrowed { scale, sum }
}
