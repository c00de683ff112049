//! NULL for each pointer of each function.

use std::ptr::{null, null_mut};

use cloze::capi::*;

use super::*;

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
    let text = Text::new(&open);
    let c: *const cloze_corpus = text.0;
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
        cloze_device_get(0, null_mut()) names "device";
        cloze_model_device(null(), null_mut()) names "model";
        cloze_model_device(m, null_mut()) names "device";
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
        cloze_dataset_select(null(), null(), 0, null_mut()) names "dataset";
        cloze_dataset_select(d, null(), 1, null_mut()) names "numbers";
        cloze_dataset_select(d, null(), 0, null_mut()) names "selection";
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
        cloze_trainer_checkpoint(null_mut(), folder) names "trainer";
        cloze_trainer_checkpoint(t, null()) names "folder";
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
        cloze_trainer_gradient_buffers(null_mut(), null_mut(), 0, n) names "trainer";
        cloze_trainer_gradient_buffers(t, null_mut(), 1, n) names "buffers";
        cloze_trainer_gradient_buffers(t, null_mut(), 0, none) names "count";
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
        cloze_vocabulary_learn(null(), null(), folder) names "path";
        cloze_vocabulary_learn(folder, null(), null()) names "folder";
        cloze_model_create(null(), 2, folder, null(), null_mut()) names "config";
        cloze_model_create(c"{}".as_ptr().cast(), 2, null(), null(), &mut null_mut()) names "tokenizer";
        cloze_model_create(c"{}".as_ptr().cast(), 2, folder, null(), null_mut()) names "model";
        cloze_corpus_open(null(), folder, null(), null_mut()) names "model";
        cloze_corpus_open(m, null(), null(), null_mut()) names "path";
        cloze_corpus_open(m, folder, null(), null_mut()) names "corpus";
        cloze_corpus_info(null(), null_mut()) names "corpus";
        cloze_corpus_info(c, null_mut()) names "state";
        cloze_corpus_notice(null(), 0, null_mut(), 0, n) names "corpus";
        cloze_corpus_notice(c, 0, null_mut(), 1, n) names "message";
        cloze_corpus_notice(c, 0, null_mut(), 0, none) names "size";
        cloze_trainer_pretrain(null_mut(), c, null(), null(), null_mut()) names "trainer";
        cloze_trainer_pretrain(t, null(), null(), null(), null_mut()) names "train";
        cloze_evaluate_corpus(null(), c, null(), null(), null_mut(), 0, n) names "model";
        cloze_evaluate_corpus(m, null(), null(), null(), null_mut(), 0, n) names "corpus";
        cloze_evaluate_corpus(m, c, null(), null(), null_mut(), 1, n) names "metrics";
        cloze_evaluate_corpus(m, c, null(), null(), null_mut(), 0, none) names "count";
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
        cloze_corpus_free(null_mut());
        assert_eq!((cloze_perplexity(null(), 5), cloze_dataset_count(null())), (1.0, 0));
    }
    // Every function that takes a pointer is in this test.
    let others = [
        "abi",
        "version",
        "status_name",
        "device_count",
        "cancel_set",
        "cancel_reset",
        "cancel_free",
        "model_close",
        "perplexity",
        "dataset_count",
        "dataset_free",
        "trainer_free",
        "corpus_free",
    ];
    let others = others.map(|name| format!("cloze_{name}"));
    let symbols = include_str!("../abi/symbols.txt");
    let missing: Vec<&str> = symbols
        .lines()
        .filter(|name| !others.iter().any(|other| other == name) && !calls.iter().any(|call| call.0 == *name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
