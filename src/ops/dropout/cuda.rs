//! Dropout on a GPU.

use super::Draw;
use crate::device::cuda::Args;

impl Draw {
    /// What `kernels/philox.cuh` needs of it: the key, site, step, threshold and scale.
    pub(in crate::ops) fn push(&self, args: Args) -> Args {
        let key = u64::from(self.key[0]) | u64::from(self.key[1]) << 32;
        args.u64(key).u32(self.site).u32(self.step).u32(self.threshold).f32(self.scale)
    }
}
