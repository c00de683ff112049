//! The C ABI, through the functions that the built shared library exports.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{null, null_mut};

use cloze::capi::*;
use cloze::engine::{Aggregation, Input, Method, OffsetUnit, Pooling};
use libloading::Library as Loaded;

use super::{Answer, Drawing, Entity, Library, New, Shape, Token, Watch, Word};

/// The loaded library.
pub struct C {
    library: Loaded,
}

/// An open model and the memory that it borrows.
pub struct Handle<'a> {
    library: &'a Loaded,
    model: *mut cloze_model,
    _borrowed: Vec<(CString, Vec<u8>)>,
}

/// The exported function of that name, with the type that `src/capi` gives it; one `_` for each parameter.
macro_rules! exported {
    ($library:expr, $name:ident($($parameter:tt)*)) => {{
        let like: unsafe extern "C" fn($($parameter)*) -> _ = $name;
        symbol($library, stringify!($name), like)
    }};
}

mod training;

fn symbol<F: Copy>(library: &Loaded, name: &str, _like: F) -> F {
    // SAFETY: `tests/abi.rs` proves that what the library exports by this name has this type.
    unsafe { *library.get::<F>(name).unwrap() }
}

// SAFETY: cloze.h lets any number of threads use a model.
unsafe impl Sync for Handle<'_> {}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let close = exported!(self.library, cloze_model_close(_));
        // SAFETY: opened by this library and closed once.
        unsafe { close(self.model) };
    }
}

fn record() -> cloze_error {
    cloze_error { status: -1, message: [b'?' as c_char; 252] }
}

/// The answer that a status and an error record make. They always agree.
fn answer<T>(status: cloze_status, error: &cloze_error, value: impl FnOnce() -> T) -> Answer<T> {
    assert_eq!(status, error.status);
    // SAFETY: the library ends every message with NUL.
    let message = unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap().to_owned();
    assert_eq!(status == CLOZE_OK, message.is_empty(), "{message}");
    if status == CLOZE_OK { Ok(value()) } else { Err((status, message)) }
}

/// Asks for the size with no buffer, then with one that is short by one, then with the right one.
fn sized<T: Copy>(call: impl Fn(*mut T, usize, *mut usize, *mut cloze_error) -> cloze_status) -> Answer<Vec<T>> {
    sized_for(0, call)
}

fn sized_for<T: Copy>(
    nul: usize,
    call: impl Fn(*mut T, usize, *mut usize, *mut cloze_error) -> cloze_status,
) -> Answer<Vec<T>> {
    let (mut error, mut needed) = (record(), usize::MAX);
    let status = call(null_mut(), 0, &mut needed, &mut error);
    if status != CLOZE_BUFFER_TOO_SMALL {
        let untouched = if status == CLOZE_OK { 0 } else { usize::MAX };
        assert_eq!(needed, untouched, "a count is written on success or where the buffer is too small");
        return answer(status, &error, Vec::new);
    }
    let capacity = needed + nul;
    let mut buffer = vec![MaybeUninit::<T>::zeroed(); capacity + 1];
    let mut short = usize::MAX;
    assert_eq!(call(buffer.as_mut_ptr().cast(), capacity - 1, &mut short, &mut error), CLOZE_BUFFER_TOO_SMALL);
    assert_eq!(short, needed);
    let mut count = usize::MAX;
    let status = call(buffer.as_mut_ptr().cast(), capacity, &mut count, &mut error);
    answer(status, &error, || {
        assert!(count <= needed);
        // SAFETY: zeroed numbers, of which the library has written `count`.
        buffer[..count].iter().map(|value| unsafe { value.assume_init() }).collect()
    })
}

fn string(call: impl Fn(*mut c_char, usize, *mut usize, *mut cloze_error) -> cloze_status) -> Answer<String> {
    let bytes = sized_for(1, call)?;
    Ok(String::from_utf8(bytes.iter().map(|&byte| byte.to_ne_bytes()[0]).collect()).unwrap())
}

fn convert(inputs: &[Input<'_>]) -> Vec<cloze_input> {
    let empty = || cloze_input {
        text: null(),
        text_size: 0,
        pair: null(),
        pair_size: 0,
        ids: null(),
        types: null(),
        id_count: 0,
    };
    let one = |input: &Input<'_>| match *input {
        Input::Text(text) => cloze_input { text: text.as_ptr().cast(), text_size: text.len(), ..empty() },
        Input::Pair(text, pair) => cloze_input {
            text: text.as_ptr().cast(),
            text_size: text.len(),
            pair: pair.as_ptr().cast(),
            pair_size: pair.len(),
            ..empty()
        },
        Input::Tokens { ids, types } => cloze_input {
            ids: ids.as_ptr().cast(),
            types: if types.is_empty() { null() } else { types.as_ptr().cast() },
            id_count: ids.len(),
            ..empty()
        },
    };
    inputs.iter().map(one).collect()
}

/// Options with every field at its default but the size.
pub fn defaults<T: Copy>() -> T {
    let mut options = MaybeUninit::<T>::zeroed();
    // SAFETY: every option struct begins with its size and is valid when all else is zero.
    unsafe {
        options.as_mut_ptr().cast::<u32>().write(size_of::<T>() as u32);
        options.assume_init()
    }
}

unsafe extern "C" fn progress(user: *mut c_void, done: u64, total: u64) -> c_int {
    // SAFETY: `embed` hands over its watch.
    let watch = unsafe { &mut *user.cast::<Watch>() };
    watch.seen.push((done, total));
    c_int::from(watch.stop)
}

/// Counts what it is told and wants no more than so many.
unsafe extern "C" fn count_down(user: *mut c_void, _: *const cloze_new_token) -> c_int {
    // SAFETY: `generate` hands over its count.
    let left = unsafe { &mut *user.cast::<usize>() };
    *left = left.saturating_sub(1);
    c_int::from(*left == 0)
}

fn unit_number(unit: OffsetUnit) -> u32 {
    match unit {
        OffsetUnit::Bytes => CLOZE_OFFSETS_BYTES,
        OffsetUnit::CodePoints => CLOZE_OFFSETS_CODE_POINTS,
        OffsetUnit::Utf16 => CLOZE_OFFSETS_UTF16,
    }
}

fn score_options(method: Method) -> cloze_score_options {
    let method = match method {
        Method::PseudoLogLikelihood => CLOZE_SCORE_PLL,
        Method::WordLeftToRight => CLOZE_SCORE_PLL_WORD_L2R,
        Method::Causal => CLOZE_SCORE_CAUSAL,
    };
    cloze_score_options { method, ..defaults() }
}

impl C {
    pub fn load(path: &Path) -> Self {
        // SAFETY: loading runs no code of ours.
        Self { library: unsafe { Loaded::new(path) }.unwrap() }
    }
}

// SAFETY of every call below: pointers to live locals, slices and handles, as cloze.h wants them.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<'a> Library for &'a C {
    type Model = Handle<'a>;

    fn open(&self, folder: &Path) -> Answer<Handle<'a>> {
        let folder = CString::new(folder.to_str().unwrap()).unwrap();
        let options = cloze_open_options { threads: 2, ..defaults() };
        let (mut model, mut error) = (null_mut(), record());
        let open = exported!(&self.library, cloze_model_open(_, _, _, _));
        let status = unsafe { open(folder.as_ptr(), &options, &mut model, &mut error) };
        answer(status, &error, || Handle { library: &self.library, model, _borrowed: Vec::new() })
    }

    fn open_memory(&self, files: &[(String, Vec<u8>)]) -> Answer<Handle<'a>> {
        let own = |(name, data): &(String, Vec<u8>)| (CString::new(name.as_str()).unwrap(), data.clone());
        let borrowed: Vec<(CString, Vec<u8>)> = files.iter().map(own).collect();
        let file = |(name, data): &(CString, Vec<u8>)| cloze_file {
            name: name.as_ptr(),
            data: data.as_ptr().cast(),
            size: data.len(),
        };
        let files: Vec<cloze_file> = borrowed.iter().map(file).collect();
        let (mut model, mut error) = (null_mut(), record());
        let open = exported!(&self.library, cloze_model_open_memory(_, _, _, _, _));
        let status = unsafe { open(files.as_ptr(), files.len(), null(), &mut model, &mut error) };
        answer(status, &error, || Handle { library: &self.library, model, _borrowed: borrowed })
    }

    fn info(&self, model: &Handle<'a>) -> Answer<Shape> {
        let (mut info, mut error): (cloze_info, _) = (defaults(), record());
        let ask = exported!(&self.library, cloze_model_info(_, _, _));
        let status = unsafe { ask(model.model, &mut info, &mut error) };
        answer(status, &error, || Shape {
            layers: info.layers as usize,
            hidden: info.hidden as usize,
            vocabulary: info.vocabulary as usize,
            max_tokens: info.max_tokens as usize,
            embedding: info.embedding as usize,
            labels: info.labels as usize,
            tasks: info.tasks.count_ones() as usize,
            reads_text: info.has_tokenizer == 1,
            parameters: info.parameters,
        })
    }

    fn report(&self, model: &Handle<'a>) -> Answer<String> {
        let report = exported!(&self.library, cloze_model_report(_, _, _, _, _));
        string(|json, capacity, size, error| unsafe { report(model.model, json, capacity, size, error) })
    }

    fn label(&self, model: &Handle<'a>, label: u32) -> Answer<String> {
        let ask = exported!(&self.library, cloze_model_label(_, _, _, _, _, _));
        string(|name, capacity, size, error| unsafe { ask(model.model, label, name, capacity, size, error) })
    }

    fn tokenize(&self, model: &Handle<'a>, inputs: &[Input<'_>], unit: OffsetUnit) -> Answer<Vec<Token>> {
        let options = cloze_tokenize_options { offsets: unit_number(unit), ..defaults() };
        let inputs = convert(inputs);
        let tokenize = exported!(&self.library, cloze_tokenize(_, _, _, _, _, _, _, _));
        let tokens: Vec<cloze_token> = sized(|tokens, capacity, count, error| unsafe {
            tokenize(model.model, inputs.as_ptr(), inputs.len(), &options, tokens, capacity, count, error)
        })?;
        let mut position = 0;
        Ok(tokens
            .iter()
            .enumerate()
            .map(|(index, token)| {
                position = if index > 0 && tokens[index - 1].input == token.input { position + 1 } else { 0 };
                assert_eq!(token.position, position);
                let place =
                    (u8::try_from(token.text).ok()).map(|text| (text, token.start as usize, token.end as usize));
                let word = u32::try_from(token.word).ok();
                Token { id: token.id as u32, segment: token.r#type as u32, word, place }
            })
            .collect())
    }

    fn token_text(&self, model: &Handle<'a>, id: u32) -> Answer<String> {
        let ask = exported!(&self.library, cloze_token_text(_, _, _, _, _, _));
        string(|text, capacity, size, error| unsafe { ask(model.model, id as i32, text, capacity, size, error) })
    }

    fn token_id(&self, model: &Handle<'a>, token: &str) -> Answer<u32> {
        let (mut id, mut error) = (-1, record());
        let ask = exported!(&self.library, cloze_token_id(_, _, _, _, _));
        let status = unsafe { ask(model.model, token.as_ptr().cast(), token.len(), &mut id, &mut error) };
        answer(status, &error, || id as u32)
    }

    fn decode(&self, model: &Handle<'a>, ids: &[u32]) -> Answer<String> {
        let decode = exported!(&self.library, cloze_decode(_, _, _, _, _, _, _));
        string(|text, capacity, size, error| unsafe {
            decode(model.model, ids.as_ptr().cast(), ids.len(), text, capacity, size, error)
        })
    }

    fn fill(&self, model: &Handle<'a>, inputs: &[Input<'_>], top_k: u32, targets: &[u32]) -> Answer<Vec<Word>> {
        let ids = if targets.is_empty() { null() } else { targets.as_ptr().cast() };
        let options = cloze_fill_options { top_k, targets: ids, target_count: targets.len(), ..defaults() };
        let inputs = convert(inputs);
        let fill = exported!(&self.library, cloze_fill(_, _, _, _, _, _, _, _));
        let words: Vec<cloze_candidate> = sized(|words, capacity, count, error| unsafe {
            fill(model.model, inputs.as_ptr(), inputs.len(), &options, words, capacity, count, error)
        })?;
        let word = |word: cloze_candidate| Word {
            input: word.input as usize,
            position: word.position as usize,
            id: word.id as u32,
            probability: word.probability,
        };
        Ok(words.into_iter().map(word).collect())
    }

    fn score(&self, model: &Handle<'a>, inputs: &[Input<'_>], method: Method) -> Answer<Vec<(f64, u64)>> {
        let (inputs, options, mut error) = (convert(inputs), score_options(method), record());
        let mut scores = vec![cloze_text_score { log_likelihood: 0.0, tokens: 0 }; inputs.len()];
        let score = exported!(&self.library, cloze_score(_, _, _, _, _, _, _));
        let (first, count) = (inputs.as_ptr(), inputs.len());
        let status = unsafe { score(model.model, first, count, &options, scores.as_mut_ptr(), count, &mut error) };
        answer(status, &error, || scores.iter().map(|score| (score.log_likelihood, score.tokens)).collect())
    }

    fn score_tokens(&self, model: &Handle<'a>, inputs: &[Input<'_>], method: Method) -> Answer<Vec<Word>> {
        let (inputs, options) = (convert(inputs), score_options(method));
        let score = exported!(&self.library, cloze_score_tokens(_, _, _, _, _, _, _, _));
        let words: Vec<cloze_token_score> = sized(|scores, capacity, count, error| unsafe {
            score(model.model, inputs.as_ptr(), inputs.len(), &options, scores, capacity, count, error)
        })?;
        let word = |word: cloze_token_score| Word {
            input: word.input as usize,
            position: word.position as usize,
            id: word.id as u32,
            probability: word.log_probability,
        };
        Ok(words.into_iter().map(word).collect())
    }

    fn generate(&self, model: &Handle<'a>, prompts: &[Input<'_>], asked: &Drawing, most: usize) -> Answer<Vec<New>> {
        let (prompts, mut left) = (convert(prompts), most);
        let options = cloze_generate_options {
            max_tokens: asked.max_tokens as u32,
            count: asked.count as u32,
            temperature: asked.temperature,
            top_k: asked.top_k as u32,
            top_p: asked.top_p,
            seed: asked.seed,
            token: Some(count_down),
            user: (&raw mut left).cast(),
            ..defaults()
        };
        let generate = exported!(&self.library, cloze_generate(_, _, _, _, _, _, _, _));
        let tokens: Vec<cloze_new_token> = sized(|tokens, capacity, count, error| unsafe {
            generate(model.model, prompts.as_ptr(), prompts.len(), &options, tokens, capacity, count, error)
        })?;
        let new = |token: cloze_new_token| New {
            input: token.input as usize,
            continuation: token.continuation as usize,
            id: token.id as u32,
            log_probability: token.log_probability,
        };
        Ok(tokens.into_iter().map(new).collect())
    }

    fn perplexity(&self, scores: &[(f64, u64)]) -> f64 {
        let convert = |&(log_likelihood, tokens): &(f64, u64)| cloze_text_score { log_likelihood, tokens };
        let scores: Vec<cloze_text_score> = scores.iter().map(convert).collect();
        let perplexity = exported!(&self.library, cloze_perplexity(_, _));
        unsafe { perplexity(scores.as_ptr(), scores.len()) }
    }

    fn next_sentence(&self, model: &Handle<'a>, inputs: &[Input<'_>]) -> Answer<Vec<f32>> {
        let (inputs, mut error) = (convert(inputs), record());
        let mut values = vec![0.0; inputs.len()];
        let judge = exported!(&self.library, cloze_next_sentence(_, _, _, _, _, _, _));
        let (first, count) = (inputs.as_ptr(), inputs.len());
        let status = unsafe { judge(model.model, first, count, null(), values.as_mut_ptr(), count, &mut error) };
        answer(status, &error, || values)
    }

    fn embed(
        &self,
        model: &Handle<'a>,
        inputs: &[Input<'_>],
        pooling: Option<Pooling>,
        prompt: Option<&str>,
        watch: &mut Watch,
    ) -> Answer<Vec<f32>> {
        let pooling = match pooling {
            None => CLOZE_POOLING_AUTO,
            Some(Pooling::Cls) => CLOZE_POOLING_CLS,
            Some(Pooling::Mean) => CLOZE_POOLING_MEAN,
            Some(_) => CLOZE_POOLING_MAX,
        };
        let mut cancel = null_mut();
        let new = exported!(&self.library, cloze_cancel_new(_, _));
        let set = exported!(&self.library, cloze_cancel_set(_));
        let free = exported!(&self.library, cloze_cancel_free(_));
        assert_eq!(unsafe { new(&mut cancel, null_mut()) }, CLOZE_OK);
        if watch.cancelled {
            unsafe { set(cancel) };
        }
        let prompt = prompt.map(|prompt| CString::new(prompt).unwrap());
        let options = cloze_embed_options {
            pooling,
            prompt: prompt.as_ref().map_or(null(), |prompt| prompt.as_ptr()),
            cancel,
            progress: Some(progress),
            user: (watch as *mut Watch).cast(),
            ..defaults()
        };
        let inputs = convert(inputs);
        let embed = exported!(&self.library, cloze_embed(_, _, _, _, _, _, _, _));
        let values = sized(|values, capacity, count, error| unsafe {
            embed(model.model, inputs.as_ptr(), inputs.len(), &options, values, capacity, count, error)
        });
        unsafe { free(cancel) };
        values
    }

    fn hidden_states(&self, model: &Handle<'a>, inputs: &[Input<'_>], layers: &[u32]) -> Answer<Vec<f32>> {
        let inputs = convert(inputs);
        let ask = exported!(&self.library, cloze_hidden_states(_, _, _, _, _, _, _, _, _, _));
        let (first, count) = (layers.as_ptr(), layers.len());
        sized(|states, capacity, size, error| unsafe {
            ask(model.model, inputs.as_ptr(), inputs.len(), first, count, null(), states, capacity, size, error)
        })
    }

    fn classify(&self, model: &Handle<'a>, inputs: &[Input<'_>]) -> Answer<Vec<f32>> {
        let inputs = convert(inputs);
        let classify = exported!(&self.library, cloze_classify(_, _, _, _, _, _, _, _));
        sized(|values, capacity, count, error| unsafe {
            classify(model.model, inputs.as_ptr(), inputs.len(), null(), values, capacity, count, error)
        })
    }

    fn tag(
        &self,
        model: &Handle<'a>,
        inputs: &[Input<'_>],
        aggregation: Aggregation,
        unit: OffsetUnit,
    ) -> Answer<Vec<Entity>> {
        let aggregation = match aggregation {
            Aggregation::Simple => CLOZE_AGGREGATION_SIMPLE,
            Aggregation::None => CLOZE_AGGREGATION_NONE,
            Aggregation::First => CLOZE_AGGREGATION_FIRST,
            Aggregation::Average => CLOZE_AGGREGATION_AVERAGE,
            Aggregation::Max => CLOZE_AGGREGATION_MAX,
        };
        let options = cloze_tag_options { aggregation, offsets: unit_number(unit), ..defaults() };
        let inputs = convert(inputs);
        let tag = exported!(&self.library, cloze_tag(_, _, _, _, _, _, _, _));
        let entities: Vec<cloze_entity> = sized(|entities, capacity, count, error| unsafe {
            tag(model.model, inputs.as_ptr(), inputs.len(), &options, entities, capacity, count, error)
        })?;
        let entity = |entity: cloze_entity| Entity {
            input: entity.input as usize,
            label: entity.label as usize,
            start: entity.start as usize,
            end: entity.end as usize,
            probability: entity.probability,
        };
        Ok(entities.into_iter().map(entity).collect())
    }

    fn tag_tokens(&self, model: &Handle<'a>, inputs: &[Input<'_>]) -> Answer<Vec<f32>> {
        let inputs = convert(inputs);
        let tag = exported!(&self.library, cloze_tag_tokens(_, _, _, _, _, _, _, _));
        sized(|values, capacity, count, error| unsafe {
            tag(model.model, inputs.as_ptr(), inputs.len(), null(), values, capacity, count, error)
        })
    }
}
