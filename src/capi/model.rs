//! 5  Models

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::device;
use super::guard::{guard, guard_value};
use super::inputs::{array, c_string, index, model as opened, path_of};
use super::options::{Sized32, read};
use super::outputs::{Struct, Text, Value, field};
use super::{cloze_error, cloze_status};
use crate::engine::{Bytes, Model, OpenOptions, Problem, Task};
use crate::error::{Error, Result};

pub struct cloze_model(pub(super) Model);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_open_options {
    pub size: u32,
    pub threads: u32,
    pub device: *const c_char,
    pub precision: u32,
    pub memory: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers and a raw pointer.
unsafe impl Sized32 for cloze_open_options {
    const NAME: &'static str = "cloze_open_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_file {
    pub name: *const c_char,
    pub data: *const c_void,
    pub size: usize,
}

pub const CLOZE_TASK_FILL: u32 = 1;
pub const CLOZE_TASK_SCORE: u32 = 2;
pub const CLOZE_TASK_NEXT_SENTENCE: u32 = 4;
pub const CLOZE_TASK_EMBED: u32 = 8;
pub const CLOZE_TASK_HIDDEN_STATES: u32 = 16;
pub const CLOZE_TASK_CLASSIFY: u32 = 32;
pub const CLOZE_TASK_TAG: u32 = 64;
pub const CLOZE_TASK_GENERATE: u32 = 128;

pub const CLOZE_PROBLEM_UNKNOWN: u32 = 0;
pub const CLOZE_PROBLEM_REGRESSION: u32 = 1;
pub const CLOZE_PROBLEM_SINGLE_LABEL: u32 = 2;
pub const CLOZE_PROBLEM_MULTI_LABEL: u32 = 3;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_info {
    pub size: u32,
    pub layers: u32,
    pub hidden: u32,
    pub heads: u32,
    pub intermediate: u32,
    pub vocabulary: u32,
    pub words: u32,
    pub token_types: u32,
    pub max_tokens: u32,
    pub max_positions: u32,
    pub embedding: u32,
    pub labels: u32,
    pub problem: u32,
    pub tasks: u32,
    pub has_tokenizer: u32,
    pub threads: u32,
    pub parameters: u64,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are integers.
unsafe impl Sized32 for cloze_info {
    const NAME: &'static str = "cloze_info";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_open(
    folder: *const c_char,
    options: *const cloze_open_options,
    model: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let folder = path_of("folder", folder)?;
            let options = open_options(options)?;
            let out = Value::new("model", model)?;
            hand_out(&out, Model::open(folder, &options)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_open_memory(
    files: *const cloze_file,
    file_count: usize,
    options: *const cloze_open_options,
    model: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise, which for the data of the files lasts until the model has been closed.
    unsafe {
        guard(error, || {
            let mut named: Vec<(&str, Bytes)> = Vec::with_capacity(file_count.min(64));
            for (place, file) in array("files", files, file_count)?.iter().enumerate() {
                let place = format!("files[{place}]");
                let name = c_string(&format!("{place}.name"), file.name)?;
                let name = name.to_str().map_err(|_| Error::argument(format!("{place}.name: not UTF-8")))?;
                if named.iter().any(|(other, _)| *other == name) {
                    return Err(Error::argument(format!("{place}.name: \"{name}\" a second time")));
                }
                let data: &'static [u8] = array(&format!("{place}.data"), file.data.cast(), file.size)?;
                named.push((name, Arc::new(data)));
            }
            let options = open_options(options)?;
            let out = Value::new("model", model)?;
            hand_out(&out, Model::from_memory(&named, &options)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_close(model: *mut cloze_model) {
    guard_value((), || {
        if !model.is_null() {
            // SAFETY: from the `into_raw` of `hand_out`, and by the header neither closed before nor in use.
            drop(unsafe { Box::from_raw(model) });
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_info(
    model: *const cloze_model,
    info: *mut cloze_info,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let out = Struct::new("info", info)?;
            out.write(&info_of(model)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_report(
    model: *const cloze_model,
    json: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            Text::new("json", json, capacity, size)?.write(&model.report_json().to_string())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_label(
    model: *const cloze_model,
    label: u32,
    name: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let out = Text::new("name", name, capacity, size)?;
            let labels = model.labels();
            match labels.get(index(label)) {
                Some(name) => out.write(name),
                None if labels.is_empty() => Err(Error::missing("the model has no classifier, so no labels")),
                None => Err(Error::argument(format!("label: {label}, the classifier has {}", labels.len()))),
            }
        })
    }
}

/// `cloze_model_close` undoes this `into_raw`.
pub(super) fn hand_out(out: &Value<*mut cloze_model>, model: Model) {
    out.write(Box::into_raw(Box::new(cloze_model(model))));
}

/// # Safety
///
/// The header's promise for `options`.
unsafe fn open_options(options: *const cloze_open_options) -> Result<OpenOptions> {
    // SAFETY: the caller's promise.
    unsafe {
        let own = read(options)?;
        device::open_options("cloze_open_options", own.threads, own.device, own.precision, own.memory)
    }
}

fn info_of(model: &Model) -> Result<cloze_info> {
    let info = model.info();
    Ok(cloze_info {
        size: 0, // the caller's
        layers: field(info.layers)?,
        hidden: field(info.hidden)?,
        heads: field(info.heads)?,
        intermediate: field(info.intermediate)?,
        vocabulary: field(info.vocabulary)?,
        words: field(info.words)?,
        token_types: field(info.token_types)?,
        max_tokens: field(info.max_tokens)?,
        max_positions: field(info.max_positions)?,
        embedding: field(info.embedding)?,
        labels: field(info.labels)?,
        problem: match info.problem {
            None => CLOZE_PROBLEM_UNKNOWN,
            Some(Problem::Regression) => CLOZE_PROBLEM_REGRESSION,
            Some(Problem::SingleLabel) => CLOZE_PROBLEM_SINGLE_LABEL,
            Some(Problem::MultiLabel) => CLOZE_PROBLEM_MULTI_LABEL,
        },
        tasks: info.tasks.into_iter().fold(0, |bits, task| bits | bit(task)),
        has_tokenizer: u32::from(info.text_unavailable.is_none()),
        threads: field(info.threads)?,
        parameters: info.parameters,
    })
}

fn bit(task: Task) -> u32 {
    match task {
        Task::Fill => CLOZE_TASK_FILL,
        Task::Score => CLOZE_TASK_SCORE,
        Task::NextSentence => CLOZE_TASK_NEXT_SENTENCE,
        Task::Embed => CLOZE_TASK_EMBED,
        Task::HiddenStates => CLOZE_TASK_HIDDEN_STATES,
        Task::Classify => CLOZE_TASK_CLASSIFY,
        Task::Tag => CLOZE_TASK_TAG,
        Task::Generate => CLOZE_TASK_GENERATE,
    }
}
