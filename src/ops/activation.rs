//! Element-wise activations under HuggingFace's names, after transformers' `activations.py` (`ACT2FN`).
//!
//!   y = f(x),  dx = dy·f'(x)
//!
//! Where f has a kink, f' is what PyTorch takes.

#[cfg(feature = "cuda")]
mod cuda;

use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, MAX_LANES, Simd, math};

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

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn activation_forward(&self, x: &Hidden<Self>, activation: Activation, y: &mut Hidden<Self>) -> Result<()>;
    /// Updates all of `dy`.
    fn activation_backward(&self, x: &Hidden<Self>, activation: Activation, dy: &mut Hidden<Self>) -> Result<()>;
}

/// y `[T, N]` = f(x). `y` takes that shape.
pub fn forward<D: Op>(device: &D, x: &Hidden<D>, activation: Activation, y: &mut Hidden<D>) -> Result<()> {
    y.reshape(device, x.rows(), x.cols())?;
    device.activation_forward(x, activation, y)
}

/// dy `[T, N]` ← dy·f'(x) in place, x what the activation was applied to.
pub fn backward<D: Op>(device: &D, x: &Hidden<D>, activation: Activation, dy: &mut Hidden<D>) -> Result<()> {
    if x.shape() != dy.shape() {
        return Err(Error::internal(format!("activation of {:?}: gradient {:?}", x.shape(), dy.shape())));
    }
    device.activation_backward(x, activation, dy)
}

/// Rows that one work item takes.
const ROWS: usize = 16;

impl Op for Cpu {
    fn activation_forward(&self, x: &Tensor<Cpu>, activation: Activation, y: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = x.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let x = x.buffer().as_slice();
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * width], width);
        self.for_each(rows.div_ceil(ROWS), |item| {
            for row in item * ROWS..rows.min((item + 1) * ROWS) {
                // SAFETY: every item has its own rows.
                let y = unsafe { y.row(row, 0, width) };
                y.copy_from_slice(&x[row * width..][..width]);
                self.isa().dispatch(Forward { activation, row: y });
            }
        })
    }

    fn activation_backward(&self, x: &Tensor<Cpu>, activation: Activation, dy: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = x.shape();
        if rows == 0 || width == 0 || activation == Activation::Identity {
            return Ok(());
        }
        let x = x.buffer().as_slice();
        let dy = SharedRows::new(&mut dy.buffer_mut().as_mut_slice()?[..rows * width], width);
        self.for_each(rows.div_ceil(ROWS), |item| {
            for row in item * ROWS..rows.min((item + 1) * ROWS) {
                // SAFETY: every item has its own rows.
                let dy = unsafe { dy.row(row, 0, width) };
                self.isa().dispatch(Backward { activation, x: &x[row * width..][..width], dy });
            }
        })
    }
}

struct Forward<'a> {
    activation: Activation,
    row: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        apply_row(s, self.activation, self.row);
    }
}

struct Backward<'a> {
    activation: Activation,
    x: &'a [f32],
    dy: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut dys = self.dy.chunks_exact_mut(S::LANES);
        let xs = self.x.chunks_exact(S::LANES);
        let end = xs.remainder();
        for (dy, x) in (&mut dys).zip(xs) {
            let slope = derivative(s, self.activation, s.load(x));
            let dx = s.mul(s.load(dy), slope);
            s.store(dy, dx);
        }
        let tail = dys.into_remainder();
        if !tail.is_empty() {
            let slope = derivative(s, self.activation, s.load_tail(end, 0.0));
            let dx = s.mul(s.load_tail(tail, 0.0), slope);
            s.store_tail(tail, dx);
        }
    }
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
        Activation::Laplace => s.mul(s.splat(0.5), s.add(s.splat(1.0), math::erf(s, laplace_argument(s, x)))),
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

/// f' of every lane.
#[inline(always)]
fn derivative<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    let (zero, one) = (s.zero(), s.splat(1.0));
    match activation {
        Activation::Identity => one,
        Activation::GeluErf => gelu_erf_derivative(s, x),
        Activation::GeluErfClipped10 => {
            // The bounds belong to the middle; gelu never comes near −10.
            s.select_gt(gelu_erf(s, x), s.splat(10.0), zero, gelu_erf_derivative(s, x))
        }
        Activation::GeluTanh => {
            // ½(1 + tanh u) = σ(2u). Beyond |x| = 20 σ is 0 or 1; the bound keeps x³ finite.
            let near = s.max(s.splat(-20.0), s.min(s.splat(20.0), x));
            let square = s.mul(near, near);
            let inner = s.mul(near, s.fma(square, s.splat(TWICE_ROOT * 0.044_715), s.splat(TWICE_ROOT)));
            let slope = s.fma(square, s.splat(TWICE_ROOT * 3.0 * 0.044_715), s.splat(TWICE_ROOT));
            gated_derivative(s, near, inner, slope)
        }
        Activation::QuickGelu => gated_derivative(s, x, s.mul(x, s.splat(1.702)), s.splat(1.702)),
        Activation::Relu => s.select_gt(x, zero, one, zero),
        Activation::Relu2 => s.mul(s.splat(2.0), s.max(zero, x)),
        Activation::Relu6 => s.select_gt(x, zero, s.select_gt(s.splat(6.0), x, one, zero), zero),
        Activation::LeakyRelu => s.select_gt(x, zero, one, s.splat(0.01)),
        Activation::Silu => gated_derivative(s, x, x, one),
        Activation::Sigmoid => s.mul(math::sigmoid(s, x), math::sigmoid(s, s.sub(zero, x))),
        Activation::Tanh => {
            // 1 − tanh² x = 4 σ(2x) σ(−2x) without cancellation
            let twice = s.add(x, x);
            s.mul(s.splat(4.0), s.mul(math::sigmoid(s, twice), math::sigmoid(s, s.sub(zero, twice))))
        }
        Activation::Mish => {
            // With q as in `apply`, t = tanh(ln(1 + eˣ)) = q/(q + 2) and 1 − t² = 4(q + 1)/(q + 2)²:
            // f' = t + x·σ(x)·(1 − t²).
            let near = s.min(s.splat(20.0), x);
            let e = math::exp(s, near);
            let q = s.mul(e, s.add(e, s.splat(2.0)));
            let inverse = s.div(one, s.add(q, s.splat(2.0)));
            let bend = s.mul(s.mul(s.splat(4.0), s.add(q, one)), s.mul(inverse, inverse));
            s.fma(s.mul(near, math::sigmoid(s, near)), bend, s.mul(q, inverse))
        }
        Activation::Laplace => {
            let z = laplace_argument(s, x);
            let bell = math::exp(s, s.sub(zero, s.mul(z, z)));
            s.mul(bell, s.splat(LAPLACE_SCALE * 0.5 * std::f32::consts::FRAC_2_SQRT_PI))
        }
        Activation::HardSwish => {
            let middle = s.fma(x, s.splat(1.0 / 3.0), s.splat(0.5));
            s.select_gt(x, s.splat(-3.0), s.select_gt(s.splat(3.0), x, middle, one), zero)
        }
        Activation::SqrtSoftplus => {
            let mut lanes = [0.0; MAX_LANES];
            s.store(&mut lanes, x);
            for x in &mut lanes[..S::LANES] {
                // σ(x)/(2f(x)). Both vanish where eˣ does, and so does their quotient, like e^(x/2).
                let small = (-x.abs()).exp();
                let sigmoid = if *x < 0.0 { small } else { 1.0 } / (1.0 + small);
                let root = (x.max(0.0) + small.ln_1p()).sqrt();
                *x = if root == 0.0 { 0.0 } else { 0.5 * sigmoid / root };
            }
            s.load(&lanes)
        }
    }
}

/// 2√(2/π)
const TWICE_ROOT: f32 = 1.595_769_2;
/// 1/√(2π)
const BELL: f32 = 0.398_942_3;
// transformers rounds μ = √½ and σ = √(1/4π) to six digits.
const LAPLACE_MU: f32 = 707_107e-6;
const LAPLACE_SCALE: f32 = 1.0 / (0.282_095 * std::f32::consts::SQRT_2);

/// (x·σ(v))' = σ(v) + x·σ(v)·σ(−v)·v' for v = `inner` with the derivative `slope`.
#[inline(always)]
fn gated_derivative<S: Simd>(s: S, x: S::V, inner: S::V, slope: S::V) -> S::V {
    let gate = math::sigmoid(s, inner);
    let closed = math::sigmoid(s, s.sub(s.zero(), inner));
    s.fma(s.mul(x, gate), s.mul(closed, slope), gate)
}

/// Φ(x) + x·Φ'(x)
#[inline(always)]
fn gelu_erf_derivative<S: Simd>(s: S, x: S::V) -> S::V {
    let e = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    let bell = s.mul(s.splat(BELL), math::exp(s, s.mul(s.mul(x, x), s.splat(-0.5))));
    s.fma(x, bell, s.fma(e, s.splat(0.5), s.splat(0.5)))
}

#[inline(always)]
fn laplace_argument<S: Simd>(s: S, x: S::V) -> S::V {
    s.mul(s.sub(x, s.splat(LAPLACE_MU)), s.splat(LAPLACE_SCALE))
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
mod tests;
