//! Ridge regression (Hoerl & Kennard 1970), its λ by generalized cross-validation (Golub, Heath & Wahba 1979).
//!
//! With the scatter S = Σ λᵢ vᵢ vᵢᵀ of centred rows and cₖ = Σ y (x − x̄) of target k, the weights that minimize
//! Σ ‖y − W x − b‖² + λ‖W‖² are wₖ = Σᵢ vᵢ (vᵢ·cₖ)/(λᵢ + λ), and b = ȳ − W x̄. Every λ costs only sums over i.

use super::lapack::{self, Eigen};
use super::{Affine, Moments};
use crate::error::{Error, Result};

/// What the outputs of a head mean, and with it the scale of its logits.
///
/// Least squares predicts targets. A head gives logits: those of y being what was predicted plus normal noise of the
/// variance that cross-validation found. Neither the likeliest label nor the side of ½ depends on that scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// One of K labels, y being 1 at it: softmax.
    Classes,
    /// Each label for itself, y being 0 or 1: sigmoid.
    Switches,
    /// The numbers themselves.
    Numbers,
}

/// A head of least squares.
pub struct Ridge {
    /// The head.
    pub head: Affine,
    /// λ
    pub lambda: f64,
    /// Mean squared error of predicting a target, estimated for rows that were not learned from.
    pub error: f64,
}

/// Candidates for λ, as powers of ten of the mean eigenvalue.
const LOWEST: i32 = -8;
const HIGHEST: i32 = 2;
/// Candidates to a power of ten.
const STEPS: i32 = 4;

/// The head of least squares. `lambda` `None` chooses it.
///
/// Fails with `InvalidArgument` when λ is no number of at least 0, and `InvalidInput` when the rows are fewer than two or
/// all the same.
pub fn ridge(moments: &Moments, outputs: Outputs, lambda: Option<f64>) -> Result<Ridge> {
    if let Some(lambda) = lambda.filter(|lambda| !(lambda.is_finite() && *lambda >= 0.0)) {
        return Err(Error::argument(format!("lambda: {lambda}, expected a number of at least 0")));
    }
    let problem = Problem::new(moments)?;
    let lambda = lambda.unwrap_or_else(|| problem.best());
    let error = problem.error(lambda);
    let (weight, bias) = problem.solution(moments, lambda);
    Ok(Ridge { head: logits(weight, bias, outputs, error), lambda, error })
}

/// Least squares along the eigenvectors of the scatter that rows vary along.
struct Problem {
    rows: f64,
    inputs: usize,
    outputs: usize,
    /// λᵢ > 0
    values: Vec<f64>,
    /// vᵢ
    vectors: Vec<f64>,
    /// `[K, rank]`: vᵢ·cₖ
    along: Vec<f64>,
    /// Of each i, Σₖ (vᵢ·cₖ)²/λᵢ: what direction i explains where λ is 0.
    explained: Vec<f64>,
    /// What no λ explains.
    outside: f64,
}

impl Problem {
    fn new(moments: &Moments) -> Result<Self> {
        let (inputs, outputs, rows) = (moments.inputs(), moments.outputs(), moments.rows());
        let Eigen { values, vectors } = lapack::eigen(&moments.scatter(), inputs)?;
        // eigenvalues are good to ε times the largest and the width; and n centred rows span n − 1 directions at most
        let limit = values.last().copied().unwrap_or(0.0) * f64::EPSILON * inputs.max(rows as usize) as f64;
        let most = usize::try_from(rows.saturating_sub(1)).unwrap_or(usize::MAX);
        let rank = values.iter().rev().take(most).take_while(|value| **value > limit).count();
        if rank == 0 {
            return Err(Error::input(format!("{rows} rows that do not differ, expected some that do")));
        }
        let first = inputs - rank;
        let (values, vectors) = (values[first..].to_vec(), vectors[first * inputs..].to_vec());
        let cross = moments.centred_cross();
        let mut along = Vec::with_capacity(outputs * rank);
        for cross in cross.chunks_exact(inputs) {
            along.extend(vectors.chunks_exact(inputs).map(|vector| dot(vector, cross)));
        }
        let explained: Vec<f64> = (0..rank)
            .map(|i| along.iter().skip(i).step_by(rank).map(|along| along * along).sum::<f64>() / values[i])
            .collect();
        let outside = moments.deviations().iter().sum::<f64>() - explained.iter().sum::<f64>();
        let outside = if rank == most { 0.0 } else { outside.max(0.0) };
        Ok(Self { rows: rows as f64, inputs, outputs, values, vectors, along, explained, outside })
    }

    /// The candidate of least estimated error.
    fn best(&self) -> f64 {
        let mean = self.values.iter().sum::<f64>() / self.inputs as f64;
        let candidates = (LOWEST * STEPS..=HIGHEST * STEPS).map(|k| mean * 10f64.powf(f64::from(k) / f64::from(STEPS)));
        let found = candidates.map(|lambda| (self.error(lambda), lambda));
        found.fold((f64::INFINITY, mean), |best, found| if found.0 < best.0 { found } else { best }).1
    }

    /// (RSS/n) / (1 − (1 + Σ λᵢ/(λᵢ + λ))/n)², a target. Both are summed from what λ takes away, λ/(λᵢ + λ), so that a
    /// fit through all rows is no difference of like numbers.
    fn error(&self, lambda: f64) -> f64 {
        let taken = |value: &f64| lambda / (value + lambda);
        let residual = self.values.iter().zip(&self.explained).map(|(v, e)| taken(v).powi(2) * e).sum::<f64>();
        let free = self.rows - 1.0 - self.values.len() as f64 + self.values.iter().map(taken).sum::<f64>();
        (residual + self.outside) * self.rows / (free * free).max(f64::MIN_POSITIVE) / self.outputs.max(1) as f64
    }

    /// `[K, H]` and `[K]`
    fn solution(&self, moments: &Moments, lambda: f64) -> (Vec<f64>, Vec<f64>) {
        let (rank, mean) = (self.values.len(), moments.mean());
        let mut weight = vec![0.0; self.outputs * self.inputs];
        for (row, along) in weight.chunks_exact_mut(self.inputs).zip(self.along.chunks_exact(rank)) {
            for ((vector, value), along) in self.vectors.chunks_exact(self.inputs).zip(&self.values).zip(along) {
                let factor = along / (value + lambda);
                row.iter_mut().zip(vector).for_each(|(weight, vector)| *weight += factor * vector);
            }
        }
        let means = moments.totals().iter().map(|total| total / self.rows);
        let bias = weight.chunks_exact(self.inputs).zip(means).map(|(row, target)| target - dot(row, &mean)).collect();
        (weight, bias)
    }
}

/// Below this share of a label's own size, noise is none: logits stay finite.
const LEAST_NOISE: f64 = 1e-6;

/// Predictions p as logits: of classes p/σ², since −‖eₖ − p‖²/2σ² differs between labels by that, with the noise of K
/// numbers that sum to 1 spread over K − 1; of switches (p² − (p − 1)²)/2σ² = (p − ½)/σ².
fn logits(weight: Vec<f64>, bias: Vec<f64>, outputs: Outputs, error: f64) -> Affine {
    let (count, noise) = (bias.len() as f64, error.max(LEAST_NOISE));
    let (scale, shift) = match outputs {
        Outputs::Classes => ((count - 1.0).max(1.0) / count / noise, 0.0),
        Outputs::Switches => (1.0 / noise, -0.5),
        Outputs::Numbers => (1.0, 0.0),
    };
    Affine {
        weight: weight.into_iter().map(|w| (scale * w) as f32).collect(),
        bias: bias.into_iter().map(|b| (scale * (b + shift)) as f32).collect(),
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
