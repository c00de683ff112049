//! The CPU's matrix multiplication: a register tile, the panels it reads, and the stripe loop around it.
//!
//!   C[m, n] = Σₖ A[m, k] · B[n, k]
//!
//! A is row-major and read in place. B arrives as *panels*: `k` rows of [`width`] columns, contiguous, so that one tile
//! step is a few vector loads and one broadcast per row of A. A panel of [`DEPTH`] rows stays in the nearer caches while
//! many rows of A pass it, so weights are fetched and rearranged a few times per call and nothing is kept packed.
//!
//! Every C[m, n] is summed over k in the same order whatever the tile, the batch or the number of threads: results
//! depend on the instruction set alone.

use std::hint::black_box;

use crate::dtype::{Number, bf16, f16};
use crate::simd::{Kernel, Simd};

use super::activation::{self, Activation};

/// Rows of a panel at most. Deep panels stream from the second-level cache; shallow ones make tiles that end too soon to
/// hide what it costs to begin and end one.
pub const DEPTH: usize = 768;

/// Most columns of a panel, over all instruction sets.
pub const MAX_WIDTH: usize = 32;

/// Columns of a panel.
pub const fn width<S: Simd>() -> usize {
    S::LANES * S::TILE_VECTORS
}

/// [`width`] of an instruction set.
pub struct Width;

impl Kernel for Width {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        width::<S>()
    }
}

/// What a tile of C starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// One value per column: [`width`] of them.
    Bias(&'a [f32]),
    /// The values that C holds.
    Held,
}

/// Rows of C from `c`, `stride` apart, and rows of A from `a`, `a_stride` apart.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Number of rows.
    pub count: usize,
    /// First element of A.
    pub a: *const f32,
    /// Elements between rows of A.
    pub a_stride: usize,
    /// First element of C.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_stride: usize,
}

/// Memory that will be packed next: while one panel is multiplied, the following one is on its way from main memory.
#[derive(Clone, Copy)]
pub struct Ahead {
    next: *const u8,
    /// Bytes of a row that are still to come, and of a whole one.
    left: usize,
    row: usize,
    /// Bytes from the end of one row's part to the start of the next row's.
    skip: usize,
    /// Cache lines still to come.
    lines: usize,
}

impl Ahead {
    const LINE: usize = 64;

    /// Nothing.
    pub const NONE: Ahead = Ahead { next: std::ptr::null(), left: 0, row: 0, skip: 0, lines: 0 };

    /// The first `depth` elements of `rows` rows of `b`, `stride` elements apart.
    #[inline(always)]
    pub fn of<E>(b: &[E], stride: usize, rows: usize, depth: usize) -> Self {
        let row = depth * size_of::<E>();
        let lines = rows * row.div_ceil(Self::LINE);
        let skip = (stride * size_of::<E>()).saturating_sub(row.next_multiple_of(Self::LINE));
        Self { next: b.as_ptr().cast(), left: row, row, skip, lines }
    }

    /// Asks for the next `count` lines. Addresses are hints: those past the end of `b` do nothing.
    #[inline(always)]
    fn fetch<S: Simd>(&mut self, s: S, count: usize) {
        for _ in 0..count.min(self.lines) {
            s.prefetch_far(self.next);
            self.next = self.next.wrapping_add(Self::LINE);
            self.left = self.left.saturating_sub(Self::LINE);
            if self.left == 0 {
                self.next = self.next.wrapping_add(self.skip);
                self.left = self.row;
            }
            self.lines -= 1;
        }
    }
}

/// C = f(start + A · panel) for all rows and the panel's columns. f is applied to each tile while it is in the cache.
///
/// No closure may take part: it would not be compiled for the instructions of `S` unless the compiler chose to inline it.
///
/// # Safety
/// For `rows.count` rows, A is valid for reads of `depth` f32 and C for reads and writes of `width::<S>()`;
/// `panel` is valid for reads of `depth · width::<S>()`; nothing else writes to any of them meanwhile.
#[inline(always)]
pub unsafe fn multiply<S: Simd>(
    s: S,
    rows: Rows,
    depth: usize,
    panel: *const f32,
    start: Start<'_>,
    activation: Activation,
    mut ahead: Ahead,
) {
    assert!(!matches!(start, Start::Bias(bias) if bias.len() < width::<S>()));
    // Tiles of nearly equal height: a last tile of one or two rows would wait on the latency of its few sums.
    let tiles = rows.count.div_ceil(S::TILE_ROWS);
    let lines = ahead.lines.div_ceil(tiles.max(1));
    let mut first = 0;
    for index in 0..tiles {
        ahead.fetch(s, lines);
        let count = (rows.count - first).div_ceil(tiles - index);
        // SAFETY: `first + count` never passes `rows.count`, so the caller's promise covers the tile.
        unsafe {
            let a = rows.a.add(first * rows.a_stride);
            let c = rows.c.add(first * rows.c_stride);
            let tile = Tile { a, a_stride: rows.a_stride, c, c_stride: rows.c_stride, depth, panel };
            match S::TILE_VECTORS {
                1 => tile.of_height::<S, 1>(s, count, start),
                2 => tile.of_height::<S, 2>(s, count, start),
                _ => tile.of_height::<S, 4>(s, count, start),
            }
        }
        if activation != Activation::Identity {
            for row in first..first + count {
                // SAFETY: C's rows are initialised, valid for `width` values, and nothing else refers to them.
                let c = unsafe { std::slice::from_raw_parts_mut(rows.c.add(row * rows.c_stride), width::<S>()) };
                activation::apply_row(s, activation, c);
            }
        }
        first += count;
    }
}

struct Tile {
    a: *const f32,
    a_stride: usize,
    c: *mut f32,
    c_stride: usize,
    depth: usize,
    panel: *const f32,
}

impl Tile {
    /// # Safety
    /// As for [`multiply`], with `count` rows.
    #[inline(always)]
    unsafe fn of_height<S: Simd, const VECTORS: usize>(&self, s: S, count: usize, start: Start<'_>) {
        macro_rules! heights {
            ($($rows:literal)*) => {
                match count {
                    // SAFETY: the caller's promise for `count` rows. The guard removes tiles too high for the registers.
                    $($rows if $rows <= S::TILE_ROWS => unsafe { self.run::<S, VECTORS, $rows>(s, start) },)*
                    _ => debug_assert!(false, "tile of {count} rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12)
    }

    /// # Safety
    /// As for [`multiply`], with `ROWS` rows.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // of registers, which iterators would put into memory
    unsafe fn run<S: Simd, const VECTORS: usize, const ROWS: usize>(&self, s: S, start: Start<'_>) {
        let mut sums = [[s.zero(); VECTORS]; ROWS];
        // SAFETY: rows below ROWS and columns below `width` of C, and `depth` steps of A and the panel: the caller's
        // promise. `multiply` checked the length of a bias.
        unsafe {
            // Lines of C that are not in the nearest cache arrive while the sums are made.
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    s.prefetch_near(self.c.add(r * self.c_stride + v * S::LANES).cast());
                }
            }
            // One pointer a row and one common index: every address is then part of the instruction that loads from it.
            // Opaque, because the compiler would otherwise compute each from the one before, in every step.
            let mut rows = [self.a; ROWS];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = black_box(self.a.add(r * self.a_stride));
            }
            let mut k = 0;
            while k + UNROLL <= self.depth {
                // Spelled out: a loop here is unrolled too late for the sums to stay in registers.
                self.step::<S, VECTORS, ROWS>(s, k, &rows, &mut sums);
                self.step::<S, VECTORS, ROWS>(s, k + 1, &rows, &mut sums);
                self.step::<S, VECTORS, ROWS>(s, k + 2, &rows, &mut sums);
                self.step::<S, VECTORS, ROWS>(s, k + 3, &rows, &mut sums);
                k += UNROLL;
            }
            for step in k..self.depth {
                self.step::<S, VECTORS, ROWS>(s, step, &rows, &mut sums);
            }
            let mut bias = [s.zero(); VECTORS];
            if let Start::Bias(values) = start {
                for (v, bias) in bias.iter_mut().enumerate() {
                    *bias = s.load_ptr(values.as_ptr().add(v * S::LANES));
                }
            }
            // At the end: waiting here for what C holds would stall every tile. Two loops without a choice: in one with it
            // the sums would have to be in memory.
            if matches!(start, Start::Held) {
                for v in 0..VECTORS {
                    for r in 0..ROWS {
                        let c = self.c.add(r * self.c_stride + v * S::LANES);
                        s.store_ptr(c, s.add(s.load_ptr(c), sums[r][v]));
                    }
                }
            } else {
                for v in 0..VECTORS {
                    for r in 0..ROWS {
                        s.store_ptr(self.c.add(r * self.c_stride + v * S::LANES), s.add(bias[v], sums[r][v]));
                    }
                }
            }
        }
    }
}

/// Steps of depth between two tests for the end.
const UNROLL: usize = 4;

impl Tile {
    /// Adds A[r, k] · panel[k, v] to every sum.
    ///
    /// # Safety
    /// `k` is below `depth`; otherwise as for [`multiply`].
    #[inline(always)]
    unsafe fn step<S: Simd, const VECTORS: usize, const ROWS: usize>(
        &self,
        s: S,
        k: usize,
        rows: &[*const f32; ROWS],
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let panel = self.panel.add(k * VECTORS * S::LANES);
            let mut b = [s.zero(); VECTORS];
            for (v, b) in b.iter_mut().enumerate() {
                *b = s.load_ptr(panel.add(v * S::LANES));
            }
            for (row, sums) in rows.iter().zip(sums) {
                let a = s.splat(*row.add(k));
                for v in 0..VECTORS {
                    sums[v] = s.fma(a, b[v], sums[v]);
                }
            }
        }
    }
}

/// An element type that vectors can be loaded from.
pub trait Source: Number {
    /// `S::LANES` elements as f32.
    ///
    /// # Safety
    /// `source` is valid for reads of `S::LANES` elements.
    unsafe fn load<S: Simd>(s: S, source: *const Self) -> S::V;
}

impl Source for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, source: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_ptr(source) }
    }
}

impl Source for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, source: *const f16) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_f16_ptr(source) }
    }
}

impl Source for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, source: *const bf16) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16_ptr(source) }
    }
}

impl Source for i8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, source: *const i8) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_i8_ptr(source) }
    }
}

/// Columns `k` of the rows `n` of B as a panel: `panel[k · width + n] = B[n, k]`, zero for columns beyond the rows.
///
/// B has at least one row and at most [`width`]; `stride` elements lie between them.
#[inline(always)]
pub fn pack_rows<S: Simd, E: Source>(s: S, b: &[E], stride: usize, rows: usize, depth: usize, panel: &mut [f32]) {
    let width = width::<S>();
    assert!(rows >= 1 && rows <= width && (rows - 1) * stride + depth <= b.len() && depth * width <= panel.len());
    let (source, target) = (b.as_ptr(), panel.as_mut_ptr());
    let whole = depth - depth % S::LANES;
    for first in (0..width).step_by(S::LANES) {
        let transposed = if first + S::LANES <= rows { whole } else { 0 };
        for k in (0..transposed).step_by(S::LANES) {
            // SAFETY: rows first..first + LANES exist and have LANES elements from k on, and the panel holds
            // depth · width values (the assertion above); k + LANES ≤ depth and first + LANES ≤ width.
            unsafe {
                let block = source.add(first * stride + k);
                s.transpose_ptr(
                    S::LANES,
                    |row| E::load(s, block.add(row * stride)),
                    target.add(k * width + first),
                    width,
                );
            }
        }
        for n in first..first + S::LANES {
            for k in transposed..depth {
                let value = if n < rows { b[n * stride + k].to_f32() } else { 0.0 };
                // SAFETY: k < depth and n < width, within the panel by the assertion above.
                unsafe { target.add(k * width + n).write(value) };
            }
        }
    }
}

/// Rows `k` of B, whose columns are contiguous, as a panel: `panel[k · width + n] = B[k, n]`, zero from `cols` on.
///
/// `cols` is at most [`width`]; `stride` elements lie between rows.
#[inline(always)]
pub fn pack_columns<S: Simd, E: Source>(s: S, b: &[E], stride: usize, cols: usize, depth: usize, panel: &mut [f32]) {
    let width = width::<S>();
    assert!(cols <= width);
    for (k, target) in panel.chunks_exact_mut(width).take(depth).enumerate() {
        let source = &b[k * stride..][..cols];
        for (v, target) in target.chunks_exact_mut(S::LANES).enumerate() {
            let first = (v * S::LANES).min(cols);
            let row = &source[first..cols.min(first + S::LANES)];
            if row.len() == S::LANES {
                // SAFETY: the row has LANES elements.
                s.store(target, unsafe { E::load(s, row.as_ptr()) });
                continue;
            }
            target.fill(0.0);
            for (target, value) in target.iter_mut().zip(row) {
                *target = value.to_f32();
            }
        }
    }
}

/// Multiplies column n of a panel with `scales[n]`; columns beyond the scales stay.
#[inline(always)]
pub fn scale_columns<S: Simd>(s: S, scales: &[f32], panel: &mut [f32]) {
    let width = width::<S>();
    let mut factors = [1.0; MAX_WIDTH];
    factors[..scales.len()].copy_from_slice(scales);
    for row in panel.chunks_exact_mut(width) {
        for (values, factors) in row.chunks_exact_mut(S::LANES).zip(factors.chunks_exact(S::LANES)) {
            s.store(values, s.mul(s.load(values), s.load(factors)));
        }
    }
}

/// Multiplies row k of a panel with `scales[k]`.
#[inline(always)]
pub fn scale_rows<S: Simd>(s: S, scales: &[f32], panel: &mut [f32]) {
    for (row, &scale) in panel.chunks_exact_mut(width::<S>()).zip(scales) {
        for values in row.chunks_exact_mut(S::LANES) {
            s.store(values, s.mul(s.load(values), s.splat(scale)));
        }
    }
}
