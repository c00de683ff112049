//! 19  Generate

use std::ffi::{c_int, c_void};

use super::cancel::{Watch, cloze_progress};
use super::guard::guard;
use super::inputs::{index, inputs as given, model as opened, optional_id};
use super::options::{Sized32, read, text as text_options};
use super::outputs::{Array, field, id};
use super::{cloze_cancel, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{GenerateOptions, NewToken, Sampling, Task};
use crate::error::{Error, Result};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_new_token {
    pub input: u32,
    pub continuation: u32,
    pub id: i32,
    pub log_probability: f32,
}

pub type cloze_token_callback = Option<unsafe extern "C" fn(user: *mut c_void, token: *const cloze_new_token) -> c_int>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_generate_options {
    pub size: u32,
    pub text: u32,
    pub prompt_tokens: u32,
    pub max_tokens: u32,
    pub count: u32,
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub seed: u64,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub token: cloze_token_callback,
    pub user: *mut c_void,
    pub end: *const i32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are numbers, raw pointers and optional functions.
unsafe impl Sized32 for cloze_generate_options {
    const NAME: &'static str = "cloze_generate_options";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_generate(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_generate_options,
    tokens: *mut cloze_new_token,
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
            let text = text_options(cloze_generate_options::NAME, own.text, own.prompt_tokens)?;
            let end = optional_id("cloze_generate_options.end", own.end)?;
            let sampling = sampling(&own)?;
            let generate =
                GenerateOptions { max_tokens: index(own.max_tokens), count: index(own.count), sampling, end };
            let watch = Watch::new(own.cancel, own.progress, own.user);
            let out = Array::new("tokens", tokens, capacity, count)?;

            model.supports(Task::Generate)?;
            let encoded = model.encode(&inputs, Task::Generate, &text)?;
            out.reserve(model.generated_tokens(&encoded, &generate))?;
            let mut failed = Ok(());
            let mut each = |token: &NewToken| match (own.token, in_c(token)) {
                (None, _) => true,
                // The promise of the header for `token` and `user`; the engine calls this on the thread that called us.
                (Some(call), Ok(token)) => call(own.user, &raw const token) == 0,
                (_, Err(error)) => {
                    failed = Err(error);
                    false
                }
            };
            let generated = watch.run(|run| model.generate_streaming(&encoded, &generate, &mut each, run))?;
            failed?;
            let tokens = generated.iter().flatten().flat_map(|continuation| &continuation.tokens).map(in_c);
            out.write(&[tokens.collect::<Result<Vec<_>>>()?])
        })
    }
}

fn in_c(token: &NewToken) -> Result<cloze_new_token> {
    Ok(cloze_new_token {
        input: field(token.input)?,
        continuation: field(token.continuation)?,
        id: id(token.id)?,
        log_probability: token.log_probability,
    })
}

/// How tokens are drawn; `None` where the temperature is 0, and then nothing else is said of drawing.
fn sampling(own: &cloze_generate_options) -> Result<Option<Sampling>> {
    if own.temperature != 0.0 {
        let top_p = if own.top_p == 0.0 { 1.0 } else { own.top_p };
        let sampling = Sampling { temperature: own.temperature, top_k: index(own.top_k), top_p, seed: own.seed };
        return sampling.check().map(|()| Some(sampling)).map_err(|e| e.within(cloze_generate_options::NAME));
    }
    let idle = [("top_k", own.top_k != 0), ("top_p", own.top_p != 0.0), ("seed", own.seed != 0)];
    match idle.iter().find(|(_, given)| *given) {
        None => Ok(None),
        Some((name, _)) => Err(Error::argument(format!(
            "cloze_generate_options.{name} with a temperature of 0, which takes the likeliest tokens"
        ))),
    }
}
