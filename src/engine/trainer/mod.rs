//! A model that learns: adapted on the spot, evaluated, saved, or handed out as a new model while it goes on learning.

mod checkpoint;
mod course;
mod fitting;
mod flat;
mod heads;
mod options;
mod pretraining;
mod solving;

pub use fitting::{FitEvent, FitRun, Fitted};
pub use options::{LoraOptions, TrainOptions, Trainable};
pub use solving::Solved;

use std::path::Path;
use std::sync::Arc;

use super::heads::NamedHead;
use super::{Cancel, Model, Run, adapters, evaluate};
use crate::bert::HeadPart;
use crate::bert::peft::LoraConfig;
use crate::device::{Cpu, Device};
use crate::error::{Error, Result};
use crate::train::encode::Item;
use crate::train::examples::Dataset;
use crate::train::fit::{Examples, Position};
use crate::train::labels::Labels;
use crate::train::learner::{Frozen, Learner};
use crate::train::memory::{self, Load, Need};
use crate::train::metrics::Metrics;
use crate::train::objective::{Objective, Weighing};
use crate::train::optimizer;
use crate::train::prefix::{CacheLimits, PrefixCache};
use crate::train::update::{Optimizer, Settings};

/// A training: a model whose parts learn, and everything that takes.
///
/// The model it began from is not changed and may go on answering.
pub struct Trainer {
    model: Model,
    options: TrainOptions,
    labels: Vec<String>,
    /// Canonical names of what began at random.
    fresh: Vec<String>,
    learner: Learner<Cpu>,
    optimizer: Optimizer<Cpu>,
    position: Position,
    /// Of low-rank pairs.
    lora: Option<LoraConfig>,
    /// Batches accumulated since the last step.
    accumulated: u32,
    /// Token rows in them.
    rows: usize,
    /// Numbers that train.
    parameters: u64,
    /// The best parameters so far, where they are kept.
    best: Option<checkpoint::Kept>,
}

impl Trainer {
    /// A training of `model`. Labels come from the options, else from `labels_from`, else from the folder's own head.
    ///
    /// Fails with `InvalidArgument` when options contradict each other, `Missing` when the model lacks the head that the
    /// objective needs and cannot be given a new one, `Unsupported` when it is to learn masked words and is causal, or next
    /// words and is not, and `OutOfMemory`, naming the bytes it would take, when the memory
    /// budget is too small for what trains.
    pub fn new(model: &Model, options: &TrainOptions, labels_from: Option<&Dataset>) -> Result<Self> {
        options.check()?;
        let inner = &model.inner;
        evaluate::check_direction(inner.bert.config(), options.objective)?;
        if inner.bert.encoder().adapter().is_some() {
            return Err(Error::unsupported(
                "training of a model that has low-rank pairs: save it, which merges them, and open that",
            ));
        }
        let labels = labels(model, options, labels_from)?;
        let mut config = inner.bert.config().clone();
        if matches!(options.objective.dense_head(), Some(HeadPart::Sequence | HeadPart::Token)) {
            config.labels.clone_from(&labels);
            config.problem = options.problem();
        }
        check_weights(options, &labels)?;
        let mut bert = inner.bert.share();
        let mut scope = options.scope(&config, inner.bert.encoder().schedule())?;
        let fresh = heads::give(model, options, &config, &labels, &mut bert, &mut scope)?;
        let lora = match options.trainable {
            Trainable::Lora => {
                let config = adapters::lora_config(&options.lora, inner.source.name(), &scope.heads, scope.pooler);
                let prefix = model.task_prefix();
                let pairs = adapters::fresh(&inner.device, &bert, &config, prefix, options.seed)?;
                bert.set_adapter(Some(Arc::new(pairs)));
                Some(config)
            }
            _ => None,
        };
        let parameters = bert.numbers(&scope)?;
        let portions = inner.device.portions();
        let load = Load { parameters, lowest: 0, objective: options.objective, longest: 1, batch: 1 };
        memory::plan(bert.config(), &load, &portions, options.memory)?;
        // until examples have been seen: as the longest that there may be would have it
        let longest = inner.max_tokens;
        let load = Load { longest, batch: longest.saturating_mul(options.batch_size), ..load };
        let passes = memory::plan(bert.config(), &load, &portions, 0)?.passes;
        let frozen = if options.frozen_dropout { Frozen::Noisy } else { Frozen::Cached };
        let weighing = Weighing { smoothing: options.label_smoothing, classes: options.class_weights.clone() };
        let learner = Learner::new(&inner.device, bert, scope, options.objective, weighing, passes, frozen)?;
        let optimizer = Optimizer::new(&inner.device, &learner, settings(options), |name| {
            optimizer::layer_factor(name, config.layers, f64::from(options.layer_decay)) as f32
        })?;
        Ok(Self {
            model: model.clone(),
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
            best: None,
        })
    }

    /// Labels by their numbers; none for objectives without.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Canonical names of the tensors of heads and pooler that began at random.
    pub fn fresh(&self) -> &[String] {
        &self.fresh
    }

    /// Name of the metric that decides which parameters are best: the options', or the task's own.
    pub fn metric(&self) -> &str {
        match self.options.metric.as_str() {
            "" => evaluate::metric(self.options.objective, &self.labels),
            name => name,
        }
    }

    /// Where training is, with the history of losses and metrics.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Adds the gradients of the mean loss over `batch`, as one batch, and returns that loss. Dropout is that of the step
    /// under way. [`Trainer::apply`] makes the step.
    ///
    /// Fails as [`Trainer::fit`] does; the gradients accumulated since the last step are then gone, parameters as before.
    pub fn accumulate(&mut self, batch: &Dataset, cancel: Option<&Cancel>) -> Result<f64> {
        let steady = self.model.inner.device.clone();
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

    /// Makes an optimizer step of the gradients accumulated, at `learning_rate` or else the options' own, and clears them.
    /// Returns their norm before clipping.
    ///
    /// Fails with `InvalidArgument` when nothing has been accumulated, and `NotFinite` when gradients are no finite
    /// numbers: parameters are then as before.
    pub fn apply(&mut self, learning_rate: Option<f32>) -> Result<f64> {
        if self.accumulated == 0 {
            return Err(Error::argument("no gradients: accumulate at least one batch before each step"));
        }
        let device = self.model.inner.device.clone();
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

    /// Metrics of the parameters as they are now.
    pub fn evaluate(&mut self, data: &Dataset, run: Run<'_>) -> Result<Metrics> {
        let device = self.model.inner.device.cancelled_by(run.cancel);
        let items = self.encode(data)?;
        self.fit_memory(&[&items], self.options.batch_size)?;
        let mut cache = PrefixCache::new(0, CacheLimits { memory: 0, file: 0 });
        let settings = self.encoding()?;
        let judge = evaluate::judge(self.options.objective, data, &self.labels, settings.borrow());
        crate::train::fit::measure(&device, &self.learner, &mut Examples { items: &items, cache: &mut cache }, &judge)
    }

    /// The model as it is now, as a new one that shares all parameters which do not train, the tokenizer and the threads.
    /// It never changes; training goes on without it.
    pub fn snapshot(&self) -> Result<Model> {
        let inner = &self.model.inner;
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
        Ok(Model { inner: Arc::new(inner) })
    }

    /// Writes the model as it is now as a HuggingFace folder; see [`Model::save`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.snapshot()?.save(folder)
    }

    /// Writes the low-rank pairs and the heads trained with them as a PEFT folder.
    ///
    /// Fails with `InvalidArgument` when no pairs were trained.
    pub fn save_adapter(&self, folder: &Path) -> Result<()> {
        let Some(config) = &self.lora else {
            return Err(Error::argument("no low-rank pairs to save: they come with trainable lora"));
        };
        let inner =
            self.model.inner.with(self.learner.bert().share(), self.model.inner.changed.with(self.learner.scope()));
        inner.save_adapter(folder, config, self.learner.scope())
    }

    /// What training takes in memory, beside the mapped weights, with passes as the last call cut them.
    pub fn memory(&self) -> Need {
        let load = self.load(1, 1);
        memory::need(self.learner.bert().config(), &load, &self.model.inner.device.portions(), self.learner.passes())
    }

    fn load(&self, longest: usize, batch: usize) -> Load {
        let (objective, lowest) = (self.options.objective, self.learner.lowest());
        Load { parameters: self.parameters, lowest, objective, longest, batch }
    }

    /// Cuts the passes so that they fit the budget.
    fn fit_memory(&mut self, sets: &[&[Item]], batch: usize) -> Result<()> {
        let lengths = || sets.iter().flat_map(|set| set.iter()).map(|item| item.tokens.ids.len());
        let longest = lengths().max().unwrap_or(1);
        self.fit_pass(longest, batch)
    }

    /// The same for batches of `batch` examples of at most `longest` tokens.
    fn fit_pass(&mut self, longest: usize, batch: usize) -> Result<()> {
        let most = if self.options.batch_tokens == 0 { usize::MAX } else { self.options.batch_tokens };
        let load = self.load(longest, longest.saturating_mul(batch).min(most.max(longest)));
        let portions = self.model.inner.device.portions();
        let need = memory::plan(self.learner.bert().config(), &load, &portions, self.options.memory)?;
        self.learner.set_passes(need.passes);
        Ok(())
    }

    fn encode(&self, data: &Dataset) -> Result<Vec<Item>> {
        self.encoding()?.items(data)
    }

    fn encoding(&self) -> Result<evaluate::Encoding<'_>> {
        evaluate::Encoding::new(&self.model, self.options.objective, &self.labels, self.options.max_tokens)
    }
}

impl Model {
    /// What a task model of this family puts before the encoder's keys.
    fn task_prefix(&self) -> &'static str {
        match self.inner.bert.config().architecture {
            crate::bert::Architecture::Bert => "bert.",
            crate::bert::Architecture::Albert => "albert.",
        }
    }
}

fn settings(options: &TrainOptions) -> Settings {
    let TrainOptions { beta1, beta2, epsilon, weight_decay, max_gradient_norm: max_norm, .. } = *options;
    Settings { beta1, beta2, epsilon, weight_decay, max_norm }
}

/// The labels of the head that trains.
fn labels(model: &Model, options: &TrainOptions, from: Option<&Dataset>) -> Result<Vec<String>> {
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
            None if part.is_some_and(|part| model.inner.bert.heads().dense(part).is_ok()) => {
                Ok(model.inner.bert.config().labels.clone())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OpenOptions;

    #[test]
    fn a_snapshot_shares_what_does_not_train() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sequence");
        let model = Model::open(&folder, &OpenOptions { threads: 1 }).unwrap();
        let options =
            TrainOptions { trainable: Trainable::Top(1), labels: model.labels().to_vec(), ..TrainOptions::default() };
        let snapshot = Trainer::new(&model, &options, None).unwrap().snapshot().unwrap();
        let shared = |group: usize| {
            let layer = |model: &Model| Arc::as_ptr(&model.inner.bert.encoder().groups()[group][0]);
            layer(&model) == layer(&snapshot)
        };
        assert_eq!([shared(0), shared(1)], [true, false]);
        assert!(Arc::ptr_eq(&model.inner.weights, &snapshot.inner.weights));
        assert!(Arc::ptr_eq(&model.inner.tokenizer, &snapshot.inner.tokenizer));
    }
}
