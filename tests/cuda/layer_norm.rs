//! Layer normalisation and its gradients.

use cloze::device::Cuda;
use cloze::dtype::DType;
use cloze::ops::Accumulate;
use cloze::ops::layer_norm::{self, Affine, Gradients, Saved};

use crate::harness::{blank_hidden, each, hidden, matrix, rounded, step, to_host, values};

/// Rows and widths: for a warp, a block and any width, at the edges of what a thread holds, of all and of few columns.
const SHAPES: [(usize, usize); 14] = [
    (0, 64),
    (3, 0),
    (1, 1),
    (5, 7),
    (1, 8),
    (6, 40),
    (5, 256),
    (3, 768),
    (2, 1024),
    (2, 1028),
    (3, 1032),
    (1, 8192),
    (2, 8200),
    (2, 1535),
];

/// What f32 sums of a row leave, of rows of size 1: they are as long as 8,200.
const SUMS: f32 = 2e-6;

/// One rounding to the type of hidden states beside that.
fn tolerance(gpu: &Cuda) -> f32 {
    if gpu.working() == DType::F32 { SUMS } else { SUMS + 0.51 * step(gpu.working()) }
}

#[test]
fn forward() {
    each(|gpu| {
        for (rows, width) in SHAPES {
            let x: Vec<f32> = values(1, rows * width).iter().map(|x| x + 3.0).collect();
            let (x, residual) = (rounded(gpu.working(), &x), rounded(gpu.working(), &values(2, rows * width)));
            let (gamma, beta) = (values(3, width), values(4, width));
            for with in [false, true] {
                parity!(gpu, tolerance(gpu), |d| {
                    let (x, residual) = (hidden(d, &x, rows, width), hidden(d, &residual, rows, width));
                    let (gamma, beta) = (matrix(d, &gamma, 1, width), matrix(d, &beta, 1, width));
                    let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-5 };
                    let (mut y, mut again) = (blank_hidden(d, rows, width), blank_hidden(d, rows, width));
                    layer_norm::forward(d, &x, with.then_some(&residual), &affine, &mut y).unwrap();
                    let saved =
                        layer_norm::forward_saving(d, &x, with.then_some(&residual), &affine, &mut again).unwrap();
                    let y = y.to_values(d).unwrap();
                    assert_eq!(y, again.to_values(d).unwrap(), "saving changes the answer");
                    // 1/√ε where σ is 0, and no meaning without numbers
                    let scale = if width < 2 { Vec::new() } else { to_host(d, &saved.scale) };
                    (y, saved.normal.to_values(d).unwrap(), scale)
                });
            }
        }
    });
}

/// A row of one number is β, whatever it is.
#[test]
fn rows_without_variance() {
    each(|gpu| {
        let (gamma, beta) = (matrix(gpu, &[2.0], 1, 1), matrix(gpu, &[0.5], 1, 1));
        let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-12 };
        let mut y = blank_hidden(gpu, 2, 1);
        layer_norm::forward(gpu, &hidden(gpu, &[3.0, -4.0], 2, 1), None, &affine, &mut y).unwrap();
        assert_eq!(y.to_values(gpu).unwrap(), [0.5, 0.5]);
    });
}

#[test]
fn a_row_in_company_has_the_bits_it_has_alone() {
    each(|gpu| {
        for width in [7, 384, 768, 1536] {
            let x = values(1, 37 * width);
            let (gamma, beta) = (matrix(gpu, &values(2, width), 1, width), matrix(gpu, &values(3, width), 1, width));
            let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-12 };
            let run = |x: &[f32], rows: usize| {
                let mut y = blank_hidden(gpu, rows, width);
                layer_norm::forward(gpu, &hidden(gpu, x, rows, width), None, &affine, &mut y).unwrap();
                y.to_values(gpu).unwrap()
            };
            let all = run(&x, 37);
            for row in [0, 5, 36] {
                let place = row * width..(row + 1) * width;
                assert_eq!(run(&x[place.clone()], 1), all[place]);
            }
        }
    });
}

/// dx, dγ and dβ on a device, the latter two added to what is there unless they are frozen.
fn backward<D: layer_norm::Op>(
    device: &D,
    rows: usize,
    width: usize,
    data: &[Vec<f32>; 3],
    trains: [bool; 2],
) -> Vec<Vec<f32>> {
    let [normal, scale, dy] = data;
    let saved = Saved { normal: hidden(device, normal, rows, width), scale: matrix(device, scale, rows, 1) };
    let (gamma, beta) = (matrix(device, &values(4, width), 1, width), matrix(device, &values(5, width), 1, width));
    let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-5 };
    let (mut dgamma, mut dbeta) =
        (matrix(device, &values(6, width), 1, width), matrix(device, &values(7, width), 1, width));
    let gradients = Gradients {
        gamma: trains[0].then_some(Accumulate(&mut dgamma)),
        beta: trains[1].then_some(Accumulate(&mut dbeta)),
    };
    let mut dx = blank_hidden(device, rows, width);
    layer_norm::backward(device, &saved, &affine, &hidden(device, dy, rows, width), gradients, &mut dx).unwrap();
    vec![dx.to_values(device).unwrap(), to_host(device, &dgamma), to_host(device, &dbeta)]
}

fn data(working: DType, rows: usize, width: usize) -> [Vec<f32>; 3] {
    let scale = values(2, rows).iter().map(|scale| 1.0 + scale.abs()).collect();
    [rounded(working, &values(1, rows * width)), scale, rounded(working, &values(3, rows * width))]
}

#[test]
fn gradients() {
    each(|gpu| {
        // Rows for one team more than there are, and such that each has several.
        for (rows, width) in SHAPES.into_iter().chain([(3200, 8), (600, 1032), (200, 5)]) {
            let data = data(gpu.working(), rows, width);
            parity!(gpu, tolerance(gpu), |d| backward(d, rows, width, &data, [true, true]));
        }
        let data = data(gpu.working(), 9, 40);
        let held = [values(6, 40), values(7, 40)];
        for trains in [[true, false], [false, true], [false, false]] {
            let got = parity!(gpu, tolerance(gpu), |d| backward(d, 9, 40, &data, trains));
            for i in 0..2 {
                assert_eq!(got[i + 1] == held[i], !trains[i], "{trains:?}");
            }
        }
    });
}
