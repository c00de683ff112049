//! 14  Train: trainers

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null;
use std::sync::{Mutex, MutexGuard, TryLockError};

use serde_json::{Map, Value as Json, json};

use super::cancel::flag;
use super::dataset::examples;
use super::guard::{guard, guard_value};
use super::inputs::{index, model as opened, path_of, reference};
use super::options::{Sized32, read, reserved};
use super::outputs::{Array, Struct, Text, Value, field};
use super::train::OBJECTIVES;
use super::{
    CLOZE_MAX_METRICS, cloze_call_options, cloze_cancel, cloze_dataset, cloze_error, cloze_metric, cloze_model,
    cloze_status, cloze_train_options,
};
use crate::engine::{FitEvent, FitRun, Fitted, Mean, Objective, Record, Trainer};
use crate::error::{Error, Result, Status};

/// One call at a time; a panic within one leaves it to be freed only.
pub struct cloze_trainer {
    objective: Objective,
    trainer: Mutex<Trainer>,
}

// Calls meet on any threads.
const fn shared<T: Sync + Send>() {}
const _: () = shared::<cloze_trainer>();
const _: () = shared::<cloze_dataset>();

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_trainer_state {
    pub size: u32,
    pub objective: u32,
    pub labels: u32,
    pub reserved: u32,
    pub parameters: u64,
    pub planned_memory: u64,
    pub steps: u64,
    pub epochs: f64,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are numbers.
unsafe impl Sized32 for cloze_trainer_state {
    const NAME: &'static str = "cloze_trainer_state";
}

pub const CLOZE_EVENT_STEP: u32 = 1;
pub const CLOZE_EVENT_EVALUATION: u32 = 2;
pub const CLOZE_EVENT_CHECKPOINT: u32 = 3;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_train_event {
    pub size: u32,
    pub kind: u32,
    pub step: u64,
    pub total: u64,
    pub epoch: f64,
    pub seconds: f64,
    pub loss: f64,
    pub learning_rate: f64,
    pub gradient_norm: f64,
    pub examples: u64,
    pub metrics: *const cloze_metric,
    pub metric_count: usize,
    pub folder: *const c_char,
    pub best: u64,
    pub tokens: u64,
    pub mlm_loss: f64,
    pub mlm_accuracy: f64,
    pub nsp_loss: f64,
    pub nsp_accuracy: f64,
}

pub type cloze_observe = Option<unsafe extern "C" fn(user: *mut c_void, event: *const cloze_train_event) -> c_int>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_fit_options {
    pub size: u32,
    pub reserved: u32,
    pub cancel: *const cloze_cancel,
    pub observe: cloze_observe,
    pub user: *mut c_void,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers, raw pointers and an optional function.
unsafe impl Sized32 for cloze_fit_options {
    const NAME: &'static str = "cloze_fit_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_fit_result {
    pub size: u32,
    pub stopped_early: u32,
    pub steps: u64,
    pub epochs: f64,
    pub best_step: u64,
    pub best_value: f64,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are numbers.
unsafe impl Sized32 for cloze_fit_result {
    const NAME: &'static str = "cloze_fit_result";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_new(
    model: *const cloze_model,
    options: *const cloze_train_options,
    labels_from: *const cloze_dataset,
    trainer: *mut *mut cloze_trainer,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise. `cloze_trainer_free` undoes this `into_raw`.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let options = cloze_train_options::take(options)?;
            let labels_from = optional(labels_from, |data| examples("labels_from", data))?;
            let out = Value::new("trainer", trainer)?;
            let made = Mutex::new(Trainer::new(model, &options, labels_from.as_deref())?);
            out.write(Box::into_raw(Box::new(cloze_trainer { objective: options.objective, trainer: made })));
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_info(
    trainer: *const cloze_trainer,
    state: *mut cloze_trainer_state,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let objective = reference("trainer", trainer)?.objective;
            let trainer = exclusive(trainer)?;
            let out = Struct::new("state", state)?;
            out.write(&cloze_trainer_state {
                size: 0, // the caller's
                objective: objective_number(objective)?,
                labels: field(trainer.labels().len())?,
                reserved: 0,
                parameters: field(trainer.parameter_count())?,
                planned_memory: trainer.memory().total(),
                steps: trainer.position().step,
                epochs: epochs(&trainer),
            });
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_report(
    trainer: *const cloze_trainer,
    json: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let trainer = exclusive(trainer)?;
            let out = Text::new("json", json, capacity, size)?;
            out.write(&report(&trainer)?.to_string())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_label(
    trainer: *const cloze_trainer,
    label: u32,
    name: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let trainer = exclusive(trainer)?;
            let out = Text::new("name", name, capacity, size)?;
            let labels = trainer.labels();
            match labels.get(index(label)) {
                Some(name) => out.write(name),
                None if labels.is_empty() => Err(Error::missing("the objective has no labels")),
                None => Err(Error::argument(format!("label: {label}, the trainer has {}", labels.len()))),
            }
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_fit(
    trainer: *mut cloze_trainer,
    train: *const cloze_dataset,
    dev: *const cloze_dataset,
    options: *const cloze_fit_options,
    result: *mut cloze_fit_result,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise. The engine calls the observer on the thread that called us.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let train = examples("train", train)?;
            let dev = optional(dev, |data| examples("dev", data))?;
            let own = read(options)?;
            reserved("cloze_fit_options.reserved", own.reserved)?;
            let out = optional(result, |result| Struct::new("result", result.cast_mut()))?;
            let cancel = flag(own.cancel);
            let mut observe = told(&own);
            let observe = observe.as_mut().map(|observe| observe as &mut dyn FnMut(&FitEvent<'_>) -> bool);
            let fitted = trainer.fit(&train, dev.as_deref(), FitRun { cancel: cancel.as_ref(), observe })?;
            finish(&trainer, &fitted, out);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_resume(
    trainer: *mut cloze_trainer,
    folder: *const c_char,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            trainer.resume(path_of("folder", folder)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_checkpoint(
    trainer: *mut cloze_trainer,
    folder: *const c_char,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            trainer.checkpoint(path_of("folder", folder)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_evaluate(
    trainer: *const cloze_trainer,
    data: *const cloze_dataset,
    options: *const cloze_call_options,
    metrics: *mut cloze_metric,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let data = examples("data", data)?;
            let (max_tokens, watch) = cloze_call_options::take_for_examples(options)?;
            if max_tokens != 0 {
                let what = format!("cloze_call_options.max_tokens: {max_tokens}, expected 0: the trainer has its own");
                return Err(Error::argument(what));
            }
            let out = Array::new("metrics", metrics, capacity, count)?;
            out.reserve(CLOZE_MAX_METRICS)?;
            let found = watch.run(|run| trainer.evaluate(&data, run))?;
            out.write(&[cloze_metric::all(&found)])
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_free(trainer: *mut cloze_trainer) {
    guard_value((), || {
        if !trainer.is_null() {
            // SAFETY: from the `into_raw` of `cloze_trainer_new`, and by the header neither freed before nor in use.
            drop(unsafe { Box::from_raw(trainer) });
        }
    });
}

/// The trainer behind a handle, for this call alone.
///
/// # Safety
///
/// The header's promise for `trainer`, for as long as `'a`.
pub(super) unsafe fn exclusive<'a>(trainer: *const cloze_trainer) -> Result<MutexGuard<'a, Trainer>> {
    // SAFETY: the caller's promise.
    let trainer = unsafe { reference("trainer", trainer) }?;
    trainer.trainer.try_lock().map_err(|refusal| match refusal {
        TryLockError::WouldBlock => Error::new(Status::Busy, "trainer: another call is using it"),
        TryLockError::Poisoned(_) => {
            Error::internal("trainer: an earlier call on it failed inside cloze; it can only be freed")
        }
    })
}

/// What tells the observer of a fit.
///
/// # Safety
///
/// The header's promise for the function and `user`, as long as the result lives; it is called on the caller's thread.
pub(super) unsafe fn told(own: &cloze_fit_options) -> Option<impl FnMut(&FitEvent<'_>) -> bool + use<>> {
    let (mut news, user) = (cloze_train_event::NONE, own.user);
    // SAFETY: the caller's promise.
    own.observe.map(|observe| move |event: &FitEvent<'_>| news.tell(event, |news| unsafe { observe(user, news) }) == 0)
}

/// Writes what a fit came to, where that is asked for.
pub(super) fn finish(trainer: &Trainer, fitted: &Fitted, out: Option<Struct<cloze_fit_result>>) {
    let (best_step, best_value) = fitted.best.unwrap_or_default();
    if let Some(out) = out {
        out.write(&cloze_fit_result {
            size: 0, // the caller's
            stopped_early: u32::from(fitted.stopped_early),
            steps: fitted.steps,
            epochs: epochs(trainer),
            best_step,
            best_value,
        });
    }
}

/// What `take` makes of a pointer, or nothing of NULL.
pub(super) fn optional<T, R>(pointer: *const T, take: impl FnOnce(*const T) -> Result<R>) -> Result<Option<R>> {
    if pointer.is_null() { Ok(None) } else { take(pointer).map(Some) }
}

fn objective_number(objective: Objective) -> Result<u32> {
    field(OBJECTIVES.iter().position(|known| *known == Some(objective)).unwrap_or_default())
}

/// Passes over the examples, in part.
fn epochs(trainer: &Trainer) -> f64 {
    let epoch = |record: &Record| match record {
        Record::Step(step) => Some(step.epoch),
        Record::Evaluation(_) => None,
    };
    trainer.position().history.iter().rev().find_map(epoch).unwrap_or_default()
}

impl cloze_train_event {
    const NONE: Self = Self {
        size: size_of::<Self>() as u32,
        kind: 0,
        step: 0,
        total: 0,
        epoch: 0.0,
        seconds: 0.0,
        loss: 0.0,
        learning_rate: 0.0,
        gradient_norm: 0.0,
        examples: 0,
        metrics: null(),
        metric_count: 0,
        folder: null(),
        best: 0,
        tokens: 0,
        mlm_loss: 0.0,
        mlm_accuracy: 0.0,
        nsp_loss: 0.0,
        nsp_accuracy: 0.0,
    };

    /// What the observer says to `event`; `self` is the news before it.
    fn tell(&mut self, event: &FitEvent<'_>, observe: impl FnOnce(*const Self) -> c_int) -> c_int {
        // Where training stands is told with every event.
        let Self { step, total, epoch, .. } = *self;
        let here = Self { step, total, epoch, ..Self::NONE };
        match *event {
            FitEvent::Step { record, total, size, seconds } => {
                let part = |part: Option<Mean>| part.map_or((0.0, 0.0), |part| (part.loss, part.accuracy));
                let ((mlm_loss, mlm_accuracy), (nsp_loss, nsp_accuracy)) = (part(record.words), part(record.next));
                *self = Self {
                    kind: CLOZE_EVENT_STEP,
                    step: record.step,
                    total,
                    epoch: record.epoch,
                    seconds,
                    loss: record.loss,
                    learning_rate: record.learning_rate,
                    gradient_norm: record.gradient_norm,
                    examples: size.examples as u64,
                    tokens: size.tokens as u64,
                    mlm_loss,
                    mlm_accuracy,
                    nsp_loss,
                    nsp_accuracy,
                    ..here
                };
                observe(self)
            }
            FitEvent::Evaluation { record, seconds } => {
                let metrics = cloze_metric::all(&record.metrics);
                *self = Self {
                    kind: CLOZE_EVENT_EVALUATION,
                    seconds,
                    metrics: metrics.as_ptr(),
                    metric_count: metrics.len(),
                    best: u64::from(record.best),
                    ..here
                };
                observe(self)
            }
            FitEvent::Checkpoint { folder } => {
                let folder = c_path(folder);
                *self = Self { kind: CLOZE_EVENT_CHECKPOINT, folder: folder.as_ptr(), ..here };
                observe(self)
            }
        }
    }
}

/// The counterpart of `path_of`. No path has a NUL within.
fn c_path(path: &Path) -> CString {
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    #[cfg(not(unix))]
    let bytes = path.to_string_lossy().into_owned().into_bytes();
    CString::new(bytes).unwrap_or_default()
}

fn report(trainer: &Trainer) -> Result<Json> {
    let tensor = |(name, shape): (String, Vec<usize>)| json!({ "name": name, "shape": shape });
    let record = |record: &Record| match record {
        Record::Step(step) => {
            let mut line = json!({
                "step": step.step,
                "epoch": step.epoch,
                "loss": step.loss,
                "learning_rate": step.learning_rate,
                "gradient_norm": step.gradient_norm,
            });
            for (name, part) in [("mlm", step.words), ("nsp", step.next)] {
                if let Some(Mean { loss, accuracy }) = part {
                    line[format!("{name}_loss")] = json!(loss);
                    line[format!("{name}_accuracy")] = json!(accuracy);
                }
            }
            line
        }
        Record::Evaluation(found) => {
            let metrics = found.metrics.iter().map(|(name, value)| (name.to_owned(), Json::from(value)));
            let metrics: Map<String, Json> = metrics.collect();
            json!({ "step": found.step, "epoch": found.epoch, "metrics": metrics, "best": found.best })
        }
    };
    Ok(json!({
        "labels": trainer.labels(),
        "fresh": trainer.fresh(),
        "tensors": trainer.parameter_names()?.into_iter().map(tensor).collect::<Vec<_>>(),
        "history": trainer.position().history.iter().map(record).collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::{CLOZE_INTERNAL, CLOZE_OK};
    use crate::engine::{Model, OpenOptions, TrainOptions};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::ptr::null_mut;

    /// A panic leaves a trainer in the middle of something: it is not used again, others of its model are.
    #[test]
    fn a_panic_spoils_one_trainer() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sequence");
        let model = Model::open(&folder, &OpenOptions::default()).unwrap();
        let options = TrainOptions::default();
        let new = || {
            let trainer = Mutex::new(Trainer::new(&model, &options, None).unwrap());
            Box::into_raw(Box::new(cloze_trainer { objective: options.objective, trainer }))
        };
        let (spoilt, other) = (new(), new());
        // SAFETY: made above, freed below.
        unsafe {
            let status = guard(null_mut(), || {
                let _held = exclusive(spoilt)?;
                panic!("in the middle");
            });
            assert_eq!(status, CLOZE_INTERNAL);
            let message = exclusive(spoilt).err().map(|error| error.message().to_owned());
            assert!(message.is_some_and(|message| message.ends_with("it can only be freed")));
            let mut numbers =
                cloze_trainer_state { size: size_of::<cloze_trainer_state>() as u32, ..std::mem::zeroed() };
            assert_eq!(cloze_trainer_info(spoilt, &mut numbers, null_mut()), CLOZE_INTERNAL);
            assert_eq!((numbers.parameters, cloze_trainer_info(other, &mut numbers, null_mut())), (0, CLOZE_OK));
            assert!(numbers.parameters > 0);
            assert!(catch_unwind(AssertUnwindSafe(|| cloze_trainer_free(spoilt))).is_ok());
            cloze_trainer_free(other);
        }
    }
}
