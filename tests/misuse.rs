//! What only C can do wrong: null pointers, text that is not UTF-8, sizes and numbers that lie. Each is an error that
//! names the parameter, and no output is touched.

#![allow(clippy::unwrap_used)] // a test may panic

use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

use cloze::capi::*;

fn record() -> cloze_error {
    cloze_error { status: -1, message: [b'?' as c_char; 252] }
}

fn message(error: &cloze_error) -> &str {
    // SAFETY: the library ends every message with NUL.
    unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap()
}

fn defaults<T: Copy>() -> T {
    let mut options = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: every option struct begins with its size and is valid when all else is zero.
    unsafe {
        options.as_mut_ptr().cast::<u32>().write(size_of::<T>() as u32);
        options.assume_init()
    }
}

struct Open(*mut cloze_model);

impl Open {
    fn new(name: &str) -> Self {
        let folder = CString::new(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let (mut model, mut error) = (null_mut(), record());
        // SAFETY: live locals.
        let status = unsafe { cloze_model_open(folder.as_ptr(), null(), &mut model, &mut error) };
        assert_eq!(status, CLOZE_OK, "{}", message(&error));
        Self(model)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: opened above and closed once.
        unsafe { cloze_model_close(self.0) };
    }
}

/// A classifier of two sentences whose head trains.
struct Training {
    _model: Open,
    dataset: *mut cloze_dataset,
    trainer: *mut cloze_trainer,
}

impl Training {
    fn new() -> Self {
        let options = cloze_train_options { trainable: CLOZE_TRAINABLE_HEAD, ..defaults() };
        let model = Open::new("bare");
        let (mut dataset, mut trainer, mut error) = (null_mut(), null_mut(), record());
        let inputs = [text(b"the cat"), text(b"the dog")];
        let targets = [c"cat", c"dog"].map(label);
        // SAFETY: live locals.
        unsafe {
            assert_eq!(cloze_dataset_new(&mut dataset, &mut error), CLOZE_OK);
            let status = cloze_dataset_add(dataset, inputs.as_ptr(), targets.as_ptr(), 2, &mut error);
            assert_eq!(status, CLOZE_OK, "{}", message(&error));
            let status = cloze_trainer_new(model.0, &options, dataset, &mut trainer, &mut error);
            assert_eq!(status, CLOZE_OK, "{}", message(&error));
        }
        Self { _model: model, dataset, trainer }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // SAFETY: made above and freed once.
        unsafe {
            cloze_trainer_free(self.trainer);
            cloze_dataset_free(self.dataset);
        }
    }
}

fn label(name: &CStr) -> cloze_target {
    cloze_target { kind: CLOZE_TARGET_LABEL, name: name.as_ptr(), ..no_target() }
}

fn no_target() -> cloze_target {
    cloze_target {
        kind: CLOZE_TARGET_NONE,
        number: 0.0,
        start: 0,
        name: null(),
        names: null(),
        numbers: null(),
        ids: null(),
        count: 0,
    }
}

fn text(text: &[u8]) -> cloze_input {
    cloze_input { text: text.as_ptr().cast(), text_size: text.len(), ..nothing() }
}

fn nothing() -> cloze_input {
    cloze_input { text: null(), text_size: 0, pair: null(), pair_size: 0, ids: null(), types: null(), id_count: 0 }
}

/// Calls `call` with an error record and expects `status` and a message that contains `expected`; then without a record.
#[track_caller]
fn refused(status: cloze_status, expected: &str, call: impl Fn(*mut cloze_error) -> cloze_status) {
    let mut error = record();
    assert_eq!(call(&mut error), status, "{}", message(&error));
    assert_eq!(error.status, status);
    assert!(message(&error).contains(expected), "{:?}, expected {expected:?} in it", message(&error));
    assert_eq!(call(null_mut()), status);
}

/// An embedding of 12 numbers of one text, under `options`.
fn embed(model: &Open, input: cloze_input, options: *const cloze_embed_options, error: *mut cloze_error) -> i32 {
    let (mut vector, mut count) = ([7.0; 32], 99);
    // SAFETY: live locals; the options are those of the test.
    let status = unsafe { cloze_embed(model.0, &input, 1, options, vector.as_mut_ptr(), 32, &mut count, error) };
    assert_eq!((count != 99, vector != [7.0; 32]), (status == 0, status == 0), "outputs are written on success only");
    status
}

#[test]
fn null_for_every_parameter_of_every_function() {
    let open = Open::new("pretraining");
    let m: *const cloze_model = open.0;
    let (input, none) = (text(b"a [MASK]"), null_mut::<usize>());
    let i: *const cloze_input = &input;
    let mut size = 0;
    let n: *mut usize = &mut size;
    let (id, layer) = (3, 0);
    let floats = &mut [0f32; 4] as *mut f32;
    let folder = c"folder".as_ptr();
    let training = Training::new();
    let (d, t) = (training.dataset, training.trainer);
    type Call<'a> = (&'a str, &'a str, Box<dyn Fn(*mut cloze_error) -> cloze_status + 'a>);
    macro_rules! calls {
        ($($name:ident($($argument:expr),*) names $expected:literal;)*) => {
            // SAFETY: each argument is NULL or a live local.
            vec![$((stringify!($name), $expected, Box::new(move |e| unsafe { $name($($argument,)* e) }))),*]
        };
    }
    let calls: Vec<Call<'_>> = calls! {
        cloze_cancel_new(null_mut()) names "cancel";
        cloze_model_open(null(), null(), null_mut()) names "folder";
        cloze_model_open(folder, null(), null_mut()) names "model";
        cloze_model_open_memory(null(), 0, null(), null_mut()) names "model";
        cloze_model_open_memory(null(), 1, null(), null_mut()) names "files";
        cloze_model_open_memory(&cloze_file { name: null(), data: null(), size: 0 }, 1, null(), null_mut()) names "files[0].name";
        cloze_model_open_memory(&cloze_file { name: folder, data: null(), size: 1 }, 1, null(), null_mut()) names "files[0].data";
        cloze_model_info(null(), null_mut()) names "model";
        cloze_model_info(m, null_mut()) names "info";
        cloze_model_report(null(), null_mut(), 0, n) names "model";
        cloze_model_report(m, null_mut(), 1, n) names "json";
        cloze_model_report(m, null_mut(), 0, none) names "size";
        cloze_model_label(null(), 0, null_mut(), 0, n) names "model";
        cloze_model_label(m, 0, null_mut(), 1, n) names "name";
        cloze_model_label(m, 0, null_mut(), 0, none) names "size";
        cloze_tokenize(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_tokenize(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_tokenize(m, i, 1, null(), null_mut(), 1, n) names "tokens";
        cloze_tokenize(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_token_text(null(), 0, null_mut(), 0, n) names "model";
        cloze_token_text(m, 0, null_mut(), 1, n) names "text";
        cloze_token_text(m, 0, null_mut(), 0, none) names "size";
        cloze_token_id(null(), folder, 1, null_mut()) names "model";
        cloze_token_id(m, null(), 1, null_mut()) names "token";
        cloze_token_id(m, null(), CLOZE_NUL, null_mut()) names "token";
        cloze_token_id(m, folder, 1, null_mut()) names "id";
        cloze_decode(null(), &id, 1, null_mut(), 0, n) names "model";
        cloze_decode(m, null(), 1, null_mut(), 0, n) names "ids";
        cloze_decode(m, &id, 1, null_mut(), 1, n) names "text";
        cloze_decode(m, &id, 1, null_mut(), 0, none) names "size";
        cloze_fill(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_fill(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_fill(m, i, 1, null(), null_mut(), 1, n) names "candidates";
        cloze_fill(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_fill(m, i, 1, &cloze_fill_options { target_count: 1, ..defaults() }, null_mut(), 0, n) names "targets";
        cloze_generate(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_generate(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_generate(m, i, 1, null(), null_mut(), 1, n) names "tokens";
        cloze_generate(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_score(null(), i, 1, null(), null_mut(), 0) names "model";
        cloze_score(m, null(), 1, null(), null_mut(), 0) names "inputs";
        cloze_score(m, i, 1, null(), null_mut(), 1) names "scores";
        cloze_score_tokens(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_score_tokens(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_score_tokens(m, i, 1, null(), null_mut(), 1, n) names "scores";
        cloze_score_tokens(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_next_sentence(null(), i, 1, null(), null_mut(), 0) names "model";
        cloze_next_sentence(m, null(), 1, null(), null_mut(), 0) names "inputs";
        cloze_next_sentence(m, i, 1, null(), null_mut(), 1) names "is_next";
        cloze_embed(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_embed(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_embed(m, i, 1, null(), null_mut(), 1, n) names "embeddings";
        cloze_embed(m, i, 1, null(), floats, 4, none) names "count";
        cloze_hidden_states(null(), i, 1, &layer, 1, null(), null_mut(), 0, n) names "model";
        cloze_hidden_states(m, null(), 1, &layer, 1, null(), null_mut(), 0, n) names "inputs";
        cloze_hidden_states(m, i, 1, null(), 1, null(), null_mut(), 0, n) names "layers";
        cloze_hidden_states(m, i, 1, &layer, 1, null(), null_mut(), 1, n) names "states";
        cloze_hidden_states(m, i, 1, &layer, 1, null(), null_mut(), 0, none) names "count";
        cloze_classify(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_classify(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_classify(m, i, 1, null(), null_mut(), 1, n) names "values";
        cloze_classify(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_tag(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_tag(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_tag(m, i, 1, null(), null_mut(), 1, n) names "entities";
        cloze_tag(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_tag_tokens(null(), i, 1, null(), null_mut(), 0, n) names "model";
        cloze_tag_tokens(m, null(), 1, null(), null_mut(), 0, n) names "inputs";
        cloze_tag_tokens(m, i, 1, null(), null_mut(), 1, n) names "probabilities";
        cloze_tag_tokens(m, i, 1, null(), null_mut(), 0, none) names "count";
        cloze_dataset_new(null_mut()) names "dataset";
        cloze_dataset_add(null_mut(), i, null(), 1) names "dataset";
        cloze_dataset_add(d, null(), null(), 1) names "inputs";
        cloze_dataset_add(d, i, &cloze_target { kind: CLOZE_TARGET_LABEL, ..no_target() }, 1) names "target 0: name";
        cloze_dataset_add(d, i, &cloze_target { kind: CLOZE_TARGET_LABELS, count: 1, ..no_target() }, 1) names "target 0: names";
        cloze_dataset_add(d, i, &cloze_target { kind: CLOZE_TARGET_NUMBERS, count: 1, ..no_target() }, 1) names "target 0: numbers";
        cloze_dataset_add(d, i, &cloze_target { kind: CLOZE_TARGET_ANSWER, ..no_target() }, 1) names "target 0: name";
        cloze_dataset_add(d, i, &cloze_target { kind: CLOZE_TARGET_TOKENS, count: 1, ..no_target() }, 1) names "target 0: ids";
        cloze_dataset_add_words(null_mut(), null(), null(), 0) names "dataset";
        cloze_dataset_add_words(d, null(), null(), 1) names "words";
        cloze_dataset_add_words(d, &null(), null(), 1) names "words[0]";
        cloze_dataset_add_words(d, &folder, &null(), 1) names "tags[0]";
        cloze_dataset_read(null(), 0, null(), null_mut()) names "path";
        cloze_dataset_read(folder, 0, null(), null_mut()) names "dataset";
        cloze_trainer_new(null(), null(), null(), null_mut()) names "model";
        cloze_trainer_new(m, null(), null(), null_mut()) names "trainer";
        cloze_trainer_new(m, &cloze_train_options { label_count: 1, ..defaults() }, null(), null_mut()) names "cloze_train_options.labels";
        cloze_trainer_new(m, &cloze_train_options { class_weight_count: 1, ..defaults() }, null(), null_mut()) names "cloze_train_options.class_weights";
        cloze_trainer_new(m, &cloze_train_options { lora_target_count: 1, ..defaults() }, null(), null_mut()) names "cloze_train_options.lora_targets";
        cloze_trainer_info(null(), null_mut()) names "trainer";
        cloze_trainer_info(t, null_mut()) names "state";
        cloze_trainer_report(null(), null_mut(), 0, n) names "trainer";
        cloze_trainer_report(t, null_mut(), 1, n) names "json";
        cloze_trainer_report(t, null_mut(), 0, none) names "size";
        cloze_trainer_label(null(), 0, null_mut(), 0, n) names "trainer";
        cloze_trainer_label(t, 0, null_mut(), 1, n) names "name";
        cloze_trainer_label(t, 0, null_mut(), 0, none) names "size";
        cloze_trainer_fit(null_mut(), d, null(), null(), null_mut()) names "trainer";
        cloze_trainer_fit(t, null(), null(), null(), null_mut()) names "train";
        cloze_trainer_resume(null_mut(), folder) names "trainer";
        cloze_trainer_resume(t, null()) names "folder";
        cloze_trainer_evaluate(null(), d, null(), null_mut(), 0, n) names "trainer";
        cloze_trainer_evaluate(t, null(), null(), null_mut(), 0, n) names "data";
        cloze_trainer_evaluate(t, d, null(), null_mut(), 1, n) names "metrics";
        cloze_trainer_evaluate(t, d, null(), null_mut(), 0, none) names "count";
        cloze_trainer_accumulate(null_mut(), d, null(), null_mut()) names "trainer";
        cloze_trainer_accumulate(t, null(), null(), null_mut()) names "batch";
        cloze_trainer_accumulate(t, d, null(), null_mut()) names "loss";
        cloze_trainer_apply(null_mut(), 0.0, null_mut()) names "trainer";
        cloze_trainer_apply(t, 0.0, null_mut()) names "gradient_norm";
        cloze_trainer_parameters(null(), null_mut(), 0, n) names "trainer";
        cloze_trainer_parameters(t, null_mut(), 1, n) names "parameters";
        cloze_trainer_parameters(t, null_mut(), 0, none) names "count";
        cloze_trainer_set_parameters(null_mut(), null(), 0) names "trainer";
        cloze_trainer_set_parameters(t, null(), 1) names "parameters";
        cloze_trainer_gradients(null(), null_mut(), 0, n) names "trainer";
        cloze_trainer_gradients(t, null_mut(), 1, n) names "gradients";
        cloze_trainer_gradients(t, null_mut(), 0, none) names "count";
        cloze_trainer_set_gradients(null_mut(), null(), 0) names "trainer";
        cloze_trainer_set_gradients(t, null(), 1) names "gradients";
        cloze_trainer_snapshot(null(), null_mut()) names "trainer";
        cloze_trainer_snapshot(t, null_mut()) names "model";
        cloze_trainer_save(null(), folder) names "trainer";
        cloze_trainer_save(t, null()) names "folder";
        cloze_trainer_save_adapter(null(), folder) names "trainer";
        cloze_trainer_save_adapter(t, null()) names "folder";
        cloze_model_save(null(), folder) names "model";
        cloze_model_save(m, null()) names "folder";
        cloze_model_save_as(null(), folder, 0) names "model";
        cloze_model_save_as(m, null(), 0) names "folder";
        cloze_model_adapt(null(), folder, null_mut()) names "model";
        cloze_model_adapt(m, null(), null_mut()) names "folder";
        cloze_model_adapt(m, folder, null_mut()) names "adapted";
        cloze_model_use_head(null(), folder, null_mut()) names "model";
        cloze_model_use_head(m, null(), null_mut()) names "name";
        cloze_model_use_head(m, folder, null_mut()) names "with_head";
        cloze_model_head(null(), 0, null_mut(), 0, n) names "model";
        cloze_model_head(m, 0, null_mut(), 1, n) names "name";
        cloze_model_head(m, 0, null_mut(), 0, none) names "size";
        cloze_model_evaluate(null(), 0, d, null(), null_mut(), 0, n) names "model";
        cloze_model_evaluate(m, 0, null(), null(), null_mut(), 0, n) names "data";
        cloze_model_evaluate(m, 0, d, null(), null_mut(), 1, n) names "metrics";
        cloze_model_evaluate(m, 0, d, null(), null_mut(), 0, none) names "count";
        cloze_trainer_solve(null_mut(), d, null(), null_mut()) names "trainer";
        cloze_trainer_solve(t, null(), null(), null_mut()) names "data";
        cloze_trainer_solve(t, d, null(), null_mut()) names "strength";
        cloze_model_whiten(null(), null(), 0, 1, null(), null_mut()) names "model";
        cloze_model_whiten(m, null(), 1, 1, null(), null_mut()) names "inputs";
        cloze_model_whiten(m, null(), 0, 1, null(), null_mut()) names "whitened";
    };
    for (_, expected, call) in &calls {
        refused(CLOZE_INVALID_ARGUMENT, &format!("{expected}: a null pointer"), call);
    }
    // SAFETY: NULL to these does nothing.
    unsafe {
        cloze_cancel_set(null_mut());
        cloze_cancel_reset(null_mut());
        cloze_cancel_free(null_mut());
        cloze_model_close(null_mut());
        cloze_dataset_free(null_mut());
        cloze_trainer_free(null_mut());
        assert_eq!((cloze_perplexity(null(), 5), cloze_dataset_count(null())), (1.0, 0));
    }
    // Every function that takes a pointer is in this test.
    let others = [
        "abi",
        "version",
        "status_name",
        "cancel_set",
        "cancel_reset",
        "cancel_free",
        "model_close",
        "perplexity",
        "dataset_count",
        "dataset_free",
        "trainer_free",
    ];
    let others = others.map(|name| format!("cloze_{name}"));
    let symbols = include_str!("abi/symbols.txt");
    let missing: Vec<&str> = symbols
        .lines()
        .filter(|name| !others.iter().any(|other| other == name) && !calls.iter().any(|call| call.0 == *name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn text_that_is_not_utf8_names_input_part_and_byte() {
    let model = Open::new("sentence");
    let bad = b"caf\xe9 noir";
    refused(CLOZE_INVALID_INPUT, "input 0: text: not UTF-8 at byte 3 of 9", |e| embed(&model, text(bad), null(), e));
    let pair = cloze_input { pair: bad.as_ptr().cast(), pair_size: 4, ..text(b"fine") };
    refused(CLOZE_INVALID_INPUT, "input 0: pair: not UTF-8 at byte 3 of 4", |e| embed(&model, pair, null(), e));
    let nul = cloze_input { text: c"a\xff".as_ptr(), text_size: CLOZE_NUL, ..nothing() };
    refused(CLOZE_INVALID_INPUT, "text: not UTF-8 at byte 1 of 2", |e| embed(&model, nul, null(), e));
}

#[test]
fn inputs_that_contradict_themselves() {
    let model = Open::new("sentence");
    let ids = [2, 40, 3];
    let tokens = cloze_input { ids: ids.as_ptr(), id_count: 3, ..nothing() };
    let wrong = CLOZE_INVALID_ARGUMENT;
    refused(wrong, "input 0: neither text nor ids", |e| embed(&model, nothing(), null(), e));
    let both = cloze_input { text: c"a".as_ptr(), text_size: 1, ..tokens };
    refused(wrong, "input 0: both text and ids", |e| embed(&model, both, null(), e));
    let pair = cloze_input { pair: c"a".as_ptr(), pair_size: 1, ..tokens };
    refused(wrong, "input 0: a pair without a text", |e| embed(&model, pair, null(), e));
    let types = cloze_input { types: ids.as_ptr(), ..text(b"a") };
    refused(wrong, "input 0: types without ids", |e| embed(&model, types, null(), e));
    let endless = cloze_input { text_size: usize::MAX - 1, ..text(b"a") };
    refused(wrong, "input 0: text: 18446744073709551614 elements", |e| embed(&model, endless, null(), e));
    let negative = cloze_input { ids: [2, -7, 3].as_ptr(), ..tokens };
    refused(CLOZE_INVALID_INPUT, "input 0: ids[1]: -7, below 0", |e| embed(&model, negative, null(), e));
    let none = cloze_input { id_count: 0, ..tokens };
    refused(CLOZE_INVALID_INPUT, "input 0: no token ids", |e| embed(&model, none, null(), e));
    assert_eq!(embed(&model, tokens, null(), null_mut()), CLOZE_OK);
    // An empty text is [CLS] [SEP]; a NUL within its size is a character like any other.
    assert_eq!(embed(&model, text(b""), null(), null_mut()), CLOZE_OK);
    assert_eq!(embed(&model, text(b"a\0b"), null(), null_mut()), CLOZE_OK);
    // No inputs at all need no memory.
    let mut count = 9;
    // SAFETY: NULL with a count of 0 is allowed.
    let status = unsafe { cloze_embed(model.0, null(), 0, null(), null_mut(), 0, &mut count, null_mut()) };
    assert_eq!((status, count), (CLOZE_OK, 0));
}

#[test]
fn a_type_of_weights_that_is_none() {
    let (model, place) = (Open::new("bare"), tempfile::tempdir().unwrap());
    let folder = CString::new(place.path().join("out").to_str().unwrap()).unwrap();
    let mut error = record();
    // SAFETY: live locals.
    let status = unsafe { cloze_model_save_as(model.0, folder.as_ptr(), 3, &mut error) };
    assert_eq!((status, message(&error)), (CLOZE_INVALID_ARGUMENT, "dtype: 3, expected 0 to 2"));
    assert!(!place.path().join("out").exists());
}

#[test]
fn options_that_mean_nothing() {
    let model = Open::new("sentence");
    let cases: [(cloze_embed_options, &str); 9] = [
        (cloze_embed_options { size: 0, ..defaults() }, "cloze_embed_options.size: 0"),
        (cloze_embed_options { size: 3, ..defaults() }, "cloze_embed_options.size: 3"),
        (cloze_embed_options { size: 1 << 30, ..defaults() }, "cloze_embed_options.size: 1073741824"),
        (cloze_embed_options { text: 8 | 1, ..defaults() }, "cloze_embed_options.text: unknown bits 0x8 in 0x9"),
        (cloze_embed_options { text: 6, ..defaults() }, "CLOZE_TEXT_TRUNCATE and CLOZE_TEXT_REFUSE together"),
        (cloze_embed_options { pooling: 4, ..defaults() }, "cloze_embed_options.pooling: 4, expected 0 to 3"),
        (cloze_embed_options { normalize: 2, ..defaults() }, "cloze_embed_options.normalize: 2, expected 0 to 1"),
        (cloze_embed_options { reserved: 1, ..defaults() }, "cloze_embed_options.reserved: 1, expected 0"),
        (cloze_embed_options { prompt: c"x".as_ptr(), ..defaults() }, "prompt \"x\""),
    ];
    for (options, expected) in &cases {
        refused(CLOZE_INVALID_ARGUMENT, expected, |e| embed(&model, text(b"a"), options, e));
    }
    // A struct that ends with its size has defaults everywhere.
    let short = cloze_embed_options { size: 4, pooling: 9, ..defaults() };
    assert_eq!(embed(&model, text(b"a"), &short, null_mut()), CLOZE_OK);
    let mut error = record();
    assert_eq!(embed(&model, text(b"a"), &defaults(), &mut error), CLOZE_OK);
    assert_eq!((error.status, message(&error)), (CLOZE_OK, ""));

    let open = |size: u32, threads: u32| {
        let options = cloze_open_options { size, threads };
        let mut opened = null_mut();
        // SAFETY: live locals.
        let status = unsafe { cloze_model_open(c"nowhere".as_ptr(), &options, &mut opened, null_mut()) };
        assert!(opened.is_null());
        status
    };
    assert_eq!((open(8, 1), open(5, 1)), (CLOZE_IO, CLOZE_INVALID_ARGUMENT));
}

/// Up to 9 tokens after one prompt, under `options`.
fn generate(model: &Open, options: &cloze_generate_options, error: *mut cloze_error) -> i32 {
    let token = cloze_new_token { input: 9, continuation: 9, id: 9, log_probability: 9.0 };
    let (prompt, mut tokens, mut count) = (text(b"the cat"), [token; 9], 99);
    // SAFETY: live locals.
    let status = unsafe { cloze_generate(model.0, &prompt, 1, options, tokens.as_mut_ptr(), 9, &mut count, error) };
    let written = tokens.iter().filter(|token| token.input != 9).count();
    match status {
        CLOZE_OK => assert_eq!(written, count),
        CLOZE_BUFFER_TOO_SMALL => assert_eq!((written, count), (0, 10)),
        _ => assert_eq!((written, count), (0, 99)),
    }
    status
}

#[test]
fn generating_that_means_nothing() {
    let (model, other) = (Open::new("causal"), Open::new("pretraining"));
    let good = cloze_generate_options { max_tokens: 3, ..defaults() };
    let drawn = cloze_generate_options { temperature: 1.0, ..good };
    let negative = -4;
    let cases: [(cloze_generate_options, i32, &str); 10] = [
        (cloze_generate_options { text: 8, ..good }, 1, "cloze_generate_options.text: unknown bits 0x8"),
        (cloze_generate_options { temperature: -1.0, ..good }, 1, "cloze_generate_options: temperature -1"),
        (cloze_generate_options { temperature: f32::NAN, ..good }, 1, "cloze_generate_options: temperature NaN"),
        (cloze_generate_options { top_p: 1.5, ..drawn }, 1, "cloze_generate_options: top_p 1.5"),
        (cloze_generate_options { top_p: 0.5, ..good }, 1, "cloze_generate_options.top_p with a temperature of 0"),
        (cloze_generate_options { top_k: 5, ..good }, 1, "cloze_generate_options.top_k with a temperature of 0"),
        (cloze_generate_options { seed: 5, ..good }, 1, "cloze_generate_options.seed with a temperature of 0"),
        (cloze_generate_options { count: 2, ..good }, 1, "2 continuations"),
        (cloze_generate_options { end: &negative, ..good }, 3, "cloze_generate_options.end[0]: -4, below 0"),
        (cloze_generate_options { max_tokens: 10, ..good }, 2, "tokens: capacity 9, needed 10"),
    ];
    for (options, status, expected) in &cases {
        refused(*status, expected, |e| generate(&model, options, e));
    }
    assert_eq!(generate(&model, &good, null_mut()), CLOZE_OK);
    assert_eq!(generate(&model, &cloze_generate_options { count: 3, ..drawn }, null_mut()), CLOZE_OK);
    refused(CLOZE_UNSUPPORTED, "this model is bidirectional", |e| generate(&other, &good, e));
}

#[test]
fn too_small_a_buffer_says_so_before_any_work() {
    let model = Open::new("pretraining");
    let input = text(b"the cat [MASK] the bird.");
    unsafe extern "C" fn worked(_: *mut std::ffi::c_void, _: u64, _: u64) -> i32 {
        std::process::abort();
    }
    let options = cloze_fill_options { progress: Some(worked), top_k: 7, ..defaults() };
    let candidate = cloze_candidate { input: 9, position: 9, id: 9, probability: 9.0 };
    refused(CLOZE_BUFFER_TOO_SMALL, "candidates: capacity 6, needed 7", |e| {
        let (mut words, mut count) = ([candidate; 6], 0);
        // SAFETY: live locals.
        let status = unsafe { cloze_fill(model.0, &input, 1, &options, words.as_mut_ptr(), 6, &mut count, e) };
        assert!(count == 7 && words.iter().all(|word| word.id == 9));
        status
    });

    // Strings: the capacity counts the NUL, the size does not.
    let (mut token, mut size) = ([b'?' as c_char; 6], 0);
    let mut ask = |capacity: usize| {
        // SAFETY: live locals, and the capacity is at most theirs.
        let status = unsafe { cloze_token_text(model.0, 4, token.as_mut_ptr(), capacity, &mut size, null_mut()) };
        (status, size, token[0] as u8)
    };
    assert_eq!(ask(6), (CLOZE_BUFFER_TOO_SMALL, 6, b'?'));
    assert_eq!(ask(0), (CLOZE_BUFFER_TOO_SMALL, 6, b'?'));
    let mut room = [b'?' as c_char; 8];
    // SAFETY: live locals.
    unsafe { cloze_token_text(model.0, 4, room.as_mut_ptr(), 8, &mut size, null_mut()) };
    assert_eq!((room.map(|byte| byte as u8), size), (*b"[MASK]\0?", 6));

    // Functions with one result an input have no count.
    let pair = cloze_input { pair: c"b".as_ptr(), pair_size: 1, ..text(b"a") };
    let pairs = [pair, pair];
    let judge = |inputs: &[cloze_input], e| {
        let mut next = [7.0];
        // SAFETY: live locals.
        let status =
            unsafe { cloze_next_sentence(model.0, inputs.as_ptr(), inputs.len(), null(), next.as_mut_ptr(), 1, e) };
        assert_eq!(next, [7.0]);
        status
    };
    refused(CLOZE_BUFFER_TOO_SMALL, "is_next: capacity 1, needed 2", |e| judge(&pairs, e));
    refused(CLOZE_INVALID_INPUT, "input 0: a single text", |e| judge(&[text(b"a")], e));
}

#[test]
fn targets_and_masks_are_checked() {
    let model = Open::new("pretraining");
    let input = text(b"the [MASK]");
    let fill = |options: cloze_fill_options, e: *mut cloze_error| {
        let mut words = [cloze_candidate { input: 0, position: 0, id: 0, probability: 0.0 }; 8];
        // SAFETY: live locals.
        unsafe { cloze_fill(model.0, &input, 1, &options, words.as_mut_ptr(), 8, &mut 0, e) }
    };
    let (ids, mask) = ([46, -1], -4);
    let negative = cloze_fill_options { targets: ids.as_ptr(), target_count: 2, ..defaults() };
    refused(CLOZE_INVALID_INPUT, "cloze_fill_options.targets[1]: -1, below 0", |e| fill(negative, e));
    let empty = cloze_fill_options { targets: ids.as_ptr(), ..defaults() };
    refused(CLOZE_INVALID_ARGUMENT, "cloze_fill_options.targets: none", |e| fill(empty, e));
    let masked = cloze_fill_options { mask: &mask, ..defaults() };
    refused(CLOZE_INVALID_INPUT, "cloze_fill_options.mask[0]: -4", |e| fill(masked, e));
    let other = 40; // "the" as the mask
    assert_eq!(fill(cloze_fill_options { mask: &other, ..defaults() }, null_mut()), CLOZE_OK);
}

#[test]
fn a_flag_may_be_freed_before_and_after_the_model() {
    let (mut cancel, mut error) = (null_mut(), record());
    // SAFETY: live locals.
    assert_eq!(unsafe { cloze_cancel_new(&mut cancel, &mut error) }, CLOZE_OK);
    for round in 0..2 {
        let model = Open::new("sentence");
        let options = cloze_embed_options { cancel, ..defaults() };
        // SAFETY: the flag is live.
        unsafe { cloze_cancel_set(cancel) };
        refused(CLOZE_CANCELLED, "cancelled", |e| embed(&model, text(b"a"), &options, e));
        // SAFETY: the flag is live.
        unsafe { cloze_cancel_reset(cancel) };
        assert_eq!(embed(&model, text(b"a"), &options, null_mut()), CLOZE_OK);
        if round == 1 {
            // SAFETY: created above, freed once, while the model is open.
            unsafe { cloze_cancel_free(cancel) };
        }
    }
}

#[test]
fn examples_that_cannot_be_used_leave_a_dataset_as_it_was() {
    let training = Training::new();
    let add = |inputs: &[cloze_input], targets: &[cloze_target], e: *mut cloze_error| {
        // SAFETY: live locals, as many targets as inputs or none.
        unsafe {
            let targets = if targets.is_empty() { null() } else { targets.as_ptr() };
            let status = cloze_dataset_add(training.dataset, inputs.as_ptr(), targets, inputs.len(), e);
            assert_eq!(cloze_dataset_count(training.dataset), 2);
            status
        }
    };
    let good = text(b"the bird");
    let (input, argument) = (CLOZE_INVALID_INPUT, CLOZE_INVALID_ARGUMENT);
    let cases = [
        (input, "example 1: the text is empty", text(b" "), no_target()),
        (input, "input 1: text: not UTF-8 at byte 0", text(b"\xff"), no_target()),
        (argument, "input 1: neither text nor ids", nothing(), no_target()),
        (input, "example 1: the label is empty", good, label(c"")),
        (input, "target 1: name: not UTF-8 at byte 1 of 2", good, label(c"a\xff")),
        (argument, "target 1: kind: 7", good, cloze_target { kind: 7, ..no_target() }),
        (argument, "cloze_dataset_add_words", good, cloze_target { kind: CLOZE_TARGET_TAGS, ..no_target() }),
        (input, "example 1: NaN", good, cloze_target { kind: CLOZE_TARGET_NUMBERS, number: f32::NAN, ..no_target() }),
        (
            input,
            "example 1: an answer without a question",
            good,
            cloze_target { kind: CLOZE_TARGET_ANSWER, start: 1, ..label(c"a") },
        ),
        (
            input,
            "example 1: label ids for a text",
            good,
            cloze_target { kind: CLOZE_TARGET_TOKENS, ids: &1, count: 1, ..no_target() },
        ),
    ];
    for (status, expected, second, target) in cases {
        refused(status, expected, |e| add(&[good, second], &[label(c"x"), target], e));
    }
    // A sequence of ids has a segment and a label for each.
    let ids = [2, 40, 3];
    let tokens = cloze_input { ids: ids.as_ptr(), id_count: 3, ..nothing() };
    let labels = cloze_target { kind: CLOZE_TARGET_TOKENS, ids: ids.as_ptr(), count: 2, ..no_target() };
    refused(input, "example 0: 2 label ids for 3 tokens", |e| add(&[tokens], &[labels], e));
    let words = [c"a".as_ptr(), c"".as_ptr()];
    // SAFETY: live locals.
    let add_words = |e| unsafe { cloze_dataset_add_words(training.dataset, words.as_ptr(), null(), 2, e) };
    refused(input, "example 0: word 1 of 2 is empty", add_words);
    // None at all are no error.
    assert_eq!(add(&[], &[], null_mut()), CLOZE_OK);
}

#[test]
fn files_and_columns_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        CString::new(path.to_str().unwrap()).unwrap()
    };
    let read = |path: &CStr, kind: u32, options: cloze_read_options, e: *mut cloze_error| {
        let mut dataset = null_mut();
        // SAFETY: live locals; what is made is freed.
        unsafe {
            let status = cloze_dataset_read(path.as_ptr(), kind, &options, &mut dataset, e);
            assert_eq!(dataset.is_null(), status != CLOZE_OK);
            cloze_dataset_free(dataset);
            status
        }
    };
    let table = write("table.tsv", "what\twhich\nthe cat\tc\nthe dog\td\n");
    let argument = CLOZE_INVALID_ARGUMENT;
    refused(CLOZE_IO, "nowhere.tsv: ", |e| read(c"nowhere.tsv", 1, defaults(), e));
    refused(argument, "kind: 6, expected 0 to 5", |e| read(&table, 6, defaults(), e));
    let options = cloze_read_options { format: 6, ..defaults() };
    refused(argument, "cloze_read_options.format: 6, expected 0 to 5", |e| read(&table, 1, options, e));
    let options = cloze_read_options { header: 3, ..defaults() };
    refused(argument, "cloze_read_options.header: 3, expected 0 to 2", |e| read(&table, 1, options, e));
    let options = cloze_read_options { reserved: 1, ..defaults() };
    refused(argument, "cloze_read_options.reserved: 1, expected 0", |e| read(&table, 1, options, e));
    let options = cloze_read_options { text: c"0".as_ptr(), ..defaults() };
    refused(argument, "cloze_read_options.text: 0, columns are counted from 1", |e| read(&table, 1, options, e));
    let options = cloze_read_options { text: c"who".as_ptr(), ..defaults() };
    refused(argument, "table.tsv:1: ", |e| read(&table, 1, options, e));
    let options = cloze_read_options { format: CLOZE_FORMAT_JSONL, ..defaults() };
    refused(CLOZE_INVALID_FILE, "table.tsv:1: ", |e| read(&table, 1, options, e));
    let options = cloze_read_options { text: c"1".as_ptr(), format: CLOZE_FORMAT_LINES, ..defaults() };
    refused(argument, "neither tsv nor csv", |e| read(&table, 0, options, e));
    let options = cloze_read_options { text: c"what".as_ptr(), target: c"which".as_ptr(), ..defaults() };
    assert_eq!(read(&table, CLOZE_TARGET_LABEL, options, null_mut()), CLOZE_OK);
    let options = cloze_read_options { text: c"1".as_ptr(), target: c"2".as_ptr(), ..defaults() };
    assert_eq!(read(&table, CLOZE_TARGET_LABEL, options, null_mut()), CLOZE_OK);
}

#[test]
fn train_options_that_mean_nothing() {
    let training = Training::new();
    let new = |options: *const cloze_train_options, e: *mut cloze_error| {
        let mut trainer = null_mut();
        // SAFETY: live locals; what is made is freed.
        unsafe {
            let status = cloze_trainer_new(training._model.0, options, training.dataset, &mut trainer, e);
            assert_eq!(trainer.is_null(), status != CLOZE_OK);
            cloze_trainer_free(trainer);
            status
        }
    };
    let usual = || defaults::<cloze_train_options>();
    let names = [c"cat".as_ptr(), c"cat".as_ptr()];
    let cases = [
        (cloze_train_options { size: 7, ..usual() }, "cloze_train_options.size: 7"),
        (cloze_train_options { objective: 10, ..usual() }, "cloze_train_options.objective: 10, expected 0 to 9"),
        (cloze_train_options { trainable: 5, ..usual() }, "cloze_train_options.trainable: 5, expected 0 to 4"),
        (cloze_train_options { layers: 1, ..usual() }, "cloze_train_options.layers: 1"),
        (cloze_train_options { trainable: CLOZE_TRAINABLE_TOP, ..usual() }, "the top 0 layers"),
        (cloze_train_options { trainable: CLOZE_TRAINABLE_TOP, layers: 3, ..usual() }, "the top 3 layers of 2"),
        (cloze_train_options { switches: 129, ..usual() }, "cloze_train_options.switches: unknown bits 0x80 in 0x81"),
        (cloze_train_options { order: 3, ..usual() }, "cloze_train_options.order: 3, expected 0 to 2"),
        (cloze_train_options { schedule: 99, ..usual() }, "cloze_train_options.schedule: 99, expected 0 to"),
        (cloze_train_options { learning_rate: -1.0, ..usual() }, "learning_rate: -1"),
        (cloze_train_options { learning_rate: f32::NAN, ..usual() }, "learning_rate: NaN"),
        (cloze_train_options { beta1: 1.0, ..usual() }, "beta1: 1"),
        (cloze_train_options { dropout: 1.5, ..usual() }, "dropout: 1.5"),
        (cloze_train_options { label_smoothing: 1.0, ..usual() }, "label_smoothing: 1"),
        (cloze_train_options { warmup: f64::INFINITY, ..usual() }, "warmup: inf"),
        (cloze_train_options { head: c"a/b".as_ptr(), ..usual() }, "\"a/b\""),
        (
            cloze_train_options { class_weights: &1.0, class_weight_count: 1, ..usual() },
            "class_weights: 1 for 2 labels",
        ),
        (cloze_train_options { labels: names.as_ptr(), label_count: 2, ..usual() }, "\"cat\" is both 0 and 1"),
    ];
    for (options, expected) in &cases {
        refused(CLOZE_INVALID_ARGUMENT, expected, |e| new(options, e));
    }
    let words = cloze_train_options { objective: CLOZE_OBJECTIVE_MASKED_LM, ..usual() };
    refused(CLOZE_MISSING, "cls.predictions", |e| new(&words, e));
    let small = cloze_train_options { memory: 1000, ..usual() };
    refused(CLOZE_OUT_OF_MEMORY, "the budget is 1000", |e| new(&small, e));
    // A client of a later version: what it sets beyond is refused, zeros are not.
    #[repr(C)]
    struct Newer(cloze_train_options, u64);
    let newer = |beyond| {
        let size = size_of::<Newer>() as u32;
        Newer(cloze_train_options { size, ..usual() }, beyond)
    };
    refused(CLOZE_INVALID_ARGUMENT, "it is older than the header", |e| new(&newer(1).0, e));
    assert_eq!(new(&newer(0).0, null_mut()), CLOZE_OK);
    // Zeros that mean zero are asked for by numbers below it.
    let plain = cloze_train_options { max_gradient_norm: -1.0, dropout: -1.0, beta1: -1.0, ..usual() };
    assert_eq!(new(&plain, null_mut()), CLOZE_OK);
    assert_eq!(new(null(), null_mut()), CLOZE_OK);
}

// SAFETY of every call: live locals and handles, sizes at most theirs.
#[allow(clippy::undocumented_unsafe_blocks)]
#[test]
fn sizes_of_training_that_are_wrong() {
    let training = Training::new();
    let (dataset, trainer) = (training.dataset, training.trainer);
    let mut state: cloze_trainer_state = defaults();
    assert_eq!(unsafe { cloze_trainer_info(trainer, &mut state, null_mut()) }, CLOZE_OK);
    let count = state.parameters as usize;
    assert!(count > 0 && state.planned_memory > 0);
    assert_eq!((state.objective, state.labels, state.steps), (CLOZE_OBJECTIVE_CLASSIFY, 2, 0));
    let numbers = vec![0.5; count];
    let wrong = CLOZE_INVALID_ARGUMENT;
    let expected = format!("parameters: {} numbers, expected {count}", count - 1);
    refused(wrong, &expected, |e| unsafe { cloze_trainer_set_parameters(trainer, numbers.as_ptr(), count - 1, e) });
    let expected = expected.replace("parameters", "gradients");
    refused(wrong, &expected, |e| unsafe { cloze_trainer_set_gradients(trainer, numbers.as_ptr(), count - 1, e) });
    let infinite = vec![f32::INFINITY; count];
    refused(CLOZE_NOT_FINITE, "parameters: number 0 is inf", |e| unsafe {
        cloze_trainer_set_parameters(trainer, infinite.as_ptr(), count, e)
    });
    refused(CLOZE_BUFFER_TOO_SMALL, &format!("parameters: capacity 3, needed {count}"), |e| {
        let (mut few, mut needed) = ([7.0; 3], 0);
        let status = unsafe { cloze_trainer_parameters(trainer, few.as_mut_ptr(), 3, &mut needed, e) };
        assert_eq!((few, needed), ([7.0; 3], count));
        status
    });
    refused(CLOZE_BUFFER_TOO_SMALL, "metrics: capacity 0, needed 32", |e| {
        let mut needed = 0;
        let status = unsafe { cloze_trainer_evaluate(trainer, dataset, null(), null_mut(), 0, &mut needed, e) };
        assert_eq!(needed, CLOZE_MAX_METRICS);
        status
    });
    let options = cloze_call_options { max_tokens: 5, ..defaults() };
    refused(wrong, "cloze_call_options.max_tokens: 5", |e| unsafe {
        cloze_trainer_evaluate(trainer, dataset, &options, null_mut(), 0, &mut 0, e)
    });
    let options = cloze_call_options { text: CLOZE_TEXT_PLAIN, ..defaults() };
    refused(wrong, "cloze_call_options.text: 1", |e| unsafe {
        cloze_model_evaluate(training._model.0, 0, dataset, &options, null_mut(), 0, &mut 0, e)
    });
    refused(wrong, "no gradients", |e| unsafe { cloze_trainer_apply(trainer, -1.0, &mut 0.0, e) });
    let options = cloze_solve_options { method: 2, ..defaults() };
    refused(wrong, "cloze_solve_options.method: 2", |e| unsafe {
        cloze_trainer_solve(trainer, dataset, &options, &mut 0.0, e)
    });
    let solve = |e| unsafe { cloze_trainer_solve(trainer, dataset, null(), &mut 0.0, e) };
    match cfg!(feature = "linalg") {
        false => refused(CLOZE_UNSUPPORTED, "linalg", solve),
        true => assert_eq!(solve(null_mut()), CLOZE_OK),
    }
    refused(wrong, "label: 2, the trainer has 2", |e| unsafe {
        cloze_trainer_label(trainer, 2, null_mut(), 0, &mut 0, e)
    });
    refused(wrong, "no low-rank pairs", |e| unsafe { cloze_trainer_save_adapter(trainer, c"x".as_ptr(), e) });
    refused(CLOZE_MISSING, "head: 0, the model has 0", |e| unsafe {
        cloze_model_head(training._model.0, 0, null_mut(), 0, &mut 0, e)
    });
    let result = cloze_fit_result { size: 2, ..defaults() };
    refused(wrong, "cloze_fit_result.size: 2", |e| unsafe {
        cloze_trainer_fit(trainer, dataset, null(), null(), &mut { result }, e)
    });
    let options = cloze_fit_options { reserved: 1, ..defaults() };
    refused(wrong, "cloze_fit_options.reserved: 1", |e| unsafe {
        cloze_trainer_fit(trainer, dataset, null(), &options, null_mut(), e)
    });
}

/// Structs that the library fills are as long as their caller says.
#[test]
fn shorter_and_longer_results_are_filled_as_far_as_they_go() {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Longer(cloze_trainer_state, [u64; 2]);
    let training = Training::new();
    let ask = |size: usize| {
        let mut state = Longer(defaults(), [7; 2]);
        state.0.epochs = 5.0;
        state.0.size = size as u32;
        // SAFETY: a live local of at least that size.
        let status = unsafe { cloze_trainer_info(training.trainer, &mut state.0, null_mut()) };
        assert_eq!((status, state.0.size as usize, state.0.labels), (CLOZE_OK, size, 2));
        (state.0.parameters > 0, state.0.epochs, state.1)
    };
    let known = size_of::<cloze_trainer_state>();
    assert_eq!(ask(16), (false, 5.0, [7, 7]));
    assert_eq!(ask(known), (true, 0.0, [7, 7]));
    assert_eq!(ask(known + 8), (true, 0.0, [0, 7]));
}

/// The observer runs within a call on its trainer: it may ask any model, and read any dataset, but not the trainer.
#[test]
fn a_trainer_that_is_busy_says_so() {
    struct Watched<'a>(&'a Training, Open, u32);
    unsafe extern "C" fn observe(user: *mut std::ffi::c_void, _: *const cloze_train_event) -> i32 {
        // SAFETY: the test hands it over and does not touch it meanwhile.
        let Watched(training, model, calls) = unsafe { &mut *user.cast::<Watched<'_>>() };
        *calls += 1;
        // SAFETY: live locals.
        unsafe {
            refused(CLOZE_BUSY, "trainer: another call", |e| cloze_trainer_info(training.trainer, &mut defaults(), e));
            refused(CLOZE_BUSY, "dataset: another call", |e| {
                cloze_dataset_add(training.dataset, &text(b"the bird"), null(), 1, e)
            });
            assert_eq!(cloze_dataset_count(training.dataset), 2);
            let mut other = null_mut();
            let options = cloze_train_options { trainable: CLOZE_TRAINABLE_HEAD, ..defaults() };
            assert_eq!(
                cloze_trainer_new(training._model.0, &options, training.dataset, &mut other, null_mut()),
                CLOZE_OK
            );
            cloze_trainer_free(other);
        }
        assert_eq!(embed(model, text(b"the cat"), null(), null_mut()), CLOZE_OK);
        0
    }
    let training = Training::new();
    let mut watched = Watched(&training, Open::new("sentence"), 0);
    let user = (&raw mut watched).cast();
    let options = cloze_fit_options { observe: Some(observe), user, ..defaults() };
    let mut result: cloze_fit_result = defaults();
    // SAFETY: live locals.
    let status =
        unsafe { cloze_trainer_fit(training.trainer, training.dataset, null(), &options, &mut result, null_mut()) };
    assert_eq!((status, result.steps, watched.2), (CLOZE_OK, 3, 3));
    // Neither is in use any more.
    // SAFETY: live locals.
    unsafe {
        assert_eq!(cloze_trainer_info(training.trainer, &mut defaults(), null_mut()), CLOZE_OK);
        assert_eq!(cloze_dataset_add(training.dataset, &text(b"the bird"), null(), 1, null_mut()), CLOZE_OK);
    }
}

#[test]
fn many_threads_share_a_model() {
    struct Shared(Open);
    // SAFETY: cloze.h lets any number of threads use a model.
    unsafe impl Sync for Shared {}
    let shared = Shared(Open::new("sentence"));
    let shared = &shared;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(embed(&shared.0, text(b"the cat sees the bird"), null(), null_mut()), CLOZE_OK);
                }
            });
        }
    });
}

#[test]
fn names_of_numbers() {
    // SAFETY: static strings.
    let name = |status| unsafe { CStr::from_ptr(cloze_status_name(status)) }.to_str().unwrap();
    assert_eq!((name(0), name(4), name(13)), ("CLOZE_OK", "CLOZE_IO", "CLOZE_INTERNAL"));
    assert_eq!((name(14), name(-1), name(i32::MIN)), ("CLOZE_UNKNOWN", "CLOZE_UNKNOWN", "CLOZE_UNKNOWN"));
    assert_eq!(cloze_abi(), 1);
    // SAFETY: a static string.
    assert_eq!(unsafe { CStr::from_ptr(cloze_version()) }.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}
