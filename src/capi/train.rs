//! 14  Train: what is asked for

use std::ffi::c_char;

use super::inputs::{array, c_strings, index, optional_string, path_of};
use super::options::{Sized32, choice, read};
use crate::engine::{Every, LoraOptions, Objective, Schedule, TrainOptions, Trainable};
use crate::error::{Error, Result};

pub const CLOZE_OBJECTIVE_CLASSIFY: u32 = 1;
pub const CLOZE_OBJECTIVE_MULTI_LABEL: u32 = 2;
pub const CLOZE_OBJECTIVE_REGRESS: u32 = 3;
pub const CLOZE_OBJECTIVE_TAG: u32 = 4;
pub const CLOZE_OBJECTIVE_ANSWER: u32 = 5;
pub const CLOZE_OBJECTIVE_MASKED_LM: u32 = 6;
pub const CLOZE_OBJECTIVE_NEXT_SENTENCE: u32 = 7;

/// By their numbers in C; 0 is what the call says.
pub(super) const OBJECTIVES: [Option<Objective>; 8] = [
    None,
    Some(Objective::Classify),
    Some(Objective::MultiLabel),
    Some(Objective::Regress),
    Some(Objective::Tag),
    Some(Objective::Span),
    Some(Objective::MaskedLm),
    Some(Objective::NextSentence),
];

pub const CLOZE_TRAINABLE_ALL: u32 = 0;
pub const CLOZE_TRAINABLE_LAYERS: u32 = 1;
pub const CLOZE_TRAINABLE_TOP: u32 = 2;
pub const CLOZE_TRAINABLE_HEAD: u32 = 3;
pub const CLOZE_TRAINABLE_LORA: u32 = 4;

pub const CLOZE_ORDER_SHUFFLED: u32 = 0;
pub const CLOZE_ORDER_GIVEN: u32 = 1;
pub const CLOZE_ORDER_BY_LENGTH: u32 = 2;

/// By their numbers in C: whether examples are shuffled, and whether they are grouped by length.
const ORDERS: [(bool, bool); 3] = [(true, false), (false, false), (true, true)];

pub const CLOZE_SCHEDULE_LINEAR: u32 = 0;
pub const CLOZE_SCHEDULE_COSINE: u32 = 1;
pub const CLOZE_SCHEDULE_COSINE_WITH_RESTARTS: u32 = 2;
pub const CLOZE_SCHEDULE_POLYNOMIAL: u32 = 3;
pub const CLOZE_SCHEDULE_CONSTANT: u32 = 4;
pub const CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP: u32 = 5;
pub const CLOZE_SCHEDULE_INVERSE_SQRT: u32 = 6;

pub const CLOZE_TRAIN_FRESH_HEAD: u32 = 1;
pub const CLOZE_TRAIN_KEEP_LAST: u32 = 2;
pub const CLOZE_TRAIN_FROZEN_DROPOUT: u32 = 4;
pub const CLOZE_TRAIN_RANK_STABILIZED: u32 = 8;
pub const CLOZE_TRAIN_NO_SCRATCH_FILE: u32 = 16;

const SWITCHES: u32 = CLOZE_TRAIN_FRESH_HEAD
    | CLOZE_TRAIN_KEEP_LAST
    | CLOZE_TRAIN_FROZEN_DROPOUT
    | CLOZE_TRAIN_RANK_STABILIZED
    | CLOZE_TRAIN_NO_SCRATCH_FILE;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_train_options {
    pub size: u32,
    pub objective: u32,
    pub trainable: u32,
    pub layers: u32,
    pub switches: u32,
    pub max_tokens: u32,
    pub epochs: u32,
    pub order: u32,
    pub batch_size: u32,
    pub batch_tokens: u32,
    pub accumulation: u32,
    pub schedule: u32,
    pub schedule_cycles: u32,
    pub schedule_power: f32,
    pub patience: u32,
    pub keep_checkpoints: u32,
    pub lora_rank: u32,
    pub lora_alpha: f32,
    pub lora_dropout: f32,
    pub learning_rate: f32,
    pub layer_decay: f32,
    pub weight_decay: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub max_gradient_norm: f32,
    pub dropout: f32,
    pub label_smoothing: f32,
    pub schedule_end: f64,
    pub warmup: f64,
    pub threshold: f64,
    pub max_steps: u64,
    pub seed: u64,
    pub evaluate_every: u64,
    pub checkpoint_every: u64,
    pub memory: u64,
    pub cache_memory: u64,
    pub cache_file: u64,
    pub head: *const c_char,
    pub metric: *const c_char,
    pub checkpoints: *const c_char,
    pub labels: *const *const c_char,
    pub label_count: usize,
    pub class_weights: *const f32,
    pub class_weight_count: usize,
    pub lora_targets: *const *const c_char,
    pub lora_target_count: usize,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are numbers and raw pointers.
unsafe impl Sized32 for cloze_train_options {
    const NAME: &'static str = "cloze_train_options";
}

impl cloze_train_options {
    /// What is asked for, zeros replaced by what they stand for.
    ///
    /// # Safety
    ///
    /// The header's promise for `options` and the pointers in it.
    pub(super) unsafe fn take(options: *const Self) -> Result<TrainOptions> {
        // SAFETY: the caller's promise.
        let own = unsafe { read(options) }?;
        let usual = TrainOptions::default();
        let objective = choice("cloze_train_options.objective", own.objective, &OBJECTIVES)?;
        let (shuffle, group_by_length) = choice("cloze_train_options.order", own.order, &ORDERS)?;
        if own.switches & !SWITCHES != 0 {
            let (unknown, switches) = (own.switches & !SWITCHES, own.switches);
            let what = format!("cloze_train_options.switches: unknown bits {unknown:#x} in {switches:#x}");
            return Err(Error::argument(what));
        }
        let is_on = |switch: u32| own.switches & switch != 0;
        // SAFETY: the caller's promise for the strings and lists, each of which may be NULL.
        let (head, metric, checkpoints, labels, class_weights) = unsafe {
            (
                optional_string("cloze_train_options.head", own.head)?,
                optional_string("cloze_train_options.metric", own.metric)?,
                if own.checkpoints.is_null() {
                    None
                } else {
                    Some(path_of("cloze_train_options.checkpoints", own.checkpoints)?.to_owned())
                },
                c_strings("cloze_train_options.labels", own.labels, own.label_count)?,
                array("cloze_train_options.class_weights", own.class_weights, own.class_weight_count)?.to_vec(),
            )
        };
        Ok(TrainOptions {
            objective: objective.unwrap_or(usual.objective),
            labels,
            head: head.unwrap_or_default().to_owned(),
            fresh_head: is_on(CLOZE_TRAIN_FRESH_HEAD),
            trainable: own.trainable()?,
            // SAFETY: the caller's promise.
            lora: unsafe { own.lora(is_on(CLOZE_TRAIN_RANK_STABILIZED)) }?,
            epochs: or(own.epochs.into(), usual.epochs),
            max_steps: own.max_steps,
            batch_size: match (own.batch_size, own.batch_tokens) {
                (0, 0) => usual.batch_size,
                (0, _) => index(u32::MAX),
                (examples, _) => index(examples),
            },
            batch_tokens: index(own.batch_tokens),
            group_by_length,
            shuffle,
            accumulation: or(own.accumulation, usual.accumulation),
            learning_rate: or(own.learning_rate, usual.learning_rate),
            layer_decay: or(own.layer_decay, usual.layer_decay),
            weight_decay: own.weight_decay,
            beta1: or_none(own.beta1, usual.beta1),
            beta2: or_none(own.beta2, usual.beta2),
            epsilon: or(own.epsilon, usual.epsilon),
            max_gradient_norm: or_none(own.max_gradient_norm, usual.max_gradient_norm),
            schedule: own.schedule(or(own.learning_rate, usual.learning_rate))?,
            warmup: own.warmup,
            label_smoothing: own.label_smoothing,
            class_weights,
            dropout: if own.dropout == 0.0 { usual.dropout } else { Some(or_none(own.dropout, 0.0)) },
            frozen_dropout: is_on(CLOZE_TRAIN_FROZEN_DROPOUT),
            seed: or(own.seed, usual.seed),
            max_tokens: index(own.max_tokens),
            evaluate: every(own.evaluate_every),
            metric: metric.unwrap_or_default().to_owned(),
            patience: own.patience,
            threshold: own.threshold,
            keep_best: !is_on(CLOZE_TRAIN_KEEP_LAST),
            memory: own.memory,
            cache_memory: or(own.cache_memory, usual.cache_memory),
            cache_file: if is_on(CLOZE_TRAIN_NO_SCRATCH_FILE) { 0 } else { or(own.cache_file, usual.cache_file) },
            checkpoints,
            checkpoint: every(own.checkpoint_every),
            keep_checkpoints: index(own.keep_checkpoints),
        })
    }

    fn schedule(&self, learning_rate: f32) -> Result<Schedule> {
        match self.schedule {
            CLOZE_SCHEDULE_LINEAR => Ok(Schedule::Linear),
            CLOZE_SCHEDULE_COSINE => Ok(Schedule::Cosine),
            CLOZE_SCHEDULE_COSINE_WITH_RESTARTS => {
                Ok(Schedule::CosineWithRestarts { cycles: or(self.schedule_cycles, 1) })
            }
            CLOZE_SCHEDULE_POLYNOMIAL => {
                let power = f64::from(or(self.schedule_power, 1.0));
                Schedule::polynomial(power, or(self.schedule_end, 1e-7), f64::from(learning_rate))
            }
            CLOZE_SCHEDULE_CONSTANT => Ok(Schedule::Constant),
            CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP => Ok(Schedule::ConstantWithWarmup),
            CLOZE_SCHEDULE_INVERSE_SQRT => Ok(Schedule::InverseSqrt),
            other => Err(Error::argument(format!("cloze_train_options.schedule: {other}, expected 0 to 6"))),
        }
    }

    fn trainable(&self) -> Result<Trainable> {
        let all =
            [Trainable::All, Trainable::Layers, Trainable::Top(index(self.layers)), Trainable::Head, Trainable::Lora];
        let trainable = choice("cloze_train_options.trainable", self.trainable, &all)?;
        match (trainable, self.layers) {
            (Trainable::Top(_), _) | (_, 0) => Ok(trainable),
            (_, layers) => Err(Error::argument(format!(
                "cloze_train_options.layers: {layers}, but trainable is not CLOZE_TRAINABLE_TOP"
            ))),
        }
    }

    /// # Safety
    ///
    /// The header's promise for the pointers.
    unsafe fn lora(&self, rank_stabilized: bool) -> Result<LoraOptions> {
        let usual = LoraOptions::default();
        Ok(LoraOptions {
            rank: or(index(self.lora_rank), usual.rank),
            alpha: or(self.lora_alpha, usual.alpha),
            dropout: self.lora_dropout,
            // SAFETY: the caller's promise.
            targets: unsafe {
                c_strings("cloze_train_options.lora_targets", self.lora_targets, self.lora_target_count)
            }?,
            rank_stabilized,
        })
    }
}

/// A zero is the usual value.
fn or<T: Default + PartialEq>(value: T, usual: T) -> T {
    if value == T::default() { usual } else { value }
}

/// A zero is the usual value, and what is below stands for a zero.
fn or_none(value: f32, usual: f32) -> f32 {
    if value < 0.0 { 0.0 } else { or(value, usual) }
}

/// A number of steps, or 0 for each epoch.
fn every(steps: u64) -> Every {
    if steps == 0 { Every::Epoch } else { Every::Steps(steps) }
}
