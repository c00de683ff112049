//! Transcendental functions on vectors. Coefficients are minimax fits made for this file (weighted least squares with
//! Lawson's reweighting in 50-digit arithmetic, then rounded to f32); the tests measure what they reach. NaN stays NaN: clamps name the bound first, and `min` and `max` answer with the second operand then.

use super::Simd;

/// eˣ. Relative error below 2e-7 for −87 ≤ x ≤ 88; smaller x give 0 or a value below 2e-38, larger ones e⁸⁸.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts keeps r exact.
    let x = s.max(s.splat(-87.3), s.min(s.splat(88.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(0.001_383_684_6);
    for c in [0.008_374_816, 0.041_668_225, 0.166_664_2, 0.499_999_9, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    s.mul(p, s.exp2_int(n))
}

/// erf x = x·P(x²)/Q(x²), clamped to |x| ≤ 4. Absolute error below 5e-7.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-4.0), s.min(s.splat(4.0), x));
    let u = s.mul(x, x);
    let mut p = s.splat(1.974_827_5e-6);
    for c in [0.000_288_041_02, 0.004_003_639, 0.053_467_456, 0.196_248_86, std::f32::consts::FRAC_2_SQRT_PI] {
        p = s.fma(p, u, s.splat(c));
    }
    let mut q = s.splat(3.748_081_5e-5);
    for c in [0.001_216_357_8, 0.015_444_408, 0.116_476_37, 0.507_252_16, 1.0] {
        q = s.fma(q, u, s.splat(c));
    }
    s.div(s.mul(x, p), q)
}

/// 1 / (1 + e⁻ˣ). Absolute error below 2e-7.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.sub(s.zero(), x));
    s.div(s.splat(1.0), s.add(s.splat(1.0), e))
}

/// tanh x = 1 − 2 / (1 + e²ˣ). Absolute error below 4e-7.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.add(x, x));
    s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(s.splat(1.0), e)))
}

#[cfg(test)]
mod tests {
    use super::super::{Isa, Kernel};
    use super::*;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Erf,
        Sigmoid,
        Tanh,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for chunk in self.1.chunks_exact_mut(S::LANES) {
                let x = s.load(chunk);
                let y = match self.0 {
                    Function::Exp => exp(s, x),
                    Function::Erf => erf(s, x),
                    Function::Sigmoid => sigmoid(s, x),
                    Function::Tanh => tanh(s, x),
                };
                s.store(chunk, y);
            }
        }
    }

    /// erf by its Maclaurin series, or by 1 where the difference is below 1e-15.
    fn erf_reference(x: f64) -> f64 {
        if x.abs() > 5.7 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn largest(function: Function, range: std::ops::Range<f64>, error: impl Fn(f64, f64) -> f64) -> f64 {
        let points = 64 * 1024;
        let step = (range.end - range.start) / points as f64;
        let xs: Vec<f32> = (0..points).map(|i| (range.start + step * i as f64) as f32).collect();
        let mut worst: f64 = 0.0;
        for isa in Isa::available() {
            let mut ys = xs.clone();
            isa.dispatch(Apply(function, &mut ys));
            for (&x, &y) in xs.iter().zip(&ys) {
                worst = worst.max(error(f64::from(x), f64::from(y)));
            }
        }
        worst
    }

    #[test]
    fn exp_is_accurate() {
        let worst = largest(Function::Exp, -87.0..88.0, |x, y| (y / x.exp() - 1.0).abs());
        assert!(worst < 2e-7, "{worst:e}");
        assert!(largest(Function::Exp, -1e4..-88.0, |_, y| y) < 2e-38);
    }

    #[test]
    fn erf_is_accurate() {
        let worst = largest(Function::Erf, -5.0..5.0, |x, y| (y - erf_reference(x)).abs());
        assert!(worst < 5e-7, "{worst:e}");
        assert!(largest(Function::Erf, 5.0..1e6, |_, y| (y - 1.0).abs()) < 5e-7);
    }

    #[test]
    fn nan_stays_nan() {
        for isa in Isa::available() {
            for function in [Function::Exp, Function::Erf, Function::Sigmoid, Function::Tanh] {
                let mut values = [f32::NAN; 16];
                isa.dispatch(Apply(function, &mut values));
                assert!(values.iter().all(|v| v.is_nan()), "{isa:?}");
            }
        }
    }

    #[test]
    fn sigmoid_and_tanh_are_accurate() {
        let sigmoid = largest(Function::Sigmoid, -100.0..100.0, |x, y| (y - 1.0 / (1.0 + (-x).exp())).abs());
        assert!(sigmoid < 2e-7, "{sigmoid:e}");
        let tanh = largest(Function::Tanh, -30.0..30.0, |x, y| (y - x.tanh()).abs());
        assert!(tanh < 4e-7, "{tanh:e}");
    }
}
