//! Linear discriminant analysis (Fisher 1936; Rao 1948) with a shrunken covariance.
//!
//! Rows of label k are normal around μₖ with one covariance Σ for all. By Bayes,
//! log p(k | x) = μₖᵀΣ⁻¹x − ½ μₖᵀΣ⁻¹μₖ + log πₖ + c(x), and c stays a constant of the row when every μₖ and x is taken
//! relative to x̄.

use super::ridge::dot;
use super::{Affine, Moments, lapack};
use crate::error::{Error, Result};

/// A head of labels that differ in their means.
pub struct Discriminant {
    /// The head.
    pub head: Affine,
    /// How far the covariance was drawn towards a multiple of the identity.
    pub shrinkage: f64,
}

/// The head of linear discriminant analysis, for targets that are 1 at a row's label and 0 elsewhere. `shrinkage` `None`
/// chooses it.
///
/// Fails with `InvalidArgument` when the shrinkage is none, and `InvalidInput` when a label has no row, there are no more
/// rows than labels, or rows of one label never differ.
pub fn discriminant(moments: &Moments, shrinkage: Option<f64>) -> Result<Discriminant> {
    if let Some(shrinkage) = shrinkage.filter(|shrinkage| !(0.0..=1.0).contains(shrinkage)) {
        return Err(Error::argument(format!("shrinkage: {shrinkage}, expected a number from 0 to 1")));
    }
    let (inputs, rows, counts) = (moments.inputs(), moments.rows() as f64, moments.totals());
    if let Some(label) = counts.iter().position(|count| *count == 0.0) {
        return Err(Error::input(format!("label {label} has no row, expected at least one")));
    }
    let free = rows - counts.len() as f64;
    if free <= 0.0 {
        let labels = counts.len();
        return Err(Error::input(format!("{rows} rows for {labels} labels, expected more rows than labels")));
    }
    // Σ (x − x̄)(x − x̄)ᵀ = Σ (x − μ)(x − μ)ᵀ + Σₖ nₖ (μₖ − x̄)(μₖ − x̄)ᵀ
    let mut covariance = moments.scatter();
    let mut means = moments.centred_cross();
    for (sum, count) in means.chunks_exact_mut(inputs).zip(counts) {
        super::moments::subtract_square(&mut covariance, sum, *count);
        sum.iter_mut().for_each(|sum| *sum /= count);
    }
    covariance.iter_mut().for_each(|element| *element /= free);
    let shrinkage = shrink(&mut covariance, inputs, free, shrinkage)?;
    let weight = lapack::solve(&covariance, inputs, &means)?;
    let centre = moments.mean();
    let bias = weight.chunks_exact(inputs).zip(means.chunks_exact(inputs)).zip(counts);
    let bias =
        bias.map(|((weight, mean), count)| -dot(weight, &centre) - 0.5 * dot(weight, mean) + (count / rows).ln());
    let head = Affine { bias: bias.map(|b| b as f32).collect(), weight: weight.iter().map(|&w| w as f32).collect() };
    Ok(Discriminant { head, shrinkage })
}

/// S ← (1 − ρ) S + ρ (tr S/H) I, with the ρ given or else that of the oracle approximating shrinkage: for n = `free`
/// normal rows, ρ = ((1 − 2/H) tr S² + tr² S) / ((n + 1 − 2/H)(tr S² − tr² S/H)), at most 1.
fn shrink(covariance: &mut [f64], inputs: usize, free: f64, given: Option<f64>) -> Result<f64> {
    let (width, mut trace, mut squares) = (inputs as f64, 0.0, 0.0);
    for (i, row) in covariance.chunks_exact(inputs).enumerate() {
        trace += row[i];
        squares += row[i] * row[i] + 2.0 * dot(&row[..i], &row[..i]);
    }
    if trace <= 0.0 {
        return Err(Error::input("rows of one label never differ, expected some that do"));
    }
    let unlike = (squares - trace * trace / width) * (free + 1.0 - 2.0 / width);
    let oracle = || match unlike > 0.0 {
        true => (((1.0 - 2.0 / width) * squares + trace * trace) / unlike).min(1.0),
        false => 1.0,
    };
    let shrinkage = given.unwrap_or_else(oracle);
    for (i, row) in covariance.chunks_exact_mut(inputs).enumerate() {
        row[..=i].iter_mut().for_each(|element| *element *= 1.0 - shrinkage);
        row[i] += shrinkage * trace / width;
    }
    Ok(shrinkage)
}
