//! 10  Embed; hidden states

use std::ffi::{c_char, c_void};

use super::cancel::{Watch, cloze_progress};
use super::guard::guard;
use super::inputs::{CLOZE_NUL, array, index, inputs as given, model as opened, text as utf8};
use super::options::{Sized32, choice, read, reserved, switch, text as text_options};
use super::outputs::Array;
use super::{cloze_call_options, cloze_cancel, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{EmbedOptions, Pooling, Task};
use crate::error::Error;

pub const CLOZE_POOLING_AUTO: u32 = 0;
pub const CLOZE_POOLING_CLS: u32 = 1;
pub const CLOZE_POOLING_MEAN: u32 = 2;
pub const CLOZE_POOLING_MAX: u32 = 3;

/// By their numbers in C.
const POOLINGS: [Option<Pooling>; 4] = [None, Some(Pooling::Cls), Some(Pooling::Mean), Some(Pooling::Max)];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_embed_options {
    pub size: u32,
    pub text: u32,
    pub max_tokens: u32,
    pub pooling: u32,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub user: *mut c_void,
    pub prompt: *const c_char,
    pub normalize: u32,
    pub reserved: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers, raw pointers and an optional function.
unsafe impl Sized32 for cloze_embed_options {
    const NAME: &'static str = "cloze_embed_options";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_embed(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_embed_options,
    embeddings: *mut f32,
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
            reserved("cloze_embed_options.reserved", own.reserved)?;
            let mut text = text_options(cloze_embed_options::NAME, own.text, own.max_tokens)?;
            if !own.prompt.is_null() {
                text.prompt = Some(utf8("cloze_embed_options.prompt", own.prompt, CLOZE_NUL)?);
            }
            let pooling = choice("cloze_embed_options.pooling", own.pooling, &POOLINGS)?;
            let embed = EmbedOptions { pooling, normalize: switch("cloze_embed_options.normalize", own.normalize)? };
            let watch = Watch::new(own.cancel, own.progress, own.user);
            let out = Array::new("embeddings", embeddings, capacity, count)?;
            out.reserve(inputs.len().saturating_mul(model.embedding_width(&embed)))?;
            let encoded = model.encode(&inputs, Task::Embed, &text)?;
            out.write(&watch.run(|run| model.embed(&encoded, &embed, run))?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_hidden_states(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    layers: *const u32,
    layer_count: usize,
    options: *const cloze_call_options,
    states: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let layers: Vec<usize> = array("layers", layers, layer_count)?.iter().map(|&layer| index(layer)).collect();
            let (text, watch) = cloze_call_options::take(options)?;
            let out = Array::new("states", states, capacity, count)?;
            if let Some(place) = layers.iter().position(|&layer| layer > model.layers()) {
                return Err(Error::argument(format!(
                    "layers[{place}]: {}, the last is {}",
                    layers[place],
                    model.layers()
                )));
            }
            let encoded = model.encode(&inputs, Task::HiddenStates, &text)?;
            out.reserve(encoded.tokens().saturating_mul(layers.len()).saturating_mul(model.hidden()))?;
            let states = watch.run(|run| model.hidden_states(&encoded, &layers, run))?;
            out.write(&states.into_iter().flatten().collect::<Vec<_>>())
        })
    }
}
