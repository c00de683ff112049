//! Inverted dropout whose masks are computed from counters and never stored (Srivastava et al. 2014).
//!
//!   y[r, c] = x[r, c] · m[r, c] / (1 − p),  m ∈ {0, 1},  m = 0 with probability p
//!
//! m comes from Philox4x32-10 (Salmon et al. 2011), a bijection of 128-bit counters under a 64-bit key: a row's mask
//! depends on the row's own number, the place in the model and the step, and on nothing that ran before. Whoever needs a
//! mask again, as the gradient does, computes it again.

#[cfg(feature = "cuda")]
mod cuda;

use std::ops::Range;

use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// Where and when values are dropped, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of the values that become zero, in `0.0..1.0`.
    pub probability: f32,
    /// The generator's key, low half first.
    pub seed: u64,
    /// Step of the training.
    pub step: u32,
    /// Place in the model.
    pub site: u32,
}

impl Dropout {
    /// An error unless the probability is in `0.0..1.0`.
    pub fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.probability) {
            return Ok(());
        }
        Err(Error::argument(format!("dropout probability {}, need 0 or more and less than 1", self.probability)))
    }

    /// The number that stands for row `row` in the counters.
    pub fn row_id(row: usize) -> Result<u32> {
        u32::try_from(row).map_err(|_| Error::internal(format!("dropout: row {row}, at most {}", u32::MAX)))
    }
}

/// Dropout of a matrix: row `i` of it has the number `first_row + rows[i]`.
pub struct Mask<'a> {
    /// Where, when and how many.
    pub dropout: Dropout,
    /// One number a row.
    pub rows: &'a [usize],
    /// Added to every row number.
    pub first_row: usize,
}

/// What a device provides. Shapes, probabilities and row numbers are already checked.
pub trait Op: Device {
    /// Updates all of `x`.
    fn dropout_apply(&self, mask: &Mask<'_>, x: &mut Hidden<Self>) -> Result<()>;
}

/// x `[T, H]` ← x·m/(1 − p). Lane `c % 4` of philox(counter = [c / 4, row number, site, step]) decides on column `c`:
/// it is dropped when the lane is less than p·2³². The gradient of x is the same function of the gradient of the result.
pub fn apply<D: Op>(device: &D, mask: &Mask<'_>, x: &mut Hidden<D>) -> Result<()> {
    mask.dropout.check()?;
    if mask.rows.len() != x.rows() {
        return Err(Error::internal(format!("dropout: {} row numbers for {:?}", mask.rows.len(), x.shape())));
    }
    let last = mask.rows.iter().max().map_or(0, |&row| mask.first_row.saturating_add(row));
    Dropout::row_id(last)?;
    device.dropout_apply(mask, x)
}

/// Rows that one work item masks.
const ROWS: usize = 16;

impl Op for Cpu {
    fn dropout_apply(&self, mask: &Mask<'_>, x: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = x.shape();
        if rows == 0 || width == 0 || mask.dropout.probability == 0.0 {
            return Ok(());
        }
        let x = SharedRows::new(&mut x.buffer_mut().as_mut_slice()?[..rows * width], width);
        let draw = Draw::new(&mask.dropout, 0);
        self.for_each(rows.div_ceil(ROWS), |item| {
            for (row, number) in mask.rows.iter().enumerate().skip(item * ROWS).take(ROWS) {
                // SAFETY: every item has its own rows.
                let x = unsafe { x.row(row, 0, width) };
                self.isa().dispatch(Row { draw, row: (mask.first_row + number) as u32, x });
            }
        })
    }
}

struct Row<'a> {
    draw: Draw,
    row: u32,
    x: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.draw.multiply(s, self.row, self.x);
    }
}

/// The masks of one place at one step.
#[derive(Clone, Copy)]
pub(super) struct Draw {
    key: [u32; 2],
    site: u32,
    step: u32,
    /// Lanes below it drop their value.
    threshold: u32,
    /// 1/(1 − p): what stays is multiplied by it.
    scale: f32,
}

impl Draw {
    /// The masks of `dropout`, whose probability is checked. `part` tells apart what shares a site: it fills the upper
    /// half of the counter's third word.
    pub fn new(dropout: &Dropout, part: u16) -> Self {
        // A lane u is below the real number p·2³² exactly when it is below the next integer; p < 1 in f32 keeps that
        // within 32 bits.
        let threshold = (f64::from(dropout.probability) * (1u64 << 32) as f64).ceil() as u32;
        Self {
            key: [dropout.seed as u32, (dropout.seed >> 32) as u32],
            site: dropout.site | u32::from(part) << 16,
            step: dropout.step,
            threshold,
            scale: 1.0 / (1.0 - dropout.probability),
        }
    }

    /// Multiplies a row by its m/(1 − p).
    #[inline(always)]
    fn multiply<S: Simd>(&self, s: S, row: u32, values: &mut [f32]) {
        for (index, chunk) in values.chunks_mut(4 * COUNTERS).enumerate() {
            let mut groups = [(index * COUNTERS) as u32; COUNTERS];
            for (i, group) in groups.iter_mut().enumerate() {
                *group += i as u32;
            }
            let factors = self.factors([row; COUNTERS], groups);
            let whole = chunk.len() - chunk.len() % S::LANES;
            let (body, tail) = chunk.split_at_mut(whole);
            for (x, factor) in body.chunks_exact_mut(S::LANES).zip(factors.chunks_exact(S::LANES)) {
                let product = s.mul(s.load(x), s.load(factor));
                s.store(x, product);
            }
            for (x, factor) in tail.iter_mut().zip(&factors[whole..]) {
                *x *= factor;
            }
        }
    }

    /// `factors[i, j]` = m/(1 − p) of column `columns.start + j`, a multiple of 4, of row `first_row + rows[i]`.
    ///
    /// Rows of `factors` are `stride` apart, at least as many as there are columns when rounded up to a multiple of 4.
    #[inline(always)]
    pub fn fill(&self, rows: &[usize], first_row: usize, columns: Range<usize>, factors: &mut [f32], stride: usize) {
        let groups = columns.len().div_ceil(4);
        let first_group = (columns.start / 4) as u32;
        // Counters of all rows in one line, so that short rows do not leave lanes without work.
        let (mut index, mut group) = (0, 0);
        while index < rows.len() && groups > 0 {
            let (mut lane_rows, mut lane_groups, mut targets) = ([0; COUNTERS], [0; COUNTERS], [0; COUNTERS]);
            let mut lanes = 0;
            while lanes < COUNTERS && index < rows.len() {
                lane_rows[lanes] = (first_row + rows[index]) as u32;
                lane_groups[lanes] = first_group + group as u32;
                targets[lanes] = index * stride + 4 * group;
                lanes += 1;
                group += 1;
                if group == groups {
                    (index, group) = (index + 1, 0);
                }
            }
            let drawn = self.factors(lane_rows, lane_groups);
            for (quad, &target) in drawn.chunks_exact(4).zip(&targets[..lanes]) {
                factors[target..target + 4].copy_from_slice(quad);
            }
        }
    }

    /// m/(1 − p) of 4 columns for each counter, which names a row and a quarter of a column.
    #[inline(always)]
    fn factors(&self, rows: [u32; COUNTERS], groups: [u32; COUNTERS]) -> [f32; 4 * COUNTERS] {
        let words = scramble([groups, rows, [self.site; COUNTERS], [self.step; COUNTERS]], self.key);
        let mut factors = [0.0; 4 * COUNTERS];
        for i in 0..COUNTERS {
            for (lane, word) in words.iter().enumerate() {
                factors[4 * i + lane] = if word[i] < self.threshold { 0.0 } else { self.scale };
            }
        }
        factors
    }
}

/// Counters that go through the generator together: as many as the widest vectors have lanes.
const COUNTERS: usize = 16;

/// Philox4x32-10 of one counter.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    scramble(counter.map(|word| [word]), key).map(|[word]| word)
}

/// Philox4x32-10 of N counters, word by word, so that the compiler can keep a word of all of them in a vector.
#[inline(always)]
fn scramble<const N: usize>(mut words: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let mut next = [[0; N]; 4];
        for i in 0..N {
            let first = u64::from(words[0][i]) * 0xD251_1F53;
            let second = u64::from(words[2][i]) * 0xCD9E_8D57;
            next[0][i] = (second >> 32) as u32 ^ words[1][i] ^ key[0];
            next[1][i] = second as u32;
            next[2][i] = (first >> 32) as u32 ^ words[3][i] ^ key[1];
            next[3][i] = first as u32;
        }
        words = next;
        // Weyl sequences of the golden ratio and of √3 − 1.
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};

    const DROPOUT: Dropout = Dropout { probability: 0.3, seed: 0x0123_4567_89AB_CDEF, step: 7, site: 11 };

    /// The known answers of the Random123 distribution (`kat_vectors`, philox4x32 with 10 rounds).
    #[test]
    fn philox_gives_the_known_answers() {
        let ones = u32::MAX;
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    /// m/(1 − p) of one element, from its definition.
    fn factor(d: &Dropout, row: usize, column: usize) -> f32 {
        let key = [(d.seed & 0xFFFF_FFFF) as u32, (d.seed >> 32) as u32];
        let lane = philox([(column / 4) as u32, row as u32, d.site, d.step], key)[column % 4];
        let dropped = f64::from(lane) < f64::from(d.probability) * 4_294_967_296.0;
        if dropped { 0.0 } else { 1.0 / (1.0 - d.probability) }
    }

    #[test]
    fn every_element_is_decided_by_its_own_counter() {
        for cpu in oracle::cpus() {
            for width in [1, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 200] {
                for count in [0, 1, 16, 35] {
                    let rows: Vec<usize> = (0..count).map(|i| i * 3 + i % 2).collect();
                    let values = numbers(count * width, 1);
                    let mut x = Tensor::from_host(&cpu, &values, count, width).unwrap();
                    apply(&cpu, &Mask { dropout: DROPOUT, rows: &rows, first_row: 1000 }, &mut x).unwrap();
                    let expected: Vec<f32> = (0..count * width)
                        .map(|i| values[i] * factor(&DROPOUT, 1000 + rows[i / width], i % width))
                        .collect();
                    assert_eq!(x.to_host(&cpu).unwrap(), expected);
                }
            }
        }
    }

    /// Draws that start within a row and at a site's part are those of the whole row at that site.
    #[test]
    fn segments_are_cut_from_the_same_mask() {
        let site = DROPOUT.site | 5 << 16;
        let rows = [7, 8, 30];
        for (first, length) in [(0, 130usize), (4, 3), (128, 65), (0, 24), (8, 0)] {
            let stride = length.next_multiple_of(4) + 4;
            let mut factors = vec![f32::NAN; rows.len() * stride];
            Draw::new(&DROPOUT, 5).fill(&rows, 35, first..first + length, &mut factors, stride);
            let whole = Dropout { site, ..DROPOUT };
            for (row, factors) in rows.iter().zip(factors.chunks(stride)) {
                let expected: Vec<f32> = (first..first + length).map(|c| factor(&whole, 35 + row, c)).collect();
                assert_eq!(factors[..length], expected);
                assert!(factors[length.next_multiple_of(4)..].iter().all(|f| f.is_nan()));
            }
        }
    }

    #[test]
    fn the_share_that_is_dropped_is_the_probability_and_the_mean_stays() {
        let cpu = Cpu::new(1).unwrap();
        let (count, width) = (256, 1024);
        let rows: Vec<usize> = (0..count).collect();
        for probability in [0.0, 0.1, 0.5, 0.9] {
            let mut x = Tensor::from_host(&cpu, &vec![1.0; count * width], count, width).unwrap();
            let dropout = Dropout { probability, ..DROPOUT };
            apply(&cpu, &Mask { dropout, rows: &rows, first_row: 0 }, &mut x).unwrap();
            let x = x.to_host(&cpu).unwrap();
            let (total, p) = (x.len() as f64, f64::from(probability));
            // five standard deviations of a binomial share
            let spread = 5.0 * (p * (1.0 - p) / total).sqrt();
            let dropped = x.iter().filter(|&&v| v == 0.0).count() as f64 / total;
            assert!((dropped - p).abs() <= spread, "{dropped} of {p}");
            let mean = oracle::wide(&x).iter().sum::<f64>() / total;
            // and 1e-6 for the factor's own rounding
            assert!((mean - 1.0).abs() <= spread / (1.0 - p) + 1e-6, "mean {mean} at {p}");
        }
    }

    #[test]
    fn what_makes_no_mask_is_refused() {
        let cpu = Cpu::new(1).unwrap();
        let mut x = Tensor::zeros(&cpu, 2, 3).unwrap();
        for probability in [1.0, -0.1, f32::NAN] {
            let dropout = Dropout { probability, ..DROPOUT };
            assert!(apply(&cpu, &Mask { dropout, rows: &[0, 1], first_row: 0 }, &mut x).is_err());
        }
        assert!(apply(&cpu, &Mask { dropout: DROPOUT, rows: &[0], first_row: 0 }, &mut x).is_err());
        assert!(apply(&cpu, &Mask { dropout: DROPOUT, rows: &[0, 1], first_row: u32::MAX as usize }, &mut x).is_err());
    }
}
