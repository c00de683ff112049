//! Datasets and trainers through the C ABI.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use cloze::capi::*;
use cloze::engine::{
    DType, Every, Example, ExampleInput, Input, Kind, Objective, Schedule, Target, TrainOptions, Trainable,
};
use libloading::Library as Loaded;
use serde_json::Value;

use super::{C, Handle, answer, convert, defaults, record, sized, string, symbol};
use crate::ways::Answer;
use crate::ways::training::{Fit, Learning, Metrics, News, Observer, Standing};

pub struct Data<'a> {
    library: &'a Loaded,
    dataset: *mut cloze_dataset,
}

pub struct Trainer<'a> {
    library: &'a Loaded,
    trainer: *mut cloze_trainer,
}

impl Drop for Data<'_> {
    fn drop(&mut self) {
        let free = exported!(self.library, cloze_dataset_free(_));
        // SAFETY: made by this library and freed once.
        unsafe { free(self.dataset) };
    }
}

impl Drop for Trainer<'_> {
    fn drop(&mut self) {
        let free = exported!(self.library, cloze_trainer_free(_));
        // SAFETY: made by this library and freed once.
        unsafe { free(self.trainer) };
    }
}

/// Strings of C, and pointers to them.
struct Strings {
    _own: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    fn new(strings: &[String]) -> Self {
        let own: Vec<CString> = strings.iter().map(|string| CString::new(string.as_str()).unwrap()).collect();
        let pointers = own.iter().map(|string| string.as_ptr()).collect();
        Self { _own: own, pointers }
    }

    fn pointer(&self) -> *const *const c_char {
        if self.pointers.is_empty() { null() } else { self.pointers.as_ptr() }
    }
}

fn path_string(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn objective_number(objective: Objective) -> u32 {
    match objective {
        Objective::Classify => CLOZE_OBJECTIVE_CLASSIFY,
        Objective::MultiLabel => CLOZE_OBJECTIVE_MULTI_LABEL,
        Objective::Regress => CLOZE_OBJECTIVE_REGRESS,
        Objective::Tag => CLOZE_OBJECTIVE_TAG,
        Objective::Span => CLOZE_OBJECTIVE_ANSWER,
        Objective::MaskedLm => CLOZE_OBJECTIVE_MASKED_LM,
        Objective::NextSentence => CLOZE_OBJECTIVE_NEXT_SENTENCE,
        Objective::CausalLm => CLOZE_OBJECTIVE_CAUSAL_LM,
        Objective::Pretraining => panic!("no dataset has targets for it"),
    }
}

/// A number whose zero is asked for by a number below it.
fn zero_below(value: f32) -> f32 {
    if value == 0.0 { -1.0 } else { value }
}

fn every(every: Every) -> u64 {
    match every {
        Every::Steps(steps) => steps,
        Every::Epoch => 0,
        Every::Never => panic!("C has no word for it"),
    }
}

/// Options as C takes them; the strings have to outlive them.
fn options(own: &TrainOptions, labels: &Strings, targets: &Strings, strings: &[CString; 3]) -> cloze_train_options {
    let (trainable, layers) = match own.trainable {
        Trainable::All => (CLOZE_TRAINABLE_ALL, 0),
        Trainable::Layers => (CLOZE_TRAINABLE_LAYERS, 0),
        Trainable::Top(layers) => (CLOZE_TRAINABLE_TOP, layers as u32),
        Trainable::Head => (CLOZE_TRAINABLE_HEAD, 0),
        Trainable::Lora => (CLOZE_TRAINABLE_LORA, 0),
    };
    let switch = |on: bool, bit: u32| if on { bit } else { 0 };
    let [head, metric, checkpoints] =
        strings.each_ref().map(|string| if string.is_empty() { null() } else { string.as_ptr() });
    cloze_train_options {
        objective: objective_number(own.objective),
        trainable,
        layers,
        switches: switch(own.fresh_head, CLOZE_TRAIN_FRESH_HEAD)
            | switch(!own.keep_best, CLOZE_TRAIN_KEEP_LAST)
            | switch(own.frozen_dropout, CLOZE_TRAIN_FROZEN_DROPOUT)
            | switch(own.lora.rank_stabilized, CLOZE_TRAIN_RANK_STABILIZED)
            | switch(own.cache_file == 0, CLOZE_TRAIN_NO_SCRATCH_FILE),
        max_tokens: own.max_tokens as u32,
        epochs: own.epochs as u32,
        order: match (own.shuffle, own.group_by_length) {
            (true, false) => CLOZE_ORDER_SHUFFLED,
            (true, true) => CLOZE_ORDER_BY_LENGTH,
            _ => CLOZE_ORDER_GIVEN,
        },
        batch_size: own.batch_size as u32,
        batch_tokens: own.batch_tokens as u32,
        accumulation: own.accumulation,
        schedule: match own.schedule {
            Schedule::Linear => CLOZE_SCHEDULE_LINEAR,
            Schedule::Cosine => CLOZE_SCHEDULE_COSINE,
            Schedule::Constant => CLOZE_SCHEDULE_CONSTANT,
            other => panic!("{other:?} is not in the scenario"),
        },
        patience: own.patience,
        keep_checkpoints: own.keep_checkpoints as u32,
        lora_rank: own.lora.rank as u32,
        lora_alpha: own.lora.alpha,
        lora_dropout: own.lora.dropout,
        learning_rate: own.learning_rate,
        layer_decay: own.layer_decay,
        weight_decay: own.weight_decay,
        beta1: zero_below(own.beta1),
        beta2: zero_below(own.beta2),
        epsilon: own.epsilon,
        max_gradient_norm: zero_below(own.max_gradient_norm),
        dropout: own.dropout.map_or(0.0, zero_below),
        label_smoothing: own.label_smoothing,
        warmup: own.warmup,
        threshold: own.threshold,
        max_steps: own.max_steps,
        seed: own.seed,
        evaluate_every: every(own.evaluate),
        checkpoint_every: every(own.checkpoint),
        memory: own.memory,
        cache_memory: own.cache_memory,
        cache_file: own.cache_file,
        head,
        metric,
        checkpoints,
        labels: labels.pointer(),
        label_count: labels.pointers.len(),
        class_weights: if own.class_weights.is_empty() { null() } else { own.class_weights.as_ptr() },
        class_weight_count: own.class_weights.len(),
        lora_targets: targets.pointer(),
        lora_target_count: targets.pointers.len(),
        ..defaults()
    }
}

fn metrics(metrics: &[cloze_metric]) -> Metrics {
    // SAFETY: the library ends every name with NUL.
    let name = |metric: &cloze_metric| unsafe { CStr::from_ptr(metric.name.as_ptr()) }.to_str().unwrap().to_owned();
    metrics.iter().map(|metric| (name(metric), metric.value)).collect()
}

unsafe extern "C" fn observe(user: *mut c_void, event: *const cloze_train_event) -> c_int {
    // SAFETY: `fit` hands over its observer; the library an event.
    let (observer, event) = unsafe { (&mut *user.cast::<Observer>(), &*event) };
    assert_eq!(event.size as usize, size_of::<cloze_train_event>());
    assert_eq!(event.metrics.is_null(), event.kind != CLOZE_EVENT_EVALUATION);
    assert_eq!(event.folder.is_null(), event.kind != CLOZE_EVENT_CHECKPOINT);
    // Every event tells where training stands.
    assert_eq!(
        Some(&event.step),
        observer.steps().last().filter(|_| event.kind != CLOZE_EVENT_STEP).or(Some(&event.step))
    );
    let news = match event.kind {
        CLOZE_EVENT_STEP => News::Step {
            step: event.step,
            total: event.total,
            epoch: event.epoch,
            loss: event.loss,
            learning_rate: event.learning_rate,
            gradient_norm: event.gradient_norm,
            examples: event.examples,
        },
        CLOZE_EVENT_EVALUATION => {
            // SAFETY: as many metrics as the event says.
            let found = unsafe { std::slice::from_raw_parts(event.metrics, event.metric_count) };
            News::Evaluation { metrics: metrics(found), best: event.best == 1 }
        }
        CLOZE_EVENT_CHECKPOINT => {
            // SAFETY: a string that ends with NUL.
            let folder = unsafe { CStr::from_ptr(event.folder) }.to_str().unwrap().to_owned();
            News::Checkpoint { folder }
        }
        other => panic!("an event of kind {other}"),
    };
    c_int::from(!observer.told(news))
}

// SAFETY of every call below: pointers to live locals, slices and handles, as cloze.h wants them.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<'a> C {
    fn add(&'a self, data: &Data<'a>, example: &Example) -> Answer<()> {
        let mut error = record();
        if let ExampleInput::Words(words) = &example.input {
            let (words, tags) = match &example.target {
                Target::Tags(tags) => (Strings::new(words), Strings::new(tags)),
                _ => (Strings::new(words), Strings::new(&[])),
            };
            let add = exported!(&self.library, cloze_dataset_add_words(_, _, _, _, _));
            let count = words.pointers.len();
            let status = unsafe { add(data.dataset, words.pointer(), tags.pointer(), count, &mut error) };
            return answer(status, &error, || ());
        }
        let input = match &example.input {
            ExampleInput::Text(text) => Input::Text(text),
            ExampleInput::Pair(text, pair) => Input::Pair(text, pair),
            ExampleInput::Tokens(tokens) => Input::Tokens { ids: &tokens.ids, types: &tokens.types },
            ExampleInput::Words(_) => unreachable!(),
        };
        let none = cloze_target {
            kind: CLOZE_TARGET_NONE,
            number: 0.0,
            start: 0,
            name: null(),
            names: null(),
            numbers: null(),
            ids: null(),
            count: 0,
        };
        let (names, name);
        let target = match &example.target {
            Target::None => none,
            Target::Label(label) => {
                name = CString::new(label.as_str()).unwrap();
                cloze_target { kind: CLOZE_TARGET_LABEL, name: name.as_ptr(), ..none }
            }
            Target::Labels(labels) => {
                names = Strings::new(labels);
                let (pointer, count) = (names.pointer(), names.pointers.len());
                cloze_target { kind: CLOZE_TARGET_LABELS, names: pointer, count, ..none }
            }
            Target::Number(number) => cloze_target { kind: CLOZE_TARGET_NUMBERS, number: *number, ..none },
            Target::Numbers(numbers) => {
                let (numbers, count) = (numbers.as_ptr(), numbers.len());
                cloze_target { kind: CLOZE_TARGET_NUMBERS, numbers, count, ..none }
            }
            Target::Span { answer, start } => {
                name = CString::new(answer.as_str()).unwrap();
                cloze_target { kind: CLOZE_TARGET_ANSWER, name: name.as_ptr(), start: *start as u64, ..none }
            }
            Target::Ids(ids) => cloze_target { kind: CLOZE_TARGET_TOKENS, ids: ids.as_ptr(), count: ids.len(), ..none },
            Target::Tags(_) => unreachable!(),
        };
        let (inputs, add) = (convert(&[input]), exported!(&self.library, cloze_dataset_add(_, _, _, _, _)));
        let status = unsafe { add(data.dataset, inputs.as_ptr(), &target, 1, &mut error) };
        answer(status, &error, || ())
    }

    fn handle(
        &'a self,
        make: impl FnOnce(*mut *mut cloze_model, *mut cloze_error) -> cloze_status,
    ) -> Answer<Handle<'a>> {
        let (mut model, mut error) = (null_mut(), record());
        let status = make(&mut model, &mut error);
        answer(status, &error, || Handle { library: &self.library, model, _borrowed: Vec::new() })
    }
}

// SAFETY of every call below: pointers to live locals, slices and handles, as cloze.h wants them.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<'a> Learning for &'a C {
    type Data = Data<'a>;
    type Trainer = Trainer<'a>;

    fn data(&self, examples: &[Example]) -> Answer<Data<'a>> {
        let (mut dataset, mut error) = (null_mut(), record());
        let new = exported!(&self.library, cloze_dataset_new(_, _));
        let status = unsafe { new(&mut dataset, &mut error) };
        let data = answer(status, &error, || Data { library: &self.library, dataset })?;
        examples.iter().try_for_each(|example| self.add(&data, example))?;
        Ok(data)
    }

    fn read(&self, file: &Path, kind: Kind) -> Answer<Data<'a>> {
        let kind = match kind {
            Kind::None => CLOZE_TARGET_NONE,
            Kind::Label => CLOZE_TARGET_LABEL,
            Kind::Labels => CLOZE_TARGET_LABELS,
            Kind::Numbers => CLOZE_TARGET_NUMBERS,
            Kind::Tags => CLOZE_TARGET_TAGS,
            Kind::Span => CLOZE_TARGET_ANSWER,
        };
        let (file, mut dataset, mut error) = (path_string(file), null_mut(), record());
        let read = exported!(&self.library, cloze_dataset_read(_, _, _, _, _));
        let status = unsafe { read(file.as_ptr(), kind, null(), &mut dataset, &mut error) };
        answer(status, &error, || Data { library: &self.library, dataset })
    }

    fn select(&self, data: &Data<'a>, numbers: &[usize]) -> Answer<Data<'a>> {
        let (mut dataset, mut error) = (null_mut(), record());
        let select = exported!(&self.library, cloze_dataset_select(_, _, _, _, _));
        let status = unsafe { select(data.dataset, numbers.as_ptr(), numbers.len(), &mut dataset, &mut error) };
        answer(status, &error, || Data { library: &self.library, dataset })
    }

    fn count(&self, data: &Data<'a>) -> usize {
        let count = exported!(&self.library, cloze_dataset_count(_));
        unsafe { count(data.dataset) }
    }

    fn trainer(&self, model: &Handle<'a>, own: &TrainOptions, labels_from: Option<&Data<'a>>) -> Answer<Trainer<'a>> {
        let (labels, targets) = (Strings::new(&own.labels), Strings::new(&own.lora.targets));
        let checkpoints = own.checkpoints.as_deref().map_or_else(CString::default, path_string);
        let string = |string: &str| CString::new(string).unwrap();
        let strings = [string(&own.head), string(&own.metric), checkpoints];
        let options = options(own, &labels, &targets, &strings);
        let labels_from = labels_from.map_or(null(), |data| data.dataset.cast_const());
        let (mut trainer, mut error) = (null_mut(), record());
        let new = exported!(&self.library, cloze_trainer_new(_, _, _, _, _));
        let status = unsafe { new(model.model, &options, labels_from, &mut trainer, &mut error) };
        answer(status, &error, || Trainer { library: &self.library, trainer })
    }

    fn standing(&self, trainer: &Trainer<'a>) -> Answer<Standing> {
        let (mut state, mut error): (cloze_trainer_state, _) = (defaults(), record());
        let info = exported!(&self.library, cloze_trainer_info(_, _, _));
        let status = unsafe { info(trainer.trainer, &mut state, &mut error) };
        answer(status, &error, || ())?;
        let label = exported!(&self.library, cloze_trainer_label(_, _, _, _, _, _));
        let label = |number| {
            string(|name, capacity, size, error| unsafe { label(trainer.trainer, number, name, capacity, size, error) })
        };
        let report = exported!(&self.library, cloze_trainer_report(_, _, _, _, _));
        let report =
            string(|json, capacity, size, error| unsafe { report(trainer.trainer, json, capacity, size, error) })?;
        let report: Value = serde_json::from_str(&report).unwrap();
        let tensor = |tensor: &Value| {
            let shape = tensor["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize);
            (tensor["name"].as_str().unwrap().to_owned(), shape.collect())
        };
        Ok(Standing {
            labels: (0..state.labels).map(label).collect::<Answer<_>>()?,
            tensors: report["tensors"].as_array().unwrap().iter().map(tensor).collect(),
            parameters: state.parameters as usize,
            planned_memory: state.planned_memory,
            steps: state.steps,
            history: report["history"].as_array().unwrap().len(),
        })
    }

    fn fit(
        &self,
        trainer: &mut Trainer<'a>,
        train: &Data<'a>,
        dev: Option<&Data<'a>>,
        observer: &mut Observer,
    ) -> Answer<Fit> {
        let mut cancel = null_mut();
        let new = exported!(&self.library, cloze_cancel_new(_, _));
        let set = exported!(&self.library, cloze_cancel_set(_));
        let free = exported!(&self.library, cloze_cancel_free(_));
        assert_eq!(unsafe { new(&mut cancel, null_mut()) }, CLOZE_OK);
        if observer.cancelled {
            unsafe { set(cancel) };
        }
        let user = (observer as *mut Observer).cast();
        let options = cloze_fit_options { cancel, observe: Some(observe), user, ..defaults() };
        let dev = dev.map_or(null(), |data| data.dataset.cast_const());
        let (mut result, mut error): (cloze_fit_result, _) = (defaults(), record());
        let fit = exported!(&self.library, cloze_trainer_fit(_, _, _, _, _, _));
        let status = unsafe { fit(trainer.trainer, train.dataset, dev, &options, &mut result, &mut error) };
        unsafe { free(cancel) };
        answer(status, &error, || Fit {
            steps: result.steps,
            best: (result.best_step > 0).then_some((result.best_step, result.best_value)),
            stopped_early: result.stopped_early == 1,
        })
    }

    fn checkpoint(&self, trainer: &mut Trainer<'a>, folder: &Path) -> Answer<()> {
        let (folder, mut error) = (path_string(folder), record());
        let checkpoint = exported!(&self.library, cloze_trainer_checkpoint(_, _, _));
        let status = unsafe { checkpoint(trainer.trainer, folder.as_ptr(), &mut error) };
        answer(status, &error, || ())
    }

    fn resume(&self, trainer: &mut Trainer<'a>, folder: &Path) -> Answer<()> {
        let (folder, mut error) = (path_string(folder), record());
        let resume = exported!(&self.library, cloze_trainer_resume(_, _, _));
        let status = unsafe { resume(trainer.trainer, folder.as_ptr(), &mut error) };
        answer(status, &error, || ())
    }

    fn evaluate(&self, trainer: &mut Trainer<'a>, data: &Data<'a>) -> Answer<Metrics> {
        let evaluate = exported!(&self.library, cloze_trainer_evaluate(_, _, _, _, _, _, _));
        let found = sized(|metrics, capacity, count, error| unsafe {
            evaluate(trainer.trainer, data.dataset, null(), metrics, capacity, count, error)
        });
        Ok(metrics(&found?))
    }

    fn accumulate(&self, trainer: &mut Trainer<'a>, batch: &Data<'a>) -> Answer<f64> {
        let (mut loss, mut error) = (0.0, record());
        let accumulate = exported!(&self.library, cloze_trainer_accumulate(_, _, _, _, _));
        let status = unsafe { accumulate(trainer.trainer, batch.dataset, null(), &mut loss, &mut error) };
        answer(status, &error, || loss)
    }

    fn apply(&self, trainer: &mut Trainer<'a>, learning_rate: Option<f32>) -> Answer<f64> {
        let (mut norm, mut error) = (0.0, record());
        let apply = exported!(&self.library, cloze_trainer_apply(_, _, _, _));
        let status = unsafe { apply(trainer.trainer, learning_rate.unwrap_or(-1.0), &mut norm, &mut error) };
        answer(status, &error, || norm)
    }

    fn parameters(&self, trainer: &Trainer<'a>) -> Answer<Vec<f32>> {
        let ask = exported!(&self.library, cloze_trainer_parameters(_, _, _, _, _));
        sized(|numbers, capacity, count, error| unsafe { ask(trainer.trainer, numbers, capacity, count, error) })
    }

    fn set_parameters(&self, trainer: &mut Trainer<'a>, parameters: &[f32]) -> Answer<()> {
        let mut error = record();
        let set = exported!(&self.library, cloze_trainer_set_parameters(_, _, _, _));
        let status = unsafe { set(trainer.trainer, parameters.as_ptr(), parameters.len(), &mut error) };
        answer(status, &error, || ())
    }

    fn gradients(&self, trainer: &mut Trainer<'a>) -> Answer<Vec<f32>> {
        let ask = exported!(&self.library, cloze_trainer_gradients(_, _, _, _, _));
        sized(|numbers, capacity, count, error| unsafe { ask(trainer.trainer, numbers, capacity, count, error) })
    }

    fn gradient_buffers(&self, trainer: &mut Trainer<'a>) -> Answer<Vec<(*mut f32, usize)>> {
        let ask = exported!(&self.library, cloze_trainer_gradient_buffers(_, _, _, _, _));
        let buffers = sized(|buffers: *mut cloze_buffer, capacity, count, error| unsafe {
            ask(trainer.trainer, buffers, capacity, count, error)
        });
        Ok(buffers?.iter().map(|buffer| (buffer.data, buffer.count)).collect())
    }

    fn set_gradients(&self, trainer: &mut Trainer<'a>, gradients: &[f32]) -> Answer<()> {
        let mut error = record();
        let set = exported!(&self.library, cloze_trainer_set_gradients(_, _, _, _));
        let status = unsafe { set(trainer.trainer, gradients.as_ptr(), gradients.len(), &mut error) };
        answer(status, &error, || ())
    }

    fn snapshot(&self, trainer: &Trainer<'a>) -> Answer<Handle<'a>> {
        let snapshot = exported!(&self.library, cloze_trainer_snapshot(_, _, _));
        self.handle(|model, error| unsafe { snapshot(trainer.trainer, model, error) })
    }

    fn save(&self, trainer: &Trainer<'a>, folder: &Path) -> Answer<()> {
        let (folder, mut error) = (path_string(folder), record());
        let save = exported!(&self.library, cloze_trainer_save(_, _, _));
        let status = unsafe { save(trainer.trainer, folder.as_ptr(), &mut error) };
        answer(status, &error, || ())
    }

    fn save_adapter(&self, trainer: &Trainer<'a>, folder: &Path) -> Answer<()> {
        let (folder, mut error) = (path_string(folder), record());
        let save = exported!(&self.library, cloze_trainer_save_adapter(_, _, _));
        let status = unsafe { save(trainer.trainer, folder.as_ptr(), &mut error) };
        answer(status, &error, || ())
    }

    fn save_model(&self, model: &Handle<'a>, folder: &Path) -> Answer<()> {
        let (folder, mut error) = (path_string(folder), record());
        let save = exported!(&self.library, cloze_model_save(_, _, _));
        let status = unsafe { save(model.model, folder.as_ptr(), &mut error) };
        answer(status, &error, || ())
    }

    fn save_model_as(&self, model: &Handle<'a>, folder: &Path, dtype: DType) -> Answer<()> {
        let (folder, mut error) = (path_string(folder), record());
        let dtype = match dtype {
            DType::F32 => CLOZE_DTYPE_F32,
            DType::F16 => CLOZE_DTYPE_F16,
            DType::Bf16 => CLOZE_DTYPE_BF16,
        };
        let save = exported!(&self.library, cloze_model_save_as(_, _, _, _));
        let status = unsafe { save(model.model, folder.as_ptr(), dtype, &mut error) };
        answer(status, &error, || ())
    }

    fn adapt(&self, model: &Handle<'a>, folder: &Path) -> Answer<Handle<'a>> {
        let folder = path_string(folder);
        let adapt = exported!(&self.library, cloze_model_adapt(_, _, _, _));
        self.handle(|adapted, error| unsafe { adapt(model.model, folder.as_ptr(), adapted, error) })
    }

    fn use_head(&self, model: &Handle<'a>, name: &str) -> Answer<Handle<'a>> {
        let name = CString::new(name).unwrap();
        let use_head = exported!(&self.library, cloze_model_use_head(_, _, _, _));
        self.handle(|with_head, error| unsafe { use_head(model.model, name.as_ptr(), with_head, error) })
    }

    fn heads(&self, model: &Handle<'a>) -> Vec<String> {
        let ask = exported!(&self.library, cloze_model_head(_, _, _, _, _, _));
        let name = |number| {
            let name =
                string(|name, capacity, size, error| unsafe { ask(model.model, number, name, capacity, size, error) });
            name.inspect_err(|(status, _)| assert_eq!(*status, CLOZE_MISSING)).ok()
        };
        (0..).map_while(name).collect()
    }

    fn evaluate_model(&self, model: &Handle<'a>, objective: Option<Objective>, data: &Data<'a>) -> Answer<Metrics> {
        let objective = objective.map_or(0, objective_number);
        let evaluate = exported!(&self.library, cloze_model_evaluate(_, _, _, _, _, _, _, _));
        let found = sized(|metrics, capacity, count, error| unsafe {
            evaluate(model.model, objective, data.dataset, null(), metrics, capacity, count, error)
        });
        Ok(metrics(&found?))
    }
}
