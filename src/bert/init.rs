//! New weights: drawn from counters, so that a seed and a name give the same numbers everywhere.

use super::config::Config;
use super::parameters::Dense;
use crate::device::{Device, Tensor};
use crate::error::Result;
use crate::ops::dropout::philox;
use crate::ops::linear::Weight;

/// A linear layer as HuggingFace makes one: weights normal with deviation `std` (`initializer_range`), bias zero; the
/// numbers that [`Fresh`] gives to the weights of the module `name`.
pub fn dense<D: Device>(
    device: &D,
    inputs: usize,
    outputs: usize,
    std: f32,
    seed: u64,
    name: &str,
) -> Result<Dense<D>> {
    let weights = normal(inputs * outputs, std, seed, stream(&format!("{name}.weight")));
    let weight = Weight::F32(Tensor::from_host(device, &weights, outputs, inputs)?);
    Ok(Dense::new(weight, Some(Tensor::zeros(device, 1, outputs)?)))
}

/// What may be made where a checkpoint lacks it, and what has been.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Of the numbers.
    pub seed: u64,
    /// Deviation of weights, `initializer_range`.
    pub std: f32,
    /// Row of the word embeddings that is zero, as `padding_idx` of PyTorch.
    pub pad: Option<u32>,
    /// What the canonical names begin with.
    pub wanted: Vec<&'static str>,
    /// Canonical names of the tensors that were made.
    pub made: Vec<String>,
}

impl Fresh {
    /// Leave to make what a model of `config` needs and begins with one of `wanted`.
    pub fn of(config: &Config, seed: u64, wanted: Vec<&'static str>) -> Self {
        Self { seed, std: config.initializer_range, pad: config.pad_token, wanted, made: Vec::new() }
    }

    /// The numbers `[rows, cols]` of a tensor that is not there, as HuggingFace's `_init_weights` has them: weights normal,
    /// norms 1, biases 0. `None` where it may not be made.
    pub fn make(&mut self, name: &str, rows: usize, cols: usize) -> Option<Vec<f32>> {
        if !self.wanted.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        self.made.push(name.to_owned());
        let (count, parent) = (rows * cols, name.rsplit_once('.').map_or("", |(parent, _)| parent));
        let is_norm = parent.ends_with("LayerNorm") || parent.ends_with("layer_norm");
        Some(match name.ends_with(".bias") {
            true => vec![0.0; count],
            false if is_norm => vec![1.0; count],
            false => {
                let mut numbers = normal(count, self.std, self.seed, stream(name));
                if let (true, Some(pad)) = (name == WORDS, self.pad) {
                    numbers[pad as usize * cols..][..cols].fill(0.0);
                }
                numbers
            }
        })
    }
}

const WORDS: &str = "embeddings.word_embeddings.weight";

/// The stream of a tensor: FNV-1a of its canonical name.
fn stream(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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

    #[test]
    fn tensors_begin_as_huggingface_has_them() {
        let fresh =
            |seed| Fresh { seed, std: 0.02, pad: Some(1), wanted: vec!["embeddings.", "cls."], made: Vec::new() };
        let mut one = fresh(7);
        let words = one.make(WORDS, 1000, 64).unwrap();
        let (mean, std) = moments(&words);
        // 64,000 numbers: good to 1/250 deviations, and one row in a thousand is zero
        assert!(mean.abs() < 0.02 * 0.02 && (std / 0.02 - 1.0).abs() < 0.02, "{mean} {std}");
        assert!(words[64..128].iter().all(|&v| v == 0.0) && words[..64].iter().all(|&v| v != 0.0));
        assert_eq!(one.make("embeddings.LayerNorm.weight", 1, 3), Some(vec![1.0; 3]));
        assert_eq!(one.make("embeddings.LayerNorm.bias", 1, 3), Some(vec![0.0; 3]));
        assert_eq!(one.make("cls.predictions.transform.dense.bias", 1, 2), Some(vec![0.0; 2]));
        assert_eq!(one.make("encoder.layer.0.output.dense.weight", 2, 2), None);
        assert_eq!(one.made.len(), 4);
        let other = |seed, name| fresh(seed).make(name, 2, 2).unwrap();
        let name = "cls.seq_relationship.weight";
        assert_eq!(other(7, name), other(7, name));
        assert_ne!(other(7, name), other(8, name));
        assert_ne!(other(7, name), other(7, "cls.predictions.transform.dense.weight"));
    }
}
