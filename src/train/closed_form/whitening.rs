//! BERT-whitening (Su et al. 2021): embeddings turned so that every direction has mean 0 and variance 1, the widest
//! directions first.

use super::lapack::{self, Eigen};
use super::ridge::dot;
use super::{Affine, Moments};
use crate::error::{Error, Result};

/// y = Λ^(−½) Uᵀ (x − μ) for the `width` largest eigenvalues of the covariance U Λ Uᵀ, as a linear layer.
///
/// Fails with `InvalidArgument` when `width` is 0 or more than the directions that the rows vary along.
pub fn whitening(moments: &Moments, width: usize) -> Result<Affine> {
    let (inputs, rows) = (moments.inputs(), moments.rows());
    let free = rows.saturating_sub(1);
    let Eigen { values, vectors } = lapack::eigen(&moments.scatter(), inputs)?;
    // embeddings are good to ε of f32: what varies less than that is their rounding
    let limit =
        values.last().copied().unwrap_or(0.0) * f64::from(f32::EPSILON) * f64::from(f32::EPSILON) * inputs as f64;
    let most = usize::try_from(free).unwrap_or(usize::MAX);
    let rank = values.iter().rev().take(most).take_while(|value| **value > limit).count();
    if width == 0 || width > rank {
        let expected = format!("expected 1 to {rank}, the directions that {rows} embeddings vary along");
        return Err(Error::argument(format!("width: {width}, {expected}")));
    }
    let mean = moments.mean();
    let mut layer = Affine { weight: Vec::with_capacity(width * inputs), bias: Vec::with_capacity(width) };
    for (value, vector) in values.iter().zip(vectors.chunks_exact(inputs)).rev().take(width) {
        let scale = (free as f64 / value).sqrt();
        layer.bias.push((-scale * dot(vector, &mean)) as f32);
        layer.weight.extend(vector.iter().map(|element| (scale * element) as f32));
    }
    Ok(layer)
}
