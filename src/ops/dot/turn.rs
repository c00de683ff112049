//! Rows turned into columns: what a tile reads lies place by place of the depth.

use crate::ops::product::Stored;
use crate::simd::dot::{Dot, as_f32_mut};
use crate::simd::{MAX_LANES, Simd, TURNED};

/// Values between places of `rows` rows turned: transposes write so many together.
pub const fn stride(rows: usize) -> usize {
    rows.next_multiple_of(TURNED)
}

/// Rows `[rows, depth]` of f32 as bf16, two a group, turned: `target[k · stride + row]` has the numbers at 2k and 2k + 1 of
/// the row, the last perhaps a zero. As for [`interleave`], with half the depth.
#[inline(always)]
pub fn interleave_bf16<D: Dot>(
    d: D,
    source: Stored<'_>,
    (rows, depth): (usize, usize),
    target: &mut [u32],
    stride: usize,
) {
    let (s, lanes, groups) = (d.simd(), <D::Simd as Simd>::LANES, depth.div_ceil(2));
    check::<D::Simd>(&source, (rows, depth), groups, target.len(), stride);
    let (values, target) = (source.values.as_ptr(), as_f32_mut(target).as_mut_ptr());
    let whole = depth / (2 * lanes) * lanes;
    for k in (0..whole).step_by(lanes) {
        // SAFETY: places 2k..2(k + LANES) of rows below `rows` are within the source, and whole numbers of `TURNED` values at
        // places k..k + LANES within the target, by the check above.
        unsafe {
            let row = |row: usize| values.add(row.min(rows - 1) * source.stride + 2 * k);
            let pairs = |r: usize| d.pairs(s.load_ptr(row(r)), s.load_ptr(row(r).add(lanes)));
            s.transpose_ptr(rows, pairs, target.add(k * stride), stride);
        }
    }
    if whole < groups {
        let mut turned = [0.0; MAX_LANES * MAX_LANES];
        let end = |row: usize| {
            let (mut values, first) = ([0.0; 2 * MAX_LANES], row.min(rows - 1) * source.stride);
            values[..depth - 2 * whole].copy_from_slice(&source.values[first + 2 * whole..first + depth]);
            d.pairs(s.load(&values), s.load(&values[lanes..]))
        };
        // SAFETY: LANES² values are within `turned`; places from `whole` on are within the target by the check above.
        unsafe {
            s.transpose_ptr(rows, end, turned.as_mut_ptr(), lanes);
            copy(&turned, lanes, groups - whole, rows, target.add(whole * stride), stride);
        }
    }
}

/// `target[k · stride + row] = source[row, k]`. Rows are at most a vector's; what follows them up to a whole number of
/// [`TURNED`] is written too, to any value.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, source: Stored<'_>, (rows, depth): (usize, usize), target: &mut [f32], stride: usize) {
    check::<S>(&source, (rows, depth), depth, target.len(), stride);
    let (values, target) = (source.values.as_ptr(), target.as_mut_ptr());
    let whole = depth - depth % S::LANES;
    for k in (0..whole).step_by(S::LANES) {
        // SAFETY: places k..k + LANES of rows below `rows` are within the source, and whole numbers of `TURNED` values at those
        // places within the target, by the check above.
        unsafe {
            let row = |row: usize| s.load_ptr(values.add(row.min(rows - 1) * source.stride + k));
            s.transpose_ptr(rows, row, target.add(k * stride), stride);
        }
    }
    if whole < depth {
        let mut turned = [0.0; MAX_LANES * MAX_LANES];
        let end = |row: usize| {
            let first = row.min(rows - 1) * source.stride;
            s.load_tail(&source.values[first + whole..first + depth], 0.0)
        };
        // SAFETY: LANES² values are within `turned`; places from `whole` on are within the target by the check above.
        unsafe {
            s.transpose_ptr(rows, end, turned.as_mut_ptr(), S::LANES);
            copy(&turned, S::LANES, depth - whole, rows, target.add(whole * stride), stride);
        }
    }
}

/// That rows `[rows, depth]` fit a vector, and lie in the source, and that their `places` lie in `room` values.
#[inline(always)]
fn check<S: Simd>(source: &Stored<'_>, (rows, depth): (usize, usize), places: usize, room: usize, stride: usize) {
    assert!(rows >= 1 && rows <= S::LANES && self::stride(rows) <= stride && depth >= 1);
    assert!((rows - 1) * source.stride + depth <= source.values.len());
    assert!((places - 1) * stride + self::stride(rows) <= room);
}

/// `target[k · stride + row] = turned[k · width + row]` of so many places.
///
/// # Safety
/// `target` is valid for writes of `rows` values at each of the places, `stride` apart.
#[inline(always)]
unsafe fn copy(turned: &[f32], width: usize, places: usize, rows: usize, target: *mut f32, stride: usize) {
    for (k, place) in turned.chunks_exact(width).take(places).enumerate() {
        for (row, &value) in place[..rows].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { target.add(k * stride + row).write(value) };
        }
    }
}
