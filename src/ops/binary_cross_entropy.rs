//! Binary cross-entropy of logits z with targets t, each value for itself, as
//! `torch.nn.functional.binary_cross_entropy_with_logits`:
//!
//!   loss = −t·ln σ(z) − (1 − t)·ln(1 − σ(z)) = max(z, 0) − z·t + ln(1 + e^−|z|)        dz = σ(z) − t

#[cfg(feature = "cuda")]
mod cuda;

use super::pointwise;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::Result;

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Σ losses; writes all of `gradient`'s tensor, each value times its factor.
    fn binary_cross_entropy(
        &self,
        logits: &Hidden<Self>,
        targets: &[f32],
        gradient: Option<(f32, &mut Hidden<Self>)>,
    ) -> Result<f64>;
}

/// Σ losses over all values, not divided; targets row-major like the logits. dlogits = scale · d Σ losses / d logits,
/// and takes their shape.
pub fn forward_backward<D: Op>(
    device: &D,
    logits: &Hidden<D>,
    targets: &[f32],
    scale: f32,
    dlogits: &mut Hidden<D>,
) -> Result<f64> {
    pointwise::check("binary cross-entropy", logits, targets)?;
    dlogits.reshape(device, logits.rows(), logits.cols())?;
    device.binary_cross_entropy(logits, targets, Some((scale, dlogits)))
}

/// The loss of [`forward_backward`] alone.
pub fn forward<D: Op>(device: &D, logits: &Hidden<D>, targets: &[f32]) -> Result<f64> {
    pointwise::check("binary cross-entropy", logits, targets)?;
    device.binary_cross_entropy(logits, targets, None)
}

/// Values of one work item.
const BLOCK: usize = 1024;

impl Op for Cpu {
    fn binary_cross_entropy(
        &self,
        logits: &Tensor<Cpu>,
        targets: &[f32],
        gradient: Option<(f32, &mut Tensor<Cpu>)>,
    ) -> Result<f64> {
        pointwise::sum(self, BLOCK, logits, targets, gradient, loss, |z, t| sigmoid(z) - t)
    }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn loss(z: f64, t: f64) -> f64 {
    // `f64::max` would hide a NaN; the other terms show it.
    z.max(0.0) - z * t + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers, wide};

    #[test]
    fn agrees_with_the_definition_and_its_derivative() {
        for (rows, cols) in [(1, 1), (3, 7), (2, 16), (5, 17)] {
            let z: Vec<f32> = numbers(rows * cols, 1).iter().map(|v| v * 6.0).collect();
            let targets: Vec<f32> = numbers(rows * cols, 2).iter().map(|v| v.abs()).collect();
            let definition = |z: &[f64]| -> f64 {
                z.iter()
                    .zip(wide(&targets))
                    .map(|(z, t)| {
                        let p = 1.0 / (1.0 + (-z).exp());
                        -t * p.ln() - (1.0 - t) * (1.0 - p).ln()
                    })
                    .sum()
            };
            let slope: Vec<f64> = oracle::gradient(&wide(&z), definition).iter().map(|d| d * 0.25).collect();
            for cpu in oracle::cpus() {
                let logits = Tensor::from_host(&cpu, &z, rows, cols).unwrap();
                let mut dlogits = Tensor::from_host(&cpu, &vec![f32::NAN; z.len()], cols, rows).unwrap();
                let loss = forward_backward(&cpu, &logits, &targets, 0.25, &mut dlogits).unwrap();
                assert!((loss - definition(&wide(&z))).abs() < 1e-9); // both sums are f64
                assert_eq!(forward(&cpu, &logits, &targets).unwrap(), loss);
                assert_eq!(dlogits.shape(), (rows, cols));
                oracle::close(&dlogits.to_host(&cpu).unwrap(), &slope, 3e-8); // rounded once, from below 0.25
            }
        }
    }

    #[test]
    fn many_values_are_summed_in_one_order() {
        let (z, targets) = (numbers(3 * BLOCK + 1, 1), numbers(3 * BLOCK + 1, 2));
        let mut before = None;
        for cpu in oracle::cpus() {
            let logits = Tensor::from_host(&cpu, &z, 1, z.len()).unwrap();
            let mut dlogits = Tensor::new(&cpu, 0, 0).unwrap();
            let loss = forward_backward(&cpu, &logits, &targets, 1.0, &mut dlogits).unwrap();
            let got = (loss, dlogits.to_host(&cpu).unwrap());
            assert_eq!(*before.get_or_insert(got.clone()), got);
        }
    }

    #[test]
    fn far_logits_stay_finite_and_wrong_ones_do_not_look_it() {
        let cpu = Cpu::new(1).unwrap();
        let loss = |z: f32, t: f32| forward(&cpu, &Tensor::from_host(&cpu, &[z], 1, 1).unwrap(), &[t]).unwrap();
        assert_eq!(loss(1e4, 0.0), 1e4);
        assert_eq!(loss(-1e4, 1.0), 1e4);
        assert_eq!(loss(1e4, 1.0), 0.0);
        assert!(loss(f32::NAN, 1.0).is_nan());
        let logits = Tensor::<Cpu>::zeros(&cpu, 2, 2).unwrap();
        assert!(forward(&cpu, &logits, &[0.0; 3]).is_err());
    }
}
