//! `y[target] += x[source]` for pairs in which targets repeat: what the gradients of gathered and of embedded rows have
//! in common.

use super::Accumulate;
use super::shared::SharedRows;
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::simd::{Kernel, Simd};

/// Columns of one work item.
const COLUMNS: usize = 256;
/// Rows that are added up before they meet what is there: a row that thousands share keeps its small contributions.
const RUN: usize = 64;

/// Adds x's row `source` to y's row `target` for every pair `(target, source)`. Widths agree and rows exist: the
/// caller has checked.
///
/// Pairs are sorted, so a row of y is one work item's, and its sum runs in the order of the sources.
pub fn add(cpu: &Cpu, mut pairs: Vec<(usize, usize)>, x: &Tensor<Cpu>, y: Accumulate<'_, Cpu>) -> Result<()> {
    let (rows, width) = y.0.shape();
    if width == 0 {
        return Ok(());
    }
    pairs.sort_unstable();
    let groups: Vec<&[(usize, usize)]> = pairs.chunk_by(|a, b| a.0 == b.0).collect();
    let x = x.buffer().as_slice();
    let y = SharedRows::new(&mut y.0.buffer_mut().as_mut_slice()?[..rows * width], width);
    let blocks = width.div_ceil(COLUMNS);
    cpu.for_each(groups.len() * blocks, |item| {
        let (group, first) = (groups[item / blocks], item % blocks * COLUMNS);
        // SAFETY: groups have different targets and blocks different columns.
        let y = unsafe { y.row(group[0].0, first, COLUMNS.min(width - first)) };
        cpu.isa().dispatch(Group { group, x, width, first, y });
    })
}

/// The sum of one target's sources, over some columns.
struct Group<'a> {
    group: &'a [(usize, usize)],
    x: &'a [f32],
    width: usize,
    first: usize,
    y: &'a mut [f32],
}

impl Kernel for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.y.len();
        let mut buffer = [0.0; COLUMNS];
        let sum = &mut buffer[..count];
        for run in self.group.chunks(RUN) {
            sum.fill(0.0);
            for (_, source) in run {
                add_to(s, &self.x[source * self.width + self.first..][..count], sum);
            }
            add_to(s, sum, self.y);
        }
    }
}

/// y += x
#[inline(always)]
pub fn add_to<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    let whole = y.len() - y.len() % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let sum = s.add(s.load(&y[i..]), s.load(&x[i..]));
        s.store(&mut y[i..], sum);
    }
    for i in whole..y.len() {
        y[i] += x[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};

    #[test]
    fn shared_rows_are_summed_precisely_and_alike_on_any_threads() {
        let (sources, width) = (5_000, COLUMNS + 9);
        // One target takes half of the sources, 40 the rest.
        let pairs: Vec<_> = (0..sources).map(|r| (if r % 2 == 0 { 3 } else { 4 + r % 41 }, r)).collect();
        let (x, held) = (numbers(sources * width, 1), numbers(50 * width, 2));
        let mut expected = oracle::wide(&held);
        for &(target, source) in &pairs {
            for i in 0..width {
                expected[target * width + i] += f64::from(x[source * width + i]);
            }
        }
        let mut before = None;
        for cpu in oracle::cpus() {
            let x = Tensor::from_host(&cpu, &x, sources, width).unwrap();
            let mut y = Tensor::from_host(&cpu, &held, 50, width).unwrap();
            add(&cpu, pairs.iter().rev().copied().collect(), &x, Accumulate(&mut y)).unwrap();
            let y = y.to_host(&cpu).unwrap();
            // 40 runs of 64 values: sums near 100 at most, rounded 40 times, and of 10 within a run
            oracle::close(&y, &expected, 1e-4);
            assert_eq!(*before.get_or_insert(y.clone()), y);
        }
    }
}
