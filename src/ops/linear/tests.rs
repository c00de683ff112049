use ndarray::{Array2, ArrayView2};

use super::*;
use crate::device::Cpu;
use crate::device::cpu::{Arithmetic, Memory};
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
    let layers = [
        Linear { weight: &weights[0], bias: Some(&bias), packed: None, factors: Factors::Exact },
        Linear { weight: &weights[1], bias: None, packed: None, factors: Factors::Exact },
    ];
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
        forward(
            cpu,
            &x,
            &[Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact }],
            Activation::GeluErf,
            &mut y,
        )
        .unwrap();
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
    let layer = [Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact }];
    assert!(forward(&cpu, &x, &layer, Activation::Identity, &mut y).is_err());
}

/// Rows, outputs of three layers (f32, bf16, f16), inputs.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    outputs: [usize; 3],
    depth: usize,
}

impl Shape {
    fn stride(self) -> usize {
        self.outputs.iter().sum()
    }

    fn x(self) -> Vec<f32> {
        numbers(self.rows * self.depth, 1)
    }

    fn dy(self) -> Vec<f32> {
        numbers(self.rows * self.stride(), 2)
    }

    /// All layers' weights on top of each other, each exactly as its type stores it.
    fn weights(self) -> Vec<f32> {
        let of = |layer: usize, seed| numbers(self.outputs[layer] * self.depth, seed);
        let brains = of(1, 4).into_iter().map(|v| bf16::from_f32(v).to_f32());
        let halves = of(2, 5).into_iter().map(|v| f16::from_f32(v).to_f32());
        of(0, 3).into_iter().chain(brains).chain(halves).collect()
    }

    /// dx, written over NaN, and dW and db of all layers on top of each other, added to ones. The first layer's bias and
    /// the second's weight are frozen: their parts stay ones.
    fn run(self, cpu: &Cpu, factors: Factors) -> [Vec<f32>; 3] {
        let Shape { rows, outputs, depth } = self;
        let tensor = |v: &[f32], r, c| Tensor::from_host(cpu, v, r, c).unwrap();
        let w = self.weights();
        let (first, rest) = w.split_at(outputs[0] * depth);
        let (second, third) = rest.split_at(outputs[1] * depth);
        let brains: Vec<bf16> = second.iter().map(|&v| bf16::from_f32(v)).collect();
        let halves: Vec<f16> = third.iter().map(|&v| f16::from_f32(v)).collect();
        let weights = [
            Weight::F32(tensor(first, outputs[0], depth)),
            Weight::Bf16(Tensor::from_host(cpu, &brains, outputs[1], depth).unwrap()),
            Weight::F16(Tensor::from_host(cpu, &halves, outputs[2], depth).unwrap()),
        ];
        let layers: Vec<_> =
            weights.iter().map(|weight| Linear { weight, bias: None, packed: None, factors }).collect();
        let (x, dy) = (tensor(&self.x(), rows, depth), tensor(&self.dy(), rows, self.stride()));
        let mut dx = tensor(&vec![f32::NAN; rows * depth], rows, depth);
        backward_input(cpu, &dy, &layers, &mut dx).unwrap();
        let mut dw = outputs.map(|n| tensor(&vec![1.0; n * depth], n, depth));
        let mut db = outputs.map(|n| tensor(&vec![1.0; n], 1, n));
        let gradients = dw
            .iter_mut()
            .zip(&mut db)
            .enumerate()
            .map(|(layer, (weight, bias))| Gradients {
                weight: (layer != 1).then_some(Accumulate(weight)),
                bias: (layer != 0).then_some(Accumulate(bias)),
            })
            .collect();
        backward_parameters(cpu, &x, &dy, &layers, gradients).unwrap();
        let host = |tensors: [Tensor<Cpu>; 3]| tensors.map(|tensor| tensor.to_host(cpu).unwrap()).concat();
        [dx.to_host(cpu).unwrap(), host(dw), host(db)]
    }

    /// ⟨x Wᵀ + b, dy⟩ for all layers as one.
    fn paired(self, x: &[f64], w: &[f64], b: &[f64]) -> f64 {
        let view = |rows, values| ArrayView2::from_shape((rows, self.depth), values).unwrap();
        let y = reference(view(self.rows, x), view(self.stride(), w), Some(b));
        y.iter().zip(self.dy()).map(|(y, dy)| y * f64::from(dy)).sum()
    }

    /// What `run` should give where nothing is frozen, by differences.
    fn by_differences(self) -> [Vec<f64>; 3] {
        let (x, w, b) = (oracle::wide(&self.x()), oracle::wide(&self.weights()), vec![0.0; self.stride()]);
        [
            oracle::gradient(&x, |x| self.paired(x, &w, &b)),
            oracle::gradient(&w, |w| self.paired(&x, w, &b)).iter().map(|g| g + 1.0).collect(),
            oracle::gradient(&b, |b| self.paired(&x, &w, b)).iter().map(|g| g + 1.0).collect(),
        ]
    }

    /// The same by formula, for shapes too large to differentiate; of factors rounded to bf16 if they are to be.
    fn by_formula(self, factors: Factors) -> [Vec<f64>; 3] {
        let factor = |value: f64| match factors {
            Factors::Exact => value,
            Factors::Rounded => f64::from(bf16::from_f32(value as f32).to_f32()),
        };
        let wide = |rows, cols, values: &[f32]| {
            Array2::from_shape_vec((rows, cols), oracle::wide(values)).unwrap().mapv(factor)
        };
        let x = wide(self.rows, self.depth, &self.x());
        let dy = wide(self.rows, self.stride(), &self.dy());
        let w = wide(self.stride(), self.depth, &self.weights());
        let exact = Array2::from_shape_vec((self.rows, self.stride()), oracle::wide(&self.dy())).unwrap();
        let db = exact.sum_axis(ndarray::Axis(0)) + 1.0;
        [dy.dot(&w), dy.t().dot(&x) + 1.0, db.insert_axis(ndarray::Axis(0))].map(|m| m.iter().copied().collect())
    }

    /// `run` on every kind of CPU against `expected`, frozen parameters apart.
    fn agrees(self, mut expected: [Vec<f64>; 3], factors: Factors) {
        let [first, second, _] = self.outputs;
        expected[1][first * self.depth..(first + second) * self.depth].fill(1.0);
        expected[2][..first].fill(1.0);
        for cpu in oracle::cpus() {
            let cpu = match factors {
                Factors::Exact => cpu,
                Factors::Rounded => cpu.computing(Arithmetic::Bf16, Memory::Fast),
            };
            for (values, expected) in self.run(&cpu, factors).iter().zip(&expected) {
                // n roundings, each at most 2⁻²⁵ of a sum that strays to four times √n / 3, and they stray alike: n·1e-7
                let longest = self.stride().max(self.rows) as f64;
                oracle::close(values, expected, 2e-6 + 1e-7 * longest);
            }
        }
    }
}

#[test]
fn backward_agrees_with_differences_of_the_definition() {
    for (rows, outputs, depth) in
        [(1, [1, 2, 3], 1), (2, [15, 16, 17], 33), (5, [33, 1, 15], 16), (13, [16, 31, 2], 15), (13, [3, 5, 1], 17)]
    {
        let shape = Shape { rows, outputs, depth };
        shape.agrees(shape.by_differences(), Factors::Exact);
    }
}

#[test]
fn backward_agrees_with_its_formula() {
    for (rows, outputs, depth) in [
        (5, [1, 2, 3], 7),
        (200, [15, 33, 17], 33),
        (13, [300, 500, 33], 33),  // a sum over outputs that is cut, and within a layer
        (1700, [17, 1, 16], 31),   // a sum over rows that is cut twice
        (780, [210, 2, 1], 420), // gradients of more rows than a work item, and of more panels where vectors are short
        (3, [200, 1, 5], 1600),  // the same with long vectors
        (200, [1, 600, 400], 100), // a layer that begins and ends within a part of the depth
    ] {
        let shape = Shape { rows, outputs, depth };
        shape.agrees(shape.by_formula(Factors::Exact), Factors::Exact);
        shape.agrees(shape.by_formula(Factors::Rounded), Factors::Rounded);
    }
}

#[test]
fn odd_shapes_train_in_bf16() {
    for (rows, outputs, depth) in [(1, [1, 2, 3], 1), (2, [15, 16, 17], 33), (13, [31, 5, 2], 15), (17, [3, 33, 1], 17)]
    {
        let shape = Shape { rows, outputs, depth };
        shape.agrees(shape.by_formula(Factors::Rounded), Factors::Rounded);
    }
}

#[test]
fn training_in_bf16_gives_one_answer_on_any_number_of_threads() {
    let shape = Shape { rows: 150, outputs: [70, 33, 5], depth: 100 };
    for isa in crate::simd::Isa::available() {
        let run = |threads| {
            let cpu = Cpu::with_isa(threads, isa).unwrap().computing(Arithmetic::Bf16, Memory::Fast);
            shape.run(&cpu, Factors::Rounded)
        };
        let one = run(1);
        assert!(run(2) == one && run(7) == one, "{isa:?}");
    }
}

#[test]
fn weights_rounded_for_a_step_give_the_bits_of_packed_ones() {
    let (outputs, depth) = ([33, 17], 37);
    for cpu in oracle::cpus() {
        for rows in [1, 13, 50] {
            let narrow = Narrow { rows, outputs, depth };
            let packed = narrow.run(&cpu, Arithmetic::Bf16, Activation::GeluErf);
            let cpu = cpu.computing(Arithmetic::Bf16, Memory::Fast);
            assert_eq!(narrow.unpacked(&cpu, Factors::Rounded), packed, "{rows} rows");
        }
    }
}

#[test]
fn gradients_are_the_same_on_any_number_of_threads() {
    let shape = Shape { rows: 900, outputs: [250, 600, 40], depth: 130 };
    for isa in crate::simd::Isa::available() {
        let alone = shape.run(&Cpu::with_isa(1, isa).unwrap(), Factors::Exact);
        for threads in [2, 3, 7] {
            assert!(
                shape.run(&Cpu::with_isa(threads, isa).unwrap(), Factors::Exact) == alone,
                "{isa:?}, {threads} threads"
            );
        }
    }
}

#[test]
fn no_rows_leave_gradients_as_they_are() {
    let cpu = Cpu::new(2).unwrap();
    let shape = Shape { rows: 0, outputs: [3, 2, 1], depth: 4 };
    let [dx, dw, db] = shape.run(&cpu, Factors::Exact);
    assert!(dx.is_empty() && dw.iter().chain(&db).all(|&value| value == 1.0));
    let mut dx = Tensor::from_host(&cpu, &[f32::NAN; 2], 1, 2).unwrap();
    let weight = Weight::F32(Tensor::zeros(&cpu, 0, 2).unwrap());
    backward_input(
        &cpu,
        &Tensor::zeros(&cpu, 1, 0).unwrap(),
        &[Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact }],
        &mut dx,
    )
    .unwrap();
    assert_eq!(dx.to_host(&cpu).unwrap(), [0.0; 2]);
}

#[test]
fn gradients_whose_shapes_disagree_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let zeros = |r, c| Tensor::zeros(&cpu, r, c).unwrap();
    let (weight, narrow) = (Weight::F32(zeros(2, 3)), Weight::F32(zeros(2, 1)));
    let layers = [Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact }];
    let mut dx = zeros(0, 0);
    assert!(backward_input(&cpu, &zeros(4, 3), &layers, &mut dx).is_err(), "dy of another width");
    let unlike = [
        Linear { weight: &weight, bias: None, packed: None, factors: Factors::Exact },
        Linear { weight: &narrow, bias: None, packed: None, factors: Factors::Exact },
    ];
    assert!(backward_input(&cpu, &zeros(4, 4), &unlike, &mut dx).is_err(), "layers of other inputs");

    let refused = |x: (usize, usize), dy: (usize, usize), dw: (usize, usize), db: (usize, usize)| {
        let (mut dw, mut db) = (zeros(dw.0, dw.1), zeros(db.0, db.1));
        let gradients = vec![Gradients { weight: Some(Accumulate(&mut dw)), bias: Some(Accumulate(&mut db)) }];
        backward_parameters(&cpu, &zeros(x.0, x.1), &zeros(dy.0, dy.1), &layers, gradients).is_err()
    };
    assert!(!refused((4, 3), (4, 2), (2, 3), (1, 2)));
    assert!(refused((4, 3), (5, 2), (2, 3), (1, 2)), "other rows");
    assert!(refused((4, 1), (4, 2), (2, 3), (1, 2)), "other inputs");
    assert!(refused((4, 3), (4, 2), (3, 2), (1, 2)), "another weight");
    assert!(refused((4, 3), (4, 2), (2, 3), (2, 1)), "another bias");
    assert!(backward_parameters(&cpu, &zeros(4, 3), &zeros(4, 2), &layers, Vec::new()).is_err(), "no gradients");
}

/// Weights and rows of the sizes given, and the layer's answer in an arithmetic.
struct Narrow {
    rows: usize,
    outputs: [usize; 2],
    depth: usize,
}

impl Narrow {
    fn x(&self) -> Vec<f32> {
        // a row of small numbers beside one of large ones: each has a scale of its own
        numbers(self.rows * self.depth, 7)
            .chunks(self.depth)
            .enumerate()
            .flat_map(|(row, x)| {
                let scale = [1.0, 1e-3, 30.0][row % 3];
                x.iter().map(move |x| x * scale + 0.1 * scale).collect::<Vec<_>>()
            })
            .collect()
    }

    fn run(&self, cpu: &Cpu, arithmetic: Arithmetic, activation: Activation) -> Vec<f32> {
        let cpu = &cpu.computing(arithmetic, Memory::Fast);
        let tensor = |v: &[f32], r, c| Tensor::from_host(cpu, v, r, c).unwrap();
        let weights = self.outputs.map(|n| Weight::F32(tensor(&numbers(n * self.depth, 8 + n as u64), n, self.depth)));
        let packed = pack(cpu, &weights.each_ref()).unwrap();
        let bias = tensor(&numbers(self.outputs[0], 10), 1, self.outputs[0]);
        let layers = [
            Linear { weight: &weights[0], bias: Some(&bias), packed: Some(&packed[0]), factors: Factors::Exact },
            Linear { weight: &weights[1], bias: None, packed: Some(&packed[1]), factors: Factors::Exact },
        ];
        let width = self.outputs.iter().sum();
        let mut y = tensor(&vec![f32::NAN; self.rows * width], self.rows, width);
        forward(cpu, &tensor(&self.x(), self.rows, self.depth), &layers, activation, &mut y).unwrap();
        y.to_host(cpu).unwrap()
    }

    /// The answer with GELU and weights as they are stored.
    fn unpacked(&self, cpu: &Cpu, factors: Factors) -> Vec<f32> {
        let Self { rows, outputs, depth } = *self;
        let tensor = |v: &[f32], r, c| Tensor::from_host(cpu, v, r, c).unwrap();
        let weights = outputs.map(|n| Weight::F32(tensor(&numbers(n * depth, 8 + n as u64), n, depth)));
        let bias = tensor(&numbers(outputs[0], 10), 1, outputs[0]);
        let layers = [
            Linear { weight: &weights[0], bias: Some(&bias), packed: None, factors },
            Linear { weight: &weights[1], bias: None, packed: None, factors },
        ];
        let mut y = Tensor::new(cpu, 0, 0).unwrap();
        forward(cpu, &tensor(&self.x(), rows, depth), &layers, Activation::GeluErf, &mut y).unwrap();
        y.to_host(cpu).unwrap()
    }
}

#[test]
fn packed_f32_weights_give_the_bits_of_those_that_are_not() {
    for cpu in oracle::cpus() {
        for (rows, outputs, depth) in [
            (1, [1, 2], 1),
            (13, [33, 17], 37),
            (5, [32, 64], 800),
            (30, [70, 3], 1537),
            (47, [33, 1], 1600),
            (90, [40, 3], 800),
        ] {
            let narrow = Narrow { rows, outputs, depth };
            let packed = narrow.run(&cpu, Arithmetic::F32, Activation::GeluErf);
            assert_eq!(narrow.unpacked(&cpu, Factors::Exact), packed, "{rows} x {outputs:?} x {depth}");
        }
    }
}

#[test]
fn narrow_numbers_are_off_by_what_their_rounding_allows() {
    for cpu in oracle::cpus() {
        for rows in [1, 3, 12, 13, 50] {
            for (outputs, depth) in
                [([1, 2], 1), ([15, 16], 7), ([17, 33], 8), ([32, 31], 255), ([48, 5], 257), ([70, 1], 1538)]
            {
                let narrow = Narrow { rows, outputs, depth };
                let x = Array2::from_shape_vec((rows, depth), oracle::wide(&narrow.x())).unwrap();
                let mut column = 0;
                let width: usize = outputs.iter().sum();
                for (layer, n) in outputs.into_iter().enumerate() {
                    let w =
                        Array2::from_shape_vec((n, depth), oracle::wide(&numbers(n * depth, 8 + n as u64))).unwrap();
                    let b = (layer == 0).then(|| oracle::wide(&numbers(n, 10)));
                    let expected = reference(x.view(), w.view(), b.as_deref());
                    for arithmetic in [Arithmetic::Bf16, Arithmetic::Int8] {
                        let y = narrow.run(&cpu, arithmetic, Activation::Identity);
                        for ((row, output), &expected) in expected.indexed_iter() {
                            let (x, w) = (x.row(row), w.row(output));
                            // Of each product, half a step of x times w and half a step of w times x.
                            let bound: f64 = match arithmetic {
                                Arithmetic::Int8 => {
                                    let low = x.iter().fold(0.0, |m, &x| f64::min(m, x));
                                    let high = x.iter().fold(0.0, |m, &x| f64::max(m, x));
                                    let step_x = (high - low) / 255.0;
                                    let step_w = w.iter().fold(0.0, |m, &w| f64::max(m, w.abs())) / 127.0;
                                    // at the ends of the interval, the zero point's own rounding comes on top
                                    x.iter()
                                        .zip(w)
                                        .map(|(x, w)| step_x * w.abs() + 0.5 * step_w * (x.abs() + step_x))
                                        .sum()
                                }
                                // 2⁻⁸ of either number, and of both
                                _ => x.iter().zip(w).map(|(x, w)| (x * w).abs() * 7.9e-3).sum(),
                            };
                            let value = f64::from(y[row * width + column + output]);
                            let error = (value - expected).abs();
                            // what f32 sums round
                            let rounding = 1e-6 * (1.0 + x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum::<f64>());
                            assert!(
                                error <= bound + rounding,
                                "{arithmetic:?} {value} for {expected}: {error:e} > {bound:e}"
                            );
                            // The bound is generous; sums of so many roundings that all stray one way are mistakes.
                            if depth > 1000 {
                                assert!(error <= 0.2 * bound + rounding, "{arithmetic:?}: {error:e} of {bound:e}");
                            }
                        }
                    }
                    column += n;
                }
            }
        }
    }
}

#[test]
fn sums_of_8_bits_are_exact() {
    // Integers that fill the interval: both factors are represented exactly, and so is the answer.
    let (rows, outputs, depth) = (14, 37, 300);
    let x: Vec<f32> =
        (0..rows * depth).map(|i| [-5.0, 250.0, ((i * 7) % 256) as f32 - 5.0][(i % depth).min(2)]).collect();
    let w: Vec<f32> =
        (0..outputs * depth).map(|i| if i % depth == 0 { 127.0 } else { ((i * 11) % 255) as f32 - 127.0 }).collect();
    for cpu in oracle::cpus() {
        let cpu = cpu.computing(Arithmetic::Int8, Memory::Fast);
        let weight = Weight::F32(Tensor::from_host(&cpu, &w, outputs, depth).unwrap());
        let packed = pack(&cpu, &[&weight]).unwrap();
        let layer = Linear { weight: &weight, bias: None, packed: packed.first(), factors: Factors::Exact };
        let mut y = Tensor::new(&cpu, 0, 0).unwrap();
        forward(&cpu, &Tensor::from_host(&cpu, &x, rows, depth).unwrap(), &[layer], Activation::Identity, &mut y)
            .unwrap();
        for (i, value) in y.to_host(&cpu).unwrap().into_iter().enumerate() {
            let (row, output) = (i / outputs, i % outputs);
            let exact: f32 = (0..depth).map(|k| x[row * depth + k] * w[output * depth + k]).sum();
            assert_eq!(value, exact, "row {row}, output {output}");
        }
    }
}

#[test]
fn a_narrow_row_is_the_same_alone_and_in_company_and_on_any_number_of_threads() {
    let all = Narrow { rows: 50, outputs: [70, 33], depth: 600 };
    for isa in crate::simd::Isa::available() {
        for arithmetic in [Arithmetic::Bf16, Arithmetic::Int8] {
            let together = all.run(&Cpu::with_isa(1, isa).unwrap(), arithmetic, Activation::GeluErf);
            for threads in [1, 2, 7] {
                for rows in [1, 3, 11, 50] {
                    let some = Narrow { rows, ..all };
                    let alone = some.run(&Cpu::with_isa(threads, isa).unwrap(), arithmetic, Activation::GeluErf);
                    assert_eq!(alone, together[..rows * 103], "{isa:?} {arithmetic:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_in_narrow_numbers() {
    for cpu in oracle::cpus() {
        for arithmetic in [Arithmetic::Bf16, Arithmetic::Int8] {
            let cpu = cpu.computing(arithmetic, Memory::Fast);
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in [0, 39] {
                    let (mut x, mut w) = (numbers(3 * 40, 1), numbers(2 * 40, 2));
                    x[40 + place] = odd;
                    let run = |x: &[f32], w: &[f32]| {
                        let weight = Weight::F32(Tensor::from_host(&cpu, w, 2, 40).unwrap());
                        let packed = pack(&cpu, &[&weight]).unwrap();
                        let layer =
                            Linear { weight: &weight, bias: None, packed: packed.first(), factors: Factors::Exact };
                        let mut y = Tensor::new(&cpu, 0, 0).unwrap();
                        let x = Tensor::from_host(&cpu, x, 3, 40).unwrap();
                        forward(&cpu, &x, &[layer], Activation::Identity, &mut y).unwrap();
                        y.to_host(&cpu).unwrap().iter().map(|y| y.is_finite()).collect::<Vec<_>>()
                    };
                    assert_eq!(run(&x, &w), [true, true, false, false, true, true], "{arithmetic:?} {odd}");
                    x[40 + place] = 1.0;
                    w[place] = odd;
                    assert_eq!(run(&x, &w), [false, true, false, true, false, true], "{arithmetic:?} weight {odd}");
                }
            }
        }
    }
}
