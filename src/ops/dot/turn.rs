//! Rows turned into columns: what a tile reads lies place by place of the depth.

use super::numbers::write_bf16;
use crate::ops::product::Stored;
use crate::simd::dot::{Dot, as_f32, as_f32_mut};
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
    interleave(d.simd(), Stored { values: as_f32(room), stride: groups }, (rows, groups), as_f32_mut(target), width);
}

/// `target[k · width + row] = source[row, k]`. Rows are at most a vector's; where `width` is less than that, `target` has room
/// for a vector more.
#[inline(always)]
pub fn interleave<S: Simd>(s: S, source: Stored<'_>, (rows, depth): (usize, usize), target: &mut [f32], width: usize) {
    assert!(rows >= 1 && rows <= S::LANES && rows <= width && depth >= 1);
    assert!((rows - 1) * source.stride + depth <= source.values.len());
    assert!((depth - 1) * width + S::LANES <= target.len());
    let (stride, source, target) = (source.stride, source.values.as_ptr(), target.as_mut_ptr());
    let whole = depth - depth % S::LANES;
    let mut turned = [0.0; MAX_LANES * MAX_LANES];
    for k in (0..whole).step_by(S::LANES) {
        // SAFETY: places k..k + LANES of rows below `rows` are within the source, LANES² values are within `turned`, and
        // LANES values from any place of the target on are within it, by the assertions above. A place is written before
        // those after it, which lie where its last lanes went.
        unsafe {
            s.transpose_ptr(
                |row| s.load_ptr(source.add(row.min(rows - 1) * stride + k)),
                turned.as_mut_ptr(),
                S::LANES,
            );
            for j in 0..S::LANES {
                s.store_ptr(target.add((k + j) * width), s.load_ptr(turned.as_ptr().add(j * S::LANES)));
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
