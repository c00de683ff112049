//! y = f(x Wᵀ + b) with W stored as `[N, K]`, HuggingFace's order, in whatever type the file holds.
//!
//! Several layers that read the same rows (query, key and value) run as one: their outputs lie side by side in y.

use super::activation::{self, Activation};
use super::gemm::{self, DEPTH, MAX_WIDTH, Panel, Rows, Source, Start};
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
        let panels: Vec<(usize, usize, usize)> = panels(layers, width).collect();
        // Panels alone feed the threads where there are enough of them; otherwise rows are cut as well.
        let wanted = (4 * self.threads()).div_ceil(panels.len().max(1));
        let cut = rows.div_ceil(wanted.min(rows.div_ceil(32)));
        let cuts = rows.div_ceil(cut);
        let x = &x.buffer().as_slice()[..rows * depth];
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * stride], stride);
        self.for_each(panels.len() * cuts, |item| {
            let (layer, panel, column) = panels[item / cuts];
            let first = (item % cuts) * cut;
            let stripe = Stripe {
                x: &x[first * depth..],
                depth,
                bias: layers[layer].bias.map(|b| &b.buffer().as_slice()[panel..]),
                activation,
                y: &y,
                rows: (first, cut.min(rows - first)),
                columns: (column, width.min(layers[layer].weight.shape().0 - panel)),
            };
            match layers[layer].weight {
                Weight::F32(w) => self.isa().dispatch((stripe, &w.buffer().as_slice()[panel * depth..])),
                Weight::F16(w) => self.isa().dispatch((stripe, &w.buffer().as_slice()[panel * depth..])),
                Weight::Bf16(w) => self.isa().dispatch((stripe, &w.buffer().as_slice()[panel * depth..])),
            }
        })
    }
}

/// (layer, first output within it, column of y) of every panel.
fn panels(layers: &[Linear<'_, Cpu>], width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut column = 0;
    layers.iter().enumerate().flat_map(move |(index, layer)| {
        let (outputs, start) = (layer.weight.shape().0, column);
        column += outputs;
        (0..outputs).step_by(width).map(move |first| (index, first, start + first))
    })
}

struct Width;

impl Kernel for Width {
    type Output = usize;
    fn run<S: Simd>(self, _: S) -> usize {
        gemm::width::<S>()
    }
}

/// One panel's columns of y for a run of rows.
struct Stripe<'a> {
    /// From the first row on.
    x: &'a [f32],
    depth: usize,
    bias: Option<&'a [f32]>,
    activation: Activation,
    y: &'a SharedRows<'a>,
    /// First row and count.
    rows: (usize, usize),
    /// First column of y and count, at most the panel's width.
    columns: (usize, usize),
}

impl<E: Source> Kernel for (Stripe<'_>, &[E]) {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (stripe, weight) = self;
        if stripe.columns.1 == gemm::width::<S>() { stripe.whole(s, weight) } else { stripe.edge(s, weight) }
    }
}

impl Stripe<'_> {
    /// All columns of the panel exist: sums are held in y between blocks of depth.
    #[inline(always)]
    fn whole<S: Simd, E: Source>(&self, s: S, weight: &[E]) {
        let width = gemm::width::<S>();
        let mut panel = Panel::new();
        for (block, from) in (0..self.depth.max(1)).step_by(DEPTH).enumerate() {
            let depth = DEPTH.min(self.depth - from);
            gemm::pack_rows(s, &weight[from..], self.depth, width, depth, &mut panel);
            let start = match (block, self.bias) {
                (0, Some(bias)) => Start::Bias(bias),
                (0, None) => Start::Zero,
                _ => Start::Held,
            };
            let last = from + depth == self.depth;
            // SAFETY: every stripe has its own rows and columns of y, within y's shape; x holds `rows.1` rows
            // of `self.depth` from its start; the panel was just packed to `depth` rows.
            unsafe {
                let c = self.y.at(self.rows.0, self.columns.0);
                let rows = Rows {
                    count: self.rows.1,
                    a: self.x.as_ptr().add(from),
                    a_stride: self.depth,
                    c,
                    c_stride: self.y.stride(),
                };
                gemm::multiply(s, rows, depth, panel.as_ptr(), start, |first, count| {
                    if last && self.activation != Activation::Identity {
                        for row in first..first + count {
                            let y = std::slice::from_raw_parts_mut(c.add(row * self.y.stride()), width);
                            activation::apply_row(s, self.activation, y);
                        }
                    }
                });
            }
        }
    }

    /// Fewer columns than the panel has: sums are held in a block of its own, a few rows at a time.
    #[inline(always)]
    fn edge<S: Simd, E: Source>(&self, s: S, weight: &[E]) {
        const ROWS: usize = 32;
        let (width, columns) = (gemm::width::<S>(), self.columns.1);
        let mut panel = Panel::new();
        let mut bias = [0.0; MAX_WIDTH];
        if let Some(given) = self.bias {
            bias[..columns].copy_from_slice(&given[..columns]);
        }
        for first in (0..self.rows.1).step_by(ROWS) {
            let count = ROWS.min(self.rows.1 - first);
            let mut sums = [0.0; ROWS * MAX_WIDTH];
            for from in (0..self.depth.max(1)).step_by(DEPTH) {
                let depth = DEPTH.min(self.depth - from);
                gemm::pack_rows(s, &weight[from..], self.depth, columns, depth, &mut panel);
                let start = if from == 0 { Start::Bias(&bias) } else { Start::Held };
                // SAFETY: `sums` has room for ROWS rows of MAX_WIDTH; x holds `rows.1` rows of `self.depth`; the panel
                // was just packed to `depth` rows.
                unsafe {
                    let rows = Rows {
                        count,
                        a: self.x.as_ptr().add(first * self.depth + from),
                        a_stride: self.depth,
                        c: sums.as_mut_ptr(),
                        c_stride: width,
                    };
                    gemm::multiply(s, rows, depth, panel.as_ptr(), start, |_, _| ());
                }
            }
            for row in 0..count {
                let values = &mut sums[row * width..][..columns];
                activation::apply_row(s, self.activation, values);
                // SAFETY: every stripe has its own rows and columns of y.
                unsafe { self.y.row(self.rows.0 + first + row, self.columns.0, columns) }.copy_from_slice(values);
            }
        }
    }
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
