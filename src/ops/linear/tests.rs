use ndarray::{Array2, ArrayView2};

use super::*;
use crate::device::Cpu;
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
        Linear { weight: &weights[0], bias: Some(&bias), packed: None },
        Linear { weight: &weights[1], bias: None, packed: None },
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
        forward(cpu, &x, &[Linear { weight: &weight, bias: None, packed: None }], Activation::GeluErf, &mut y).unwrap();
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
    let layer = [Linear { weight: &weight, bias: None, packed: None }];
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
    fn run(self, cpu: &Cpu) -> [Vec<f32>; 3] {
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
        let layers: Vec<_> = weights.iter().map(|weight| Linear { weight, bias: None, packed: None }).collect();
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

    /// The same by formula, for shapes too large to differentiate.
    fn by_formula(self) -> [Vec<f64>; 3] {
        let wide = |rows, cols, values: &[f32]| Array2::from_shape_vec((rows, cols), oracle::wide(values)).unwrap();
        let x = wide(self.rows, self.depth, &self.x());
        let dy = wide(self.rows, self.stride(), &self.dy());
        let w = wide(self.stride(), self.depth, &self.weights());
        let db = dy.sum_axis(ndarray::Axis(0)) + 1.0;
        [dy.dot(&w), dy.t().dot(&x) + 1.0, db.insert_axis(ndarray::Axis(0))].map(|m| m.iter().copied().collect())
    }

    /// `run` on every kind of CPU against `expected`, frozen parameters apart.
    fn agrees(self, mut expected: [Vec<f64>; 3]) {
        let [first, second, _] = self.outputs;
        expected[1][first * self.depth..(first + second) * self.depth].fill(1.0);
        expected[2][..first].fill(1.0);
        for cpu in oracle::cpus() {
            for (values, expected) in self.run(&cpu).iter().zip(&expected) {
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
        shape.agrees(shape.by_differences());
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
        shape.agrees(shape.by_formula());
    }
}

#[test]
fn gradients_are_the_same_on_any_number_of_threads() {
    let shape = Shape { rows: 900, outputs: [250, 600, 40], depth: 130 };
    for isa in crate::simd::Isa::available() {
        let alone = shape.run(&Cpu::with_isa(1, isa).unwrap());
        for threads in [2, 3, 7] {
            assert!(shape.run(&Cpu::with_isa(threads, isa).unwrap()) == alone, "{isa:?}, {threads} threads");
        }
    }
}

#[test]
fn no_rows_leave_gradients_as_they_are() {
    let cpu = Cpu::new(2).unwrap();
    let shape = Shape { rows: 0, outputs: [3, 2, 1], depth: 4 };
    let [dx, dw, db] = shape.run(&cpu);
    assert!(dx.is_empty() && dw.iter().chain(&db).all(|&value| value == 1.0));
    let mut dx = Tensor::from_host(&cpu, &[f32::NAN; 2], 1, 2).unwrap();
    let weight = Weight::F32(Tensor::zeros(&cpu, 0, 2).unwrap());
    backward_input(
        &cpu,
        &Tensor::zeros(&cpu, 1, 0).unwrap(),
        &[Linear { weight: &weight, bias: None, packed: None }],
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
    let layers = [Linear { weight: &weight, bias: None, packed: None }];
    let mut dx = zeros(0, 0);
    assert!(backward_input(&cpu, &zeros(4, 3), &layers, &mut dx).is_err(), "dy of another width");
    let unlike =
        [Linear { weight: &weight, bias: None, packed: None }, Linear { weight: &narrow, bias: None, packed: None }];
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
