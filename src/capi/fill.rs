//! 7  Fill blanks

use std::ffi::c_void;

use super::cancel::{Watch, cloze_progress};
use super::guard::guard;
use super::inputs::{index, inputs as given, model as opened, numbers, optional_id};
use super::options::{Sized32, read, text as text_options};
use super::outputs::{Array, field, id};
use super::{cloze_cancel, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{FillOptions, Task};
use crate::error::Error;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_fill_options {
    pub size: u32,
    pub text: u32,
    pub max_tokens: u32,
    pub top_k: u32,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub user: *mut c_void,
    pub targets: *const i32,
    pub target_count: usize,
    pub mask: *const i32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers, raw pointers and an optional function.
unsafe impl Sized32 for cloze_fill_options {
    const NAME: &'static str = "cloze_fill_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_candidate {
    pub input: u32,
    pub position: u32,
    pub id: i32,
    pub probability: f32,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_fill(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_fill_options,
    candidates: *mut cloze_candidate,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let own = read(options)?;
            let text = text_options(cloze_fill_options::NAME, own.text, own.max_tokens)?;
            let watch = Watch::new(own.cancel, own.progress, own.user);
            if !own.targets.is_null() && own.target_count == 0 {
                return Err(Error::argument("cloze_fill_options.targets: none, expected some, or NULL for all words"));
            }
            let targets = numbers("cloze_fill_options.targets", own.targets, own.target_count)?;
            let mask = optional_id("cloze_fill_options.mask", own.mask)?;
            let fill = FillOptions { top_k: index(own.top_k), targets, mask };
            let out = Array::new("candidates", candidates, capacity, count)?;

            model.supports(Task::Fill)?;
            let encoded = model.encode(&inputs, Task::Fill, &text)?;
            let masks: usize = model.masks(&encoded, &fill)?.iter().map(Vec::len).sum();
            out.reserve(masks.saturating_mul(fill.candidates(model.words())))?;
            let filled = watch.run(|run| model.fill(&encoded, &fill, run))?;
            let mut words = Vec::new();
            for (place, masks) in filled.iter().enumerate() {
                for (mask, word) in masks.iter().flat_map(|mask| mask.candidates.iter().map(move |word| (mask, word))) {
                    words.push(cloze_candidate {
                        input: field(place)?,
                        position: field(mask.position)?,
                        id: id(word.id)?,
                        probability: word.probability,
                    });
                }
            }
            out.write(&[words])
        })
    }
}
