//! The loop: batches in their order, steps, evaluations, early stopping; able to go on from any step.

use std::ops::Range;
use std::time::Instant;

use crate::bert::Noise;
use crate::error::{Error, Result, Status};
use crate::ops::Ops;

use super::encode::Item;
use super::feed::Feed;
use super::learner::{Learner, Predictions};
use super::losses::{Losses, Mean};
use super::metrics::Metrics;
use super::prefix::PrefixCache;
use super::schedule::Schedule;
use super::stopping::{Seen, Stopping};
use super::update::Optimizer;

/// Probabilities of dropout while training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// `hidden_dropout_prob`
    pub hidden: f32,
    /// `attention_probs_dropout_prob`
    pub attention: f32,
    /// `classifier_dropout`
    pub head: f32,
    /// `lora_dropout`
    pub lora: f32,
}

/// How training goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Passes over the examples.
    pub epochs: u64,
    /// Most optimizer steps; 0 for no limit but the epochs.
    pub max_steps: u64,
    /// Batches to a step.
    pub accumulation: u32,
    /// Largest learning rate.
    pub learning_rate: f32,
    /// How it changes.
    pub schedule: Schedule,
    /// Steps over which it rises.
    pub warmup: u64,
    /// Of dropout.
    pub rates: Rates,
    /// Seed of dropout.
    pub seed: u64,
    /// When the development set is evaluated.
    pub evaluate: Every,
    /// When a checkpoint is due.
    pub checkpoint: Every,
    /// What is best, and when to stop for want of it.
    pub stopping: Stopping,
    /// Name of the metric that decides.
    pub metric: String,
}

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Not at all.
    Never,
    /// At the end of each epoch.
    Epoch,
    /// After so many steps.
    Steps(u64),
}

/// Where training is: all there is to store, beside parameters and moments, for it to go on later.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Batches done of the next epoch.
    pub batch: u64,
    /// What evaluations gave.
    pub seen: Seen,
    /// Step of the best evaluation.
    pub best_step: Option<u64>,
    /// Whether early stopping ended training.
    pub stopped: bool,
    /// The examples' [`Feed::fingerprint`], once training has begun.
    pub source: Option<u64>,
    /// Loss and learning rate of every step, metrics of every evaluation.
    pub history: Vec<Record>,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An optimizer step.
    Step(StepRecord),
    /// An evaluation.
    Evaluation(EvaluationRecord),
}

/// What an optimizer step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Its number, from 1.
    pub step: u64,
    /// Epochs done, in part.
    pub epoch: f64,
    /// Mean loss of its batches.
    pub loss: f64,
    /// Learning rate used.
    pub learning_rate: f64,
    /// Norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Of words, where words are predicted.
    pub words: Option<Mean>,
    /// Of next sentences, where those are judged.
    pub next: Option<Mean>,
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationRecord {
    /// Steps done.
    pub step: u64,
    /// Epochs done, in part.
    pub epoch: f64,
    /// On the development set.
    pub metrics: Metrics,
    /// Whether it is the best so far.
    pub best: bool,
}

/// Encoded examples with what is stored of them.
pub struct Examples<'a> {
    /// The examples.
    pub items: &'a [Item],
    /// What the frozen layers gave.
    pub cache: &'a mut PrefixCache,
}

/// What an optimizer step was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Examples.
    pub examples: usize,
    /// Tokens of them.
    pub tokens: usize,
}

/// What the caller is told and asked.
pub enum Moment<'a> {
    /// An optimizer step is done.
    Step {
        /// What it did.
        record: &'a StepRecord,
        /// Steps there will be.
        total: u64,
        /// What it was made of.
        size: Size,
        /// Seconds it took.
        seconds: f64,
    },
    /// An evaluation is done.
    Evaluation {
        /// What it found.
        record: &'a EvaluationRecord,
        /// Seconds it took.
        seconds: f64,
    },
    /// The parameters are the best so far.
    Best,
    /// A checkpoint is due.
    Checkpoint,
}

/// Told and asked as training goes on; an error ends it and becomes its result.
pub type Observe<'a, D> = &'a mut dyn FnMut(Moment<'_>, &Learner<D>, &Optimizer<D>, &Position) -> Result<()>;

/// How metrics come from predictions.
pub type Judge<'a> = &'a dyn Fn(&[Item], &Predictions) -> Result<Metrics>;

/// Trains from `position` to the end of the course.
///
/// An error leaves the parameters as the last whole step left them.
#[allow(clippy::too_many_arguments)] // the learner, its course, its examples and who watches
pub fn fit<D: Ops>(
    device: &D,
    steady: &D,
    learner: &mut Learner<D>,
    optimizer: &mut Optimizer<D>,
    course: &Course,
    position: &mut Position,
    train: &mut dyn Feed,
    mut dev: Option<Examples<'_>>,
    judge: Judge<'_>,
    observe: Observe<'_, D>,
) -> Result<()> {
    let (total, source) = (total_steps(course, train)?, train.fingerprint());
    if let Some(began) = position.source.replace(source)
        && began != source
    {
        position.source = Some(began);
        return Err(Error::argument(format!(
            "other examples than those that training began with: fingerprint {source:016x}, expected {began:016x}"
        )));
    }
    if position.step > total {
        let done = position.step;
        return Err(Error::argument(format!("{done} steps are done, the course over these examples has {total}")));
    }
    if let (Some(Record::Step(step)), Some(dev)) = (position.history.last().cloned(), &mut dev) {
        // a call that was stopped between a step and its evaluation left that to this one
        let last = position.step == total;
        if step.step == position.step && course.evaluate.is_due(position.step, position.batch == 0, last) {
            evaluate(device, learner, optimizer, course, position, step.epoch, dev, judge, observe)?;
        }
    }
    while position.epoch < course.epochs && position.step < total && !position.stopped {
        let batches = train.count(position.epoch)?;
        let accumulation = course.accumulation as usize;
        if position.batch as usize >= batches {
            let (done, epoch) = (position.batch, position.epoch + 1);
            return Err(Error::argument(format!(
                "{done} batches of epoch {epoch} are done, the examples make {batches}: expected those it began with"
            )));
        }
        for group in (position.batch as usize / accumulation)..batches.div_ceil(accumulation) {
            let numbers = group * accumulation..batches.min((group + 1) * accumulation);
            let (begun, mut taken) = (Instant::now(), Vec::new());
            let made = step_gradients(device, learner, course, position, numbers.clone(), train, &mut taken)
                .inspect_err(|_| drop(learner.clear_gradients(steady)))
                .map_err(|error| named(error, position, &taken, train))?;
            let learning_rate =
                f64::from(course.learning_rate) * course.schedule.factor(position.step, course.warmup, total);
            let gradient_norm = optimizer
                .apply(steady, learner, learning_rate as f32, numbers.len() as u32)
                .map_err(|error| named(error, position, &taken, train))?;
            position.step += 1;
            position.batch = numbers.end as u64;
            let epoch = position.epoch as f64 + position.batch as f64 / batches as f64;
            let (Losses { loss, words, next }, size) = made;
            let (loss, words, next) = (loss / numbers.len() as f64, words.mean(), next.mean());
            let record = StepRecord { step: position.step, epoch, loss, learning_rate, gradient_norm, words, next };
            position.history.push(Record::Step(record));
            let seconds = begun.elapsed().as_secs_f64();
            let ends = numbers.end == batches;
            if ends {
                (position.epoch, position.batch) = (position.epoch + 1, 0);
            }
            observe(Moment::Step { record: &record, total, size, seconds }, learner, optimizer, position)?;

            let last = position.step == total;
            if let (Some(dev), true) = (&mut dev, course.evaluate.is_due(position.step, ends, last)) {
                evaluate(device, learner, optimizer, course, position, epoch, dev, judge, observe)?;
            }
            if course.checkpoint.is_due(position.step, ends, last)
                || (position.stopped && course.checkpoint != Every::Never)
            {
                observe(Moment::Checkpoint, learner, optimizer, position)?;
            }
            if last || position.stopped {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Optimizer steps of a whole course.
pub fn total_steps(course: &Course, train: &mut dyn Feed) -> Result<u64> {
    let mut total = 0;
    for epoch in 0..course.epochs {
        let batches = train.count(epoch)?;
        if batches == 0 {
            return Err(Error::argument("no examples to learn from"));
        }
        total += batches.div_ceil(course.accumulation as usize) as u64;
        if course.max_steps > 0 && total >= course.max_steps {
            return Ok(course.max_steps);
        }
    }
    Ok(total)
}

/// Gradients of the batches of one step; what they came to, added up, and the numbers of their examples in `taken`.
fn step_gradients<D: Ops>(
    device: &D,
    learner: &mut Learner<D>,
    course: &Course,
    position: &Position,
    numbers: Range<usize>,
    train: &mut dyn Feed,
    taken: &mut Vec<usize>,
) -> Result<(Losses, Size)> {
    let Rates { hidden, attention, head, lora } = course.rates;
    let (mut made, mut size) = (Losses::default(), Size::default());
    for number in numbers {
        let lot = train.batch(position.epoch, number)?;
        taken.extend(&lot.examples);
        let (seed, step, first_row) = (course.seed, position.step as u32, size.tokens);
        let noise = Noise { seed, step, first_row, hidden, attention, head, lora };
        made.add(learner.accumulate(device, &lot.items, &lot.examples, lot.cache, Some(&noise))?);
        size.examples += lot.items.len();
        size.tokens += lot.items.iter().map(|item| item.tokens.ids.len()).sum::<usize>();
    }
    Ok((made, size))
}

#[allow(clippy::too_many_arguments)] // as of `fit`
fn evaluate<D: Ops>(
    device: &D,
    learner: &Learner<D>,
    optimizer: &Optimizer<D>,
    course: &Course,
    position: &mut Position,
    epoch: f64,
    dev: &mut Examples<'_>,
    judge: Judge<'_>,
    observe: Observe<'_, D>,
) -> Result<()> {
    let begun = Instant::now();
    let metrics = measure(device, learner, dev, judge)?;
    let value = metrics.get(&course.metric).ok_or_else(|| {
        let names: Vec<&str> = metrics.iter().map(|(name, _)| name).collect();
        Error::argument(format!("metric {:?}: expected one of {}", course.metric, names.join(", ")))
    })?;
    let mut seen = position.seen;
    let verdict = course.stopping.observe(&mut seen, value);
    if verdict.best {
        // before it is noted as the best: what fails here has not been kept
        observe(Moment::Best, learner, optimizer, position)?;
        position.best_step = Some(position.step);
    }
    (position.seen, position.stopped) = (seen, verdict.stop);
    let record = EvaluationRecord { step: position.step, epoch, metrics, best: verdict.best };
    position.history.push(Record::Evaluation(record.clone()));
    let seconds = begun.elapsed().as_secs_f64();
    observe(Moment::Evaluation { record: &record, seconds }, learner, optimizer, position)
}

/// Metrics of a learner on examples.
fn measure<D: Ops>(device: &D, learner: &Learner<D>, examples: &mut Examples<'_>, judge: Judge<'_>) -> Result<Metrics> {
    if examples.items.is_empty() {
        return Err(Error::argument("no examples to evaluate on"));
    }
    let items: Vec<&Item> = examples.items.iter().collect();
    let numbers: Vec<usize> = (0..items.len()).collect();
    let predictions = learner.predict(device, &items, &numbers, examples.cache)?;
    judge(examples.items, &predictions)
}

impl Every {
    fn is_due(self, step: u64, epoch_ends: bool, last: bool) -> bool {
        match self {
            Every::Never => false,
            Every::Epoch => epoch_ends || last,
            Every::Steps(steps) => step.is_multiple_of(steps.max(1)) || last,
        }
    }
}

/// A failed step with where it was.
fn named(error: Error, position: &Position, taken: &[usize], train: &dyn Feed) -> Error {
    match error.status() {
        Status::NotFinite => {
            let examples: Vec<String> = taken.iter().take(4).map(ToString::to_string).collect();
            let (step, of) = (position.step + 1, train.total());
            error.within(format!("step {step} (examples {} … of {of})", examples.join(", ")))
        }
        _ => error,
    }
}
