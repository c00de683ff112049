//! The register tile: some rows of A, in a band, times a panel of B.

use std::ops::Range;

use super::turn::stride;
use crate::ops::gemm::Start;
use crate::simd::Simd;
use crate::simd::dot::{Dot, DotKernel};

/// Columns of a panel.
pub const fn width<D: Dot>() -> usize {
    <D::Simd as Simd>::LANES * D::TILE_VECTORS
}

/// Rows cut into nearly equal parts: a tile of one or two rows would wait on the latency of its few sums.
#[derive(Clone, Copy)]
pub struct Parts {
    count: usize,
    /// Rows of the lower ones; the first `higher` have one more.
    height: usize,
    higher: usize,
}

impl Parts {
    /// `rows` in `count` parts.
    pub fn new(rows: usize, count: usize) -> Self {
        Self { count, height: rows / count, higher: rows % count }
    }

    /// Number of parts.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The rows of one.
    #[inline(always)]
    pub fn rows(&self, index: usize) -> Range<usize> {
        let start = index * self.height + index.min(self.higher);
        start..start + self.height + usize::from(index < self.higher)
    }

    /// The rows of each.
    #[inline(always)]
    pub fn all(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.count).map(move |index| self.rows(index))
    }
}

/// Rows that a tile may have.
pub struct Heights;

/// See [`Heights`].
pub struct Height {
    /// Where it has all the rows of a product.
    pub alone: usize,
    /// Else.
    pub among: usize,
}

impl DotKernel for Heights {
    type Output = Height;
    #[inline(always)]
    fn run<D: Dot>(self, _: D) -> Height {
        Height { alone: D::TALL_ROWS, among: D::TILE_ROWS }
    }
}

/// Some rows of A, place by place of the depth.
#[derive(Clone)]
pub struct Band<'a> {
    /// Which rows.
    pub rows: Range<usize>,
    /// `[groups of the depth, rows]`, places [`stride`] apart.
    pub groups: &'a [u32],
    /// Of every row: what its integers are multiples of.
    pub scales: &'a [f32],
    /// Of every row: the integer that stands for 0.
    pub zeros: &'a [f32],
}

/// A band of A, a panel of B, and where their products go.
pub struct Tile<'a> {
    /// Rows of A; of their groups, those of this part of the depth.
    pub band: Band<'a>,
    /// `[groups, width]`
    pub panel: &'a [u32],
    /// Of the panel's columns.
    pub scales: &'a [f32],
    /// See `scales`.
    pub sums: &'a [i32],
    /// What the products are added to.
    pub start: Start<'a>,
    /// First value of C.
    pub c: *mut f32,
    /// Values between rows of C.
    pub c_stride: usize,
    /// Where panels stream from memory: how, what follows the panel, and which tile it is of those that multiply it.
    pub stream: Option<(&'a Stream, &'a [u32], usize)>,
}

/// How tiles that multiply one panel, which streams from memory, ask for as much memory as it has: a stretch ahead where the
/// panel is read once, else what follows it.
#[derive(Clone, Copy)]
pub struct Stream {
    /// Whether a panel is read only once.
    once: bool,
    /// Cache lines of a panel.
    lines: usize,
    /// That a tile asks for in [`UNROLL`] steps, and in all.
    each: usize,
    share: usize,
}

impl Stream {
    /// How far before it is needed memory is asked for, in groups.
    const DISTANCE: usize = 4096;

    /// For `tiles` tiles of `rows` rows and panels of so many groups.
    pub fn new<D: Dot>(groups: usize, tiles: usize, rows: usize) -> Self {
        let times = tiles * if rows > D::TILE_ROWS { D::TILE_VECTORS } else { 1 };
        let (length, steps) = (groups * width::<D>(), (groups / UNROLL).max(1));
        let lines = length * size_of::<u32>() / Ahead::LINE;
        let each = lines.div_ceil(steps * times);
        Self { once: times == 1, lines, each, share: steps * each }
    }

    /// What the time `index` that a tile reads the panel is to ask for.
    #[inline(always)]
    fn ahead(&self, panel: &[u32], next: &[u32], index: usize) -> Ahead {
        let first = index * self.share;
        let start = if self.once { panel.as_ptr().wrapping_add(Self::DISTANCE) } else { next.as_ptr() };
        let next = start.cast::<u8>().wrapping_add(first * Ahead::LINE);
        Ahead { next, lines: if first < self.lines { self.each } else { 0 } }
    }
}

/// Memory that is on its way from further caches while a tile multiplies. Addresses are hints: any will do.
#[derive(Clone, Copy)]
struct Ahead {
    /// Its first byte.
    next: *const u8,
    /// Cache lines to ask for in [`UNROLL`] steps.
    lines: usize,
}

impl Ahead {
    const LINE: usize = 64;

    /// Nothing.
    const NONE: Ahead = Ahead { next: std::ptr::null(), lines: 0 };

    #[inline(always)]
    fn fetch<S: Simd>(&mut self, s: S) {
        for _ in 0..self.lines {
            s.prefetch_far(self.next);
            self.next = self.next.wrapping_add(Self::LINE);
        }
    }
}

impl Tile<'_> {
    /// C = start + A · B.
    ///
    /// # Safety
    /// C is valid for reads and writes of a panel's width in each of the band's rows, and nothing else reaches them
    /// meanwhile.
    #[inline(always)]
    pub unsafe fn multiply<D: Dot>(&self, d: D) {
        let (width, rows) = (width::<D>(), self.band.rows.len());
        assert!(self.panel.len().is_multiple_of(width) && self.scales.len() == width && self.sums.len() == width);
        assert!(self.band.groups.len() == self.panel.len() / width * stride(rows));
        assert!(self.band.scales.len() == rows && self.band.zeros.len() == rows);
        assert!(!matches!(self.start, Start::Bias(bias) if bias.len() != width));
        // SAFETY: the lengths above, and the caller's promise.
        unsafe {
            match D::TILE_VECTORS {
                1 => self.of_height::<D, 1>(d, rows),
                2 => self.of_height::<D, 2>(d, rows),
                _ => self.of_height::<D, 4>(d, rows),
            }
        }
    }

    /// # Safety
    /// As for [`Tile::multiply`], with the lengths it checks.
    #[inline(always)]
    unsafe fn of_height<D: Dot, const VECTORS: usize>(&self, d: D, rows: usize) {
        let share = |part: usize, parts: usize| match self.stream {
            Some((stream, next, index)) => stream.ahead(self.panel, next, index * parts + part),
            None => Ahead::NONE,
        };
        macro_rules! heights {
            (all $($wide:literal)*, one $($tall:literal)*) => {
                match rows {
                    // SAFETY: the caller's promise. The guards remove tiles too high for the registers.
                    $($wide if $wide <= D::TILE_ROWS => unsafe {
                        self.run::<D, VECTORS, $wide>(d, 0, share(0, 1))
                    },)*
                    // One vector of columns after the other, each of which leaves room for more rows.
                    $($tall if $tall > D::TILE_ROWS && $tall <= D::TALL_ROWS => for vector in 0..VECTORS {
                        // SAFETY: as above.
                        unsafe { self.run::<D, 1, $tall>(d, vector, share(vector, VECTORS)) }
                    },)*
                    other => debug_assert!(false, "tile of {other} rows"),
                }
            };
        }
        heights!(all 1 2 3 4 5 6 7 8 9 10 11 12, one 5 6 7 8 13 14 15 16)
    }

    /// The columns of `VECTORS` vectors from `vector` on.
    ///
    /// # Safety
    /// As for [`Tile::of_height`], with `ROWS` rows; the vectors are within a panel.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // of registers, which iterators would put into memory
    unsafe fn run<D: Dot, const VECTORS: usize, const ROWS: usize>(&self, d: D, vector: usize, mut ahead: Ahead) {
        let (s, lanes) = (d.simd(), <D::Simd as Simd>::LANES);
        // Apart from the loops over sums: only small ones without another way out are unrolled whole and stay in registers.
        let (mut scales, mut zeros) = ([0.0; ROWS], [0; ROWS]);
        for r in 0..ROWS {
            (scales[r], zeros[r]) = (self.band.scales[r], self.band.zeros[r] as i32);
        }
        let first = vector * lanes;
        // SAFETY: the band, the panel, the scales, the sums and the bias have the lengths that `multiply` checked.
        unsafe {
            let mut sums = [[d.start(0, self.sums.as_ptr()); VECTORS]; ROWS];
            for v in 0..VECTORS {
                let column_sums = self.sums.as_ptr().add(first + v * lanes);
                for r in 0..ROWS {
                    sums[r][v] = d.start(zeros[r], column_sums);
                }
            }
            let (mut band, mut panel) = (self.band.groups.as_ptr(), self.panel.as_ptr().add(first));
            let groups = self.panel.len() / width::<D>();
            let mut later = (groups / UNROLL).min(NEAR / UNROLL);
            let mut now = groups / UNROLL - later;
            loop {
                for _ in 0..now {
                    ahead.fetch(s);
                    // Spelled out: a loop here is unrolled too late for the sums to stay in registers.
                    Self::step::<D, VECTORS, ROWS>(d, band, 0, panel, &mut sums);
                    Self::step::<D, VECTORS, ROWS>(d, band, 1, panel, &mut sums);
                    Self::step::<D, VECTORS, ROWS>(d, band, 2, panel, &mut sums);
                    Self::step::<D, VECTORS, ROWS>(d, band, 3, panel, &mut sums);
                    (band, panel) = (band.add(UNROLL * const { stride(ROWS) }), panel.add(UNROLL * width::<D>()));
                }
                if later == 0 {
                    break;
                }
                (now, later) = (later, 0);
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        s.prefetch_near(self.c.wrapping_add(r * self.c_stride + first + v * lanes).cast());
                    }
                }
            }
            for step in 0..groups % UNROLL {
                Self::step::<D, VECTORS, ROWS>(d, band, step, panel, &mut sums);
            }
            let mut bias = [s.zero(); VECTORS];
            if let Start::Bias(values) = self.start {
                for (v, bias) in bias.iter_mut().enumerate() {
                    *bias = s.load_ptr(values.as_ptr().add(first + v * lanes));
                }
            }
            // Two loops without a choice: in one with it the sums would have to be in memory.
            if matches!(self.start, Start::Held) {
                for v in 0..VECTORS {
                    let column_scales = self.scales.as_ptr().add(first + v * lanes);
                    for r in 0..ROWS {
                        let c = self.c.add(r * self.c_stride + first + v * lanes);
                        let value = d.values(sums[r][v], scales[r], column_scales);
                        s.store_ptr(c, s.add(s.load_ptr(c), value));
                    }
                }
            } else {
                for v in 0..VECTORS {
                    let column_scales = self.scales.as_ptr().add(first + v * lanes);
                    for r in 0..ROWS {
                        let c = self.c.add(r * self.c_stride + first + v * lanes);
                        s.store_ptr(c, s.add(bias[v], d.values(sums[r][v], scales[r], column_scales)));
                    }
                }
            }
        }
    }

    /// Adds group k of the band's rows times group k of the panel to every sum.
    ///
    /// # Safety
    /// k is below the number of groups of each row and of the panel.
    #[inline(always)]
    unsafe fn step<D: Dot, const VECTORS: usize, const ROWS: usize>(
        d: D,
        band: *const u32,
        k: usize,
        panel: *const u32,
        sums: &mut [[D::Sum; VECTORS]; ROWS],
    ) {
        let lanes = <D::Simd as Simd>::LANES;
        // SAFETY: the caller's promise.
        unsafe {
            let (band, panel) = (band.add(k * const { stride(ROWS) }), panel.add(k * width::<D>()));
            let mut b = [d.right(panel); VECTORS];
            for (v, b) in b.iter_mut().enumerate().skip(1) {
                *b = d.right(panel.add(v * lanes));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = d.left(band.add(row));
                for v in 0..VECTORS {
                    sums[v] = d.step(a, b[v], sums[v]);
                }
            }
        }
    }
}

/// Steps of depth between two tests for the end.
const UNROLL: usize = 4;

/// Steps before the end at which the lines of C are asked for: later they would not be there in time, earlier the panel would
/// have passed through the nearest cache in between.
const NEAR: usize = 64;
