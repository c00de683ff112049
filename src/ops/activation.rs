//! Element-wise activations under HuggingFace's names, after transformers' `activations.py` (`ACT2FN`).

use crate::simd::{MAX_LANES, Simd, math};

/// A function applied to every element. HuggingFace has several names for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `linear`: x
    Identity,
    /// `gelu`, `gelu_python`: x·Φ(x) with Φ the normal distribution function, by erf
    GeluErf,
    /// `gelu_10`: the above, clipped to −10..=10
    GeluErfClipped10,
    /// `gelu_new`, `gelu_fast`, `gelu_accurate`, `gelu_pytorch_tanh`: x·½(1 + tanh(√(2/π)(x + 0.044715x³)))
    GeluTanh,
    /// `quick_gelu`: x·σ(1.702x)
    QuickGelu,
    /// `relu`: max(x, 0)
    Relu,
    /// `relu2`: max(x, 0)²
    Relu2,
    /// `relu6`: min(max(x, 0), 6)
    Relu6,
    /// `leaky_relu`: x, or 0.01x below zero
    LeakyRelu,
    /// `silu`, `swish`: x·σ(x)
    Silu,
    /// `sigmoid`: σ(x)
    Sigmoid,
    /// `tanh`
    Tanh,
    /// `mish`: x·tanh(ln(1 + eˣ))
    Mish,
    /// `laplace`: ½(1 + erf((x − μ)/(σ√2))) with μ = 0.707107, σ = 0.282095
    Laplace,
    /// `hardswish`: x·min(max(x + 3, 0), 6)/6
    HardSwish,
    /// `sqrtsoftplus`: √ln(1 + eˣ)
    SqrtSoftplus,
}

/// The activation of every lane.
#[inline(always)]
pub fn apply<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    match activation {
        Activation::Identity => x,
        Activation::GeluErf => gelu_erf(s, x),
        Activation::GeluErfClipped10 => s.max(s.splat(-10.0), s.min(s.splat(10.0), gelu_erf(s, x))),
        Activation::GeluTanh => {
            let cubic = s.fma(s.mul(s.mul(x, x), x), s.splat(0.044_715), x);
            let t = math::tanh(s, s.mul(cubic, s.splat(0.797_884_6)));
            s.mul(s.mul(x, s.splat(0.5)), s.add(s.splat(1.0), t))
        }
        Activation::QuickGelu => s.mul(x, math::sigmoid(s, s.mul(x, s.splat(1.702)))),
        Activation::Relu => s.max(s.zero(), x),
        Activation::Relu2 => {
            let positive = s.max(s.zero(), x);
            s.mul(positive, positive)
        }
        Activation::Relu6 => s.min(s.splat(6.0), s.max(s.zero(), x)),
        Activation::LeakyRelu => s.select_gt(x, s.zero(), x, s.mul(x, s.splat(0.01))),
        Activation::Silu => s.mul(x, math::sigmoid(s, x)),
        Activation::Sigmoid => math::sigmoid(s, x),
        Activation::Tanh => math::tanh(s, x),
        Activation::Mish => {
            // tanh(ln(1 + e)) = (e² + 2e)/(e² + 2e + 2); beyond x = 20 the quotient is 1 and e² might overflow.
            let e = math::exp(s, s.min(s.splat(20.0), x));
            let q = s.mul(e, s.add(e, s.splat(2.0)));
            s.mul(x, s.div(q, s.add(q, s.splat(2.0))))
        }
        Activation::Laplace => {
            // transformers rounds μ = √½ and σ = √(1/4π) to six digits.
            const MU: f32 = 707_107e-6;
            const SCALE: f32 = 1.0 / (0.282_095 * std::f32::consts::SQRT_2);
            let z = s.mul(s.sub(x, s.splat(MU)), s.splat(SCALE));
            s.mul(s.splat(0.5), s.add(s.splat(1.0), math::erf(s, z)))
        }
        Activation::HardSwish => {
            let gate = s.min(s.splat(6.0), s.max(s.zero(), s.add(x, s.splat(3.0))));
            s.mul(s.mul(x, gate), s.splat(1.0 / 6.0))
        }
        Activation::SqrtSoftplus => {
            let mut lanes = [0.0; MAX_LANES];
            s.store(&mut lanes, x);
            for x in &mut lanes[..S::LANES] {
                // ln(1 + eˣ) without overflow: max(x, 0) + ln(1 + e^−|x|)
                *x = (x.max(0.0) + (-x.abs()).exp().ln_1p()).sqrt();
            }
            s.load(&lanes)
        }
    }
}

#[inline(always)]
fn gelu_erf<S: Simd>(s: S, x: S::V) -> S::V {
    let e = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    s.mul(s.mul(x, s.splat(0.5)), s.add(s.splat(1.0), e))
}

/// The activation of every element of `row`, in place.
#[inline(always)]
pub fn apply_row<S: Simd>(s: S, activation: Activation, row: &mut [f32]) {
    let mut chunks = row.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let x = s.load(chunk);
        s.store(chunk, apply(s, activation, x));
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let x = s.load_tail(tail, 0.0);
        s.store_tail(tail, apply(s, activation, x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

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

    struct Row<'a>(Activation, &'a mut [f32]);

    impl Kernel for Row<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            apply_row(s, self.0, self.1);
        }
    }

    #[test]
    fn every_function_agrees_with_its_definition() {
        for length in [1, 7, 8, 9, 15, 16, 17, 1001] {
            let xs: Vec<f32> = (0..length).map(|i| (i as f32 * 0.731).rem_euclid(40.0) - 20.0).collect();
            for isa in Isa::available() {
                for activation in ALL {
                    let mut ys = xs.clone();
                    isa.dispatch(Row(activation, &mut ys));
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
}
