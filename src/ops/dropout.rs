//! Counter-based dropout (Philox4x32-10; Salmon et al. 2011).

use crate::device::{Cpu, Device, Tensor};
use crate::error::Result;

/// Which values are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Of a value being dropped.
    pub probability: f32,
    /// Key of the generator.
    pub seed: u64,
    /// Training step.
    pub step: u32,
    /// Place in the model.
    pub site: u32,
}

/// A dropout for some rows.
pub struct Mask<'a> {
    /// Which values are dropped.
    pub dropout: Dropout,
    /// Row id of row i is `first_row + rows[i]`.
    pub rows: &'a [usize],
    /// Added to every row.
    pub first_row: usize,
}

/// What a device provides.
pub trait Op: Device {
    /// x ← x·m/(1−p)
    fn dropout_apply(&self, mask: &Mask<'_>, x: &mut Tensor<Self>) -> Result<()>;
}

/// x ← x·m/(1−p) in place.
pub fn apply<D: Op>(device: &D, mask: &Mask<'_>, x: &mut Tensor<D>) -> Result<()> {
    device.dropout_apply(mask, x)
}

/// One block of the generator.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, key);
    for _ in 0..10 {
        let (p, q) = (u64::from(a) * 0xD251_1F53, u64::from(c) * 0xCD9E_8D57);
        (a, b, c, d) = ((q >> 32) as u32 ^ b ^ k, q as u32, (p >> 32) as u32 ^ d ^ l, p as u32);
        (k, l) = (k.wrapping_add(0x9E37_79B9), l.wrapping_add(0xBB67_AE85));
    }
    [a, b, c, d]
}

impl Op for Cpu {
    fn dropout_apply(&self, mask: &Mask<'_>, x: &mut Tensor<Cpu>) -> Result<()> {
        let (columns, Dropout { probability, seed, step, site }) = (x.cols().max(1), mask.dropout);
        let threshold = (f64::from(probability) * 4_294_967_296.0) as u64;
        let values = x.buffer_mut().as_mut_slice()?;
        for (row, &id) in values.chunks_exact_mut(columns).zip(mask.rows) {
            let id = (mask.first_row + id) as u32;
            for (column, value) in row.iter_mut().enumerate() {
                let draws = philox([(column / 4) as u32, id, site, step], [seed as u32, (seed >> 32) as u32]);
                *value *= if u64::from(draws[column % 4]) < threshold { 0.0 } else { 1.0 / (1.0 - probability) };
            }
        }
        Ok(())
    }
}
