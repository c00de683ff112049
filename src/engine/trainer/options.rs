//! What a training is asked to do.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bert::{Config, HeadPart, Problem, Scope};
use crate::error::{Error, Result};
use crate::train::corpus::{MaskUnit, Recipe, Renewal};
use crate::train::fit::Every;
use crate::train::objective::Objective;
use crate::train::schedule::Schedule;

/// Which parameters train. The head always does, and with it the pooler where the head stands on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trainable {
    /// The head alone.
    Head,
    /// The top layers of L, by number. Of ALBERT, whose layers share parameters, whole groups.
    Top(usize),
    /// All layers, and the embeddings too.
    All,
    /// All layers, but not the embeddings.
    Layers,
    /// Low-rank pairs beside frozen layers (Hu et al. 2021).
    Lora,
}

/// What low-rank pairs are like. Defaults as PEFT's.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraOptions {
    /// r
    pub rank: usize,
    /// α; the pairs count α/r.
    pub alpha: f32,
    /// Of what a pair reads.
    pub dropout: f32,
    /// Ends of module names (`query`, `output.dense`), or `all-linear`; empty for `query` and `value`.
    pub targets: Vec<String>,
    /// The pairs count α/√r (Kalajdzievski 2023).
    pub rank_stabilized: bool,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self { rank: 8, alpha: 8.0, dropout: 0.0, targets: Vec::new(), rank_stabilized: false }
    }
}

/// Everything about a training. Defaults are those of HuggingFace's `TrainingArguments` where it has the field.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// What is learned.
    pub objective: Objective,
    /// Labels by their numbers; empty to find them in the examples. Regression has one number, or as many as labels.
    pub labels: Vec<String>,
    /// Name of the head; empty for the folder's own.
    pub head: String,
    /// Begins with a new head even where the folder has one that fits. Of two heads that pretraining has, those that are
    /// missing are new, or both where neither is.
    pub fresh_head: bool,
    /// Pretraining from a corpus begins with the logarithms of its tokens' frequencies as the bias of the words' logits:
    /// else the first thing that is learned, at the price of every other, is how often each word comes.
    pub unigram_bias: bool,
    /// What trains.
    pub trainable: Trainable,
    /// The pairs of [`Trainable::Lora`].
    pub lora: LoraOptions,
    /// Passes over the examples.
    pub epochs: u64,
    /// Most optimizer steps; 0 for no limit but the epochs.
    pub max_steps: u64,
    /// Examples to a batch.
    pub batch_size: usize,
    /// Most tokens of a batch; 0 for no limit.
    pub batch_tokens: usize,
    /// Puts examples of like length into one batch.
    pub group_by_length: bool,
    /// Takes the examples in another order every epoch.
    pub shuffle: bool,
    /// Batches to an optimizer step.
    pub accumulation: u32,
    /// Largest learning rate.
    pub learning_rate: f32,
    /// What the learning rate is multiplied by from each layer to the one below; 1 for one rate.
    pub layer_decay: f32,
    /// Of weights, not of biases and layer norms.
    pub weight_decay: f32,
    /// β₁ of AdamW.
    pub beta1: f32,
    /// β₂ of AdamW.
    pub beta2: f32,
    /// ε of AdamW.
    pub epsilon: f32,
    /// Largest norm of the gradients; 0 for no limit.
    pub max_gradient_norm: f32,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Steps over which it rises, or below 1 the share of all steps.
    pub warmup: f64,
    /// ε of label smoothing.
    pub label_smoothing: f32,
    /// One weight a label; empty for all 1.
    pub class_weights: Vec<f32>,
    /// Probability of dropout everywhere; `None` for the probabilities in config.json.
    pub dropout: Option<f32>,
    /// Runs frozen layers with dropout in every epoch, as HuggingFace does, instead of once without.
    pub frozen_dropout: bool,
    /// Of new weights, the order of examples and dropout.
    pub seed: u64,
    /// Most tokens of a text; 0 for what the model allows.
    pub max_tokens: usize,
    /// When the development examples are evaluated.
    pub evaluate: Every,
    /// What decides which parameters are best; empty for the task's own.
    pub metric: String,
    /// Evaluations without improvement after which training ends; 0 for never.
    pub patience: u32,
    /// What an improvement has to exceed for the patience.
    pub threshold: f64,
    /// Ends with the best parameters, where development examples are evaluated.
    pub keep_best: bool,
    /// Most bytes beside the weights, of the memory that the device computes in; 0 for no limit, on a CUDA device for what is
    /// free but a twentieth.
    pub memory: u64,
    /// Most bytes of memory for what frozen layers give, for all examples together.
    pub cache_memory: u64,
    /// Most bytes of a scratch file for the same.
    pub cache_file: u64,
    /// How a corpus becomes examples.
    pub pretraining: Recipe,
    /// Most examples of a development corpus; 0 for all.
    pub dev_examples: usize,
    /// Where checkpoints go.
    pub checkpoints: Option<PathBuf>,
    /// When.
    pub checkpoint: Every,
    /// Checkpoints kept: the newest, and the best beside them; 0 for all.
    pub keep_checkpoints: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            objective: Objective::Classify,
            labels: Vec::new(),
            head: String::new(),
            fresh_head: false,
            unigram_bias: false,
            trainable: Trainable::All,
            lora: LoraOptions::default(),
            epochs: 3,
            max_steps: 0,
            batch_size: 8,
            batch_tokens: 0,
            group_by_length: false,
            shuffle: true,
            accumulation: 1,
            learning_rate: 5e-5,
            layer_decay: 1.0,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_gradient_norm: 1.0,
            schedule: Schedule::Linear,
            warmup: 0.0,
            label_smoothing: 0.0,
            class_weights: Vec::new(),
            dropout: None,
            frozen_dropout: false,
            seed: 42,
            max_tokens: 0,
            evaluate: Every::Epoch,
            metric: String::new(),
            patience: 0,
            threshold: 0.0,
            keep_best: true,
            memory: 0,
            cache_memory: 256 << 20,
            cache_file: 8 << 30,
            pretraining: Recipe::default(),
            dev_examples: 0,
            checkpoints: None,
            checkpoint: Every::Epoch,
            keep_checkpoints: 0,
        }
    }
}

impl TrainOptions {
    /// Fails with `InvalidArgument`, naming the option, on what cannot be meant.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |name: &str, value: &dyn std::fmt::Display, expected: &str| {
            Err(Error::argument(format!("{name}: {value}, expected {expected}")))
        };
        let positive = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size as u64),
            ("accumulation", self.accumulation.into()),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| *value == 0) {
            return wrong(name, value, "at least 1");
        }
        let at_least_zero = [
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("epsilon", self.epsilon),
            ("max_gradient_norm", self.max_gradient_norm),
            ("lora.alpha", self.lora.alpha),
        ];
        if let Some((name, value)) = at_least_zero.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return wrong(name, value, "a number of at least 0");
        }
        let below_one = [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("label_smoothing", self.label_smoothing),
            ("dropout", self.dropout.unwrap_or(0.0)),
            ("lora.dropout", self.lora.dropout),
        ];
        if let Some((name, value)) = below_one.iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
            return wrong(name, value, "a number from 0 to below 1");
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            return wrong("layer_decay", &self.layer_decay, "a number above 0 and at most 1");
        }
        if !(self.warmup.is_finite() && self.warmup >= 0.0) {
            return wrong("warmup", &self.warmup, "a number of steps, or a share below 1");
        }
        if self.trainable == Trainable::Lora && self.lora.rank == 0 {
            return wrong("lora.rank", &self.lora.rank, "at least 1");
        }
        if let Some(weight) = self.class_weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            return wrong("class_weights", weight, "numbers of at least 0");
        }
        if !self.head.is_empty() {
            super::super::heads::check_name(&self.head)?;
            if matches!(self.objective.dense_head(), None | Some(HeadPart::NextSentence)) {
                return wrong("head", &self.head, "no name: only classifiers, taggers and span heads have names");
            }
        }
        Ok(())
    }

    /// What of the model trains.
    pub(super) fn scope(&self, config: &Config, schedule: &[usize]) -> Result<Scope> {
        let layers = match self.trainable {
            Trainable::Head | Trainable::Lora => 0,
            Trainable::All | Trainable::Layers => config.layers,
            Trainable::Top(0) => return Err(Error::argument("trainable: the top 0 layers, expected at least 1")),
            Trainable::Top(count) if count > config.layers => {
                return Err(Error::argument(format!("trainable: the top {count} layers of {}", config.layers)));
            }
            Trainable::Top(count) => count,
        };
        let mut groups = schedule[schedule.len() - layers..].to_vec();
        groups.sort_unstable();
        groups.dedup();
        Ok(Scope {
            embeddings: self.trainable == Trainable::All,
            groups,
            adapter: self.trainable == Trainable::Lora,
            pooler: self.objective.is_pooled() && self.trainable != Trainable::Lora,
            heads: self.objective.heads().to_vec(),
        })
    }

    /// The kind of problem that `config.json` names.
    pub(super) fn problem(&self) -> Option<Problem> {
        match self.objective {
            Objective::Classify => Some(Problem::SingleLabel),
            Objective::MultiLabel => Some(Problem::MultiLabel),
            Objective::Regress => Some(Problem::Regression),
            _ => None,
        }
    }

    /// What has to be the same for a training to go on as if it had not stopped.
    pub(super) fn fingerprint(&self) -> Value {
        let Self { lora, .. } = self;
        let mut fingerprint = json!({
            "objective": format!("{:?}", self.objective),
            "head": self.head,
            "trainable": format!("{:?}", self.trainable),
            "lora": [lora.rank, lora.alpha, lora.dropout, lora.targets, lora.rank_stabilized],
            "epochs": self.epochs,
            "max_steps": self.max_steps,
            "batch": [self.batch_size, self.batch_tokens, self.accumulation],
            "order": [self.shuffle, self.group_by_length],
            "learning_rate": [self.learning_rate, self.layer_decay, self.weight_decay],
            "adam": [self.beta1, self.beta2, self.epsilon, self.max_gradient_norm],
            "schedule": format!("{:?}", self.schedule),
            "warmup": self.warmup,
            "loss": [self.label_smoothing, self.class_weights],
            "dropout": [self.dropout, self.frozen_dropout],
            "seed": self.seed,
            "max_tokens": self.max_tokens,
        });
        if self.objective.has_words() {
            let Recipe { masked, unit, short, random_next, renewal } = self.pretraining;
            let (whole, renewed) = (unit == MaskUnit::WholeWord, renewal == Renewal::EveryEpoch);
            fingerprint["pretraining"] = json!([masked, whole, short, random_next, renewed]);
        }
        fingerprint
    }
}
