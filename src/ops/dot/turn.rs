//! Rows turned into columns: what a tile reads lies place by place of the depth.

use super::numbers::write_bf16;
use crate::ops::product::Stored;
use crate::simd::dot::Dot;
use crate::simd::{MAX_LANES, Simd};

/// Rows `[rows, depth]` of f32 as bf16, two a group, turned: `target[k · width + row]` has the numbers at 2k and 2k + 1 of
/// the row. As for [`interleave`], with half the depth. `room` has as many groups for the rows made narrow.
#[inline(always)]
pub fn write_band<D: Dot>(
    d: D,
    source: Stored<'_>,
    (rows, depth): (usize, usize),
    room: &mut [u32],
    target: &mut [u32],
    width: usize,
) {
    let groups = depth.div_ceil(2);
    for (row, numbers) in room.chunks_exact_mut(groups).take(rows).enumerate() {
        write_bf16(d, &source.values[row * source.stride..][..depth], numbers);
    }
    // SAFETY: an f32 and a group have one size and alignment, and every bit pattern is either; borrowed as groups are.
    let (room, target) = unsafe {
        (
            std::slice::from_raw_parts(room.as_ptr().cast::<f32>(), room.len()),
            std::slice::from_raw_parts_mut(target.as_mut_ptr().cast::<f32>(), target.len()),
        )
    };
    interleave(d.simd(), Stored { values: room, stride: groups }, (rows, groups), target, width);
}

/// `target[k · width + row] = source[row, k]`. Rows are at most [`MAX_LANES`]; where `width` is less than the vectors that hold
/// them, `target` has room for a vector more.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, source: Stored<'_>, (rows, depth): (usize, usize), target: &mut [f32], width: usize) {
    let wide = rows.next_multiple_of(S::LANES);
    assert!(rows >= 1 && wide <= MAX_LANES && rows <= width && depth >= 1);
    assert!((rows - 1) * source.stride + depth <= source.values.len());
    assert!((depth - 1) * width + wide <= target.len());
    let (stride, source, target) = (source.stride, source.values.as_ptr(), target.as_mut_ptr());
    let whole = depth - depth % S::LANES;
    // A block of LANES² for every LANES rows.
    let mut turned = [0.0; MAX_LANES * MAX_LANES];
    for k in (0..whole).step_by(S::LANES) {
        // SAFETY: places k..k + LANES of rows below `rows` are within the source, wide · LANES values are within `turned`, and
        // `wide` values from any place of the target on are within it, by the assertions above. A place is written before
        // those after it, which lie where its last lanes went.
        unsafe {
            for first in (0..wide).step_by(S::LANES) {
                s.transpose_ptr(
                    |row| s.load_ptr(source.add((first + row).min(rows - 1) * stride + k)),
                    turned.as_mut_ptr().add(first * S::LANES),
                    S::LANES,
                );
            }
            for j in 0..S::LANES {
                for first in (0..wide).step_by(S::LANES) {
                    let column = s.load_ptr(turned.as_ptr().add((first + j) * S::LANES));
                    s.store_ptr(target.add((k + j) * width + first), column);
                }
            }
        }
    }
    for k in whole..depth {
        for row in 0..rows {
            // SAFETY: within both by the assertions above.
            unsafe { target.add(k * width + row).write(*source.add(row * stride + k)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

    struct Interleave<'a> {
        source: Stored<'a>,
        shape: (usize, usize),
        target: &'a mut [f32],
        width: usize,
    }

    impl Kernel for Interleave<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            interleave(s, self.source, self.shape, self.target, self.width);
        }
    }

    #[test]
    fn rows_become_columns_on_every_available_set() {
        for isa in Isa::available() {
            for rows in 1..=MAX_LANES {
                for (depth, width) in [(1, rows), (19, rows), (32, rows), (19, rows + 1), (16, MAX_LANES)] {
                    let stride = depth + 3;
                    let values: Vec<f32> = (0..rows * stride).map(|i| i as f32).collect();
                    let mut target = vec![-1.0; depth * width + MAX_LANES];
                    let source = Stored { values: &values, stride };
                    isa.dispatch(Interleave { source, shape: (rows, depth), target: &mut target, width });
                    for k in 0..depth {
                        let expected: Vec<f32> = (0..rows).map(|row| values[row * stride + k]).collect();
                        assert_eq!(
                            target[k * width..][..rows],
                            expected,
                            "{isa:?}: {rows} rows, width {width}, place {k}"
                        );
                    }
                }
            }
        }
    }
}
