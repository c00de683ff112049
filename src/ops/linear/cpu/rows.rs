//! Rows made narrow, as the left factor of a product.
//!
//! bf16 is the nearest one. In 8 bits a row is `scale · (q − zero)` with q in 0..=255: what it spans, widened to hold 0,
//! which is exact.

use crate::device::cpu::Arithmetic;
use crate::device::{Cpu, CpuBuffer, Device};
use crate::dtype::bf16;
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
                match cpu.arithmetic() {
                    Arithmetic::Int8 => cpu.isa().dispatch(Int8 { x, groups, target }),
                    _ => cpu.isa().dispatch(Bf16 { x, groups, target }),
                }
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

struct Bf16<'a> {
    x: &'a [f32],
    groups: usize,
    target: &'a mut [f32],
}

impl Kernel for Bf16<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, groups, target } = self;
        target[groups..groups + 2].copy_from_slice(&[1.0, 0.0]);
        if x.len() % 2 == 1 {
            target[groups - 1] = 0.0;
        }
        assert!(2 * groups >= x.len());
        let numbers = target.as_mut_ptr().cast::<bf16>();
        let whole = x.len() - x.len() % S::LANES;
        for k in (0..whole).step_by(S::LANES) {
            // SAFETY: x.len() numbers fit the groups by the assertion above, and k + LANES is not beyond them.
            unsafe { s.store_bf16_ptr(numbers.add(k), s.load(&x[k..])) };
        }
        for (k, &value) in x.iter().enumerate().skip(whole) {
            // SAFETY: as above.
            unsafe { numbers.add(k).write(bf16::from_f32(value)) };
        }
    }
}

struct Int8<'a> {
    x: &'a [f32],
    groups: usize,
    target: &'a mut [f32],
}

impl Kernel for Int8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, groups, target } = self;
        // Comparisons pass over NaN: 0 · x is NaN for it and for infinities, and stays so in the sum.
        let (mut low, mut high, mut odd) = (s.zero(), s.zero(), s.zero());
        let chunks = x.chunks_exact(S::LANES);
        let end = chunks.remainder();
        for chunk in chunks {
            let v = s.load(chunk);
            (low, high, odd) = (s.min(low, v), s.max(high, v), s.fma(v, s.zero(), odd));
        }
        let v = s.load_tail(end, 0.0);
        (low, high, odd) = (s.min(low, v), s.max(high, v), s.fma(v, s.zero(), odd));
        let (low, high, odd) = (-s.max_lane(s.sub(s.zero(), low)), s.max_lane(high), s.sum(odd));

        let scale = (high - low) / 255.0;
        let inverse = if scale > 0.0 && scale.is_finite() { 1.0 / scale } else { 0.0 };
        let zero = (-low * inverse).round_ties_even();
        target[groups..groups + 2].copy_from_slice(&[scale + odd, zero]);

        assert!(4 * groups >= x.len());
        let bytes = target.as_mut_ptr().cast::<u8>();
        let (factor, shift, top) = (s.splat(inverse), s.splat(zero), s.splat(255.0));
        let whole = x.len() - x.len() % S::LANES;
        for k in (0..whole).step_by(S::LANES) {
            let q = s.add(s.round(s.mul(s.load(&x[k..]), factor)), shift);
            // SAFETY: x.len() bytes fit the groups by the assertion above, and k + LANES is not beyond them.
            unsafe { s.store_bytes_ptr(bytes.add(k), s.max(s.zero(), s.min(top, q))) };
        }
        for (k, &value) in x.iter().enumerate().skip(whole) {
            let q = (value * inverse).round_ties_even() + zero;
            // SAFETY: as above.
            unsafe { bytes.add(k).write(q.clamp(0.0, 255.0) as u8) };
        }
        for k in x.len()..4 * groups {
            // SAFETY: within the groups.
            unsafe { bytes.add(k).write(0) };
        }
    }
}
