//! 6  Inputs and tokens

use std::ffi::c_char;

use super::guard::guard;
use super::inputs::{index, inputs as given, model as opened, numbers, text as utf8};
use super::options::{Sized32, choice, read, text as text_options};
use super::outputs::{Array, Text, Value, field, id as signed};
use super::{cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{Input, Item, OffsetUnit, Span, Task, convert_offsets};
use crate::error::{Error, Result};

pub const CLOZE_OFFSETS_BYTES: u32 = 0;
pub const CLOZE_OFFSETS_CODE_POINTS: u32 = 1;
pub const CLOZE_OFFSETS_UTF16: u32 = 2;

/// By their numbers in C.
pub(super) const OFFSETS: [OffsetUnit; 3] = [OffsetUnit::Bytes, OffsetUnit::CodePoints, OffsetUnit::Utf16];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_tokenize_options {
    pub size: u32,
    pub text: u32,
    pub max_tokens: u32,
    pub offsets: u32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are integers.
unsafe impl Sized32 for cloze_tokenize_options {
    const NAME: &'static str = "cloze_tokenize_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_token {
    pub input: u32,
    pub id: i32,
    pub r#type: i32,
    pub word: i32,
    pub text: i32,
    pub position: u32,
    pub start: u64,
    pub end: u64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_tokenize(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_tokenize_options,
    tokens: *mut cloze_token,
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
            let text = text_options(cloze_tokenize_options::NAME, own.text, own.max_tokens)?;
            let unit = choice("cloze_tokenize_options.offsets", own.offsets, &OFFSETS)?;
            let out = Array::new("tokens", tokens, capacity, count)?;
            // Hidden states have a row for every token: their rules are those of the tokens themselves.
            let encoded = model.encode(&inputs, Task::HiddenStates, &text)?;
            out.reserve(encoded.tokens())?;
            let tokens = inputs.iter().zip(encoded.items()).enumerate();
            let tokens = tokens.map(|(place, (input, item))| tokens_of(place, input, item, unit));
            out.write(&tokens.collect::<Result<Vec<_>>>()?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_token_text(
    model: *const cloze_model,
    id: i32,
    text: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let out = Text::new("text", text, capacity, size)?;
            let tokenizer = model.tokenizer()?;
            let token = u32::try_from(id).ok().and_then(|id| tokenizer.token(id));
            out.write(token.ok_or_else(|| {
                Error::input(format!("id: {id}, the vocabulary has {} and none of that number", tokenizer.size()))
            })?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_token_id(
    model: *const cloze_model,
    token: *const c_char,
    token_size: usize,
    id: *mut i32,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let token = utf8("token", token, token_size)?;
            let out = Value::new("id", id)?;
            let found = model.tokenizer()?.id(token);
            let found = found.ok_or_else(|| Error::missing(format!("token \"{token}\": not in the vocabulary")))?;
            out.write(signed(found)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_decode(
    model: *const cloze_model,
    ids: *const i32,
    id_count: usize,
    text: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let ids = numbers("ids", ids, id_count)?;
            let out = Text::new("text", text, capacity, size)?;
            out.write(&model.tokenizer()?.decode(ids, true)?)
        })
    }
}

/// The tokens of one input. Of token ids, neither word nor place in a text is known.
fn tokens_of(place: usize, input: &Input<'_>, item: &Item, unit: OffsetUnit) -> Result<Vec<cloze_token>> {
    let (ids, types) = (&item.tokens.ids, &item.tokens.types);
    let spans = |of: u8, text: &str| match &item.encoding {
        None => Vec::new(),
        Some(encoding) => {
            let own = |(span, text): (&Span, &Option<u8>)| if *text == Some(of) { *span } else { Span::default() };
            let spans: Vec<Span> = encoding.offsets.iter().zip(&encoding.sequence).map(own).collect();
            convert_offsets(text, &spans, unit)
        }
    };
    let (first, second) = match *input {
        Input::Text(text) => (spans(0, text), Vec::new()),
        Input::Pair(text, pair) => (spans(0, text), spans(1, pair)),
        Input::Tokens { .. } => (Vec::new(), Vec::new()),
    };
    let token = |position: usize| {
        let source = item.encoding.as_ref().and_then(|encoding| encoding.sequence[position]);
        let word = item.encoding.as_ref().and_then(|encoding| encoding.words[position]);
        let span = match source {
            Some(0) => first[position],
            Some(_) => second[position],
            None => Span::default(),
        };
        Ok(cloze_token {
            input: field(place)?,
            id: signed(ids[position])?,
            r#type: signed(types[position])?,
            word: match word {
                Some(word) => field(index(word))?,
                None => -1,
            },
            text: source.map_or(-1, i32::from),
            position: field(position)?,
            start: field(span.start)?,
            end: field(span.end)?,
        })
    };
    (0..ids.len()).map(token).collect()
}
