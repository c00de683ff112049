//! Groups of narrow numbers with AVX2: 8 columns a vector, by the instructions for wider numbers, or by those of AVX-VNNI.

use std::arch::x86_64::*;

use super::Avx2;
use crate::simd::dot::{Dot, DotKernel};

/// Proof that the processor has AVX2, FMA and F16C; bf16 in the groups.
#[derive(Clone, Copy)]
pub struct Avx2Bf16(Avx2);

/// Proof that the processor has AVX2, FMA and F16C; 8-bit numbers in the groups.
#[derive(Clone, Copy)]
pub struct Avx2Int8(Avx2);

/// Proof that the processor has AVX-VNNI beside these.
#[derive(Clone, Copy)]
pub struct AvxVnni(Avx2);

/// Compiles `kernel` for bf16 and runs it.
///
/// # Safety
/// The processor has avx2, fma and f16c.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn enter_bf16<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(Avx2Bf16(Avx2(())))
}

/// Compiles `kernel` for 8-bit numbers and runs it.
///
/// # Safety
/// The processor has avx2, fma and f16c.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn enter_int8<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(Avx2Int8(Avx2(())))
}

/// Compiles `kernel` for 8-bit numbers and runs it.
///
/// # Safety
/// The processor has avxvnni, avx2, fma and f16c.
#[target_feature(enable = "avxvnni,avx2,fma,f16c")]
pub unsafe fn enter_int8_vnni<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(AvxVnni(Avx2(())))
}

// SAFETY: the only constructor is in `enter_bf16`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for Avx2Bf16 {
    type Simd = Avx2;
    /// First and second numbers, each as f32.
    type Left = [__m256; 2];
    type Right = [__m256; 2];
    type Sum = __m256;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 4;
    const TALL_ROWS: usize = 8;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, _: i32, _: *const i32) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> [__m256; 2] {
        // SAFETY: avx2 by the token; the caller vouches for the group.
        unsafe { halves(_mm256_set1_epi32(group.read().cast_signed())) }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> [__m256; 2] {
        // SAFETY: avx2 by the token; the caller vouches for 8 readable groups.
        unsafe { halves(_mm256_loadu_si256(groups.cast())) }
    }
    #[inline(always)]
    fn step(self, a: [__m256; 2], b: [__m256; 2], sum: __m256) -> __m256 {
        // SAFETY: fma by the token.
        unsafe { _mm256_fmadd_ps(a[1], b[1], _mm256_fmadd_ps(a[0], b[0], sum)) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: __m256, _: f32, _: *const f32) -> __m256 {
        sum
    }
}

/// # Safety
/// The processor has avx2.
#[inline(always)]
unsafe fn halves(groups: __m256i) -> [__m256; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let high = _mm256_and_si256(groups, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()));
        [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(groups)), _mm256_castsi256_ps(high)]
    }
}

// SAFETY: the only constructor is in `enter_int8`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for Avx2Int8 {
    type Simd = Avx2;
    /// First and third, then second and fourth numbers, each in 16 bits: products of 8-bit instructions would saturate.
    type Left = [__m256i; 2];
    type Right = [__m256i; 2];
    type Sum = __m256i;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 4;
    const TALL_ROWS: usize = 8;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> __m256i {
        // SAFETY: avx2 by the token; the caller's promise.
        unsafe { int8_start(zero, column_sums) }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> [__m256i; 2] {
        // SAFETY: avx2 by the token; the caller vouches for the group.
        unsafe {
            let bytes = _mm256_set1_epi32(group.read().cast_signed());
            [_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes)]
        }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> [__m256i; 2] {
        // SAFETY: avx2 by the token; the caller vouches for 8 readable groups.
        unsafe {
            let bytes = _mm256_loadu_si256(groups.cast());
            [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
        }
    }
    #[inline(always)]
    fn step(self, a: [__m256i; 2], b: [__m256i; 2], sum: __m256i) -> __m256i {
        // SAFETY: avx2 by the token.
        unsafe {
            let products = _mm256_add_epi32(_mm256_madd_epi16(a[0], b[0]), _mm256_madd_epi16(a[1], b[1]));
            _mm256_add_epi32(sum, products)
        }
    }
    #[inline(always)]
    unsafe fn values(self, sum: __m256i, scale: f32, column_scales: *const f32) -> __m256 {
        // SAFETY: avx2 by the token; the caller's promise.
        unsafe { int8_values(sum, scale, column_scales) }
    }
}

// SAFETY: the only constructor is in `enter_int8_vnni`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for AvxVnni {
    type Simd = Avx2;
    type Left = __m256i;
    type Right = __m256i;
    type Sum = __m256i;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 6;
    const TALL_ROWS: usize = 8;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> __m256i {
        // SAFETY: avx2 by the token; the caller's promise.
        unsafe { int8_start(zero, column_sums) }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> __m256i {
        // SAFETY: avx2 by the token; the caller vouches for the group.
        unsafe { _mm256_set1_epi32(group.read().cast_signed()) }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> __m256i {
        // SAFETY: avx2 by the token; the caller vouches for 8 readable groups.
        unsafe { _mm256_loadu_si256(groups.cast()) }
    }
    #[inline(always)]
    fn step(self, a: __m256i, b: __m256i, sum: __m256i) -> __m256i {
        // SAFETY: avxvnni by the token.
        unsafe { _mm256_dpbusd_avx_epi32(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: __m256i, scale: f32, column_scales: *const f32) -> __m256 {
        // SAFETY: avx2 by the token; the caller's promise.
        unsafe { int8_values(sum, scale, column_scales) }
    }
}

/// See [`Dot::start`].
///
/// # Safety
/// The processor has avx2; `column_sums` is valid for reads of 8 values.
#[inline(always)]
unsafe fn int8_start(zero: i32, column_sums: *const i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_mullo_epi32(_mm256_set1_epi32(-zero), _mm256_loadu_si256(column_sums.cast())) }
}

/// See [`Dot::values`].
///
/// # Safety
/// The processor has avx2; `column_scales` is valid for reads of 8 values.
#[inline(always)]
unsafe fn int8_values(sum: __m256i, scale: f32, column_scales: *const f32) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let scales = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(column_scales));
        _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scales)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::dot::tests::Int8Agrees;

    /// What [`Isa::dispatch_int8`](crate::simd::Isa::dispatch_int8) passes over where there is better.
    #[test]
    fn both_ways_to_multiply_bytes_are_those_of_scalars() {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
            // SAFETY: the line above.
            unsafe { enter_int8(Int8Agrees) };
            if is_x86_feature_detected!("avxvnni") {
                // SAFETY: the lines above.
                unsafe { enter_int8_vnni(Int8Agrees) };
            }
        }
    }
}
