//! Against numbers of numpy and scikit-learn 1.9.1 in f64, on rows that both sides compute from one formula.

#![cfg(feature = "linalg")]

use super::*;
use crate::error::Status;

const ROWS: usize = 20;
const INPUTS: usize = 5;
const LABELS: usize = 3;
/// Both sides compute in f64 from the same f32 rows; heads are rounded to f32, at sizes up to 10.
const CLOSE: f64 = 2e-6;

fn label(row: usize) -> usize {
    row * 7 % ROWS % LABELS
}

fn rows() -> Vec<f32> {
    let value = |r: usize, c: usize| {
        let (row, col) = (r as f64, c as f64);
        let own = if label(r) == c % LABELS { 0.8 } else { 0.0 };
        (0.7 * row + 1.3 * col + 0.11 * row * col).sin() + 0.5 * col + own
    };
    (0..ROWS).flat_map(|r| (0..INPUTS).map(move |c| value(r, c) as f32)).collect()
}

fn numbers() -> Vec<f32> {
    let x = rows();
    let both = |r: usize| {
        let (row, x) = (r as f64, |c: usize| f64::from(x[r * INPUTS + c]));
        [((0.3 * row).cos() + x(1)) as f32, (x(0) - 0.5 * x(3) + 0.1 * (5.0 * row).sin()) as f32]
    };
    (0..ROWS).flat_map(both).collect()
}

fn moments(x: &[f32], y: &[f32], inputs: usize) -> Moments {
    let rows = x.len() / inputs;
    let mut moments = Moments::new(inputs, y.len() / rows).unwrap();
    moments.add(x, y).unwrap();
    moments
}

fn labelled() -> Moments {
    let labels = Aim::Labels((0..ROWS).map(|row| label(row) as i32).collect());
    moments(&rows(), &targets(&labels, LABELS).unwrap(), INPUTS)
}

#[track_caller]
fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < CLOSE * expected.abs().max(1.0), "{found} and {expected}");
    }
}

#[test]
fn a_ridge_is_that_of_scikit_learn() {
    let found = ridge(&moments(&rows(), &numbers(), INPUTS), Outputs::Numbers, Some(0.75)).unwrap();
    let weight = [
        0.11228867829342908,
        0.808018633367437,
        -0.4314712651610145,
        -0.4415226223311362,
        -0.1892530890429417,
        0.9051871209901353,
        -0.012008000949257896,
        0.0813783439563331,
        -0.34892835529935606,
        0.1348067590092084,
    ];
    close(&found.head.weight, &weight);
    close(&found.head.bias, &[1.7954561078765519, -0.6277050729822976]);
    assert!((found.error - 0.3830502127146638).abs() < 1e-9, "{}", found.error);
}

#[test]
fn cross_validation_chooses_as_its_definition_does() {
    let found = ridge(&moments(&rows(), &numbers(), INPUTS), Outputs::Numbers, None).unwrap();
    assert!((found.lambda / 1.2373984670656146 - 1.0).abs() < 1e-9, "{}", found.lambda);
    assert!((found.error - 0.3814238888058931).abs() < 1e-9, "{}", found.error);
}

/// The scatter of a discriminant is divided by n − K here and by n there, and rows are not centred there: differences
/// between labels agree once scaled.
#[test]
fn a_discriminant_of_given_shrinkage_is_that_of_scikit_learn() {
    let found = discriminant(&labelled(), Some(0.25)).unwrap();
    let weight = [
        [3.44400111932678, 9.381182618366465, 12.712601691341817, 14.395604280773878, 9.571859601772275],
        [3.3321513937605007, 10.113905699018927, 11.99190706333368, 13.233604794286972, 11.439241530699025],
        [2.09581623863552, 7.796485382082801, 13.184397845353821, 13.003071343384779, 9.177214214394391],
    ];
    let bias = [-37.215872176459285, -39.77550279243437, -33.46062832278183];
    let prior = [7.0, 7.0, 6.0].map(|count: f64| (count / 20.0).ln());
    let scale = (ROWS - LABELS) as f64 / ROWS as f64;
    for label in 1..LABELS {
        for c in 0..INPUTS {
            let difference = found.head.weight[label * INPUTS + c] - found.head.weight[c];
            close(&[difference], &[(weight[label][c] - weight[0][c]) * scale]);
        }
        let without_prior = |label: usize| bias[label] - prior[label];
        let expected = (without_prior(label) - without_prior(0)) * scale + prior[label] - prior[0];
        close(&[found.head.bias[label] - found.head.bias[0]], &[expected]);
    }
}

#[test]
fn shrinkage_and_the_discriminant_with_it_follow_their_definition() {
    let found = discriminant(&labelled(), None).unwrap();
    assert!((found.shrinkage - 0.5921799091517456).abs() < 1e-9, "{}", found.shrinkage);
    let weight = [
        0.27416703748323873,
        0.035468466644755905,
        -0.1321966825717096,
        0.6994158250469336,
        -0.5850345471469524,
        0.16903846374927903,
        0.794737384215417,
        -0.6382179604777922,
        -0.43432633922910097,
        1.1778439556896838,
        -0.5170730847712707,
        -0.9685734926702019,
        0.8988170835577527,
        -0.3092710667874707,
        -0.6916109766331873,
    ];
    close(&found.head.weight, &weight);
    close(&found.head.bias, &[-1.1720069378186309, -3.7584994955727704, 0.027167581581622136]);
}

#[test]
fn whitened_rows_have_mean_0_and_the_identity_as_covariance() {
    let (x, width) = (rows(), 3);
    let layer = whitening(&moments(&x, &[], INPUTS), width).unwrap();
    let mut y = Vec::new();
    for x in x.chunks_exact(INPUTS) {
        for (weight, bias) in layer.weight.chunks_exact(INPUTS).zip(&layer.bias) {
            y.push(x.iter().zip(weight).map(|(x, w)| x * w).sum::<f32>() + bias);
        }
    }
    // numpy's, in either direction: the order of directions is that of their variances
    close(&y[..2].iter().map(|y| y.abs()).collect::<Vec<_>>(), &[0.1083706106034955, 0.6055964824485432]);
    close(&y[3..5].iter().map(|y| y.abs()).collect::<Vec<_>>(), &[0.4792206526351957, 1.4563104346862805]);
    let again = moments(&y, &[], width);
    assert!(again.mean().iter().all(|mean| mean.abs() < CLOSE));
    for (i, row) in again.scatter().chunks_exact(width).enumerate() {
        let expected: Vec<f64> = (0..=i).map(|j| if i == j { (ROWS - 1) as f64 } else { 0.0 }).collect();
        let found: Vec<f32> = row[..=i].iter().map(|v| *v as f32).collect();
        // rounding of the rows counts twice, times 20 rows
        found.iter().zip(&expected).for_each(|(f, e)| assert!((f64::from(*f) - e).abs() < 1e-4, "{f} and {e}"));
    }
    for width in [0, INPUTS + 1] {
        let error = whitening(&moments(&x, &[], INPUTS), width).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    }
    let few = whitening(&moments(&x[..3 * INPUTS], &[], INPUTS), 3).unwrap_err();
    assert!(few.message().contains("1 to 2"), "{few}");
}

#[test]
fn sums_are_the_same_bits_however_the_rows_are_cut() {
    let (x, y) = (rows(), numbers());
    let whole = moments(&x, &y, INPUTS);
    let mut cut = Moments::new(INPUTS, 2).unwrap();
    for (from, to) in [(0, 1), (1, 12), (12, 12), (12, 20)] {
        cut.add(&x[from * INPUTS..to * INPUTS], &y[from * 2..to * 2]).unwrap();
    }
    assert_eq!(whole.scatter(), cut.scatter());
    assert_eq!(whole.centred_cross(), cut.centred_cross());
    assert_eq!(whole.mean(), cut.mean());
}

#[test]
fn a_mean_that_is_large_beside_the_deviations_costs_no_digits() {
    let far: Vec<f32> = rows().iter().map(|x| (x * 64.0).round() / 64.0).collect();
    let near = moments(&far, &numbers(), INPUTS);
    let moved: Vec<f32> = far.iter().map(|x| x + 4096.0).collect();
    let found = moments(&moved, &numbers(), INPUTS);
    // the moved rows are exact in f32, and so are their differences
    assert_eq!(near.scatter(), found.scatter());
}

#[test]
fn fewer_rows_than_inputs_are_fitted_where_they_vary() {
    let few = 4;
    let x = &rows()[..few * INPUTS];
    let found = ridge(&moments(x, &numbers()[..few * 2], INPUTS), Outputs::Numbers, Some(0.0)).unwrap();
    for (x, y) in x.chunks_exact(INPUTS).zip(numbers().chunks_exact(2)) {
        for ((weight, bias), y) in found.head.weight.chunks_exact(INPUTS).zip(&found.head.bias).zip(y) {
            let p = x.iter().zip(weight).map(|(x, w)| x * w).sum::<f32>() + bias;
            // five f32 products of size 3
            assert!((p - y).abs() < 1e-5, "{p} and {y}");
        }
    }
    let chosen = ridge(&moments(x, &numbers()[..few * 2], INPUTS), Outputs::Numbers, None).unwrap();
    assert!(chosen.lambda > 0.0 && chosen.error.is_finite() && chosen.error > 0.0, "{}", chosen.error);
}

#[test]
fn logits_of_two_classes_are_those_of_one_switch() {
    let first: Vec<f32> = (0..ROWS).map(|row| if label(row) == 0 { 1.0 } else { 0.0 }).collect();
    let both: Vec<f32> = first.iter().flat_map(|y| [*y, 1.0 - y]).collect();
    let classes = ridge(&moments(&rows(), &both, INPUTS), Outputs::Classes, Some(1.0)).unwrap();
    let switch = ridge(&moments(&rows(), &first, INPUTS), Outputs::Switches, Some(1.0)).unwrap();
    let difference = |c: usize| f64::from(classes.head.weight[c]) - f64::from(classes.head.weight[INPUTS + c]);
    close(&switch.head.weight, &(0..INPUTS).map(difference).collect::<Vec<_>>());
    close(&switch.head.bias, &[f64::from(classes.head.bias[0]) - f64::from(classes.head.bias[1])]);
}

#[test]
fn what_determines_no_head_is_refused() {
    let refused = |error: Option<Error>, status: Status, words: &str| {
        let error = error.expect("an error");
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(words), "{error}");
    };
    let same = moments(&[1.5; 4 * INPUTS], &[0.0, 1.0, 0.0, 1.0], INPUTS);
    refused(ridge(&same, Outputs::Numbers, None).err(), Status::InvalidInput, "4 rows that do not differ");
    refused(ridge(&labelled(), Outputs::Numbers, Some(-1.0)).err(), Status::InvalidArgument, "lambda: -1");
    refused(discriminant(&labelled(), Some(1.5)).err(), Status::InvalidArgument, "shrinkage: 1.5");
    let three = moments(&rows()[..3 * INPUTS], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], INPUTS);
    refused(discriminant(&three, None).err(), Status::InvalidInput, "3 rows for 3 labels");
    let two = moments(&rows()[..3 * INPUTS], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0], INPUTS);
    refused(discriminant(&two, None).err(), Status::InvalidInput, "label 1 has no row");
    let repeated: Vec<f32> = [[1.0; INPUTS], [2.0; INPUTS], [1.0; INPUTS], [2.0; INPUTS]].concat();
    let constant = moments(&repeated, &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], INPUTS);
    refused(discriminant(&constant, None).err(), Status::InvalidInput, "never differ");
    let mut broken = Moments::new(2, 0).unwrap();
    refused(broken.add(&[1.0, f32::NAN], &[]).err(), Status::NotFinite, "row 0 holds NaN");
}
