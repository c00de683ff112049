//! Binary cross-entropy on a GPU.

use super::Op;
use crate::device::Hidden;
use crate::device::cuda::Cuda;
use crate::error::Result;
use crate::ops::kernels::value_losses;

impl Op for Cuda {
    fn binary_cross_entropy(
        &self,
        logits: &Hidden<Cuda>,
        targets: &[f32],
        gradient: Option<(f32, &mut Hidden<Cuda>)>,
    ) -> Result<f64> {
        value_losses(self, "binary_cross_entropy", logits, targets, gradient)
    }
}
