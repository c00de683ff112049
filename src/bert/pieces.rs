//! A batch in pieces that pass each layer in turn: what a piece consists of on its way through a layer stays in a cache,
//! and the layer's weights are read from memory once for all of them. Sequences do not know of each other, so the cut
//! changes no number.

use std::ops::Range;

use crate::batch::{Batch, Selection};
use crate::device::{Device, Hidden, Tensor};
use crate::error::Result;
use crate::ops::{Ops, assign, gather};

/// Some neighbouring sequences of a batch.
pub struct Piece<D: Device> {
    /// Which.
    pub sequences: Range<usize>,
    /// They.
    pub batch: Batch,
    /// The rows that the next layer is asked for.
    pub asked: Selection,
    /// Hidden states of all rows; after a layer, of those asked for.
    pub x: Hidden<D>,
}

impl<D: Ops> Piece<D> {
    /// The pieces of `batch`, as large as `device` takes them, without hidden states. All rows are asked for.
    pub fn all(device: &D, batch: &Batch) -> Result<Vec<Self>> {
        let piece = |sequences: Range<usize>| {
            let batch = batch.part(sequences.clone());
            Ok(Self { sequences, asked: Selection::all(&batch), batch, x: Tensor::new(device, 0, 0)? })
        };
        batch.runs(device.portions().layer_tokens).into_iter().map(piece).collect()
    }

    /// The same with hidden states, `[T, H]` of the batch.
    pub fn holding(device: &D, batch: &Batch, states: Hidden<D>) -> Result<Vec<Self>> {
        let mut pieces = Self::all(device, batch)?;
        if let [only] = &mut pieces[..] {
            only.x = states;
            return Ok(pieces);
        }
        for piece in &mut pieces {
            let first = batch.rows(piece.sequences.start).start;
            let rows: Vec<usize> = (first..first + piece.batch.tokens()).collect();
            gather::forward(device, &states, &rows, &mut piece.x)?;
        }
        Ok(pieces)
    }

    /// All of `batch` as one piece, of which `rows` are asked for.
    pub fn whole(device: &D, batch: &Batch, rows: &Selection, pieces: Vec<Self>) -> Result<Self> {
        let x = Self::joined(device, pieces)?;
        Ok(Self { sequences: 0..batch.sequences(), batch: batch.clone(), asked: rows.clone(), x })
    }

    /// Hidden states of all `pieces`, one below the other.
    pub fn joined(device: &D, mut pieces: Vec<Self>) -> Result<Hidden<D>> {
        if pieces.len() == 1 {
            return Ok(pieces.remove(0).x);
        }
        let columns = pieces.first().map_or(0, |piece| piece.x.cols());
        let mut all = Tensor::new(device, pieces.iter().map(|piece| piece.x.rows()).sum(), columns)?;
        let mut first = 0;
        for piece in pieces {
            let rows: Vec<usize> = (first..first + piece.x.rows()).collect();
            assign::forward(device, &piece.x, None, &rows, &mut all)?;
            first += rows.len();
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::bert::{Bert, Config};
    use crate::device::Cpu;
    use crate::device::cpu::{Arithmetic, Memory};
    use crate::weights::Weights;

    fn model(cpu: &Cpu, name: &str) -> Bert<Cpu> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let config = Config::parse(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        Bert::load(cpu, config, &mut Weights::open(&folder).unwrap()).unwrap()
    }

    /// Sequences of many lengths, more than pass a layer at a time.
    fn batch(cpu: &Cpu, longest: usize) -> Batch {
        let mut batch = Batch::new();
        let ids = |length: usize, seed: usize| -> Vec<u32> {
            (0..length).map(|place| (5 + (place * 31 + seed * 17) % 90) as u32).collect()
        };
        let mut seed = 0;
        while batch.tokens() < 3 * cpu.portions().layer_tokens {
            seed += 1;
            let length = 1 + seed * 7 % longest;
            batch.push(&ids(length, seed), &vec![0; length]).unwrap();
        }
        batch
    }

    #[test]
    fn a_batch_in_pieces_gives_the_bits_of_its_sequences_by_themselves() {
        for arithmetic in [Arithmetic::Bf16, Arithmetic::Int8] {
            let cpu = Cpu::new(2).unwrap().computing(arithmetic, Memory::Fast);
            for name in ["pretraining", "odd", "albert_groups", "causal"] {
                let bert = model(&cpu, name);
                let (encoder, longest) = (bert.encoder(), bert.config().max_positions);
                let batch = batch(&cpu, longest);
                assert!(Piece::all(&cpu, &batch).unwrap().len() >= 3);
                let width = bert.config().hidden;
                let everything = Selection::all(&batch);
                let odd: Vec<Vec<usize>> = (0..batch.sequences())
                    .map(|sequence| (0..batch.rows(sequence).len()).filter(|row| (sequence + row) % 3 == 1).collect())
                    .collect();
                let some = Selection::positions(&batch, &odd).unwrap();

                let (mut shown, layers) = (vec![Vec::new(); encoder.layers() + 1], encoder.layers());
                let mut see = |layer: usize, sequences: Range<usize>, x: &Hidden<Cpu>| {
                    let rows = batch.rows(sequences.start).start..batch.rows(sequences.end - 1).end;
                    assert_eq!((shown[layer].len(), x.rows()), (rows.start * width, rows.len()));
                    shown[layer].extend(x.to_host(&cpu)?);
                    Ok(())
                };
                encoder.show(&cpu, &batch, layers, &mut see).unwrap();

                for (depth, shown) in shown.iter().enumerate() {
                    let alone = |sequence: usize| {
                        let alone = batch.part(sequence..sequence + 1);
                        encoder.states(&cpu, &alone, &Selection::all(&alone), depth).unwrap().to_host(&cpu).unwrap()
                    };
                    let expected: Vec<f32> = (0..batch.sequences()).flat_map(alone).collect();
                    let states = |rows| encoder.states(&cpu, &batch, rows, depth).unwrap();
                    assert!(states(&everything).to_host(&cpu).unwrap() == expected, "{name}, {arithmetic:?}, {depth}");
                    assert!(*shown == expected, "{name}, {arithmetic:?}, {depth} shown");
                    let of_some: Vec<f32> =
                        some.rows().iter().flat_map(|row| &expected[row * width..][..width]).copied().collect();
                    assert!(states(&some).to_host(&cpu).unwrap() == of_some, "{name}, {arithmetic:?}, {depth}, some");
                    if depth < layers {
                        let last = |rows| {
                            let x = encoder.continued(&cpu, &batch, rows, depth, states(&everything)).unwrap();
                            x.to_host(&cpu).unwrap()
                        };
                        let forward = |rows| encoder.forward(&cpu, &batch, rows).unwrap().to_host(&cpu).unwrap();
                        assert!(last(&everything) == forward(&everything) && last(&some) == forward(&some), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_fits_into_no_more_than_one_piece_is_not_copied() {
        let cpu = Cpu::new(1).unwrap().computing(Arithmetic::Bf16, Memory::Fast);
        let mut batch = Batch::new();
        batch.push(&[5; 7], &[0; 7]).unwrap();
        let states = Tensor::zeros(&cpu, 7, 4).unwrap();
        let place = states.buffer().as_slice().as_ptr();
        let pieces = Piece::holding(&cpu, &batch, states).unwrap();
        let joined = Piece::joined(&cpu, pieces).unwrap();
        assert_eq!(joined.buffer().as_slice().as_ptr(), place);
    }
}
