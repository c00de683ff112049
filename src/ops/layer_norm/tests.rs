use super::*;
use crate::ops::oracle::{self, numbers};
use ndarray::Array1;

fn reference(z: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
    let z = Array1::from(z.to_vec());
    let mean = z.mean().unwrap();
    let variance = z.mapv(|v| (v - mean).powi(2)).mean().unwrap();
    ((z - mean) / (variance + epsilon).sqrt() * Array1::from(gamma.to_vec()) + Array1::from(beta.to_vec())).to_vec()
}

#[test]
fn forward_agrees_with_the_definition() {
    for cpu in oracle::cpus() {
        for width in [1, 7, 8, 9, 15, 16, 17, 768] {
            for rows in [1, 15, 16, 17, 33] {
                let (x, r) = (numbers(rows * width, 1), numbers(rows * width, 2));
                let (gamma, beta) = (numbers(width, 3), numbers(width, 4));
                let tensor = |v: &[f32], r, c| Tensor::from_host(&cpu, v, r, c).unwrap();
                let (g, b) = (tensor(&gamma, 1, width), tensor(&beta, 1, width));
                let affine = Affine { gamma: &g, beta: &b, epsilon: 1e-3 };
                for residual in [false, true] {
                    let mut y = tensor(&vec![f32::NAN; rows * width], rows, width);
                    let other = residual.then(|| tensor(&r, rows, width));
                    forward(&cpu, &tensor(&x, rows, width), other.as_ref(), &affine, &mut y).unwrap();
                    let y = y.to_host(&cpu).unwrap();
                    for row in 0..rows {
                        let z: Vec<f64> = (0..width)
                            .map(|i| row * width + i)
                            .map(|i| f64::from(x[i]) + if residual { f64::from(r[i]) } else { 0.0 })
                            .collect();
                        let expected = reference(&z, &oracle::wide(&gamma), &oracle::wide(&beta), 1e-3);
                        // values of a few units, each from a handful of roundings; ε = 1e-3 bounds 1/σ by 32
                        oracle::close(&y[row * width..][..width], &expected, 2e-5);
                    }
                }
            }
        }
    }
}

/// A shape, and the numbers that a backward pass of it starts from.
struct Case {
    rows: usize,
    width: usize,
}

impl Case {
    fn x(&self) -> Vec<f32> {
        numbers(self.rows * self.width, 1)
    }
    fn gamma(&self) -> Vec<f32> {
        numbers(self.width, 3)
    }
    fn beta(&self) -> Vec<f32> {
        numbers(self.width, 4)
    }
    fn dy(&self) -> Vec<f32> {
        numbers(self.rows * self.width, 5)
    }
    fn held(&self) -> Vec<f32> {
        numbers(self.width, 6)
    }

    /// dx over NaN, dγ and dβ added to `held`.
    fn gradients(&self, cpu: &Cpu) -> [Vec<f32>; 3] {
        let (rows, width) = (self.rows, self.width);
        let tensor = |v: &[f32], r, c| Tensor::from_host(cpu, v, r, c).unwrap();
        let (g, b) = (tensor(&self.gamma(), 1, width), tensor(&self.beta(), 1, width));
        let affine = Affine { gamma: &g, beta: &b, epsilon: EPSILON };
        let (x, dy) = (tensor(&self.x(), rows, width), tensor(&self.dy(), rows, width));
        let (mut y, mut plain) = (Tensor::new(cpu, 0, 0).unwrap(), Tensor::new(cpu, 0, 0).unwrap());
        let saved = forward_saving(cpu, &x, None, &affine, &mut y).unwrap();
        forward(cpu, &x, None, &affine, &mut plain).unwrap();
        assert_eq!(y.to_host(cpu).unwrap(), plain.to_host(cpu).unwrap());
        let (mut dgamma, mut dbeta) = (tensor(&self.held(), 1, width), tensor(&self.held(), 1, width));
        let mut dx = tensor(&vec![f32::NAN; rows * width], rows, width);
        let into = Gradients { gamma: Some(Accumulate(&mut dgamma)), beta: Some(Accumulate(&mut dbeta)) };
        backward(cpu, &saved, &affine, &dy, into, &mut dx).unwrap();
        let mut frozen = tensor(&vec![f32::NAN; rows * width], rows, width);
        backward(cpu, &saved, &affine, &dy, Gradients { gamma: None, beta: None }, &mut frozen).unwrap();
        assert_eq!(dx.to_host(cpu).unwrap(), frozen.to_host(cpu).unwrap());
        [&dx, &dgamma, &dbeta].map(|t| t.to_host(cpu).unwrap())
    }

    /// The same, by finite differences of the definition.
    fn expected(&self) -> [Vec<f64>; 3] {
        let (x, gamma, beta) = (oracle::wide(&self.x()), oracle::wide(&self.gamma()), oracle::wide(&self.beta()));
        let dy = oracle::wide(&self.dy());
        let row = |x: &[f64], dy: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
            reference(x, gamma, beta, f64::from(EPSILON)).iter().zip(dy).map(|(y, dy)| y * dy).sum()
        };
        let all = |gamma: &[f64], beta: &[f64]| -> f64 {
            x.chunks(self.width).zip(dy.chunks(self.width)).map(|(x, dy)| row(x, dy, gamma, beta)).sum()
        };
        let dx = x.chunks(self.width).zip(dy.chunks(self.width));
        let dx = dx.flat_map(|(x, dy)| oracle::gradient(x, |x| row(x, dy, &gamma, &beta))).collect();
        let onto = |gradient: Vec<f64>| gradient.iter().zip(self.held()).map(|(g, h)| g + f64::from(h)).collect();
        let dgamma = onto(oracle::gradient(&gamma, |gamma| all(gamma, &beta)));
        [dx, dgamma, onto(oracle::gradient(&beta, |beta| all(&gamma, beta)))]
    }
}

const EPSILON: f32 = 1e-2;

#[test]
fn backward_agrees_with_the_derivative() {
    for (rows, width) in [(1, 1), (2, 7), (3, 8), (65, 9), (3, 15), (129, 16), (3, 17), (2, 33), (5, 70)] {
        let case = Case { rows, width };
        let expected = case.expected();
        let mut before: Option<(crate::simd::Isa, [Vec<f32>; 3])> = None;
        for cpu in oracle::cpus() {
            let got = case.gradients(&cpu);
            // dx: 1/σ ≤ 10 times a few roundings of values of a few units. dγ and dβ: sums over up to 129 rows,
            // whose roundings add up to 129 · 2⁻²⁴ of values near 2.
            for (values, (expected, tolerance)) in got.iter().zip(expected.iter().zip([2e-5, 3e-5, 3e-5])) {
                oracle::close(values, expected, tolerance);
            }
            if let Some((isa, before)) = &before
                && *isa == cpu.isa()
            {
                assert_eq!(&got, before, "{isa:?}: on one thread and on three");
            }
            before = Some((cpu.isa(), got));
        }
    }
}

#[test]
fn gradients_of_another_shape_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let zeros = |r, c| Tensor::<Cpu>::zeros(&cpu, r, c).unwrap();
    let (gamma, beta, dy) = (zeros(1, 4), zeros(1, 4), zeros(2, 4));
    let affine = Affine { gamma: &gamma, beta: &beta, epsilon: EPSILON };
    let saved = |normal, scale| Saved { normal, scale };
    let mut dx = zeros(0, 0);
    let mut run = |saved: Saved<Cpu>, mut dgamma: Tensor<Cpu>| {
        let gradients = Gradients { gamma: Some(Accumulate(&mut dgamma)), beta: None };
        backward(&cpu, &saved, &affine, &dy, gradients, &mut dx)
    };
    assert!(run(saved(zeros(2, 4), zeros(2, 1)), zeros(1, 4)).is_ok());
    assert!(run(saved(zeros(2, 4), zeros(2, 1)), zeros(1, 5)).is_err());
    assert!(run(saved(zeros(3, 4), zeros(2, 1)), zeros(1, 4)).is_err());
    assert!(run(saved(zeros(2, 4), zeros(3, 1)), zeros(1, 4)).is_err());
}
