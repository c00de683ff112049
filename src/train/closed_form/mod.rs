//! Dense heads in closed form: from sums over the rows that a head reads to its weights, in one pass and without a
//! learning rate.
//!
//! [`Moments`] adds up the rows. From them [`ridge`] gives the head of least squares, [`discriminant`] that of classes
//! which differ in their means alone, and [`whitening`] the map after which all directions vary alike.

mod discriminant;
mod lapack;
mod moments;
mod ridge;
mod whitening;

pub use discriminant::{Discriminant, discriminant};
pub use lapack::available;
pub use moments::Moments;
pub use ridge::{Outputs, Ridge, ridge};
pub use whitening::whitening;

use super::objective::Aim;
use crate::error::{Error, Result};

/// How a head is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClosedForm {
    /// Least squares with λ‖W‖². `None` chooses λ by generalized cross-validation, which takes no further examples.
    Ridge {
        /// λ ≥ 0, of sums over the rows, not of means.
        lambda: Option<f64>,
    },
    /// Linear discriminant analysis: logits are log-probabilities up to a constant of the row. For one label a row.
    Discriminant {
        /// How far the covariance within classes is drawn towards a multiple of the identity, 0 to 1. `None` takes the
        /// share of least expected error (Chen et al. 2010).
        shrinkage: Option<f64>,
    },
}

/// A linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// `[K, H]`
    pub weight: Vec<f32>,
    /// `[K]`
    pub bias: Vec<f32>,
}

/// The targets of a dense head as `[R, outputs]`: 1 at a label, or the numbers themselves.
pub fn targets(aim: &Aim, outputs: usize) -> Result<Vec<f32>> {
    match aim {
        Aim::Labels(labels) => {
            let mut rows = vec![0.0; labels.len() * outputs];
            for (row, &label) in rows.chunks_exact_mut(outputs.max(1)).zip(labels) {
                let place = usize::try_from(label).ok().and_then(|label| row.get_mut(label));
                *place.ok_or_else(|| Error::internal(format!("label {label} of {outputs}")))? = 1.0;
            }
            Ok(rows)
        }
        Aim::Switches(numbers) | Aim::Numbers(numbers) => Ok(numbers.clone()),
        Aim::Spans(_) => Err(Error::internal("a span has no row of its own")),
    }
}

#[cfg(test)]
mod tests;
