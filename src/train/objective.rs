//! What is learned: which head, on which rows, by which loss.

use crate::batch::{Batch, Selection};
use crate::bert::HeadPart;
use crate::device::Hidden;
use crate::error::{Error, Result};
use crate::ops::cross_entropy::{self, IGNORED, Outcome, Targets};
use crate::ops::{Ops, binary_cross_entropy, squared_error};

use super::encode::{Item, ItemTarget};

/// What a model learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objective {
    /// One label of several a text: cross-entropy.
    Classify,
    /// Any number of labels a text: binary cross-entropy of each.
    MultiLabel,
    /// Numbers a text: mean squared error.
    Regress,
    /// A label for each word, at its first token: cross-entropy.
    Tag,
    /// First and last token of an answer: the mean of two cross-entropies over the tokens of a sequence.
    Span,
    /// Words for masked places: cross-entropy over the vocabulary.
    MaskedLm,
    /// Whether the second text follows the first: cross-entropy.
    NextSentence,
    /// The sum of the last two.
    Pretraining,
    /// The next word at every place, of causal models: cross-entropy over the vocabulary.
    CausalLm,
}

impl Objective {
    /// Heads that it needs.
    pub fn heads(self) -> &'static [HeadPart] {
        match self {
            Objective::Classify | Objective::MultiLabel | Objective::Regress => &[HeadPart::Sequence],
            Objective::Tag => &[HeadPart::Token],
            Objective::Span => &[HeadPart::Span],
            Objective::MaskedLm | Objective::CausalLm => &[HeadPart::MaskedLm],
            Objective::NextSentence => &[HeadPart::NextSentence],
            Objective::Pretraining => &[HeadPart::MaskedLm, HeadPart::NextSentence],
        }
    }

    /// The head that is one dense layer, where there is one.
    pub fn dense_head(self) -> Option<HeadPart> {
        self.heads().iter().copied().find(|&head| head != HeadPart::MaskedLm)
    }

    /// Whether some head stands on the pooler.
    pub fn is_pooled(self) -> bool {
        self.heads().iter().any(|head| head.is_pooled())
    }

    /// Whether words are predicted.
    pub fn has_words(self) -> bool {
        self.heads().contains(&HeadPart::MaskedLm)
    }

    /// Fails with `InvalidInput`, naming both, when there is nothing in `item` to learn this from. `outputs` are the numbers
    /// that its head gives a row: V for words.
    pub fn check(self, item: &Item, outputs: usize) -> Result<()> {
        use ItemTarget as Has;
        let fits = match (self, &item.target) {
            (Objective::Classify, Has::Label(_))
            | (Objective::MultiLabel, Has::Labels(_))
            | (Objective::Tag, Has::Tags(_))
            | (Objective::Span, Has::Span { .. }) => true,
            (Objective::Regress, Has::Numbers(numbers)) if numbers.len() != outputs => {
                return Err(Error::input(format!("{} numbers, expected {outputs}", numbers.len())));
            }
            (Objective::Regress, Has::Numbers(_)) => true,
            (Objective::NextSentence, Has::Label(next)) => *next < 2,
            (Objective::MaskedLm | Objective::CausalLm, Has::Tags(words))
            | (Objective::Pretraining, Has::Pretraining { words, .. }) => {
                let outside = |word: &&i32| **word != IGNORED && usize::try_from(**word).is_ok_and(|id| id >= outputs);
                match words.iter().find(outside) {
                    Some(word) => return Err(Error::input(format!("word {word} of a vocabulary of {outputs}"))),
                    None => true,
                }
            }
            _ => false,
        };
        match fits {
            true => Ok(()),
            false => Err(Error::input(format!("{}, expected {}", item.target.kind(), self.expects()))),
        }
    }

    /// Makes of an example's target what the rows of its tokens are compared with.
    ///
    /// Of the next word, the label of each token becomes that of the token before it, so that the last predicts nothing;
    /// the labels of an example without target are its own tokens.
    pub fn prepare(self, item: &mut Item) {
        if self != Objective::CausalLm {
            return;
        }
        let mut next: Vec<i32> = match &item.target {
            ItemTarget::Tags(labels) => labels.iter().skip(1).copied().collect(),
            // ids are less than 2³¹ by the vocabulary's limit
            ItemTarget::None => item.tokens.ids.iter().skip(1).map(|&id| id as i32).collect(),
            _ => return,
        };
        next.push(IGNORED);
        item.target = ItemTarget::Tags(next);
    }

    fn expects(self) -> &'static str {
        match self {
            Objective::Classify => "one label",
            Objective::MultiLabel => "any number of labels",
            Objective::Regress => "numbers",
            Objective::Tag => "tags",
            Objective::Span => "an answer",
            Objective::MaskedLm => "the words of masked places",
            Objective::NextSentence => "0, the second text follows, or 1",
            Objective::Pretraining => "the words of masked places, and whether the second text follows",
            Objective::CausalLm => "no target, or a word for each token",
        }
    }

    /// Rows of the final hidden states that its heads read.
    pub fn rows(self, batch: &Batch, items: &[&Item]) -> Result<Selection> {
        match self {
            Objective::Classify | Objective::MultiLabel | Objective::Regress | Objective::NextSentence => {
                Ok(Selection::first(batch))
            }
            Objective::Span => Ok(Selection::all(batch)),
            Objective::Tag | Objective::MaskedLm | Objective::CausalLm => {
                let places: Vec<Vec<usize>> = items.iter().map(|item| labelled(item).collect()).collect();
                Selection::positions(batch, &places)
            }
            Objective::Pretraining => {
                let places = |item: &&Item| {
                    let mut places = vec![0];
                    places.extend(labelled(item).filter(|&place| place > 0));
                    places
                };
                Selection::positions(batch, &items.iter().map(places).collect::<Vec<_>>())
            }
        }
    }
}

/// Positions that have a label of their own.
fn labelled(item: &Item) -> impl Iterator<Item = usize> {
    labels(item).iter().enumerate().filter(|(_, label)| **label != IGNORED).map(|(place, _)| place)
}

/// Whether the token at `place` has a label of its own.
pub(super) fn label_at(item: &Item, place: usize) -> bool {
    labels(item).get(place).is_some_and(|&label| label != IGNORED)
}

/// One label a token; empty for targets of another kind.
fn labels(item: &Item) -> &[i32] {
    match &item.target {
        ItemTarget::Tags(labels) | ItemTarget::Pretraining { words: labels, .. } => labels,
        _ => &[],
    }
}

/// The labels of all places that have one, in order.
pub(super) fn words(items: &[&Item]) -> Vec<i32> {
    let all = items.iter().flat_map(|item| labels(item).iter().copied());
    all.filter(|&label| label != IGNORED).collect()
}

/// How classes count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighing {
    /// ε of label smoothing.
    pub smoothing: f32,
    /// One weight a class; empty for all 1.
    pub classes: Vec<f32>,
}

impl Weighing {
    fn targets<'a>(&'a self, labels: &'a [i32]) -> Targets<'a> {
        let class_weights = (!self.classes.is_empty()).then_some(self.classes.as_slice());
        Targets { labels, smoothing: self.smoothing, class_weights }
    }
}

/// What a dense head is compared with, over a whole batch or a part of it.
pub enum Aim {
    /// One label a row.
    Labels(Vec<i32>),
    /// Several numbers a row: 0 or 1 for each label.
    Switches(Vec<f32>),
    /// Several numbers a row.
    Numbers(Vec<f32>),
    /// Of each sequence, its first row, its number of rows, and the answer's first and last.
    Spans(Vec<(usize, usize, [usize; 2])>),
}

impl Aim {
    /// Of the dense head over the rows that [`Objective::rows`] chooses (for pretraining, the first row a sequence).
    pub fn dense(objective: Objective, items: &[&Item]) -> Result<Self> {
        let wrong = |item: &Item| Error::internal(format!("{objective:?} from a target {:?}", item.target));
        match objective {
            Objective::Classify | Objective::NextSentence | Objective::Pretraining => {
                let label = |item: &&Item| match item.target {
                    ItemTarget::Label(label) | ItemTarget::Pretraining { next: label, .. } => Ok(label as i32),
                    _ => Err(wrong(item)),
                };
                Ok(Self::Labels(items.iter().map(label).collect::<Result<_>>()?))
            }
            Objective::Tag | Objective::MaskedLm | Objective::CausalLm => Ok(Self::Labels(words(items))),
            Objective::MultiLabel | Objective::Regress => {
                let mut numbers = Vec::new();
                for item in items {
                    match &item.target {
                        ItemTarget::Labels(values) | ItemTarget::Numbers(values) => numbers.extend_from_slice(values),
                        _ => return Err(wrong(item)),
                    }
                }
                let switches = objective == Objective::MultiLabel;
                Ok(if switches { Self::Switches(numbers) } else { Self::Numbers(numbers) })
            }
            Objective::Span => {
                let (mut spans, mut row) = (Vec::with_capacity(items.len()), 0);
                for item in items {
                    let ItemTarget::Span { start, end } = item.target else { return Err(wrong(item)) };
                    let count = item.tokens.ids.len();
                    spans.push((row, count, [start, end]));
                    row += count;
                }
                Ok(Self::Spans(spans))
            }
        }
    }

    /// What the sum of losses is divided by: the weight of all labels, or the number of numbers.
    pub fn divisor(&self, weighing: &Weighing) -> f64 {
        match self {
            Self::Labels(labels) => weighing.targets(labels).weight(),
            Self::Switches(numbers) | Self::Numbers(numbers) => numbers.len() as f64,
            Self::Spans(spans) => 2.0 * spans.len() as f64,
        }
    }

    /// The sum of losses, not divided, and its gradient times `scale`; correct are counted of labels alone.
    pub fn loss<D: Ops>(
        &self,
        device: &D,
        logits: &Hidden<D>,
        weighing: &Weighing,
        scale: f32,
        dlogits: &mut Hidden<D>,
    ) -> Result<Outcome> {
        let uncounted = |loss| Outcome { loss, correct: 0 };
        match self {
            Self::Labels(labels) => {
                cross_entropy::forward_backward(device, logits, &weighing.targets(labels), scale, dlogits)
            }
            Self::Switches(numbers) => {
                binary_cross_entropy::forward_backward(device, logits, numbers, scale, dlogits).map(uncounted)
            }
            Self::Numbers(numbers) => {
                squared_error::forward_backward(device, logits, numbers, scale, dlogits).map(uncounted)
            }
            Self::Spans(spans) => {
                let values = logits.to_values(device)?;
                let (loss, gradient) = span_loss(&values, spans, scale);
                *dlogits = Hidden::<D>::from_values(device, &gradient, logits.rows(), logits.cols())?;
                Ok(uncounted(loss))
            }
        }
    }
}

/// Σ of the cross-entropies of start and end, each over the tokens of its sequence, and the gradient times `scale`.
/// `logits` `[T, 2]`. An answer beyond the sequence counts as its first token's, which is how HuggingFace marks one that
/// was cut away.
fn span_loss(logits: &[f32], spans: &[(usize, usize, [usize; 2])], scale: f32) -> (f64, Vec<f32>) {
    let (mut loss, mut gradient) = (0.0, vec![0.0; logits.len()]);
    for &(first, count, answer) in spans {
        for (column, place) in answer.into_iter().enumerate() {
            let place = if place < count { place } else { 0 };
            let at = |row: usize| (first + row) * 2 + column;
            let largest = (0..count).map(|row| logits[at(row)]).fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = (0..count).map(|row| f64::from(logits[at(row)] - largest).exp()).sum();
            loss += total.ln() - f64::from(logits[at(place)] - largest);
            for row in 0..count {
                let p = f64::from(logits[at(row)] - largest).exp() / total;
                let target = if row == place { 1.0 } else { 0.0 };
                gradient[at(row)] = ((p - target) * f64::from(scale)) as f32;
            }
        }
    }
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_word_is_what_each_token_is_compared_with() {
        let prepared = |target| {
            let tokens = crate::batch::Tokens { ids: vec![2, 7, 9, 3], types: vec![0; 4] };
            let mut item = Item { tokens, target, first: Vec::new() };
            Objective::CausalLm.prepare(&mut item);
            item
        };
        let item = prepared(ItemTarget::None);
        assert_eq!(item.target, ItemTarget::Tags(vec![7, 9, 3, IGNORED]));
        let batch = Batch::of([&item.tokens]).unwrap();
        assert_eq!(Objective::CausalLm.rows(&batch, &[&item]).unwrap().rows(), [0, 1, 2]);
        assert!(Objective::CausalLm.check(&item, 10).is_ok() && Objective::CausalLm.check(&item, 9).is_err());
        // Only what follows a prompt, say.
        let item = prepared(ItemTarget::Tags(vec![IGNORED, IGNORED, 9, 3]));
        assert_eq!(item.target, ItemTarget::Tags(vec![IGNORED, 9, 3, IGNORED]));
        let error = Objective::CausalLm.check(&prepared(ItemTarget::Label(1)), 10).unwrap_err();
        assert_eq!(error.message(), "one label, expected no target, or a word for each token");
    }

    #[test]
    fn the_gradient_of_a_span_is_the_slope_of_its_loss() {
        let logits: Vec<f32> = (0..14).map(|i| (i as f32 * 0.7).sin()).collect();
        let spans = [(0, 3, [1, 2]), (3, 4, [0, 9])];
        let (_, gradient) = span_loss(&logits, &spans, 0.5);
        for i in 0..logits.len() {
            let at = |h: f32| {
                let mut moved = logits.clone();
                moved[i] += h;
                span_loss(&moved, &spans, 1.0).0
            };
            let slope = 0.5 * (at(1e-3) - at(-1e-3)) / 2e-3;
            // f32 logits: the step itself is good to 1e-4 of itself
            assert!((f64::from(gradient[i]) - slope).abs() < 1e-4, "{i}: {} and {slope}", gradient[i]);
        }
    }
}
