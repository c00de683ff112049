//! `y[t] = word[id t] + type[type t] + position[place of t in its sequence]`

use super::linear::Weight;
use super::shared::SharedRows;
use crate::batch::Batch;
use crate::device::{Cpu, Device, Tensor};
use crate::error::{Error, Result};

/// Embedding tables with rows of one length.
pub struct Tables<'a, D: Device> {
    /// `[V, E]`
    pub word: &'a Weight<D>,
    /// `[segments, E]`
    pub token_type: &'a Weight<D>,
    /// `[places, E]`; absent where positions enter in attention instead.
    pub position: Option<&'a Weight<D>>,
}

/// What a device provides. Shapes and ids are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn embedding_forward(&self, batch: &Batch, tables: &Tables<'_, Self>, y: &mut Tensor<Self>) -> Result<()>;
}

/// y `[T, E]` = sum of the rows that the batch names. `y` takes that shape.
///
/// Fails when an id, a type or a place has no row: the caller's text or ids are at fault.
pub fn forward<D: Op>(device: &D, batch: &Batch, tables: &Tables<'_, D>, y: &mut Tensor<D>) -> Result<()> {
    let (words, width) = tables.word.shape();
    let segments = tables.token_type.shape().0;
    if let Some(id) = batch.ids().iter().find(|&&id| id as usize >= words) {
        return Err(Error::input(format!("token id {id} in a vocabulary of {words}")));
    }
    if let Some(segment) = batch.types().iter().find(|&&t| t as usize >= segments) {
        return Err(Error::input(format!("token type {segment}: the model has {segments}")));
    }
    let longest = (0..batch.sequences()).map(|s| batch.rows(s).len()).max().unwrap_or(0);
    if let Some(places) = tables.position.map(|p| p.shape().0)
        && longest > places
    {
        return Err(Error::input(format!("sequence of {longest} tokens: the model has {places} positions")));
    }
    if tables.token_type.shape().1 != width || tables.position.is_some_and(|p| p.shape().1 != width) {
        return Err(Error::internal("embedding: tables of different width"));
    }
    y.reshape(device, batch.tokens(), width)?;
    device.embedding_forward(batch, tables, y)
}

impl Op for Cpu {
    fn embedding_forward(&self, batch: &Batch, tables: &Tables<'_, Cpu>, y: &mut Tensor<Cpu>) -> Result<()> {
        let (rows, width) = y.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * width], width);
        self.for_each(batch.sequences(), |sequence| {
            for (place, row) in batch.rows(sequence).enumerate() {
                // SAFETY: every sequence has its own rows.
                let y = unsafe { y.row(row, 0, width) };
                y.fill(0.0);
                add_row(tables.word, batch.ids()[row] as usize, y);
                add_row(tables.token_type, batch.types()[row] as usize, y);
                if let Some(position) = tables.position {
                    add_row(position, place, y);
                }
            }
        })
    }
}

fn add_row(table: &Weight<Cpu>, row: usize, y: &mut [f32]) {
    let values = row * y.len()..(row + 1) * y.len();
    match table {
        Weight::F32(t) => y.iter_mut().zip(&t.buffer().as_slice()[values]).for_each(|(y, v)| *y += v),
        Weight::F16(t) => y.iter_mut().zip(&t.buffer().as_slice()[values]).for_each(|(y, v)| *y += v.to_f32()),
        Weight::Bf16(t) => y.iter_mut().zip(&t.buffer().as_slice()[values]).for_each(|(y, v)| *y += v.to_f32()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::f16;
    use crate::error::Status;
    use crate::ops::oracle::{self, numbers};

    #[test]
    fn forward_agrees_with_the_definition_and_refuses_what_has_no_row() {
        for cpu in oracle::cpus() {
            let (words, places, width) = (11, 4, 13);
            let (w, t, p) = (numbers(words * width, 1), numbers(2 * width, 2), numbers(places * width, 3));
            let halves: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
            let word = Weight::F16(Tensor::from_host(&cpu, &halves, words, width).unwrap());
            let token_type = Weight::F32(Tensor::from_host(&cpu, &t, 2, width).unwrap());
            let position = Weight::F32(Tensor::from_host(&cpu, &p, places, width).unwrap());
            let tables = Tables { word: &word, token_type: &token_type, position: Some(&position) };
            let mut batch = Batch::new();
            batch.push(&[10, 0, 3], &[0, 1, 1]).unwrap();
            batch.push(&[5], &[0]).unwrap();
            let mut y = Tensor::from_host(&cpu, &vec![f32::NAN; 4 * width], 4, width).unwrap();
            forward(&cpu, &batch, &tables, &mut y).unwrap();
            let y = y.to_host(&cpu).unwrap();
            for (row, (id, segment, place)) in [(10, 0, 0), (0, 1, 1), (3, 1, 2), (5, 0, 0)].into_iter().enumerate() {
                let expected: Vec<f64> = (0..width)
                    .map(|i| {
                        f64::from(halves[id * width + i].to_f32())
                            + f64::from(t[segment * width + i])
                            + f64::from(p[place * width + i])
                    })
                    .collect();
                oracle::close(&y[row * width..][..width], &expected, 5e-7); // two roundings of values below 3
            }

            let mut y = Tensor::new(&cpu, 0, 0).unwrap();
            for (ids, types) in [(vec![11], vec![0]), (vec![1], vec![2]), (vec![1; 5], vec![0; 5])] {
                let mut batch = Batch::new();
                batch.push(&ids, &types).unwrap();
                let error = forward(&cpu, &batch, &tables, &mut y).unwrap_err();
                assert_eq!(error.status(), Status::InvalidInput, "{error}");
            }
        }
    }
}
