//! What only C can do wrong: null pointers, text that is not UTF-8, sizes and numbers that lie. Each is an error that
//! names the parameter, and no output is touched.

#![allow(clippy::unwrap_used)] // a test may panic

mod asking;
mod devices;
mod null;
mod pretraining;
mod training;

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

fn golden(name: &str) -> CString {
    CString::new(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

struct Open(*mut cloze_model);

impl Open {
    fn new(name: &str) -> Self {
        let folder = golden(name);
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

/// Text of two documents as tokens of `model`.
struct Text(*mut cloze_corpus);

impl Text {
    fn new(model: &Open) -> Self {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("text.txt");
        std::fs::write(&file, "The cat sees the bird. It walks.\n\nA dog eats. It was old.\n").unwrap();
        let path = CString::new(file.to_str().unwrap()).unwrap();
        let (mut corpus, mut error) = (null_mut(), record());
        // SAFETY: live locals.
        let status = unsafe { cloze_corpus_open(model.0, path.as_ptr(), null(), &mut corpus, &mut error) };
        assert_eq!(status, CLOZE_OK, "{}", message(&error));
        Self(corpus)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: opened above and freed once.
        unsafe { cloze_corpus_free(self.0) };
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
