//! Datasets and trainers.

use std::ffi::CString;
use std::ptr::{null, null_mut};

use cloze::capi::*;

use super::*;

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
        (cloze_train_options { switches: 257, ..usual() }, "cloze_train_options.switches: unknown bits 0x100 in 0x101"),
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
