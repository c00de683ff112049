//! Counts of right and wrong labels, and what follows from them, as scikit-learn defines it.
//!
//! precision = hits / predicted, recall = hits / actual, F1 = 2 hits / (predicted + actual); 0 where the divisor is 0.

use crate::error::{Error, Result};

/// How often a label was predicted, was right to predict, and both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Predicted and actual.
    pub hits: u64,
    /// Predicted.
    pub predicted: u64,
    /// Actual.
    pub actual: u64,
}

impl Counts {
    /// hits / predicted.
    pub fn precision(&self) -> f64 {
        ratio(self.hits as f64, self.predicted as f64)
    }

    /// hits / actual.
    pub fn recall(&self) -> f64 {
        ratio(self.hits as f64, self.actual as f64)
    }

    /// Harmonic mean of the two.
    pub fn f1(&self) -> f64 {
        ratio(2.0 * self.hits as f64, (self.predicted + self.actual) as f64)
    }
}

/// How scores of labels become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean over the labels.
    Macro,
    /// The score of the summed counts.
    Micro,
    /// The mean weighted by how often a label is actual.
    Weighted,
}

/// Precision, recall, F1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Of what was predicted, the part that is right.
    pub precision: f64,
    /// Of what is right, the part that was predicted.
    pub recall: f64,
    /// Harmonic mean of the two; averaged itself, not computed from the averages.
    pub f1: f64,
}

/// The average over labels; 0 for none.
pub fn averaged(counts: &[Counts], average: Average) -> Scores {
    let weight = |counts: &Counts| match average {
        Average::Weighted => counts.actual as f64,
        Average::Macro | Average::Micro => 1.0,
    };
    let sum = |what: fn(&Counts) -> u64| counts.iter().map(what).sum();
    let one = Counts { hits: sum(|c| c.hits), predicted: sum(|c| c.predicted), actual: sum(|c| c.actual) };
    let counts = if average == Average::Micro { std::slice::from_ref(&one) } else { counts };
    let total: f64 = counts.iter().map(weight).sum();
    let mean = |score: fn(&Counts) -> f64| ratio(counts.iter().map(|c| weight(c) * score(c)).sum(), total);
    Scores { precision: mean(Counts::precision), recall: mean(Counts::recall), f1: mean(Counts::f1) }
}

/// How often each label was predicted for each: `[labels, labels]`, actual down, predicted across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    labels: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// Counts the pairs of `predicted` and `actual`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: there is no pair, the lengths differ, a label is not below `labels`.
    pub fn of(predicted: &[usize], actual: &[usize], labels: usize) -> Result<Self> {
        super::paired(predicted.len(), actual.len())?;
        if let Some(label) = predicted.iter().chain(actual).find(|label| **label >= labels) {
            return Err(Error::argument(format!("label {label} of {labels}")));
        }
        let mut counts = vec![0; labels * labels];
        for (predicted, actual) in predicted.iter().zip(actual) {
            counts[actual * labels + predicted] += 1;
        }
        Ok(Self { labels, counts })
    }

    /// Number of labels.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// How often `predicted` was said where `actual` is right.
    pub fn count(&self, actual: usize, predicted: usize) -> u64 {
        self.counts[actual * self.labels + predicted]
    }

    /// Counts of every label.
    pub fn per_label(&self) -> Vec<Counts> {
        let counts = |label| Counts {
            hits: self.count(label, label),
            predicted: (0..self.labels).map(|other| self.count(other, label)).sum(),
            actual: (0..self.labels).map(|other| self.count(label, other)).sum(),
        };
        (0..self.labels).map(counts).collect()
    }

    /// The part of right predictions.
    pub fn accuracy(&self) -> f64 {
        let hits: u64 = (0..self.labels).map(|label| self.count(label, label)).sum();
        ratio(hits as f64, self.counts.iter().sum::<u64>() as f64)
    }

    /// The average over the labels that occur, predicted or actual, as scikit-learn takes it.
    pub fn averaged(&self, average: Average) -> Scores {
        let mut counts = self.per_label();
        counts.retain(|counts| counts.predicted + counts.actual > 0);
        averaged(&counts, average)
    }

    /// Matthews correlation for any number of labels (Gorodkin 2004): with n pairs, c right ones, p and a the counts of
    /// predicted and actual labels, (cn − p·a) / √((n² − p·p)(n² − a·a)). 0 where only one label is predicted or actual.
    pub fn matthews(&self) -> f64 {
        let counts = self.per_label();
        let dot = |f: fn(&Counts) -> u64, g: fn(&Counts) -> u64| -> f64 {
            counts.iter().map(|c| f(c) as f64 * g(c) as f64).sum()
        };
        let (predicted, actual) = (|c: &Counts| c.predicted, |c: &Counts| c.actual);
        let n: f64 = self.counts.iter().sum::<u64>() as f64;
        let right: f64 = counts.iter().map(|c| c.hits as f64).sum();
        let spread = (n * n - dot(predicted, predicted)) * (n * n - dot(actual, actual));
        ratio(right * n - dot(predicted, actual), spread.sqrt())
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::super::close;
    use super::*;

    const ACTUAL: [usize; 12] = [0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 2, 0];
    const PREDICTED: [usize; 12] = [0, 2, 1, 0, 0, 1, 0, 1, 1, 2, 2, 3];

    fn confusion() -> Confusion {
        // label 4 never occurs
        Confusion::of(&PREDICTED, &ACTUAL, 5).unwrap()
    }

    fn close_scores(found: Scores, precision: f64, recall: f64, f1: f64) {
        close(found.precision, precision);
        close(found.recall, recall);
        close(found.f1, f1);
    }

    #[test]
    fn averages_are_those_of_scikit_learn() {
        let confusion = confusion();
        close(confusion.accuracy(), 0.5);
        close_scores(confusion.averaged(Average::Macro), 0.41666666666666663, 0.35833333333333334, 0.38095238095238093);
        close_scores(confusion.averaged(Average::Micro), 0.5, 0.5, 0.5);
        close_scores(confusion.averaged(Average::Weighted), 0.5972222222222222, 0.5, 0.5396825396825397);
        let rows: Vec<Vec<u64>> = (0..4).map(|a| (0..4).map(|p| confusion.count(a, p)).collect()).collect();
        assert_eq!(rows, [[3, 1, 0, 1], [1, 1, 1, 0], [0, 2, 2, 0], [0, 0, 0, 0]]);
    }

    #[test]
    fn matthews_is_that_of_scikit_learn() {
        close(confusion().matthews(), 0.2859525795719834);
        let matthews = |predicted: &[usize], actual: &[usize]| Confusion::of(predicted, actual, 2).unwrap().matthews();
        close(matthews(&[0, 1, 0, 0, 1, 1], &[0, 1, 1, 0, 1, 0]), 0.3333333333333333);
        assert_eq!(matthews(&[1, 1, 1], &[0, 1, 1]), 0.0);
        assert_eq!(matthews(&[0, 1], &[1, 0]), -1.0);
    }

    #[test]
    fn one_label_alone() {
        let counts = Confusion::of(&[0, 1, 0, 1, 1, 1], &[0, 1, 1, 0, 1, 0], 2).unwrap().per_label()[1];
        assert_eq!(counts, Counts { hits: 2, predicted: 4, actual: 3 });
        close_scores(
            Scores { precision: counts.precision(), recall: counts.recall(), f1: counts.f1() },
            0.5,
            0.6666666666666666,
            0.5714285714285714,
        );
        assert_eq!(Counts::default().f1(), 0.0);
    }

    #[test]
    fn nothing_uneven_or_unknown_is_counted() {
        assert_eq!(Confusion::of(&[], &[], 2).unwrap_err().message(), "no predictions to measure");
        assert_eq!(Confusion::of(&[0], &[0, 1], 2).unwrap_err().message(), "1 predictions for 2 answers");
        assert_eq!(Confusion::of(&[2], &[0], 2).unwrap_err().message(), "label 2 of 2");
    }
}
