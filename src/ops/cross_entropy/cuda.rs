//! Cross-entropy on a GPU.

use super::{Gradient, Op, Outcome, Smoothing, Targets};
use crate::device::cuda::{Args, Cuda, Kernel};
use crate::device::{Device, Hidden};
use crate::error::Result;
use crate::ops::kernels::{self, LOSSES, Parts};

impl Op for Cuda {
    fn cross_entropy(
        &self,
        logits: &Hidden<Cuda>,
        targets: &Targets<'_>,
        gradient: Option<Gradient<'_, Cuda>>,
    ) -> Result<Outcome> {
        let (rows, classes) = logits.shape();
        if rows == 0 || classes == 0 {
            return Ok(Outcome::default());
        }
        let (kernel, grid) = kernels::logits(logits, ["cross_entropy", "cross_entropy_wide"]);
        let ignored = u32::MAX as usize;
        let labels: Vec<usize> = targets.labels.iter().map(|&l| usize::try_from(l).unwrap_or(ignored)).collect();
        let labels = self.indices(&labels)?;
        let weights = targets.class_weights.map(|weights| self.upload(weights)).transpose()?;
        let Smoothing { label, class, weight, .. } = Smoothing::of(targets, classes);
        let (scale, dlogits) = match gradient {
            None => (0.0, None),
            Some(Gradient { scale, dlogits }) => (scale, Some(dlogits.buffer_mut())),
        };
        let mut outcomes = Parts::new(self, 2, rows)?;
        let args = Args::new()
            .read(logits.buffer())
            .indices(&labels)
            .read_or_null(weights.as_ref())
            .u64(label.to_bits())
            .u64(class.to_bits())
            .u64(weight.to_bits())
            .u64(f64::from(scale).to_bits())
            .write_or_null(dlogits)
            .pointer(outcomes.pointer(0))
            .size(rows)
            .size(classes);
        // SAFETY: `check` found a label for each row, all classes or ignored, and a weight for each class, if there are
        // any; the gradient is of the logits' shape, and there are two outcomes a row.
        unsafe { self.launch(&kernel, grid, args)? };
        let sums = outcomes.sum(self, &Kernel::new(&LOSSES, "losses_total"))?;
        Ok(Outcome { loss: sums[0], correct: sums[1] as usize })
    }
}
