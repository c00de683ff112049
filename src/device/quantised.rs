//! Weights in 8 bits: integers, and for every row what they are multiples of.

use std::convert::Infallible;

use super::Mapped;
use crate::error::{Error, Result};

/// A matrix `[N, K]`: W[n, k] = `integers[n, k]` · `scales[n]`. The integers stay where they are stored.
#[derive(Debug)]
pub struct Quantised {
    stored: Mapped,
    rows: usize,
    cols: usize,
    scales: Vec<f32>,
}

impl Quantised {
    /// `stored` holds the integers, row by row; there is one scale a row.
    pub fn new(stored: Mapped, (rows, cols): (usize, usize), scales: Vec<f32>) -> Result<Self> {
        let given = stored.bytes().len();
        if rows.checked_mul(cols) != Some(given) || scales.len() != rows {
            let scales = scales.len();
            return Err(Error::internal(format!(
                "{given} integers and {scales} scales for a matrix of {rows} x {cols}"
            )));
        }
        Ok(Self { stored, rows, cols, scales })
    }

    /// `(N, K)`
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// `[N, K]`
    pub fn integers(&self) -> &[i8] {
        let bytes = self.stored.bytes();
        // SAFETY: the view covers exactly the bytes, which it borrows; i8 has the size and alignment of u8, and every bit
        // pattern is an i8.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
    }

    /// `[N]`
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The matrix, each product rounded to the nearest f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let rows = self.integers().chunks_exact(self.cols.max(1)).zip(&self.scales);
        rows.flat_map(|(row, &scale)| row.iter().map(move |&q| f32::from(q) * scale)).collect()
    }

    /// See [`Mapped::release`].
    pub fn release(&self) {
        self.stored.release();
    }
}

/// What a device makes of weights in 8 bits.
pub trait Integers: Sized + Send + Sync {
    /// The weights as they are, or back where the device multiplies numbers only.
    fn keep(quantised: Quantised) -> std::result::Result<Self, Quantised>;

    /// What has been kept.
    fn quantised(&self) -> &Quantised;
}

impl Integers for Quantised {
    fn keep(quantised: Quantised) -> std::result::Result<Self, Quantised> {
        Ok(quantised)
    }

    fn quantised(&self) -> &Quantised {
        self
    }
}

impl Integers for Infallible {
    fn keep(quantised: Quantised) -> std::result::Result<Self, Quantised> {
        Err(quantised)
    }

    fn quantised(&self) -> &Quantised {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::Owner;

    fn mapped(integers: &[i8]) -> Mapped {
        let bytes: Vec<u8> = integers.iter().map(|q| q.cast_unsigned()).collect();
        let length = bytes.len();
        Mapped::new(Owner::Buffer(Arc::new(bytes)), 0..length).unwrap()
    }

    #[test]
    fn every_row_has_its_scale() {
        let matrix = Quantised::new(mapped(&[-128, 127, 0, -1, 2, 3]), (2, 3), vec![0.5, 0.1]).unwrap();
        assert_eq!(matrix.integers(), [-128, 127, 0, -1, 2, 3]);
        assert_eq!(matrix.to_f32(), [-64.0, 63.5, 0.0, -0.1, 0.2, 3.0 * 0.1f32]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        for (shape, scales) in [((2, 2), 2), ((2, 3), 1), ((usize::MAX, 3), 2)] {
            assert!(Quantised::new(mapped(&[0; 6]), shape, vec![1.0; scales]).is_err(), "{shape:?}");
        }
    }
}
