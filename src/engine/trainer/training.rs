//! A training on one device.

use std::path::Path;
use std::sync::Arc;

use super::{TrainOptions, Trainable, checkpoint, heads};
use crate::bert::peft::LoraConfig;
use crate::bert::{Architecture, HeadPart};
use crate::engine::device::Place;
use crate::engine::heads::NamedHead;
use crate::engine::{Cancel, Inner, Run, adapters, evaluate};
use crate::error::{Error, Result};
use crate::train::encode::Item;
use crate::train::examples::Dataset;
use crate::train::fit::Position;
use crate::train::labels::Labels;
use crate::train::learner::{Frozen, Learner};
use crate::train::memory::{self, Load, Need};
use crate::train::metrics::Metrics;
use crate::train::objective::{Objective, Weighing};
use crate::train::optimizer;
use crate::train::prefix::{CacheLimits, PrefixCache};
use crate::train::update::{Optimizer, Settings};

/// A model whose parts learn, and everything that takes.
pub struct Training<D: Place> {
    /// What it began from.
    pub(super) model: Arc<Inner<D>>,
    pub(super) options: TrainOptions,
    pub(super) labels: Vec<String>,
    /// Canonical names of what began at random.
    pub(super) fresh: Vec<String>,
    pub(super) learner: Learner<D>,
    pub(super) optimizer: Optimizer<D>,
    pub(super) position: Position,
    /// Of low-rank pairs.
    pub(super) lora: Option<LoraConfig>,
    /// Batches accumulated since the last step.
    pub(super) accumulated: u32,
    /// Token rows in them.
    pub(super) rows: usize,
    /// Numbers that train.
    pub(super) parameters: u64,
    /// Most bytes beside the weights; 0 for no limit.
    pub(super) budget: u64,
    /// The best parameters so far, where they are kept.
    pub(super) best: Option<checkpoint::Kept>,
}

impl<D: Place> Training<D> {
    pub(super) fn new(model: &Arc<Inner<D>>, options: &TrainOptions, labels_from: Option<&Dataset>) -> Result<Self> {
        options.check()?;
        let room = model.device.training_memory()?;
        let budget = if options.memory > 0 { options.memory } else { room };
        evaluate::check_direction(model.bert.config(), options.objective)?;
        if model.bert.encoder().adapter().is_some() {
            return Err(Error::unsupported(
                "training of a model that has low-rank pairs: save it, which merges them, and open that",
            ));
        }
        let labels = labels(model, options, labels_from)?;
        let mut config = model.bert.config().clone();
        if matches!(options.objective.dense_head(), Some(HeadPart::Sequence | HeadPart::Token)) {
            config.labels.clone_from(&labels);
            config.problem = options.problem();
        }
        check_weights(options, &labels)?;
        let mut bert = model.bert.share();
        let mut scope = options.scope(&config, model.bert.encoder().schedule())?;
        let fresh = heads::give(model, options, &config, &labels, &mut bert, &mut scope)?;
        let lora = match options.trainable {
            Trainable::Lora => {
                let config =
                    adapters::lora_config(&options.lora, model.shared.source.name(), &scope.heads, scope.pooler);
                let prefix = model.task_prefix();
                let pairs = adapters::fresh(&model.device, &bert, &config, prefix, options.seed)?;
                bert.set_adapter(Some(Arc::new(pairs)));
                Some(config)
            }
            _ => None,
        };
        let parameters = bert.numbers(&scope)?;
        let portions = model.device.portions();
        let load = Load { parameters, lowest: 0, objective: options.objective, longest: 1, batch: 1 };
        memory::plan(bert.config(), &load, &portions, budget)?;
        // until examples have been seen: as the longest that there may be would have it
        let longest = model.shared.max_tokens;
        let load = Load { longest, batch: longest.saturating_mul(options.batch_size), ..load };
        let passes = memory::plan(bert.config(), &load, &portions, 0)?.passes;
        let frozen = if options.frozen_dropout { Frozen::Noisy } else { Frozen::Cached };
        let weighing = Weighing { smoothing: options.label_smoothing, classes: options.class_weights.clone() };
        let learner = Learner::new(&model.device, bert, scope, options.objective, weighing, passes, frozen)?;
        let optimizer = Optimizer::new(&model.device, &learner, settings(options), |name| {
            optimizer::layer_factor(name, config.layers, f64::from(options.layer_decay)) as f32
        })?;
        Ok(Self {
            model: Arc::clone(model),
            options: options.clone(),
            labels,
            fresh,
            learner,
            optimizer,
            position: Position::default(),
            lora,
            accumulated: 0,
            rows: 0,
            parameters,
            budget,
            best: None,
        })
    }

    pub fn metric(&self) -> &str {
        match self.options.metric.as_str() {
            "" => evaluate::metric(self.options.objective, &self.labels),
            name => name,
        }
    }

    pub fn accumulate(&mut self, batch: &Dataset, cancel: Option<&Cancel>) -> Result<f64> {
        let steady = self.model.device.clone();
        let device = steady.cancelled_by(cancel);
        let items = self.encode(batch)?;
        if items.is_empty() {
            return Err(Error::argument("no examples to learn from"));
        }
        self.fit_memory(&[&items], items.len())?;
        let noise = self.noise(self.position.step, self.rows);
        let list: Vec<&Item> = items.iter().collect();
        let numbers: Vec<usize> = (0..list.len()).collect();
        let mut cache = PrefixCache::new(list.len(), CacheLimits { memory: 0, file: 0 });
        match self.learner.accumulate(&device, &list, &numbers, &mut cache, Some(&noise)) {
            Ok(losses) => {
                self.accumulated += 1;
                self.rows += items.iter().map(|item| item.tokens.ids.len()).sum::<usize>();
                Ok(losses.loss)
            }
            Err(error) => {
                (self.accumulated, self.rows) = (0, 0);
                self.learner.clear_gradients(&steady)?;
                Err(error)
            }
        }
    }

    pub fn apply(&mut self, learning_rate: Option<f32>) -> Result<f64> {
        if self.accumulated == 0 {
            return Err(Error::argument("no gradients: accumulate at least one batch before each step"));
        }
        let device = self.model.device.clone();
        let rate = learning_rate.unwrap_or(self.options.learning_rate);
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Error::argument(format!("learning rate {rate}, expected a number of at least 0")));
        }
        let accumulated = std::mem::take(&mut self.accumulated);
        self.rows = 0;
        let norm = self.optimizer.apply(&device, &mut self.learner, rate, accumulated)?;
        self.position.step += 1;
        Ok(norm)
    }

    pub fn evaluate(&mut self, data: &Dataset, run: Run<'_>) -> Result<Metrics> {
        let device = self.model.device.cancelled_by(run.cancel);
        let items = self.encode(data)?;
        self.fit_memory(&[&items], self.options.batch_size)?;
        let predictions = evaluate::predict(&device, &self.learner, &items, run.progress)?;
        let settings = self.encoding()?;
        evaluate::judge(self.options.objective, data, &self.labels, settings.borrow())(&items, &predictions)
    }

    pub(super) fn snapshot(&self) -> Result<Inner<D>> {
        let inner = &self.model;
        let mut bert = self.learner.bert().share();
        let scope = self.learner.scope();
        bert.own(&inner.device, scope)?;
        let mut changed = inner.changed.with(scope);
        let named = match self.options.objective.dense_head() {
            Some(part) if !self.options.head.is_empty() => {
                let own = |head: &crate::bert::Head<Arc<_>>| head.clone().ok();
                let heads = bert.heads();
                let head = match part {
                    HeadPart::Token => &heads.token,
                    HeadPart::Span => &heads.span,
                    _ => &heads.sequence,
                };
                let head = NamedHead {
                    name: self.options.head.clone(),
                    part,
                    problem: self.options.problem(),
                    labels: self.labels.clone(),
                    dense: head.clone()?,
                    pooler: if scope.pooler { own(&heads.pooler) } else { None },
                };
                // the folder's own head and pooler stay as they were
                bert.restore_head(part, &inner.bert, scope.pooler);
                changed.heads.clone_from(&inner.changed.heads);
                changed.pooler = inner.changed.pooler;
                Some(head)
            }
            _ => None,
        };
        let mut inner = inner.with(bert, changed);
        if let Some(head) = named {
            inner.heads.retain(|other| other.name != head.name);
            inner.heads.push(Arc::new(head));
        }
        Ok(inner)
    }

    pub fn save_adapter(&self, folder: &Path) -> Result<()> {
        let Some(config) = &self.lora else {
            return Err(Error::argument("no low-rank pairs to save: they come with trainable lora"));
        };
        let inner = self.model.with(self.learner.bert().share(), self.model.changed.with(self.learner.scope()));
        inner.save_adapter(folder, config, self.learner.scope())
    }

    pub fn memory(&self) -> Need {
        let load = self.load(1, 1);
        memory::need(self.learner.bert().config(), &load, &self.model.device.portions(), self.learner.passes())
    }

    pub(super) fn load(&self, longest: usize, batch: usize) -> Load {
        let (objective, lowest) = (self.options.objective, self.learner.lowest());
        Load { parameters: self.parameters, lowest, objective, longest, batch }
    }

    /// Cuts the passes so that they fit the budget.
    pub(super) fn fit_memory(&mut self, sets: &[&[Item]], batch: usize) -> Result<()> {
        let lengths = || sets.iter().flat_map(|set| set.iter()).map(|item| item.tokens.ids.len());
        let longest = lengths().max().unwrap_or(1);
        self.fit_pass(longest, batch)
    }

    /// The same for batches of `batch` examples of at most `longest` tokens.
    pub(super) fn fit_pass(&mut self, longest: usize, batch: usize) -> Result<()> {
        let most = if self.options.batch_tokens == 0 { usize::MAX } else { self.options.batch_tokens };
        let load = self.load(longest, longest.saturating_mul(batch).min(most.max(longest)));
        let portions = self.model.device.portions();
        let need = memory::plan(self.learner.bert().config(), &load, &portions, self.budget)?;
        self.learner.set_passes(need.passes);
        Ok(())
    }

    pub(super) fn encode(&self, data: &Dataset) -> Result<Vec<Item>> {
        self.encoding()?.items(data)
    }

    fn encoding(&self) -> Result<evaluate::Encoding<'_>> {
        evaluate::Encoding::new(&self.model, self.options.objective, &self.labels, self.options.max_tokens)
    }
}

impl<D: Place> Inner<D> {
    /// What a task model of this family puts before the encoder's keys.
    fn task_prefix(&self) -> &'static str {
        match self.bert.config().architecture {
            Architecture::Bert => "bert.",
            Architecture::Albert => "albert.",
        }
    }
}

fn settings(options: &TrainOptions) -> Settings {
    let TrainOptions { beta1, beta2, epsilon, weight_decay, max_gradient_norm: max_norm, .. } = *options;
    Settings { beta1, beta2, epsilon, weight_decay, max_norm }
}

/// The labels of the head that trains.
fn labels<D: Place>(model: &Inner<D>, options: &TrainOptions, from: Option<&Dataset>) -> Result<Vec<String>> {
    let part = options.objective.dense_head();
    match options.objective {
        Objective::Span
        | Objective::MaskedLm
        | Objective::NextSentence
        | Objective::Pretraining
        | Objective::CausalLm => Ok(Vec::new()),
        _ if !options.labels.is_empty() => Ok(Labels::new(options.labels.clone())?.names().to_vec()),
        Objective::Regress => {
            let width = from.map_or(1, evaluate::numbers);
            Ok((0..width).map(|id| format!("LABEL_{id}")).collect())
        }
        _ => match from {
            Some(data) => Ok(Labels::find(data)?.names().to_vec()),
            None if part.is_some_and(|part| model.bert.heads().dense(part).is_ok()) => {
                Ok(model.bert.config().labels.clone())
            }
            None => {
                Err(Error::argument("labels: none given, no examples to find them in, and the folder has no such head"))
            }
        },
    }
}

fn check_weights(options: &TrainOptions, labels: &[String]) -> Result<()> {
    let weights = options.class_weights.len();
    let classes = matches!(options.objective, Objective::Classify | Objective::Tag);
    if weights > 0 && !classes {
        return Err(Error::argument("class_weights: only classification and tagging have classes"));
    }
    if weights > 0 && weights != labels.len() {
        return Err(Error::argument(format!("class_weights: {weights} for {} labels", labels.len())));
    }
    if options.label_smoothing > 0.0 && !classes {
        return Err(Error::argument("label_smoothing: only classification and tagging have classes"));
    }
    Ok(())
}
