//! 16  Keep what was learned

use std::ffi::c_char;

use super::guard::guard;
use super::inputs::{CLOZE_NUL, index, model as opened, path_of, text as utf8};
use super::model::hand_out;
use super::options::choice;
use super::outputs::{Text, Value};
use super::trainer::exclusive;
use super::{cloze_error, cloze_model, cloze_status, cloze_trainer};
use crate::engine::{DType, Storage};
use crate::error::Error;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_snapshot(
    trainer: *const cloze_trainer,
    model: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let trainer = exclusive(trainer)?;
            let out = Value::new("model", model)?;
            hand_out(&out, trainer.snapshot()?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_save(
    trainer: *const cloze_trainer,
    folder: *const c_char,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let trainer = exclusive(trainer)?;
            trainer.save(path_of("folder", folder)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_save_adapter(
    trainer: *const cloze_trainer,
    folder: *const c_char,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let trainer = exclusive(trainer)?;
            trainer.save_adapter(path_of("folder", folder)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_save(
    model: *const cloze_model,
    folder: *const c_char,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe { guard(error, || opened(model)?.save(path_of("folder", folder)?)) }
}

pub const CLOZE_DTYPE_F32: u32 = 0;
pub const CLOZE_DTYPE_F16: u32 = 1;
pub const CLOZE_DTYPE_BF16: u32 = 2;
pub const CLOZE_DTYPE_INT8: u32 = 3;

const DTYPES: [Storage; 4] =
    [Storage::Float(DType::F32), Storage::Float(DType::F16), Storage::Float(DType::Bf16), Storage::Int8];

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_save_as(
    model: *const cloze_model,
    folder: *const c_char,
    dtype: u32,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let (model, folder) = (opened(model)?, path_of("folder", folder)?);
            model.save_as(folder, choice("dtype", dtype, &DTYPES)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_adapt(
    model: *const cloze_model,
    folder: *const c_char,
    adapted: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let folder = path_of("folder", folder)?;
            let out = Value::new("adapted", adapted)?;
            hand_out(&out, model.with_adapter(folder)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_use_head(
    model: *const cloze_model,
    name: *const c_char,
    with_head: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let name = utf8("name", name, CLOZE_NUL)?;
            let out = Value::new("with_head", with_head)?;
            hand_out(&out, model.with_head(name)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_head(
    model: *const cloze_model,
    head: u32,
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
            let heads = model.heads();
            let found = heads.get(index(head));
            out.write(found.ok_or_else(|| Error::missing(format!("head: {head}, the model has {}", heads.len())))?)
        })
    }
}
