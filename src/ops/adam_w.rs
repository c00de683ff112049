//! One step of Adam with decoupled weight decay (Loshchilov & Hutter 2019) on one tensor, as `torch.optim.AdamW`:
//!
//!   m ← β₁m + (1 − β₁)g    v ← β₂v + (1 − β₂)g²    p ← (1 − ηλ)p − η·m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)
//!
//! and the sum of squares from which the norm of all gradients is made, whose clipping is a factor on g.

#[cfg(feature = "cuda")]
mod cuda;

use super::shared::SharedRows;
use super::total::total;
use crate::device::{Cpu, Device, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// What one step needs to know beside the tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// η
    pub learning_rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// ε, outside the root.
    pub epsilon: f32,
    /// λ; zero for tensors that do not decay.
    pub weight_decay: f32,
    /// t: 1 at the first step.
    pub count: u64,
    /// Factor on every gradient: below 1 where the norm is clipped.
    pub gradient_scale: f32,
}

/// m and v, of the parameter's shape.
pub struct Moments<D: Device> {
    /// Running mean of gradients: HuggingFace's and PyTorch's `exp_avg`.
    pub mean: Tensor<D>,
    /// Running mean of squared gradients: `exp_avg_sq`.
    pub square: Tensor<D>,
}

impl<D: Device> Moments<D> {
    /// The moments before the first step: zero.
    pub fn new(device: &D, rows: usize, cols: usize) -> Result<Self> {
        Ok(Self { mean: Tensor::zeros(device, rows, cols)?, square: Tensor::zeros(device, rows, cols)? })
    }
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Updates the moments and the parameter.
    fn adam_w_step(
        &self,
        step: &Step,
        gradient: &Tensor<Self>,
        moments: &mut Moments<Self>,
        parameter: &mut Tensor<Self>,
    ) -> Result<()>;
    /// Σ x² over all tensors, in an order that depends on their shapes only.
    fn sum_of_squares(&self, tensors: &[&Tensor<Self>]) -> Result<f64>;
}

/// Moves `parameter` against `gradient` and updates its moments. All are of one shape.
pub fn step<D: Op>(
    device: &D,
    step: &Step,
    gradient: &Tensor<D>,
    moments: &mut Moments<D>,
    parameter: &mut Tensor<D>,
) -> Result<()> {
    let shape = parameter.shape();
    if gradient.shape() != shape || moments.mean.shape() != shape || moments.square.shape() != shape {
        return Err(Error::internal(format!(
            "adamw of {shape:?}: gradient {:?}, moments {:?} and {:?}",
            gradient.shape(),
            moments.mean.shape(),
            moments.square.shape()
        )));
    }
    if step.count == 0 {
        return Err(Error::internal("adamw: steps count from 1"));
    }
    device.adam_w_step(step, gradient, moments, parameter)
}

/// Σ x² of all numbers of all tensors, in f64; the same on any number of threads.
pub fn sum_of_squares<D: Op>(device: &D, tensors: &[&Tensor<D>]) -> Result<f64> {
    device.sum_of_squares(tensors)
}

/// Elements of one work item: a multiple of every vector.
const BLOCK: usize = 16 * 1024;

impl Op for Cpu {
    fn adam_w_step(
        &self,
        step: &Step,
        gradient: &Tensor<Cpu>,
        moments: &mut Moments<Cpu>,
        parameter: &mut Tensor<Cpu>,
    ) -> Result<()> {
        let count = parameter.rows() * parameter.cols();
        let gradient = &gradient.buffer().as_slice()[..count];
        let mean = SharedRows::new(&mut moments.mean.buffer_mut().as_mut_slice()?[..count], count);
        let square = SharedRows::new(&mut moments.square.buffer_mut().as_mut_slice()?[..count], count);
        let parameter = SharedRows::new(&mut parameter.buffer_mut().as_mut_slice()?[..count], count);
        let factors = Factors::of(step);
        self.for_each(count.div_ceil(BLOCK), |block| {
            let first = block * BLOCK;
            let length = BLOCK.min(count - first);
            // SAFETY: every item has its own block of each of the three.
            let (mean, square, parameter) =
                unsafe { (mean.row(0, first, length), square.row(0, first, length), parameter.row(0, first, length)) };
            let gradient = &gradient[first..first + length];
            self.isa().dispatch(Block { factors, gradient, mean, square, parameter });
        })
    }

    fn sum_of_squares(&self, tensors: &[&Tensor<Cpu>]) -> Result<f64> {
        let mut sum = 0.0;
        for x in tensors {
            let x = &x.buffer().as_slice()[..x.rows() * x.cols()];
            sum += total(self, x.len().div_ceil(BLOCK), |block| {
                self.isa().dispatch(Squares(&x[block * BLOCK..x.len().min((block + 1) * BLOCK)]))
            })?;
        }
        Ok(sum)
    }
}

/// What is the same for every element, computed in f64.
#[derive(Clone, Copy)]
struct Factors {
    /// On every gradient.
    gradient: f32,
    /// 1 − β₁
    mean: f32,
    /// β₂
    keep: f32,
    /// 1 − β₂
    square: f32,
    /// 1/√(1 − β₂ᵗ)
    root: f32,
    /// ε
    epsilon: f32,
    /// 1 − ηλ
    decay: f32,
    /// −η/(1 − β₁ᵗ)
    step: f32,
}

impl Factors {
    fn of(step: &Step) -> Self {
        let (rate, beta1, beta2) = (f64::from(step.learning_rate), f64::from(step.beta1), f64::from(step.beta2));
        let t = step.count as f64;
        Self {
            gradient: step.gradient_scale,
            mean: (1.0 - beta1) as f32,
            keep: step.beta2,
            square: (1.0 - beta2) as f32,
            root: (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32,
            epsilon: step.epsilon,
            decay: (1.0 - rate * f64::from(step.weight_decay)) as f32,
            step: (-rate / (1.0 - beta1.powf(t))) as f32,
        }
    }

    /// m, v and p after the step.
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, gradient: S::V, mean: S::V, square: S::V, parameter: S::V) -> (S::V, S::V, S::V) {
        let g = s.mul(gradient, s.splat(self.gradient));
        let m = s.fma(s.sub(g, mean), s.splat(self.mean), mean);
        let v = s.fma(square, s.splat(self.keep), s.mul(s.mul(g, g), s.splat(self.square)));
        let denominator = s.fma(s.sqrt(v), s.splat(self.root), s.splat(self.epsilon));
        let p = s.fma(s.div(m, denominator), s.splat(self.step), s.mul(parameter, s.splat(self.decay)));
        (m, v, p)
    }
}

struct Block<'a> {
    factors: Factors,
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
    parameter: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.gradient.len() - self.gradient.len() % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let (mean, square, parameter) = (&mut self.mean[i..], &mut self.square[i..], &mut self.parameter[i..]);
            let gradient = s.load(&self.gradient[i..]);
            let (m, v, p) = self.factors.apply(s, gradient, s.load(mean), s.load(square), s.load(parameter));
            s.store(mean, m);
            s.store(square, v);
            s.store(parameter, p);
        }
        if whole < self.gradient.len() {
            let gradient = s.load_tail(&self.gradient[whole..], 0.0);
            let (mean, square, parameter) =
                (&mut self.mean[whole..], &mut self.square[whole..], &mut self.parameter[whole..]);
            let (old_mean, old_square) = (s.load_tail(mean, 0.0), s.load_tail(square, 0.0));
            let (m, v, p) = self.factors.apply(s, gradient, old_mean, old_square, s.load_tail(parameter, 0.0));
            s.store_tail(mean, m);
            s.store_tail(square, v);
            s.store_tail(parameter, p);
        }
    }
}

/// Sums of 16 columns, left to the compiler to vectorise: the square of an f32 is exact in f64, so every instruction
/// set has the same sum.
struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; 16];
        let (chunks, tail) = self.0.as_chunks::<16>();
        for chunk in chunks {
            for i in 0..16 {
                let x = f64::from(chunk[i]);
                sums[i] += x * x;
            }
        }
        for (sum, &x) in sums.iter_mut().zip(tail) {
            *sum += f64::from(x) * f64::from(x);
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use crate::ops::oracle::{self, numbers, wide};

    const STEP: Step = Step {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-3,
        weight_decay: 0.1,
        count: 1,
        gradient_scale: 0.5,
    };

    /// p, m and v after `steps` steps: PyTorch's order of operations in f64.
    fn reference(mut p: Vec<f64>, gradients: &[Vec<f32>]) -> [Vec<f64>; 3] {
        let (lr, b1, b2) = (f64::from(STEP.learning_rate), f64::from(STEP.beta1), f64::from(STEP.beta2));
        let (eps, decay) = (f64::from(STEP.epsilon), f64::from(STEP.weight_decay));
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        for (t, gradient) in (1..).zip(gradients) {
            for i in 0..p.len() {
                let g = f64::from(gradient[i]) * f64::from(STEP.gradient_scale);
                p[i] -= lr * decay * p[i];
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                let (correction1, correction2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
                p[i] -= lr / correction1 * m[i] / (v[i].sqrt() / correction2.sqrt() + eps);
            }
        }
        [p, m, v]
    }

    fn run(cpu: &Cpu, p: &[f32], gradients: &[Vec<f32>]) -> [Vec<f32>; 3] {
        let n = p.len();
        let mut parameter = Tensor::from_host(cpu, p, 1, n).unwrap();
        let mut moments = Moments::new(cpu, 1, n).unwrap();
        for (count, gradient) in (1..).zip(gradients) {
            let gradient = Tensor::from_host(cpu, gradient, 1, n).unwrap();
            step(cpu, &Step { count, ..STEP }, &gradient, &mut moments, &mut parameter).unwrap();
        }
        [&parameter, &moments.mean, &moments.square].map(|t| t.to_host(cpu).unwrap())
    }

    #[test]
    fn ten_steps_agree_with_the_definition() {
        for n in [1, 7, 8, 9, 15, 16, 17, 768, 2 * BLOCK + 5] {
            let p = numbers(n, 1);
            let gradients: Vec<Vec<f32>> = (0..10).map(|t| numbers(n, 2 + t)).collect();
            let expected = reference(wide(&p), &gradients);
            let mut before: Option<(crate::simd::Isa, [Vec<f32>; 3])> = None;
            for cpu in oracle::cpus() {
                let got = run(&cpu, &p, &gradients);
                // Ten updates of at most 0.02 and ten roundings of values below 1; moments below 1, ten roundings.
                for (values, expected) in got.iter().zip(&expected) {
                    oracle::close(values, expected, 1e-6);
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
    fn agrees_with_pytorch() {
        // torch.optim.AdamW([p], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01), three steps, torch 2.15
        let gradients = [[0.1f32, -2.0, 0.0, 1e-5], [0.3, 1.0, 0.0, -2e-5], [-0.2, 0.5, 1e-9, 3e-5]];
        let expected = [0.4978093207, -0.2486647815, 0.9999350905, -0.0009761947];
        let cpu = Cpu::new(1).unwrap();
        let mut parameter = Tensor::from_host(&cpu, &[0.5, -0.25, 1.0, 0.0], 1, 4).unwrap();
        let mut moments = Moments::new(&cpu, 1, 4).unwrap();
        for (count, gradient) in (1..).zip(&gradients) {
            let settings =
                Step { learning_rate: 1e-3, epsilon: 1e-8, weight_decay: 0.01, count, gradient_scale: 1.0, ..STEP };
            let gradient = Tensor::from_host(&cpu, gradient, 1, 4).unwrap();
            step(&cpu, &settings, &gradient, &mut moments, &mut parameter).unwrap();
        }
        // One unit in the last place of values near 1, and of updates of 1e-3.
        oracle::close(&parameter.to_host(&cpu).unwrap(), &expected, 1e-7);
    }

    #[test]
    fn squares_are_summed_in_one_order() {
        for n in [0, 1, 15, 16, 17, 3 * BLOCK + 21] {
            // Values whose squares underflow and overflow f32.
            let values: Vec<f32> =
                numbers(n, 7).iter().enumerate().map(|(i, v)| v * [1e-25, 1.0, 1e25][i % 3]).collect();
            let expected: f64 = wide(&values).iter().map(|v| v * v).sum();
            let mut before = None;
            for cpu in oracle::cpus() {
                let x = Tensor::from_host(&cpu, &values, 1, n).unwrap();
                let sum = sum_of_squares(&cpu, &[&x]).unwrap();
                assert!((sum - expected).abs() <= 1e-12 * expected, "{sum} {expected}");
                assert_eq!(*before.get_or_insert(sum), sum);
            }
        }
    }

    #[test]
    fn shapes_and_counts_that_disagree_are_refused() {
        let cpu = Cpu::new(1).unwrap();
        let zeros = |r, c| Tensor::<Cpu>::zeros(&cpu, r, c).unwrap();
        let mut moments = Moments::new(&cpu, 2, 3).unwrap();
        let mut go = |settings: Step, gradient: Tensor<Cpu>, mut parameter: Tensor<Cpu>| {
            step(&cpu, &settings, &gradient, &mut moments, &mut parameter).map_err(|e| e.status())
        };
        assert_eq!(go(STEP, zeros(2, 3), zeros(2, 3)), Ok(()));
        assert_eq!(go(STEP, zeros(3, 2), zeros(2, 3)), Err(Status::Internal));
        assert_eq!(go(STEP, zeros(2, 2), zeros(2, 2)), Err(Status::Internal));
        assert_eq!(go(Step { count: 0, ..STEP }, zeros(2, 3), zeros(2, 3)), Err(Status::Internal));
    }
}
