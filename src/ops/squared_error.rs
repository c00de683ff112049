//! Squared error of predictions z and targets t, as `torch.nn.functional.mse_loss` before the mean:
//!
//!   loss = (z − t)²        dz = 2(z − t)

#[cfg(feature = "cuda")]
mod cuda;

use super::pointwise;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::Result;

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Σ losses; writes all of `gradient`'s tensor, each value times its factor.
    fn squared_error(
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
    pointwise::check("squared error", logits, targets)?;
    dlogits.reshape(device, logits.rows(), logits.cols())?;
    device.squared_error(logits, targets, Some((scale, dlogits)))
}

/// The loss of [`forward_backward`] alone.
pub fn forward<D: Op>(device: &D, logits: &Hidden<D>, targets: &[f32]) -> Result<f64> {
    pointwise::check("squared error", logits, targets)?;
    device.squared_error(logits, targets, None)
}

/// Values of one work item.
const BLOCK: usize = 4096;

impl Op for Cpu {
    fn squared_error(
        &self,
        logits: &Tensor<Cpu>,
        targets: &[f32],
        gradient: Option<(f32, &mut Tensor<Cpu>)>,
    ) -> Result<f64> {
        pointwise::sum(self, BLOCK, logits, targets, gradient, |z, t| (z - t).powi(2), |z, t| 2.0 * (z - t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers, wide};

    #[test]
    fn agrees_with_the_definition_and_its_derivative() {
        for (rows, cols) in [(1, 1), (3, 7), (1, 16), (5, 17), (1, 0)] {
            let (z, targets) = (numbers(rows * cols, 1), numbers(rows * cols, 2));
            let definition =
                |z: &[f64]| -> f64 { z.iter().zip(wide(&targets)).map(|(z, t)| z * z - 2.0 * z * t + t * t).sum() };
            let slope: Vec<f64> = oracle::gradient(&wide(&z), definition).iter().map(|d| d * 0.25).collect();
            for cpu in oracle::cpus() {
                let logits = Tensor::from_host(&cpu, &z, rows, cols).unwrap();
                let mut dlogits = Tensor::from_host(&cpu, &vec![f32::NAN; z.len()], cols, rows).unwrap();
                let loss = forward_backward(&cpu, &logits, &targets, 0.25, &mut dlogits).unwrap();
                assert!((loss - definition(&wide(&z))).abs() < 1e-9); // both sums are f64
                assert_eq!(forward(&cpu, &logits, &targets).unwrap(), loss);
                assert_eq!(dlogits.shape(), (rows, cols));
                oracle::close(&dlogits.to_host(&cpu).unwrap(), &slope, 1e-7); // rounded once, from at most 1
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
    fn targets_of_another_count_are_refused() {
        let cpu = Cpu::new(1).unwrap();
        let logits = Tensor::<Cpu>::zeros(&cpu, 2, 2).unwrap();
        assert!(forward(&cpu, &logits, &[0.0; 3]).is_err());
    }
}
