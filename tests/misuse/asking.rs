//! Inputs, options and buffers of the questions that a model answers.

use std::ffi::CString;
use std::ptr::{null, null_mut};

use cloze::capi::*;

use super::*;

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
    let status = unsafe { cloze_model_save_as(model.0, folder.as_ptr(), 4, &mut error) };
    assert_eq!((status, message(&error)), (CLOZE_INVALID_ARGUMENT, "dtype: 4, expected 0 to 3"));
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
        let options = cloze_open_options { size, threads, ..defaults() };
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
        (status, size, token[0].to_ne_bytes()[0])
    };
    assert_eq!(ask(6), (CLOZE_BUFFER_TOO_SMALL, 6, b'?'));
    assert_eq!(ask(0), (CLOZE_BUFFER_TOO_SMALL, 6, b'?'));
    let mut room = [b'?' as c_char; 8];
    // SAFETY: live locals.
    unsafe { cloze_token_text(model.0, 4, room.as_mut_ptr(), 8, &mut size, null_mut()) };
    assert_eq!((room.map(|byte| byte.to_ne_bytes()[0]), size), (*b"[MASK]\0?", 6));

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
