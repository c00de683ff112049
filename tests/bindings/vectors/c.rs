//! Handles of the C ABI, and answers of its calls.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{null, null_mut};

use cloze::capi::*;
use serde_json::Value;

use super::options::{kept, string, strings};

/// What a call answers; a failure is its status and its message.
pub type Answer<T> = Result<T, (cloze_status, String)>;

/// Options with every field at its default but the size.
pub fn defaults<T: Copy>() -> T {
    let mut options = MaybeUninit::<T>::zeroed();
    // SAFETY: every option struct begins with its size and is valid when all else is zero.
    unsafe {
        options.as_mut_ptr().cast::<u32>().write(size_of::<T>() as u32);
        options.assume_init()
    }
}

pub fn status_name(status: cloze_status) -> &'static str {
    // SAFETY: a static string.
    unsafe { CStr::from_ptr(cloze_status_name(status)) }.to_str().unwrap()
}

/// Makes a call that fills in an error record.
pub fn call(call: impl FnOnce(*mut cloze_error) -> cloze_status) -> Answer<()> {
    let mut error = cloze_error { status: -1, message: [0; 252] };
    let status = call(&mut error);
    // SAFETY: the library ends every message with NUL.
    let message = unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap().to_owned();
    if status == CLOZE_OK { Ok(()) } else { Err((status, message)) }
}

/// Asks for the size, then for as many elements.
pub fn sized<T: Copy>(ask: impl Fn(*mut T, usize, *mut usize, *mut cloze_error) -> cloze_status) -> Answer<Vec<T>> {
    grown(0, ask)
}

fn grown<T: Copy>(
    nul: usize,
    ask: impl Fn(*mut T, usize, *mut usize, *mut cloze_error) -> cloze_status,
) -> Answer<Vec<T>> {
    let mut count = 0;
    match call(|error| ask(null_mut(), 0, &mut count, error)) {
        Ok(()) => return Ok(Vec::new()),
        Err((status, message)) if status != CLOZE_BUFFER_TOO_SMALL => return Err((status, message)),
        Err(_) => {}
    }
    let mut buffer = vec![MaybeUninit::<T>::zeroed(); count + nul];
    call(|error| ask(buffer.as_mut_ptr().cast(), buffer.len(), &mut count, error))?;
    // SAFETY: zeroed numbers, of which the library has written `count`.
    Ok(buffer[..count].iter().map(|value| unsafe { value.assume_init() }).collect())
}

/// A string of the library.
pub fn text(ask: impl Fn(*mut c_char, usize, *mut usize, *mut cloze_error) -> cloze_status) -> Answer<String> {
    let bytes = grown(1, ask)?;
    Ok(String::from_utf8(bytes.iter().map(|&byte| byte.to_ne_bytes()[0]).collect()).unwrap())
}

/// A path as C takes it.
pub fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

macro_rules! handle {
    ($name:ident, $raw:ident, $free:ident) => {
        pub struct $name(pub *mut $raw);

        impl $name {
            pub fn make(make: impl FnOnce(*mut *mut $raw, *mut cloze_error) -> cloze_status) -> Answer<Self> {
                let mut handle = null_mut();
                call(|error| make(&mut handle, error)).map(|()| Self(handle))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made by this library and freed once.
                unsafe { $free(self.0) };
            }
        }
    };
}

handle!(Model, cloze_model, cloze_model_close);
handle!(Dataset, cloze_dataset, cloze_dataset_free);
handle!(Trainer, cloze_trainer, cloze_trainer_free);
handle!(Corpus, cloze_corpus, cloze_corpus_free);
handle!(Cancel, cloze_cancel, cloze_cancel_free);

impl Model {
    pub fn open(folder: &Path, threads: u32) -> Answer<Self> {
        let options = cloze_open_options { threads, ..defaults() };
        let folder = c_path(folder);
        // SAFETY: live locals.
        Self::make(|model, error| unsafe { cloze_model_open(folder.as_ptr(), &options, model, error) })
    }

    pub fn info(&self) -> cloze_info {
        let mut info: cloze_info = defaults();
        // SAFETY: a live model and a live local.
        call(|error| unsafe { cloze_model_info(self.0, &mut info, error) }).unwrap();
        info
    }
}

/// An input from JSON: `text`, perhaps `times` over; `text` and `pair`; or `ids`, perhaps with `types`.
pub fn input(json: &Value) -> cloze_input {
    let mut input =
        cloze_input { text: null(), text_size: 0, pair: null(), pair_size: 0, ids: null(), types: null(), id_count: 0 };
    let bytes = |text: Vec<u8>| (text.len(), kept(text).cast::<c_char>());
    let list = |value: &Value| -> Vec<i32> {
        value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
    };
    if let Some(text) = json["text"].as_str() {
        let times = json["times"].as_u64().unwrap_or(1) as usize;
        (input.text_size, input.text) = bytes(text.repeat(times).into_bytes());
    }
    if let Some(hex) = json["utf8"].as_str() {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (input.text_size, input.text) = bytes((0..hex.len()).step_by(2).map(digits).collect());
    }
    if let Some(pair) = json["pair"].as_str() {
        (input.pair_size, input.pair) = bytes(pair.as_bytes().to_vec());
    }
    if json["ids"].is_array() {
        let ids = list(&json["ids"]);
        (input.id_count, input.ids) = (ids.len(), kept(ids));
    }
    if json["types"].is_array() {
        input.types = kept(list(&json["types"]));
    }
    input
}

/// The inputs of a case.
pub fn inputs(json: &Value) -> Vec<cloze_input> {
    json.as_array().unwrap().iter().map(input).collect()
}

/// The answer of an example: `label`, `labels`, `number`, `numbers`, `answer` and `start`, or `token_labels`.
fn target(json: &Value) -> cloze_target {
    let mut target = cloze_target {
        kind: CLOZE_TARGET_NONE,
        number: 0.0,
        start: 0,
        name: null(),
        names: null(),
        numbers: null(),
        ids: null(),
        count: 0,
    };
    if json["label"].is_string() {
        (target.kind, target.name) = (CLOZE_TARGET_LABEL, string(&json["label"]));
    } else if json["labels"].is_array() {
        target.kind = CLOZE_TARGET_LABELS;
        (target.names, target.count) = strings(&json["labels"]);
    } else if let Some(number) = json["number"].as_f64() {
        (target.kind, target.number) = (CLOZE_TARGET_NUMBERS, number as f32);
    } else if let Some(numbers) = json["numbers"].as_array() {
        let numbers: Vec<f32> = numbers.iter().map(|number| number.as_f64().unwrap() as f32).collect();
        (target.kind, target.count, target.numbers) = (CLOZE_TARGET_NUMBERS, numbers.len(), kept(numbers));
    } else if json["answer"].is_string() {
        target.start = json["start"].as_u64().unwrap();
        (target.kind, target.name) = (CLOZE_TARGET_ANSWER, string(&json["answer"]));
    } else if let Some(ids) = json["token_labels"].as_array() {
        let ids: Vec<i32> = ids.iter().map(|id| id.as_i64().unwrap() as i32).collect();
        (target.kind, target.count, target.ids) = (CLOZE_TARGET_TOKENS, ids.len(), kept(ids));
    }
    target
}

impl Dataset {
    /// Examples of JSON: an input and its target, or `words` and `tags`.
    pub fn of(examples: &[Value]) -> Answer<Self> {
        // SAFETY: live locals, and memory that is kept.
        let dataset = Self::make(|dataset, error| unsafe { cloze_dataset_new(dataset, error) })?;
        for example in examples {
            if example["words"].is_array() {
                let (words, count) = strings(&example["words"]);
                let tags = if example["tags"].is_array() { strings(&example["tags"]).0 } else { null() };
                // SAFETY: as above.
                call(|error| unsafe { cloze_dataset_add_words(dataset.0, words, tags, count, error) })?;
            } else {
                let (input, target) = (input(example), target(example));
                // SAFETY: as above.
                call(|error| unsafe { cloze_dataset_add(dataset.0, &input, &target, 1, error) })?;
            }
        }
        Ok(dataset)
    }
}
