//! Products of f32 and of narrow numbers, summed in 32 bits: what matrix multiplication with packed weights is made of.
//!
//! A *group* is 32 bits of a factor, the numbers of neighbouring places of the depth: an f32, two bf16, or four of 8 bits. One step
//! multiplies a group of A with the groups of a vector of columns of B, number by number, and adds to a sum a column.
//!
//! 8-bit numbers are unsigned in A and signed in B, as the processors' instructions have it; their sums are exact. How two
//! bf16 products are rounded depends on the instruction set.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;

use super::{Isa, Kernel, Level, MAX_LANES, Portable, Simd};
use crate::dtype::bf16;

/// What numbers the groups hold, and the instructions that multiply them. The token is a zero-sized proof.
///
/// # Safety
/// As for [`Simd`]: a value of the type proves the instructions.
pub unsafe trait Dot: Copy + Send + Sync + 'static {
    /// For what is done with sums.
    type Simd: Simd;
    /// Groups of one row of A, ready to be multiplied with a vector of columns.
    type Left: Copy;
    /// Groups of `Simd::LANES` columns of B.
    type Right: Copy;
    /// A sum a column.
    type Sum: Copy;
    /// Columns of the tile, in vectors.
    const TILE_VECTORS: usize;
    /// Rows of the tile.
    const TILE_ROWS: usize;
    /// Rows of a tile one vector wide, or of the usual one; at most [`MAX_LANES`].
    const TALL_ROWS: usize;

    /// The instructions for f32.
    fn simd(self) -> Self::Simd;
    /// Writes `Simd::LANES` values, each as the nearest bf16, ties to even; values below the least normal one may become 0.
    ///
    /// # Safety
    /// `target` is valid for writes of `Simd::LANES` bf16; no alignment is needed beyond that of bf16.
    #[inline(always)]
    unsafe fn store_bf16_ptr(self, target: *mut bf16, v: <Self::Simd as Simd>::V) {
        // SAFETY: the caller's promise.
        unsafe { self.simd().store_bf16_ptr(target, v) }
    }
    /// Neighbouring values, `low` before `high`, as `Simd::LANES` groups of two bf16, rounded as
    /// [`Dot::store_bf16_ptr`] does.
    #[inline(always)]
    fn pairs(self, low: <Self::Simd as Simd>::V, high: <Self::Simd as Simd>::V) -> <Self::Simd as Simd>::V {
        let mut groups = [0.0; MAX_LANES];
        let numbers = groups.as_mut_ptr().cast::<bf16>();
        // SAFETY: there is room for twice the lanes in numbers of half the size.
        unsafe {
            self.store_bf16_ptr(numbers, low);
            self.store_bf16_ptr(numbers.add(<Self::Simd as Simd>::LANES), high);
        }
        self.simd().load(&groups)
    }
    /// Sums before the first step: nothing; of 8-bit numbers −`zero` times what the columns of B sum up to over all steps,
    /// which takes the zero point of A out of the product.
    ///
    /// # Safety
    /// `column_sums` is valid for reads of `Simd::LANES` values where the numbers are of 8 bits.
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> Self::Sum;
    /// A group of A.
    ///
    /// # Safety
    /// `group` is valid for reads.
    unsafe fn left(self, group: *const u32) -> Self::Left;
    /// A group of each of `Simd::LANES` columns of B.
    ///
    /// # Safety
    /// `groups` is valid for reads of `Simd::LANES` groups.
    unsafe fn right(self, groups: *const u32) -> Self::Right;
    /// sum + a·b
    fn step(self, a: Self::Left, b: Self::Right, sum: Self::Sum) -> Self::Sum;
    /// The sums as f32; of 8-bit numbers times the scale of the row and those of the columns.
    ///
    /// # Safety
    /// `column_scales` is valid for reads of `Simd::LANES` values where the numbers are of 8 bits.
    unsafe fn values(self, sum: Self::Sum, scale: f32, column_scales: *const f32) -> <Self::Simd as Simd>::V;
}

/// Work written once for all numbers and instruction sets; as [`super::Kernel`].
pub trait DotKernel {
    /// What the work returns.
    type Output;
    /// Does the work.
    fn run<D: Dot>(self, dot: D) -> Self::Output;
}

/// f32 as the groups that they are.
pub fn as_groups(values: &[f32]) -> &[u32] {
    // SAFETY: an f32 and a group have one size and alignment, and every bit pattern is either.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
}

/// See [`as_groups`].
pub fn as_groups_mut(values: &mut [f32]) -> &mut [u32] {
    // SAFETY: as above, and borrowed exclusively.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// Groups as the f32 that they are, or may be.
pub fn as_f32(groups: &[u32]) -> &[f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(groups.as_ptr().cast(), groups.len()) }
}

/// See [`as_f32`].
pub fn as_f32_mut(groups: &mut [u32]) -> &mut [f32] {
    // SAFETY: as above, and borrowed exclusively.
    unsafe { std::slice::from_raw_parts_mut(groups.as_mut_ptr().cast(), groups.len()) }
}

impl Isa {
    /// Whether the processor has instructions that multiply bf16.
    pub fn multiplies_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => is_aarch64_feature_detected!("bf16"),
            _ => false,
        }
    }

    /// Runs `kernel` on f32 compiled for this instruction set.
    #[inline]
    pub fn dispatch_f32<K: DotKernel>(self, kernel: K) -> K::Output {
        self.dispatch(OfF32(kernel))
    }

    /// Runs `kernel` on bf16 compiled for this instruction set.
    #[inline]
    pub fn dispatch_bf16<K: DotKernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if is_x86_feature_detected!("avx512bf16") => {
                // SAFETY: only `Isa::available` makes this level, after the processor reported avx512f and avx512dq; the
                // line above asks for the rest.
                unsafe { super::avx512::dot::enter_bf16(kernel) }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `Isa::available` makes these levels, after the processor reported avx2, fma and f16c.
            Level::Avx512 | Level::Avx2 => unsafe { super::avx2::dot::enter_bf16(kernel) },
            #[cfg(target_arch = "aarch64")]
            Level::Neon if is_aarch64_feature_detected!("bf16") => {
                // SAFETY: only `Isa::available` makes this level, after the processor reported neon; the line above asks for
                // the rest.
                unsafe { super::neon::dot::enter_bf16(kernel) }
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: only `Isa::available` makes this level, after the processor reported neon.
            Level::Neon => unsafe { super::neon::dot::enter_bf16_widening(kernel) },
            Level::Portable => kernel.run(PortableBf16),
        }
    }

    /// Runs `kernel` on 8-bit numbers compiled for this instruction set.
    #[inline]
    pub fn dispatch_int8<K: DotKernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if is_x86_feature_detected!("avx512vnni") => {
                // SAFETY: as above, with the instructions that the line above asks for.
                unsafe { super::avx512::dot::enter_int8(kernel) }
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx2 if is_x86_feature_detected!("avxvnni") => {
                // SAFETY: as above, with the instructions that the line above asks for.
                unsafe { super::avx2::dot::enter_int8_vnni(kernel) }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx512 | Level::Avx2 => unsafe { super::avx2::dot::enter_int8(kernel) },
            #[cfg(target_arch = "aarch64")]
            Level::Neon if is_aarch64_feature_detected!("i8mm") => {
                // SAFETY: as above, with the instructions that the line above asks for.
                unsafe { super::neon::dot::enter_int8_mixed(kernel) }
            }
            #[cfg(target_arch = "aarch64")]
            Level::Neon if is_aarch64_feature_detected!("dotprod") => {
                // SAFETY: as above.
                unsafe { super::neon::dot::enter_int8_signed(kernel) }
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Level::Neon => unsafe { super::neon::dot::enter_int8_widening(kernel) },
            Level::Portable => kernel.run(PortableInt8),
        }
    }
}

struct OfF32<K>(K);

impl<K: DotKernel> Kernel for OfF32<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> K::Output {
        self.0.run(F32(s))
    }
}

/// f32, a number a group.
#[derive(Clone, Copy)]
pub struct F32<S>(S);

// SAFETY: a value holds the proof of the instructions that it uses.
unsafe impl<S: Simd> Dot for F32<S> {
    type Simd = S;
    type Left = S::V;
    type Right = S::V;
    type Sum = S::V;
    const TILE_VECTORS: usize = S::TILE_VECTORS;
    const TILE_ROWS: usize = S::TILE_ROWS;
    const TALL_ROWS: usize = if S::TILE_VECTORS > 1 && S::LANES > S::TILE_ROWS { S::LANES } else { S::TILE_ROWS };

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }
    #[inline(always)]
    unsafe fn start(self, _: i32, _: *const i32) -> S::V {
        self.0.zero()
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> S::V {
        // SAFETY: the caller's promise; every bit pattern is an f32.
        self.0.splat(unsafe { group.cast::<f32>().read() })
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> S::V {
        // SAFETY: as above.
        unsafe { self.0.load_ptr(groups.cast()) }
    }
    #[inline(always)]
    fn step(self, a: S::V, b: S::V, sum: S::V) -> S::V {
        self.0.fma(a, b, sum)
    }
    #[inline(always)]
    unsafe fn values(self, sum: S::V, _: f32, _: *const f32) -> S::V {
        sum
    }
}

/// bf16 in plain Rust.
#[derive(Clone, Copy)]
pub struct PortableBf16;

/// 8 bits in plain Rust.
#[derive(Clone, Copy)]
pub struct PortableInt8;

/// The two bf16 of a group as f32, the first one first.
#[inline(always)]
fn halves(group: u32) -> [f32; 2] {
    [f32::from_bits(group << 16), f32::from_bits(group & 0xffff_0000)]
}

// SAFETY: uses no special instructions.
unsafe impl Dot for PortableBf16 {
    type Simd = Portable;
    type Left = [f32; 2];
    type Right = [u32; 8];
    type Sum = [f32; 8];
    const TILE_VECTORS: usize = 1;
    const TILE_ROWS: usize = 4;
    const TALL_ROWS: usize = 4;

    #[inline(always)]
    fn simd(self) -> Portable {
        Portable
    }
    #[inline(always)]
    unsafe fn start(self, _: i32, _: *const i32) -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> [f32; 2] {
        // SAFETY: the caller's promise.
        halves(unsafe { group.read() })
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> [u32; 8] {
        // SAFETY: the caller's promise.
        unsafe { groups.cast::<[u32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    fn step(self, a: [f32; 2], b: [u32; 8], sum: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| {
            let b = halves(b[i]);
            sum[i] + a[0] * b[0] + a[1] * b[1]
        })
    }
    #[inline(always)]
    unsafe fn values(self, sum: [f32; 8], _: f32, _: *const f32) -> [f32; 8] {
        sum
    }
}

// SAFETY: uses no special instructions.
unsafe impl Dot for PortableInt8 {
    type Simd = Portable;
    type Left = [u8; 4];
    type Right = [[i8; 4]; 8];
    type Sum = [i32; 8];
    const TILE_VECTORS: usize = 1;
    const TILE_ROWS: usize = 4;
    const TALL_ROWS: usize = 4;

    #[inline(always)]
    fn simd(self) -> Portable {
        Portable
    }
    #[inline(always)]
    unsafe fn start(self, zero: i32, column_sums: *const i32) -> [i32; 8] {
        // SAFETY: the caller's promise.
        unsafe { column_sums.cast::<[i32; 8]>().read_unaligned() }.map(|sum| sum.wrapping_mul(-zero))
    }
    #[inline(always)]
    unsafe fn left(self, group: *const u32) -> [u8; 4] {
        // SAFETY: the caller's promise.
        unsafe { group.cast::<[u8; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn right(self, groups: *const u32) -> [[i8; 4]; 8] {
        // SAFETY: the caller's promise.
        unsafe { groups.cast::<[[i8; 4]; 8]>().read_unaligned() }
    }
    #[inline(always)]
    fn step(self, a: [u8; 4], b: [[i8; 4]; 8], sum: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|i| {
            let products = (0..4).map(|k| i32::from(a[k]) * i32::from(b[i][k])).sum::<i32>();
            sum[i].wrapping_add(products)
        })
    }
    #[inline(always)]
    unsafe fn values(self, sum: [i32; 8], scale: f32, column_scales: *const f32) -> [f32; 8] {
        // SAFETY: the caller's promise.
        let scales = unsafe { column_scales.cast::<[f32; 8]>().read_unaligned() };
        std::array::from_fn(|i| sum[i] as f32 * (scale * scales[i]))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two steps of every lane against scalar arithmetic, on numbers at the ends of their ranges.
    pub struct Int8Agrees;

    impl DotKernel for Int8Agrees {
        type Output = ();
        fn run<D: Dot>(self, d: D) {
            let lanes = <D::Simd as Simd>::LANES;
            let a: [u8; 4] = [255, 0, 254, 127];
            let columns: Vec<[i8; 4]> =
                (0..lanes).map(|lane| [127, -128, -127 + lane as i8, if lane % 2 == 0 { -128 } else { 127 }]).collect();
            let sums: Vec<i32> = columns.iter().map(|b| b.iter().map(|&b| 2 * i32::from(b)).sum()).collect();
            let groups: Vec<u32> = columns.iter().map(|b| u32::from_le_bytes(b.map(|b| b as u8))).collect();
            let mut out = vec![f32::NAN; lanes];
            // SAFETY: both vectors have a value a lane.
            unsafe {
                let start = d.start(131, sums.as_ptr());
                let (left, right) = (d.left(&u32::from_le_bytes(a)), d.right(groups.as_ptr()));
                let once = d.step(left, right, start);
                let scales = vec![0.5; lanes];
                d.simd().store(&mut out, d.values(d.step(left, right, once), 2.0, scales.as_ptr()));
            }
            for (lane, b) in columns.iter().enumerate() {
                let expected: i32 = a.iter().zip(b).map(|(&a, &b)| 2 * i32::from(a) * i32::from(b)).sum();
                assert_eq!(out[lane], (expected - 131 * sums[lane]) as f32, "lane {lane}");
            }
        }
    }

    /// Two steps of every lane, and numbers made narrow, against scalar arithmetic.
    pub struct Bf16Agrees;

    impl DotKernel for Bf16Agrees {
        type Output = ();
        fn run<D: Dot>(self, d: D) {
            use crate::dtype::bf16;
            let lanes = <D::Simd as Simd>::LANES;
            let group = |pair: [f32; 2]| pair.map(|x| u32::from(bf16::from_f32(x).to_bits()));
            let group = |pair: [f32; 2]| group(pair)[0] | group(pair)[1] << 16;
            let columns: Vec<[f32; 2]> = (0..lanes).map(|lane| [lane as f32 - 4.5, 0.25 * lane as f32]).collect();
            let groups: Vec<u32> = columns.iter().map(|&pair| group(pair)).collect();
            let mut out = vec![f32::NAN; lanes];
            // SAFETY: the vector has a value a lane, and bf16 has no sums and scales of columns.
            unsafe {
                let (left, right) = (d.left(&group([1.5, -3.0])), d.right(groups.as_ptr()));
                let once = d.step(left, right, d.start(0, std::ptr::null()));
                d.simd().store(&mut out, d.values(d.step(left, right, once), 1.0, std::ptr::null()));
            }
            for (lane, b) in columns.iter().enumerate() {
                // exact in binary for these values
                assert_eq!(out[lane], 2.0 * (1.5 * b[0] - 3.0 * b[1]), "lane {lane}");
            }
            let mut odd: Vec<f32> = (0..lanes).map(|lane| 1.003_906_3 * lane as f32 + 1e-3).collect();
            // The last two are halfway between two bf16: the even one is below, then above.
            odd[..4].copy_from_slice(&[0x7fc0_0001, 0xff80_0000, 0x3f80_8000, 0x3f81_8000].map(f32::from_bits));
            let mut narrow = vec![bf16::ONE; lanes + 1];
            // SAFETY: the vector has more than a value a lane.
            unsafe { d.store_bf16_ptr(narrow.as_mut_ptr(), d.simd().load(&odd)) };
            assert!(narrow[0].is_nan());
            assert_eq!(narrow[1..lanes], odd[1..].iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>());
            assert_eq!(narrow[lanes], bf16::ONE);
        }
    }

    #[test]
    fn every_available_set_multiplies_groups_as_scalars_do() {
        for isa in Isa::available() {
            isa.dispatch_int8(Int8Agrees);
            isa.dispatch_bf16(Bf16Agrees);
        }
    }
}
