//! One row a sequence from its token rows x₁ … xₙ, as sentence-transformers' `Pooling` defines it.

use super::shared::SharedRows;
use crate::device::{Cpu, Device, Tensor};
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
        x: &Tensor<Self>,
        offsets: &[usize],
        pooling: Pooling,
        y: &mut Tensor<Self>,
        column: usize,
    ) -> Result<()>;
    /// Divides every row by its Euclidean length, or by 1e-12 if that is larger.
    fn normalize_forward(&self, x: &mut Tensor<Self>) -> Result<()>;
}

/// y `[S, M·H]`: for each sequence its rows pooled in each of M ways, side by side. `y` takes that shape.
///
/// `offsets` `[S + 1]` rises strictly from 0 to x's rows.
pub fn forward<D: Op>(
    device: &D,
    x: &Tensor<D>,
    offsets: &[usize],
    modes: &[Pooling],
    y: &mut Tensor<D>,
) -> Result<()> {
    if offsets.first() != Some(&0)
        || offsets.last() != Some(&x.rows())
        || offsets.windows(2).any(|pair| pair[0] >= pair[1])
    {
        return Err(Error::internal(format!("pooling: offsets {offsets:?} for {} rows", x.rows())));
    }
    y.reshape(device, offsets.len() - 1, modes.len() * x.cols())?;
    for (index, &mode) in modes.iter().enumerate() {
        device.pooling_forward(x, offsets, mode, y, index * x.cols())?;
    }
    Ok(())
}

/// x / max(‖x‖, 1e-12) for every row, in place: `torch.nn.functional.normalize`.
pub fn normalize<D: Op>(device: &D, x: &mut Tensor<D>) -> Result<()> {
    device.normalize_forward(x)
}

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
            let length = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
        Ok(())
    }
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
        const MODES: [Pooling; 6] = [
            Pooling::Cls,
            Pooling::Mean,
            Pooling::Max,
            Pooling::MeanSqrtLen,
            Pooling::WeightedMean,
            Pooling::LastToken,
        ];
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
}
