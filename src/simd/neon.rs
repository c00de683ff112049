//! NEON: 4 lanes.

pub mod dot;

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Kernel, Simd};
use crate::dtype::{bf16, f16};

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub struct Neon(());

/// Compiles `kernel` for NEON and runs it.
///
/// # Safety
/// The processor has neon.
#[target_feature(enable = "neon")]
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

impl Neon {
    /// The bits of each lane, whose upper half is the nearest bf16: ties to even, NaN quiet.
    #[inline(always)]
    fn rounded_to_bf16(self, v: float32x4_t) -> uint32x4_t {
        // SAFETY: neon by the token.
        unsafe {
            let bits = vreinterpretq_u32_f32(v);
            let even = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), even);
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
            vbslq_u32(vceqq_f32(v, v), rounded, quiet)
        }
    }
}

// SAFETY: the only constructors are in `enter` and in `dot`, whose callers have checked the processor; 4 lanes are within
// MAX_LANES. The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Simd for Neon {
    const LANES: usize = 4;
    // 24 sums, 4 vectors of columns, and what is left of 32 registers for broadcasts.
    const TILE_VECTORS: usize = 4;
    const TILE_ROWS: usize = 6;
    type V = float32x4_t;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, source: *const f32) -> float32x4_t {
        // SAFETY: neon by the token; the caller vouches for 4 readable values.
        unsafe { vld1q_f32(source) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, target: *mut f32, v: float32x4_t) {
        // SAFETY: neon by the token; the caller vouches for 4 writable values.
        unsafe { vst1q_f32(target, v) }
    }
    #[inline(always)]
    unsafe fn load_f16_ptr(self, source: *const f16) -> float32x4_t {
        // The intrinsic is newer than the oldest compiler that the library builds with.
        // SAFETY: neon by the token, of which the instruction is part; the caller vouches for 4 readable values.
        unsafe {
            let v: float32x4_t;
            asm!(
                "fcvtl {v:v}.4s, {halves:v}.4h",
                v = lateout(vreg) v,
                halves = in(vreg) vld1_u16(source.cast()),
                options(pure, nomem, nostack, preserves_flags)
            );
            v
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_ptr(self, source: *const bf16) -> float32x4_t {
        // SAFETY: neon by the token; the caller vouches for 4 readable values.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(source.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8_ptr(self, source: *const i8) -> float32x4_t {
        // SAFETY: neon by the token; the caller vouches for 4 readable bytes.
        unsafe {
            let bytes = vcreate_s8(u64::from(source.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: float32x4_t) {
        // SAFETY: neon by the token; the caller vouches for 4 writable values.
        unsafe { vst1_u16(target.cast(), vshrn_n_u32::<16>(self.rounded_to_bf16(v))) }
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs_ptr(self, target: *mut u32, low: float32x4_t, high: float32x4_t) {
        // SAFETY: neon by the token; the caller vouches for 4 writable pairs.
        unsafe { vst1q_u32(target, vsriq_n_u32::<16>(self.rounded_to_bf16(high), self.rounded_to_bf16(low))) }
    }
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, target: *mut u8, v: float32x4_t) {
        // SAFETY: neon by the token; the caller vouches for 4 writable bytes.
        unsafe {
            let words = vmovn_s32(vcvtnq_s32_f32(v));
            let bytes = vmovn_s16(vcombine_s16(words, words));
            target.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_s8(bytes)));
        }
    }
    #[inline(always)]
    unsafe fn transpose_ptr(self, _: usize, vector: impl Fn(usize) -> float32x4_t, target: *mut f32, stride: usize) {
        // SAFETY: neon by the token; 4 values at each of 4 rows of `target`: the caller's promise.
        unsafe {
            // Pairs of rows, then pairs of pairs.
            let (a, b, c, d) = (vector(0), vector(1), vector(2), vector(3));
            let (ab_even, ab_odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
            let (cd_even, cd_odd) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
            let [ab_even, ab_odd, cd_even, cd_odd] = [
                vreinterpretq_f64_f32(ab_even),
                vreinterpretq_f64_f32(ab_odd),
                vreinterpretq_f64_f32(cd_even),
                vreinterpretq_f64_f32(cd_odd),
            ];
            vst1q_f32(target, vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even)));
            vst1q_f32(target.add(stride), vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd)));
            vst1q_f32(target.add(2 * stride), vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even)));
            vst1q_f32(target.add(3 * stride), vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd)));
        }
    }
    #[inline(always)]
    fn prefetch_near(self, address: *const u8) {
        // SAFETY: an instruction of every aarch64; a prefetch of any address is defined and never faults.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn prefetch_far(self, address: *const u8) {
        // SAFETY: as above.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Not fmax or fmaxnm: of a number and NaN those give NaN, or the number, wherever it stands.
        self.select_gt(a, b, a, b)
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_gt(b, a, a, b)
    }
    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn exp2_int(self, n: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
    }
    #[inline(always)]
    fn select_gt(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vbslq_f32(vcgtq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn sum(self, a: float32x4_t) -> f32 {
        // SAFETY: neon by the token.
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    fn max_lane(self, a: float32x4_t) -> f32 {
        // SAFETY: neon by the token.
        unsafe { vmaxnmvq_f32(a) }
    }
}
