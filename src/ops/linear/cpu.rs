//! Linear layers on the CPU. Answers are products with packed weights where there are such; all else is products of
//! matrices as they are stored.

mod training;

use std::ops::Range;

use super::{Gradients, Linear, Op, Packing, Weight};
use crate::device::cpu::{Arithmetic, Memory, Packed};
use crate::device::{Cpu, Tensor};
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::gemm::{self, Ahead, Start};
use crate::ops::packed::bands::Bands;
use crate::ops::packed::pack;
use crate::ops::packed::panels::{self, Target};
use crate::ops::product::{self, Product, Right, Stored, Transposed};
use crate::ops::scaled::{ScaledTransposed, with_scaled};
use crate::ops::shared::SharedRows;
use crate::simd::{Kernel, Simd};

impl Op for Cpu {
    fn linear_packing(&self) -> Packing {
        match (self.arithmetic(), self.memory()) {
            (Arithmetic::F32, Memory::Fast) => Packing::UsedAgain,
            (Arithmetic::F32, Memory::Least) => Packing::Never,
            (Arithmetic::Bf16 | Arithmetic::Int8, _) => Packing::AtOnce,
        }
    }

    fn linear_pack(&self, weights: &[&Weight<Cpu>]) -> Result<Vec<Packed>> {
        pack::pack(self, weights)
    }

    fn linear_forward(
        &self,
        x: &Tensor<Cpu>,
        layers: &[Linear<'_, Cpu>],
        activation: Activation,
        y: &mut Tensor<Cpu>,
    ) -> Result<()> {
        let ((rows, depth), stride) = (x.shape(), y.cols());
        if rows == 0 {
            return Ok(());
        }
        if depth > 0 && layers.iter().all(|layer| layer.packed.is_none()) && training::takes(self, layers) {
            return training::forward(self, x, layers, activation, y);
        }
        let x = &x.buffer().as_slice()[..rows * depth];
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * stride], stride);
        let mut column = 0;
        let mut parts = Vec::with_capacity(layers.len());
        for layer in layers {
            parts.push(Part { layer, column });
            column += layer.weight.shape().0;
        }
        let packed: Option<Vec<_>> = parts.iter().map(Part::packed).collect();
        match packed {
            Some(parts) => {
                let left = Bands::of_rows(self, Stored { values: x, stride: depth }, (rows, depth))?;
                // SAFETY: each layer has its own columns of y, which is borrowed exclusively.
                unsafe { panels::run(self, &left, &parts, activation, Target::Rows(&y)) }
            }
            None => {
                let left = Stored { values: x, stride: depth };
                let products: Vec<_> = parts.iter().map(|part| part.product(left, rows, activation, &y)).collect();
                // SAFETY: as above.
                unsafe { product::run(self, &products) }
            }
        }
    }

    fn linear_backward_input(&self, dy: &Tensor<Cpu>, layers: &[Linear<'_, Cpu>], dx: &mut Tensor<Cpu>) -> Result<()> {
        let ((rows, depth), columns) = (dy.shape(), dx.cols());
        if rows > 0 && depth > 0 && columns > 0 && training::takes(self, layers) {
            return training::backward_input(self, dy, layers, dx);
        }
        let dx = &mut dx.buffer_mut().as_mut_slice()?[..rows * columns];
        if rows == 0 || depth == 0 {
            dx.fill(0.0);
            return Ok(());
        }
        let product = Product {
            left: Stored { values: &dy.buffer().as_slice()[..rows * depth], stride: depth },
            right: Inputs { layers },
            rows,
            depth,
            columns,
            start: Start::Zero,
            activation: Activation::Identity,
            c: &SharedRows::new(dx, columns),
            column: 0,
        };
        // SAFETY: one product, and dx is borrowed exclusively.
        unsafe { product::run(self, &[product]) }
    }

    fn linear_backward_parameters(
        &self,
        x: &Tensor<Cpu>,
        dy: &Tensor<Cpu>,
        layers: &[Linear<'_, Cpu>],
        gradients: Vec<Gradients<'_, Cpu>>,
    ) -> Result<()> {
        let ((depth, columns), stride) = (x.shape(), dy.cols());
        if depth == 0 {
            return Ok(());
        }
        let right = Stored { values: &x.buffer().as_slice()[..depth * columns], stride: columns };
        let rounded = match columns > 0 && training::takes(self, layers) {
            true => Some(training::Right::new(self, x)?),
            false => None,
        };
        let (mut weights, mut biases, mut column) = (Vec::new(), Vec::new(), 0);
        for (layer, gradients) in layers.iter().zip(gradients) {
            let rows = layer.weight.shape().0;
            match (gradients.weight, &rounded) {
                (Some(weight), Some(right)) => training::backward_weight(self, right, dy, column, weight.0)?,
                (Some(weight), None) => {
                    let values = &mut weight.0.buffer_mut().as_mut_slice()?[..rows * columns];
                    weights.push((column, rows, SharedRows::new(values, columns)));
                }
                (None, _) => {}
            }
            if let Some(bias) = gradients.bias {
                biases.push((column, &mut bias.0.buffer_mut().as_mut_slice()?[..rows]));
            }
            column += rows;
        }
        let dy = &dy.buffer().as_slice()[..depth * stride];
        let products: Vec<_> = weights
            .iter()
            .map(|(column, rows, c)| Product {
                left: Transposed(Stored { values: &dy[*column..], stride }),
                right,
                rows: *rows,
                depth,
                columns,
                start: Start::Held,
                activation: Activation::Identity,
                c,
                column: 0,
            })
            .collect();
        // SAFETY: each product has a gradient of its own, borrowed exclusively.
        unsafe { product::run(self, &products)? };
        for (column, sums) in biases {
            add_column_sums(self, &dy[column..], stride, sums)?;
        }
        Ok(())
    }
}

impl<'a> Linear<'a, Cpu> {
    /// What products with the weight are added to.
    pub(in crate::ops) fn start(&self) -> Start<'a> {
        let outputs = self.weight.shape().0;
        self.bias.map_or(Start::Zero, |bias| Start::Bias(&bias.buffer().as_slice()[..outputs]))
    }
}

/// One of several layers that read the same rows.
struct Part<'a> {
    layer: &'a Linear<'a, Cpu>,
    /// Where its outputs lie in a row of y.
    column: usize,
}

impl<'a> Part<'a> {
    /// The layer's packed weight, if it has one.
    fn packed(&self) -> Option<panels::Part<'a>> {
        let (start, column) = (self.layer.start(), self.column);
        self.layer.packed.map(|packed| panels::Part { packed, start, column })
    }

    /// The layer in f32.
    fn product<'b>(
        &self,
        left: Stored<'b>,
        rows: usize,
        activation: Activation,
        c: &'b SharedRows<'b>,
    ) -> Product<'b, Stored<'b>, Outputs<'b>>
    where
        'a: 'b,
    {
        let ((columns, depth), right) = (self.layer.weight.shape(), Outputs(self.layer.weight));
        let (start, column) = (self.layer.start(), self.column);
        Product { left, right, rows, depth, columns, start, activation, c, column }
    }
}

/// Wᵀ: a product with it has the layer's outputs as columns.
#[derive(Clone, Copy)]
struct Outputs<'a>(&'a Weight<Cpu>);

impl Right for Outputs<'_> {
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        with_scaled!(self.0, rows => ScaledTransposed(rows).pack(s, depth, columns, panel));
    }

    #[inline(always)]
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead {
        with_scaled!(self.0, rows => ScaledTransposed(rows).ahead(depth, columns))
    }
}

/// W of several layers on top of each other: a product with it has their common inputs as columns.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    layers: &'a [Linear<'a, Cpu>],
}

impl Right for Inputs<'_> {
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let (mut first, mut panel) = (0, panel);
        for layer in self.layers {
            let outputs = layer.weight.shape().0;
            let part = depth.start.max(first) - first..depth.end.min(first + outputs).saturating_sub(first);
            first += outputs;
            if part.is_empty() {
                continue;
            }
            let (here, rest) = panel.split_at_mut(part.len() * gemm::width::<S>());
            with_scaled!(layer.weight, rows => rows.pack(s, part, columns.clone(), here));
            panel = rest;
        }
    }

    #[inline(always)]
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead {
        let mut first = 0;
        for layer in self.layers {
            let outputs = layer.weight.shape().0;
            if depth.start < first + outputs {
                let part = depth.start - first..depth.end.min(first + outputs) - first;
                return with_scaled!(layer.weight, rows => rows.ahead(part, columns));
            }
            first += outputs;
        }
        Ahead::NONE
    }
}

/// Columns that one work item sums.
const COLUMNS: usize = 256;

/// `sums[n] += Σᵣ values[r · stride + n]`, over the rows that begin in `values`.
fn add_column_sums(cpu: &Cpu, values: &[f32], stride: usize, sums: &mut [f32]) -> Result<()> {
    let columns = sums.len();
    let sums = SharedRows::new(sums, columns);
    cpu.for_each(columns.div_ceil(COLUMNS), |item| {
        let first = item * COLUMNS;
        // SAFETY: every work item has its own columns.
        let sums = unsafe { sums.row(0, first, COLUMNS.min(columns - first)) };
        cpu.isa().dispatch(ColumnSums { values: &values[first..], stride, sums });
    })
}

struct ColumnSums<'a> {
    values: &'a [f32],
    stride: usize,
    sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Kept apart until the end: what is there may be large beside one row.
        let mut totals = [0.0; COLUMNS];
        let count = self.sums.len();
        let whole = count - count % S::LANES;
        for row in self.values.chunks(self.stride) {
            let (body, tail) = row[..count].split_at(whole);
            for (total, value) in totals.chunks_exact_mut(S::LANES).zip(body.chunks_exact(S::LANES)) {
                s.store(total, s.add(s.load(total), s.load(value)));
            }
            for (total, value) in totals[whole..].iter_mut().zip(tail) {
                *total += value;
            }
        }
        for (sum, total) in self.sums.iter_mut().zip(&totals) {
            *sum += total;
        }
    }
}
