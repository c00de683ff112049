//! Sums over rows, from which everything else follows.

use crate::error::{Error, Result, Status};

/// Sums of x, x xᵀ, y, y² and y xᵀ over rows x `[H]` with targets y `[K]`, in f64 and in the order of the rows: the same
/// bits however the rows are cut into calls.
///
/// x is taken relative to the first row, so that a mean that is large beside the deviations costs no digits.
pub struct Moments {
    inputs: usize,
    outputs: usize,
    rows: u64,
    /// The first row.
    origin: Vec<f64>,
    /// Σ x
    sum: Vec<f64>,
    /// Lower triangle of Σ x xᵀ; row i begins at i·H.
    gram: Vec<f64>,
    /// Σ y
    totals: Vec<f64>,
    /// Σ y²
    squares: Vec<f64>,
    /// `[K, H]`: Σ y xᵀ
    cross: Vec<f64>,
    /// Rows that are not yet in `gram`.
    waiting: Vec<f64>,
}

/// Rows that enter the sum of products together: each of its elements is then read and written once for all of them.
const TOGETHER: usize = 8;

impl Moments {
    /// No rows yet, of H = `inputs` and K = `outputs`.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self> {
        let zeros = |count: Option<usize>| -> Result<Vec<f64>> {
            let (count, mut list) = (count.unwrap_or(usize::MAX), Vec::new());
            let none = |_| Error::new(Status::OutOfMemory, format!("sums over rows: {count} numbers of 8 bytes"));
            list.try_reserve_exact(count).map_err(none)?;
            list.resize(count, 0.0);
            Ok(list)
        };
        Ok(Self {
            inputs,
            outputs,
            rows: 0,
            origin: Vec::new(),
            sum: vec![0.0; inputs],
            gram: zeros(inputs.checked_mul(inputs))?,
            totals: vec![0.0; outputs],
            squares: vec![0.0; outputs],
            cross: zeros(inputs.checked_mul(outputs))?,
            waiting: Vec::with_capacity(TOGETHER * inputs),
        })
    }

    /// Adds rows `x` `[R, H]` with targets `y` `[R, K]`.
    ///
    /// Fails with `NotFinite` when a number is none: the sums are then of no use.
    pub fn add(&mut self, x: &[f32], y: &[f32]) -> Result<()> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let rows = x.len().checked_div(inputs).unwrap_or(0);
        if x.len() != rows * inputs || y.len() != rows * outputs {
            let (x, y) = (x.len(), y.len());
            return Err(Error::internal(format!("{x} numbers in rows of {inputs}, {y} targets in rows of {outputs}")));
        }
        for row in 0..rows {
            self.add_row(&x[row * inputs..][..inputs], &y[row * outputs..][..outputs])?;
        }
        Ok(())
    }

    fn add_row(&mut self, x: &[f32], y: &[f32]) -> Result<()> {
        if let Some(value) = x.iter().chain(y).find(|value| !value.is_finite()) {
            let row = self.rows;
            return Err(Error::new(Status::NotFinite, format!("row {row} holds {value}, expected finite numbers")));
        }
        if self.rows == 0 {
            self.origin = x.iter().copied().map(f64::from).collect();
        }
        self.rows += 1;
        let first = self.waiting.len();
        self.waiting.extend(x.iter().zip(&self.origin).map(|(&x, origin)| f64::from(x) - origin));
        let x = &self.waiting[first..];
        for (sum, x) in self.sum.iter_mut().zip(x) {
            *sum += x;
        }
        let cross = self.cross.chunks_exact_mut(self.inputs);
        for (((cross, total), square), y) in cross.zip(&mut self.totals).zip(&mut self.squares).zip(y) {
            let y = f64::from(*y);
            if y != 0.0 {
                *total += y;
                *square += y * y;
                cross.iter_mut().zip(x).for_each(|(cross, x)| *cross += y * x);
            }
        }
        if self.waiting.len() == TOGETHER * self.inputs {
            add_products(&self.waiting, self.inputs, &mut self.gram);
            self.waiting.clear();
        }
        Ok(())
    }

    /// Width of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Targets of a row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Σ y; of labels, how many rows have each.
    pub fn totals(&self) -> &[f64] {
        &self.totals
    }

    /// Mean of x; of no rows, zeros.
    pub fn mean(&self) -> Vec<f64> {
        let count = self.rows.max(1) as f64;
        if self.rows == 0 {
            return vec![0.0; self.inputs];
        }
        self.origin.iter().zip(&self.sum).map(|(origin, sum)| origin + sum / count).collect()
    }

    /// Lower triangle of Σ (x − x̄)(x − x̄)ᵀ in `[H, H]`; zeros above it.
    pub(super) fn scatter(&self) -> Vec<f64> {
        let mut scatter = self.gram.clone();
        add_products(&self.waiting, self.inputs, &mut scatter);
        subtract_square(&mut scatter, &self.sum, self.rows.max(1) as f64);
        scatter
    }

    /// `[K, H]`: Σ y (x − x̄)ᵀ
    pub(super) fn centred_cross(&self) -> Vec<f64> {
        let count = self.rows.max(1) as f64;
        let rows = self.cross.chunks_exact(self.inputs.max(1)).zip(&self.totals);
        rows.flat_map(|(cross, total)| cross.iter().zip(&self.sum).map(move |(c, sum)| c - total * sum / count))
            .collect()
    }

    /// Of each target Σ (y − ȳ)².
    pub(super) fn deviations(&self) -> Vec<f64> {
        let count = self.rows.max(1) as f64;
        self.squares.iter().zip(&self.totals).map(|(square, total)| (square - total * total / count).max(0.0)).collect()
    }
}

/// matrix −= v vᵀ / divisor in the lower triangle.
pub(super) fn subtract_square(matrix: &mut [f64], v: &[f64], divisor: f64) {
    for (i, row) in matrix.chunks_exact_mut(v.len().max(1)).enumerate() {
        let factor = v[i] / divisor;
        row[..=i].iter_mut().zip(v).for_each(|(element, v)| *element -= factor * v);
    }
}

/// Adds Σ x xᵀ of at most [`TOGETHER`] rows to the lower triangle.
fn add_products(rows: &[f64], width: usize, gram: &mut [f64]) {
    let mut padded = vec![0.0; TOGETHER * width];
    padded[..rows.len()].copy_from_slice(rows);
    for i in 0..width {
        let factor: [f64; TOGETHER] = std::array::from_fn(|row| padded[row * width + i]);
        let of: [&[f64]; TOGETHER] = std::array::from_fn(|row| &padded[row * width..][..=i]);
        let out = &mut gram[i * width..][..=i];
        for (j, out) in out.iter_mut().enumerate() {
            let mut sum = 0.0;
            for row in 0..TOGETHER {
                sum += factor[row] * of[row][j];
            }
            *out += sum;
        }
    }
}
