//! AVX2 with FMA: 8 lanes.

pub mod dot;

use std::arch::x86_64::*;

use super::{Kernel, Simd, TURNED};
use crate::dtype::{bf16, f16};

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Compiles `kernel` for AVX2 and runs it.
///
/// # Safety
/// The processor has avx2, fma and f16c.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

// SAFETY: the only constructor is in `enter`, whose caller has checked the processor; 8 lanes are within MAX_LANES.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 6;
    type V = __m256;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, source: *const f32) -> __m256 {
        // SAFETY: avx by the token; the caller vouches for 8 readable values.
        unsafe { _mm256_loadu_ps(source) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, target: *mut f32, v: __m256) {
        // SAFETY: avx by the token; the caller vouches for 8 writable values.
        unsafe { _mm256_storeu_ps(target, v) }
    }
    #[inline(always)]
    unsafe fn load_f16_ptr(self, source: *const f16) -> __m256 {
        // SAFETY: f16c by the token; the caller vouches for 8 readable values.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(source.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16_ptr(self, source: *const bf16) -> __m256 {
        // SAFETY: avx2 by the token; the caller vouches for 8 readable values.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_i8_ptr(self, source: *const i8) -> __m256 {
        // SAFETY: avx2 by the token; the caller vouches for 8 readable bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(source.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: __m256) {
        // SAFETY: avx2 by the token; the caller vouches for 8 writable values.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let even = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), even);
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256::<1>(high));
            _mm_storeu_si128(target.cast(), packed);
        }
    }
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, target: *mut u8, v: __m256) {
        // SAFETY: avx2 by the token; the caller vouches for 8 writable bytes.
        unsafe {
            let low = _mm256_and_si256(_mm256_cvtps_epi32(v), _mm256_set1_epi32(0xff));
            let words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            _mm_storel_epi64(target.cast(), _mm_packus_epi16(words, words));
        }
    }
    #[inline(always)]
    unsafe fn transpose_ptr(self, count: usize, vector: impl Fn(usize) -> __m256, target: *mut f32, stride: usize) {
        // SAFETY: avx by the token; 8 rows of `target` with room for whole groups of four: the caller's promise.
        unsafe {
            // Four vectors become four of 4x4 blocks; a block is then stored by its 128-bit half.
            for group in 0..count.div_ceil(TURNED) {
                let (a, b) = (vector(4 * group), vector(4 * group + 1));
                let (c, d) = (vector(4 * group + 2), vector(4 * group + 3));
                let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let blocks = [
                    _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
                    _mm256_shuffle_ps::<0xEE>(ab_low, cd_low),
                    _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                    _mm256_shuffle_ps::<0xEE>(ab_high, cd_high),
                ];
                for (j, block) in blocks.into_iter().enumerate() {
                    let at = target.add(j * stride + 4 * group);
                    _mm_storeu_ps(at, _mm256_castps256_ps128(block));
                    _mm_storeu_ps(at.add(4 * stride), _mm256_extractf128_ps::<1>(block));
                }
            }
        }
    }
    #[inline(always)]
    fn prefetch_near(self, address: *const u8) {
        // SAFETY: sse by the token; a prefetch of any address is defined and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    fn prefetch_far(self, address: *const u8) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: fma by the token.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2_int(self, n: __m256) -> __m256 {
        // SAFETY: avx2 by the token.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn select_gt(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        // SAFETY: avx by the token.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: avx by the token.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn max_lane(self, a: __m256) -> f32 {
        // SAFETY: avx by the token.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}
