//! Plain Rust that any processor runs: 8 lanes that the compiler may vectorise.

use super::{Simd, TURNED};
use crate::dtype::{bf16, f16};

/// Needs no proof.
#[derive(Clone, Copy)]
pub struct Portable;

impl Portable {
    #[inline(always)]
    fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

// SAFETY: uses no special instructions; 8 lanes are within MAX_LANES.
unsafe impl Simd for Portable {
    const LANES: usize = 8;
    const TILE_VECTORS: usize = 1;
    const TILE_ROWS: usize = 4;
    type V = [f32; 8];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, source: *const f32) -> [f32; 8] {
        // SAFETY: the caller vouches for 8 readable values.
        unsafe { source.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, target: *mut f32, v: [f32; 8]) {
        // SAFETY: the caller vouches for 8 writable values.
        unsafe { target.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_f16_ptr(self, source: *const f16) -> [f32; 8] {
        // SAFETY: the caller vouches for 8 readable values.
        unsafe { source.cast::<[f16; 8]>().read_unaligned() }.map(f16::to_f32)
    }
    #[inline(always)]
    unsafe fn load_bf16_ptr(self, source: *const bf16) -> [f32; 8] {
        // SAFETY: the caller vouches for 8 readable values.
        unsafe { source.cast::<[bf16; 8]>().read_unaligned() }.map(bf16::to_f32)
    }
    #[inline(always)]
    unsafe fn load_i8_ptr(self, source: *const i8) -> [f32; 8] {
        // SAFETY: the caller vouches for 8 readable bytes.
        unsafe { source.cast::<[i8; 8]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: [f32; 8]) {
        // SAFETY: the caller vouches for 8 writable values.
        unsafe { target.cast::<[bf16; 8]>().write_unaligned(v.map(bf16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, target: *mut u8, v: [f32; 8]) {
        // SAFETY: the caller vouches for 8 writable bytes.
        unsafe { target.cast::<[u8; 8]>().write_unaligned(v.map(|x| x as i32 as u8)) }
    }
    #[inline(always)]
    unsafe fn transpose_ptr(self, count: usize, vector: impl Fn(usize) -> [f32; 8], target: *mut f32, stride: usize) {
        for i in 0..count.next_multiple_of(TURNED) {
            for (j, x) in vector(i).into_iter().enumerate() {
                // SAFETY: row j and column i are below 8: the caller's promise.
                unsafe { target.add(j * stride + i).write(x) };
            }
        }
    }
    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Rounds twice: `f32::mul_add` without the instruction is a slow library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn sqrt(self, a: [f32; 8]) -> [f32; 8] {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn max(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        Self::zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn round(self, a: [f32; 8]) -> [f32; 8] {
        // Adding and taking away 1.5·2²³ leaves the nearest integer, ties to even, for |a| < 2²²: within the range of
        // every caller, and without the library call that `round_ties_even` is before SSE4.1.
        const MAGIC: f32 = 12_582_912.0;
        std::array::from_fn(|i| (a[i] + MAGIC) - MAGIC)
    }
    #[inline(always)]
    fn exp2_int(self, n: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| f32::from_bits((((n[i] as i32) + 127) << 23) as u32))
    }
    #[inline(always)]
    fn select_gt(self, a: [f32; 8], b: [f32; 8], x: [f32; 8], y: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] > b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn sum(self, a: [f32; 8]) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn max_lane(self, a: [f32; 8]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m })
    }
}
