//! One row a sequence from its token rows x₁ … xₙ, as sentence-transformers' `Pooling` defines it, and rows of length 1.
//!
//! Backward, a pooled row's gradient goes to each token with the factor that the token had; of a maximum, to the first
//! token that has it. y = x/‖x‖ has dx = (dy − ⟨dy, y⟩y)/‖x‖.

#[cfg(feature = "cuda")]
mod cuda;

use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};

/// How token rows become one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// x₁
    Cls,
    /// Σ xᵢ / n
    Mean,
    /// The largest of each column.
    Max,
    /// Σ xᵢ / √n
    MeanSqrtLen,
    /// Σ i·xᵢ / Σ i
    WeightedMean,
    /// xₙ
    LastToken,
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes columns `column..column + H` of every row of `y`.
    fn pooling_forward(
        &self,
        x: &Hidden<Self>,
        offsets: &[usize],
        pooling: Pooling,
        y: &mut Hidden<Self>,
        column: usize,
    ) -> Result<()>;
    /// Divides every row by its Euclidean length, or by 1e-12 if that is larger.
    fn normalize_forward(&self, x: &mut Hidden<Self>) -> Result<()>;
    /// Writes all of `dx`.
    fn pooling_backward(
        &self,
        x: &Hidden<Self>,
        offsets: &[usize],
        modes: &[Pooling],
        dy: &Hidden<Self>,
        dx: &mut Hidden<Self>,
    ) -> Result<()>;
    /// Turns the gradient of normalised rows into that of `x`, the rows before.
    fn normalize_backward(&self, x: &Hidden<Self>, dy: &mut Hidden<Self>) -> Result<()>;
}

/// y `[S, M·H]`: for each sequence its rows pooled in each of M ways, side by side. `y` takes that shape.
///
/// `offsets` `[S + 1]` rises strictly from 0 to x's rows.
pub fn forward<D: Op>(
    device: &D,
    x: &Hidden<D>,
    offsets: &[usize],
    modes: &[Pooling],
    y: &mut Hidden<D>,
) -> Result<()> {
    check(x, offsets)?;
    y.reshape(device, offsets.len() - 1, modes.len() * x.cols())?;
    for (index, &mode) in modes.iter().enumerate() {
        device.pooling_forward(x, offsets, mode, y, index * x.cols())?;
    }
    Ok(())
}

/// dx `[T, H]` of dy `[S, M·H]`, for the `x`, `offsets` and `modes` of [`forward`]. `dx` takes the shape of x.
///
/// The maximum of a column counts as the first row's that has it, as PyTorch's does; a column of NaN as the first row's.
pub fn backward<D: Op>(
    device: &D,
    x: &Hidden<D>,
    offsets: &[usize],
    modes: &[Pooling],
    dy: &Hidden<D>,
    dx: &mut Hidden<D>,
) -> Result<()> {
    check(x, offsets)?;
    let expected = (offsets.len() - 1, modes.len() * x.cols());
    if dy.shape() != expected {
        return Err(Error::internal(format!("pooling backward: gradient {:?}, expected {expected:?}", dy.shape())));
    }
    dx.reshape(device, x.rows(), x.cols())?;
    device.pooling_backward(x, offsets, modes, dy, dx)
}

fn check<D: Device>(x: &Hidden<D>, offsets: &[usize]) -> Result<()> {
    if offsets.first() != Some(&0)
        || offsets.last() != Some(&x.rows())
        || offsets.windows(2).any(|pair| pair[0] >= pair[1])
    {
        return Err(Error::internal(format!("pooling: offsets {offsets:?} for {} rows", x.rows())));
    }
    Ok(())
}

/// x / max(‖x‖, 1e-12) for every row, in place: `torch.nn.functional.normalize`.
pub fn normalize<D: Op>(device: &D, x: &mut Hidden<D>) -> Result<()> {
    device.normalize_forward(x)
}

/// dy becomes dx, for rows `x` as they were before [`normalize`]. Both have one shape.
pub fn normalize_backward<D: Op>(device: &D, x: &Hidden<D>, dy: &mut Hidden<D>) -> Result<()> {
    if x.shape() != dy.shape() {
        return Err(Error::internal(format!("normalize backward: {:?} for {:?}", dy.shape(), x.shape())));
    }
    device.normalize_backward(x, dy)
}

/// The least length that rows are divided by.
const SHORTEST: f64 = 1e-12;

impl Op for Cpu {
    fn pooling_forward(
        &self,
        x: &Tensor<Cpu>,
        offsets: &[usize],
        pooling: Pooling,
        y: &mut Tensor<Cpu>,
        column: usize,
    ) -> Result<()> {
        let (width, (rows, stride)) = (x.cols(), y.shape());
        if width == 0 {
            return Ok(());
        }
        let x = x.buffer().as_slice();
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * stride], stride);
        self.for_each(rows, |sequence| {
            let tokens = &x[offsets[sequence] * width..offsets[sequence + 1] * width];
            // SAFETY: every sequence has its own row.
            pool(tokens, pooling, unsafe { y.row(sequence, column, width) });
        })
    }

    fn normalize_forward(&self, x: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = x.shape();
        for row in x.buffer_mut().as_mut_slice()?[..rows * width].chunks_exact_mut(width.max(1)) {
            let length = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt().max(SHORTEST);
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
        Ok(())
    }

    fn pooling_backward(
        &self,
        x: &Tensor<Cpu>,
        offsets: &[usize],
        modes: &[Pooling],
        dy: &Tensor<Cpu>,
        dx: &mut Tensor<Cpu>,
    ) -> Result<()> {
        let ((rows, width), stride) = (x.shape(), dy.cols());
        if width == 0 {
            return Ok(());
        }
        let (x, dy) = (x.buffer().as_slice(), dy.buffer().as_slice());
        let dx = SharedRows::new(&mut dx.buffer_mut().as_mut_slice()?[..rows * width], width);
        self.for_each(offsets.len() - 1, |sequence| {
            let rows = offsets[sequence]..offsets[sequence + 1];
            let tokens = &x[rows.start * width..rows.end * width];
            let dy = &dy[sequence * stride..][..stride];
            for (place, row) in rows.clone().enumerate() {
                // SAFETY: every sequence has its own rows.
                let dx = unsafe { dx.row(row, 0, width) };
                dx.fill(0.0);
                for (&mode, dy) in modes.iter().zip(dy.chunks_exact(width)) {
                    let factor = factor(mode, place, rows.len());
                    if factor != 0.0 {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += factor * dy);
                    }
                }
            }
            for (_, dy) in modes.iter().zip(dy.chunks_exact(width)).filter(|(mode, _)| **mode == Pooling::Max) {
                for (column, dy) in dy.iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { dx.row(rows.start + first_largest(tokens, width, column), column, 1)[0] += dy };
                }
            }
        })
    }

    fn normalize_backward(&self, x: &Tensor<Cpu>, dy: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = x.shape();
        let x = &x.buffer().as_slice()[..rows * width];
        let dy = &mut dy.buffer_mut().as_mut_slice()?[..rows * width];
        for (x, dy) in x.chunks_exact(width.max(1)).zip(dy.chunks_exact_mut(width.max(1))) {
            let square = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
            let length = square.sqrt();
            // A row below the shortest length is divided by a constant.
            let along = if length < SHORTEST {
                0.0
            } else {
                x.iter().zip(&*dy).map(|(&x, &dy)| f64::from(x) * f64::from(dy)).sum::<f64>() / square
            };
            let length = length.max(SHORTEST);
            dy.iter_mut().zip(x).for_each(|(dy, &x)| *dy = ((f64::from(*dy) - along * f64::from(x)) / length) as f32);
        }
        Ok(())
    }
}

/// d y / d x of the token at `place` of `count`, which is one number for all columns, except for the maximum: 0 here.
fn factor(pooling: Pooling, place: usize, count: usize) -> f32 {
    match pooling {
        Pooling::Cls if place == 0 => 1.0,
        Pooling::LastToken if place + 1 == count => 1.0,
        Pooling::Cls | Pooling::LastToken | Pooling::Max => 0.0,
        Pooling::Mean => 1.0 / count as f32,
        Pooling::MeanSqrtLen => 1.0 / (count as f32).sqrt(),
        Pooling::WeightedMean => (place + 1) as f32 / (count * (count + 1) / 2) as f32,
    }
}

fn first_largest(tokens: &[f32], width: usize, column: usize) -> usize {
    let (mut largest, mut at) = (f32::NEG_INFINITY, 0);
    for (place, row) in tokens.chunks_exact(width).enumerate() {
        if row[column] > largest {
            (largest, at) = (row[column], place);
        }
    }
    at
}

fn pool(tokens: &[f32], pooling: Pooling, y: &mut [f32]) {
    let rows = tokens.chunks_exact(y.len());
    let count = rows.len();
    match pooling {
        Pooling::Cls => y.copy_from_slice(&tokens[..y.len()]),
        Pooling::LastToken => y.copy_from_slice(&tokens[tokens.len() - y.len()..]),
        Pooling::Max => {
            y.fill(f32::NEG_INFINITY);
            rows.for_each(|row| y.iter_mut().zip(row).for_each(|(y, &v)| *y = if v > *y { v } else { *y }));
        }
        Pooling::Mean => weighted(rows, y, |_| 1.0, count as f32),
        Pooling::MeanSqrtLen => weighted(rows, y, |_| 1.0, (count as f32).sqrt()),
        Pooling::WeightedMean => {
            weighted(rows, y, |place| (place + 1) as f32, (count * (count + 1) / 2) as f32);
        }
    }
}

fn weighted<'a>(rows: impl Iterator<Item = &'a [f32]>, y: &mut [f32], weight: impl Fn(usize) -> f32, total: f32) {
    y.fill(0.0);
    for (place, row) in rows.enumerate() {
        let weight = weight(place);
        y.iter_mut().zip(row).for_each(|(y, v)| *y += weight * v);
    }
    y.iter_mut().for_each(|y| *y /= total);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle::{self, numbers};

    const MODES: [Pooling; 6] =
        [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::MeanSqrtLen, Pooling::WeightedMean, Pooling::LastToken];

    fn reference(rows: &[Vec<f64>], pooling: Pooling) -> Vec<f64> {
        let n = rows.len() as f64;
        (0..rows[0].len())
            .map(|c| {
                let column: Vec<f64> = rows.iter().map(|r| r[c]).collect();
                match pooling {
                    Pooling::Cls => column[0],
                    Pooling::LastToken => column[column.len() - 1],
                    Pooling::Max => column.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    Pooling::Mean => column.iter().sum::<f64>() / n,
                    Pooling::MeanSqrtLen => column.iter().sum::<f64>() / n.sqrt(),
                    Pooling::WeightedMean => {
                        column.iter().zip(1..).map(|(v, i)| v * f64::from(i)).sum::<f64>() / (n * (n + 1.0) / 2.0)
                    }
                }
            })
            .collect()
    }

    #[test]
    fn every_mode_agrees_with_its_definition() {
        let (offsets, width) = ([0, 1, 6, 23], 9);
        let values = numbers(23 * width, 1);
        for cpu in oracle::cpus() {
            let x = Tensor::from_host(&cpu, &values, 23, width).unwrap();
            let mut y = Tensor::from_host(&cpu, &[f32::NAN; 3 * 6 * 9], 3, 6 * width).unwrap();
            forward(&cpu, &x, &offsets, &MODES, &mut y).unwrap();
            let pooled = y.to_host(&cpu).unwrap();
            for sequence in 0..3 {
                let rows: Vec<Vec<f64>> = (offsets[sequence]..offsets[sequence + 1])
                    .map(|r| oracle::wide(&values[r * width..][..width]))
                    .collect();
                for (index, mode) in MODES.into_iter().enumerate() {
                    let part = &pooled[(sequence * 6 + index) * width..][..width];
                    oracle::close(part, &reference(&rows, mode), 2e-6); // sums of at most 17 values below 1
                }
            }
            normalize(&cpu, &mut y).unwrap();
            for row in y.to_host(&cpu).unwrap().chunks(6 * width) {
                let length: f64 = row.iter().map(|&v| f64::from(v).powi(2)).sum();
                assert!((length - 1.0).abs() < 1e-6);
            }
            assert!(forward(&cpu, &x, &[0, 5, 5, 23], &MODES, &mut y).is_err());
        }
    }

    #[test]
    fn backward_agrees_with_the_derivative() {
        let (offsets, rows) = ([0, 1, 6, 23], 23);
        for width in [1, 7, 9, 17] {
            let (x, dy) = (numbers(rows * width, 1), numbers(3 * 6 * width, 2));
            let weighted = |x: &[f64]| -> f64 {
                let pooled = (0..3).flat_map(|sequence| {
                    let tokens: Vec<Vec<f64>> = x[offsets[sequence] * width..offsets[sequence + 1] * width]
                        .chunks(width)
                        .map(Vec::from)
                        .collect();
                    MODES.into_iter().flat_map(move |mode| reference(&tokens, mode))
                });
                pooled.zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
            };
            // No two values of a column are closer than the steps of the difference, or the comparison below would fail.
            let expected = oracle::gradient(&oracle::wide(&x), weighted);
            let mut before = None;
            for cpu in oracle::cpus() {
                let x = Tensor::from_host(&cpu, &x, rows, width).unwrap();
                let dy = Tensor::from_host(&cpu, &dy, 3, 6 * width).unwrap();
                let mut dx = Tensor::from_host(&cpu, &vec![f32::NAN; rows * width], width, rows).unwrap();
                backward(&cpu, &x, &offsets, &MODES, &dy, &mut dx).unwrap();
                assert_eq!(dx.shape(), x.shape());
                let dx = dx.to_host(&cpu).unwrap();
                oracle::close(&dx, &expected, 1e-6); // six values below 1
                assert_eq!(*before.get_or_insert(dx.clone()), dx);
            }
        }
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() {
        let cpu = Cpu::new(1).unwrap();
        let x = Tensor::from_host(&cpu, &[1.0, f32::NAN, 2.0, f32::NAN, 2.0, f32::NAN], 3, 2).unwrap();
        let dy = Tensor::from_host(&cpu, &[5.0, 7.0], 1, 2).unwrap();
        let mut dx = Tensor::new(&cpu, 0, 0).unwrap();
        backward(&cpu, &x, &[0, 3], &[Pooling::Max], &dy, &mut dx).unwrap();
        assert_eq!(dx.to_host(&cpu).unwrap(), [0.0, 7.0, 5.0, 0.0, 0.0, 0.0]);
        assert!(backward(&cpu, &x, &[0, 2], &[Pooling::Max], &dy, &mut dx).is_err());
        assert!(backward(&cpu, &x, &[0, 1, 3], &[Pooling::Max], &dy, &mut dx).is_err());
    }

    #[test]
    fn normalize_backward_agrees_with_the_derivative() {
        let (rows, width) = (3, 9);
        let (x, dy) = (numbers(rows * width, 1), numbers(rows * width, 2));
        let weighted = |x: &[f64]| -> f64 {
            let unit = x.chunks(width).flat_map(|row| {
                let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                row.iter().map(move |v| v / length)
            });
            unit.zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
        };
        let expected = oracle::gradient(&oracle::wide(&x), weighted);
        for cpu in oracle::cpus() {
            let x = Tensor::from_host(&cpu, &x, rows, width).unwrap();
            let mut dx = Tensor::from_host(&cpu, &dy, rows, width).unwrap();
            normalize_backward(&cpu, &x, &mut dx).unwrap();
            oracle::close(&dx.to_host(&cpu).unwrap(), &expected, 1e-7); // f64 until the end
            // A row of zeros is divided by the least length, a constant.
            let x = Tensor::from_host(&cpu, &[0.0, 0.0], 1, 2).unwrap();
            let mut dx = Tensor::from_host(&cpu, &[1.0, -2.0], 1, 2).unwrap();
            normalize_backward(&cpu, &x, &mut dx).unwrap();
            assert_eq!(dx.to_host(&cpu).unwrap(), [1e12, -2e12]);
            assert!(normalize_backward(&cpu, &x, &mut Tensor::zeros(&cpu, 2, 1).unwrap()).is_err());
        }
    }
}
