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
    let target = as_f32_mut(target).as_mut_ptr();
    // A block of groups, a vector a row: whole numbers of `TURNED` rows, the last of them of any value.
    let mut block = [0.0; MAX_LANES * MAX_LANES];
    for k in (0..groups).step_by(lanes) {
        for first in (0..rows).step_by(lanes) {
            let count = lanes.min(rows - first);
            for (row, pairs) in block.chunks_exact_mut(lanes).take(count).enumerate() {
                let x = &source.values[(first + row) * source.stride..][..depth][2 * k..];
                let (low, high) = if x.len() >= 2 * lanes {
                    (s.load(x), s.load(&x[lanes..]))
                } else {
                    let mut end = [0.0; 2 * MAX_LANES];
                    end[..x.len()].copy_from_slice(x);
                    (s.load(&end), s.load(&end[lanes..]))
                };
                s.store(pairs, d.pairs(low, high));
            }
            // SAFETY: the block has LANES rows of LANES values, and whole numbers of `TURNED` values at its places lie within
            // the target, by the check above.
            unsafe {
                let rows = block.as_ptr();
                turn(s, count, rows, lanes, lanes.min(groups - k), target.add(k * stride + first), stride);
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
    for first in (0..rows).step_by(S::LANES) {
        let count = S::LANES.min(rows - first);
        for k in (0..depth).step_by(S::LANES) {
            // SAFETY: the places from k on, of rows below `rows`, are within the source, and whole numbers of `TURNED` values
            // at those places within the target, by the check above.
            unsafe {
                let rows = values.add(first * source.stride + k);
                turn(s, count, rows, source.stride, S::LANES.min(depth - k), target.add(k * stride + first), stride);
            }
        }
    }
}

/// Turns `count` rows of values, `apart` from each other, of which the first `places`, at most LANES, go to the target.
///
/// # Safety
/// The rows are valid for reads of so many values, and the target for writes of `count` values, rounded up to a whole number
/// of [`TURNED`], at each of the places, `stride` apart.
#[inline(always)]
unsafe fn turn<S: Simd>(
    s: S,
    count: usize,
    rows: *const f32,
    apart: usize,
    places: usize,
    target: *mut f32,
    stride: usize,
) {
    if places == S::LANES {
        // SAFETY: the caller's promise.
        unsafe { s.transpose_ptr(count, |row| s.load_ptr(rows.add(row.min(count - 1) * apart)), target, stride) };
        return;
    }
    for place in 0..places {
        for row in 0..count {
            // SAFETY: as above.
            unsafe { target.add(place * stride + row).write(*rows.add(row * apart + place)) };
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
