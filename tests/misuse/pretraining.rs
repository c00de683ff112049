//! Vocabularies, new models and corpora.

use std::ffi::CString;
use std::ptr::{null, null_mut};

use cloze::capi::*;

use super::*;

// SAFETY of every call: live locals and handles.
#[allow(clippy::undocumented_unsafe_blocks)]
#[test]
fn pretraining_that_cannot_be() {
    let (model, place) = (Open::new("pretraining"), tempfile::tempdir().unwrap());
    let string = |name: &str| CString::new(place.path().join(name).to_str().unwrap()).unwrap();
    let (folder, wrong) = (string("words"), CLOZE_INVALID_ARGUMENT);
    std::fs::write(place.path().join("text.txt"), "A cat.\n").unwrap();
    let file = string("text.txt");
    let learn = |options: cloze_vocabulary_options, e: *mut cloze_error| unsafe {
        cloze_vocabulary_learn(file.as_ptr(), &options, folder.as_ptr(), e)
    };
    let usual = || defaults::<cloze_vocabulary_options>();
    let casing = cloze_vocabulary_options { casing: 2, ..usual() };
    refused(wrong, "cloze_vocabulary_options.casing: 2, expected 0 to 1", |e| learn(casing, e));
    let lines = cloze_vocabulary_options { lines: 2, ..usual() };
    refused(wrong, "cloze_vocabulary_options.lines: 2, expected 0 to 1", |e| learn(lines, e));
    refused(wrong, "3 tokens", |e| learn(cloze_vocabulary_options { tokens: 3, ..usual() }, e));
    assert!(!place.path().join("words").exists());
    assert_eq!(learn(usual(), null_mut()), CLOZE_OK);

    let create = |config: &str, options: *const cloze_create_options, e: *mut cloze_error| {
        let mut made = null_mut();
        let (config, size) = (config.as_ptr().cast(), config.len());
        let status = unsafe { cloze_model_create(config, size, folder.as_ptr(), options, &mut made, e) };
        assert_eq!(made.is_null(), status != CLOZE_OK);
        unsafe { cloze_model_close(made) };
        status
    };
    let config = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 16, "vocab_size": 40}"#;
    assert_eq!(create(config, null(), null_mut()), CLOZE_OK);
    refused(CLOZE_INVALID_FILE, "config.json", |e| create("{", null(), e));
    let small = config.replace("40", "4");
    refused(wrong, "vocab_size", |e| create(&small, null(), e));
    let other = cloze_create_options { objective: CLOZE_OBJECTIVE_TAG, ..defaults() };
    refused(wrong, "a new model for Tag", |e| create(config, &other, e));
    let other = cloze_create_options { objective: 77, ..defaults() };
    refused(wrong, "cloze_create_options.objective: 77", |e| create(config, &other, e));

    let open = |path: &CStr, options: cloze_corpus_options, e: *mut cloze_error| {
        let mut corpus = null_mut();
        let status = unsafe { cloze_corpus_open(model.0, path.as_ptr(), &options, &mut corpus, e) };
        assert_eq!(corpus.is_null(), status != CLOZE_OK);
        unsafe { cloze_corpus_free(corpus) };
        status
    };
    let lines = cloze_corpus_options { lines: 2, ..defaults() };
    refused(wrong, "cloze_corpus_options.lines: 2, expected 0 to 1", |e| open(&file, lines, e));
    refused(CLOZE_IO, "nowhere", |e| open(c"nowhere", defaults(), e));
    std::fs::write(place.path().join("empty.txt"), "").unwrap();
    refused(CLOZE_INVALID_INPUT, "no text", |e| open(&string("empty.txt"), defaults(), e));
    std::fs::write(place.path().join("bytes.txt"), b"one\n\xFFtwo").unwrap();
    refused(CLOZE_INVALID_FILE, "bytes.txt:2: byte 0xff", |e| open(&string("bytes.txt"), defaults(), e));

    let (text, training) = (Text::new(&model), Training::new());
    let mut state: cloze_corpus_state = defaults();
    assert_eq!(unsafe { cloze_corpus_info(text.0, &mut state, null_mut()) }, CLOZE_OK);
    assert_eq!((state.documents, state.sentences, state.notices), (2, 4, 0));
    refused(wrong, "notice: 0, the corpus has 0", |e| unsafe {
        cloze_corpus_notice(text.0, 0, null_mut(), 0, &mut 0, e)
    });
    refused(wrong, "objective Classify", |e| unsafe {
        cloze_trainer_pretrain(training.trainer, text.0, null(), null(), null_mut(), e)
    });
    let evaluate = |recipe: cloze_train_options, options: cloze_call_options, e: *mut cloze_error| {
        let mut metrics = [const { unsafe { std::mem::zeroed::<cloze_metric>() } }; CLOZE_MAX_METRICS];
        unsafe {
            cloze_evaluate_corpus(model.0, text.0, &recipe, &options, metrics.as_mut_ptr(), metrics.len(), &mut 0, e)
        }
    };
    let recipe = || cloze_train_options { objective: CLOZE_OBJECTIVE_PRETRAINING, ..defaults() };
    let masked = cloze_train_options { masked: 1.5, ..recipe() };
    refused(wrong, "1.5", |e| evaluate(masked, defaults(), e));
    let cut = cloze_call_options { max_tokens: 5, ..defaults() };
    refused(wrong, "cloze_call_options.max_tokens: 5", |e| evaluate(recipe(), cut, e));
    let other = cloze_train_options { objective: CLOZE_OBJECTIVE_TAG, ..defaults() };
    refused(wrong, "objective Tag", |e| evaluate(other, defaults(), e));
    assert_eq!(evaluate(recipe(), defaults(), null_mut()), CLOZE_OK);
}
