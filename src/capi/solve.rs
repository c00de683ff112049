//! 17  Closed forms

use std::ffi::c_void;

use super::cancel::{Watch, cloze_progress};
use super::dataset::examples;
use super::guard::guard;
use super::inputs::{index, inputs as given, model as opened};
use super::model::hand_out;
use super::options::{Sized32, read};
use super::outputs::Value;
use super::trainer::exclusive;
use super::{
    cloze_call_options, cloze_cancel, cloze_dataset, cloze_error, cloze_input, cloze_model, cloze_status, cloze_trainer,
};
use crate::engine::ClosedForm;
use crate::error::Error;

pub const CLOZE_SOLVE_RIDGE: u32 = 0;
pub const CLOZE_SOLVE_DISCRIMINANT: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_solve_options {
    pub size: u32,
    pub method: u32,
    pub strength: f64,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub user: *mut c_void,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are numbers, raw pointers and an optional function.
unsafe impl Sized32 for cloze_solve_options {
    const NAME: &'static str = "cloze_solve_options";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_trainer_solve(
    trainer: *mut cloze_trainer,
    data: *const cloze_dataset,
    options: *const cloze_solve_options,
    strength: *mut f64,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let mut trainer = exclusive(trainer)?;
            let data = examples("data", data)?;
            let own = read(options)?;
            let chosen = (own.strength != 0.0).then_some(own.strength);
            let method = match own.method {
                CLOZE_SOLVE_RIDGE => ClosedForm::Ridge { lambda: chosen },
                CLOZE_SOLVE_DISCRIMINANT => ClosedForm::Discriminant { shrinkage: chosen },
                other => return Err(Error::argument(format!("cloze_solve_options.method: {other}, expected 0 or 1"))),
            };
            let watch = Watch::new(own.cancel, own.progress, own.user);
            let out = Value::new("strength", strength)?;
            let solved = watch.run(|run| trainer.solve(&data, method, run))?;
            out.write(solved.lambda.or(solved.shrinkage).unwrap_or_default());
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_whiten(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    width: u32,
    options: *const cloze_call_options,
    whitened: *mut *mut cloze_model,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let (max_tokens, watch) = cloze_call_options::take_for_examples(options)?;
            if max_tokens != 0 {
                return Err(Error::argument(format!("cloze_call_options.max_tokens: {max_tokens}, expected 0")));
            }
            let out = Value::new("whitened", whitened)?;
            hand_out(&out, watch.run(|run| model.whiten(&inputs, index(width), run))?);
            Ok(())
        })
    }
}
