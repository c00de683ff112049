//! What LAPACK is asked for; the one place that the feature `linalg` changes.

use crate::error::{Error, Result};

/// A symmetric matrix as Σ λᵢ vᵢ vᵢᵀ.
pub struct Eigen {
    /// λ, the smallest first.
    pub values: Vec<f64>,
    /// `[n, n]`: row i is vᵢ, of length 1, its largest element positive.
    pub vectors: Vec<f64>,
}

/// Fails with `Unsupported` in a library that was built without LAPACK.
pub fn available() -> Result<()> {
    match cfg!(feature = "linalg") {
        true => Ok(()),
        false => Err(Error::unsupported("solving in closed form: built without linalg, a feature of the cloze crate")),
    }
}

/// The eigenvectors of a symmetric `matrix` `[n, n]`; only its lower triangle is read.
#[cfg(feature = "linalg")]
pub fn eigen(matrix: &[f64], n: usize) -> Result<Eigen> {
    use ndarray_linalg::{Eigh, UPLO};
    let (values, columns) = square(matrix, n)?.eigh(UPLO::Lower).map_err(|e| failed("eigenvalues", &e))?;
    let mut vectors = Vec::with_capacity(n * n);
    for column in columns.columns() {
        // the sign of an eigenvector is LAPACK's choice
        let larger = |best: f64, &x: &f64| if x.abs() > best.abs() { x } else { best };
        let sign = column.iter().fold(0.0, larger).signum();
        vectors.extend(column.iter().map(|x| sign * x));
    }
    Ok(Eigen { values: values.to_vec(), vectors })
}

/// Rows `[k, n]` of the solutions of matrix · x = right, for a positive definite `matrix` `[n, n]` of which only the
/// lower triangle is read, and `right` `[k, n]`.
#[cfg(feature = "linalg")]
pub fn solve(matrix: &[f64], n: usize, right: &[f64]) -> Result<Vec<f64>> {
    use ndarray_linalg::{FactorizeCInto, SolveC, UPLO};
    let factor = square(matrix, n)?.factorizec_into(UPLO::Lower).map_err(|e| failed("Cholesky factor", &e))?;
    let mut solutions = Vec::with_capacity(right.len());
    for row in right.chunks_exact(n) {
        let solution = factor.solvec(&ndarray::ArrayView1::from(row)).map_err(|e| failed("Cholesky solution", &e))?;
        solutions.extend(solution);
    }
    Ok(solutions)
}

/// The whole matrix of a lower triangle.
#[cfg(feature = "linalg")]
fn square(triangle: &[f64], n: usize) -> Result<ndarray::Array2<f64>> {
    if triangle.len() != n * n {
        return Err(Error::internal(format!("a matrix [{n}, {n}] of {} numbers", triangle.len())));
    }
    Ok(ndarray::Array2::from_shape_fn((n, n), |(i, j)| triangle[i.max(j) * n + i.min(j)]))
}

#[cfg(feature = "linalg")]
fn failed(what: &str, error: &ndarray_linalg::error::LinalgError) -> Error {
    Error::new(crate::error::Status::NotFinite, format!("{what}: {error}"))
}

/// The eigenvectors of a symmetric matrix: none without LAPACK.
#[cfg(not(feature = "linalg"))]
pub fn eigen(_matrix: &[f64], _n: usize) -> Result<Eigen> {
    Err(available().err().unwrap_or_else(|| Error::internal("linalg")))
}

/// The solutions of linear equations: none without LAPACK.
#[cfg(not(feature = "linalg"))]
pub fn solve(_matrix: &[f64], _n: usize, _right: &[f64]) -> Result<Vec<f64>> {
    Err(available().err().unwrap_or_else(|| Error::internal("linalg")))
}

#[cfg(all(test, not(feature = "linalg")))]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn a_library_without_lapack_says_so() {
        for refused in [available(), eigen(&[1.0], 1).map(|_| ()), solve(&[1.0], 1, &[1.0]).map(|_| ())] {
            let error = refused.unwrap_err();
            assert!(error.status() == Status::Unsupported && error.message().contains("linalg"), "{error}");
        }
    }
}
