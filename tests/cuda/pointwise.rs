//! Activations, sums, dropout, and rows that move.

use cloze::device::Cuda;
use cloze::dtype::DType;
use cloze::ops::activation::{self, Activation};
use cloze::ops::dropout::{self, Dropout, Mask};
use cloze::ops::{Accumulate, add, assign, gather};

use crate::harness::{blank_hidden, each, hidden, numbers, rounded, step, values};

/// At the edges of what a thread takes, and of a block.
const COUNTS: [usize; 8] = [0, 1, 3, 4, 5, 9, 1023, 2051];

/// `exact` for f32; one rounding beside it for others.
fn tolerance(gpu: &Cuda, exact: f32) -> f32 {
    if gpu.working() == DType::F32 { exact } else { exact + 0.51 * step(gpu.working()) }
}

const ACTIVATIONS: [Activation; 16] = [
    Activation::Identity,
    Activation::GeluErf,
    Activation::GeluErfClipped10,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
    Activation::Relu2,
    Activation::Relu6,
    Activation::LeakyRelu,
    Activation::Silu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Mish,
    Activation::Laplace,
    Activation::HardSwish,
    Activation::SqrtSoftplus,
];

#[test]
fn activations() {
    each(|gpu| {
        for count in COUNTS {
            // Small values and large ones, kinks among them.
            let x: Vec<f32> = values(1, count).iter().enumerate().map(|(i, x)| x * [1.0, 4.0, 0.01][i % 3]).collect();
            let mut x = rounded(gpu.working(), &x);
            // the first one sees to it that results are of size 1
            x.iter_mut().zip([1.0, 0.0, 6.0, -3.0, 3.0, 30.0, -30.0]).for_each(|(x, kink)| *x = kink);
            let dy = rounded(gpu.working(), &values(2, count));
            for activation in ACTIVATIONS {
                // The CPU's erf is within 5e-7, its tanh within 4e-7.
                parity!(gpu, tolerance(gpu, 2e-6), |d| {
                    let mut y = blank_hidden(d, 1, count);
                    activation::forward(d, &hidden(d, &x, 1, count), activation, &mut y).unwrap();
                    let mut dx = hidden(d, &dy, 1, count);
                    activation::backward(d, &hidden(d, &x, 1, count), activation, &mut dx).unwrap();
                    (y.to_values(d).unwrap(), dx.to_values(d).unwrap())
                });
            }
        }
    });
}

#[test]
fn far_numbers_stay_finite_and_wrong_ones_do_not_look_it() {
    each(|gpu| {
        for activation in ACTIVATIONS {
            let x = hidden(gpu, &[300.0, -300.0, f32::NAN], 1, 3);
            let (mut y, mut dx) = (blank_hidden(gpu, 1, 3), hidden(gpu, &[1.0; 3], 1, 3));
            activation::forward(gpu, &x, activation, &mut y).unwrap();
            activation::backward(gpu, &x, activation, &mut dx).unwrap();
            let (y, dx) = (y.to_values(gpu).unwrap(), dx.to_values(gpu).unwrap());
            // 300² is no f16
            let square = activation == Activation::Relu2 && gpu.working() == DType::F16;
            assert!((y[0].is_finite() || square) && y[1].is_finite() && y[2].is_nan(), "{activation:?}: {y:?}");
            assert!(dx[..2].iter().all(|x| x.is_finite()), "{activation:?}: {dx:?}");
        }
    });
}

#[test]
fn sums() {
    each(|gpu| {
        for count in COUNTS {
            let (x, y) = (rounded(gpu.working(), &values(1, count)), rounded(gpu.working(), &values(2, count)));
            parity!(gpu, tolerance(gpu, 0.0), |d| {
                let mut y = hidden(d, &y, 1, count);
                add::add(d, &hidden(d, &x, 1, count), Accumulate(&mut y)).unwrap();
                y.to_values(d).unwrap()
            });
        }
    });
}

#[test]
fn masks() {
    each(|gpu| {
        for (rows, width) in [(0, 8), (1, 1), (3, 2), (5, 7), (4, 8), (3, 130), (2, 768), (1, 1500)] {
            let x = rounded(gpu.working(), &values(1, rows * width));
            let rows_of_step: Vec<usize> = (0..rows).map(|row| 3 * row + row % 2).collect();
            for probability in [0.0, 0.1, 0.5] {
                let dropout = Dropout { probability, seed: 0x0123_4567_89AB_CDEF, step: 7, site: 11 };
                let got = parity!(gpu, tolerance(gpu, 0.0), |d| {
                    let mut x = hidden(d, &x, rows, width);
                    dropout::apply(d, &Mask { dropout, rows: &rows_of_step, first_row: 1000 }, &mut x).unwrap();
                    x.to_values(d).unwrap()
                });
                if probability == 0.0 {
                    assert_eq!(got[0], x);
                }
            }
        }
    });
}

/// Bytes of a row that are multiples of 2, 4 and 16.
const WIDTHS: [usize; 6] = [0, 1, 2, 7, 8, 200];

#[test]
fn rows_that_are_copied() {
    each(|gpu| {
        for width in WIDTHS {
            let (x, y) = (rounded(gpu.working(), &values(1, 9 * width)), rounded(gpu.working(), &values(2, 7 * width)));
            let (from, to) = (numbers(3, 6, 9), [6, 0, 3, 2, 5, 1]);
            parity!(gpu, 0.0, |d| {
                let x = hidden(d, &x, 9, width);
                let mut gathered = blank_hidden(d, 6, width);
                gather::forward(d, &x, &from, &mut gathered).unwrap();
                let (mut named, mut all) = (hidden(d, &y, 7, width), blank_hidden(d, 9, width));
                assign::forward(d, &x, Some(&from), &to, &mut named).unwrap();
                assign::forward(d, &x, None, &[8, 1, 2, 3, 4, 5, 6, 7, 0], &mut all).unwrap();
                gather::forward(d, &x, &[], &mut blank_hidden(d, 1, width)).unwrap();
                (gathered.to_values(d).unwrap(), named.to_values(d).unwrap(), all.to_values(d).unwrap())
            });
        }
    });
}

#[test]
fn gradients_of_rows_that_were_copied() {
    each(|gpu| {
        for width in WIDTHS {
            // Rows that are named once, often, and more often than one run holds.
            for (count, end) in [(0, 9), (1, 9), (6, 9), (200, 9), (200, 2)] {
                let dy = rounded(gpu.working(), &values(1, count * width));
                let held = rounded(gpu.working(), &values(2, 9 * width));
                let rows = numbers(3, count, end);
                // sums of up to a hundred values of size 1
                parity!(gpu, tolerance(gpu, 2e-6), |d| {
                    let mut dx = hidden(d, &held, 9, width);
                    gather::backward(d, &hidden(d, &dy, count, width), &rows, Accumulate(&mut dx)).unwrap();
                    dx.to_values(d).unwrap()
                });
            }
        }
    });
}
