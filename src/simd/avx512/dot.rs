//! Groups of narrow numbers with AVX-512: BF16 and VNNI, 16 columns a vector.

use std::arch::x86_64::*;

use super::Avx512;
use crate::dtype::bf16;
use crate::simd::dot::{Dot, DotKernel};

/// Proof that the processor has AVX-512 BF16, F and DQ.
#[derive(Clone, Copy)]
pub struct Avx512Bf16(Avx512);

/// Proof that the processor has AVX-512 VNNI, F and DQ.
#[derive(Clone, Copy)]
pub struct Avx512Int8(Avx512);

/// Compiles `kernel` for bf16 and runs it.
///
/// # Safety
/// The processor has avx512bf16, avx512f, avx512dq, avx2, fma and f16c.
#[target_feature(enable = "avx512bf16,avx512f,avx512dq,avx2,fma,f16c")]
pub unsafe fn enter_bf16<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(Avx512Bf16(Avx512(())))
}

/// Compiles `kernel` for 8-bit numbers and runs it.
///
/// # Safety
/// The processor has avx512vnni, avx512f, avx512dq, avx2, fma and f16c.
#[target_feature(enable = "avx512vnni,avx512f,avx512dq,avx2,fma,f16c")]
pub unsafe fn enter_int8<K: DotKernel>(kernel: K) -> K::Output {
    kernel.run(Avx512Int8(Avx512(())))
}

// SAFETY: the only constructor is in `enter_bf16`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for Avx512Bf16 {
    type Simd = Avx512;
    type Left = __m512;
    type Right = __m512;
    type Sum = __m512;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 12;
    // A vector of columns for every group of A that is broadcast costs more than passing the panel twice.
    const TALL_ROWS: usize = 12;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: __m512) {
        // SAFETY: avx512bf16 by the token; sixteen bf16 are as many bits; the caller vouches for 16 writable values.
        unsafe { _mm256_storeu_si256(target.cast(), std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))) }
    }
    #[inline(always)]
    fn pairs(self, low: __m512, high: __m512) -> __m512 {
        // SAFETY: avx512bf16 by the token; thirty-two bf16 are as many bits.
        unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
    }
    #[inline(always)]
    unsafe fn start(self, _: i32, _: *const i32) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for the group.
        unsafe { _mm512_castsi512_ps(_mm512_set1_epi32(group.read().cast_signed())) }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable groups.
        unsafe { _mm512_loadu_ps(groups.cast()) }
    }
    #[inline(always)]
    fn step(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: avx512bf16 by the token; the vectors of pairs are as many bits.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512, __m512bh>(a),
                std::mem::transmute::<__m512, __m512bh>(b),
            )
        }
    }
    #[inline(always)]
    unsafe fn values(self, sum: __m512, _: f32, _: *const f32) -> __m512 {
        sum
    }
}

// SAFETY: the only constructor is in `enter_int8`, whose caller has checked the processor.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Dot for Avx512Int8 {
    type Simd = Avx512;
    type Left = __m512i;
    type Right = __m512i;
    type Sum = __m512i;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 12;
    const TALL_ROWS: usize = 16;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> __m512i {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable sums.
        unsafe { _mm512_mullo_epi32(_mm512_set1_epi32(-zero), _mm512_loadu_si512(column_sums.cast())) }
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> __m512i {
        // SAFETY: avx512f by the token; the caller vouches for the group.
        unsafe { _mm512_set1_epi32(group.read().cast_signed()) }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> __m512i {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable groups.
        unsafe { _mm512_loadu_si512(groups.cast()) }
    }
    #[inline(always)]
    fn step(self, a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        // SAFETY: avx512vnni by the token.
        unsafe { _mm512_dpbusd_epi32(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn values(self, sum: __m512i, scale: f32, column_scales: *const f32) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable scales.
        unsafe {
            let scales = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_loadu_ps(column_scales));
            _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales)
        }
    }
}
