//! y = f(x Wᵀ + b) with W stored as `[N, K]`, HuggingFace's order, in whatever type the file holds.
//!
//! Several layers that read the same rows (query, key and value) run as one: their outputs lie side by side in y.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::activation::Activation;
use super::gemm::{self, Ahead, DEPTH, MAX_WIDTH, Rows, Source, Start};
use super::shared::SharedRows;
use crate::device::{Cpu, Device, Tensor};
use crate::dtype::{DType, bf16, f16};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// A weight matrix `[N, K]` in its storage type.
pub enum Weight<D: Device> {
    /// 32-bit.
    F32(Tensor<D, f32>),
    /// 16-bit, IEEE.
    F16(Tensor<D, f16>),
    /// 16-bit, upper half of an f32.
    Bf16(Tensor<D, bf16>),
}

impl<D: Device> Weight<D> {
    /// `(N, K)`.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Weight::F32(w) => w.shape(),
            Weight::F16(w) => w.shape(),
            Weight::Bf16(w) => w.shape(),
        }
    }

    /// Storage type.
    pub fn dtype(&self) -> DType {
        match self {
            Weight::F32(_) => DType::F32,
            Weight::F16(_) => DType::F16,
            Weight::Bf16(_) => DType::Bf16,
        }
    }
}

/// A linear layer K → N.
pub struct Linear<'a, D: Device> {
    /// `[N, K]`
    pub weight: &'a Weight<D>,
    /// `[1, N]`
    pub bias: Option<&'a Tensor<D>>,
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn linear_forward(
        &self,
        x: &Tensor<Self>,
        layers: &[Linear<'_, Self>],
        activation: Activation,
        y: &mut Tensor<Self>,
    ) -> Result<()>;
}

/// y `[T, ΣN]` = f(x Wᵀ + b) for each of `layers`, side by side. `y` takes that shape.
pub fn forward<D: Op>(
    device: &D,
    x: &Tensor<D>,
    layers: &[Linear<'_, D>],
    activation: Activation,
    y: &mut Tensor<D>,
) -> Result<()> {
    for layer in layers {
        let (n, k) = layer.weight.shape();
        if k != x.cols() {
            return Err(Error::internal(format!("linear: weight [{n}, {k}] on rows of {}", x.cols())));
        }
        if let Some(bias) = layer.bias
            && bias.shape() != (1, n)
        {
            return Err(Error::internal(format!("linear: bias {:?} for {n} outputs", bias.shape())));
        }
    }
    y.reshape(device, x.rows(), layers.iter().map(|l| l.weight.shape().0).sum())?;
    device.linear_forward(x, layers, activation, y)
}

impl Op for Cpu {
    fn linear_forward(
        &self,
        x: &Tensor<Cpu>,
        layers: &[Linear<'_, Cpu>],
        activation: Activation,
        y: &mut Tensor<Cpu>,
    ) -> Result<()> {
        let (rows, depth) = x.shape();
        let stride = y.cols();
        if rows == 0 {
            return Ok(());
        }
        let width = self.isa().dispatch(Width);
        let items = items(rows, layers, width, self.threads());
        let x = &x.buffer().as_slice()[..rows * depth];
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * stride], stride);
        let multiply = |item: &Item| -> Result<()> {
            let Item { rows, layer: index, outputs, column } = item;
            let layer = &layers[*index];
            let mut scratch = self.alloc((DEPTH.min(depth) + rows.len()) * MAX_WIDTH)?;
            let block = Block {
                x: &x[rows.start * depth..rows.end * depth],
                depth,
                bias: layer.bias.map(|b| &b.buffer().as_slice()[outputs.clone()]),
                activation,
                y: &y,
                row: rows.start,
                column: *column,
                scratch: scratch.as_mut_slice()?,
            };
            let weights = outputs.start * depth..outputs.end * depth;
            match layer.weight {
                Weight::F32(w) => self.isa().dispatch((block, &w.buffer().as_slice()[weights])),
                Weight::F16(w) => self.isa().dispatch((block, &w.buffer().as_slice()[weights])),
                Weight::Bf16(w) => self.isa().dispatch((block, &w.buffer().as_slice()[weights])),
            }
            Ok(())
        };
        let failure = Mutex::new(Ok(()));
        self.for_each(items.len(), |item| {
            if let Err(error) = multiply(&items[item]) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        })?;
        failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of x in one work item at most: with [`DEPTH`] columns they about fill a second-level cache, and rearranging a
/// panel of weights costs little beside multiplying it by so many rows.
const ROWS: usize = 192;

/// Panels in one work item at most: while they are multiplied, the rows of x stay in the second-level cache.
const PANELS: usize = 12;

/// Some rows of x and neighbouring outputs of one layer.
struct Item {
    rows: Range<usize>,
    layer: usize,
    outputs: Range<usize>,
    /// Of y, where the first output goes.
    column: usize,
}

/// Cuts the work at multiples of [`ROWS`] or fewer rows and of `width` outputs. Items of the same rows follow each other,
/// so that a thread finds them in its cache; items shrink towards the end, so that no thread waits long for another.
fn items(rows: usize, layers: &[Linear<'_, Cpu>], width: usize, threads: usize) -> Vec<Item> {
    let cut = rows.div_ceil(rows.div_ceil(ROWS));
    let panels: usize = layers.iter().map(|l| l.weight.shape().0.div_ceil(width)).sum();
    let (mut items, mut left) = (Vec::new(), panels * rows.div_ceil(cut));
    for start in (0..rows).step_by(cut) {
        let mut column = 0;
        for (layer, linear) in layers.iter().enumerate() {
            let outputs = linear.weight.shape().0;
            let mut first = 0;
            while first < outputs {
                let share = (left / (2 * threads)).clamp(1, PANELS);
                let end = outputs.min(first + share * width);
                let rows = start..rows.min(start + cut);
                items.push(Item { rows, layer, outputs: first..end, column: column + first });
                left -= (end - first).div_ceil(width);
                first = end;
            }
            column += outputs;
        }
    }
    items
}

struct Width;

impl Kernel for Width {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        gemm::width::<S>()
    }
}

/// Some rows of y and neighbouring columns of them.
struct Block<'a> {
    /// `[rows, depth]`
    x: &'a [f32],
    depth: usize,
    bias: Option<&'a [f32]>,
    activation: Activation,
    y: &'a SharedRows<'a>,
    /// First row and column of y.
    row: usize,
    column: usize,
    /// Room for a panel, and for one more of `rows` rows.
    scratch: &'a mut [f32],
}

impl<E: Source> Kernel for (Block<'_>, &[E]) {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (block, weight) = self;
        let width = gemm::width::<S>();
        let (depth, outputs) = (block.depth, weight.len() / block.depth);
        let rows = block.x.len() / depth;
        // Sums of a last panel that has fewer outputs than columns are held aside: y has no room for them.
        let (panel, aside) = block.scratch.split_at_mut(DEPTH.min(depth) * width);
        for from in (0..depth).step_by(DEPTH) {
            let part = DEPTH.min(depth - from);
            let last = from + part == depth;
            for first in (0..outputs).step_by(width) {
                let columns = width.min(outputs - first);
                gemm::pack_rows(s, &weight[first * depth + from..], depth, columns, part, panel);
                // The next panel of this block of depth, or the first of the next block.
                let (then, deeper) = match first + width < outputs {
                    true => (first + width, from),
                    false => (0, from + part),
                };
                let ahead = match deeper < depth {
                    true => Ahead::of(
                        &weight[then * depth + deeper..],
                        depth,
                        width.min(outputs - then),
                        DEPTH.min(depth - deeper),
                    ),
                    false => Ahead::NONE,
                };
                let bias = block.bias.map(|bias| &bias[first..first + columns]);
                let padded = padded(bias, columns, width);
                let start = match (from, bias) {
                    (0, Some(bias)) if columns == width => Start::Bias(bias),
                    (0, Some(_)) => Start::Bias(&padded),
                    (0, None) => Start::Zero,
                    _ => Start::Held,
                };
                // SAFETY: every work item has its own rows and columns of y, `columns` of them here, or `width` of each
                // row aside; x holds `rows` rows of `depth`; the panel was just packed to `part` rows.
                unsafe {
                    let (c, c_stride) = match columns == width {
                        true => (block.y.at(block.row, block.column + first), block.y.stride()),
                        false => (aside.as_mut_ptr(), width),
                    };
                    let tile = Rows { count: rows, a: block.x.as_ptr().add(from), a_stride: depth, c, c_stride };
                    let activation = if last { block.activation } else { Activation::Identity };
                    gemm::multiply(s, tile, part, panel.as_ptr(), start, activation, ahead);
                }
            }
        }
        let odd = outputs % width;
        if odd > 0 {
            for (row, values) in aside.chunks_exact(width).take(rows).enumerate() {
                // SAFETY: every work item has its own rows and columns of y.
                let y = unsafe { block.y.row(block.row + row, block.column + outputs - odd, odd) };
                y.copy_from_slice(&values[..odd]);
            }
        }
    }
}

/// The bias of a panel with fewer outputs than columns.
#[inline(always)]
fn padded(bias: Option<&[f32]>, columns: usize, width: usize) -> [f32; MAX_WIDTH] {
    let mut values = [0.0; MAX_WIDTH];
    if let (Some(bias), true) = (bias, columns < width) {
        values[..columns].copy_from_slice(bias);
    }
    values
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ArrayView2};

    use super::*;
    use crate::ops::oracle::{self, numbers};

    fn reference(x: ArrayView2<f64>, w: ArrayView2<f64>, b: Option<&[f64]>) -> Array2<f64> {
        let mut y = x.dot(&w.t());
        if let Some(b) = b {
            y += &ArrayView2::from_shape((1, b.len()), b).unwrap();
        }
        y
    }

    /// Forward of two layers side by side against the reference, for one shape.
    fn agrees(cpu: &Cpu, rows: usize, outputs: [usize; 2], depth: usize) {
        let x = numbers(rows * depth, 1);
        let w = outputs.map(|n| numbers(n * depth, 2));
        let b = numbers(outputs[0], 3);
        let tensor = |v: &[f32], r, c| Tensor::from_host(cpu, v, r, c).unwrap();
        let weights = [
            Weight::F32(tensor(&w[0], outputs[0], depth)),
            Weight::Bf16(
                Tensor::from_host(cpu, &w[1].iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>(), outputs[1], depth)
                    .unwrap(),
            ),
        ];
        let bias = tensor(&b, 1, outputs[0]);
        let mut y =
            Tensor::from_host(cpu, &vec![f32::NAN; rows * (outputs[0] + outputs[1])], rows, outputs[0] + outputs[1])
                .unwrap();
        let layers = [Linear { weight: &weights[0], bias: Some(&bias) }, Linear { weight: &weights[1], bias: None }];
        forward(cpu, &tensor(&x, rows, depth), &layers, Activation::Identity, &mut y).unwrap();
        let y = y.to_host(cpu).unwrap();

        let wide = |v: &[f32], r, c| Array2::from_shape_vec((r, c), v.iter().map(|&v| f64::from(v)).collect()).unwrap();
        let rounded: Vec<f32> = w[1].iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
        let first = reference(
            wide(&x, rows, depth).view(),
            wide(&w[0], outputs[0], depth).view(),
            Some(&b.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()),
        );
        let second = reference(wide(&x, rows, depth).view(), wide(&rounded, outputs[1], depth).view(), None);
        let stride = outputs[0] + outputs[1];
        for row in 0..rows {
            let expected = first.row(row).iter().chain(second.row(row)).copied().collect::<Vec<_>>();
            // `depth` roundings of sums that grow as √depth, each 2⁻²⁴ relative, mostly cancelling.
            oracle::close(&y[row * stride..][..stride], &expected, 2e-6 * (depth as f64).sqrt());
        }
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        for cpu in oracle::cpus() {
            for rows in [1, 2, 5, 6, 7, 12, 13, 40] {
                for (outputs, depth) in
                    [([1, 2], 1), ([15, 16], 7), ([17, 33], 8), ([32, 31], 255), ([48, 5], 257), ([64, 1], 768)]
                {
                    agrees(&cpu, rows, outputs, depth);
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_alone_and_in_company_and_on_any_number_of_threads() {
        let (outputs, depth) = (70, 600);
        let x = numbers(50 * depth, 4);
        let w = numbers(outputs * depth, 5);
        let run = |cpu: &Cpu, rows: usize| {
            let weight = Weight::F32(Tensor::from_host(cpu, &w, outputs, depth).unwrap());
            let x = Tensor::from_host(cpu, &x[..rows * depth], rows, depth).unwrap();
            let mut y = Tensor::new(cpu, 0, 0).unwrap();
            forward(cpu, &x, &[Linear { weight: &weight, bias: None }], Activation::GeluErf, &mut y).unwrap();
            y.to_host(cpu).unwrap()
        };
        for isa in crate::simd::Isa::available() {
            let all = run(&Cpu::with_isa(1, isa).unwrap(), 50);
            for threads in [1, 2, 7] {
                for rows in [1, 3, 11, 50] {
                    assert_eq!(run(&Cpu::with_isa(threads, isa).unwrap(), rows), all[..rows * outputs], "{isa:?}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_disagree_are_refused() {
        let cpu = Cpu::new(1).unwrap();
        let weight = Weight::F32(Tensor::from_host(&cpu, &[0.0; 6], 2, 3).unwrap());
        let x = Tensor::from_host(&cpu, &[0.0; 4], 1, 4).unwrap();
        let mut y = Tensor::new(&cpu, 0, 0).unwrap();
        let layer = [Linear { weight: &weight, bias: None }];
        assert!(forward(&cpu, &x, &layer, Activation::Identity, &mut y).is_err());
    }
}
