//! Metrics: what an evaluation reports, by the names and definitions of scikit-learn, scipy, seqeval and SQuAD.
//!
//! Everything is a fraction of 1. What is not defined is 0 where it is a ratio of counts (no label predicted, only one
//! label actual) and NaN where it is a correlation (constant predictions), as those libraries have it. To measure nothing
//! is an error.

pub mod answers;
pub mod confusion;
pub mod correlation;
pub mod spans;

use super::losses::Mean;
use crate::error::{Error, Result};
use confusion::{Average, Confusion, Counts, averaged};

/// Names and values, in the order of reporting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    values: Vec<(String, f64)>,
}

impl Metrics {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a metric.
    pub fn push(&mut self, name: impl Into<String>, value: f64) {
        self.values.push((name.into(), value));
    }

    /// The value of the metric called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// One label an example: `accuracy`, `macro_precision`, `macro_recall`, `macro_f1`, `weighted_f1`,
    /// `matthews_correlation`; with two labels also `precision`, `recall`, `f1` of label 1.
    ///
    /// # Errors
    ///
    /// Those of [`Confusion::of`].
    pub fn classification(predicted: &[usize], actual: &[usize], labels: usize) -> Result<Self> {
        let confusion = Confusion::of(predicted, actual, labels)?;
        let mut metrics = Self::new();
        metrics.push("accuracy", confusion.accuracy());
        if let [_, positive] = confusion.per_label()[..] {
            metrics.push("precision", positive.precision());
            metrics.push("recall", positive.recall());
            metrics.push("f1", positive.f1());
        }
        let mean = confusion.averaged(Average::Macro);
        metrics.push("macro_precision", mean.precision);
        metrics.push("macro_recall", mean.recall);
        metrics.push("macro_f1", mean.f1);
        metrics.push("weighted_f1", confusion.averaged(Average::Weighted).f1);
        metrics.push("matthews_correlation", confusion.matthews());
        Ok(metrics)
    }

    /// Of masked words `perplexity`, `mlm_loss` and `mlm_accuracy`; of next sentences `nsp_loss` and `nsp_accuracy`.
    pub fn pretraining(words: Option<Mean>, next: Option<Mean>) -> Self {
        let mut metrics = Self::new();
        if let Some(Mean { loss, accuracy }) = words {
            metrics.push("perplexity", loss.exp());
            metrics.push("mlm_loss", loss);
            metrics.push("mlm_accuracy", accuracy);
        }
        if let Some(Mean { loss, accuracy }) = next {
            metrics.push("nsp_loss", loss);
            metrics.push("nsp_accuracy", accuracy);
        }
        metrics
    }

    /// Of next words `perplexity` and `accuracy`.
    pub fn next_words(words: Option<Mean>) -> Self {
        let mut metrics = Self::new();
        if let Some(Mean { loss, accuracy }) = words {
            metrics.push("perplexity", loss.exp());
            metrics.push("accuracy", accuracy);
        }
        metrics
    }

    /// Any number of labels an example, `[S, labels]` row by row: `accuracy` (all labels right), `micro_precision`,
    /// `micro_recall`, `micro_f1`, `macro_f1`, `weighted_f1`. Labels that never occur count for the mean, with 0.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: nothing to measure, lengths that differ or are no multiple of `labels`.
    pub fn multi_label(predicted: &[bool], actual: &[bool], labels: usize) -> Result<Self> {
        rows(predicted.len(), actual.len(), labels)?;
        let mut counts = vec![Counts::default(); labels];
        let (mut right, mut examples) = (0u64, 0u64);
        for (predicted, actual) in predicted.chunks_exact(labels).zip(actual.chunks_exact(labels)) {
            for (counts, (&predicted, &actual)) in counts.iter_mut().zip(predicted.iter().zip(actual)) {
                counts.hits += u64::from(predicted && actual);
                counts.predicted += u64::from(predicted);
                counts.actual += u64::from(actual);
            }
            right += u64::from(predicted == actual);
            examples += 1;
        }
        let micro = averaged(&counts, Average::Micro);
        let mut metrics = Self::new();
        metrics.push("accuracy", right as f64 / examples as f64);
        metrics.push("micro_precision", micro.precision);
        metrics.push("micro_recall", micro.recall);
        metrics.push("micro_f1", micro.f1);
        metrics.push("macro_f1", averaged(&counts, Average::Macro).f1);
        metrics.push("weighted_f1", averaged(&counts, Average::Weighted).f1);
        Ok(metrics)
    }

    /// Numbers, `[S, width]` row by row: `pearson` and `spearman`, the mean over the columns, and `mean_squared_error`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: nothing to measure, lengths that differ or are no multiple of `width`.
    pub fn regression(predicted: &[f32], actual: &[f32], width: usize) -> Result<Self> {
        rows(predicted.len(), actual.len(), width)?;
        let column = |values: &[f32], column| -> Vec<f64> {
            values.iter().skip(column).step_by(width).map(|value| f64::from(*value)).collect()
        };
        let mean = |measure: fn(&[f64], &[f64]) -> f64| {
            let of = |index| measure(&column(predicted, index), &column(actual, index));
            (0..width).map(of).sum::<f64>() / width as f64
        };
        let mut metrics = Self::new();
        metrics.push("pearson", mean(correlation::pearson));
        metrics.push("spearman", mean(correlation::spearman));
        metrics.push("mean_squared_error", mean(correlation::mean_squared_error));
        Ok(metrics)
    }

    /// A tag a word, one list a sentence: `accuracy` over the words and, where the tags spell entities, `precision`,
    /// `recall`, `f1` over all entities and `macro_f1`, the mean over their types.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: no word to measure, lengths that differ.
    pub fn tagging<T: AsRef<str>>(predicted: &[Vec<T>], actual: &[Vec<T>]) -> Result<Self> {
        paired(predicted.len(), actual.len())?;
        let (mut right, mut words) = (0u64, 0u64);
        for (predicted, actual) in predicted.iter().zip(actual) {
            if predicted.len() != actual.len() {
                return Err(Error::argument(format!("{} tags for {} words", predicted.len(), actual.len())));
            }
            words += actual.len() as u64;
            right += predicted.iter().zip(actual).filter(|(p, a)| p.as_ref() == a.as_ref()).count() as u64;
        }
        if words == 0 {
            return Err(Error::argument("no words to measure"));
        }
        let mut metrics = Self::new();
        metrics.push("accuracy", right as f64 / words as f64);
        let tags: Vec<&str> = predicted.iter().chain(actual).flatten().map(AsRef::as_ref).collect();
        if spans::spell_entities(&tags) {
            let counts: Vec<Counts> = spans::counts(predicted, actual).into_values().collect();
            let micro = averaged(&counts, Average::Micro);
            metrics.push("precision", micro.precision);
            metrics.push("recall", micro.recall);
            metrics.push("f1", micro.f1);
            metrics.push("macro_f1", averaged(&counts, Average::Macro).f1);
        }
        Ok(metrics)
    }

    /// Answers, each with all that are right: `exact_match`, `f1` over words.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: nothing to measure, lengths that differ.
    pub fn question_answering(predicted: &[&str], right: &[Vec<&str>]) -> Result<Self> {
        paired(predicted.len(), right.len())?;
        let mean = |measure: fn(&str, &[&str]) -> f64| {
            predicted.iter().zip(right).map(|(p, r)| measure(p, r)).sum::<f64>() / predicted.len() as f64
        };
        let mut metrics = Self::new();
        metrics.push("exact_match", mean(|p, r| f64::from(u8::from(answers::exact_match(p, r)))));
        metrics.push("f1", mean(answers::word_f1));
        Ok(metrics)
    }
}

fn paired(predicted: usize, actual: usize) -> Result<()> {
    match predicted {
        _ if predicted != actual => Err(Error::argument(format!("{predicted} predictions for {actual} answers"))),
        0 => Err(Error::argument("no predictions to measure")),
        _ => Ok(()),
    }
}

fn rows(predicted: usize, actual: usize, width: usize) -> Result<()> {
    paired(predicted, actual)?;
    match width {
        0 => Err(Error::argument(format!("{predicted} values in rows of 0"))),
        _ if !predicted.is_multiple_of(width) => Err(Error::argument(format!("{predicted} values in rows of {width}"))),
        _ => Ok(()),
    }
}

/// Both sides are the same formula in f64, summed in another order: a few units in the last place.
#[cfg(test)]
#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-14 * expected.abs().max(1.0), "{found}, expected {expected}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(metrics: &Metrics) -> Vec<&str> {
        metrics.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn metrics_keep_their_order_and_are_found_by_name() {
        let mut metrics = Metrics::new();
        metrics.push("b", 1.0);
        metrics.push("a", 2.0);
        assert_eq!(metrics.iter().collect::<Vec<_>>(), [("b", 1.0), ("a", 2.0)]);
        assert_eq!((metrics.get("a"), metrics.get("c")), (Some(2.0), None));
    }

    #[test]
    fn two_labels_have_a_positive_one() {
        let two = Metrics::classification(&[0, 1, 0, 1, 1, 1], &[0, 1, 1, 0, 1, 0], 2).unwrap();
        close(two.get("f1").unwrap(), 0.5714285714285714);
        close(two.get("recall").unwrap(), 0.6666666666666666);
        let three = Metrics::classification(&[0, 1], &[0, 2], 3).unwrap();
        assert_eq!(three.get("f1"), None);
        assert_eq!(three.get("accuracy"), Some(0.5));
        assert_eq!(names(&two).len(), names(&three).len() + 3);
    }

    #[test]
    fn several_labels_are_measured_as_scikit_learn_does() {
        let bits = |bits: [[u8; 4]; 5]| bits.concat().iter().map(|bit| *bit == 1).collect::<Vec<bool>>();
        let actual = bits([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]);
        let predicted = bits([[1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]);
        let metrics = Metrics::multi_label(&predicted, &actual, 4).unwrap();
        for (name, expected) in [
            ("accuracy", 0.4),
            ("micro_precision", 0.8333333333333334),
            ("micro_recall", 0.7142857142857143),
            ("micro_f1", 0.7692307692307693),
            ("macro_f1", 0.5416666666666666),
            ("weighted_f1", 0.7619047619047619),
        ] {
            close(metrics.get(name).unwrap(), expected);
        }
    }

    #[test]
    fn columns_of_numbers_are_measured_apart() {
        let actual = [1.0, 10.0, 2.0, 30.0, 3.0, 20.0];
        let predicted = [1.0, 20.0, 2.0, 30.0, 3.0, 10.0];
        let metrics = Metrics::regression(&predicted, &actual, 2).unwrap();
        close(metrics.get("pearson").unwrap(), 0.75); // (1 + 0.5) / 2
        close(metrics.get("spearman").unwrap(), 0.75);
        close(metrics.get("mean_squared_error").unwrap(), 200.0 / 6.0);
        assert!(Metrics::regression(&[1.0; 3], &[1.0, 2.0, 3.0], 1).unwrap().get("spearman").unwrap().is_nan());
    }

    #[test]
    fn tags_without_entities_have_an_accuracy_alone() {
        let split = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        let words = Metrics::tagging(&[split("NOUN VERB X")], &[split("NOUN VERB Y")]).unwrap();
        assert_eq!(words.iter().collect::<Vec<_>>(), [("accuracy", 2.0 / 3.0)]);
        let entities = Metrics::tagging(&[split("B-X I-X O")], &[split("B-X I-X B-Y")]).unwrap();
        assert_eq!((entities.get("precision"), entities.get("recall")), (Some(1.0), Some(0.5)));
        assert_eq!(entities.get("macro_f1"), Some(0.5));
    }

    #[test]
    fn answers_are_averaged() {
        let metrics = Metrics::question_answering(&["the cat", "b c"], &[vec!["Cat"], vec!["x", "b"]]).unwrap();
        close(metrics.get("exact_match").unwrap(), 0.5);
        close(metrics.get("f1").unwrap(), (1.0 + 2.0 / 3.0) / 2.0);
    }

    #[test]
    fn nothing_is_not_measured() {
        assert!(Metrics::classification(&[], &[], 2).is_err());
        assert!(Metrics::multi_label(&[], &[], 2).is_err());
        assert!(Metrics::multi_label(&[true; 3], &[true; 3], 2).is_err());
        assert!(Metrics::regression(&[1.0], &[1.0], 0).is_err());
        assert!(Metrics::tagging::<&str>(&[vec![]], &[vec![]]).is_err());
        assert!(Metrics::tagging(&[vec!["O"]], &[vec!["O", "O"]]).is_err());
        assert!(Metrics::question_answering(&[], &[]).is_err());
    }
}
