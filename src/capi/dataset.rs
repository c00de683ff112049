//! 13  Datasets

use std::ffi::c_char;
use std::sync::{RwLock, RwLockReadGuard, TryLockError};

use super::guard::{guard, guard_value};
use super::inputs::{CLOZE_NUL, array, c_strings, inputs as given, optional_string, path_of, reference, text};
use super::options::{Sized32, choice, read, reserved};
use super::outputs::Value;
use super::{cloze_error, cloze_input, cloze_status};
use crate::engine::{Column, Columns, Dataset, Example, ExampleInput, Format, Header, Input, Kind, Target, Tokens};
use crate::error::{Error, Result, Status};

/// Read by any number of calls, or changed by one; nobody waits.
pub struct cloze_dataset(RwLock<Dataset>);

pub const CLOZE_TARGET_NONE: u32 = 0;
pub const CLOZE_TARGET_LABEL: u32 = 1;
pub const CLOZE_TARGET_LABELS: u32 = 2;
pub const CLOZE_TARGET_NUMBERS: u32 = 3;
pub const CLOZE_TARGET_TAGS: u32 = 4;
pub const CLOZE_TARGET_ANSWER: u32 = 5;
pub const CLOZE_TARGET_TOKENS: u32 = 6;

/// What files hold, by their numbers in C.
const KINDS: [Kind; 6] = [Kind::None, Kind::Label, Kind::Labels, Kind::Numbers, Kind::Tags, Kind::Span];

pub const CLOZE_IGNORED: i32 = -100;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_target {
    pub kind: u32,
    pub number: f32,
    pub start: u64,
    pub name: *const c_char,
    pub names: *const *const c_char,
    pub numbers: *const f32,
    pub ids: *const i32,
    pub count: usize,
}

pub const CLOZE_FORMAT_AUTO: u32 = 0;
pub const CLOZE_FORMAT_TSV: u32 = 1;
pub const CLOZE_FORMAT_CSV: u32 = 2;
pub const CLOZE_FORMAT_JSONL: u32 = 3;
pub const CLOZE_FORMAT_CONLL: u32 = 4;
pub const CLOZE_FORMAT_LINES: u32 = 5;

pub const CLOZE_HEADER_DETECT: u32 = 0;
pub const CLOZE_HEADER_PRESENT: u32 = 1;
pub const CLOZE_HEADER_ABSENT: u32 = 2;

/// By their numbers in C.
const HEADERS: [Header; 3] = [Header::Detect, Header::Present, Header::Absent];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_read_options {
    pub size: u32,
    pub format: u32,
    pub header: u32,
    pub reserved: u32,
    pub text: *const c_char,
    pub pair: *const c_char,
    pub target: *const c_char,
}

// SAFETY: as `tests/abi.rs` proves of the layout; the fields are integers and raw pointers.
unsafe impl Sized32 for cloze_read_options {
    const NAME: &'static str = "cloze_read_options";
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_new(dataset: *mut *mut cloze_dataset, error: *mut cloze_error) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            hand_out(&Value::new("dataset", dataset)?, Dataset::new());
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_add(
    dataset: *mut cloze_dataset,
    inputs: *const cloze_input,
    targets: *const cloze_target,
    count: usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let dataset = reference("dataset", dataset)?;
            let inputs = given(inputs, count)?;
            let targets = if targets.is_null() { &[] } else { array("targets", targets, count)? };
            let target = |place: usize| match targets.get(place) {
                None => Ok(Target::None),
                Some(given) => target(given).map_err(|e| e.within(format!("target {place}"))),
            };
            let example =
                |(place, input): (usize, &Input<'_>)| Ok(Example { input: source(input), target: target(place)? });
            add(dataset, inputs.iter().enumerate().map(example).collect::<Result<_>>()?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_add_words(
    dataset: *mut cloze_dataset,
    words: *const *const c_char,
    tags: *const *const c_char,
    word_count: usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let dataset = reference("dataset", dataset)?;
            let input = ExampleInput::Words(c_strings("words", words, word_count)?);
            let target = match tags.is_null() {
                true => Target::None,
                false => Target::Tags(c_strings("tags", tags, word_count)?),
            };
            add(dataset, vec![Example { input, target }])
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_read(
    path: *const c_char,
    kind: u32,
    options: *const cloze_read_options,
    dataset: *mut *mut cloze_dataset,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let file = path_of("path", path)?;
            let kind = choice("kind", kind, &KINDS)?;
            let own = read(options)?;
            reserved("cloze_read_options.reserved", own.reserved)?;
            let columns = columns(&own)?;
            let out = Value::new("dataset", dataset)?;
            let format = match own.format {
                CLOZE_FORMAT_AUTO => Format::of(file)?,
                CLOZE_FORMAT_TSV => Format::Tsv(Columns::default()),
                CLOZE_FORMAT_CSV => Format::Csv(Columns::default()),
                CLOZE_FORMAT_JSONL => Format::JsonLines,
                CLOZE_FORMAT_CONLL => Format::Conll,
                CLOZE_FORMAT_LINES => Format::Lines,
                other => {
                    return Err(Error::argument(format!("cloze_read_options.format: {other}, expected 0 to 5")));
                }
            };
            let format = if columns == Columns::default() { format } else { format.with_columns(columns)? };
            hand_out(&out, Dataset::read(file, Some(format), kind)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_select(
    dataset: *const cloze_dataset,
    numbers: *const usize,
    count: usize,
    selection: *mut *mut cloze_dataset,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let dataset = examples("dataset", dataset)?;
            let numbers = array("numbers", numbers, count)?;
            let out = Value::new("selection", selection)?;
            hand_out(&out, dataset.select(numbers)?);
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_count(dataset: *const cloze_dataset) -> usize {
    guard_value(0, || {
        // SAFETY: the header's promise. The lock is never held while anything else is waited for.
        let Some(dataset) = (unsafe { dataset.as_ref() }) else { return 0 };
        dataset.0.read().map_or(0, |examples| examples.len())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_dataset_free(dataset: *mut cloze_dataset) {
    guard_value((), || {
        if !dataset.is_null() {
            // SAFETY: from the `into_raw` of `hand_out`, and by the header neither freed before nor in use.
            drop(unsafe { Box::from_raw(dataset) });
        }
    });
}

/// The examples behind a handle, which nobody changes meanwhile.
///
/// # Safety
///
/// The header's promise for `dataset`, for as long as `'a`.
pub(super) unsafe fn examples<'a>(name: &str, dataset: *const cloze_dataset) -> Result<RwLockReadGuard<'a, Dataset>> {
    // SAFETY: the caller's promise.
    let dataset = unsafe { reference(name, dataset) }?;
    dataset.0.try_read().map_err(|refusal| refused(name, &refusal, "another call is adding to it"))
}

/// `cloze_dataset_free` undoes this `into_raw`.
fn hand_out(out: &Value<*mut cloze_dataset>, dataset: Dataset) {
    out.write(Box::into_raw(Box::new(cloze_dataset(RwLock::new(dataset)))));
}

fn refused<G>(name: &str, refusal: &TryLockError<G>, why: &str) -> Error {
    match refusal {
        TryLockError::WouldBlock => Error::new(Status::Busy, format!("{name}: {why}")),
        TryLockError::Poisoned(_) => Error::internal(format!("{name}: an earlier call on it failed inside cloze")),
    }
}

/// Adds all examples or none.
fn add(dataset: &cloze_dataset, examples: Vec<Example>) -> Result<()> {
    // A dataset of their own refuses those that cannot be used, numbered as the caller numbers them.
    let mut checked = Dataset::new();
    examples.into_iter().try_for_each(|example| checked.push(example))?;
    let grown = dataset.0.try_write();
    let mut grown = grown.map_err(|refusal| refused("dataset", &refusal, "another call is using it"))?;
    checked.examples().iter().try_for_each(|example| grown.push(example.clone()))
}

fn source(input: &Input<'_>) -> ExampleInput {
    match *input {
        Input::Text(text) => ExampleInput::Text(text.to_owned()),
        Input::Pair(text, pair) => ExampleInput::Pair(text.to_owned(), pair.to_owned()),
        Input::Tokens { ids, types } => {
            let types = if types.is_empty() { vec![0; ids.len()] } else { types.to_vec() };
            ExampleInput::Tokens(Tokens { ids: ids.to_vec(), types })
        }
    }
}

/// # Safety
///
/// The header's promise for what `target` points to.
unsafe fn target(target: &cloze_target) -> Result<Target> {
    let &cloze_target { kind, number, start, name, names, numbers, ids, count } = target;
    // SAFETY: the caller's promise, for the fields that are of the kind.
    unsafe {
        Ok(match kind {
            CLOZE_TARGET_NONE => Target::None,
            CLOZE_TARGET_LABEL => Target::Label(text("name", name, CLOZE_NUL)?.to_owned()),
            CLOZE_TARGET_LABELS => Target::Labels(c_strings("names", names, count)?),
            CLOZE_TARGET_NUMBERS if numbers.is_null() && count == 0 => Target::Number(number),
            CLOZE_TARGET_NUMBERS => match *array("numbers", numbers, count)? {
                [only] => Target::Number(only),
                ref several => Target::Numbers(several.to_vec()),
            },
            CLOZE_TARGET_ANSWER => {
                let start = usize::try_from(start)
                    .map_err(|_| Error::input(format!("start: {start}, more than memory holds")))?;
                Target::Span { answer: text("name", name, CLOZE_NUL)?.to_owned(), start }
            }
            CLOZE_TARGET_TOKENS => Target::Ids(array("ids", ids, count)?.to_vec()),
            CLOZE_TARGET_TAGS => {
                return Err(Error::argument("kind: CLOZE_TARGET_TAGS, words come in by cloze_dataset_add_words"));
            }
            other => return Err(Error::argument(format!("kind: {other}, expected CLOZE_TARGET_..."))),
        })
    }
}

/// # Safety
///
/// The header's promise for what `options` points to.
unsafe fn columns(options: &cloze_read_options) -> Result<Columns> {
    let column = |field: &str, pointer| {
        // SAFETY: the caller's promise.
        let named = unsafe { optional_string(&format!("cloze_read_options.{field}"), pointer) }?;
        named
            .map(|named| match named.parse::<usize>() {
                Ok(0) => Err(Error::argument(format!("cloze_read_options.{field}: 0, columns are counted from 1"))),
                Ok(number) => Ok(Column::Number(number)),
                Err(_) => Ok(Column::Name(named.to_owned())),
            })
            .transpose()
    };
    Ok(Columns {
        text: column("text", options.text)?,
        second: column("pair", options.pair)?,
        label: column("target", options.target)?,
        header: choice("cloze_read_options.header", options.header, &HEADERS)?,
    })
}
