//! Losses of each value by itself: Σ ℓ(zᵢ, tᵢ), and the gradient scale · ℓ'(zᵢ, tᵢ).

use super::shared::SharedRows;
use super::total::total;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};

/// Fails unless there is a target for each value; `name` is the loss.
pub fn check<D: Device>(name: &str, logits: &Hidden<D>, targets: &[f32]) -> Result<()> {
    if targets.len() != logits.rows() * logits.cols() {
        return Err(Error::internal(format!("{name} of {:?}: {} targets", logits.shape(), targets.len())));
    }
    Ok(())
}

/// Σ `loss` in work items of `block` values, and where asked for, all of the gradient: a factor times `slope`.
pub fn sum(
    cpu: &Cpu,
    block: usize,
    logits: &Tensor<Cpu>,
    targets: &[f32],
    gradient: Option<(f32, &mut Tensor<Cpu>)>,
    loss: impl Fn(f64, f64) -> f64 + Sync,
    slope: impl Fn(f64, f64) -> f64 + Sync,
) -> Result<f64> {
    let count = targets.len();
    let z = logits.buffer().as_slice();
    let gradient = match gradient {
        None => None,
        Some((scale, d)) => {
            Some((f64::from(scale), SharedRows::new(&mut d.buffer_mut().as_mut_slice()?[..count], count)))
        }
    };
    total(cpu, count.div_ceil(block), |item| {
        let (first, length) = (item * block, block.min(count - item * block));
        let (z, t) = (&z[first..first + length], &targets[first..first + length]);
        if let Some((scale, d)) = &gradient {
            // SAFETY: every item has its own block.
            let d = unsafe { d.row(0, first, length) };
            for (d, (&z, &t)) in d.iter_mut().zip(z.iter().zip(t)) {
                *d = (scale * slope(f64::from(z), f64::from(t))) as f32;
            }
        }
        z.iter().zip(t).map(|(&z, &t)| loss(f64::from(z), f64::from(t))).sum()
    })
}
