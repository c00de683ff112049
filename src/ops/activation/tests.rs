use super::*;
use crate::ops::oracle::{self, numbers};
use crate::simd::Isa;

const ALL: [Activation; 16] = [
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

fn erf(x: f64) -> f64 {
    // Simpson's rule on the defining integral: 1e-12 at 2,000 intervals for |x| ≤ 6.
    let (n, x) = (2000, x.clamp(-6.0, 6.0));
    let h = x / n as f64;
    let f = |i: usize| (-(h * i as f64).powi(2)).exp();
    let inner: f64 = (1..n).map(|i| f(i) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (f(0) + inner + f(n)) * h / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
}

fn reference(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gelu = |x: f64| x * 0.5 * (1.0 + erf(x / 2f64.sqrt()));
    match activation {
        Activation::Identity => x,
        Activation::GeluErf => gelu(x),
        Activation::GeluErfClipped10 => gelu(x).clamp(-10.0, 10.0),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Relu2 => x.max(0.0).powi(2),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu => x.max(0.01 * x),
        Activation::Silu => x * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        Activation::Laplace => 0.5 * (1.0 + erf((x - 707107e-6) / (0.282095 * 2f64.sqrt()))),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::SqrtSoftplus => x.exp().ln_1p().sqrt(),
    }
}

#[test]
fn every_function_agrees_with_its_definition() {
    for length in [1, 7, 8, 9, 15, 16, 17, 1001] {
        let xs: Vec<f32> = (0..length).map(|i| (i as f32 * 0.731).rem_euclid(40.0) - 20.0).collect();
        for isa in Isa::available() {
            for activation in ALL {
                let mut ys = xs.clone();
                isa.dispatch(Forward { activation, row: &mut ys });
                for (&x, &y) in xs.iter().zip(&ys) {
                    let expected = reference(activation, f64::from(x));
                    // 5e-7 is the error of erf and tanh; it is multiplied by |x| in the gated functions.
                    let tolerance = 6e-7 * (1.0 + f64::from(x).abs()) + 1e-6 * expected.abs();
                    assert!(
                        (f64::from(y) - expected).abs() <= tolerance,
                        "{activation:?} on {isa:?}: f({x}) = {y}, expected {expected}"
                    );
                }
            }
        }
    }
}

/// Where a function's derivative jumps, and what PyTorch takes there.
fn kinks(activation: Activation) -> &'static [(f32, f32)] {
    match activation {
        Activation::Relu => &[(0.0, 0.0)],
        Activation::Relu2 => &[(0.0, 0.0)],
        Activation::Relu6 => &[(0.0, 0.0), (6.0, 0.0)],
        Activation::LeakyRelu => &[(0.0, 0.01)],
        Activation::GeluErfClipped10 => &[(10.0, 1.0)],
        Activation::HardSwish => &[(-3.0, 0.0), (3.0, 1.0)],
        _ => &[],
    }
}

fn values(cpu: &Cpu, x: &[f32], shape: (usize, usize), activation: Activation, dy: &[f32]) -> [Vec<f32>; 2] {
    let tensor = |v: &[f32]| Tensor::from_host(cpu, v, shape.0, shape.1).unwrap();
    let (x, mut dy) = (tensor(x), tensor(dy));
    let mut y = tensor(&vec![f32::NAN; shape.0 * shape.1]);
    forward(cpu, &x, activation, &mut y).unwrap();
    backward(cpu, &x, activation, &mut dy).unwrap();
    [y, dy].map(|t| t.to_host(cpu).unwrap())
}

#[test]
fn backward_agrees_with_the_derivative() {
    let (rows, width) = (17, 37);
    for activation in ALL {
        let near_kink = |x: f32| kinks(activation).iter().any(|(kink, _)| (x - kink).abs() < 0.01);
        let xs: Vec<f32> = (0..rows * width)
            .map(|i| (i as f32 * 0.0731).rem_euclid(36.0) - 18.0)
            .map(|x| if near_kink(x) { x + 0.05 } else { x })
            .collect();
        let dy: Vec<f32> = numbers(rows * width, 1);
        let slopes = xs.iter().map(|&x| oracle::gradient(&[f64::from(x)], |x| reference(activation, x[0]))[0]);
        let slopes: Vec<f64> = slopes.collect();
        let expected: Vec<f64> = slopes.iter().zip(&dy).map(|(slope, &dy)| slope * f64::from(dy)).collect();
        for cpu in oracle::cpus() {
            for shape in [(rows, width), (rows - 1, 16), (3, 8), (2, 1), (1, 9), (1, 15), (0, 5)] {
                let count = shape.0 * shape.1;
                let [y, dx] = values(&cpu, &xs[..count], shape, activation, &dy[..count]);
                // Every derivative is a few sigmoids, exponentials and error functions good to 5e-7, and at most
                // a few of them meet a factor: none is above 2 in sum, but relu2's, which is exact, reaches 36.
                // 2e-6 relative to that, dy being below 1.
                for (index, (value, expected)) in dx.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*value) - expected).abs();
                    let tolerance = 2e-6 * slopes[index].abs().max(1.0);
                    let x = xs[index];
                    assert!(error <= tolerance, "{activation:?}'({x}) = {value}, expected {expected}: {error:e}");
                }
                let mut rows = xs[..count].to_vec();
                rows.chunks_mut(shape.1).for_each(|row| cpu.isa().dispatch(Forward { activation, row }));
                assert_eq!(y, rows, "{activation:?}");
            }
        }
    }
}

#[test]
fn kinks_have_the_derivative_that_pytorch_takes() {
    for cpu in oracle::cpus() {
        for activation in ALL {
            for &(x, slope) in kinks(activation) {
                let [_, dx] = values(&cpu, &[x], (1, 1), activation, &[1.0]);
                assert!((dx[0] - slope).abs() < 1e-6, "{activation:?}'({x}) = {}", dx[0]);
            }
        }
    }
}

/// f' where `apply` has left the reach of its exponentials, x ≥ 90.
fn slope_far_above(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Relu2 => 2.0 * x,
        Activation::SqrtSoftplus => 0.5 / x.sqrt(),
        Activation::GeluErfClipped10
        | Activation::Relu6
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Laplace => 0.0,
        _ => 1.0,
    }
}

/// f' there, x ≤ −90.
fn slope_far_below(activation: Activation) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::LeakyRelu => 0.01,
        _ => 0.0,
    }
}

#[test]
fn derivatives_reach_their_limits_far_out() {
    for cpu in oracle::cpus() {
        for activation in ALL {
            for x in [90.0, 200.0, 1e4, 1e30] {
                let [_, dx] = values(&cpu, &[x, -x], (1, 2), activation, &[1.0; 2]);
                let (above, below) = (slope_far_above(activation, x), slope_far_below(activation));
                // σ of what exceeds the range of `exp` is e⁻⁸⁸, not zero: with 1e30 before it still below 1e-6.
                assert!((dx[0] - above).abs() <= 1e-6 * above.max(1.0), "{activation:?}'({x}) = {}", dx[0]);
                assert!((dx[1] - below).abs() <= 1e-6, "{activation:?}'(-{x}) = {}", dx[1]);
            }
        }
    }
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let cpu = Cpu::new(1).unwrap();
    let (x, mut dy) = (Tensor::zeros(&cpu, 2, 3).unwrap(), Tensor::zeros(&cpu, 3, 2).unwrap());
    assert!(backward(&cpu, &x, Activation::Relu, &mut dy).is_err());
}
