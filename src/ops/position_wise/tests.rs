use super::*;
use crate::device::cpu::Memory;
use crate::device::cpu::Packed;
use crate::ops::linear::{Factors, Weight};
use crate::ops::oracle::{self, numbers};

/// Parameters of H and F, in an arithmetic.
struct Parameters {
    weights: [Weight<Cpu>; 3],
    packed: Vec<Packed>,
    biases: [Tensor<Cpu>; 3],
    /// γ and β of the first norm, then of the second.
    affine: [Tensor<Cpu>; 4],
}

impl Parameters {
    fn new(cpu: &Cpu, hidden: usize, wide: usize) -> Self {
        let tensor = |rows, cols, seed| Tensor::from_host(cpu, &numbers(rows * cols, seed), rows, cols).unwrap();
        let weights =
            [(hidden, hidden, 1), (wide, hidden, 2), (hidden, wide, 3)].map(|(n, k, s)| Weight::F32(tensor(n, k, s)));
        let packed = linear::pack(cpu, &weights.each_ref()).unwrap();
        let biases = [(hidden, 4), (wide, 5), (hidden, 6)].map(|(n, seed)| tensor(1, n, seed));
        Self { weights, packed, biases, affine: [7, 8, 9, 10].map(|seed| tensor(1, hidden, seed)) }
    }

    fn linear(&self, layer: usize) -> Linear<'_, Cpu> {
        let (weight, bias) = (&self.weights[layer], Some(&self.biases[layer]));
        Linear { weight, bias, packed: self.packed.get(layer), factors: Factors::Exact }
    }

    fn norm(&self, norm: usize) -> Affine<'_, Cpu> {
        Affine { gamma: &self.affine[2 * norm], beta: &self.affine[2 * norm + 1], epsilon: 1e-12 }
    }

    fn layer(&self, activation: Activation) -> PositionWise<'_, Cpu> {
        PositionWise {
            attention_output: self.linear(0),
            attention_norm: self.norm(0),
            intermediate: self.linear(1),
            activation,
            output: self.linear(2),
            output_norm: self.norm(1),
        }
    }

    /// One operation after the other.
    fn apart(&self, cpu: &Cpu, context: &Tensor<Cpu>, x: &Tensor<Cpu>, activation: Activation) -> Tensor<Cpu> {
        let new = || Tensor::new(cpu, 0, 0).unwrap();
        let (mut sum, mut normal, mut wide, mut y) = (new(), new(), new(), new());
        linear::forward(cpu, context, &[self.linear(0)], Activation::Identity, &mut sum).unwrap();
        layer_norm::forward(cpu, &sum, Some(x), &self.norm(0), &mut normal).unwrap();
        linear::forward(cpu, &normal, &[self.linear(1)], activation, &mut wide).unwrap();
        linear::forward(cpu, &wide, &[self.linear(2)], Activation::Identity, &mut sum).unwrap();
        layer_norm::forward(cpu, &sum, Some(&normal), &self.norm(1), &mut y).unwrap();
        y
    }
}

#[test]
fn one_go_gives_the_bits_of_one_operation_after_the_other() {
    for cpu in oracle::cpus() {
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8] {
            let cpu = cpu.computing(arithmetic, Memory::Fast);
            for (hidden, wide, activation) in [
                (1, 1, Activation::Identity),
                (7, 33, Activation::GeluErf),
                (32, 64, Activation::Relu),
                (70, 95, Activation::GeluTanh),
                (800, 1601, Activation::GeluErf), // deeper than what f32 adds up at once
            ] {
                let parameters = Parameters::new(&cpu, hidden, wide);
                for rows in [1, 5, 12, 13, 16, 17, 24, 31, 97, 130] {
                    let tensor = |seed| Tensor::from_host(&cpu, &numbers(rows * hidden, seed), rows, hidden).unwrap();
                    let (context, mut x) = (tensor(11), tensor(12));
                    let expected = parameters.apart(&cpu, &context, &x, activation);
                    let fused = forward(&cpu, &context, &parameters.layer(activation), &mut x).unwrap();
                    let (y, expected) = (x.to_host(&cpu).unwrap(), expected.to_host(&cpu).unwrap());
                    assert_eq!(fused, Fused::Yes);
                    assert_eq!(y, expected, "{arithmetic:?}, {rows} rows of {hidden} and {wide}");
                }
            }
        }
    }
}

#[test]
fn weights_as_they_are_stored_are_left_to_one_operation_after_the_other() {
    let cpu = Cpu::new(2).unwrap();
    let parameters = Parameters { packed: Vec::new(), ..Parameters::new(&cpu, 8, 16) };
    let (context, mut x) = (Tensor::zeros(&cpu, 3, 8).unwrap(), Tensor::zeros(&cpu, 3, 8).unwrap());
    assert_eq!(forward(&cpu, &context, &parameters.layer(Activation::Relu), &mut x).unwrap(), Fused::No);
}

#[test]
fn shapes_that_disagree_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let (parameters, other) = (Parameters::new(&cpu, 8, 16), Parameters::new(&cpu, 4, 16));
    let zeros = |rows, cols| Tensor::zeros(&cpu, rows, cols).unwrap();
    let refused = |context: (usize, usize), layer: PositionWise<'_, Cpu>| {
        forward(&cpu, &zeros(context.0, context.1), &layer, &mut zeros(3, 8)).is_err()
    };
    let layer = || parameters.layer(Activation::Relu);
    assert!(!refused((3, 8), layer()));
    assert!(refused((2, 8), layer()), "other rows");
    assert!(refused((3, 8), PositionWise { output: other.linear(2), ..layer() }), "another weight");
    assert!(refused((3, 8), PositionWise { attention_norm: other.norm(0), ..layer() }), "another norm");
    let bias = Some(&parameters.biases[0]);
    assert!(
        refused((3, 8), PositionWise { intermediate: Linear { bias, ..layer().intermediate }, ..layer() }),
        "a bias"
    );
}
