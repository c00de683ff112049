//! f32 numbers made narrow: to the nearest bf16, ties to even; to integers of 8 bits, `x ≈ scale · (q − zero)`.

use crate::dtype::bf16;
use crate::ops::gemm::Source;
use crate::ops::product::Stored;
use crate::ops::scaled::Scaled;
use crate::simd::dot::Dot;
use crate::simd::{Kernel, MAX_LANES, Simd};

/// The interval from the least to the largest of some numbers, widened to hold 0.
pub struct Span {
    /// At most 0.
    pub low: f32,
    /// At least 0.
    pub high: f32,
    /// 0, or NaN where one of the numbers is NaN or infinite: `low` and `high` need not tell.
    pub odd: f32,
}

impl Span {
    /// Of `x`.
    #[inline(always)]
    pub fn of<S: Simd>(s: S, x: &[f32]) -> Self {
        // Comparisons pass over NaN: 0 · x is NaN for it and for infinities, and stays so in the sum.
        let (mut low, mut high, mut odd) = (s.zero(), s.zero(), s.zero());
        let chunks = x.chunks_exact(S::LANES);
        let end = chunks.remainder();
        for chunk in chunks {
            let v = s.load(chunk);
            (low, high, odd) = (s.min(low, v), s.max(high, v), s.fma(v, s.zero(), odd));
        }
        let v = s.load_tail(end, 0.0);
        (low, high, odd) = (s.min(low, v), s.max(high, v), s.fma(v, s.zero(), odd));
        Self { low: -s.max_lane(s.sub(s.zero(), low)), high: s.max_lane(high), odd: s.sum(odd) }
    }
}

/// What integers stand for, and which there are.
pub struct Steps {
    /// What they are multiples of, from `zero` on.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: f32,
    /// Least and largest.
    pub range: (f32, f32),
}

impl Steps {
    /// 1/`scale`; 0 where that is no number to multiply with.
    #[inline(always)]
    pub fn inverse(scale: f32) -> f32 {
        if scale > 0.0 && scale.is_finite() { 1.0 / scale } else { 0.0 }
    }

    /// Writes `x` as one byte a number, four a group; what is left of the groups is 0.
    #[inline(always)]
    pub fn write<S: Simd>(&self, s: S, x: &[f32], groups: &mut [u32]) {
        assert!(4 * groups.len() >= x.len());
        let bytes = groups.as_mut_ptr().cast::<u8>();
        let (inverse, (low, high)) = (Self::inverse(self.scale), self.range);
        let (factor, shift) = (s.splat(inverse), s.splat(self.zero));
        let whole = x.len() - x.len() % S::LANES;
        for k in (0..whole).step_by(S::LANES) {
            let q = s.add(s.round(s.mul(s.load(&x[k..]), factor)), shift);
            // SAFETY: x.len() bytes fit the groups by the assertion above, and k + LANES is not beyond them.
            unsafe { s.store_bytes_ptr(bytes.add(k), s.max(s.splat(low), s.min(s.splat(high), q))) };
        }
        for (k, &value) in x.iter().enumerate().skip(whole) {
            let q = (value * inverse).round_ties_even() + self.zero;
            // SAFETY: as above.
            unsafe { bytes.add(k).write(q.clamp(low, high) as i32 as u8) };
        }
        for k in x.len()..4 * groups.len() {
            // SAFETY: within the groups.
            unsafe { bytes.add(k).write(0) };
        }
    }
}

/// Writes `x` as bf16, two a group; what is left of the groups is 0.
#[inline(always)]
pub fn write_bf16<D: Dot>(d: D, x: &[f32], groups: &mut [u32]) {
    assert!(2 * groups.len() >= x.len());
    let (numbers, lanes) = (groups.as_mut_ptr().cast::<bf16>(), <D::Simd as Simd>::LANES);
    let whole = x.len() - x.len() % lanes;
    for k in (0..whole).step_by(lanes) {
        // SAFETY: x.len() numbers fit the groups by the assertion above, and k + LANES is not beyond them.
        unsafe { d.store_bf16_ptr(numbers.add(k), d.simd().load(&x[k..])) };
    }
    for (k, &value) in x.iter().enumerate().skip(whole) {
        // SAFETY: as above.
        unsafe { numbers.add(k).write(bf16::from_f32(value)) };
    }
    for k in x.len()..2 * groups.len() {
        // SAFETY: within the groups.
        unsafe { numbers.add(k).write(bf16::ZERO) };
    }
}

/// Neighbouring rows of a matrix as pairs of bf16: `groups[k · width + column]` = (`values[2k, column]`,
/// `values[2k + 1, column]`), with zeros below the last row. What comes from beyond the last column is of any value.
pub struct PairRows<'a, E> {
    /// `[depth, width]` or fewer columns.
    pub rows: Scaled<'a, E>,
    /// Rows.
    pub depth: usize,
    /// `[⌈depth / 2⌉, width]`, and room for a vector where `width` is no whole number of them.
    pub groups: &'a mut [u32],
    /// Of `groups`.
    pub width: usize,
}

impl<E: Source> Kernel for PairRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, depth, groups, width } = self;
        let Stored { values, stride } = rows.stored;
        let (pairs, wide) = (depth.div_ceil(2), width.next_multiple_of(S::LANES));
        assert!(pairs >= 1 && (pairs - 1) * width + wide <= groups.len());
        let below = |row: usize| if row < depth { row * stride } else { values.len() };
        for k in 0..pairs {
            let (low, high) = (below(2 * k), below(2 * k + 1));
            let scales = [s.splat(rows.scale(2 * k)), s.splat(rows.scale((2 * k + 1).min(depth - 1)))];
            for column in (0..wide).step_by(S::LANES) {
                let (mut low, mut high) = (vector(s, values, low + column), vector(s, values, high + column));
                if rows.scales.is_some() {
                    (low, high) = (s.mul(scales[0], low), s.mul(scales[1], high));
                }
                // SAFETY: within the groups by the assertion above. A pair of rows is written before those after it, which
                // lie where its last lanes went.
                unsafe { s.store_bf16_pairs_ptr(groups.as_mut_ptr().add(k * width + column), low, high) };
            }
        }
    }
}

/// The vector at `first`, with zeros beyond the last of `values`.
#[inline(always)]
fn vector<S: Simd, E: Source>(s: S, values: &[E], first: usize) -> S::V {
    if first + S::LANES <= values.len() {
        // SAFETY: the line above.
        return unsafe { E::load(s, values.as_ptr().add(first)) };
    }
    let mut lanes = [0.0; MAX_LANES];
    for (lane, value) in lanes.iter_mut().zip(values.get(first..).unwrap_or(&[])) {
        *lane = value.to_f32();
    }
    s.load(&lanes)
}
