//! Pooling and normalisation of rows, and their gradients.

use cloze::device::Cuda;
use cloze::dtype::DType;
use cloze::ops::pooling::{self, Pooling};

use crate::harness::{blank_hidden, each, hidden, rounded, step, values};

const MODES: [Pooling; 6] =
    [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::MeanSqrtLen, Pooling::WeightedMean, Pooling::LastToken];

/// Sums of at most 300 values of size 1, divided; one rounding beside it where hidden states have 16 bits.
fn tolerance(gpu: &Cuda) -> f32 {
    if gpu.working() == DType::F32 { 2e-6 } else { 2e-6 + 0.51 * step(gpu.working()) }
}

const OFFSETS: [&[usize]; 4] = [&[0], &[0, 1], &[0, 300], &[0, 7, 8, 25, 27, 60]];

#[test]
fn rows_of_sequences() {
    each(|gpu| {
        for offsets in OFFSETS {
            for width in [0, 1, 7, 64, 66, 384] {
                let (rows, sequences) = (offsets[offsets.len() - 1], offsets.len() - 1);
                let mut x = rounded(gpu.working(), &values(1, rows * width));
                // a maximum that two rows have
                if rows > 20 && width > 0 {
                    (x[9 * width], x[17 * width]) = (8.0, 8.0);
                }
                let dy = rounded(gpu.working(), &values(2, sequences * MODES.len() * width));
                for modes in [&MODES[..], &MODES[1..2], &[]] {
                    let part = &dy[..sequences * modes.len() * width];
                    parity!(gpu, tolerance(gpu), |d| {
                        let x = hidden(d, &x, rows, width);
                        let mut y = blank_hidden(d, 1, 1);
                        pooling::forward(d, &x, offsets, modes, &mut y).unwrap();
                        let mut dx = blank_hidden(d, rows, width);
                        let dy = hidden(d, part, sequences, modes.len() * width);
                        pooling::backward(d, &x, offsets, modes, &dy, &mut dx).unwrap();
                        // modes have results of different sizes
                        let pooled = y.to_values(d).unwrap();
                        let of_mode = |mode: usize| -> Vec<f32> {
                            pooled.chunks(width.max(1)).skip(mode).step_by(modes.len()).flatten().copied().collect()
                        };
                        let mut parts: Vec<Vec<f32>> = (0..modes.len()).map(of_mode).collect();
                        parts.push(dx.to_values(d).unwrap());
                        parts
                    });
                }
            }
        }
    });
}

#[test]
fn a_sequence_in_company_has_the_bits_it_has_alone() {
    each(|gpu| {
        let (offsets, width) = ([0, 40, 57, 200], 33);
        let x = values(1, 200 * width);
        let run = |x: &[f32], offsets: &[usize]| {
            let mut y = blank_hidden(gpu, 1, 1);
            let x = hidden(gpu, x, x.len() / width, width);
            pooling::forward(gpu, &x, offsets, &MODES, &mut y).unwrap();
            pooling::normalize(gpu, &mut y).unwrap();
            y.to_values(gpu).unwrap()
        };
        let all = run(&x, &offsets);
        for (sequence, pair) in offsets.windows(2).enumerate() {
            let alone = run(&x[pair[0] * width..pair[1] * width], &[0, pair[1] - pair[0]]);
            assert_eq!(alone, all[sequence * 6 * width..(sequence + 1) * 6 * width]);
        }
    });
}

#[test]
fn the_first_of_equal_maxima_gets_the_gradient() {
    each(|gpu| {
        let x = hidden(gpu, &[1.0, f32::NAN, 2.0, f32::NAN, 2.0, f32::NAN], 3, 2);
        let mut dx = blank_hidden(gpu, 3, 2);
        pooling::backward(gpu, &x, &[0, 3], &[Pooling::Max], &hidden(gpu, &[5.0, 7.0], 1, 2), &mut dx).unwrap();
        assert_eq!(dx.to_values(gpu).unwrap(), [0.0, 7.0, 5.0, 0.0, 0.0, 0.0]);
    });
}

#[test]
fn rows_of_length_one() {
    each(|gpu| {
        for (rows, width) in [(0, 5), (3, 0), (1, 1), (3, 7), (2, 384), (1, 1000)] {
            let mut x = rounded(gpu.working(), &values(1, rows * width));
            let dy = rounded(gpu.working(), &values(2, rows * width));
            // Lengths of which the squares are no f32. Only an f32 holds them.
            if gpu.working() == DType::F32 && rows == 3 && width > 0 {
                x[..width].iter_mut().for_each(|x| *x *= 1e25);
                x[width..2 * width].iter_mut().for_each(|x| *x *= 1e-25);
            }
            parity!(gpu, tolerance(gpu), |d| {
                let mut y = hidden(d, &x, rows, width);
                pooling::normalize(d, &mut y).unwrap();
                let mut dx = hidden(d, &dy, rows, width);
                pooling::normalize_backward(d, &hidden(d, &x, rows, width), &mut dx).unwrap();
                let mut parts = vec![y.to_values(d).unwrap()];
                // gradients are as much smaller as rows are longer
                parts.extend(dx.to_values(d).unwrap().chunks(width.max(1)).map(<[f32]>::to_vec));
                parts
            });
        }
    });
}
