//! Kernels of the CPU at the sizes of BERT-base, on two threads: `cargo bench --bench kernels`. Elements are
//! multiplications with an addition each, or, where there are few of those, values.

#![allow(clippy::unwrap_used)] // a benchmark may panic
#![allow(missing_docs)] // of what a macro makes

use std::hint::black_box;

use cloze::batch::{Batch, Selection};
use cloze::device::cpu::{Arithmetic, Memory};
use cloze::device::{Cpu, Tensor};
use cloze::ops::Accumulate;
use cloze::ops::activation::Activation;
use cloze::ops::attention::{self, Columns, Direction, Inputs};
use cloze::ops::layer_norm::{self, Affine};
use cloze::ops::linear::{self, Factors, Gradients, Linear, Weight};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HIDDEN: usize = 768;
const WIDE: usize = 3072;
const HEADS: usize = 12;
const ARITHMETICS: [Arithmetic; 3] = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8];

/// Numbers between −1 and 1 without a pattern.
fn tensor(cpu: &Cpu, rows: usize, cols: usize) -> Tensor<Cpu> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..rows * cols).map(|_| next()).collect();
    Tensor::from_host(cpu, &values, rows, cols).unwrap()
}

/// H → F with GELU, of packed weights.
fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear 768 → 3072, GELU");
    for arithmetic in ARITHMETICS {
        let cpu = Cpu::new(2).unwrap().computing(arithmetic, Memory::Fast);
        let weight = Weight::F32(tensor(&cpu, WIDE, HIDDEN));
        let (bias, packed) = (tensor(&cpu, 1, WIDE), linear::pack(&cpu, &[&weight]).unwrap());
        for rows in [1, 16, 128, 1024] {
            let (x, mut y) = (tensor(&cpu, rows, HIDDEN), Tensor::new(&cpu, 0, 0).unwrap());
            group.throughput(Throughput::Elements((rows * HIDDEN * WIDE) as u64));
            group.bench_function(BenchmarkId::new(format!("{arithmetic:?}"), rows), |bencher| {
                bencher.iter(|| {
                    let packed = packed.first();
                    let layer = Linear { weight: &weight, bias: Some(&bias), packed, factors: Factors::Exact };
                    linear::forward(&cpu, black_box(&x), &[layer], Activation::GeluErf, &mut y).unwrap();
                });
            });
        }
    }
}

/// The three products of a layer H → F that trains.
fn training(criterion: &mut Criterion) {
    const ROWS: usize = 2048;
    let mut group = criterion.benchmark_group("training 768 → 3072, 2048 rows");
    group.sample_size(20).throughput(Throughput::Elements((ROWS * HIDDEN * WIDE) as u64));
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        let cpu = Cpu::new(2).unwrap().computing(arithmetic, Memory::Fast);
        let weight = Weight::F32(tensor(&cpu, WIDE, HIDDEN));
        let (x, dy) = (tensor(&cpu, ROWS, HIDDEN), tensor(&cpu, ROWS, WIDE));
        let (mut y, mut dx) = (Tensor::new(&cpu, 0, 0).unwrap(), Tensor::new(&cpu, 0, 0).unwrap());
        let mut dw = Tensor::zeros(&cpu, WIDE, HIDDEN).unwrap();
        let layer = || [Linear { weight: &weight, bias: None, packed: None, factors: Factors::Rounded }];
        group.bench_function(BenchmarkId::new("y", format!("{arithmetic:?}")), |bencher| {
            bencher.iter(|| linear::forward(&cpu, black_box(&x), &layer(), Activation::Identity, &mut y).unwrap());
        });
        group.bench_function(BenchmarkId::new("dx", format!("{arithmetic:?}")), |bencher| {
            bencher.iter(|| linear::backward_input(&cpu, black_box(&dy), &layer(), &mut dx).unwrap());
        });
        group.bench_function(BenchmarkId::new("dW", format!("{arithmetic:?}")), |bencher| {
            bencher.iter(|| {
                let gradients = vec![Gradients { weight: Some(Accumulate(&mut dw)), bias: None }];
                linear::backward_parameters(&cpu, black_box(&x), &dy, &layer(), gradients).unwrap();
            });
        });
    }
}

/// Attention of one sequence, and the norm with its residual.
fn others(criterion: &mut Criterion) {
    let cpu = Cpu::new(2).unwrap();
    let mut group = criterion.benchmark_group("attention, 12 heads of 64");
    for tokens in [16, 128, 512] {
        let mut batch = Batch::new();
        batch.push(&vec![0; tokens], &vec![0; tokens]).unwrap();
        let (rows, projected) = (Selection::all(&batch), tensor(&cpu, tokens, 3 * HIDDEN));
        let mut y = Tensor::new(&cpu, 0, 0).unwrap();
        let columns = |first| Columns { tensor: &projected, first };
        let inputs = Inputs {
            query: columns(0),
            key: columns(HIDDEN),
            value: columns(2 * HIDDEN),
            heads: HEADS,
            hidden: HIDDEN,
            offsets: batch.offsets(),
            rows: &rows,
            direction: Direction::Bidirectional,
            relative: None,
            dropout: None,
        };
        group.throughput(Throughput::Elements((2 * tokens * tokens * HIDDEN) as u64));
        group.bench_function(BenchmarkId::from_parameter(tokens), |bencher| {
            bencher.iter(|| attention::forward(&cpu, black_box(&inputs), &mut y).unwrap());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("layer norm of 768, with residual");
    let (gamma, beta) = (tensor(&cpu, 1, HIDDEN), tensor(&cpu, 1, HIDDEN));
    for rows in [16, 1024] {
        let (x, residual) = (tensor(&cpu, rows, HIDDEN), tensor(&cpu, rows, HIDDEN));
        let mut y = Tensor::new(&cpu, 0, 0).unwrap();
        let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-12 };
        group.throughput(Throughput::Elements((rows * HIDDEN) as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter(|| layer_norm::forward(&cpu, black_box(&x), Some(&residual), &affine, &mut y).unwrap());
        });
    }
}

criterion_group!(kernels, answers, training, others);
criterion_main!(kernels);
