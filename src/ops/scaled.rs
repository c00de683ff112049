//! A weight as the CPU reads it, in each of the types that it may have.

use std::ops::Range;

use super::gemm::{self, Ahead, Source};
use super::product::{Right, Stored, Transposed};
use crate::device::{Cpu, Quantised, Tensor};
use crate::dtype::Element;
use crate::simd::Simd;

/// A matrix `[N, K]`: W[n, k] = `values[n · stride + k]`, times `scales[n]` where there are scales.
#[derive(Clone, Copy)]
pub struct Scaled<'a, E> {
    /// The numbers as they are stored.
    pub stored: Stored<'a, E>,
    /// `[N]`
    pub scales: Option<&'a [f32]>,
}

/// The transpose of a matrix.
#[derive(Clone, Copy)]
pub struct ScaledTransposed<'a, E>(pub Scaled<'a, E>);

impl<'a, E: Element> Scaled<'a, E> {
    /// Of floating-point numbers.
    pub fn of(tensor: &'a Tensor<Cpu, E>) -> Self {
        let (rows, stride) = tensor.shape();
        Self::plain(Stored { values: &tensor.buffer().as_slice()[..rows * stride], stride })
    }
}

impl<'a> Scaled<'a, i8> {
    /// Of integers.
    pub fn of_integers(weight: &'a Quantised) -> Self {
        let stored = Stored { values: weight.integers(), stride: weight.shape().1 };
        Self { stored, scales: Some(weight.scales()) }
    }
}

impl<'a, E> Scaled<'a, E> {
    /// A matrix as it is stored.
    pub fn plain(stored: Stored<'a, E>) -> Self {
        Self { stored, scales: None }
    }
}

impl<E: Source> Scaled<'_, E> {
    /// What the numbers of row `n` are multiples of.
    #[inline(always)]
    pub fn scale(&self, n: usize) -> f32 {
        match self.scales {
            Some(scales) => scales[n],
            None => 1.0,
        }
    }

    /// Row `n`, and its scale.
    #[inline(always)]
    pub fn row(&self, n: usize) -> (&[E], f32) {
        (&self.stored.values[n * self.stored.stride..][..self.stored.stride], self.scale(n))
    }
}

impl<E: Source> Right for Scaled<'_, E> {
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        self.stored.pack(s, depth.clone(), columns, panel);
        if let Some(scales) = self.scales {
            gemm::scale_rows(s, &scales[depth], panel);
        }
    }

    #[inline(always)]
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead {
        self.stored.ahead(depth, columns)
    }
}

impl<E: Source> Right for ScaledTransposed<'_, E> {
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, depth: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        Transposed(self.0.stored).pack(s, depth, columns.clone(), panel);
        if let Some(scales) = self.0.scales {
            gemm::scale_columns(s, &scales[columns], panel);
        }
    }

    #[inline(always)]
    fn ahead(&self, depth: Range<usize>, columns: Range<usize>) -> Ahead {
        Transposed(self.0.stored).ahead(depth, columns)
    }
}

/// `$then` with the `$matrix` that is a `&Weight<Cpu>`, compiled for each of the types that it may have.
macro_rules! with_scaled {
    ($weight:expr, $matrix:ident => $then:expr) => {
        match $weight {
            $crate::ops::linear::Weight::F32(tensor) => {
                let $matrix = $crate::ops::scaled::Scaled::of(tensor);
                $then
            }
            $crate::ops::linear::Weight::F16(tensor) => {
                let $matrix = $crate::ops::scaled::Scaled::of(tensor);
                $then
            }
            $crate::ops::linear::Weight::Bf16(tensor) => {
                let $matrix = $crate::ops::scaled::Scaled::of(tensor);
                $then
            }
            $crate::ops::linear::Weight::Int8(integers) => {
                let $matrix = $crate::ops::scaled::Scaled::of_integers(integers);
                $then
            }
        }
    };
}
pub(super) use with_scaled;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::Batch;
    use crate::device::cpu::{Arithmetic, Memory};
    use crate::device::{Mapped, Owner};
    use crate::ops::activation::Activation;
    use crate::ops::embedding::{self, Tables};
    use crate::ops::linear::{self, Factors, Linear, Weight};
    use crate::ops::lora::{self, Lora};
    use crate::ops::oracle::{self, numbers};

    /// A weight `[outputs, depth]` in 8 bits, and the same one in f32. Scales are powers of two and every row has a 127, so
    /// that rounding it to 8 bits gives the same integers and scales.
    fn weights(cpu: &Cpu, outputs: usize, depth: usize, seed: usize) -> [Weight<Cpu>; 2] {
        let integers: Vec<i8> = (0..outputs * depth)
            .map(|place| match place % depth {
                0 => 127,
                column => ((place * 37 + column * column + seed) % 255) as i8,
            })
            .map(|q| q.max(-127))
            .collect();
        let scales: Vec<f32> = (0..outputs).map(|n| (2f32).powi((n % 5) as i32 - 9)).collect();
        let bytes: Vec<u8> = integers.iter().map(|q| q.cast_unsigned()).collect();
        let stored = Mapped::new(Owner::Buffer(Arc::new(bytes)), 0..outputs * depth).unwrap();
        let narrow = Quantised::new(stored, (outputs, depth), scales).unwrap();
        let wide = Tensor::from_host(cpu, &narrow.to_f32(), outputs, depth).unwrap();
        [Weight::Int8(narrow), Weight::F32(wide)]
    }

    const SHAPES: [(usize, [usize; 2], usize); 7] = [
        (1, [1, 2], 1),
        (2, [15, 16], 7),
        (5, [17, 33], 8),
        (13, [32, 31], 255),
        (40, [48, 5], 257),
        (7, [64, 1], 768),
        (30, [70, 3], 1537),
    ];

    /// Checks that `run` gives the same bits whether the weights are in 8 bits or in f32.
    fn same(arithmetic: Arithmetic, run: impl Fn(&Cpu, &[&Weight<Cpu>], usize) -> Vec<f32>) {
        for cpu in oracle::cpus() {
            let cpu = cpu.computing(arithmetic, Memory::Fast);
            for (rows, outputs, depth) in SHAPES {
                let [first, second] = [0, 1].map(|layer| weights(&cpu, outputs[layer], depth, layer));
                let [narrow, wide] = [0, 1].map(|form| run(&cpu, &[&first[form], &second[form]], rows));
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(
                    bits(&narrow),
                    bits(&wide),
                    "{:?}, {arithmetic:?}: {rows} x {outputs:?} x {depth}",
                    cpu.isa()
                );
            }
        }
    }

    fn layers<'a>(weights: &[&'a Weight<Cpu>], factors: Factors) -> Vec<Linear<'a, Cpu>> {
        weights.iter().map(|weight| Linear { weight, bias: None, packed: None, factors }).collect()
    }

    fn forward(cpu: &Cpu, layers: &[Linear<'_, Cpu>], rows: usize) -> Vec<f32> {
        let depth = layers[0].weight.shape().1;
        let x = Tensor::from_host(cpu, &numbers(rows * depth, 5), rows, depth).unwrap();
        let mut y = Tensor::new(cpu, 0, 0).unwrap();
        linear::forward(cpu, &x, layers, Activation::GeluErf, &mut y).unwrap();
        y.to_host(cpu).unwrap()
    }

    #[test]
    fn products_with_integers_are_those_with_what_they_stand_for() {
        for (arithmetic, factors) in [(Arithmetic::F32, Factors::Exact), (Arithmetic::Bf16, Factors::Rounded)] {
            same(arithmetic, |cpu, weights, rows| forward(cpu, &layers(weights, factors), rows));
            same(arithmetic, |cpu, weights, rows| {
                let layers = layers(weights, factors);
                let width = layers.iter().map(|layer| layer.weight.shape().0).sum();
                let dy = Tensor::from_host(cpu, &numbers(rows * width, 6), rows, width).unwrap();
                let mut dx = Tensor::new(cpu, 0, 0).unwrap();
                linear::backward_input(cpu, &dy, &layers, &mut dx).unwrap();
                dx.to_host(cpu).unwrap()
            });
        }
    }

    #[test]
    fn packed_integers_are_what_packing_makes_of_the_numbers() {
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8] {
            same(arithmetic, |cpu, weights, rows| {
                let packed = linear::pack(cpu, weights).unwrap();
                let mut layers = layers(weights, Factors::Exact);
                for (layer, packed) in layers.iter_mut().zip(&packed) {
                    layer.packed = Some(packed);
                }
                forward(cpu, &layers, rows)
            });
        }
    }

    #[test]
    fn rows_that_are_looked_up_or_added_to_are_what_the_integers_stand_for() {
        for cpu in oracle::cpus() {
            for width in [1, 7, 16, 33] {
                let (words, segments) = (weights(&cpu, 9, width, 1), weights(&cpu, 2, width, 2));
                let mut batch = Batch::new();
                batch.push(&[8, 0, 3], &[0, 1, 1]).unwrap();
                let [narrow, wide] = [0, 1].map(|form| {
                    let tables = Tables { word: &words[form], token_type: &segments[form], position: None };
                    let mut y = Tensor::new(&cpu, 0, 0).unwrap();
                    embedding::forward(&cpu, &batch, &tables, &mut y).unwrap();
                    y.to_host(&cpu).unwrap()
                });
                assert_eq!(narrow, wide, "{:?}: width {width}", cpu.isa());

                let pair =
                    [(2, width), (9, 2)].map(|(r, c)| Tensor::from_host(&cpu, &numbers(r * c, 3), r, c).unwrap());
                let lora = Lora { a: &pair[0], b: &pair[1], scale: 0.5 };
                let [narrow, wide] =
                    [0, 1].map(|form| lora::merged(&cpu, &words[form], &lora).unwrap().to_host(&cpu).unwrap());
                assert_eq!(narrow, wide, "{:?}: width {width}", cpu.isa());
            }
        }
    }
}
