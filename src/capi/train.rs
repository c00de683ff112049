//! 14  Train: what is asked for

use std::ffi::c_char;

use super::inputs::{array, c_strings, index, optional_string, path_of};
use super::options::{Sized32, choice, read};
use crate::engine::{Every, LoraOptions, MaskUnit, Objective, Recipe, Renewal, Schedule, TrainOptions, Trainable};
use crate::error::{Error, Result};

pub const CLOZE_OBJECTIVE_CLASSIFY: u32 = 1;
pub const CLOZE_OBJECTIVE_MULTI_LABEL: u32 = 2;
pub const CLOZE_OBJECTIVE_REGRESS: u32 = 3;
pub const CLOZE_OBJECTIVE_TAG: u32 = 4;
pub const CLOZE_OBJECTIVE_ANSWER: u32 = 5;
pub const CLOZE_OBJECTIVE_MASKED_LM: u32 = 6;
pub const CLOZE_OBJECTIVE_NEXT_SENTENCE: u32 = 7;
pub const CLOZE_OBJECTIVE_PRETRAINING: u32 = 8;
pub const CLOZE_OBJECTIVE_CAUSAL_LM: u32 = 9;

/// By their numbers in C; 0 is what the call says.
pub(super) const OBJECTIVES: [Option<Objective>; 10] = [
    None,
    Some(Objective::Classify),
    Some(Objective::MultiLabel),
    Some(Objective::Regress),
    Some(Objective::Tag),
    Some(Objective::Span),
    Some(Objective::MaskedLm),
    Some(Objective::NextSentence),
    Some(Objective::Pretraining),
    Some(Objective::CausalLm),
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
pub const CLOZE_TRAIN_WHOLE_WORDS: u32 = 32;
pub const CLOZE_TRAIN_SAME_MASKS: u32 = 64;
pub const CLOZE_TRAIN_UNIGRAM_BIAS: u32 = 128;

const SWITCHES: u32 = CLOZE_TRAIN_FRESH_HEAD
    | CLOZE_TRAIN_KEEP_LAST
    | CLOZE_TRAIN_FROZEN_DROPOUT
    | CLOZE_TRAIN_RANK_STABILIZED
    | CLOZE_TRAIN_NO_SCRATCH_FILE
    | CLOZE_TRAIN_WHOLE_WORDS
    | CLOZE_TRAIN_SAME_MASKS
    | CLOZE_TRAIN_UNIGRAM_BIAS;

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
    pub masked: f64,
    pub short_examples: f64,
    pub random_next: f64,
    pub dev_examples: u64,
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
            unigram_bias: is_on(CLOZE_TRAIN_UNIGRAM_BIAS),
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
            pretraining: own.recipe(is_on(CLOZE_TRAIN_WHOLE_WORDS), is_on(CLOZE_TRAIN_SAME_MASKS)),
            dev_examples: usize::try_from(own.dev_examples).unwrap_or(usize::MAX),
            checkpoints,
            checkpoint: every(own.checkpoint_every),
            keep_checkpoints: index(own.keep_checkpoints),
        })
    }

    fn recipe(&self, whole_words: bool, same_masks: bool) -> Recipe {
        let usual = Recipe::default();
        let share = |own: f64, usual: f64| match own {
            0.0 => usual,
            own => own.max(0.0),
        };
        Recipe {
            masked: share(self.masked, usual.masked),
            unit: if whole_words { MaskUnit::WholeWord } else { MaskUnit::Token },
            short: share(self.short_examples, usual.short),
            random_next: share(self.random_next, usual.random_next),
            renewal: if same_masks { Renewal::Never } else { Renewal::EveryEpoch },
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::ptr::null;

    fn zeros() -> cloze_train_options {
        // SAFETY: zeros are valid by the trait.
        cloze_train_options { size: size_of::<cloze_train_options>() as u32, ..unsafe { std::mem::zeroed() } }
    }

    fn taken(options: &cloze_train_options) -> Result<TrainOptions> {
        // SAFETY: a live local whose pointers are NULL or live.
        unsafe { cloze_train_options::take(options) }
    }

    #[test]
    fn zeros_are_the_defaults() {
        assert_eq!(taken(&zeros()).unwrap(), TrainOptions::default());
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { cloze_train_options::take(null()) }.unwrap(), TrainOptions::default());
    }

    #[test]
    fn every_field_arrives() {
        let (labels, targets) = ([c"a".as_ptr(), c"b".as_ptr()], [c"query".as_ptr()]);
        let own = cloze_train_options {
            objective: CLOZE_OBJECTIVE_TAG,
            trainable: CLOZE_TRAINABLE_TOP,
            layers: 3,
            switches: SWITCHES,
            max_tokens: 4,
            epochs: 5,
            order: CLOZE_ORDER_BY_LENGTH,
            batch_size: 6,
            batch_tokens: 7,
            accumulation: 8,
            schedule: CLOZE_SCHEDULE_COSINE_WITH_RESTARTS,
            schedule_cycles: 9,
            patience: 10,
            keep_checkpoints: 11,
            lora_rank: 12,
            lora_alpha: 13.0,
            lora_dropout: 0.14,
            learning_rate: 0.15,
            layer_decay: 0.16,
            weight_decay: 0.17,
            beta1: 0.18,
            beta2: 0.19,
            epsilon: 0.20,
            max_gradient_norm: 21.0,
            dropout: 0.22,
            label_smoothing: 0.23,
            warmup: 0.24,
            threshold: 0.25,
            max_steps: 26,
            seed: 27,
            evaluate_every: 28,
            checkpoint_every: 29,
            memory: 30,
            cache_memory: 31,
            cache_file: 32,
            head: c"head".as_ptr(),
            metric: c"metric".as_ptr(),
            checkpoints: c"folder".as_ptr(),
            labels: labels.as_ptr(),
            label_count: 2,
            class_weights: [0.5, 2.0].as_ptr(),
            class_weight_count: 2,
            lora_targets: targets.as_ptr(),
            lora_target_count: 1,
            masked: 0.33,
            short_examples: -1.0,
            random_next: 0.34,
            dev_examples: 35,
            ..zeros()
        };
        let expected = TrainOptions {
            objective: Objective::Tag,
            labels: vec!["a".to_owned(), "b".to_owned()],
            head: "head".to_owned(),
            fresh_head: true,
            unigram_bias: true,
            trainable: Trainable::Top(3),
            lora: LoraOptions {
                rank: 12,
                alpha: 13.0,
                dropout: 0.14,
                targets: vec!["query".to_owned()],
                rank_stabilized: true,
            },
            epochs: 5,
            max_steps: 26,
            batch_size: 6,
            batch_tokens: 7,
            group_by_length: true,
            shuffle: true,
            accumulation: 8,
            learning_rate: 0.15,
            layer_decay: 0.16,
            weight_decay: 0.17,
            beta1: 0.18,
            beta2: 0.19,
            epsilon: 0.20,
            max_gradient_norm: 21.0,
            schedule: Schedule::CosineWithRestarts { cycles: 9 },
            warmup: 0.24,
            label_smoothing: 0.23,
            class_weights: vec![0.5, 2.0],
            dropout: Some(0.22),
            frozen_dropout: true,
            seed: 27,
            max_tokens: 4,
            evaluate: Every::Steps(28),
            metric: "metric".to_owned(),
            patience: 10,
            threshold: 0.25,
            keep_best: false,
            memory: 30,
            cache_memory: 31,
            cache_file: 0,
            pretraining: Recipe {
                masked: 0.33,
                unit: MaskUnit::WholeWord,
                short: 0.0,
                random_next: 0.34,
                renewal: Renewal::Never,
            },
            dev_examples: 35,
            checkpoints: Some(PathBuf::from("folder")),
            checkpoint: Every::Steps(29),
            keep_checkpoints: 11,
        };
        assert_eq!(taken(&own).unwrap(), expected);
        let scratch = cloze_train_options { switches: 0, ..own };
        assert_eq!(taken(&scratch).unwrap().cache_file, 32);
    }

    #[test]
    fn zeros_that_mean_zero_are_numbers_below_it() {
        let none = cloze_train_options { beta1: -1.0, beta2: -1.0, max_gradient_norm: -1.0, dropout: -1.0, ..zeros() };
        let expected = TrainOptions {
            beta1: 0.0,
            beta2: 0.0,
            max_gradient_norm: 0.0,
            dropout: Some(0.0),
            ..TrainOptions::default()
        };
        assert_eq!(taken(&none).unwrap(), expected);
    }

    #[test]
    fn every_schedule_has_its_number() {
        let schedule = |schedule| taken(&cloze_train_options { schedule, ..zeros() }).map(|taken| taken.schedule);
        let names = ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"];
        for (number, name) in names.into_iter().chain(["inverse_sqrt"]).enumerate() {
            let named = Schedule::named(name, f64::from(TrainOptions::default().learning_rate));
            assert_eq!(schedule(number as u32).unwrap(), named.unwrap(), "{name}");
        }
        assert!(schedule(7).is_err());
        // Batches by tokens alone have as many examples as fit.
        let tokens = taken(&cloze_train_options { batch_tokens: 512, ..zeros() }).unwrap();
        assert_eq!((tokens.batch_size, tokens.batch_tokens), (index(u32::MAX), 512));
    }
}
