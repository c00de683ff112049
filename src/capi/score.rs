//! 8  Score

use std::ffi::c_void;

use super::cancel::{Watch, cloze_progress};
use super::guard::{guard, guard_value};
use super::inputs::{array, inputs as given, model as opened, optional_id};
use super::options::{Sized32, choice, read, text as text_options};
use super::outputs::{Array, field, id};
use super::{cloze_cancel, cloze_error, cloze_input, cloze_model, cloze_status};
use crate::engine::{Method, ScoreOptions, Task, TextOptions, perplexity_of};
use crate::error::Result;

pub const CLOZE_SCORE_PLL: u32 = 0;
pub const CLOZE_SCORE_PLL_WORD_L2R: u32 = 1;
pub const CLOZE_SCORE_CAUSAL: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_score_options {
    pub size: u32,
    pub text: u32,
    pub max_tokens: u32,
    pub method: u32,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub user: *mut c_void,
    pub mask: *const i32,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers, raw pointers and an optional function.
unsafe impl Sized32 for cloze_score_options {
    const NAME: &'static str = "cloze_score_options";
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_text_score {
    pub log_likelihood: f64,
    pub tokens: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_token_score {
    pub input: u32,
    pub position: u32,
    pub id: i32,
    pub log_probability: f32,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_score(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_score_options,
    scores: *mut cloze_text_score,
    capacity: usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let (text, score, watch) = take(options)?;
            let out = Array::uncounted("scores", scores, capacity)?;
            model.supports(Task::Score)?;
            out.reserve(inputs.len())?;
            let encoded = model.encode(&inputs, Task::Score, &text)?;
            let scored = watch.run(|run| model.score(&encoded, &score, run))?;
            let sums = scored
                .iter()
                .map(|score| Ok(cloze_text_score { log_likelihood: score.total, tokens: field(score.tokens.len())? }));
            out.write(&[sums.collect::<Result<Vec<_>>>()?])
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_score_tokens(
    model: *const cloze_model,
    inputs: *const cloze_input,
    input_count: usize,
    options: *const cloze_score_options,
    scores: *mut cloze_token_score,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let inputs = given(inputs, input_count)?;
            let (text, score, watch) = take(options)?;
            let out = Array::new("scores", scores, capacity, count)?;
            model.supports(Task::Score)?;
            let encoded = model.encode(&inputs, Task::Score, &text)?;
            out.reserve(model.scored_positions(&encoded).iter().map(Vec::len).sum())?;
            let scored = watch.run(|run| model.score(&encoded, &score, run))?;
            let mut tokens = Vec::new();
            for (place, score) in scored.iter().enumerate() {
                for token in &score.tokens {
                    tokens.push(cloze_token_score {
                        input: field(place)?,
                        position: field(token.position)?,
                        id: id(token.id)?,
                        log_probability: token.log_probability,
                    });
                }
            }
            out.write(&[tokens])
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_perplexity(scores: *const cloze_text_score, score_count: usize) -> f64 {
    guard_value(1.0, || {
        let count = if scores.is_null() { 0 } else { score_count };
        // SAFETY: the header's promise.
        let scores = unsafe { array("scores", scores, count) }.unwrap_or_default();
        let tokens = scores.iter().fold(0, |sum: u64, score| sum.saturating_add(score.tokens));
        perplexity_of(scores.iter().map(|score| score.log_likelihood).sum(), tokens)
    })
}

/// # Safety
///
/// The header's promise for `options` and the pointers in it.
unsafe fn take<'a>(options: *const cloze_score_options) -> Result<(TextOptions<'a>, ScoreOptions, Watch)> {
    const METHODS: [Method; 3] = [Method::PseudoLogLikelihood, Method::WordLeftToRight, Method::Causal];
    // SAFETY: the caller's promise.
    unsafe {
        let own = read(options)?;
        let text = text_options(cloze_score_options::NAME, own.text, own.max_tokens)?;
        let method = choice("cloze_score_options.method", own.method, &METHODS)?;
        let mask = optional_id("cloze_score_options.mask", own.mask)?;
        Ok((text, ScoreOptions { method, mask }, Watch::new(own.cancel, own.progress, own.user)))
    }
}
