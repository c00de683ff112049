//! Cross-entropy of logits z with class weights w and label smoothing ε, and its gradient: what
//! `torch.nn.functional.cross_entropy` computes. Of a row with label y, with l = ln Σ e^z and p = e^(z − l):
//!
//!   loss = (1 − ε)·w_y·(l − z_y) + ε/C·Σ_c w_c·(l − z_c)
//!   dz_c = ((1 − ε)·w_y + ε/C·Σ w)·p_c − ε/C·w_c − (1 − ε)·w_y·[c = y]

#[cfg(feature = "cuda")]
mod cuda;

use std::iter::Sum;
use std::ops::AddAssign;

use super::shared::SharedRows;
use super::softmax::{self, LogSumExp};
use super::total::total;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd, math};

/// The label of a row that does not count.
pub const IGNORED: i32 = -100;

/// What the rows of logits are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[R]`: a class, or [`IGNORED`].
    pub labels: &'a [i32],
    /// ε in 0..=1; 0 for none.
    pub smoothing: f32,
    /// w `[C]`; all 1 where absent.
    pub class_weights: Option<&'a [f32]>,
}

impl Targets<'_> {
    /// Σ w_label over the labels that count: the divisor of the mean. Labels without a class weight add nothing.
    pub fn weight(&self) -> f64 {
        let counted = self.labels.iter().filter(|&&label| label != IGNORED);
        match self.class_weights {
            None => counted.count() as f64,
            Some(weights) => {
                counted.filter_map(|&label| weights.get(usize::try_from(label).ok()?)).map(|&w| f64::from(w)).sum()
            }
        }
    }

    /// The class of a row and its weight, unless the row is ignored. Labels are already checked.
    fn class(&self, row: usize) -> Option<(usize, f32)> {
        let class = usize::try_from(self.labels[row]).ok()?;
        Some((class, self.class_weights.map_or(1.0, |w| w[class])))
    }
}

/// What rows of logits say about their labels, of all rows that count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Σ losses, not divided.
    pub loss: f64,
    /// Rows without a logit greater than their label's. A row whose ln Σ e^z is not finite is never among them.
    pub correct: usize,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
    }
}

impl Sum for Outcome {
    fn sum<I: Iterator<Item = Self>>(outcomes: I) -> Self {
        let mut sum = Self::default();
        outcomes.for_each(|outcome| sum += outcome);
        sum
    }
}

/// A gradient to write beside a loss: d = factor · d Σ losses / d logits, `[R, C]`.
pub struct Gradient<'a, D: Device> {
    /// Factor on every value.
    pub scale: f32,
    /// Overwritten.
    pub dlogits: &'a mut Hidden<D>,
}

/// What a device provides. Shapes and labels are already checked.
pub trait Op: Device {
    /// The outcome of all rows; writes all of the gradient.
    fn cross_entropy(
        &self,
        logits: &Hidden<Self>,
        targets: &Targets<'_>,
        gradient: Option<Gradient<'_, Self>>,
    ) -> Result<Outcome>;
}

/// Σ losses over the rows that count, and how many are correct. dlogits `[R, C]` = scale · d Σ losses / d logits; zero in rows that
/// do not count. `dlogits` takes the shape of the logits. Logits that are not finite give a loss that is not.
///
/// Fails when a label is neither a class nor [`IGNORED`].
pub fn forward_backward<D: Op>(
    device: &D,
    logits: &Hidden<D>,
    targets: &Targets<'_>,
    scale: f32,
    dlogits: &mut Hidden<D>,
) -> Result<Outcome> {
    check(logits, targets)?;
    dlogits.reshape(device, logits.rows(), logits.cols())?;
    device.cross_entropy(logits, targets, Some(Gradient { scale, dlogits }))
}

/// The outcome of [`forward_backward`] alone.
pub fn forward<D: Op>(device: &D, logits: &Hidden<D>, targets: &Targets<'_>) -> Result<Outcome> {
    check(logits, targets)?;
    device.cross_entropy(logits, targets, None)
}

fn check<D: Device>(logits: &Hidden<D>, targets: &Targets<'_>) -> Result<()> {
    let (rows, classes) = logits.shape();
    let weights = targets.class_weights.map_or(classes, <[f32]>::len);
    if targets.labels.len() != rows || weights != classes {
        return Err(Error::internal(format!(
            "cross-entropy of {:?}: {} labels, {weights} class weights",
            logits.shape(),
            targets.labels.len()
        )));
    }
    if !(0.0..=1.0).contains(&targets.smoothing) {
        return Err(Error::argument(format!("label smoothing {}, expected 0 to 1", targets.smoothing)));
    }
    let known = |label: i32| label == IGNORED || usize::try_from(label).is_ok_and(|class| class < classes);
    match targets.labels.iter().find(|&&label| !known(label)) {
        Some(label) => Err(Error::input(format!("label {label}, expected one of {classes} classes or {IGNORED}"))),
        None => Ok(()),
    }
}

/// Logits of one work item, but at least a row.
const BLOCK: usize = 4096;

impl Op for Cpu {
    fn cross_entropy(
        &self,
        logits: &Tensor<Cpu>,
        targets: &Targets<'_>,
        gradient: Option<Gradient<'_, Cpu>>,
    ) -> Result<Outcome> {
        let (rows, classes) = logits.shape();
        if classes == 0 {
            return Ok(Outcome::default());
        }
        let z = logits.buffer().as_slice();
        let gradient = match gradient {
            None => None,
            Some(Gradient { scale, dlogits }) => {
                Some((scale, SharedRows::new(&mut dlogits.buffer_mut().as_mut_slice()?[..rows * classes], classes)))
            }
        };
        let smoothing = Smoothing::of(targets, classes);
        let block = (BLOCK / classes).max(1);
        total(self, rows.div_ceil(block), |item| {
            let mut sum = Outcome::default();
            for row in item * block..rows.min((item + 1) * block) {
                // SAFETY: every item has its own rows.
                let dz = gradient.as_ref().map(|(scale, d)| (*scale, unsafe { d.row(row, 0, classes) }));
                match targets.class(row) {
                    Some((class, weight)) => {
                        let z = &z[row * classes..][..classes];
                        sum += self.isa().dispatch(Row { z, class, weight, smoothing, dz });
                    }
                    None => {
                        if let Some((_, dz)) = dz {
                            dz.fill(0.0);
                        }
                    }
                }
            }
            sum
        })
    }
}

/// The part of every row's loss that does not depend on its label.
#[derive(Clone, Copy)]
struct Smoothing<'a> {
    /// 1 − ε
    label: f64,
    /// ε/C
    class: f64,
    /// Σ w
    weight: f64,
    weights: Option<&'a [f32]>,
}

impl<'a> Smoothing<'a> {
    fn of(targets: &Targets<'a>, classes: usize) -> Self {
        let epsilon = f64::from(targets.smoothing);
        let weight = match targets.class_weights {
            None => classes as f64,
            Some(weights) => weights.iter().map(|&w| f64::from(w)).sum(),
        };
        Self { label: 1.0 - epsilon, class: epsilon / classes as f64, weight, weights: targets.class_weights }
    }
}

struct Row<'a> {
    z: &'a [f32],
    class: usize,
    weight: f32,
    smoothing: Smoothing<'a>,
    /// Factor and output of the gradient.
    dz: Option<(f32, &'a mut [f32])>,
}

impl Kernel for Row<'_> {
    type Output = Outcome;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Outcome {
        let Smoothing { label, class, weight, weights } = self.smoothing;
        let LogSumExp { value: l, largest } = softmax::Row(self.z).run(s);
        let correct = l.is_finite() && self.z[self.class] == largest;
        let own = label * f64::from(self.weight);
        let mut loss = own * f64::from(l - self.z[self.class]);
        if class > 0.0 {
            loss += class * spread(s, self.z, weights, l);
        }
        if let Some((scale, dz)) = self.dz {
            let scale = f64::from(scale);
            let weights = weights.filter(|_| class > 0.0);
            pull(s, self.z, l, (scale * (own + class * weight)) as f32, weights, (scale * class) as f32, dz);
            dz[self.class] -= (scale * own) as f32;
        }
        Outcome { loss, correct: usize::from(correct) }
    }
}

/// Σ w·(l − z)
#[inline(always)]
fn spread<S: Simd>(s: S, z: &[f32], weights: Option<&[f32]>, l: f32) -> f64 {
    let whole = z.len() - z.len() % S::LANES;
    let (mut sum, top) = (s.zero(), s.splat(l));
    for i in (0..whole).step_by(S::LANES) {
        let below = s.sub(top, s.load(&z[i..]));
        sum = match weights {
            Some(weights) => s.fma(below, s.load(&weights[i..]), sum),
            None => s.add(sum, below),
        };
    }
    let mut total = f64::from(s.sum(sum));
    for i in whole..z.len() {
        total += f64::from((l - z[i]) * weights.map_or(1.0, |w| w[i]));
    }
    total
}

/// dz = factor·e^(z − l) − share·w
#[inline(always)]
fn pull<S: Simd>(s: S, z: &[f32], l: f32, factor: f32, weights: Option<&[f32]>, share: f32, dz: &mut [f32]) {
    let whole = z.len() - z.len() % S::LANES;
    let (top, factor, less) = (s.splat(l), s.splat(factor), s.splat(-share));
    for i in (0..whole).step_by(S::LANES) {
        let p = math::exp(s, s.sub(s.load(&z[i..]), top));
        let less = match weights {
            Some(weights) => s.mul(less, s.load(&weights[i..])),
            None => less,
        };
        s.store(&mut dz[i..], s.fma(p, factor, less));
    }
    if whole < z.len() {
        let p = math::exp(s, s.sub(s.load_tail(&z[whole..], 0.0), top));
        let less = match weights {
            Some(weights) => s.mul(less, s.load_tail(&weights[whole..], 0.0)),
            None => less,
        };
        s.store_tail(&mut dz[whole..], s.fma(p, factor, less));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use crate::ops::oracle::{self, numbers, wide};
    use crate::simd::Isa;

    /// Losses as PyTorch's documentation defines them, summed.
    fn reference(z: &[f64], classes: usize, labels: &[i32], smoothing: f64, weights: &[f64]) -> f64 {
        let row = |z: &[f64], label: usize| {
            let sum = z.iter().map(|z| z.exp()).sum::<f64>();
            (0..classes)
                .map(|c| {
                    let target = smoothing / classes as f64 + if c == label { 1.0 - smoothing } else { 0.0 };
                    -weights[c] * target * (z[c].exp() / sum).ln()
                })
                .sum::<f64>()
        };
        z.chunks(classes).zip(labels).filter(|(_, l)| **l >= 0).map(|(z, &label)| row(z, label as usize)).sum()
    }

    /// Rows that count and have no logit above their label's.
    fn rightly(z: &[f32], classes: usize, labels: &[i32]) -> usize {
        let right = |z: &[f32], label: usize| !z.iter().any(|&other| other > z[label]);
        z.chunks(classes).zip(labels).filter(|(z, l)| **l >= 0 && right(z, **l as usize)).count()
    }

    #[test]
    fn agrees_with_the_definition_and_its_derivative() {
        for classes in [1, 2, 7, 8, 9, 15, 16, 17, 33] {
            let rows = 5;
            let z: Vec<f32> = numbers(rows * classes, 1).iter().map(|v| v * 3.0).collect();
            let weights: Vec<f32> = numbers(classes, 2).iter().map(|v| v + 1.5).collect();
            let labels = [0, classes as i32 - 1, IGNORED, classes as i32 / 2, 0];
            for (smoothing, weighted) in [(0.0, false), (0.0, true), (0.1, false), (0.1, true), (1.0, true)] {
                let targets = Targets { labels: &labels, smoothing, class_weights: weighted.then_some(&weights) };
                let w = if weighted { wide(&weights) } else { vec![1.0; classes] };
                let definition = |z: &[f64]| reference(z, classes, &labels, f64::from(smoothing), &w);
                let expected = definition(&wide(&z));
                let slope: Vec<f64> = oracle::gradient(&wide(&z), definition).iter().map(|d| d * 0.5).collect();
                let mut before: Option<(Isa, Outcome, Vec<f32>)> = None;
                for cpu in oracle::cpus() {
                    let logits = Tensor::from_host(&cpu, &z, rows, classes).unwrap();
                    let mut dlogits = Tensor::from_host(&cpu, &vec![f32::NAN; z.len()], classes, rows).unwrap();
                    let outcome = forward_backward(&cpu, &logits, &targets, 0.5, &mut dlogits).unwrap();
                    let loss = outcome.loss;
                    // four rows; l is a value below 7 with an error of a few units in the last place
                    assert!((loss - expected).abs() < 2e-5, "{loss} {expected}");
                    assert_eq!(outcome.correct, rightly(&z, classes, &labels));
                    assert_eq!(forward(&cpu, &logits, &targets).unwrap(), outcome);
                    assert_eq!(dlogits.shape(), (rows, classes));
                    let dlogits = dlogits.to_host(&cpu).unwrap();
                    oracle::close(&dlogits, &slope, 2e-6); // probabilities times a weight below 2.5
                    assert!(dlogits[2 * classes..3 * classes].iter().all(|&d| d == 0.0));
                    let got = (cpu.isa(), outcome, dlogits);
                    if let Some(before) = before.filter(|(isa, ..)| *isa == cpu.isa()) {
                        assert_eq!(got, before, "on one thread and on three");
                    }
                    before = Some(got);
                }
            }
        }
    }

    #[test]
    fn a_vocabulary_of_classes_keeps_its_precision() {
        let (rows, classes) = (3, 30_522);
        let z: Vec<f32> = numbers(rows * classes, 3).iter().map(|v| v * 10.0).collect();
        let labels = [30_521, 7, 0];
        for smoothing in [0.0, 0.1] {
            let targets = Targets { labels: &labels, smoothing, class_weights: None };
            let expected = reference(&wide(&z), classes, &labels, f64::from(smoothing), &vec![1.0; classes]);
            for cpu in oracle::cpus() {
                let logits = Tensor::from_host(&cpu, &z, rows, classes).unwrap();
                let mut dlogits = Tensor::new(&cpu, 0, 0).unwrap();
                let loss = forward_backward(&cpu, &logits, &targets, 1.0, &mut dlogits).unwrap().loss;
                assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} {expected}");
                for (row, d) in dlogits.to_host(&cpu).unwrap().chunks(classes).enumerate() {
                    // p sums to 1, and so do the targets
                    assert!(d.iter().map(|&d| f64::from(d)).sum::<f64>().abs() < 5e-6);
                    assert!(d[labels[row] as usize] < -0.8);
                }
            }
        }
    }

    #[test]
    fn agrees_with_pytorch() {
        // F.cross_entropy(z, [2, -100, 0, 1], weight=[1, 2, 0.5], label_smoothing=0.1), torch 2.15 in f64: the mean, and its
        // gradient
        let z = [0.5f32, -1.0, 2.0, 0.1, 0.2, 0.3, -3.0, 4.0, 0.0, 1.0, 1.0, 1.0];
        let (mean, gradient) = (
            2.6033654417,
            [
                0.0188565397,
                -0.0127151072,
                -0.0061414325,
                0.0000000000,
                0.0000000000,
                0.0000000000,
                -0.2664067836,
                0.2659487969,
                0.0004579867,
                0.1730158730,
                -0.3507936508,
                0.1777777778,
            ],
        );
        let targets = Targets { labels: &[2, -100, 0, 1], smoothing: 0.1, class_weights: Some(&[1.0, 2.0, 0.5]) };
        assert_eq!(targets.weight(), 3.5);
        let cpu = Cpu::new(1).unwrap();
        let logits = Tensor::from_host(&cpu, &z, 4, 3).unwrap();
        let mut dlogits = Tensor::new(&cpu, 0, 0).unwrap();
        let Outcome { loss, correct } = forward_backward(&cpu, &logits, &targets, 1.0 / 3.5, &mut dlogits).unwrap();
        assert_eq!(correct, 2);
        assert!((loss / targets.weight() - mean).abs() < 1e-6); // a few roundings of values near 7
        oracle::close(&dlogits.to_host(&cpu).unwrap(), &gradient, 3e-7);
    }

    #[test]
    fn a_row_is_correct_when_no_logit_is_above_its_labels() {
        for cpu in oracle::cpus() {
            for classes in [1, 2, 16, 17, 40] {
                for label in 0..classes {
                    let correct = |z: &[f32], label: i32| {
                        let logits = Tensor::from_host(&cpu, z, 1, classes).unwrap();
                        let targets = Targets { labels: &[label], smoothing: 0.1, class_weights: None };
                        forward(&cpu, &logits, &targets).unwrap().correct
                    };
                    let mut z = vec![-1.5; classes];
                    assert_eq!(correct(&z, label as i32), 1, "as large as all others");
                    z[label] = -1.25;
                    assert_eq!(correct(&z, label as i32), 1);
                    assert_eq!(correct(&z, IGNORED), 0);
                    if classes > 1 {
                        z[(label + 1) % classes] = -1.0;
                        assert_eq!(correct(&z, label as i32), 0, "label {label}, a larger one after it");
                        z[(label + 1) % classes] = -1.5;
                        z[(label + classes - 1) % classes] = -1.0;
                        assert_eq!(correct(&z, label as i32), 0, "label {label}, a larger one before it");
                    }
                }
            }
        }
    }

    #[test]
    fn labels_that_are_no_class_are_refused_by_name() {
        let cpu = Cpu::new(1).unwrap();
        let logits = Tensor::<Cpu>::zeros(&cpu, 2, 3).unwrap();
        let of = |labels: &[i32], smoothing: f32, class_weights: Option<&[f32]>| {
            forward(&cpu, &logits, &Targets { labels, smoothing, class_weights })
        };
        assert_eq!(of(&[IGNORED, IGNORED], 0.1, None), Ok(Outcome::default()));
        for labels in [[0, 3], [-1, 0], [0, -101]] {
            let error = of(&labels, 0.0, None).unwrap_err();
            assert_eq!(error.status(), Status::InvalidInput);
            let wrong = labels.iter().find(|l| **l != 0).unwrap();
            assert!(error.message().contains(&format!("label {wrong}, expected one of 3")), "{error}");
        }
        assert_eq!(of(&[0], 0.0, None).unwrap_err().status(), Status::Internal);
        assert_eq!(of(&[0, 1], 0.0, Some(&[1.0; 2])).unwrap_err().status(), Status::Internal);
        for smoothing in [-0.1, 1.5, f32::NAN] {
            assert_eq!(of(&[0, 1], smoothing, None).unwrap_err().status(), Status::InvalidArgument);
        }
    }

    #[test]
    fn logits_that_are_not_finite_give_a_loss_that_is_not() {
        for cpu in oracle::cpus() {
            for (place, value) in [(0, f32::NAN), (18, f32::NAN), (5, f32::NAN), (3, f32::INFINITY), (5, f32::INFINITY)]
            {
                let mut z = numbers(19, 1);
                z[5] = 2.0; // the largest, unless the other is
                z[place] = value;
                let logits = Tensor::from_host(&cpu, &z, 1, 19).unwrap();
                let targets = Targets { labels: &[5], smoothing: 0.0, class_weights: None };
                let mut dlogits = Tensor::new(&cpu, 0, 0).unwrap();
                let outcome = forward_backward(&cpu, &logits, &targets, 1.0, &mut dlogits).unwrap();
                assert!(!outcome.loss.is_finite());
                assert_eq!(outcome.correct, 0);
            }
        }
    }
}
