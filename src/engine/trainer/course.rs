//! From options to the course of a training.

use super::training::Training;
use crate::bert::Noise;
use crate::engine::device::Place;
use crate::error::{Error, Result};
use crate::train::batches::{Order, Plan};
use crate::train::feed::Feed;
use crate::train::fit::{Course, Every, Rates, total_steps};
use crate::train::stopping::{Better, Stopping};

impl<D: Place> Training<D> {
    /// How examples that are all there become batches.
    pub(super) fn plan(&self) -> Result<Plan> {
        let options = &self.options;
        Ok(Plan {
            order: match (options.shuffle, options.group_by_length) {
                (true, true) => Order::ByLength,
                (true, false) => Order::Shuffled,
                (false, false) => Order::Given,
                (false, true) => {
                    return Err(Error::argument("group_by_length: without shuffle, examples stay in their order"));
                }
            },
            examples: options.batch_size,
            tokens: if options.batch_tokens == 0 { usize::MAX } else { options.batch_tokens },
            seed: options.seed,
        })
    }

    /// The course over the batches of `train`.
    pub(super) fn course(&self, train: &mut dyn Feed) -> Result<Course> {
        let options = &self.options;
        let metric = self.metric().to_owned();
        let mut course = Course {
            epochs: options.epochs,
            max_steps: options.max_steps,
            accumulation: options.accumulation,
            learning_rate: options.learning_rate,
            schedule: options.schedule,
            warmup: 0,
            rates: self.rates(),
            seed: options.seed,
            evaluate: options.evaluate,
            checkpoint: if options.checkpoints.is_some() { options.checkpoint } else { Every::Never },
            stopping: Stopping {
                better: Better::of(&metric),
                patience: (options.patience > 0).then_some(options.patience),
                threshold: options.threshold,
            },
            metric,
        };
        let total = total_steps(&course, train)?;
        course.warmup = match options.warmup {
            share if share < 1.0 => (share * total as f64).ceil() as u64,
            steps => steps as u64,
        };
        Ok(course)
    }

    fn rates(&self) -> Rates {
        let config = self.learner.bert().config();
        let of = |own: f32| self.options.dropout.unwrap_or(own);
        Rates {
            hidden: of(config.hidden_dropout),
            attention: of(config.attention_dropout),
            head: of(config.classifier_dropout),
            lora: self.options.lora.dropout,
        }
    }

    /// Dropout of the batch whose first row is `first_row` within a step.
    pub(super) fn noise(&self, step: u64, first_row: usize) -> Noise {
        let Rates { hidden, attention, head, lora } = self.rates();
        Noise { seed: self.options.seed, step: step as u32, first_row, hidden, attention, head, lora }
    }
}
