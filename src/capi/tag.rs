//! 12  Tag

use std::ffi::c_void;

use super::cancel::{Watch, cloze_progress};
use super::guard::guard;
use super::inputs::{inputs as given, model as opened};
use super::options::{Sized32, choice, read, switch, text as text_options};
use super::outputs::{Array, field};
use super::tokens::OFFSETS;
use super::{cloze_call_options, cloze_cancel, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{Aggregation, Input, Span, TagOptions, Task, convert_offsets};
use crate::error::{Error, Result};

pub const CLOZE_AGGREGATION_SIMPLE: u32 = 0;
pub const CLOZE_AGGREGATION_NONE: u32 = 1;
pub const CLOZE_AGGREGATION_FIRST: u32 = 2;
pub const CLOZE_AGGREGATION_AVERAGE: u32 = 3;
pub const CLOZE_AGGREGATION_MAX: u32 = 4;

/// By their numbers in C.
const AGGREGATIONS: [Aggregation; 5] =
    [Aggregation::Simple, Aggregation::None, Aggregation::First, Aggregation::Average, Aggregation::Max];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_tag_options {
    pub size: u32,
    pub text: u32,
    pub max_tokens: u32,
    pub aggregation: u32,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub user: *mut c_void,
    pub offsets: u32,
    pub keep_outside: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers, raw pointers and an optional function.
unsafe impl Sized32 for cloze_tag_options {
    const NAME: &'static str = "cloze_tag_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_entity {
    pub input: u32,
    pub label: u32,
    pub start: u64,
    pub end: u64,
    pub probability: f64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_tag(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_tag_options,
    entities: *mut cloze_entity,
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
            let text = text_options(cloze_tag_options::NAME, own.text, own.max_tokens)?;
            let unit = choice("cloze_tag_options.offsets", own.offsets, &OFFSETS)?;
            let aggregation = choice("cloze_tag_options.aggregation", own.aggregation, &AGGREGATIONS)?;
            let keep_outside = switch("cloze_tag_options.keep_outside", own.keep_outside)?;
            let watch = Watch::new(own.cancel, own.progress, own.user);
            let out = Array::new("entities", entities, capacity, count)?;
            let texts = inputs.iter().enumerate().map(single_text).collect::<Result<Vec<&str>>>()?;
            model.supports(Task::Tag)?;
            let encoded = model.encode(&inputs, Task::Tag, &text)?;
            out.reserve(encoded.plain_tokens())?;
            let options = TagOptions { aggregation, keep_outside };
            let found = watch.run(|run| model.entities(&encoded, &texts, &options, run))?;
            let mut rows = Vec::with_capacity(found.len());
            for (place, (found, text)) in found.iter().zip(&texts).enumerate() {
                let spans: Vec<Span> = found.iter().map(|entity| entity.span).collect();
                let entities = found.iter().zip(convert_offsets(text, &spans, unit)).map(|(entity, span)| {
                    Ok(cloze_entity {
                        input: field(place)?,
                        label: field(entity.label)?,
                        start: field(span.start)?,
                        end: field(span.end)?,
                        probability: f64::from(entity.probability),
                    })
                });
                rows.push(entities.collect::<Result<Vec<_>>>()?);
            }
            out.write(&rows)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_tag_tokens(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_call_options,
    probabilities: *mut f32,
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
            let out = Array::new("probabilities", probabilities, capacity, count)?;
            model.supports(Task::Tag)?;
            let encoded = model.encode(&inputs, Task::Tag, &text)?;
            out.reserve(encoded.tokens().saturating_mul(model.labels().len()))?;
            let tagged = watch.run(|run| model.tag(&encoded, run))?;
            let rows = tagged.into_iter().flatten().map(|token| token.probabilities);
            out.write(&rows.collect::<Vec<_>>())
        })
    }
}

fn single_text<'a>((place, input): (usize, &Input<'a>)) -> Result<&'a str> {
    match *input {
        Input::Text(text) => Ok(text),
        Input::Pair(..) => Err(Error::input(format!("input {place}: a pair, entities need a single text"))),
        Input::Tokens { .. } => Err(Error::input(format!("input {place}: token ids, entities need a text"))),
    }
}
