//! Groups of narrow numbers with NEON: 4 columns a vector, by the instructions for dot products or, on processors without
//! them, by those for wider numbers.
//!
//! A group of A is read as one lane of a vector, which the instructions name: it is not broadcast.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Neon;
use crate::dtype::bf16;
use crate::simd::Simd;
use crate::simd::dot::{Dot, DotKernel};

/// Proof that the processor has NEON and BF16.
#[derive(Clone, Copy)]
pub struct NeonBf16(Neon);

/// Proof that the processor has NEON; bf16 in the groups.
#[derive(Clone, Copy)]
pub struct WideningBf16(Neon);

/// Proof that the processor has NEON and I8MM.
#[derive(Clone, Copy)]
pub struct MixedInt8(Neon);

/// Proof that the processor has NEON and DotProd.
#[derive(Clone, Copy)]
pub struct SignedInt8(Neon);

/// Proof that the processor has NEON; 8-bit numbers in the groups.
#[derive(Clone, Copy)]
pub struct WideningInt8(Neon);

/// Compiles `kernel` for bf16 and runs it.
///
/// # Safety
/// The processor has neon and bf16.
#[target_feature(enable = "neon,bf16")]
pub unsafe fn enter_bf16<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(NeonBf16(Neon(())))
}

/// Compiles `kernel` for bf16 and runs it.
///
/// # Safety
/// The processor has neon.
#[target_feature(enable = "neon")]
pub unsafe fn enter_bf16_widening<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(WideningBf16(Neon(())))
}

/// Compiles `kernel` for 8-bit numbers and runs it.
///
/// # Safety
/// The processor has neon and i8mm.
#[target_feature(enable = "neon,i8mm")]
pub unsafe fn enter_int8_mixed<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(MixedInt8(Neon(())))
}

/// Compiles `kernel` for 8-bit numbers and runs it.
///
/// # Safety
/// The processor has neon and dotprod.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn enter_int8_signed<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(SignedInt8(Neon(())))
}

/// Compiles `kernel` for 8-bit numbers and runs it.
///
/// # Safety
/// The processor has neon.
#[target_feature(enable = "neon")]
pub unsafe fn enter_int8_widening<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(WideningInt8(Neon(())))
}

// The instructions themselves: their intrinsics are not stable. As those, they are inlined where their feature is enabled.
// Those of products are not `pure`: the compiler would move the steps of a tile into each other until its sums no longer fit
// the registers.

/// sum + b · the pair of bf16 that is `a`
#[inline]
#[target_feature(enable = "neon,bf16")]
fn bfdot(mut sum: float32x4_t, b: uint32x4_t, a: f32) -> float32x4_t {
    // SAFETY: bf16 is enabled.
    unsafe {
        asm!(
            "bfdot {sum:v}.4s, {b:v}.8h, {a:v}.2h[0]",
            sum = inlateout(vreg) sum,
            b = in(vreg) b,
            a = in(vreg) a,
            options(nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// The nearest bf16; ties to even, NaN quiet.
#[inline]
#[target_feature(enable = "neon,bf16")]
fn bfcvtn(v: float32x4_t) -> uint16x4_t {
    let narrow;
    // SAFETY: bf16 is enabled.
    unsafe {
        asm!(
            "bfcvtn {narrow:v}.4h, {v:v}.4s",
            narrow = lateout(vreg) narrow,
            v = in(vreg) v,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    narrow
}

/// sum + b · the four unsigned numbers that are `a`
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn sudot(mut sum: int32x4_t, b: int32x4_t, a: f32) -> int32x4_t {
    // SAFETY: i8mm is enabled.
    unsafe {
        asm!(
            "sudot {sum:v}.4s, {b:v}.16b, {a:v}.4b[0]",
            sum = inlateout(vreg) sum,
            b = in(vreg) b,
            a = in(vreg) a,
            options(nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// sum + b · the four signed numbers that are `a`
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, b: int32x4_t, a: f32) -> int32x4_t {
    // SAFETY: dotprod is enabled.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {b:v}.16b, {a:v}.4b[0]",
            sum = inlateout(vreg) sum,
            b = in(vreg) b,
            a = in(vreg) a,
            options(nomem, nostack, preserves_flags)
        );
    }
    sum
}

// SAFETY: the only constructor is in `enter_bf16`, whose caller has checked the processor.
// The functions below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for NeonBf16 {
    type Simd = Neon;
    /// Bits of a group, not a number.
    type Left = f32;
    type Right = uint32x4_t;
    type Sum = float32x4_t;
    const TILE_VECTORS: usize = 4;
    const TILE_ROWS: usize = 6;
    const TALL_ROWS: usize = 6;

    #[inline(always)]
    fn simd(self) -> Neon {
        self.0
    }
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: float32x4_t) {
        // SAFETY: bf16 by the token; the caller vouches for 4 writable values.
        unsafe { vst1_u16(target.cast(), bfcvtn(v)) }
    }
    #[inline(always)]
    unsafe fn start(self, _: i32, _: *const i32) -> float32x4_t {
        self.0.zero()
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> f32 {
        // SAFETY: the caller's promise; every bit pattern is an f32.
        unsafe { group.cast::<f32>().read() }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> uint32x4_t {
        // SAFETY: neon by the token; the caller vouches for 4 readable groups.
        unsafe { vld1q_u32(groups) }
    }
    #[inline(always)]
    fn step(self, a: f32, b: uint32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: bf16 by the token.
        unsafe { bfdot(sum, b, a) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: float32x4_t, _: f32, _: *const f32) -> float32x4_t {
        sum
    }
}

// SAFETY: the only constructor is in `enter_bf16_widening`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for WideningBf16 {
    type Simd = Neon;
    /// First and second number as f32.
    type Left = float32x2_t;
    /// First and second numbers, each as f32.
    type Right = [float32x4_t; 2];
    type Sum = float32x4_t;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 8;
    const TALL_ROWS: usize = 8;

    #[inline(always)]
    fn simd(self) -> Neon {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, _: i32, _: *const i32) -> float32x4_t {
        self.0.zero()
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> float32x2_t {
        // SAFETY: neon by the token; the caller vouches for the group.
        unsafe {
            let numbers = vreinterpret_u16_u32(vdup_n_u32(group.read()));
            vget_low_f32(vreinterpretq_f32_u32(vshll_n_u16::<16>(numbers)))
        }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> [float32x4_t; 2] {
        // SAFETY: neon by the token; the caller vouches for 4 readable groups.
        unsafe {
            let groups = vld1q_u32(groups);
            let high = vandq_u32(groups, vdupq_n_u32(0xffff_0000));
            [vreinterpretq_f32_u32(vshlq_n_u32::<16>(groups)), vreinterpretq_f32_u32(high)]
        }
    }
    #[inline(always)]
    fn step(self, a: float32x2_t, b: [float32x4_t; 2], sum: float32x4_t) -> float32x4_t {
        // SAFETY: neon by the token.
        unsafe { vfmaq_lane_f32::<1>(vfmaq_lane_f32::<0>(sum, b[0], a), b[1], a) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: float32x4_t, _: f32, _: *const f32) -> float32x4_t {
        sum
    }
}

impl Neon {
    /// −`zero` · sums of 4 columns.
    ///
    /// # Safety
    /// `column_sums` is valid for reads of 4 values.
    #[inline(always)]
    unsafe fn start_int8(self, zero: i32, column_sums: *const i32) -> int32x4_t {
        // SAFETY: neon by the token; the caller's promise.
        unsafe { vmulq_n_s32(vld1q_s32(column_sums), -zero) }
    }

    /// [`Dot::values`] of sums of integers.
    ///
    /// # Safety
    /// `column_scales` is valid for reads of 4 values.
    #[inline(always)]
    unsafe fn values_int8(self, sum: int32x4_t, scale: f32, column_scales: *const f32) -> float32x4_t {
        // SAFETY: neon by the token; the caller's promise.
        unsafe {
            let scales = vmulq_f32(vdupq_n_f32(scale), vld1q_f32(column_scales));
            vmulq_f32(vcvtq_f32_s32(sum), scales)
        }
    }
}

// SAFETY: the only constructor is in `enter_int8_mixed`, whose caller has checked the processor.
// The functions below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for MixedInt8 {
    type Simd = Neon;
    /// Bits of a group, not a number.
    type Left = f32;
    type Right = int32x4_t;
    type Sum = int32x4_t;
    const TILE_VECTORS: usize = 4;
    const TILE_ROWS: usize = 6;
    const TALL_ROWS: usize = 6;

    #[inline(always)]
    fn simd(self) -> Neon {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { self.0.start_int8(zero, column_sums) }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> f32 {
        // SAFETY: the caller's promise; every bit pattern is an f32.
        unsafe { group.cast::<f32>().read() }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> int32x4_t {
        // SAFETY: neon by the token; the caller vouches for 4 readable groups.
        unsafe { vld1q_s32(groups.cast()) }
    }
    #[inline(always)]
    fn step(self, a: f32, b: int32x4_t, sum: int32x4_t) -> int32x4_t {
        // SAFETY: i8mm by the token.
        unsafe { sudot(sum, b, a) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: int32x4_t, scale: f32, column_scales: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { self.0.values_int8(sum, scale, column_scales) }
    }
}

// SAFETY: the only constructor is in `enter_int8_signed`, whose caller has checked the processor.
// The functions below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for SignedInt8 {
    type Simd = Neon;
    /// Bits of a group whose numbers are 128 less, and so signed.
    type Left = f32;
    type Right = int32x4_t;
    type Sum = int32x4_t;
    const TILE_VECTORS: usize = 4;
    const TILE_ROWS: usize = 6;
    const TALL_ROWS: usize = 6;

    #[inline(always)]
    fn simd(self) -> Neon {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> int32x4_t {
        // Σ(a − zero)·b = Σ(a − 128)·b − (zero − 128)·Σb
        // SAFETY: the caller's promise.
        unsafe { self.0.start_int8(zero - 128, column_sums) }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_bits(unsafe { group.read() } ^ 0x8080_8080)
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> int32x4_t {
        // SAFETY: neon by the token; the caller vouches for 4 readable groups.
        unsafe { vld1q_s32(groups.cast()) }
    }
    #[inline(always)]
    fn step(self, a: f32, b: int32x4_t, sum: int32x4_t) -> int32x4_t {
        // SAFETY: dotprod by the token.
        unsafe { sdot(sum, b, a) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: int32x4_t, scale: f32, column_scales: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { self.0.values_int8(sum, scale, column_scales) }
    }
}

// SAFETY: the only constructor is in `enter_int8_widening`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for WideningInt8 {
    type Simd = Neon;
    /// The four numbers in 16 bits each: two products of 8-bit numbers need 17.
    type Left = int16x4_t;
    /// First and second, then third and fourth numbers of 4 columns, each in 16 bits.
    type Right = [int16x8_t; 2];
    type Sum = int32x4_t;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 8;
    const TALL_ROWS: usize = 8;

    #[inline(always)]
    fn simd(self) -> Neon {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { self.0.start_int8(zero, column_sums) }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> int16x4_t {
        // SAFETY: neon by the token; the caller vouches for the group.
        unsafe {
            let numbers = vreinterpret_u8_u32(vdup_n_u32(group.read()));
            vget_low_s16(vreinterpretq_s16_u16(vmovl_u8(numbers)))
        }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> [int16x8_t; 2] {
        // SAFETY: neon by the token; the caller vouches for 4 readable groups.
        unsafe {
            let pairs = vld1q_s16(groups.cast());
            let (even, odd) = (vshrq_n_s16::<8>(vshlq_n_s16::<8>(pairs)), vshrq_n_s16::<8>(pairs));
            [vuzp1q_s16(even, odd), vuzp2q_s16(even, odd)]
        }
    }
    #[inline(always)]
    fn step(self, a: int16x4_t, b: [int16x8_t; 2], sum: int32x4_t) -> int32x4_t {
        // SAFETY: neon by the token.
        unsafe {
            let sum = vmlal_high_lane_s16::<1>(vmlal_lane_s16::<0>(sum, vget_low_s16(b[0]), a), b[0], a);
            vmlal_high_lane_s16::<3>(vmlal_lane_s16::<2>(sum, vget_low_s16(b[1]), a), b[1], a)
        }
    }
    #[inline(always)]
    unsafe fn values(self, sum: int32x4_t, scale: f32, column_scales: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { self.0.values_int8(sum, scale, column_scales) }
    }
}

#[cfg(test)]
mod tests {
    use std::arch::is_aarch64_feature_detected;

    use super::*;
    use crate::simd::dot::tests::{Bf16Agrees, Int8Agrees};

    #[test]
    fn instructions_that_are_not_the_best_multiply_groups_as_scalars_do() {
        if is_aarch64_feature_detected!("neon") {
            // SAFETY: the processor has neon.
            unsafe {
                enter_bf16_widening(Bf16Agrees);
                enter_int8_widening(Int8Agrees);
            }
            if is_aarch64_feature_detected!("dotprod") {
                // SAFETY: the processor has neon and dotprod.
                unsafe { enter_int8_signed(Int8Agrees) };
            }
        }
    }
}
