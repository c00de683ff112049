//! ln Σ eˣ, losses and their gradients.

use cloze::device::{Cuda, Hidden};
use cloze::dtype::DType;
use cloze::ops::cross_entropy::{self, IGNORED, Targets};
use cloze::ops::{binary_cross_entropy, softmax, squared_error};

use crate::harness::{blank, blank_hidden, cpu, each, hidden, numbers, rounded, step, to_host, values};

/// Rows and columns: for a warp and for a block, at the edges of what threads take, of even and of odd width.
const SHAPES: [(usize, usize); 11] =
    [(0, 5), (1, 1), (9, 2), (5, 3), (3, 64), (2, 513), (3, 1023), (2, 1024), (3, 1025), (2, 8193), (1, 30522)];

fn logits(gpu: &Cuda, rows: usize, width: usize) -> Vec<f32> {
    rounded(gpu.working(), &values(1, rows * width).iter().map(|z| 5.0 * z).collect::<Vec<_>>())
}

#[test]
fn log_sums() {
    each(|gpu| {
        for (rows, width) in SHAPES {
            let x = logits(gpu, rows, width);
            let columns = numbers(2, rows, width);
            // f32 all along: relative 3e-7 of the sum, rounded at values of up to 20
            parity!(gpu, 2e-6, |d| {
                let x = hidden(d, &x, rows, width);
                let (mut sums, mut at) = (blank(d, rows, 1), blank(d, rows, 1));
                softmax::log_sum_exp(d, &x, &mut sums).unwrap();
                softmax::log_softmax(d, &x, &columns, &mut at).unwrap();
                (to_host(d, &sums), to_host(d, &at))
            });
        }
        let mut sums = blank(gpu, 2, 1);
        softmax::log_sum_exp(gpu, &blank_hidden(gpu, 2, 0), &mut sums).unwrap();
        assert_eq!(to_host(gpu, &sums), [f32::NEG_INFINITY; 2]);
    });
}

#[test]
fn rows_that_are_not_finite() {
    each(|gpu| {
        for width in [3, 40, 1500] {
            for (place, value) in [(0, f32::NAN), (width - 1, f32::NAN), (1, f32::INFINITY)] {
                let mut row = vec![f32::NEG_INFINITY; width];
                let of = |row: &[f32]| {
                    let mut sum = blank(gpu, 1, 1);
                    softmax::log_sum_exp(gpu, &hidden(gpu, row, 1, width), &mut sum).unwrap();
                    to_host(gpu, &sum)[0]
                };
                assert_eq!(of(&row), f32::NEG_INFINITY);
                row[place] = value;
                assert!(of(&row).is_nan() || of(&row) == f32::INFINITY);
                row.fill(0.5);
                assert!((of(&row) - 0.5 - (width as f32).ln()).abs() < 1e-5);
                row[place] = value;
                assert!(!of(&row).is_finite());
                row[2] = f32::NEG_INFINITY;
                row[place] = 1.0;
                assert!(of(&row).is_finite());

                row[place] = value;
                let targets = Targets { labels: &[place as i32], smoothing: 0.0, class_weights: None };
                let mut dlogits = blank_hidden(gpu, 1, width);
                let z = hidden(gpu, &row, 1, width);
                let outcome = cross_entropy::forward_backward(gpu, &z, &targets, 1.0, &mut dlogits).unwrap();
                assert!(!outcome.loss.is_finite() && outcome.correct == 0);
            }
        }
    });
}

#[test]
fn a_row_in_company_has_the_bits_it_has_alone() {
    each(|gpu| {
        for width in [17, 1000, 2051, 5000] {
            let x = values(1, 5 * width);
            let run = |x: &[f32], rows: usize| {
                let mut sums = blank(gpu, rows, 1);
                softmax::log_sum_exp(gpu, &hidden(gpu, x, rows, width), &mut sums).unwrap();
                to_host(gpu, &sums)
            };
            let all = run(&x, 5);
            assert!((0..5).all(|row| run(&x[row * width..(row + 1) * width], 1)[0] == all[row]));
        }
    });
}

/// Labels of which some do not count.
fn labels(rows: usize, width: usize) -> Vec<i32> {
    let labels = numbers(4, rows, width).into_iter().enumerate();
    labels.map(|(row, label)| if row % 4 == 2 { IGNORED } else { label as i32 }).collect()
}

#[test]
fn cross_entropies() {
    each(|gpu| {
        // 4e-6 of values of up to 1, and one rounding
        let tolerance = if gpu.working() == DType::F32 { 4e-6 } else { 4e-6 + 0.51 * step(gpu.working()) };
        for (rows, width) in SHAPES {
            let (z, labels) = (logits(gpu, rows, width), labels(rows, width));
            let weights: Vec<f32> = values(3, width).iter().map(|w| w.abs()).collect();
            for (smoothing, weighted) in [(0.0, false), (0.1, false), (0.0, true), (0.3, true)] {
                let class_weights = weighted.then_some(&weights[..]);
                let targets = Targets { labels: &labels, smoothing, class_weights };
                parity!(gpu, tolerance, |d| {
                    let z = hidden(d, &z, rows, width);
                    let mut dz = blank_hidden(d, rows, width);
                    let outcome = cross_entropy::forward_backward(d, &z, &targets, 0.25, &mut dz).unwrap();
                    assert_eq!(cross_entropy::forward(d, &z, &targets).unwrap(), outcome);
                    (outcome.loss as f32, outcome.correct as f32, dz.to_values(d).unwrap())
                });
            }
        }
    });
}

#[test]
fn ties_are_correct() {
    each(|gpu| {
        for width in [4, 2000] {
            let mut z = vec![0.0; 3 * width];
            (z[1], z[2], z[width + 3]) = (2.0, 2.0, 1.0);
            let targets = Targets { labels: &[2, 0, 3], smoothing: 0.0, class_weights: None };
            let outcome = cross_entropy::forward(gpu, &hidden(gpu, &z, 3, width), &targets).unwrap();
            assert_eq!(outcome.correct, 2);
        }
    });
}

#[test]
fn losses_of_values() {
    type Loss<D> = fn(&D, &Hidden<D>, &[f32], f32, &mut Hidden<D>) -> cloze::error::Result<f64>;
    each(|gpu| {
        // f64 until the end: one rounding
        let tolerance = 0.51 * step(gpu.working());
        for (rows, width) in [(0, 3), (1, 1), (3, 7), (1, 1024), (5, 1025), (1, 5000)] {
            let (z, targets) = (logits(gpu, rows, width), values(2, rows * width));
            let cases: [(Loss<_>, Loss<_>); 2] = [
                (binary_cross_entropy::forward_backward, binary_cross_entropy::forward_backward),
                (squared_error::forward_backward, squared_error::forward_backward),
            ];
            for (on_cpu, on_gpu) in cases {
                let cpu = cpu();
                let mut expected = blank_hidden(&cpu, 1, 1);
                let loss = on_cpu(&cpu, &hidden(&cpu, &z, rows, width), &targets, 0.25, &mut expected).unwrap();
                let expected = expected.to_values(&cpu).unwrap();
                let mut got = blank_hidden(gpu, rows, width);
                let again = on_gpu(gpu, &hidden(gpu, &z, rows, width), &targets, 0.25, &mut got).unwrap();
                assert!((loss - again).abs() <= 1e-12 * loss.abs(), "{again} for {loss}");
                crate::harness::close(&[expected], &[got.to_values(gpu).unwrap()], tolerance);
            }
            let z = hidden(gpu, &z, rows, width);
            let mut dz = blank_hidden(gpu, rows, width);
            let loss = squared_error::forward_backward(gpu, &z, &targets, 1.0, &mut dz).unwrap();
            assert_eq!(squared_error::forward(gpu, &z, &targets).unwrap(), loss);
            let loss = binary_cross_entropy::forward_backward(gpu, &z, &targets, 1.0, &mut dz).unwrap();
            assert_eq!(binary_cross_entropy::forward(gpu, &z, &targets).unwrap(), loss);
        }
        let loss = |z: f32, t: f32| binary_cross_entropy::forward(gpu, &hidden(gpu, &[z], 1, 1), &[t]).unwrap();
        assert_eq!([loss(1024.0, 0.0), loss(-1024.0, 1.0), loss(1024.0, 1.0)], [1024.0, 1024.0, 0.0]);
        assert!(loss(f32::NAN, 1.0).is_nan());
    });
}
