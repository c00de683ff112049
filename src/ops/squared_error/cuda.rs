//! Squared error on a GPU.

use super::Op;
use crate::device::Hidden;
use crate::device::cuda::Cuda;
use crate::error::Result;
use crate::ops::kernels::value_losses;

impl Op for Cuda {
    fn squared_error(
        &self,
        logits: &Hidden<Cuda>,
        targets: &[f32],
        gradient: Option<(f32, &mut Hidden<Cuda>)>,
    ) -> Result<f64> {
        value_losses(self, "squared_error", logits, targets, gradient)
    }
}
