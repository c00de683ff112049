//! Products: linear layers and low-rank pairs.
//!
//! Tolerances: an f32 sum of up to 1,100 products of size 1 in another order is off by some 1e-6 of its size. A 16-bit
//! result is off by half the distance of two neighbours, and by what differed before it was rounded.

use std::ffi::c_long;
use std::path::{Path, PathBuf};
use std::process::Command;

use cloze::device::{Cuda, Device, Tensor};
use cloze::dtype::{DType, bf16, f16};
use cloze::ops::Accumulate;
use cloze::ops::activation::Activation;
use cloze::ops::linear::{self, Factors, Gradients, Linear, Op, Weight};
use cloze::ops::lora::{self, Lora};

use libloading::{Library, Symbol};

use crate::harness::{
    absent, blank_hidden, counts, each, gpu, hidden, identical, in_child, matrix, rounded, step, to_host, values,
};
use crate::repository;

/// Rows, outputs of the layers, inputs.
type Shape<'a> = (usize, &'a [usize], usize);

/// Every tile, ragged at its ends; depths and widths that tensor cores do not read as they are; no rows.
const SHAPES: [Shape<'static>; 12] = [
    (0, &[5], 7),
    (1, &[3], 1),
    (1, &[40], 264),
    (3, &[61], 3),
    (5, &[16, 1, 9], 24),
    (17, &[24, 8, 33], 40),
    (9, &[8, 8, 8, 16], 136),
    (31, &[33], 1029),
    (70, &[64, 64, 64], 64),
    (130, &[5, 130], 72),
    (257, &[130], 33),
    (520, &[260], 48),
];

const ACTIVATIONS: [Activation; 16] = [
    Activation::Identity,
    Activation::GeluErf,
    Activation::GeluErfClipped10,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
    Activation::Relu2,
    Activation::Relu6,
    Activation::LeakyRelu,
    Activation::Silu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Mish,
    Activation::Laplace,
    Activation::HardSwish,
    Activation::SqrtSoftplus,
];

/// What is left of the tolerance of f32 where the result is 16-bit is its rounding.
fn tolerance(gpu: &Cuda) -> f32 {
    match gpu.working() {
        DType::F32 => 5e-6,
        working => 0.51 * step(working),
    }
}

fn weight<D: Device>(device: &D, stored: DType, values: &[f32], n: usize, k: usize) -> Weight<D> {
    match stored {
        DType::F32 => Weight::F32(matrix(device, values, n, k)),
        DType::F16 => {
            let values: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
            Weight::F16(Tensor::from_host(device, &values, n, k).unwrap())
        }
        DType::Bf16 => {
            let values: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
            Weight::Bf16(Tensor::from_host(device, &values, n, k).unwrap())
        }
    }
}

/// Layers with weights of `working`'s numbers, stored in that type and as f32 in turn; all but the first have a bias.
struct Layers<D: Device> {
    weights: Vec<Weight<D>>,
    biases: Vec<Option<Tensor<D>>>,
}

impl<D: Device> Layers<D> {
    fn new(device: &D, working: DType, outputs: &[usize], depth: usize) -> Self {
        let weights = outputs.iter().enumerate().map(|(i, &n)| {
            let values = rounded(working, &values(10 + i as u64, n * depth));
            let stored = [working, DType::F32][i % 2];
            weight(device, stored, &values, n, depth)
        });
        let biases = outputs.iter().enumerate().map(|(i, &n)| {
            let bias = values(20 + i as u64, n);
            (i > 0).then(|| matrix(device, &bias, 1, n))
        });
        Self { weights: weights.collect(), biases: biases.collect() }
    }

    fn layers(&self) -> Vec<Linear<'_, D>> {
        let layer =
            |(weight, bias)| Linear { weight, bias: Option::as_ref(bias), packed: None, factors: Factors::Exact };
        self.weights.iter().zip(&self.biases).map(layer).collect()
    }
}

fn forward<D: Op>(device: &D, x: &[f32], working: DType, shape: Shape<'_>, activation: Activation) -> Vec<f32> {
    let (rows, outputs, depth) = shape;
    let layers = Layers::new(device, working, outputs, depth);
    let mut y = blank_hidden(device, rows, outputs.iter().sum());
    linear::forward(device, &hidden(device, x, rows, depth), &layers.layers(), activation, &mut y).unwrap();
    y.to_values(device).unwrap()
}

fn backward_input<D: Op>(device: &D, dy: &[f32], working: DType, shape: Shape<'_>) -> Vec<f32> {
    let (rows, outputs, depth) = shape;
    let layers = Layers::new(device, working, outputs, depth);
    let mut dx = blank_hidden(device, rows, depth);
    let dy = hidden(device, dy, rows, outputs.iter().sum());
    linear::backward_input(device, &dy, &layers.layers(), &mut dx).unwrap();
    dx.to_values(device).unwrap()
}

#[test]
fn forward_of_layers_side_by_side() {
    each(|gpu| {
        for shape @ (rows, _, depth) in SHAPES {
            let x = rounded(gpu.working(), &values(1, rows * depth));
            parity!(gpu, tolerance(gpu), |d| forward(d, &x, gpu.working(), shape, Activation::Identity));
        }
    });
}

#[test]
fn forward_with_every_activation() {
    each(|gpu| {
        // as many columns as the slowest path has, and one tile of the others
        for activation in ACTIVATIONS {
            let shape = (9, &[11, 24][..], 16);
            let x = rounded(gpu.working(), &values(2, 9 * 16));
            parity!(gpu, tolerance(gpu), |d| forward(d, &x, gpu.working(), shape, activation));
        }
    });
}

#[test]
fn weights_are_read_in_whatever_type_they_are_stored() {
    each(|gpu| {
        for stored in [DType::F32, DType::F16, DType::Bf16] {
            // numbers that every type has
            let x = rounded(DType::Bf16, &rounded(gpu.working(), &values(3, 5 * 33)));
            let w = rounded(DType::F16, &rounded(DType::Bf16, &values(4, 19 * 33)));
            parity!(gpu, tolerance(gpu), |d| {
                let weight = weight(d, stored, &w, 19, 33);
                let mut y = blank_hidden(d, 5, 19);
                let layer = Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact };
                linear::forward(d, &hidden(d, &x, 5, 33), &[layer], Activation::Identity, &mut y).unwrap();
                y.to_values(d).unwrap()
            });
        }
    });
}

#[test]
fn a_weight_that_changes_is_read_anew() {
    each(|gpu| {
        let x = rounded(gpu.working(), &values(5, 2 * 16));
        let w = [6, 7].map(|seed| rounded(gpu.working(), &values(seed, 8 * 16)));
        parity!(gpu, tolerance(gpu), |d| {
            let (mut w, other) = (matrix(d, &w[0], 8, 16), matrix(d, &w[1], 8, 16));
            let mut answers = Vec::new();
            for _ in 0..2 {
                let weight = Weight::F32(w);
                let mut y = blank_hidden(d, 2, 8);
                let layer = Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact };
                linear::forward(d, &hidden(d, &x, 2, 16), &[layer], Activation::Identity, &mut y).unwrap();
                answers.push(y.to_values(d).unwrap());
                let Weight::F32(again) = weight else { unreachable!() };
                w = again;
                w.copy_from(d, &other).unwrap();
            }
            answers
        });
    });
}

#[test]
fn backward_to_the_input() {
    each(|gpu| {
        for shape @ (rows, outputs, _) in SHAPES {
            let dy = rounded(gpu.working(), &values(8, rows * outputs.iter().sum::<usize>()));
            // more than three layers take two launches, and the sum between them is rounded
            let tolerance = if outputs.len() > 3 { 2.0 } else { 1.0 } * tolerance(gpu);
            parity!(gpu, tolerance, |d| backward_input(d, &dy, gpu.working(), shape));
        }
    });
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_company() {
    each(|gpu| {
        for shape @ (rows, outputs, depth) in SHAPES {
            let width = outputs.iter().sum::<usize>();
            let x = rounded(gpu.working(), &values(1, rows * depth));
            let dy = rounded(gpu.working(), &values(8, rows * width));
            let y = forward(gpu, &x, gpu.working(), shape, Activation::GeluErf);
            let dx = backward_input(gpu, &dy, gpu.working(), shape);
            for (first, count) in [(0, 1), (rows / 2, 1), (rows / 3, 33)] {
                if first + count > rows {
                    continue;
                }
                let part = (count, outputs, depth);
                let x = &x[first * depth..][..count * depth];
                let alone = forward(gpu, x, gpu.working(), part, Activation::GeluErf);
                identical(&[y[first * width..][..count * width].to_vec()], &[alone]);
                let alone = backward_input(gpu, &dy[first * width..][..count * width], gpu.working(), part);
                identical(&[dx[first * depth..][..count * depth].to_vec()], &[alone]);
            }
        }
    });
}

/// Adds to gradients that are there; parameters whose number `frozen` names have none.
fn backward_parameters<D: Op>(
    device: &D,
    (x, dy): (&[f32], &[f32]),
    working: DType,
    (rows, outputs, depth): Shape<'_>,
    frozen: &[usize],
) -> Vec<Vec<f32>> {
    let layers = Layers::new(device, working, outputs, depth);
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for (i, &n) in outputs.iter().enumerate() {
        weights.push(matrix(device, &values(30 + i as u64, n * depth), n, depth));
        biases.push(matrix(device, &values(40 + i as u64, n), 1, n));
    }
    let gradients = weights.iter_mut().zip(&mut biases).enumerate().map(|(i, (weight, bias))| Gradients {
        weight: (!frozen.contains(&(2 * i))).then_some(Accumulate(weight)),
        bias: (!frozen.contains(&(2 * i + 1))).then_some(Accumulate(bias)),
    });
    let gradients = gradients.collect();
    let (x, dy) = (hidden(device, x, rows, depth), hidden(device, dy, rows, outputs.iter().sum()));
    linear::backward_parameters(device, &x, &dy, &layers.layers(), gradients).unwrap();
    weights.iter().chain(&biases).map(|gradient| to_host(device, gradient)).collect()
}

#[test]
fn backward_to_the_parameters() {
    each(|gpu| {
        let long: [Shape<'_>; 2] = [(2100, &[8, 3], 24), (700, &[40], 9)];
        for shape @ (rows, outputs, depth) in SHAPES.into_iter().chain(long) {
            let x = rounded(gpu.working(), &values(1, rows * depth));
            let dy = rounded(gpu.working(), &values(8, rows * outputs.iter().sum::<usize>()));
            // sums are in f32 whatever is summed
            parity!(gpu, 5e-6, |d| backward_parameters(d, (&x, &dy), gpu.working(), shape, &[]));
        }
    });
}

#[test]
fn frozen_parameters_have_no_gradients() {
    each(|gpu| {
        let shape @ (rows, outputs, depth) = (33, &[16, 24, 5, 8][..], 40);
        let x = rounded(gpu.working(), &values(1, rows * depth));
        let dy = rounded(gpu.working(), &values(8, rows * outputs.iter().sum::<usize>()));
        for frozen in [&[0, 3][..], &[2, 4, 1], &[0, 1, 2, 3, 4, 5, 6], &[1, 3, 5, 7], &[0, 1, 2, 3, 4, 5, 6, 7]] {
            let before = counts().launches;
            parity!(gpu, 5e-6, |d| backward_parameters(d, (&x, &dy), gpu.working(), shape, frozen));
            assert!(frozen.len() < 8 || counts().launches == before, "work for nobody");
        }
    });
}

#[test]
fn tensor_cores_read_shared_memory_without_conflicts() {
    for working in [DType::Bf16, DType::F16] {
        let Some(gpu) = gpu(working) else { return };
        let before = counts();
        for shape @ (rows, outputs, depth) in [(300, &[136, 8][..], 160), (70, &[72], 136), (20, &[40], 264)] {
            let x = rounded(working, &values(1, rows * depth));
            let dy = rounded(working, &values(8, rows * outputs.iter().sum::<usize>()));
            forward(&gpu, &x, working, shape, Activation::Identity);
            backward_input(&gpu, &dy, working, shape);
            backward_parameters(&gpu, (&x, &dy), working, shape, &[]);
        }
        assert!(crate::harness::real() || counts().matrices > before.matrices, "tensor cores were not used");
        assert_eq!(counts().conflicts, before.conflicts);
    }
}

/// A pair of rank `rank` beside outputs of which there are others before and after.
struct Pair {
    rows: usize,
    outputs: usize,
    depth: usize,
    rank: usize,
    first: usize,
}

const PAIRS: [Pair; 5] = [
    Pair { rows: 0, outputs: 4, depth: 8, rank: 2, first: 0 },
    Pair { rows: 1, outputs: 9, depth: 24, rank: 4, first: 3 },
    Pair { rows: 33, outputs: 40, depth: 48, rank: 8, first: 8 },
    Pair { rows: 70, outputs: 64, depth: 21, rank: 16, first: 64 },
    Pair { rows: 20, outputs: 35, depth: 40, rank: 5, first: 1 },
];

impl Pair {
    fn width(&self) -> usize {
        self.first + self.outputs + 3
    }

    /// down, y, up, dA, dB, dx.
    fn run<D: lora::Op>(&self, d: &D, working: DType) -> Vec<Vec<f32>> {
        let Self { rows, outputs, depth, rank, first } = *self;
        let some = |seed, count| rounded(working, &values(seed, count));
        let x = hidden(d, &some(1, rows * depth), rows, depth);
        let (a, b) =
            (matrix(d, &some(2, rank * depth), rank, depth), matrix(d, &some(3, outputs * rank), outputs, rank));
        let pair = Lora { a: &a, b: &b, scale: 0.25 };
        let (mut down, mut up) = (blank_hidden(d, rows, rank), blank_hidden(d, rows, rank));
        let mut y = hidden(d, &some(4, rows * self.width()), rows, self.width());
        d.lora_forward(&x, &pair, &mut down, &mut y, first).unwrap();
        let dy = hidden(d, &some(5, rows * self.width()), rows, self.width());
        let mut da = matrix(d, &values(6, rank * depth), rank, depth);
        let mut db = matrix(d, &values(7, outputs * rank), outputs, rank);
        let gradients = lora::Gradients { a: Accumulate(&mut da), b: Accumulate(&mut db) };
        d.lora_backward_parameters(&x, &pair, &down, &dy, first, &mut up, gradients).unwrap();
        let mut dx = hidden(d, &some(8, rows * depth), rows, depth);
        d.lora_backward_input(&up, &pair, Accumulate(&mut dx)).unwrap();
        let states = [&down, &y, &up].map(|states| states.to_values(d).unwrap());
        let gradients = [&da, &db].map(|gradient| to_host(d, gradient));
        states.into_iter().chain(gradients).chain([dx.to_values(d).unwrap()]).collect()
    }
}

#[test]
fn low_rank_pairs() {
    each(|gpu| {
        // `down` and `up` are rounded before they are used
        let tolerance = if gpu.working() == DType::F32 { 5e-6 } else { 1.5 * step(gpu.working()) };
        for pair in &PAIRS {
            parity!(gpu, tolerance, |d| pair.run(d, gpu.working()));
        }
    });
}

#[test]
fn low_rank_pairs_merge_into_the_weight_in_f32() {
    each(|gpu| {
        for stored in [DType::F32, DType::F16, DType::Bf16] {
            let (outputs, depth, rank) = (37, 50, 6);
            let w = rounded(stored, &values(1, outputs * depth));
            parity!(gpu, 1e-6, |d| {
                let weight = weight(d, stored, &w, outputs, depth);
                let (a, b) = (
                    matrix(d, &values(2, rank * depth), rank, depth),
                    matrix(d, &values(3, outputs * rank), outputs, rank),
                );
                to_host(d, &lora::merged(d, &weight, &Lora { a: &a, b: &b, scale: 0.5 }).unwrap())
            });
        }
    });
}

/// The emulated cuBLASLt, compiled; `None`, and loudly, without a C++ compiler.
fn blas() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (library, fresh) = (folder.join("libcublasLt.so"), folder.join(format!("{}-cublasLt", std::process::id())));
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let source = repository().join("tests/cuda/emulation/blas.cpp");
    let flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-o"];
    let Ok(output) = Command::new(compiler).args(flags).arg(&fresh).arg(source).output() else {
        absent("c++", "cuBLASLt is not emulated");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(fresh, &library).unwrap();
    Some(library)
}

/// Live objects of the emulated cuBLASLt, and products so far.
fn counted(library: &Library) -> [c_long; 2] {
    let (mut live, mut products) = (0, 0);
    // SAFETY: the function has this type in blas.cpp, and writes to live numbers.
    unsafe {
        let counts: Symbol<'_, unsafe extern "C" fn(*mut c_long, *mut c_long)> =
            library.get(b"cloze_emulated_blas").unwrap();
        counts(&raw mut live, &raw mut products);
    }
    [live, products]
}

#[test]
fn products_by_cublaslt() {
    let Some(library) = (!crate::harness::real()).then(blas).flatten() else { return };
    in_child(&[("CLOZE_CUBLASLT", library.to_str().unwrap())], || {
        // SAFETY: the library has no initialisers. It stays open, and with it its counts.
        let library = unsafe { Library::new(std::env::var_os("CLOZE_CUBLASLT").unwrap()) }.unwrap();
        for working in [DType::Bf16, DType::F16] {
            let gpu = gpu(working).unwrap();
            // Products of the three passes together: one a layer and pass. A layer whose columns do not start at a
            // multiple of 16 bytes is left to our kernels, and so are few rows.
            let shapes: [(Shape<'_>, c_long); 4] =
                [((1032, &[24, 8, 16], 48), 9), ((1025, &[5], 16), 3), ((1024, &[4, 8], 24), 3), ((1023, &[8], 8), 0)];
            for (shape @ (rows, outputs, depth), products) in shapes {
                let x = rounded(working, &values(1, rows * depth));
                let dy = rounded(working, &values(8, rows * outputs.iter().sum::<usize>()));
                let before = counted(&library)[1];
                // biases are rounded before they are added, sums between the layers
                parity!(&gpu, step(working), |d| forward(d, &x, working, shape, Activation::Identity));
                parity!(&gpu, 2.0 * step(working), |d| backward_input(d, &dy, working, shape));
                parity!(&gpu, 5e-6, |d| backward_parameters(d, (&x, &dy), working, shape, &[]));
                assert_eq!(counted(&library)[1] - before, 3 * products, "{shape:?}");
            }
            let (shape, before) = ((1024, &[16][..], 16), counted(&library)[1]);
            let x = rounded(working, &values(1, 1024 * 16));
            parity!(&gpu, 2.0 * step(working), |d| forward(d, &x, working, shape, Activation::GeluErf));
            assert_eq!(counted(&library)[1] - before, 3);
        }
        assert_eq!(counted(&library)[0], 0, "what was made is given back");
    });
}
