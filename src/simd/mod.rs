//! Instruction sets: chosen at run time, proved by a token, entered in one place.
//!
//! Code is written once against [`Simd`]. A value of an implementing type proves that the processor has the
//! instructions, because [`Isa::dispatch`] makes it only after asking the processor.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod dot;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::fmt;

pub use portable::Portable;

use crate::dtype::{bf16, f16};
use crate::error::{Error, Result};

/// Vectors of f32 and what can be done with them. The token is a zero-sized proof.
///
/// # Safety
/// A type may implement this only if a value of it cannot exist on a processor without its instructions,
/// and `LANES` is at most [`MAX_LANES`].
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// f32 values in a vector.
    const LANES: usize;
    /// Columns of the matrix-multiplication tile, in vectors.
    const TILE_VECTORS: usize;
    /// Rows of the matrix-multiplication tile.
    const TILE_ROWS: usize;
    /// A vector.
    type V: Copy;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Reads `LANES` values.
    ///
    /// # Safety
    /// `source` is valid for reads of `LANES` f32; no alignment is needed.
    unsafe fn load_ptr(self, source: *const f32) -> Self::V;
    /// Writes `LANES` values.
    ///
    /// # Safety
    /// `target` is valid for writes of `LANES` f32; no alignment is needed.
    unsafe fn store_ptr(self, target: *mut f32, v: Self::V);
    /// Reads `LANES` f16 values.
    ///
    /// # Safety
    /// `source` is valid for reads of `LANES` f16; no alignment is needed beyond that of f16.
    unsafe fn load_f16_ptr(self, source: *const f16) -> Self::V;
    /// Reads `LANES` bf16 values.
    ///
    /// # Safety
    /// `source` is valid for reads of `LANES` bf16; no alignment is needed beyond that of bf16.
    unsafe fn load_bf16_ptr(self, source: *const bf16) -> Self::V;
    /// Reads `LANES` integers of 8 bits.
    ///
    /// # Safety
    /// `source` is valid for reads of `LANES` bytes.
    unsafe fn load_i8_ptr(self, source: *const i8) -> Self::V;
    /// Writes `LANES` values, each as the nearest bf16; ties to even, NaN stays NaN.
    ///
    /// # Safety
    /// `target` is valid for writes of `LANES` bf16; no alignment is needed beyond that of bf16.
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: Self::V);
    /// Writes `LANES` pairs of bf16, each the nearest to its f32 as [`Simd::store_bf16_ptr`] has it: `low` as the first of each
    /// pair, `high` as the second.
    ///
    /// # Safety
    /// `target` is valid for writes of `LANES` pairs.
    #[inline(always)]
    unsafe fn store_bf16_pairs_ptr(self, target: *mut u32, low: Self::V, high: Self::V) {
        let (mut first, mut second) = ([bf16::ZERO; MAX_LANES], [bf16::ZERO; MAX_LANES]);
        // SAFETY: both arrays have a vector's numbers, and the caller vouches for the target.
        unsafe {
            self.store_bf16_ptr(first.as_mut_ptr(), low);
            self.store_bf16_ptr(second.as_mut_ptr(), high);
            for lane in 0..Self::LANES {
                let pair = u32::from(first[lane].to_bits()) | u32::from(second[lane].to_bits()) << 16;
                target.add(lane).write(pair);
            }
        }
    }
    /// Writes the low byte of each of `LANES` integers in −128..=255.
    ///
    /// # Safety
    /// `target` is valid for writes of `LANES` bytes.
    unsafe fn store_bytes_ptr(self, target: *mut u8, v: Self::V);
    /// Writes the transpose of `count` vectors, at most `LANES`: lane `j` of `vector(i)` goes to `target[j · stride + i]`. So do
    /// those of vectors beyond `count`, up to a whole number of [`TURNED`], and `vector` is asked for them.
    ///
    /// # Safety
    /// `target` is valid for writes of so many f32 at each of `LANES` rows, `stride` apart.
    unsafe fn transpose_ptr(self, count: usize, vector: impl Fn(usize) -> Self::V, target: *mut f32, stride: usize);
    /// Hints that the cache line at `address` will be read within a tile's time. Any address is fine.
    #[inline(always)]
    fn prefetch_near(self, _address: *const u8) {}
    /// Hints that the cache line at `address` will be read later: the second-level cache is near enough.
    #[inline(always)]
    fn prefetch_far(self, _address: *const u8) {}
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the processor fuses.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `√a`, correctly rounded; NaN below zero.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The larger of each pair; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of each pair; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Nearest integer, ties to even, as f32.
    fn round(self, a: Self::V) -> Self::V;
    /// 2ⁿ of integral lanes n in −126..=127.
    fn exp2_int(self, n: Self::V) -> Self::V;
    /// `x` in lanes where `a > b`, else `y`.
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Sum of the lanes, in an order that depends on `LANES` only.
    fn sum(self, a: Self::V) -> f32;
    /// Largest lane.
    fn max_lane(self, a: Self::V) -> f32;

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The first `LANES` values of `source`.
    #[inline(always)]
    fn load(self, source: &[f32]) -> Self::V {
        assert!(source.len() >= Self::LANES);
        // SAFETY: the line above establishes the length.
        unsafe { self.load_ptr(source.as_ptr()) }
    }

    /// Writes the first `LANES` values of `target`.
    #[inline(always)]
    fn store(self, target: &mut [f32], v: Self::V) {
        assert!(target.len() >= Self::LANES);
        // SAFETY: the line above establishes the length.
        unsafe { self.store_ptr(target.as_mut_ptr(), v) }
    }

    /// Fewer than `LANES` values, the rest filled with `fill`.
    #[inline(always)]
    fn load_tail(self, source: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; MAX_LANES];
        lanes[..source.len()].copy_from_slice(source);
        self.load(&lanes)
    }

    /// The first `target.len()` lanes; at most `LANES`.
    #[inline(always)]
    fn store_tail(self, target: &mut [f32], v: Self::V) {
        let mut lanes = [0.0; MAX_LANES];
        self.store(&mut lanes, v);
        target.copy_from_slice(&lanes[..target.len()]);
    }
}

/// Lanes of the widest instruction set.
pub const MAX_LANES: usize = 16;

/// Vectors that a transpose writes together; every instruction set has a whole number of them in its lanes.
pub const TURNED: usize = 4;

/// Work written once for every instruction set. `run` must be `#[inline(always)]`, and so must what it calls in its
/// loops: only then is it compiled for the instructions of `S`. Closures in it are so only if the compiler chooses, and
/// otherwise call every instruction as a function: loops that matter have none.
pub trait Kernel {
    /// What the work returns.
    type Output;
    /// Does the work.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Level);

impl Isa {
    /// Environment variable that forces a lower instruction set: `portable`, `avx2`, `avx512` or `neon`.
    pub const VARIABLE: &'static str = "CLOZE_ISA";

    /// Every instruction set of this processor, from the plainest to the best.
    pub fn available() -> Vec<Isa> {
        #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_mut))]
        let mut found = vec![Isa(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
            found.push(Isa(Level::Avx2));
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                found.push(Isa(Level::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Isa(Level::Neon));
        }
        found
    }

    /// The best instruction set, or the one that [`Isa::VARIABLE`] names.
    pub fn detect() -> Result<Isa> {
        let available = Self::available();
        match std::env::var(Self::VARIABLE) {
            Err(std::env::VarError::NotPresent) => Ok(available[available.len() - 1]),
            Err(std::env::VarError::NotUnicode(_)) => Err(Error::argument("CLOZE_ISA is not Unicode")),
            Ok(name) => available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
                let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
                Error::argument(format!("CLOZE_ISA is \"{name}\"; this processor has {}", names.join(", ")))
            }),
        }
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Level::Neon => "neon",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run(Portable),
            // SAFETY: only `available` makes this level, after the processor reported avx2, fma and f16c.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2::enter(kernel) },
            // SAFETY: only `available` makes this level, after the processor reported avx512f and avx512dq.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512::enter(kernel) },
            // SAFETY: only `available` makes this level, after the processor reported neon.
            #[cfg(target_arch = "aarch64")]
            Level::Neon => unsafe { neon::enter(kernel) },
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation of a token, lane by lane, against scalar arithmetic.
    struct Agrees;

    impl Kernel for Agrees {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let a: Vec<f32> = (0..S::LANES).map(|i| i as f32 * 1.75 - 5.5).collect();
            let b: Vec<f32> = (0..S::LANES).map(|i| 3.25 - i as f32 * 0.5).collect();
            let c: Vec<f32> = (0..S::LANES).map(|i| 0.125 * i as f32).collect();
            let (va, vb, vc) = (s.load(&a), s.load(&b), s.load(&c));
            let lanes = |v: S::V| {
                let mut out = vec![f32::NAN; S::LANES];
                s.store(&mut out, v);
                out
            };
            let each = |f: &dyn Fn(usize) -> f32| (0..S::LANES).map(f).collect::<Vec<_>>();
            assert_eq!(lanes(s.add(va, vb)), each(&|i| a[i] + b[i]));
            assert_eq!(lanes(s.sub(va, vb)), each(&|i| a[i] - b[i]));
            assert_eq!(lanes(s.mul(va, vb)), each(&|i| a[i] * b[i]));
            assert_eq!(lanes(s.div(va, vb)), each(&|i| a[i] / b[i]));
            assert_eq!(lanes(s.fma(va, vb, vc)), each(&|i| a[i] * b[i] + c[i])); // exact in binary for these values
            assert_eq!(lanes(s.sqrt(vc)), each(&|i| c[i].sqrt()));
            assert_eq!(lanes(s.sqrt(va)).iter().position(|v| !v.is_nan()), a.iter().position(|&v| v >= 0.0));
            assert_eq!(lanes(s.max(va, vb)), each(&|i| a[i].max(b[i])));
            assert_eq!(lanes(s.min(va, vb)), each(&|i| a[i].min(b[i])));
            assert_eq!(lanes(s.round(va)), each(&|i| a[i].round_ties_even()));
            assert_eq!(lanes(s.exp2_int(s.round(va))), each(&|i| a[i].round_ties_even().exp2()));
            assert_eq!(lanes(s.select_gt(va, vb, va, vc)), each(&|i| if a[i] > b[i] { a[i] } else { c[i] }));
            assert_eq!(s.sum(va), a.iter().sum::<f32>());
            assert_eq!(s.max_lane(vb), 3.25);
            assert_eq!(s.max_lane(va), a[S::LANES - 1]);
            let halves: Vec<f16> = a.iter().map(|&x| f16::from_f32(x)).collect();
            let brains: Vec<bf16> = a.iter().map(|&x| bf16::from_f32(x)).collect();
            // SAFETY: each vector holds LANES elements.
            let (half, brain) = unsafe { (s.load_f16_ptr(halves.as_ptr()), s.load_bf16_ptr(brains.as_ptr())) };
            assert_eq!(lanes(half), each(&|i| halves[i].to_f32()));
            assert_eq!(lanes(brain), each(&|i| brains[i].to_f32()));
            let small: Vec<i8> = (0..S::LANES).map(|i| [-128, 127, -1, 0, 100][i % 5]).collect();
            // SAFETY: as many integers as lanes.
            assert_eq!(lanes(unsafe { s.load_i8_ptr(small.as_ptr()) }), each(&|i| f32::from(small[i])));
            let mut odd: Vec<f32> = a.iter().map(|x| x * 1.003_906_3 + 1e-3).collect();
            odd[0] = f32::NAN;
            odd[1] = f32::INFINITY;
            odd[2] = f32::from_bits(0x3f80_8000); // halfway between two bf16: the even one is below
            odd[3] = f32::from_bits(0x3f81_8000); // above
            let (mut narrow, mut bytes) = (vec![bf16::ONE; S::LANES + 1], vec![77u8; S::LANES + 1]);
            let integers: Vec<f32> =
                (0..S::LANES).map(|i| [-128.0, 255.0, -1.0, 127.0][i % 4] + (i / 4) as f32).collect();
            let integers: Vec<f32> = integers.iter().map(|x| x.min(255.0)).collect();
            // SAFETY: both vectors have more than LANES elements.
            unsafe {
                s.store_bf16_ptr(narrow.as_mut_ptr(), s.load(&odd));
                s.store_bytes_ptr(bytes.as_mut_ptr(), s.load(&integers));
            }
            let mut pairs = vec![7u32; S::LANES + 1];
            // SAFETY: the vector has more than LANES elements.
            unsafe { s.store_bf16_pairs_ptr(pairs.as_mut_ptr(), s.load(&odd), va) };
            for lane in 0..S::LANES {
                let pair = [pairs[lane] as u16, (pairs[lane] >> 16) as u16];
                assert_eq!(pair, [narrow[lane].to_bits(), bf16::from_f32(a[lane]).to_bits()]);
            }
            assert_eq!(pairs[S::LANES], 7);
            assert!(narrow[0].is_nan());
            assert_eq!(narrow[1..S::LANES], odd[1..].iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>());
            assert_eq!(bytes[..S::LANES], integers.iter().map(|&x| x as i32 as u8).collect::<Vec<_>>());
            assert_eq!((narrow[S::LANES], bytes[S::LANES]), (bf16::ONE, 77));
            let rows: Vec<Vec<f32>> =
                (0..S::LANES).map(|i| (0..S::LANES).map(|j| (i * 100 + j) as f32).collect()).collect();
            let stride = S::LANES + 3;
            let mut turned = vec![-1.0; stride * S::LANES];
            // SAFETY: LANES rows of `stride` values, each at least LANES long.
            unsafe { s.transpose_ptr(S::LANES, |i| s.load(&rows[i]), turned.as_mut_ptr(), stride) };
            for j in 0..S::LANES {
                for i in 0..stride {
                    let expected = if i < S::LANES { (i * 100 + j) as f32 } else { -1.0 };
                    assert_eq!(turned[j * stride + i], expected);
                }
            }
            for n in 0..S::LANES {
                let v = s.load_tail(&a[..n], -9.0);
                assert_eq!(lanes(v), each(&|i| if i < n { a[i] } else { -9.0 }));
                let mut out = vec![0.0; n];
                s.store_tail(&mut out, va);
                assert_eq!(out, a[..n]);
            }
        }
    }

    #[test]
    fn every_available_set_agrees_with_scalar_arithmetic() {
        for isa in Isa::available() {
            isa.dispatch(Agrees);
        }
    }
}
