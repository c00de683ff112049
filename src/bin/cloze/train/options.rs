//! How a training goes: what the arguments say, in the library's terms.

use std::path::PathBuf;

use clap::Args;
use cloze::engine::{Dataset, Every, Labels, LoraOptions, Schedule, TrainOptions};
use cloze::error::{Error, Status};

use crate::examples::Task;
use crate::output::grouped;
use crate::stop::Stop;

use super::places;
use super::values::{EveryArg, Size, Trains, parse_every, parse_size, parse_trains, parse_weights};
use super::watch::Watch;

#[derive(Args, Clone)]
pub struct CourseArgs {
    /// Passes over the examples [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = "Course")]
    epochs: Option<u64>,

    /// Most optimizer steps; without --epochs, as many passes as they take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Course")]
    steps: Option<u64>,

    /// Largest learning rate [default: 5e-5]
    #[arg(long, value_name = "RATE", help_heading = "Course")]
    lr: Option<f32>,

    /// How the learning rate changes: linear, cosine, cosine_with_restarts, polynomial, constant,
    /// constant_with_warmup, inverse_sqrt
    #[arg(long, value_name = "NAME", default_value = "linear", help_heading = "Course")]
    schedule: String,

    /// Steps over which the learning rate rises from 0, or below 1 the share of all steps [default: 0]
    #[arg(long, value_name = "N", help_heading = "Course")]
    warmup: Option<f64>,

    /// Examples to a batch [default: 8; as many as fit with --batch-tokens]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Course")]
    batch: Option<u32>,

    /// Most tokens to a batch [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Course")]
    batch_tokens: Option<u32>,

    /// Put examples of like length into one batch
    #[arg(long, help_heading = "Course")]
    group_by_length: bool,

    /// Batches to an optimizer step [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Course")]
    accumulate: Option<u32>,

    /// Seed of new weights, of the order of examples and of dropout [default: 42]
    #[arg(long, value_name = "N", help_heading = "Course")]
    seed: Option<u64>,

    /// AdamW's decay of weights, not of biases and layer norms [default: 0]
    #[arg(long, value_name = "X", help_heading = "Regularisation")]
    weight_decay: Option<f32>,

    /// Factor on the learning rate from each layer to the one below [default: 1]
    #[arg(long, value_name = "X", help_heading = "Regularisation")]
    layer_decay: Option<f32>,

    /// Largest norm of the gradients, 0 for no limit [default: 1]
    #[arg(long, value_name = "X", help_heading = "Regularisation")]
    clip: Option<f32>,

    /// Probability of dropout [default: those in config.json]
    #[arg(long, value_name = "P", help_heading = "Regularisation")]
    dropout: Option<f32>,

    /// Run frozen layers with dropout in every epoch, as HuggingFace does, instead of once without
    #[arg(long, help_heading = "Regularisation")]
    frozen_dropout: bool,
}

/// How labels count.
#[derive(Args)]
pub struct LabelArgs {
    /// Share of the target that is spread over all labels [default: 0]
    #[arg(long, value_name = "X", help_heading = "Regularisation")]
    label_smoothing: Option<f32>,

    /// How much examples of a label count: spam=2,ham=0.5; others count 1
    #[arg(long, value_name = "LIST", value_parser = parse_weights, help_heading = "Regularisation")]
    class_weights: Option<Weights>,
}

/// Labels and their weights.
type Weights = Vec<(String, f32)>;

/// Where a run that was ended goes on.
#[derive(Args, Clone)]
pub struct CheckpointArgs {
    /// Folder for checkpoints, from which a run goes on that was ended
    #[arg(long, value_name = "DIR", help_heading = "Checkpoints")]
    pub checkpoints: Option<PathBuf>,

    /// When: epoch, or every N steps [default: epoch]
    #[arg(long, value_name = "WHEN", value_parser = parse_every, requires = "checkpoints", help_heading = "Checkpoints")]
    checkpoint_every: Option<EveryArg>,

    /// Checkpoints kept: the newest N and the best [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "checkpoints",
          help_heading = "Checkpoints")]
    keep_checkpoints: Option<u32>,

    /// Go on from the newest checkpoint, if there is one
    #[arg(long, requires = "checkpoints", help_heading = "Checkpoints")]
    pub resume: bool,
}

impl CheckpointArgs {
    /// The checkpoint to go on from.
    pub fn begin(&self) -> Result<Option<PathBuf>, Stop> {
        let folder = self.checkpoints.as_deref();
        Ok(folder.map(|folder| places::checkpoint(folder, self.resume)).transpose()?.flatten())
    }

    /// What is kept of a training that ended with `error`, for its message.
    pub fn kept(&self, error: Error, watch: &Watch) -> Error {
        let what = match (error.status(), watch.last()) {
            (Status::Cancelled, Some(last)) => format!("stopped after step {} of {}", last.step, watch.total()),
            (Status::Cancelled, None) => "stopped before the first step".to_owned(),
            (_, Some(_)) => error.message().to_owned(),
            (_, None) => return error,
        };
        let newest = self.checkpoints.as_deref().and_then(|folder| places::newest(folder).ok()?);
        let kept = match newest {
            Some(folder) => format!("{} is kept, --resume goes on from it", folder.display()),
            None => "nothing is saved".to_owned(),
        };
        Error::new(error.status(), format!("{what}; {kept}"))
    }

    /// Says where a training begins that is to go on from step `step`.
    pub fn introduce(&self, step: u64, watch: &mut Watch) {
        match (&self.checkpoints, step) {
            (Some(folder), 0) if self.resume => {
                watch.say(format!("no checkpoint in {}: begins at step 0", folder.display()));
            }
            (_, step) if step > 0 => watch.say(format!("goes on from step {}", grouped(step))),
            _ => {}
        }
    }

    pub fn put(&self, options: &mut TrainOptions) {
        options.checkpoints.clone_from(&self.checkpoints);
        options.checkpoint = self.checkpoint_every.map_or(Every::Epoch, |when| when.0);
        options.keep_checkpoints = self.keep_checkpoints.map_or(0, |count| count as usize);
    }
}

#[derive(Args)]
pub struct HeadArgs {
    /// What learns: head, the head alone; top:N, the top N layers too; all, everything with the embeddings; layers,
    /// everything but them; lora:R, pairs of rank R beside the layers
    #[arg(long, value_name = "WHAT", value_parser = parse_trains, default_value = "all", help_heading = "What learns")]
    trainable: Trains,

    /// Labels by their numbers: a,b,c [default: those of the examples, sorted]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "What learns")]
    labels: Vec<String>,

    /// Name of a head beside the folder's own, new or there already
    #[arg(long, value_name = "NAME", help_heading = "What learns")]
    head: Option<String>,

    /// Begin with a new head even where the folder has one with these labels
    #[arg(long, help_heading = "What learns")]
    fresh_head: bool,

    /// Most tokens of a text, special ones included; longer texts are cut [default: what the model allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "What learns")]
    max_tokens: Option<u32>,

    /// Alpha of lora: pairs count alpha / R [default: 8]
    #[arg(long, value_name = "X", help_heading = "What learns")]
    lora_alpha: Option<f32>,

    /// Probability of dropout before the pairs of lora [default: 0]
    #[arg(long, value_name = "P", help_heading = "What learns")]
    lora_dropout: Option<f32>,

    /// Modules with pairs of lora: ends of their names, or all-linear [default: query,value]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "What learns")]
    lora_targets: Vec<String>,
}

#[derive(Args, Clone)]
pub struct EvaluationArgs {
    /// When the examples of --dev are evaluated: epoch, or every N steps [default: epoch]
    #[arg(long, value_name = "WHEN", value_parser = parse_every, requires = "dev", help_heading = "Evaluation")]
    eval_every: Option<EveryArg>,

    /// Metric that decides what is best [default: accuracy, f1, micro_f1, spearman: the task's own]
    #[arg(long, value_name = "NAME", requires = "dev", help_heading = "Evaluation")]
    metric: Option<String>,

    /// Stop after N evaluations without improvement [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "dev",
          help_heading = "Evaluation")]
    patience: Option<u32>,

    /// Save the last parameters, not those of the best evaluation
    #[arg(long, help_heading = "Evaluation")]
    no_keep_best: bool,
}

#[derive(Args, Clone)]
pub struct MemoryArgs {
    /// Most memory beside the mapped weights: 300MB; what does not fit is refused [default: no limit, with CUDA what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Memory")]
    memory: Option<Size>,

    /// Memory for what frozen layers give, which is computed once [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Memory")]
    cache_memory: Option<Size>,

    /// Scratch file for what does not fit there [default: 8GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Memory")]
    cache_file: Option<Size>,
}

impl HeadArgs {
    pub fn trains(&self) -> Trains {
        self.trainable
    }

    pub fn is_fresh(&self) -> bool {
        self.fresh_head
    }

    pub fn max_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    /// An option that was given, of those that only files of examples need.
    pub fn given_for_labels(&self) -> Option<&'static str> {
        let given = [
            (!self.labels.is_empty(), "--labels"),
            (self.head.is_some(), "--head"),
            (self.lora_alpha.is_some(), "--lora-alpha"),
            (self.lora_dropout.is_some(), "--lora-dropout"),
            (!self.lora_targets.is_empty(), "--lora-targets"),
        ];
        given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
    }

    fn put(&self, options: &mut TrainOptions) -> Result<(), Stop> {
        self.trainable.set(options);
        let own = options.lora.clone();
        match self.trainable {
            Trains::Lora(_) => {
                options.lora = LoraOptions {
                    alpha: self.lora_alpha.unwrap_or(own.alpha),
                    dropout: self.lora_dropout.unwrap_or(own.dropout),
                    targets: self.lora_targets.clone(),
                    ..own
                };
            }
            _ if self.lora_alpha.is_some() || self.lora_dropout.is_some() || !self.lora_targets.is_empty() => {
                return Err(Stop::usage("--lora-alpha, --lora-dropout and --lora-targets go with --trainable lora:R"));
            }
            _ => {}
        }
        options.labels.clone_from(&self.labels);
        options.head = self.head.clone().unwrap_or_default();
        options.fresh_head = self.fresh_head;
        options.max_tokens = self.max_tokens.map_or(0, |most| most as usize);
        Ok(())
    }
}

impl CourseArgs {
    pub fn put(&self, options: &mut TrainOptions) -> Result<(), Stop> {
        let own = TrainOptions::default();
        options.max_steps = self.steps.unwrap_or(0);
        options.epochs = self.epochs.or(self.steps).unwrap_or(own.epochs);
        options.learning_rate = self.lr.unwrap_or(own.learning_rate);
        let schedule = Schedule::named(&self.schedule, f64::from(options.learning_rate));
        options.schedule = schedule.map_err(|error| Stop::usage(format!("--schedule: {error}")))?;
        options.warmup = self.warmup.unwrap_or(own.warmup);
        options.batch_tokens = self.batch_tokens.map_or(0, |tokens| tokens as usize);
        // an example has at least one token
        options.batch_size = self.batch.or(self.batch_tokens).map_or(own.batch_size, |size| size as usize);
        options.group_by_length = self.group_by_length;
        options.accumulation = self.accumulate.unwrap_or(own.accumulation);
        options.seed = self.seed.unwrap_or(own.seed);
        options.weight_decay = self.weight_decay.unwrap_or(own.weight_decay);
        options.layer_decay = self.layer_decay.unwrap_or(own.layer_decay);
        options.max_gradient_norm = self.clip.unwrap_or(own.max_gradient_norm);
        options.dropout = self.dropout;
        options.frozen_dropout = self.frozen_dropout;
        Ok(())
    }
}

impl LabelArgs {
    /// An option that was given.
    pub fn given(&self) -> Option<&'static str> {
        match (self.label_smoothing, &self.class_weights) {
            (Some(_), _) => Some("--label-smoothing"),
            (_, Some(_)) => Some("--class-weights"),
            _ => None,
        }
    }

    /// The weights by the numbers of the labels, which are those given or else those of `train`.
    fn weights(&self, labels: &[String], train: &Dataset) -> Result<Vec<f32>, Stop> {
        let Some(given) = &self.class_weights else { return Ok(Vec::new()) };
        let labels = if labels.is_empty() { Labels::find(train)? } else { Labels::new(labels.to_vec())? };
        let mut weights = vec![1.0; labels.len()];
        for (name, weight) in given {
            weights[labels.id(name).map_err(|error| error.within("--class-weights"))?] = *weight;
        }
        Ok(weights)
    }
}

impl EvaluationArgs {
    /// Whether the best parameters are saved.
    pub fn keeps_best(&self) -> bool {
        !self.no_keep_best
    }

    pub fn put(&self, options: &mut TrainOptions) {
        options.evaluate = self.eval_every.map_or(Every::Epoch, |when| when.0);
        options.metric = self.metric.clone().unwrap_or_default();
        options.patience = self.patience.unwrap_or(0);
        options.keep_best = !self.no_keep_best;
    }
}

impl MemoryArgs {
    pub fn put(&self, options: &mut TrainOptions) {
        let own = TrainOptions::default();
        options.memory = self.memory.map_or(own.memory, |size| size.0);
        options.cache_memory = self.cache_memory.map_or(own.cache_memory, |size| size.0);
        options.cache_file = self.cache_file.map_or(own.cache_file, |size| size.0);
    }
}

/// The options of a training of `task` on `train`.
pub fn options(
    task: Task,
    train: &Dataset,
    course: &CourseArgs,
    labels: &LabelArgs,
    head: &HeadArgs,
    evaluation: &EvaluationArgs,
    memory: &MemoryArgs,
) -> Result<TrainOptions, Stop> {
    let mut options = TrainOptions { objective: task.objective()?, ..TrainOptions::default() };
    head.put(&mut options)?;
    course.put(&mut options)?;
    evaluation.put(&mut options);
    memory.put(&mut options);
    options.label_smoothing = labels.label_smoothing.unwrap_or(options.label_smoothing);
    options.class_weights = labels.weights(&options.labels, train)?;
    Ok(options)
}

/// What the report tells of the options: names and values.
pub fn facts(options: &TrainOptions) -> Vec<(&'static str, String)> {
    let TrainOptions { batch_size, batch_tokens, accumulation, .. } = options;
    let mut facts = vec![("learning rate", format!("{:e}, {}", options.learning_rate, options.schedule.name()))];
    if options.warmup > 0.0 {
        let of = if options.warmup < 1.0 { "of all steps" } else { "steps" };
        facts.push(("warm-up", format!("{} {of}", options.warmup)));
    }
    let mut batch = match batch_tokens {
        0 => format!("{batch_size} examples"),
        // without a number of its own, a batch may have an example for every token
        tokens if tokens == batch_size => format!("at most {tokens} tokens"),
        tokens => format!("at most {batch_size} examples and {tokens} tokens"),
    };
    if *accumulation > 1 {
        batch += &format!(", {accumulation} batches to a step");
    }
    facts.push(("batch", batch));
    facts.push(("epochs", options.epochs.to_string()));
    let numbers = [
        ("weight decay", options.weight_decay, 0.0),
        ("layer decay", options.layer_decay, 1.0),
        ("gradient clipping", options.max_gradient_norm, 0.0),
        ("label smoothing", options.label_smoothing, 0.0),
    ];
    facts.extend(numbers.iter().filter(|(_, value, plain)| value != plain).map(|(n, v, _)| (*n, v.to_string())));
    if !options.class_weights.is_empty() {
        let weights: Vec<String> = options.class_weights.iter().map(f32::to_string).collect();
        facts.push(("class weights", weights.join(", ")));
    }
    if let Some(dropout) = options.dropout {
        facts.push(("dropout", dropout.to_string()));
    }
    facts.push(("seed", options.seed.to_string()));
    facts
}
