//! NEON, which every aarch64 processor has: 4 lanes.

use std::arch::aarch64::*;

use super::Simd;
use crate::dtype::{bf16, f16};

/// Proof of NEON: part of the aarch64 baseline.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// The token; needs no check on aarch64.
    pub fn baseline() -> Self {
        Neon(())
    }
}

// SAFETY: NEON belongs to the aarch64 baseline that this file is compiled for; 4 lanes are within MAX_LANES.
unsafe impl Simd for Neon {
    const LANES: usize = 4;
    const TILE_VECTORS: usize = 4;
    const TILE_ROWS: usize = 6;
    type V = float32x4_t;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, source: *const f32) -> float32x4_t {
        // SAFETY: baseline; the caller vouches for 4 readable values.
        unsafe { vld1q_f32(source) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, target: *mut f32, v: float32x4_t) {
        // SAFETY: baseline; the caller vouches for 4 writable values.
        unsafe { vst1q_f32(target, v) }
    }
    #[inline(always)]
    unsafe fn load_f16_ptr(self, source: *const f16) -> float32x4_t {
        // SAFETY: the caller vouches for 4 readable values.
        let values = unsafe { source.cast::<[f16; 4]>().read_unaligned() }.map(f16::to_f32);
        // SAFETY: `values` holds 4 f32.
        unsafe { vld1q_f32(values.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_bf16_ptr(self, source: *const bf16) -> float32x4_t {
        // SAFETY: baseline; the caller vouches for 4 readable values.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(source.cast()))) }
    }
    #[inline(always)]
    unsafe fn transpose_ptr(self, vector: impl Fn(usize) -> float32x4_t, target: *mut f32, stride: usize) {
        // SAFETY: baseline; rows and columns below 4 of `target`: the caller's promise.
        unsafe {
            let (ab, cd) = (vtrnq_f32(vector(0), vector(1)), vtrnq_f32(vector(2), vector(3)));
            vst1q_f32(target, vcombine_f32(vget_low_f32(ab.0), vget_low_f32(cd.0)));
            vst1q_f32(target.add(stride), vcombine_f32(vget_low_f32(ab.1), vget_low_f32(cd.1)));
            vst1q_f32(target.add(2 * stride), vcombine_f32(vget_high_f32(ab.0), vget_high_f32(cd.0)));
            vst1q_f32(target.add(3 * stride), vcombine_f32(vget_high_f32(ab.1), vget_high_f32(cd.1)));
        }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_gt(a, b, a, b)
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_gt(b, a, a, b)
    }
    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn exp2_int(self, n: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
    }
    #[inline(always)]
    fn select_gt(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        // SAFETY: baseline.
        unsafe { vbslq_f32(vcgtq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn sum(self, a: float32x4_t) -> f32 {
        // SAFETY: baseline.
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    fn max_lane(self, a: float32x4_t) -> f32 {
        // SAFETY: baseline.
        unsafe { vmaxvq_f32(a) }
    }
}
