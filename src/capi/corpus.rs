//! 18  Pretrain

use std::ffi::{c_char, c_void};

use super::cancel::flag;
use super::device;
use super::guard::{guard, guard_value};
use super::inputs::{array, index, model as opened, path_of, reference};
use super::options::{Sized32, choice, read, reserved};
use super::outputs::{Array, Struct, Text, Value, field};
use super::train::OBJECTIVES;
use super::trainer::{exclusive, finish, optional, told};
use super::{
    CLOZE_MAX_METRICS, cloze_call_options, cloze_error, cloze_fit_options, cloze_fit_result, cloze_metric, cloze_model,
    cloze_status, cloze_train_options, cloze_trainer,
};
use crate::engine::{
    Casing, Corpus, FitEvent, FitRun, FreshOptions, Lines, Model, VocabularyOptions, learn_vocabulary, save_vocabulary,
    tokenizer_files,
};
use crate::error::Error;

/// Immutable: read by any number of calls.
pub struct cloze_corpus(Corpus);

const fn shared<T: Sync + Send>() {}
const _: () = shared::<cloze_corpus>();

pub const CLOZE_CASING_UNCASED: u32 = 0;
pub const CLOZE_CASING_CASED: u32 = 1;

const CASINGS: [Casing; 2] = [Casing::Uncased, Casing::Cased];

pub const CLOZE_CORPUS_PARAGRAPHS: u32 = 0;
pub const CLOZE_CORPUS_SENTENCES: u32 = 1;

const LINES: [Lines; 2] = [Lines::Paragraphs, Lines::Sentences];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_vocabulary_options {
    pub size: u32,
    pub tokens: u32,
    pub casing: u32,
    pub lines: u32,
    pub min_frequency: u32,
    pub max_tokens: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are numbers.
unsafe impl Sized32 for cloze_vocabulary_options {
    const NAME: &'static str = "cloze_vocabulary_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_create_options {
    pub size: u32,
    pub threads: u32,
    pub objective: u32,
    pub reserved: u32,
    pub seed: u64,
    pub device: *const c_char,
    pub precision: u32,
    pub memory: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are numbers and a raw pointer.
unsafe impl Sized32 for cloze_create_options {
    const NAME: &'static str = "cloze_create_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_corpus_options {
    pub size: u32,
    pub lines: u32,
    pub max_tokens: u32,
    pub reserved: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are numbers.
unsafe impl Sized32 for cloze_corpus_options {
    const NAME: &'static str = "cloze_corpus_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_corpus_state {
    pub size: u32,
    pub notices: u32,
    pub documents: u64,
    pub sentences: u64,
    pub tokens: u64,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are numbers.
unsafe impl Sized32 for cloze_corpus_state {
    const NAME: &'static str = "cloze_corpus_state";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_vocabulary_learn(
    path: *const c_char,
    options: *const cloze_vocabulary_options,
    folder: *const c_char,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let own = read(options)?;
            let usual = VocabularyOptions::default();
            let given = |own: u32, usual: usize| if own == 0 { usual } else { index(own) };
            let options = VocabularyOptions {
                size: given(own.tokens, usual.size),
                casing: choice("cloze_vocabulary_options.casing", own.casing, &CASINGS)?,
                min_frequency: if own.min_frequency == 0 { usual.min_frequency } else { own.min_frequency.into() },
                max_length: given(own.max_tokens, usual.max_length),
                ..usual
            };
            let lines = choice("cloze_vocabulary_options.lines", own.lines, &LINES)?;
            let (path, folder) = (path_of("path", path)?, path_of("folder", folder)?);
            save_vocabulary(&learn_vocabulary(path, lines, &options)?, folder)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_create(
    config: *const c_void,
    config_size: usize,
    tokenizer: *const c_char,
    options: *const cloze_create_options,
    model: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise. `cloze_model_close` undoes this `into_raw`.
    unsafe {
        guard(error, || {
            let config = array("config", config.cast::<u8>(), config_size)?;
            let own = read(options)?;
            reserved("cloze_create_options.reserved", own.reserved)?;
            let objective = choice("cloze_create_options.objective", own.objective, &OBJECTIVES)?;
            let usual = FreshOptions::default();
            let options = FreshOptions {
                seed: if own.seed == 0 { usual.seed } else { own.seed },
                objective: objective.unwrap_or(usual.objective),
            };
            let out = Value::new("model", model)?;
            let files = tokenizer_files(path_of("tokenizer", tokenizer)?)?;
            let open =
                device::open_options("cloze_create_options", own.threads, own.device, own.precision, own.memory)?;
            let made = Model::fresh(config, &files, &options, &open)?;
            out.write(Box::into_raw(Box::new(cloze_model(made))));
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_corpus_open(
    model: *const cloze_model,
    path: *const c_char,
    options: *const cloze_corpus_options,
    corpus: *mut *mut cloze_corpus,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise. `cloze_corpus_free` undoes this `into_raw`.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let path = path_of("path", path)?;
            let own = read(options)?;
            reserved("cloze_corpus_options.reserved", own.reserved)?;
            let lines = choice("cloze_corpus_options.lines", own.lines, &LINES)?;
            let out = Value::new("corpus", corpus)?;
            let read = model.corpus(path, lines, index(own.max_tokens))?;
            out.write(Box::into_raw(Box::new(cloze_corpus(read))));
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_corpus_info(
    corpus: *const cloze_corpus,
    state: *mut cloze_corpus_state,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let corpus = &reference("corpus", corpus)?.0;
            Struct::new("state", state)?.write(&cloze_corpus_state {
                size: 0, // the caller's
                notices: field(corpus.notices().len())?,
                documents: corpus.documents() as u64,
                sentences: corpus.sentences() as u64,
                tokens: corpus.tokens(),
            });
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_corpus_notice(
    corpus: *const cloze_corpus,
    notice: u32,
    message: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let notices = reference("corpus", corpus)?.0.notices();
            let out = Text::new("message", message, capacity, size)?;
            match notices.get(index(notice)) {
                Some(notice) => out.write(&notice.to_string()),
                None => Err(Error::argument(format!("notice: {notice}, the corpus has {}", notices.len()))),
            }
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_corpus_free(corpus: *mut cloze_corpus) {
    guard_value((), || {
        if !corpus.is_null() {
            // SAFETY: from the `into_raw` of `cloze_corpus_open`, and by the header neither freed before nor in use.
            drop(unsafe { Box::from_raw(corpus) });
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_pretrain(
    trainer: *mut cloze_trainer,
    train: *const cloze_corpus,
    dev: *const cloze_corpus,
    options: *const cloze_fit_options,
    result: *mut cloze_fit_result,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise. The engine calls the observer on the thread that called us.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let train = &reference("train", train)?.0;
            let dev = optional(dev, |dev| reference("dev", dev))?.map(|dev| &dev.0);
            let own = read(options)?;
            reserved("cloze_fit_options.reserved", own.reserved)?;
            let out = optional(result, |result| Struct::new("result", result.cast_mut()))?;
            let cancel = flag(own.cancel);
            let mut observe = told(&own);
            let observe = observe.as_mut().map(|observe| observe as &mut dyn FnMut(&FitEvent<'_>) -> bool);
            let fitted = trainer.pretrain(train, dev, FitRun { cancel: cancel.as_ref(), observe })?;
            finish(&trainer, &fitted, out);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_evaluate_corpus(
    model: *const cloze_model,
    corpus: *const cloze_corpus,
    recipe: *const cloze_train_options,
    options: *const cloze_call_options,
    metrics: *mut cloze_metric,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let corpus = &reference("corpus", corpus)?.0;
            let recipe = cloze_train_options::take(recipe)?;
            let (max_tokens, watch) = cloze_call_options::take_for_examples(options)?;
            if max_tokens != 0 {
                let what = format!("cloze_call_options.max_tokens: {max_tokens}, expected 0: the recipe has its own");
                return Err(Error::argument(what));
            }
            let out = Array::new("metrics", metrics, capacity, count)?;
            out.reserve(CLOZE_MAX_METRICS)?;
            let found = watch.run(|run| model.evaluate_corpus(recipe.objective, corpus, &recipe, run))?;
            out.write(&[cloze_metric::all(&found.metrics)])
        })
    }
}
