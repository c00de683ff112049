//! The register tile of products of narrow numbers.

use std::hint::black_box;

use super::pack::width;
use super::rows::NarrowRows;
use crate::simd::Simd;
use crate::simd::dot::Dot;

/// Some rows of A, a panel of B, and where their products go.
pub struct Tile<'a> {
    /// A
    pub left: &'a NarrowRows,
    /// First row of the tile, and how many.
    pub first: usize,
    /// See `first`.
    pub rows: usize,
    /// `[groups, width]`
    pub panel: &'a [u32],
    /// Of the panel's columns.
    pub scales: &'a [f32],
    /// See `scales`.
    pub sums: &'a [i32],
    /// What is added to the columns.
    pub bias: Option<&'a [f32]>,
    /// First value of C.
    pub c: *mut f32,
    /// Values between rows of C.
    pub c_stride: usize,
}

impl Tile<'_> {
    /// C = A · B + bias.
    ///
    /// # Safety
    /// C is valid for writes of a panel's width in `rows` rows, which are at most `D::TILE_ROWS`, and nothing else reaches
    /// them meanwhile.
    #[inline(always)]
    pub unsafe fn multiply<D: Dot>(&self, d: D) {
        let width = width::<D>();
        assert!(
            self.panel.len() == self.left.groups() * width && self.scales.len() == width && self.sums.len() == width
        );
        assert!(self.bias.is_none_or(|bias| bias.len() == width));
        // SAFETY: the lengths above, and the caller's promise.
        unsafe {
            match D::TILE_VECTORS {
                1 => self.of_height::<D, 1>(d),
                _ => self.of_height::<D, 2>(d),
            }
        }
    }

    /// # Safety
    /// As for [`Tile::multiply`], with the lengths it checks.
    #[inline(always)]
    unsafe fn of_height<D: Dot, const VECTORS: usize>(&self, d: D) {
        macro_rules! heights {
            ($($rows:literal)*) => {
                match self.rows {
                    // SAFETY: the caller's promise. The guard removes tiles too high for the registers.
                    $($rows if $rows <= D::TILE_ROWS => unsafe { self.run::<D, VECTORS, $rows>(d) },)*
                    other => debug_assert!(false, "tile of {other} rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12)
    }

    /// # Safety
    /// As for [`Tile::of_height`], with `ROWS` rows.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // of registers, which iterators would put into memory
    unsafe fn run<D: Dot, const VECTORS: usize, const ROWS: usize>(&self, d: D) {
        let (s, lanes) = (d.simd(), <D::Simd as Simd>::LANES);
        let a = self.left.at(self.first, ROWS);
        // Apart from the loops over sums: only small ones without another way out are unrolled whole and stay in registers.
        let mut scales = [0.0; ROWS];
        let mut zeros = [0; ROWS];
        for r in 0..ROWS {
            let scaling = self.left.scaling(self.first + r);
            (scales[r], zeros[r]) = (scaling.scale, scaling.zero);
        }
        // SAFETY: `at` checked A's rows; the panel, the scales, the sums and the bias have the lengths that `multiply`
        // checked.
        unsafe {
            let mut bias = [s.zero(); VECTORS];
            if let Some(values) = self.bias {
                for (v, bias) in bias.iter_mut().enumerate() {
                    *bias = s.load_ptr(values.as_ptr().add(v * lanes));
                }
            }
            let mut sums = [[d.start(0, self.sums.as_ptr()); VECTORS]; ROWS];
            for v in 0..VECTORS {
                let column_sums = self.sums.as_ptr().add(v * lanes);
                for r in 0..ROWS {
                    sums[r][v] = d.start(zeros[r], column_sums);
                }
            }
            // One pointer a row and one common index: every address is then part of the instruction that loads from it.
            // Opaque, because the compiler would otherwise compute each from the one before, in every step.
            let mut rows = [a; ROWS];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = black_box(a.add(r * self.left.stride()));
            }
            let (panel, groups) = (self.panel.as_ptr(), self.left.groups());
            let mut k = 0;
            while k + UNROLL <= groups {
                // Spelled out: a loop here is unrolled too late for the sums to stay in registers.
                Self::step::<D, VECTORS, ROWS>(d, &rows, k, panel, &mut sums);
                Self::step::<D, VECTORS, ROWS>(d, &rows, k + 1, panel, &mut sums);
                Self::step::<D, VECTORS, ROWS>(d, &rows, k + 2, panel, &mut sums);
                Self::step::<D, VECTORS, ROWS>(d, &rows, k + 3, panel, &mut sums);
                k += UNROLL;
            }
            for step in k..groups {
                Self::step::<D, VECTORS, ROWS>(d, &rows, step, panel, &mut sums);
            }
            let mut values = [[s.zero(); VECTORS]; ROWS];
            for v in 0..VECTORS {
                let column_scales = self.scales.as_ptr().add(v * lanes);
                for r in 0..ROWS {
                    values[r][v] = d.values(sums[r][v], scales[r], column_scales);
                }
            }
            for v in 0..VECTORS {
                let c = self.c.add(v * lanes);
                for r in 0..ROWS {
                    s.store_ptr(c.add(r * self.c_stride), s.add(values[r][v], bias[v]));
                }
            }
        }
    }

    /// Adds group k of A times group k of the panel to every sum.
    ///
    /// # Safety
    /// k is below the number of groups of each row and of the panel.
    #[inline(always)]
    unsafe fn step<D: Dot, const VECTORS: usize, const ROWS: usize>(
        d: D,
        rows: &[*const u32; ROWS],
        k: usize,
        panel: *const u32,
        sums: &mut [[D::Sum; VECTORS]; ROWS],
    ) {
        let lanes = <D::Simd as Simd>::LANES;
        // SAFETY: the caller's promise.
        unsafe {
            let panel = panel.add(k * VECTORS * lanes);
            let mut b = [d.right(panel); VECTORS];
            for (v, b) in b.iter_mut().enumerate().skip(1) {
                *b = d.right(panel.add(v * lanes));
            }
            for (row, sums) in rows.iter().zip(sums) {
                let a = d.left(row.add(k));
                for v in 0..VECTORS {
                    sums[v] = d.step(a, b[v], sums[v]);
                }
            }
        }
    }
}

/// Steps of depth between two tests for the end.
const UNROLL: usize = 4;
