//! Low-rank adaptation of a frozen linear layer (Hu et al. 2021): A `[r, K]` and B `[N, r]` beside W `[N, K]`.
//!
//!   z = drop(x) Aᵀ        y ← y + s z Bᵀ
//!
//!   dz = s dy B        dA = dzᵀ drop(x)        dB = s dyᵀ z        dx = drop(dz A)
//!
//! y may hold the outputs of several layers side by side; the pair adds to N columns of it.

#[cfg(feature = "cuda")]
mod cuda;

use super::Accumulate;
use super::activation::Activation;
use super::add;
use super::dropout::{self, Mask};
use super::gemm::Start;
use super::linear::Weight;
use super::product::{self, Product, Stored, Transposed};
use super::scaled::with_scaled;
use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::dtype::Number;
use crate::error::{Error, Result};

/// The pair of a layer, and s.
pub struct Lora<'a, D: Device> {
    /// `[r, K]`
    pub a: &'a Tensor<D>,
    /// `[N, r]`
    pub b: &'a Tensor<D>,
    /// s
    pub scale: f32,
}

impl<D: Device> Lora<'_, D> {
    /// `(N, K)`. Fails unless A and B have one rank, and something in them.
    fn shape(&self) -> Result<(usize, usize)> {
        let ((rank, depth), (outputs, other)) = (self.a.shape(), self.b.shape());
        if rank != other || rank * depth * outputs == 0 {
            return Err(Error::internal(format!("lora: A {:?} and B {:?}", self.a.shape(), self.b.shape())));
        }
        Ok((outputs, depth))
    }

    /// Fails unless the pair leads from rows of x to columns of y from `first` on.
    fn check(&self, x: &Hidden<D>, y: &Hidden<D>, first: usize) -> Result<()> {
        let (outputs, depth) = self.shape()?;
        if depth != x.cols() || x.rows() != y.rows() || first + outputs > y.cols() {
            return Err(Error::internal(format!(
                "lora: [{outputs}, {depth}] from {:?} to column {first} of {:?}",
                x.shape(),
                y.shape()
            )));
        }
        Ok(())
    }
}

/// What the forward pass leaves for the backward pass.
pub struct Saved<D: Device> {
    /// drop(x), where it is not x.
    dropped: Option<Hidden<D>>,
    /// s z `[T, r]`
    down: Hidden<D>,
}

/// Gradients of the pair.
pub struct Gradients<'a, D: Device> {
    /// `[r, K]`
    pub a: Accumulate<'a, D>,
    /// `[N, r]`
    pub b: Accumulate<'a, D>,
}

/// What a device provides. Shapes are already checked; x is drop(x).
pub trait Op: Device {
    /// Writes all of `down` = s x Aᵀ and adds `down` Bᵀ to the columns of y from `first` on.
    fn lora_forward(
        &self,
        x: &Hidden<Self>,
        lora: &Lora<'_, Self>,
        down: &mut Hidden<Self>,
        y: &mut Hidden<Self>,
        first: usize,
    ) -> Result<()>;
    /// Writes all of `up` = s dy B and adds `up`ᵀ x to dA, dyᵀ `down` to dB.
    #[allow(clippy::too_many_arguments)] // the passes' operands, none of which belong together
    fn lora_backward_parameters(
        &self,
        x: &Hidden<Self>,
        lora: &Lora<'_, Self>,
        down: &Hidden<Self>,
        dy: &Hidden<Self>,
        first: usize,
        up: &mut Hidden<Self>,
        gradients: Gradients<'_, Self>,
    ) -> Result<()>;
    /// dx += `up` A
    fn lora_backward_input(
        &self,
        up: &Hidden<Self>,
        lora: &Lora<'_, Self>,
        dx: Accumulate<'_, Self, Self::Activation>,
    ) -> Result<()>;
    /// Writes all of `y` = W + s B A.
    fn lora_merged(&self, weight: &Weight<Self>, lora: &Lora<'_, Self>, y: &mut Tensor<Self>) -> Result<()>;
}

/// y[:, first..first + N] += s · (drop(x) Aᵀ) Bᵀ. No dropout: x itself.
pub fn forward<D: Op + add::Op + dropout::Op>(
    device: &D,
    x: &Hidden<D>,
    lora: &Lora<'_, D>,
    dropout: Option<&Mask<'_>>,
    y: &mut Hidden<D>,
    first: usize,
) -> Result<Saved<D>> {
    lora.check(x, y, first)?;
    let dropped = match dropout {
        None => None,
        Some(mask) => {
            let mut dropped = x.duplicate(device)?;
            dropout::apply(device, mask, &mut dropped)?;
            Some(dropped)
        }
    };
    let mut down = Tensor::new(device, x.rows(), lora.a.rows())?;
    device.lora_forward(dropped.as_ref().unwrap_or(x), lora, &mut down, y, first)?;
    Ok(Saved { dropped, down })
}

/// Adds to the gradients of the pair, and to dx `[T, K]` what comes through the pair, given dy[:, first..first + N]. x and
/// the dropout are those of the forward pass.
#[allow(clippy::too_many_arguments)] // as `Op::lora_backward_parameters`
pub fn backward<D: Op + add::Op + dropout::Op>(
    device: &D,
    x: &Hidden<D>,
    lora: &Lora<'_, D>,
    dropout: Option<&Mask<'_>>,
    saved: &Saved<D>,
    dy: &Hidden<D>,
    first: usize,
    gradients: Gradients<'_, D>,
    dx: Option<Accumulate<'_, D, D::Activation>>,
) -> Result<()> {
    lora.check(x, dy, first)?;
    let rank = lora.a.rows();
    if saved.down.shape() != (x.rows(), rank)
        || saved.dropped.is_some() != dropout.is_some()
        || saved.dropped.as_ref().is_some_and(|dropped| dropped.shape() != x.shape())
    {
        return Err(Error::internal(format!(
            "lora: saved {:?} and {:?} for rows {:?}, rank {rank}, {} dropout",
            saved.down.shape(),
            saved.dropped.as_ref().map(Tensor::shape),
            x.shape(),
            if dropout.is_some() { "with" } else { "without" }
        )));
    }
    let (a, b) = (gradients.a.0.shape(), gradients.b.0.shape());
    let input = dx.as_ref().map_or(x.shape(), |dx| dx.0.shape());
    if a != lora.a.shape() || b != lora.b.shape() || input != x.shape() {
        return Err(Error::internal(format!(
            "lora: gradients {a:?} of {:?}, {b:?} of {:?}, {input:?} of {:?}",
            lora.a.shape(),
            lora.b.shape(),
            x.shape()
        )));
    }
    let mut up = Tensor::new(device, x.rows(), rank)?;
    let dropped = saved.dropped.as_ref().unwrap_or(x);
    device.lora_backward_parameters(dropped, lora, &saved.down, dy, first, &mut up, gradients)?;
    let Some(dx) = dx else { return Ok(()) };
    let Some(mask) = dropout else { return device.lora_backward_input(&up, lora, dx) };
    let mut through = Tensor::zeros(device, x.rows(), x.cols())?;
    device.lora_backward_input(&up, lora, Accumulate(&mut through))?;
    dropout::apply(device, mask, &mut through)?;
    add::add(device, &through, dx)
}

/// W + s B A `[N, K]`: the layer that computes what W and the pair compute together.
pub fn merged<D: Op>(device: &D, weight: &Weight<D>, lora: &Lora<'_, D>) -> Result<Tensor<D>> {
    let (outputs, depth) = lora.shape()?;
    if weight.shape() != (outputs, depth) {
        return Err(Error::internal(format!("lora: [{outputs}, {depth}] beside a weight {:?}", weight.shape())));
    }
    let mut y = Tensor::new(device, outputs, depth)?;
    device.lora_merged(weight, lora, &mut y)?;
    Ok(y)
}

impl Op for Cpu {
    fn lora_forward(
        &self,
        x: &Tensor<Cpu>,
        lora: &Lora<'_, Cpu>,
        down: &mut Tensor<Cpu>,
        y: &mut Tensor<Cpu>,
        first: usize,
    ) -> Result<()> {
        let (rows, (rank, depth), outputs) = (x.rows(), lora.a.shape(), lora.b.rows());
        let z = values_mut(down)?;
        one(self, stored(x), Transposed(stored(lora.a)), (rows, depth, rank), Start::Zero, (&mut *z, rank), 0)?;
        scale(z, lora.scale);
        let (z, stride) = (Stored { values: &*z, stride: rank }, y.cols());
        let y = (values_mut(y)?, stride);
        one(self, z, Transposed(stored(lora.b)), (rows, rank, outputs), Start::Held, y, first)
    }

    fn lora_backward_parameters(
        &self,
        x: &Tensor<Cpu>,
        lora: &Lora<'_, Cpu>,
        down: &Tensor<Cpu>,
        dy: &Tensor<Cpu>,
        first: usize,
        up: &mut Tensor<Cpu>,
        gradients: Gradients<'_, Cpu>,
    ) -> Result<()> {
        let (rows, (rank, depth), outputs) = (x.rows(), lora.a.shape(), lora.b.rows());
        if rows == 0 {
            return Ok(());
        }
        let dy = Stored { values: &stored(dy).values[first..], stride: dy.cols() };
        let z = values_mut(up)?;
        one(self, dy, stored(lora.b), (rows, outputs, rank), Start::Zero, (&mut *z, rank), 0)?;
        scale(z, lora.scale);
        let z = Transposed(Stored { values: &*z, stride: rank });
        let (a, b) = ((values_mut(gradients.a.0)?, depth), (values_mut(gradients.b.0)?, rank));
        one(self, z, stored(x), (rank, rows, depth), Start::Held, a, 0)?;
        one(self, Transposed(dy), stored(down), (outputs, rows, rank), Start::Held, b, 0)
    }

    fn lora_backward_input(&self, up: &Tensor<Cpu>, lora: &Lora<'_, Cpu>, dx: Accumulate<'_, Cpu>) -> Result<()> {
        let (rank, depth) = lora.a.shape();
        let dx = (values_mut(dx.0)?, depth);
        one(self, stored(up), stored(lora.a), (up.rows(), rank, depth), Start::Held, dx, 0)
    }

    fn lora_merged(&self, weight: &Weight<Cpu>, lora: &Lora<'_, Cpu>, y: &mut Tensor<Cpu>) -> Result<()> {
        let ((outputs, rank), depth) = (lora.b.shape(), lora.a.cols());
        let y = values_mut(y)?;
        with_scaled!(weight, rows => for (n, y) in y.chunks_exact_mut(depth).enumerate() {
            let (values, scale) = rows.row(n);
            y.iter_mut().zip(values).for_each(|(y, value)| *y = value.to_f32() * scale);
        });
        let mut b = lora.b.duplicate(self)?;
        scale(values_mut(&mut b)?, lora.scale);
        one(self, stored(&b), stored(lora.a), (outputs, rank, depth), Start::Held, (y, depth), 0)
    }
}

/// The product of A `[rows, depth]` and B `[depth, columns]`, from `column` on in rows of the given stride.
fn one<L: product::Left, R: product::Right>(
    cpu: &Cpu,
    left: L,
    right: R,
    (rows, depth, columns): (usize, usize, usize),
    start: Start<'_>,
    (c, stride): (&mut [f32], usize),
    column: usize,
) -> Result<()> {
    let c = &SharedRows::new(c, stride);
    let product = Product { left, right, rows, depth, columns, start, activation: Activation::Identity, c, column };
    // SAFETY: one product, and C is borrowed exclusively.
    unsafe { product::run(cpu, &[product]) }
}

fn stored(tensor: &Tensor<Cpu>) -> Stored<'_> {
    let (rows, stride) = tensor.shape();
    Stored { values: &tensor.buffer().as_slice()[..rows * stride], stride }
}

fn values_mut(tensor: &mut Tensor<Cpu>) -> Result<&mut [f32]> {
    let (rows, cols) = tensor.shape();
    Ok(&mut tensor.buffer_mut().as_mut_slice()?[..rows * cols])
}

fn scale(values: &mut [f32], by: f32) {
    for value in values {
        *value *= by;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ArrayView2};

    use super::*;
    use crate::dtype::{bf16, f16};
    use crate::ops::dropout::Dropout;
    use crate::ops::oracle::{self, numbers, wide};
    use crate::simd::Isa;

    /// Number of rows, inputs, outputs, rank.
    #[derive(Clone, Copy)]
    struct Shape {
        rows: usize,
        depth: usize,
        outputs: usize,
        rank: usize,
    }

    /// Columns of y before the pair's and after them.
    const BESIDE: (usize, usize) = (3, 2);
    const SCALE: f32 = 0.75;

    impl Shape {
        fn stride(self) -> usize {
            BESIDE.0 + self.outputs + BESIDE.1
        }

        /// x, A, B, what y holds before, dy.
        fn values(self) -> [Vec<f32>; 5] {
            [
                numbers(self.rows * self.depth, 1),
                numbers(self.rank * self.depth, 2),
                numbers(self.outputs * self.rank, 3),
                numbers(self.rows * self.stride(), 4),
                numbers(self.rows * self.stride(), 5),
            ]
        }

        /// ⟨s (m∘x) Aᵀ Bᵀ, dy⟩
        fn paired(self, mask: &[f64], x: &[f64], a: &[f64], b: &[f64], dy: &[f32]) -> f64 {
            let up = self.reference(mask, x, a, b);
            let dy = matrix(self.rows, self.stride(), &wide(dy));
            (up * dy.slice(ndarray::s![.., BESIDE.0..BESIDE.0 + self.outputs])).sum()
        }

        fn reference(self, mask: &[f64], x: &[f64], a: &[f64], b: &[f64]) -> Array2<f64> {
            let x = matrix(self.rows, self.depth, x) * matrix(self.rows, self.depth, mask);
            let (a, b) = (matrix(self.rank, self.depth, a), matrix(self.outputs, self.rank, b));
            x.dot(&a.t()).dot(&b.t()) * f64::from(SCALE)
        }

        /// Products of up to `depth` and `rank` values, or `outputs`, or `rows`: roundings of 2⁻²⁴ that mostly cancel.
        fn tolerance(self) -> f64 {
            1e-6 * ((self.depth * self.rank).max(self.outputs * self.rank).max(self.rows * self.outputs) as f64).sqrt()
                * 4.0
        }
    }

    fn matrix(rows: usize, cols: usize, values: &[f64]) -> Array2<f64> {
        ArrayView2::from_shape((rows, cols), values).unwrap().to_owned()
    }

    fn dropout() -> Dropout {
        Dropout { probability: 0.3, seed: 0x1234_5678_9ABC, step: 4, site: 9 }
    }

    /// What forward and backward leave: y, dA, dB, dx, the last three added to ones.
    fn run(cpu: &Cpu, shape: Shape, rows: Option<&[usize]>, with_input: bool) -> [Vec<f32>; 4] {
        let Shape { rows: count, depth, outputs, rank } = shape;
        let [x, a, b, y, dy] = shape.values();
        let tensor = |v: &[f32], r, c| Tensor::from_host(cpu, v, r, c).unwrap();
        let mask = rows.map(|rows| Mask { dropout: dropout(), rows, first_row: 11 });
        let (x, a, b) = (tensor(&x, count, depth), tensor(&a, rank, depth), tensor(&b, outputs, rank));
        let (mut y, dy) = (tensor(&y, count, shape.stride()), tensor(&dy, count, shape.stride()));
        let lora = Lora { a: &a, b: &b, scale: SCALE };
        let saved = forward(cpu, &x, &lora, mask.as_ref(), &mut y, BESIDE.0).unwrap();
        assert_eq!(saved.dropped.is_some(), mask.is_some(), "x is copied only to drop values");
        let ones = |r, c| tensor(&vec![1.0; r * c], r, c);
        let (mut da, mut db, mut dx) = (ones(rank, depth), ones(outputs, rank), ones(count, depth));
        let gradients = Gradients { a: Accumulate(&mut da), b: Accumulate(&mut db) };
        let input = with_input.then_some(Accumulate(&mut dx));
        backward(cpu, &x, &lora, mask.as_ref(), &saved, &dy, BESIDE.0, gradients, input).unwrap();
        [y, da, db, dx].map(|tensor| tensor.to_host(cpu).unwrap())
    }

    fn agrees(shape: Shape, with_dropout: bool) {
        let rows: Vec<usize> = (0..shape.rows).map(|row| row * 3 % 17).collect();
        let rows = with_dropout.then_some(&rows[..]);
        let mut mask = vec![1.0; shape.rows * shape.depth];
        if let Some(rows) = rows {
            let cpu = Cpu::new(1).unwrap();
            let mut ones = Tensor::from_host(&cpu, &vec![1.0; mask.len()], shape.rows, shape.depth).unwrap();
            dropout::apply(&cpu, &Mask { dropout: dropout(), rows, first_row: 11 }, &mut ones).unwrap();
            mask = wide(&ones.to_host(&cpu).unwrap());
        }
        let [x, a, b, before, dy] = shape.values();
        let [x, a, b] = [x, a, b].map(|values| wide(&values));
        let mut y = matrix(shape.rows, shape.stride(), &wide(&before));
        let mut part = y.slice_mut(ndarray::s![.., BESIDE.0..BESIDE.0 + shape.outputs]);
        part += &shape.reference(&mask, &x, &a, &b);
        let expected = [
            y.into_raw_vec_and_offset().0,
            oracle::gradient(&a, |a| shape.paired(&mask, &x, a, &b, &dy)).iter().map(|g| g + 1.0).collect(),
            oracle::gradient(&b, |b| shape.paired(&mask, &x, &a, b, &dy)).iter().map(|g| g + 1.0).collect(),
            oracle::gradient(&x, |x| shape.paired(&mask, x, &a, &b, &dy)).iter().map(|g| g + 1.0).collect(),
        ];
        for cpu in oracle::cpus() {
            for (values, expected) in run(&cpu, shape, rows, true).iter().zip(&expected) {
                oracle::close(values, expected, shape.tolerance());
            }
            let frozen = run(&cpu, shape, rows, false);
            oracle::close(&frozen[1], &expected[1], shape.tolerance());
            assert!(frozen[3].iter().all(|&value| value == 1.0), "dx was not asked for");
        }
    }

    #[test]
    fn both_passes_agree_with_the_definition() {
        for (rows, depth, outputs, rank) in
            [(1, 1, 1, 1), (2, 16, 15, 1), (5, 33, 17, 4), (13, 17, 33, 16), (5, 15, 16, 33), (200, 7, 5, 3)]
        {
            for with_dropout in [false, true] {
                agrees(Shape { rows, depth, outputs, rank }, with_dropout);
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let shape = Shape { rows: 900, depth: 70, outputs: 210, rank: 8 };
        let rows: Vec<usize> = (0..shape.rows).collect();
        for isa in Isa::available() {
            let alone = run(&Cpu::with_isa(1, isa).unwrap(), shape, Some(&rows), true);
            for threads in [2, 3, 7] {
                assert!(run(&Cpu::with_isa(threads, isa).unwrap(), shape, Some(&rows), true) == alone, "{isa:?}");
            }
        }
    }

    #[test]
    fn a_merged_weight_is_the_sum_of_both() {
        let shape = Shape { rows: 0, depth: 37, outputs: 35, rank: 5 };
        let [_, a, b, ..] = shape.values();
        let w = numbers(shape.outputs * shape.depth, 6);
        let low = matrix(shape.outputs, shape.rank, &wide(&b)).dot(&matrix(shape.rank, shape.depth, &wide(&a)));
        let low = low * f64::from(SCALE);
        let halves: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
        let brains: Vec<bf16> = w.iter().map(|&v| bf16::from_f32(v)).collect();
        for cpu in oracle::cpus() {
            let (n, k) = (shape.outputs, shape.depth);
            let a = Tensor::from_host(&cpu, &a, shape.rank, k).unwrap();
            let b = Tensor::from_host(&cpu, &b, n, shape.rank).unwrap();
            let lora = Lora { a: &a, b: &b, scale: SCALE };
            let stored = [
                (Weight::F32(Tensor::from_host(&cpu, &w, n, k).unwrap()), wide(&w)),
                (
                    Weight::F16(Tensor::from_host(&cpu, &halves, n, k).unwrap()),
                    halves.iter().map(|v| v.to_f64()).collect(),
                ),
                (
                    Weight::Bf16(Tensor::from_host(&cpu, &brains, n, k).unwrap()),
                    brains.iter().map(|v| v.to_f64()).collect(),
                ),
            ];
            for (weight, values) in &stored {
                let y = merged(&cpu, weight, &lora).unwrap();
                assert_eq!(y.shape(), (n, k));
                let expected: Vec<f64> = low.iter().zip(values).map(|(low, w)| low + w).collect();
                oracle::close(&y.to_host(&cpu).unwrap(), &expected, 2e-6); // six roundings of values up to 5
            }
        }
    }

    #[test]
    fn shapes_that_disagree_are_refused() {
        let cpu = Cpu::new(1).unwrap();
        let zeros = |r, c| Tensor::zeros(&cpu, r, c).unwrap();
        let (x, a, b) = (zeros(2, 3), zeros(4, 3), zeros(5, 4));
        let lora = Lora { a: &a, b: &b, scale: 1.0 };
        let refused = |a: &Tensor<Cpu>, b: &Tensor<Cpu>, y: (usize, usize), first| {
            forward(&cpu, &x, &Lora { a, b, scale: 1.0 }, None, &mut zeros(y.0, y.1), first).is_err()
        };
        assert!(!refused(&a, &b, (2, 6), 1));
        assert!(refused(&a, &b, (2, 6), 2), "past the last column");
        assert!(refused(&a, &b, (3, 6), 1), "more rows than x");
        assert!(refused(&a, &zeros(5, 3), (2, 6), 1), "two ranks");
        assert!(refused(&zeros(0, 3), &zeros(5, 0), (2, 6), 1), "no rank");
        assert!(refused(&zeros(4, 2), &b, (2, 6), 1), "other inputs");
        assert!(merged(&cpu, &Weight::F32(zeros(5, 2)), &lora).is_err());

        let saved = forward(&cpu, &x, &lora, None, &mut zeros(2, 6), 1).unwrap();
        let refused = |da: (usize, usize), dx: (usize, usize), mask: Option<&Mask<'_>>| {
            let (mut da, mut db, mut dx) = (zeros(da.0, da.1), zeros(5, 4), zeros(dx.0, dx.1));
            let gradients = Gradients { a: Accumulate(&mut da), b: Accumulate(&mut db) };
            backward(&cpu, &x, &lora, mask, &saved, &zeros(2, 6), 1, gradients, Some(Accumulate(&mut dx))).is_err()
        };
        let mask = Mask { dropout: dropout(), rows: &[0, 1], first_row: 0 };
        assert!(!refused((4, 3), (2, 3), None));
        assert!(refused((3, 4), (2, 3), None), "another A");
        assert!(refused((4, 3), (2, 4), None), "another x");
        assert!(refused((4, 3), (2, 3), Some(&mask)), "a dropout that forward did not have");
    }
}
