//! AVX-512 F and DQ: 16 lanes.

pub mod dot;

use std::arch::x86_64::*;

use super::{Kernel, Simd, TURNED};
use crate::dtype::{bf16, f16};

/// Proof that the processor has AVX-512 F and DQ.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Compiles `kernel` for AVX-512 and runs it.
///
/// # Safety
/// The processor has avx512f, avx512dq, avx2, fma and f16c.
#[target_feature(enable = "avx512f,avx512dq,avx2,fma,f16c")]
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

impl Avx512 {
    /// The bits of each lane, whose upper half is the nearest bf16: ties to even, NaN quiet.
    #[inline(always)]
    fn rounded_to_bf16(self, v: __m512) -> __m512i {
        // SAFETY: avx512f by the token.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), even);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            _mm512_mask_blend_epi32(nan, rounded, quiet)
        }
    }
}

// SAFETY: the only constructor is in `enter`, whose caller has checked the processor; 16 lanes are MAX_LANES.
// The intrinsics below that are `unsafe` for their feature alone are sound to call for the same reason.
unsafe impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 12;
    type V = __m512;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, source: *const f32) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable values.
        unsafe { _mm512_loadu_ps(source) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, target: *mut f32, v: __m512) {
        // SAFETY: avx512f by the token; the caller vouches for 16 writable values.
        unsafe { _mm512_storeu_ps(target, v) }
    }
    #[inline(always)]
    unsafe fn load_f16_ptr(self, source: *const f16) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable values.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16_ptr(self, source: *const bf16) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable values.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(source.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_i8_ptr(self, source: *const i8) -> __m512 {
        // SAFETY: avx512f by the token; the caller vouches for 16 readable bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(source.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: __m512) {
        // SAFETY: avx512f by the token; the caller vouches for 16 writable values.
        unsafe {
            let numbers = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(self.rounded_to_bf16(v)));
            _mm256_storeu_si256(target.cast(), numbers);
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs_ptr(self, target: *mut u32, low: __m512, high: __m512) {
        // SAFETY: avx512f by the token; the caller vouches for 16 writable pairs.
        unsafe {
            let first = _mm512_srli_epi32::<16>(self.rounded_to_bf16(low));
            let second = _mm512_and_si512(self.rounded_to_bf16(high), _mm512_set1_epi32(0xffff_0000u32.cast_signed()));
            _mm512_storeu_si512(target.cast(), _mm512_or_si512(first, second));
        }
    }
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, target: *mut u8, v: __m512) {
        // SAFETY: avx512f by the token; the caller vouches for 16 writable bytes.
        unsafe { _mm_storeu_si128(target.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }
    #[inline(always)]
    unsafe fn transpose_ptr(self, count: usize, vector: impl Fn(usize) -> __m512, target: *mut f32, stride: usize) {
        // SAFETY: avx512f by the token; 16 rows of `target` with room for whole groups of four: the caller's promise.
        unsafe {
            // Each group of four rows becomes four vectors of 4x4 blocks; a block is then stored by its 128-bit lane.
            for group in 0..count.div_ceil(TURNED) {
                // Spelled out: a closure within `array::from_fn` is one more that has to be inlined.
                let (a, b) = (vector(4 * group), vector(4 * group + 1));
                let (c, d) = (vector(4 * group + 2), vector(4 * group + 3));
                let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                let blocks = [
                    _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
                    _mm512_shuffle_ps::<0xEE>(ab_low, cd_low),
                    _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
                    _mm512_shuffle_ps::<0xEE>(ab_high, cd_high),
                ];
                for (j, block) in blocks.into_iter().enumerate() {
                    let at = target.add(j * stride + 4 * group);
                    _mm_storeu_ps(at, _mm512_extractf32x4_ps::<0>(block));
                    _mm_storeu_ps(at.add(4 * stride), _mm512_extractf32x4_ps::<1>(block));
                    _mm_storeu_ps(at.add(8 * stride), _mm512_extractf32x4_ps::<2>(block));
                    _mm_storeu_ps(at.add(12 * stride), _mm512_extractf32x4_ps::<3>(block));
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
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2_int(self, n: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn select_gt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        // SAFETY: avx512f by the token.
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
