//! Kernels that several operations have in common, and how they are started.

use std::ops::Range;

use super::Accumulate;
use crate::device::cuda::{Args, Cuda, CudaBuffer, Family, Grid, Kernel, family};
use crate::device::{Device, Hidden};
use crate::dtype::Scalar;
use crate::error::{Error, Result};

/// What happens to every number, or to every row as a whole, by itself.
pub static POINTWISE: Family = family!("pointwise");

/// Losses and what they need of rows of logits.
pub static LOSSES: Family = family!("losses");

/// Blocks of 256 threads, each of which takes `each` of `count` numbers.
pub fn numbers(count: usize, each: usize) -> Grid {
    Grid::covering(count.div_ceil(each), 256)
}

/// Blocks of four warps, a warp a row.
pub fn warps(rows: usize) -> Grid {
    Grid::line(rows.div_ceil(4), 128)
}

/// Numbers of `dtype` that fit 16 bytes.
pub fn lanes<E: Scalar>(buffer: &CudaBuffer<E>) -> usize {
    16 / buffer.dtype().size()
}

/// Sums in f64 that a kernel leaves in parts.
pub struct Parts {
    buffer: CudaBuffer<f32>,
    /// Lists that are summed each by itself.
    lists: usize,
    /// Parts of a list.
    count: usize,
}

impl Parts {
    /// Room for `lists` lists of `count` parts each, one list after the other.
    pub fn new(device: &Cuda, lists: usize, count: usize) -> Result<Self> {
        // an f64 in the place of two f32
        Ok(Self { buffer: device.alloc(2 * lists * count)?, lists, count })
    }

    /// Where part `at` of the first list lies; the following parts come after it.
    pub fn pointer(&mut self, at: usize) -> u64 {
        self.buffer.pointer_mut() + 8 * at as u64
    }

    /// The sum of each list, by `kernel`, once all parts are written. Waits for the device.
    pub fn sum(&self, device: &Cuda, kernel: &Kernel) -> Result<Vec<f64>> {
        if self.lists * self.count == 0 {
            return Ok(vec![0.0; self.lists]);
        }
        let mut sums = device.alloc::<f32>(2 * self.lists)?;
        let args = Args::new().read(&self.buffer).size(self.count).write(&mut sums);
        // SAFETY: a block a list reads its `count` parts, all of them in `buffer`, and writes the list's place in `sums`;
        // 1,024 threads keep an f64 a warp in shared memory.
        unsafe { device.launch(kernel, Grid::line(self.lists, 1024).with_shared(256), args)? };
        let mut halves = vec![0.0f32; 2 * self.lists];
        device.download(&sums, &mut halves)?;
        let wide = |pair: &[f32]| f64::from_bits(u64::from(pair[0].to_bits()) | u64::from(pair[1].to_bits()) << 32);
        Ok(halves.chunks_exact(2).map(wide).collect())
    }
}

/// Copies row `from[i]` of `x` to row `to[i]` of `y`; row i itself stands for an absent list.
///
/// # Safety
/// There are `count` rows in each list; they lie within the matrices, and those of `to` are distinct. Both are of one width.
pub unsafe fn copy_rows(
    device: &Cuda,
    x: &Hidden<Cuda>,
    from: Option<&[usize]>,
    to: Option<&[usize]>,
    count: usize,
    y: &mut Hidden<Cuda>,
) -> Result<()> {
    let bytes = x.cols() * x.buffer().dtype().size();
    if bytes == 0 {
        return Ok(());
    }
    let (name, unit) = match bytes {
        bytes if bytes.is_multiple_of(16) => ("copy_rows_16", 16),
        bytes if bytes.is_multiple_of(4) => ("copy_rows_4", 4),
        _ => ("copy_rows_2", 2),
    };
    let indices = |rows: Option<&[usize]>| rows.map(|rows| device.indices(rows)).transpose();
    let (from, to) = (indices(from)?, indices(to)?);
    let args = Args::new()
        .read(x.buffer())
        .pointer(from.as_ref().map_or(0, |from| from.pointer()))
        .pointer(to.as_ref().map_or(0, |to| to.pointer()))
        .write(y.buffer_mut())
        .size(count)
        .size(bytes / unit);
    // SAFETY: rows lie within the matrices by the caller's promise; buffers start at multiples of 256 bytes, so that rows
    // start at multiples of the unit, which divides their length.
    unsafe { device.launch(&Kernel::new(&POINTWISE, name), warps(count), args) }
}

/// Names and outputs of a scatter's two kernels.
pub struct Scatter<'a> {
    /// Adds up runs.
    pub runs: Kernel,
    /// Adds up the parts of targets that have several runs.
    pub parts: Kernel,
    /// Pairs of target and source.
    pub pairs: Vec<(usize, usize)>,
    /// Rows of the sources.
    pub x: &'a Hidden<Cuda>,
}

/// Sources of a run: as many as one block adds up in turn.
const RUN: usize = 64;
/// In the place of a part's number: the run is its target's only one.
const NO_PART: usize = u32::MAX as usize;

impl Scatter<'_> {
    /// Adds row `source` of `x` to row `target` of `y` for every pair. Sums run in the order of the sources.
    ///
    /// # Safety
    /// Rows lie within the matrices, which are of one width. The kernels are `scatter_runs` and `scatter_parts` of
    /// `kernels/scatter.cuh` for the types of `x` and `y`.
    pub unsafe fn add<E: Scalar>(mut self, device: &Cuda, y: Accumulate<'_, Cuda, E>) -> Result<()> {
        let width = self.x.cols();
        if width == 0 || self.pairs.is_empty() {
            return Ok(());
        }
        self.pairs.sort_unstable();
        let Lists { numbers, runs, targets, parts } = Lists::of(&self.pairs);
        let lists = device.indices(&numbers)?;
        let at = |place: usize| lists.pointer() + 4 * place as u64;
        let mut sums = device.alloc::<f32>(parts * width)?;
        let args = Args::new()
            .read(self.x.buffer())
            .pointer(lists.pointer())
            .pointer(at(runs.start))
            .size(width)
            .write(y.0.buffer_mut())
            .write(&mut sums);
        let lanes = if width.is_multiple_of(lanes(self.x.buffer())) { lanes(self.x.buffer()) } else { 1 };
        let threads = width.div_ceil(lanes).next_multiple_of(32).min(128) as u32;
        // SAFETY: a block a run reads sources and targets within the matrices by the caller's promise, and writes the row
        // of a target that no other run has, or its own row of `sums`.
        unsafe { device.launch(&self.runs, Grid::line(runs.len() / 4, threads), args)? };
        let columns = width.div_ceil(32);
        let grid = Grid { blocks: [targets.len() / 3, columns, 1], threads: 256, shared: 1024 };
        let args = Args::new().read(&sums).pointer(at(targets.start)).size(width).write(y.0.buffer_mut());
        // SAFETY: every entry names a target within `y` and its parts within `sums`; 256 threads keep an f32 each in shared
        // memory.
        unsafe { device.launch(&self.parts, grid, args) }
    }
}

/// What `kernels/scatter.cuh` needs to know of sorted pairs, in one list.
struct Lists {
    /// Sources, runs and targets, one after the other.
    numbers: Vec<usize>,
    /// Where the runs lie: target, first source and end, part.
    runs: Range<usize>,
    /// Where targets of several runs lie: target, first part and end.
    targets: Range<usize>,
    /// Number of parts.
    parts: usize,
}

impl Lists {
    fn of(pairs: &[(usize, usize)]) -> Self {
        let (mut runs, mut targets, mut parts, mut first) = (Vec::new(), Vec::new(), 0, 0);
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let (target, end) = (group[0].0, first + group.len());
            if group.len() <= RUN {
                runs.extend([target, first, end, NO_PART]);
            } else {
                let before = parts;
                for start in (first..end).step_by(RUN) {
                    runs.extend([target, start, end.min(start + RUN), parts]);
                    parts += 1;
                }
                targets.extend([target, before, parts]);
            }
            first = end;
        }
        let mut numbers: Vec<usize> = pairs.iter().map(|&(_, source)| source).collect();
        let runs_at = numbers.len();
        let targets_at = runs_at + runs.len();
        numbers.extend(runs);
        numbers.extend(targets);
        Self { runs: runs_at..targets_at, targets: targets_at..numbers.len(), parts, numbers }
    }
}

/// Columns of a row for which a warp is enough.
const NARROW: usize = 1024;

/// Kernel and grid for rows of logits: `names` is the one with a warp a row, and the one with a block a row. Chosen by
/// width alone, so that a row's numbers do not depend on its company.
pub fn logits(logits: &Hidden<Cuda>, names: [&'static str; 2]) -> (Kernel, Grid) {
    let (rows, width) = logits.shape();
    let dtype = logits.buffer().dtype();
    if width <= NARROW {
        return (Kernel::of(&LOSSES, names[0], dtype), warps(rows));
    }
    // an f64, or two f32, a warp
    (Kernel::of(&LOSSES, names[1], dtype), Grid::line(rows, 512).with_shared(128))
}

/// The losses of values that are each by itself, by kernel `name`: their sum, and where asked for, the gradient, a factor
/// times the slope.
///
/// There are as many targets as logits, and the gradient is of the logits' shape.
pub fn value_losses(
    device: &Cuda,
    name: &'static str,
    logits: &Hidden<Cuda>,
    targets: &[f32],
    gradient: Option<(f32, &mut Hidden<Cuda>)>,
) -> Result<f64> {
    let count = logits.rows() * logits.cols();
    if targets.len() != count {
        return Err(Error::internal(format!("{name}: {} targets of {count}", targets.len())));
    }
    let blocks = count.div_ceil(1024);
    let mut parts = Parts::new(device, 1, blocks)?;
    let targets = device.upload(targets)?;
    let (scale, gradient) = gradient.map_or((0.0, None), |(scale, gradient)| (scale, Some(gradient)));
    let args = Args::new()
        .read(logits.buffer())
        .read(&targets)
        .u64(f64::from(scale).to_bits())
        .write_or_null(gradient.map(Hidden::<Cuda>::buffer_mut))
        .pointer(parts.pointer(0))
        .u64(count as u64);
    let kernel = Kernel::of(&LOSSES, name, logits.buffer().dtype());
    // SAFETY: all three matrices hold `count` numbers (checked above and by the ops), there is a part a block, and 256
    // threads keep an f64 a warp in shared memory.
    unsafe { device.launch(&kernel, Grid::line(blocks, 256).with_shared(64), args)? };
    Ok(parts.sum(device, &Kernel::new(&LOSSES, "losses_total"))?[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_a_target_are_cut_into_runs() {
        let many = (0..130).map(|source| (7, source));
        let pairs: Vec<(usize, usize)> = [(2, 9)].into_iter().chain(many).chain([(8, 1), (8, 4)]).collect();
        let lists = Lists::of(&pairs);
        let sources: Vec<usize> = pairs.iter().map(|pair| pair.1).collect();
        assert_eq!(lists.numbers[..133], sources);
        let runs = [[2, 0, 1, NO_PART], [7, 1, 65, 0], [7, 65, 129, 1], [7, 129, 131, 2], [8, 131, 133, NO_PART]];
        assert_eq!(lists.numbers[lists.runs.clone()], runs.concat());
        assert_eq!(lists.numbers[lists.targets.clone()], [7, 0, 3]);
        assert_eq!((lists.parts, lists.targets.end), (3, lists.numbers.len()));
        assert_eq!(Lists::of(&[]).parts, 0);
    }
}
