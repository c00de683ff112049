//! Tag: labels of tokens, and the entities they form as HuggingFace's token-classification pipeline groups them.

use super::{Progress, finite, in_chunks, softmax};
use crate::batch::{Batch, Tokens};
use crate::bert::Bert;
use crate::error::Result;
use crate::ops::Ops;
use crate::text::Span;

/// Probabilities of all labels for every token of every input: `[T][labels]`.
///
/// Fails with `Missing` when the model has no token classifier.
pub fn tag<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    inputs: &[Tokens],
    progress: Progress<'_>,
) -> Result<Vec<Vec<Vec<f32>>>> {
    bert.heads().token.as_ref().map_err(Clone::clone)?;
    in_chunks(device, inputs, progress, |inputs| {
        let batch = Batch::of(inputs)?;
        let logits = bert.tag(device, &batch)?;
        let values = logits.to_values(device)?;
        finite("classifier output", &values)?;
        let mut rows = values.chunks_exact(logits.cols()).map(softmax);
        Ok(inputs.iter().map(|input| rows.by_ref().take(input.ids.len()).collect()).collect())
    })
}

/// How labels of tokens become entities: HuggingFace's `aggregation_strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// Every token is an entity.
    None,
    /// Neighbouring tokens of one tag are an entity.
    Simple,
    /// Words take the label of their first token; neighbouring words of one tag are an entity.
    First,
    /// Words take the label with the highest mean probability over their tokens.
    Average,
    /// Words take the label of their token with the highest probability.
    Max,
}

/// A token of a text as grouping sees it.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Bytes of the token in the text.
    pub span: Span,
    /// Whether it continues the word before it.
    pub continues: bool,
    /// Probability of every label.
    pub probabilities: Vec<f32>,
}

/// A stretch of text with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Number of the label; where several labels of one tag were grouped, the first one's.
    pub label: usize,
    /// Bytes in the text.
    pub span: Span,
    /// Probability of the label; the mean over the grouped tokens or words.
    pub probability: f32,
}

/// Groups the tokens of one text, special ones left out beforehand. Everything is returned, the label `O` included.
pub fn entities(tokens: &[Labelled], labels: &[String], aggregation: Aggregation) -> Vec<Entity> {
    let each = |tokens: &[Labelled]| tokens.chunks(1).map(first).collect::<Vec<_>>();
    match aggregation {
        Aggregation::None => each(tokens),
        Aggregation::Simple => group(&each(tokens), labels),
        Aggregation::First => group(&words(tokens).map(first).collect::<Vec<_>>(), labels),
        Aggregation::Average => group(&words(tokens).map(average).collect::<Vec<_>>(), labels),
        Aggregation::Max => group(&words(tokens).map(strongest).collect::<Vec<_>>(), labels),
    }
}

fn words(tokens: &[Labelled]) -> impl Iterator<Item = &[Labelled]> {
    tokens.chunk_by(|_, next| next.continues)
}

fn first(word: &[Labelled]) -> Entity {
    entity(word, &word[0].probabilities)
}

fn strongest(word: &[Labelled]) -> Entity {
    let peak = |token: &Labelled| token.probabilities.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // The first of equals, as Python's max.
    let best = word.iter().fold(&word[0], |best, token| if peak(token) > peak(best) { token } else { best });
    entity(word, &best.probabilities)
}

fn average(word: &[Labelled]) -> Entity {
    let mut mean = vec![0.0; word[0].probabilities.len()];
    for token in word {
        mean.iter_mut().zip(&token.probabilities).for_each(|(mean, p)| *mean += p / word.len() as f32);
    }
    entity(word, &mean)
}

fn entity(word: &[Labelled], probabilities: &[f32]) -> Entity {
    // The first of equals, as numpy's argmax.
    let best = (1..probabilities.len())
        .fold(0, |best, label| if probabilities[label] > probabilities[best] { label } else { best });
    Entity {
        label: best,
        span: Span { start: word[0].span.start, end: word[word.len() - 1].span.end },
        probability: probabilities[best],
    }
}

/// Neighbours of one tag become one, unless the later one says that it begins an entity.
fn group(pieces: &[Entity], labels: &[String]) -> Vec<Entity> {
    let split = |entity: &Entity| tag_of(&labels[entity.label]);
    pieces
        .chunk_by(|a, b| {
            let ((_, tag), (begins, next)) = (split(a), split(b));
            tag == next && !begins
        })
        .map(|run| Entity {
            label: run[0].label,
            span: Span { start: run[0].span.start, end: run[run.len() - 1].span.end },
            probability: run.iter().map(|e| e.probability).sum::<f32>() / run.len() as f32,
        })
        .collect()
}

/// Whether a label begins an entity, and its tag: `B-PER` is (true, `PER`); a label without prefix continues.
fn tag_of(label: &str) -> (bool, &str) {
    match label.strip_prefix("B-") {
        Some(tag) => (true, tag),
        None => (false, label.strip_prefix("I-").unwrap_or(label)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(start: usize, end: usize, continues: bool, probabilities: [f32; 3]) -> Labelled {
        Labelled { span: Span { start, end }, continues, probabilities: probabilities.to_vec() }
    }

    fn labels() -> Vec<String> {
        ["O", "B-PER", "I-PER"].map(String::from).to_vec()
    }

    #[test]
    fn words_merge_before_they_group() {
        let tokens = [
            token(0, 3, false, [0.1, 0.8, 0.1]),
            token(3, 5, true, [0.9, 0.05, 0.05]),
            token(6, 9, false, [0.2, 0.1, 0.7]),
            token(10, 12, false, [0.3, 0.6, 0.1]),
        ];
        let spans = |aggregation| -> Vec<(usize, usize, usize)> {
            entities(&tokens, &labels(), aggregation).iter().map(|e| (e.label, e.span.start, e.span.end)).collect()
        };
        assert_eq!(spans(Aggregation::None), [(1, 0, 3), (0, 3, 5), (2, 6, 9), (1, 10, 12)]);
        assert_eq!(spans(Aggregation::Simple), [(1, 0, 3), (0, 3, 5), (2, 6, 9), (1, 10, 12)]);
        assert_eq!(spans(Aggregation::First), [(1, 0, 9), (1, 10, 12)]);
        assert_eq!(spans(Aggregation::Average), [(0, 0, 5), (2, 6, 9), (1, 10, 12)]);
        assert_eq!(spans(Aggregation::Max), [(0, 0, 5), (2, 6, 9), (1, 10, 12)]);
    }

    #[test]
    fn probabilities_are_means_over_the_group() {
        let tokens = [token(0, 1, false, [0.1, 0.7, 0.2]), token(2, 3, false, [0.1, 0.4, 0.5])];
        let grouped = entities(&tokens, &labels(), Aggregation::Simple);
        assert_eq!(grouped.len(), 1);
        assert!((grouped[0].probability - 0.6).abs() < 1e-6);
        assert!(entities(&[], &labels(), Aggregation::First).is_empty());
    }
}
