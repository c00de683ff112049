//! 15  Train step by step

use super::cancel::flag;
use super::dataset::examples;
use super::guard::guard;
use super::inputs::array;
use super::outputs::{Array, Value};
use super::trainer::exclusive;
use super::{cloze_cancel, cloze_dataset, cloze_error, cloze_status, cloze_trainer};

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_accumulate(
    trainer: *mut cloze_trainer,
    batch: *const cloze_dataset,
    cancel: *const cloze_cancel,
    loss: *mut f64,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let batch = examples("batch", batch)?;
            let out = Value::new("loss", loss)?;
            out.write(trainer.accumulate(&batch, flag(cancel).as_ref())?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_apply(
    trainer: *mut cloze_trainer,
    learning_rate: f32,
    gradient_norm: *mut f64,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let out = Value::new("gradient_norm", gradient_norm)?;
            let learning_rate = if learning_rate < 0.0 { None } else { Some(learning_rate) };
            out.write(trainer.apply(learning_rate)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_parameters(
    trainer: *const cloze_trainer,
    parameters: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let trainer = exclusive(trainer)?;
            let out = Array::new("parameters", parameters, capacity, count)?;
            out.reserve(trainer.parameter_count())?;
            out.write(&[trainer.parameters()?])
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_set_parameters(
    trainer: *mut cloze_trainer,
    parameters: *const f32,
    count: usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            trainer.set_parameters(array("parameters", parameters, count)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_gradients(
    trainer: *const cloze_trainer,
    gradients: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let out = Array::new("gradients", gradients, capacity, count)?;
            out.reserve(trainer.parameter_count())?;
            out.write(&[trainer.gradients()?])
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_set_gradients(
    trainer: *mut cloze_trainer,
    gradients: *const f32,
    count: usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            trainer.set_gradients(array("gradients", gradients, count)?)
        })
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_buffer {
    pub data: *mut f32,
    pub count: usize,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_gradient_buffers(
    trainer: *mut cloze_trainer,
    buffers: *mut cloze_buffer,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let out = Array::new("buffers", buffers, capacity, count)?;
            let places = trainer.gradient_buffers()?;
            out.reserve(places.len())?;
            let buffers: Vec<_> = places.into_iter().map(|(data, count)| cloze_buffer { data, count }).collect();
            out.write(&[buffers])
        })
    }
}
