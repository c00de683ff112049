//! New weights: drawn from counters, so that a seed and a name give the same numbers everywhere.

use crate::bert::Dense;
use crate::device::{Device, Tensor};
use crate::error::Result;
use crate::ops::dropout::philox;
use crate::ops::linear::Weight;

/// A linear layer as HuggingFace makes one: weights normal with deviation `std` (`initializer_range`), bias zero. `stream`
/// tells layers of one seed apart.
pub fn dense<D: Device>(
    device: &D,
    inputs: usize,
    outputs: usize,
    std: f32,
    seed: u64,
    stream: u32,
) -> Result<Dense<D>> {
    let weights = normal(inputs * outputs, std, seed, stream);
    Ok(Dense {
        weight: Weight::F32(Tensor::from_host(device, &weights, outputs, inputs)?),
        bias: Some(Tensor::zeros(device, 1, outputs)?),
    })
}

/// Numbers of the normal distribution around 0 (Box & Muller 1958).
pub fn normal(count: usize, std: f32, seed: u64, stream: u32) -> Vec<f32> {
    let pairs = (0..count.div_ceil(2) as u64).flat_map(|pair| {
        let [a, b, ..] = uniforms(pair, seed, stream);
        let radius = (-2.0 * a.ln()).sqrt();
        let angle = std::f64::consts::TAU * b;
        [radius * angle.cos(), radius * angle.sin()]
    });
    pairs.take(count).map(|x| x as f32 * std).collect()
}

/// Numbers between −`bound` and `bound`, all as likely.
pub fn uniform(count: usize, bound: f32, seed: u64, stream: u32) -> Vec<f32> {
    let fours = (0..count.div_ceil(4) as u64).flat_map(|four| uniforms(four, seed, stream));
    fours.take(count).map(|x| (2.0 * x - 1.0) as f32 * bound).collect()
}

/// Four numbers between 0 and 1, neither included.
fn uniforms(counter: u64, seed: u64, stream: u32) -> [f64; 4] {
    // the third word keeps these counters apart from those of dropout, whose sites are small numbers
    let words = [counter as u32, (counter >> 32) as u32, u32::MAX, stream];
    philox(words, [seed as u32, (seed >> 32) as u32]).map(|bits| (f64::from(bits) + 0.5) / 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn numbers_have_their_distribution_and_depend_on_seed_and_stream() {
        let values = normal(100_001, 0.02, 7, 1);
        let (mean, std) = moments(&values);
        // the mean of 10⁵ numbers is good to 1/√10⁵ deviations; five of those
        assert!(mean.abs() < 0.02 * 0.016 && (std / 0.02 - 1.0).abs() < 0.016, "{mean} {std}");
        assert_ne!(values[..8], normal(8, 0.02, 8, 1)[..]);
        assert_ne!(values[..8], normal(8, 0.02, 7, 2)[..]);
        assert_eq!(values[..8], normal(8, 0.02, 7, 1)[..]);
        let flat = uniform(100_000, 3.0, 7, 1);
        let (mean, std) = moments(&flat);
        assert!(flat.iter().all(|v| v.abs() < 3.0));
        assert!(mean.abs() < 0.03 && (std - 3f64.sqrt()).abs() < 0.03, "{mean} {std}");
    }
}
