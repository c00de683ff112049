//! 9  Judge pairs

use super::guard::guard;
use super::inputs::{inputs as given, model as opened};
use super::outputs::Array;
use super::{cloze_call_options, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{Input, Task};
use crate::error::Error;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_next_sentence(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_call_options,
    is_next: *mut f32,
    capacity: usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let (text, watch) = cloze_call_options::take(options)?;
            let out = Array::uncounted("is_next", is_next, capacity)?;
            if let Some(place) = inputs.iter().position(|input| matches!(input, Input::Text(_))) {
                return Err(Error::input(format!("input {place}: a single text, expected a pair or token ids")));
            }
            model.supports(Task::NextSentence)?;
            out.reserve(inputs.len())?;
            let encoded = model.encode(&inputs, Task::NextSentence, &text)?;
            out.write(&[watch.run(|run| model.next_sentence(&encoded, run))?])
        })
    }
}
