//! Embeddings of ids, types and positions, and the gradients of the tables.

use cloze::batch::Batch;
use cloze::device::{Cuda, Device, Tensor};
use cloze::dtype::{DType, bf16, f16};
use cloze::ops::Accumulate;
use cloze::ops::embedding::{self, Gradients, Tables};
use cloze::ops::linear::Weight;

use crate::harness::{blank_hidden, each, hidden, matrix, numbers, rounded, step, to_host, values};

const WORDS: usize = 50;
const PLACES: usize = 40;

/// A table of numbers in a storage type.
fn table<D: Device>(device: &D, dtype: DType, seed: u64, rows: usize, width: usize) -> Weight<D> {
    let values = values(seed, rows * width);
    match dtype {
        DType::F32 => Weight::F32(matrix(device, &values, rows, width)),
        DType::F16 => {
            let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
            Weight::F16(Tensor::from_host(device, &halves, rows, width).unwrap())
        }
        DType::Bf16 => {
            let halves: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
            Weight::Bf16(Tensor::from_host(device, &halves, rows, width).unwrap())
        }
    }
}

/// Sequences of random ids, of which the second continues one.
fn batch(lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    for (index, &length) in lengths.iter().enumerate() {
        let narrow = |numbers: Vec<usize>| numbers.into_iter().map(|number| number as u32).collect::<Vec<_>>();
        let ids = narrow(numbers(1 + index as u64, length, WORDS));
        let types = narrow(numbers(9 + index as u64, length, 2));
        let position = if index == 1 { 5 } else { 0 };
        batch.push_from(position, &ids, &types).unwrap();
    }
    batch
}

/// Three values below 4 and two roundings.
fn tolerance(gpu: &Cuda) -> f32 {
    if gpu.working() == DType::F32 { 5e-7 } else { 5e-7 + 0.51 * step(gpu.working()) }
}

#[test]
fn forward() {
    each(|gpu| {
        let types = [DType::F32, DType::Bf16, DType::F16];
        for (lengths, width) in [(&[][..], 8), (&[1][..], 1), (&[3, 7], 7), (&[1, 30, 2], 12), (&[5, 5], 768)] {
            let batch = batch(lengths);
            for shift in 0..3 {
                let [word, token_type, position] = [0, 1, 2].map(|i| types[(i + shift) % 3]);
                for placed in [true, false] {
                    parity!(gpu, tolerance(gpu), |d| {
                        let word = table(d, word, 1, WORDS, width);
                        let token_type = table(d, token_type, 2, 2, width);
                        let position = table(d, position, 3, PLACES, width);
                        let tables =
                            Tables { word: &word, token_type: &token_type, position: placed.then_some(&position) };
                        let mut y = blank_hidden(d, batch.tokens(), width);
                        embedding::forward(d, &batch, &tables, &mut y).unwrap();
                        y.to_values(d).unwrap()
                    });
                }
            }
        }
    });
}

/// Sums of up to 300 values of size 1, in runs of 64.
const SUMS: f32 = 5e-6;

#[test]
fn gradients() {
    each(|gpu| {
        // Token types are shared by more than one run holds, places by as many as there are sequences.
        let many = [4; 75];
        for (lengths, width) in [(&[][..], 8), (&[1][..], 1), (&[3, 7], 7), (&many, 16), (&many, 3), (&[9, 30], 768)] {
            let batch = batch(lengths);
            let dy = rounded(gpu.working(), &values(5, batch.tokens() * width));
            for (pad, trains) in [(None, [true; 3]), (Some(7), [true, false, true]), (None, [false, true, false])] {
                parity!(gpu, SUMS, |d| {
                    let dy = hidden(d, &dy, batch.tokens(), width);
                    let mut tables = [WORDS, 2, PLACES].map(|rows| matrix(d, &values(6, rows * width), rows, width));
                    let [word, token_type, position] = &mut tables;
                    let gradients = Gradients {
                        word: trains[0].then_some(Accumulate(word)),
                        token_type: trains[1].then_some(Accumulate(token_type)),
                        position: trains[2].then_some(Accumulate(position)),
                    };
                    embedding::backward(d, &batch, &dy, pad, gradients).unwrap();
                    tables.map(|table| to_host(d, &table)).to_vec()
                });
            }
        }
    });
}
