//! From predictions to metrics.

use super::answers::{causal, not_causal};
use super::device::{Place, on};
use super::{Inner, Model, Run, Shared, Task, input};
use crate::bert::{Config, Direction, HeadPart, Keep, Scope};
use crate::error::{Error, Result};
use crate::train::encode::{self, IGNORED, Item, ItemTarget};
use crate::train::examples::{Dataset, Target};
use crate::train::labels::Labels;
use crate::train::learner::{Frozen, Learner, Passes, Predictions};
use crate::train::losses::Losses;
use crate::train::metrics::Metrics;
use crate::train::metrics::confusion::Confusion;
use crate::train::objective::{Objective, Weighing};
use crate::train::prefix::{CacheLimits, PrefixCache};

/// How examples of one model become items.
pub struct Encoding<'a> {
    config: &'a Config,
    shared: &'a Shared,
    labels: Option<Labels>,
    max_tokens: usize,
    objective: Objective,
    /// Numbers that the objective's head gives for each row.
    outputs: usize,
}

/// Labels of next-sentence prediction, as HuggingFace numbers them: the second text follows, or it does not.
const NEXT: [&str; 2] = ["0", "1"];

impl<'a> Encoding<'a> {
    /// With the model's tokenizer, cut at `max_tokens` (0: what the model allows).
    ///
    /// Fails with `Unsupported` when the model reads in the other direction than the objective.
    pub fn new<D: Place>(
        model: &'a Inner<D>,
        objective: Objective,
        labels: &[String],
        max_tokens: usize,
    ) -> Result<Self> {
        let (config, shared) = (model.bert.config(), &*model.shared);
        check_direction(config, objective)?;
        let outputs = if objective.has_words() { config.vocabulary } else { labels.len() };
        let labels = match objective {
            Objective::NextSentence => Some(Labels::new(NEXT.map(str::to_owned).to_vec())?),
            _ if labels.is_empty() => None,
            _ => Some(Labels::new(labels.to_vec())?),
        };
        Ok(Self { config, shared, labels, max_tokens: model.example_tokens(max_tokens), objective, outputs })
    }

    /// The examples as training sees them.
    ///
    /// Fails as [`encode::items`] does, and with `InvalidInput`, naming the example, where its tokens do not fit the model
    /// or the objective does not learn from a target of its kind.
    pub fn items(&self, data: &Dataset) -> Result<Vec<Item>> {
        let mut items = encode::items(data, &self.borrow())?;
        for (place, item) in items.iter_mut().enumerate() {
            self.objective.prepare(item);
            let fits = input::check(self.config, &item.tokens).and_then(|()| self.objective.check(item, self.outputs));
            fits.map_err(|error| error.within(data.place(place)))?;
        }
        Ok(items)
    }

    /// As `train::encode` takes it.
    pub fn borrow(&self) -> encode::Settings<'_> {
        encode::Settings {
            tokenizer: self.shared.tokenizer().ok(),
            labels: self.labels.as_ref(),
            max_tokens: self.max_tokens,
        }
    }
}

/// Fails with `Unsupported` when a causal model is to fill masks or judge pairs, or a bidirectional one to predict what
/// comes next, which it sees.
pub fn check_direction(config: &Config, objective: Objective) -> Result<()> {
    match (objective, config.direction) {
        (Objective::CausalLm, Direction::Bidirectional) => Err(not_causal("learning next words")),
        (Objective::MaskedLm | Objective::Pretraining, Direction::Causal) => Err(causal("learning masked words")),
        _ => Ok(()),
    }
}

/// Numbers in the targets of a regression.
pub fn numbers(data: &Dataset) -> usize {
    let width = |target: &Target| match target {
        Target::Numbers(list) => Some(list.len()),
        Target::Number(_) => Some(1),
        _ => None,
    };
    data.examples().iter().find_map(|example| width(&example.target)).unwrap_or(1)
}

/// The metrics of an objective on `data`: what `train::fit` asks for. `loss` is the first.
pub fn judge<'a>(
    objective: Objective,
    data: &'a Dataset,
    labels: &'a [String],
    settings: encode::Settings<'a>,
) -> impl Fn(&[Item], &Predictions) -> Result<Metrics> + 'a {
    move |items, predictions| {
        let mut metrics = Metrics::new();
        let Losses { loss, words, next } = predictions.losses;
        metrics.push("loss", loss);
        let own = match objective {
            Objective::Classify | Objective::NextSentence => {
                let (predicted, actual) = classes(items, predictions)?;
                let count = if labels.is_empty() { 2 } else { labels.len() };
                Some(Metrics::classification(&predicted, &actual, count)?)
            }
            Objective::MultiLabel => {
                let values = || predictions.logits.iter().flatten();
                let predicted: Vec<bool> = values().map(|&logit| logit > 0.0).collect();
                let actual: Vec<bool> = targets(items).map(|value| value > 0.5).collect();
                Some(Metrics::multi_label(&predicted, &actual, labels.len())?)
            }
            Objective::Regress => {
                let predicted: Vec<f32> = predictions.logits.iter().flatten().copied().collect();
                let actual: Vec<f32> = targets(items).collect();
                Some(Metrics::regression(&predicted, &actual, labels.len().max(1))?)
            }
            Objective::Tag => {
                let (predicted, actual) = tags(data, items, predictions, labels)?;
                Some(Metrics::tagging(&predicted, &actual)?)
            }
            Objective::Span => Some(answers(data, predictions, &settings)?),
            Objective::MaskedLm | Objective::Pretraining => Some(Metrics::pretraining(words.mean(), next.mean())),
            Objective::CausalLm => Some(Metrics::next_words(words.mean())),
        };
        for (name, value) in own.iter().flat_map(Metrics::iter) {
            metrics.push(name, value);
        }
        Ok(metrics)
    }
}

/// The metric that decides which parameters are best, where nothing else is asked for.
pub fn metric(objective: Objective, labels: &[String]) -> &'static str {
    match objective {
        Objective::Classify | Objective::NextSentence => "accuracy",
        Objective::MultiLabel => "micro_f1",
        Objective::Regress => "spearman",
        Objective::Tag if labels.iter().any(|label| label.starts_with("B-") || label.starts_with("I-")) => "f1",
        Objective::Tag => "accuracy",
        Objective::Span => "f1",
        Objective::MaskedLm | Objective::Pretraining | Objective::CausalLm => "loss",
    }
}

fn targets(items: &[Item]) -> impl Iterator<Item = f32> {
    items.iter().flat_map(|item| match &item.target {
        ItemTarget::Labels(values) | ItemTarget::Numbers(values) => values.clone(),
        _ => Vec::new(),
    })
}

fn classes(items: &[Item], predictions: &Predictions) -> Result<(Vec<usize>, Vec<usize>)> {
    let actual = items.iter().map(|item| match item.target {
        ItemTarget::Label(label) => Ok(label),
        ref other => Err(Error::internal(format!("a label from {other:?}"))),
    });
    Ok((predictions.logits.iter().map(|logits| largest(logits)).collect(), actual.collect::<Result<_>>()?))
}

/// The first of the largest.
fn largest(values: &[f32]) -> usize {
    let better = |best: usize, at: usize| if values[at] > values[best] { at } else { best };
    (0..values.len()).fold(0, better)
}

/// One tag a word of each example.
type Words = Vec<Vec<String>>;

/// Tags of every word: predicted at its first token, `O` (or the first label) where it has none.
fn tags(data: &Dataset, items: &[Item], predictions: &Predictions, labels: &[String]) -> Result<(Words, Words)> {
    let outside = labels.iter().find(|label| *label == "O").or(labels.first()).cloned().unwrap_or_default();
    let (mut predicted, mut actual) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for ((item, logits), example) in items.iter().zip(&predictions.logits).zip(data.examples()) {
        let ItemTarget::Tags(ids) = &item.target else {
            return Err(Error::internal(format!("tags from {:?}", item.target)));
        };
        let mut rows = logits.chunks_exact(labels.len().max(1)).map(largest);
        let at: Vec<Option<usize>> = ids.iter().map(|&id| if id == IGNORED { None } else { rows.next() }).collect();
        let name = |label: usize| labels.get(label).cloned().unwrap_or_default();
        match &example.target {
            Target::Tags(words) => {
                let of =
                    |first: &Option<usize>| first.and_then(|place| at[place]).map_or_else(|| outside.clone(), name);
                predicted.push(item.first.iter().map(of).collect());
                actual.push(words.clone());
            }
            _ => {
                predicted.push(at.iter().flatten().map(|&label| name(label)).collect());
                actual.push(ids.iter().filter(|&&id| id != IGNORED).map(|&id| name(id as usize)).collect());
            }
        }
    }
    Ok((predicted, actual))
}

/// Most tokens of an answer, as in HuggingFace's question-answering scripts.
const LONGEST_ANSWER: usize = 30;

fn answers(data: &Dataset, predictions: &Predictions, settings: &encode::Settings<'_>) -> Result<Metrics> {
    let (mut predicted, mut right) = (Vec::new(), Vec::new());
    for (example, logits) in data.examples().iter().zip(&predictions.logits) {
        let Target::Span { answer, .. } = &example.target else {
            return Err(Error::input("an answer's place is needed to evaluate answers"));
        };
        let (start, end) = best_span(logits);
        predicted.push(encode::answer(example, settings, start, end)?);
        right.push(vec![answer.as_str()]);
    }
    Metrics::question_answering(&predicted, &right)
}

/// The start and end of the largest sum, the end not before the start nor too far behind it.
fn best_span(logits: &[f32]) -> (usize, usize) {
    let count = logits.len() / 2;
    let (mut best, mut sum) = ((0, 0), f32::NEG_INFINITY);
    for start in 0..count {
        for end in start..count.min(start + LONGEST_ANSWER) {
            let value = logits[2 * start] + logits[2 * end + 1];
            if value > sum {
                (best, sum) = ((start, end), value);
            }
        }
    }
    best
}

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Loss first.
    pub metrics: Metrics,
    /// Of single labels: how often each was taken for each.
    pub confusion: Option<Confusion>,
}

impl Model {
    /// What this model's own head makes of `data`. `max_tokens` 0 is what the model allows.
    ///
    /// Fails with `Missing` when the model has no head for the objective, `InvalidArgument` on no examples, and
    /// `InvalidInput` when an example has a label that the head does not know, naming both.
    pub fn evaluate(
        &self,
        objective: Objective,
        data: &Dataset,
        max_tokens: usize,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        on!(&self.0, |inner| inner.evaluate(objective, data, max_tokens, run))
    }

    /// The objective that the folder's head was trained for.
    ///
    /// Fails with `Missing` when the folder has no head that can be evaluated.
    pub fn objective(&self) -> Result<Objective> {
        on!(&self.0, |inner| inner.objective())
    }
}

impl<D: Place> Inner<D> {
    fn evaluate(&self, objective: Objective, data: &Dataset, max_tokens: usize, run: Run<'_>) -> Result<Evaluation> {
        let encoding = Encoding::new(self, objective, self.labels_for(objective)?, max_tokens)?;
        self.evaluate_items(objective, &encoding.items(data)?, data, max_tokens, run)
    }

    /// Most tokens of an example; 0 asks for what the model allows.
    pub(super) fn example_tokens(&self, max_tokens: usize) -> usize {
        match max_tokens {
            0 => self.shared.max_tokens,
            asked => asked.min(self.bert.config().max_positions),
        }
    }

    /// Labels of the head that an objective has.
    fn labels_for(&self, objective: Objective) -> Result<&[String]> {
        match objective.dense_head() {
            Some(part @ (HeadPart::Sequence | HeadPart::Token)) => {
                self.bert.heads().dense(part)?;
                Ok(&self.bert.config().labels)
            }
            _ => Ok(&[]),
        }
    }

    /// The same of items; `data` is what they were made of.
    pub(super) fn evaluate_items(
        &self,
        objective: Objective,
        items: &[Item],
        data: &Dataset,
        max_tokens: usize,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        let device = self.device.cancelled_by(run.cancel);
        let labels = self.labels_for(objective)?;
        let encoding = Encoding::new(self, objective, labels, max_tokens)?;
        let passes = Passes { tokens: device.portions().answer_tokens, keep: Keep::Everything };
        let (scope, weighing) = (Scope::default(), Weighing::default());
        let learner = Learner::new(&device, self.bert.share(), scope, objective, weighing, passes, Frozen::Cached)?;
        let predictions =
            predict(&device, &learner, items, run.progress).map_err(|error| self.shared.explain(error))?;
        let metrics = judge(objective, data, labels, encoding.borrow())(items, &predictions)?;
        let confusion = match objective {
            Objective::Classify => {
                let (predicted, actual) = classes(items, &predictions)?;
                Some(Confusion::of(&predicted, &actual, labels.len())?)
            }
            _ => None,
        };
        Ok(Evaluation { metrics, confusion })
    }

    fn objective(&self) -> Result<Objective> {
        let heads = self.bert.heads();
        match self.bert.config().problem {
            _ if heads.token.is_ok() => Ok(Objective::Tag),
            Some(crate::bert::Problem::MultiLabel) if heads.sequence.is_ok() => Ok(Objective::MultiLabel),
            Some(crate::bert::Problem::Regression) if heads.sequence.is_ok() => Ok(Objective::Regress),
            _ if heads.sequence.is_ok() && self.bert.config().labels.len() == 1 => Ok(Objective::Regress),
            _ if heads.sequence.is_ok() => Ok(Objective::Classify),
            _ if heads.span.is_ok() => Ok(Objective::Span),
            _ if self.check(Task::Generate).is_ok() => Ok(Objective::CausalLm),
            _ => Err(Error::missing("no classifier, tagger or span head to evaluate")),
        }
    }
}

/// Most examples that are evaluated between two reports of progress.
const EVALUATED_EXAMPLES: usize = 256;

/// What a learner says of items. `progress` counts them.
pub(super) fn predict<D: Place>(
    device: &D,
    learner: &Learner<D>,
    items: &[Item],
    mut progress: Option<&mut dyn FnMut(u64, u64) -> bool>,
) -> Result<Predictions> {
    if items.is_empty() {
        return Err(Error::argument("no examples to evaluate on"));
    }
    let mut cache = PrefixCache::new(0, CacheLimits { memory: 0, file: 0 });
    let list: Vec<&Item> = items.iter().collect();
    let mut predictions = Predictions { logits: Vec::with_capacity(items.len()), losses: Losses::default() };
    // each part's mean loss counts by its examples
    for (number, part) in list.chunks(EVALUATED_EXAMPLES).enumerate() {
        let numbers: Vec<usize> = (0..part.len()).collect();
        let found = learner.predict(device, part, &numbers, &mut cache)?;
        let loss = found.losses.loss * part.len() as f64 / items.len() as f64;
        predictions.losses.add(Losses { loss, ..found.losses });
        predictions.logits.extend(found.logits);
        let done = (number * EVALUATED_EXAMPLES + part.len()) as u64;
        if !progress.as_mut().is_none_or(|progress| progress(done, items.len() as u64)) {
            return Err(Error::new(crate::error::Status::Cancelled, "cancelled by the progress callback"));
        }
    }
    if learner.objective().has_words() {
        // words are not spread evenly over the parts
        let means = [predictions.losses.words.mean(), predictions.losses.next.mean()];
        predictions.losses.loss = means.iter().flatten().map(|mean| mean.loss).sum();
    }
    Ok(predictions)
}
