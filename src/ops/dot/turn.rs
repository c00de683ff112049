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
    check(&source, (rows, depth), groups, target.len(), stride);
    let (values, target) = (source.values.as_ptr(), as_f32_mut(target).as_mut_ptr());
    let whole = depth / (2 * lanes) * lanes;
    for k in (0..whole).step_by(lanes) {
        for first in (0..rows).step_by(lanes) {
            // SAFETY: places 2k..2(k + LANES) of rows below `rows` are within the source, and whole numbers of `TURNED` values
            // at places k..k + LANES within the target, by the check above.
            unsafe {
                let row = |row: usize| values.add((first + row).min(rows - 1) * source.stride + 2 * k);
                let pairs = |r: usize| d.pairs(s.load_ptr(row(r)), s.load_ptr(row(r).add(lanes)));
                s.transpose_ptr(lanes.min(rows - first), pairs, target.add(k * stride + first), stride);
            }
        }
    }
    if whole < groups {
        for first in (0..rows).step_by(lanes) {
            let (mut turned, count) = ([0.0; MAX_LANES * MAX_LANES], lanes.min(rows - first));
            let end = |row: usize| {
                let (mut values, start) = ([0.0; 2 * MAX_LANES], (first + row).min(rows - 1) * source.stride);
                values[..depth - 2 * whole].copy_from_slice(&source.values[start + 2 * whole..start + depth]);
                d.pairs(s.load(&values), s.load(&values[lanes..]))
            };
            // SAFETY: LANES² values are within `turned`; places from `whole` on are within the target by the check above.
            unsafe {
                s.transpose_ptr(count, end, turned.as_mut_ptr(), lanes);
                copy(&turned, lanes, groups - whole, count, target.add(whole * stride + first), stride);
            }
        }
    }
}

/// `target[k · stride + row] = source[row, k]`. Rows are at most [`MAX_LANES`]; what follows them up to a whole number of
/// [`TURNED`] is written too, to any value.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, source: Stored<'_>, (rows, depth): (usize, usize), target: &mut [f32], stride: usize) {
    check(&source, (rows, depth), depth, target.len(), stride);
    let (values, target) = (source.values.as_ptr(), target.as_mut_ptr());
    let whole = depth - depth % S::LANES;
    for k in (0..whole).step_by(S::LANES) {
        for first in (0..rows).step_by(S::LANES) {
            // SAFETY: places k..k + LANES of rows below `rows` are within the source, and whole numbers of `TURNED` values at
            // those places within the target, by the check above.
            unsafe {
                let row = |row: usize| s.load_ptr(values.add((first + row).min(rows - 1) * source.stride + k));
                s.transpose_ptr(S::LANES.min(rows - first), row, target.add(k * stride + first), stride);
            }
        }
    }
    if whole < depth {
        for first in (0..rows).step_by(S::LANES) {
            let (mut turned, count) = ([0.0; MAX_LANES * MAX_LANES], S::LANES.min(rows - first));
            let end = |row: usize| {
                let start = (first + row).min(rows - 1) * source.stride;
                s.load_tail(&source.values[start + whole..start + depth], 0.0)
            };
            // SAFETY: as above.
            unsafe {
                s.transpose_ptr(count, end, turned.as_mut_ptr(), S::LANES);
                copy(&turned, S::LANES, depth - whole, count, target.add(whole * stride + first), stride);
            }
        }
    }
}

/// That rows `[rows, depth]` are not too many and lie in the source, and that their `places` lie in `room` values.
#[inline(always)]
fn check(source: &Stored<'_>, (rows, depth): (usize, usize), places: usize, room: usize, stride: usize) {
    assert!((1..=MAX_LANES).contains(&rows) && self::stride(rows) <= stride && depth >= 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::bf16;
    use crate::simd::dot::DotKernel;
    use crate::simd::{Isa, Kernel};

    struct Turn<'a> {
        source: Stored<'a>,
        shape: (usize, usize),
        target: &'a mut [u32],
        stride: usize,
    }

    impl Kernel for Turn<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            interleave(s, self.source, self.shape, as_f32_mut(self.target), self.stride);
        }
    }

    impl DotKernel for Turn<'_> {
        type Output = ();
        #[inline(always)]
        fn run<D: Dot>(self, d: D) {
            interleave_bf16(d, self.source, self.shape, self.target, self.stride);
        }
    }

    /// Checks the numbers of every row at every place, and that nothing is written beyond what transposes write together.
    fn turned(isa: Isa, rows: usize, depth: usize, wider: usize) {
        let (width, apart) = (stride(rows) + wider, depth + 3);
        let values: Vec<f32> = (0..rows * apart).map(|i| i as f32 * 1.003).collect();
        let source = Stored { values: &values, stride: apart };
        let value = |row: usize, k: usize| if k < depth { values[row * apart + k] } else { 0.0 };
        let narrow = |row: usize, k: usize| u32::from(bf16::from_f32(value(row, k)).to_bits());
        for numbers in [1, 2] {
            let places = depth.div_ceil(numbers);
            let mut target = vec![u32::MAX; places * width];
            let turn = Turn { source, shape: (rows, depth), target: &mut target, stride: width };
            match numbers {
                1 => isa.dispatch(turn),
                _ => isa.dispatch_bf16(turn),
            }
            for (k, place) in target.chunks(width).enumerate() {
                for (row, &group) in place[..rows].iter().enumerate() {
                    let expected = match numbers {
                        1 => value(row, k).to_bits(),
                        _ => narrow(row, 2 * k) | narrow(row, 2 * k + 1) << 16,
                    };
                    assert_eq!(group, expected, "{isa:?}: row {row} of {rows}, place {k} of {depth} by {numbers}");
                }
                assert!(place[stride(rows)..].iter().all(|&group| group == u32::MAX));
            }
        }
    }

    #[test]
    fn rows_become_columns_on_every_available_set() {
        for isa in Isa::available() {
            for rows in 1..=MAX_LANES {
                for depth in [1, 2, 7, 8, 16, 19, 31, 32, 33, 64, 95] {
                    for wider in [0, 4, 17] {
                        turned(isa, rows, depth, wider);
                    }
                }
            }
        }
    }
}
