//! The whole of a training in one call.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Kept;
use super::training::Training;
use crate::engine::device::Place;
use crate::engine::{Cancel, evaluate};
use crate::error::{Error, Result, Status};
use crate::train::encode::Item;
use crate::train::examples::Dataset;
use crate::train::feed::{Feed, Items};
use crate::train::fit::{self, EvaluationRecord, Examples, Moment, Record, Size, StepRecord};
use crate::train::metrics::Metrics;
use crate::train::prefix::{CacheLimits, PrefixCache};

/// What a training reports to and how it is stopped.
#[derive(Default)]
pub struct FitRun<'a> {
    /// A flag that stops it, polled many times a second.
    pub cancel: Option<&'a Cancel>,
    /// Told of every event, on the caller's thread; `false` stops.
    pub observe: Option<&'a mut dyn FnMut(&FitEvent<'_>) -> bool>,
}

/// What happened.
pub enum FitEvent<'a> {
    /// An optimizer step is done.
    Step {
        /// What it did.
        record: &'a StepRecord,
        /// Steps there will be, if nothing stops training early.
        total: u64,
        /// What it was made of.
        size: Size,
        /// Seconds it took.
        seconds: f64,
    },
    /// The development examples have been evaluated.
    Evaluation {
        /// What was found.
        record: &'a EvaluationRecord,
        /// Seconds it took.
        seconds: f64,
    },
    /// A checkpoint is complete.
    Checkpoint {
        /// Where it lies.
        folder: &'a Path,
    },
}

/// What a training came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Optimizer steps done.
    pub steps: u64,
    /// Step and value of the best evaluation.
    pub best: Option<(u64, f64)>,
    /// Metrics on the development examples of the parameters that the trainer holds now.
    pub metrics: Option<Metrics>,
    /// Whether the patience ended.
    pub stopped_early: bool,
}

impl<D: Place> Training<D> {
    pub fn fit(&mut self, train: &Dataset, dev: Option<&Dataset>, run: FitRun<'_>) -> Result<Fitted> {
        let train_items = self.encode(train)?;
        let dev_items =
            dev.map(|dev| self.encode(dev).map_err(|error| error.within("development examples"))).transpose()?;
        if let (Some(dev), Some([])) = (dev, dev_items.as_deref()) {
            return Err(Error::argument(format!("no examples to evaluate on, {} given", dev.len())));
        }
        let plan = self.plan()?;
        let none: &[Item] = &[];
        self.fit_memory(&[&train_items, dev_items.as_deref().unwrap_or(none)], self.options.batch_size)?;
        let (mut cache, mut dev_cache) = self.caches(train_items.len(), dev_items.as_ref().map_or(0, Vec::len));
        let dev_examples = dev_items.as_deref().map(|items| Examples { items, cache: &mut dev_cache });
        let empty = Dataset::new();
        self.go_through(&mut Items::new(&train_items, plan, &mut cache), dev_examples, dev.unwrap_or(&empty), run)
    }

    /// Trains on batches of any kind. `judged` is what the items of `dev` were made of, where a metric asks for more than
    /// the items.
    pub(super) fn go_through(
        &mut self,
        train: &mut dyn Feed,
        dev: Option<Examples<'_>>,
        judged: &Dataset,
        run: FitRun<'_>,
    ) -> Result<Fitted> {
        if self.accumulated > 0 {
            return Err(Error::argument("gradients are accumulated: apply them before fitting"));
        }
        let steady = self.model.device.clone();
        let device = steady.cancelled_by(run.cancel);
        let course = self.course(train)?;
        let labels = self.labels.clone();
        let model = Arc::clone(&self.model);
        let encoding = evaluate::Encoding::new(&model, self.options.objective, &labels, self.options.max_tokens)?;
        let judge = evaluate::judge(self.options.objective, judged, &labels, encoding.borrow());
        let mut observe = run.observe;
        let mut tell = |event: FitEvent<'_>| match observe.as_mut().is_none_or(|observe| observe(&event)) {
            true => Ok(()),
            false => Err(Error::new(Status::Cancelled, "cancelled by the progress callback")),
        };
        let keeps = self.options.keep_best;
        self.sweep_checkpoints()?;
        let writer = self.writer(fit::total_steps(&course, train)?);
        let mut best = self.best.take();
        let Self { learner, optimizer, position, .. } = self;
        let outcome = fit::fit(
            &device,
            &steady,
            learner,
            optimizer,
            &course,
            position,
            train,
            dev,
            &judge,
            &mut |moment, learner, optimizer, position| match moment {
                Moment::Step { record, total, size, seconds } => tell(FitEvent::Step { record, total, size, seconds }),
                Moment::Evaluation { record, seconds } => tell(FitEvent::Evaluation { record, seconds }),
                Moment::Best if keeps => {
                    best = Some(Kept::of(&steady, learner, position.step)?);
                    Ok(())
                }
                Moment::Best => Ok(()),
                Moment::Checkpoint => {
                    let folder = writer.add(learner, optimizer, position, best.as_mut())?;
                    tell(FitEvent::Checkpoint { folder: &folder })
                }
            },
        );
        self.best = best;
        outcome.map_err(|error| self.model.shared.explain(error))?;
        self.finish()
    }

    /// Puts the best parameters in place.
    fn finish(&mut self) -> Result<Fitted> {
        if let (Some(kept), true) = (&mut self.best, self.options.keep_best)
            && kept.step() != self.position.step
        {
            kept.put(&self.model.device, &mut self.learner)?;
        }
        let best = self.position.best_step.zip(self.position.seen.best);
        let step = match (&best, self.options.keep_best) {
            (Some((step, _)), true) => *step,
            _ => self.position.step,
        };
        let metrics = self.position.history.iter().rev().find_map(|record| match record {
            Record::Evaluation(found) if found.step == step => Some(found.metrics.clone()),
            _ => None,
        });
        Ok(Fitted { steps: self.position.step, best, metrics, stopped_early: self.position.stopped })
    }

    /// What frozen layers give is kept of training and development examples, each in its share of the room.
    fn caches(&self, train: usize, dev: usize) -> (PrefixCache, PrefixCache) {
        let share = |bytes: u64, part: usize| match train + dev {
            0 => 0,
            all => (bytes as u128 * part as u128 / all as u128) as u64,
        };
        let frozen = self.learner.lowest() > 0 && !self.learner.scope().embeddings;
        let memory = match self.options.memory {
            0 => self.options.cache_memory,
            budget => self.options.cache_memory.min(budget.saturating_sub(self.memory().total())),
        };
        let limits = |part: usize| match frozen {
            true => CacheLimits { memory: share(memory, part), file: share(self.options.cache_file, part) },
            // word vectors alone cost less to add up than to keep
            false => CacheLimits { memory: 0, file: 0 },
        };
        (PrefixCache::new(train, limits(train)), PrefixCache::new(dev, limits(dev)))
    }
}
