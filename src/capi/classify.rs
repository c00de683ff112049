//! 11  Classify

use super::guard::guard;
use super::inputs::{inputs as given, model as opened};
use super::outputs::Array;
use super::{cloze_call_options, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::Task;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_classify(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_call_options,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let (text, watch) = cloze_call_options::take(options)?;
            let out = Array::new("values", values, capacity, count)?;
            model.supports(Task::Classify)?;
            out.reserve(inputs.len().saturating_mul(model.labels().len()))?;
            let encoded = model.encode(&inputs, Task::Classify, &text)?;
            out.write(&watch.run(|run| model.classify(&encoded, run))?)
        })
    }
}
